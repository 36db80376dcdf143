"""The month of a team: caps, an approval, a refusal, a grant, an alert; every figure is the ledger's."""

import csv
import datetime as dt
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Page, expect
from pytest_django.fixtures import Settings

from jobs import clock, lifecycle
from jobs.access import Role
from jobs.lifecycle import JobSpec
from jobs.models import (
    Alert,
    ApiToken,
    BudgetPeriod,
    Job,
    ModelSpec,
    Project,
    Refusal,
    Status,
    User,
    VerdictValue,
    Workspace,
)
from jobs.models.alerts import THRESHOLDS
from jobs.pricing import ceil_cent
from jobs.templatetags import review, ui
from tests.browser.conftest import Browse
from tests.browser.installation import Installation, charged, held, until
from tests.browser.month_told import Fact, Told, facts, figures, jobs_of, sections_of, total
from tests.factories import a_person, a_spec
from tests.jobs.views.states import a_job

ZERO = Decimal(0)
DEAR = "Is lemma 4.7 true? [[sandbox: seconds=0.1 reasoning=6400 answer_tokens=200]]"
CHEAP = "Is lemma 4.8 true? [[sandbox: seconds=0.1 reasoning=1280 answer_tokens=200]]"
LONG = "Is lemma 4.9 true? [[sandbox: seconds=3600]]"
DAYS_AGO = range(3, 100, 4)  # on which something was spent: five days before any tenth of the last two months


@contextmanager
def a_chat() -> Iterator[tuple[str, list[str]]]:
    """Run a chat's incoming webhook; yield its address and the lines posted there."""
    lines: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            lines.append(json.loads(body)["text"])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hooks/secret", lines
        finally:
            server.shutdown()


def ceiling_of(wanted: JobSpec) -> Decimal:
    found = lifecycle.ceiling_of(wanted)
    assert found is not None
    return found.worst_case


@pytest.mark.thorough
def test_a_teams_month_is_told_to_the_last_digit(
    ponder: Installation, browse: Browse, mira: User, settings: Settings, tmp_path: Path
) -> None:
    settings.PONDER_ALLOW_PRIVATE_ADDRESSES = True  # the chat is on this machine; the cluster's tests do too
    ana, vera, jo = (a_person(f"{name}@example.com") for name in ("ana", "vera", "jo"))
    tomas = a_person("tomas@example.com", is_superuser=True, is_staff=True)
    members = {ana: Role.MANAGER, vera: Role.APPROVER, mira: Role.SUBMITTER, jo: Role.SUBMITTER}
    bugs = ponder.project("bugs", is_practice=False, cap="200", members=members)
    contracts = ponder.project("contracts", is_practice=False, cap="300", members={jo: Role.SUBMITTER})
    play = ponder.project("play", members={jo: Role.SUBMITTER})
    today = Workspace.objects.the().today()
    month = clock.month_of(today)
    choice = bugs.default_choice(today)
    assert choice is not None
    dear = a_spec(bugs, mira, prompt=DEAR, effort=choice.effort, max_output_tokens=choice.max_output_tokens)
    few = choice.max_output_tokens // 2
    cheap = a_spec(bugs, mira, prompt=CHEAP, effort=choice.effort, max_output_tokens=few)
    dearest, ceiling = ceiling_of(dear), ceiling_of(cheap)
    limit = ceil_cent((dearest + ceiling) / 2)

    # The months before, and five days before today, as jobs of then left them in the ledger.
    with ponder.asleep():
        earlier(settings, today, [(bugs, mira), (contracts, jo), (bugs, jo)])

    # Some work of others, on another model, by a token, with tags, and with made-up money.
    other = ModelSpec.objects.choosable(today).exclude(pk=choice.spec.pk)[0]
    token = ApiToken.objects.create(name="night", project=contracts, user=jo, prefix="p", digest="d")
    by_token = {"model": other.pk, "mode": other.modes[0], "effort": other.default_effort, "token": token}
    before = [
        ponder.submit(contracts, jo, DEAR, tags=("night", "law")),
        ponder.submit(contracts, jo, CHEAP, tags=("night",), **by_token),
        ponder.submit(play, jo, DEAR, tags=("night",)),
    ]

    # The operator caps the workspace; a manager sets the limit per job and a chat for alerts.
    operator = browse(tomas, accept_downloads=True)
    operator.goto("/budget/rules/")
    operator.get_by_label("Cap a month, USD").fill("2000")
    operator.get_by_role("button", name="Set cap").click()
    expect(operator.get_by_text("cap is $2,000.00 a month now.")).to_be_visible()
    manager = browse(ana)
    with a_chat() as (address, lines):
        manager.goto(f"{bugs.get_absolute_url()}settings/")
        manager.get_by_label("Limit per job, USD").fill(str(limit))
        manager.get_by_role("button", name="Save").click()
        expect(manager.get_by_role("main")).to_contain_text("Limit per job: none → ")
        manager.get_by_label("Incoming webhook").fill(address)
        manager.get_by_role("button", name="Set", exact=True).click()
        expect(manager.get_by_text("Set by Ana")).to_be_visible()

        # A job above the limit waits with nothing held until someone agrees.
        page = browse(mira)
        page.goto("/jobs/new/?project=bugs")
        with page.expect_response("**/jobs/estimate/"):
            page.get_by_label("Prompt", exact=True).fill(DEAR)
        page.get_by_role("button", name="Ask for approval").click()
        badge = page.locator(".d-head .badge")
        expect(badge).to_have_text("Needs approval")
        approved = Job.objects.get(project=bugs, status=Status.AWAITING_APPROVAL)
        assert held(approved) == 0
        approver = browse(vera)
        approver.goto(approved.get_absolute_url())
        approver.get_by_role("button", name="Approve, up to $").click()
        expect(approver.get_by_text("Approved, up to $")).to_be_visible()
        for job in (approved, *before):
            ponder.wait_for(job, Status.COMPLETED)
        expect(badge).to_have_text("Completed")
        assert charged(approved) > 0
        in_bugs = total(facts(), "spent", project="bugs", month=f"{month:%Y-%m}")

        # The manager leaves room for one and a half; someone takes one while Mira looks at the price.
        cap = ceil_cent(in_bugs + ceiling * Decimal("1.5"))
        manager.goto(bugs.get_absolute_url())
        manager.get_by_label("Cap a month, USD").fill(str(cap))
        manager.get_by_role("button", name="Set cap").click()
        expect(manager.get_by_role("main")).to_contain_text(ui.money(cap))
        page.goto("/jobs/new/?project=bugs")
        page.get_by_label("Prompt", exact=True).fill(CHEAP)
        page.get_by_label("Output limit").fill(f"{few:,}")
        expect(page.locator("#price .e2")).to_contain_text(ui.ceiling(ceiling))
        running = ponder.submit(bugs, jo, LONG, effort=choice.effort, max_output_tokens=few)
        ponder.wait_for(running, Status.IN_PROGRESS)
        page.get_by_role("button", name="Send job").click()
        left = cap - in_bugs - held(running)
        short = ceiling - left
        assert 0 < left < ceiling
        expect(page.get_by_role("alert")).to_contain_text(f"{ui.ceiling(short)} too little.")
        refusal = Refusal.objects.get()
        assert (refusal.ceiling, refusal.shortfall) == (ceiling, short)

        # So she asks for more; it is granted, and her job goes on by itself.
        page.get_by_role("button", name="Ask for more budget").click()
        expect(page.get_by_label("Amount, USD")).to_have_value(str(ceil_cent(short)))
        page.get_by_label("Why?").fill("The deadline is on Friday.")
        page.get_by_role("button", name="Ask for more budget").click()
        expect(badge).to_have_text("Needs approval")
        manager.goto("/budget/more/")
        expect(manager.get_by_text("The deadline is on Friday.")).to_be_visible()
        manager.get_by_role("button", name="Grant").click()
        granted = ceil_cent(short)
        expect(
            manager.get_by_text(f"Granted: {ui.money(granted)} more under the cap of Bugs")
        ).to_be_visible()
        waited = Job.objects.filter(project=bugs, submitted_by=mira).latest("pk")
        ponder.wait_for(waited, Status.COMPLETED)
        expect(badge).to_have_text("Completed")

        # More than half of the cap is committed: that stands once, and was told once.
        now = [one for one in facts() if one.in_month == month]
        spent = total(now, "spent", project="bugs")
        used = {"spent": spent, "committed": spent + total(now, "held", project="bugs")}
        reached = {
            (measure, step)
            for measure, amount in used.items()
            for step in THRESHOLDS
            if amount * 100 >= step * (cap + granted)
        }
        assert ("committed", 50) in reached
        for _ in range(2):
            lifecycle.mind_alerts()
        until(lambda: not Alert.objects.exclude(next_try_at=None).exists(), what="the alert was not told")
        told = list(Alert.objects.values_list("measure", "threshold"))
        assert len(told) == len(set(told))
        assert reached <= set(told)
        assert len(lines) == Alert.objects.filter(chat="sent").count() == len(set(lines)) > 0
        step = max(step for measure, step in reached if measure == "committed")
        assert sum(f"{step}% of the cap of Bugs is spent and held" in line for line in lines) == 1
    operator.goto("/budget/rules/")
    row = operator.get_by_role("row").filter(has_text=f"{step}% spent and held")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("Cap of Bugs")
    expect(row.locator("td").nth(3)).to_have_text("Not sent")  # no mail server is set
    expect(row.locator("td").nth(4)).to_have_text("Sent")

    # One answer was right and one was wrong; the right one is paid with the other.
    lifecycle.judge(approved.pk, VerdictValue.RIGHT, by=vera)
    lifecycle.judge(waited.pk, VerdictValue.WRONG, by=vera)

    # The review: every figure is a sum of the ledger, and leads to its rows.
    told = looked_at(operator, today)
    assert told.end is not None
    assert 0 < told.held == held(running) <= running.worst_case
    assert_page_is_told(operator, told)
    assert_figures_lead_to_their_rows(operator, told)
    assert [row[:2] for row in told.refused()] == [["Mira", "Bugs"]] * 2  # sent in vain, and then asked for
    assert {row[3] for row in told.refused()} == {ui.ceiling(short)}

    grants = operator.request.get(f"/budget/ledger/?month={month:%Y-%m}&kind=grant")
    assert total(told.facts, "grant") == granted
    assert f"<b>{ui.money(granted)}</b> granted" in grants.text()

    with operator.expect_download() as given:
        operator.get_by_role("link", name="CSV").click()
    given.value.save_as(tmp_path / "month.csv")
    head, *rows = csv.reader((tmp_path / "month.csv").read_text().splitlines())
    sheet = [dict(zip(head, row, strict=True)) for row in rows]
    numbers = ("jobs", "cost_usd", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
    assert {
        tuple(row[name] for name in head if name not in numbers): [Decimal(row[name]) for name in numbers]
        for row in sheet
    } == told.sheet()
    operator.get_by_role("link", name=ui.money(told.spent), exact=True).first.click()
    expect(operator.get_by_role("heading", level=1)).to_have_text(f"Ledger, {month:%B %Y}")
    expect(operator.locator(".lead")).to_contain_text(f"{ui.money(told.spent)} spent")


def earlier(settings: Settings, today: dt.date, whose: list[tuple[Project, User]]) -> None:
    """Leave jobs of days gone by in the books, no two of which cost the same."""
    now = settings.PONDER_TODAY
    for number, days in enumerate(reversed([*DAYS_AGO, 1])):
        settings.PONDER_TODAY = today - dt.timedelta(days=days)
        project, by = whose[number % len(whose)]
        cost = Decimal(40 + 7 * number % 50 + number) / 100
        a_job(project, by, Status.COMPLETED, cost=cost, spec={"tags": ("night",) if number % 2 else ()})
    settings.PONDER_TODAY = now


def looked_at(page: Page, today: dt.date) -> Told:
    """Open the review, and return what it must say at that moment: the forecast moves with each minute."""
    while True:
        gone = clock.gone(Workspace.objects.the().zone)
        page.goto("/budget/")
        if clock.gone(Workspace.objects.the().zone) == gone:
            first = clock.month_of(today)
            periods = BudgetPeriod.objects.filter(month=first).select_related("budget__project")
            return Told(today, gone, list(periods.exclude(budget__project__connection__is_practice=True)))


def assert_page_is_told(page: Page, told: Told) -> None:
    """Hold every figure of the review against the ledger, all at once."""
    cards = sections_of(page)
    one_job = f"What one {told.models[0]} job costs"

    def said(start: str) -> list[str]:
        return figures(next(card["text"] for heading, card in cards.items() if heading.startswith(start)))

    def sentence(name: str) -> list[str]:
        return figures(page.locator(name).inner_text())

    def table(heading: str, first: str) -> list[list[str]]:
        found: list[list[str]] = cards[heading]["tables"][first]
        return found

    def items(heading: str) -> dict[str, list[str]]:
        """Figures by what stands before them."""
        return {re.split(r"<?\$", one)[0].strip(): figures(one) for one in cards[heading]["items"]}

    judged, waiting = (cards[heading]["text"] for heading in ("Costliest jobs", "By model"))
    counted = re.search(r"(\d+) of (\d+) months? ended within", cards["Month by month"]["text"])
    notes = page.locator("main p.note").all_inner_texts()
    shown = {
        "note": re.sub(r" What does not fit.*", "", " ".join(" ".join(notes).split())),
        "lead": sentence(".page-h .lead"),
        "so far": said("Spent so far"),
        "forecast": said("Month-end forecast"),
        "median": said(f"Median cost, {told.models[0]}"),
        "hidden": said("Hidden reasoning"),
        "to date, said": sentence("#cumulative-said"),
        "to date": table("Spend against budget", "Day"),
        "by project, said": sentence("#daily-said"),
        "by project": table("Daily spend by project", "Day"),
        "projects": items("Projects and caps"),
        "spenders": table("Top spenders", "Person"),
        "tags": table("Top spenders", "Tag"),
        "models, said": sentence("#models-said"),
        "models": table("By model", "Model"),
        "efforts": items("By model"),
        "waiting": figures("".join(re.findall(r"Waiting would have saved[^:]*", waiting))),
        "costs, said": sentence("#costs-said"),
        "costs": table(one_job, "Cost"),
        "jobs": re.findall(r"(\d+) jobs? charged", cards[one_job]["text"]),
        "costliest": table("Costliest jobs", "Job"),
        "judged": judged[judged.index("Answers marked right") :].removeprefix("Answers marked right").strip(),
        "in flight, said": said("Money in flight")[:1],
        "in flight": [[row[0], row[-1]] for row in table("Money in flight", "Job")],
        # The moment stands behind the name.
        "refused": [[row[0].split()[0], *row[1:]] for row in table("Money in flight", "Who")],
        "months": table("Month by month", "Month"),
        "within": counted and [int(number) for number in counted.groups()],
    }
    ends = [row[-1] for row in told.months() if row[-1] != "–"]
    assert shown == {
        "note": told.note(),
        "lead": told.lead(),
        "so far": told.so_far(),
        "forecast": told.forecast(),
        "median": told.median(),
        "hidden": told.hidden(),
        "to date, said": told.to_date_said(),
        "to date": told.to_date(),
        "by project, said": told.by_project_said(),
        "by project": told.by_project(),
        "projects": told.projects(),
        "spenders": told.spenders(),
        "tags": told.tags(),
        "models, said": told.models_said(),
        "models": told.by_model(),
        "efforts": told.efforts(),
        "waiting": told.waiting(),
        "costs, said": told.costs_said(),
        "costs": told.costs(),
        "jobs": [str(sum(int(row[1]) for row in told.costs()))],
        "costliest": told.costliest(),
        "judged": told.judged(),
        "in flight, said": [ui.ceiling(told.held)],
        "in flight": told.in_flight(),
        "refused": told.refused(),
        "months": told.months(),
        "within": [ends.count("within"), len(ends)],
    }
    # None of them is empty: each had something to show.
    assert [name for name, value in shown.items() if not value and name not in ("note", "waiting")] == []
    assert len(told.median()) == 2


def assert_figures_lead_to_their_rows(page: Page, told: Told) -> None:
    """Compare each figure that leads somewhere with the ledger, then what it leads to, each place once."""
    links = page.locator("a.fig").evaluate_all(
        "links => links.map(a => [a.getAttribute('href'), a.textContent])"
    )
    sums: set[tuple[Any, ...]] = set()
    followed: set[str] = set()
    counts = 0
    for href, text in links:
        path, asked = urlsplit(href).path, dict(parse_qsl(urlsplit(href).query))
        if path == "/budget/ledger/":
            kind = asked.pop("kind")
            sum_of = total(told.ever, kind, **asked)
            read = (ui.money, ui.dollars) if kind == "spent" else (ui.ceiling, review.held)
            if "$" not in text:
                counts += 1
                assert int(text) == jobs_of(told.ever, **asked), (href, text)
            else:
                assert text.removesuffix(" held") in {one(sum_of) for one in read}, (href, text)
            if sum_of and asked.pop("month") == f"{told.first:%Y-%m}":
                sums.add((kind, *sorted(asked.items())))
        if href in followed or text == "$0.00":
            continue
        followed.add(href)
        answer = page.request.get(href)
        assert answer.ok, href
        if path == "/budget/ledger/":
            asked = dict(parse_qsl(urlsplit(href).query))
            html = unescape(answer.text())
            assert_rows_are(html, asked.pop("kind"), sum_of, href)
            if kind == "spent":
                counted = re.search(r" on <b>(\d+)</b> jobs?", html)
                assert counted, href
                assert int(counted[1]) == jobs_of(told.ever, **asked), href
        elif path == "/budget/refused/":
            assert answer.text().count("<tr><td>") == int(text.split()[0]) == 2
    assert sums == figures_of(told.facts)
    assert "/budget/refused/" in {urlsplit(href).path for href in followed}
    assert counts == sum(map(len, (told.spenders(), told.tags(), told.by_model())))


def assert_rows_are(html: str, kind: str, sum_of: Decimal, href: str) -> None:
    """Hold a page of the ledger against the figure that led to it: its own sum, and that of its rows."""
    said = ui.money(sum_of) if kind == "spent" else ui.ceiling(sum_of)
    assert f"<b>{said}</b> {'spent' if kind == 'spent' else 'held now'}" in html, href
    amounts = re.findall(r'<td>[^<]*</td><td class="r">(−?)\$([\d,]+\.\d+)</td>', html)
    rows = [Decimal(number.replace(",", "")) * (-1 if sign else 1) for sign, number in amounts]
    assert sum(rows, ZERO) == sum_of, href


def figures_of(facts: list[Fact]) -> set[tuple[Any, ...]]:
    """Return what the page must have figures for: every way of sharing out that is not nothing."""
    found: set[tuple[Any, ...]] = {("spent",), ("held",)}
    for one in facts:
        if one.kind == "charge":
            found |= {("spent", (name, getattr(one, name))) for name in ("project", "model", "effort", "day")}
            found |= {("spent", ("tag", tag)) for tag in one.tags}
            found.add(("spent", ("person", one.person), ("token", one.token)))
            found.add(("spent", ("day", one.day), ("project", one.project)))
    costs = {one.job: total(facts, "spent", job=one.job) for one in facts if one.kind == "charge"}
    found |= {("spent", ("job", job)) for job in sorted(costs, key=lambda job: -costs[job])[:5]}
    still_open = {one.job for one in facts if one.job and total(facts, "held", job=one.job)}
    for one in facts:
        if one.job in still_open:
            found |= {("held", ("project", one.project)), ("held", ("job", one.job))}
    return found
