"""The month of a team: caps, an approval, a refusal, a grant, an alert; every figure is the ledger's."""

import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.db import connection
from playwright.sync_api import Page, expect
from pytest_django.fixtures import Settings

from jobs import clock, lifecycle
from jobs.access import Role
from jobs.lifecycle import JobSpec
from jobs.models import Alert, ApiToken, Job, ModelSpec, Refusal, Status, User, Workspace
from jobs.models.alerts import THRESHOLDS
from jobs.pricing import ceil_cent
from jobs.templatetags import review, ui
from tests.browser.conftest import Browse
from tests.browser.installation import Installation, charged, held, until
from tests.factories import a_person, a_spec

ZERO = Decimal(0)
DEAR = "Is lemma 4.7 true? [[sandbox: seconds=0.1 reasoning=6400 answer_tokens=200]]"
CHEAP = "Is lemma 4.8 true? [[sandbox: seconds=0.1 reasoning=1280 answer_tokens=200]]"
LONG = "Is lemma 4.9 true? [[sandbox: seconds=3600]]"
# The month's ledger, row by row: what every figure of the page must be a sum of.
FACTS = """
SELECT entry.kind, entry.basis, entry.amount, project.slug, connection.is_practice, entry.spent_on::text,
    entry.user_id::text, coalesce(entry.token_id::text, 'none'),
    job.model_id, job.effort, job.tags, job.short_id
FROM jobs_ledgerentry entry
JOIN jobs_project project ON project.id = entry.project_id
JOIN jobs_connection connection ON connection.id = project.connection_id
LEFT JOIN jobs_job job ON job.id = entry.job_id
WHERE entry.month = %s
"""
KINDS = {"spent": ("charge", "adjust"), "held": ("hold", "release"), "grant": ("grant",)}


@dataclass(frozen=True)
class Fact:
    """A row of the ledger, with what an address may ask of it under the address's own names."""

    kind: str
    basis: str
    amount: Decimal
    project: str
    is_practice: bool
    day: str
    person: str
    token: str
    model: str
    effort: str
    tags: list[str]
    job: str

    def fits(self, asked: dict[str, str]) -> bool:
        if "tag" in asked and asked["tag"] not in self.tags:
            return False
        return all(str(getattr(self, name)) == value for name, value in asked.items() if name != "tag")


def facts_of(month: Any) -> list[Fact]:
    """Read the month's real money from the ledger, by a question of this test's own."""
    with connection.cursor() as cursor:
        cursor.execute(FACTS, [month])
        return [fact for row in cursor.fetchall() if not (fact := Fact(*row)).is_practice]


def total(facts: list[Fact], kind: str, **asked: str) -> Decimal:
    return sum((one.amount for one in facts if one.kind in KINDS[kind] and one.fits(asked)), ZERO)


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
        approved = Job.objects.get(project=bugs)
        assert held(approved) == 0
        approver = browse(vera)
        approver.goto(approved.get_absolute_url())
        approver.get_by_role("button", name="Approve, up to $").click()
        expect(approver.get_by_text("Approved, up to $")).to_be_visible()
        for job in (approved, *before):
            ponder.wait_for(job, Status.COMPLETED)
        expect(badge).to_have_text("Completed")
        assert charged(approved) > 0

        # The manager leaves room for one and a half; someone takes one while Mira looks at the price.
        cap = ceil_cent(charged(approved) + ceiling * Decimal("1.5"))
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
        left = cap - charged(approved) - held(running)
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
        facts = facts_of(month)
        spent = total(facts, "spent", project="bugs")
        used = {"spent": spent, "committed": spent + total(facts, "held", project="bugs")}
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

    # The review: every figure is a sum of the ledger, and leads to its rows.
    operator.goto("/budget/")
    assert_figures_are_the_ledgers(operator, facts)
    spent, open_now = total(facts, "spent"), total(facts, "held")
    assert 0 < open_now == held(running) <= running.worst_case
    lead = operator.locator(".page-h .lead")
    expect(lead).to_contain_text(
        f"{ui.dollars(spent)} of $2,000, {review.held(open_now)} held, too early to tell"
    )
    boxes = operator.locator(".kpis .big")
    expect(boxes.nth(0)).to_have_text(f"{ui.money(spent)} of $2,000")
    expect(boxes.nth(1)).to_have_text("–")
    row_of_bugs = operator.locator("ul.rows > li").filter(has_text="Bugs")
    expect(row_of_bugs).to_contain_text(f"of {ui.dollars(cap + granted)}")
    bugs_left = cap + granted - used["committed"]
    expect(row_of_bugs).to_contain_text(f"{ui.money(bugs_left)} left")
    refused = operator.locator("table").filter(has_text="Missing").locator("tbody tr")
    expect(refused).to_have_count(2)  # sent in vain, and then asked for
    for cells in (refused.nth(number).locator("td") for number in range(2)):
        expect(cells.nth(0)).to_contain_text("Mira")
        expect(cells.nth(1)).to_have_text("Bugs")
        expect(cells.nth(2)).to_have_text(ui.ceiling(ceiling))
        expect(cells.nth(3)).to_have_text(ui.ceiling(short))

    grants = operator.request.get(f"/budget/ledger/?month={month:%Y-%m}&kind=grant")
    assert total(facts, "grant") == granted
    assert f"<b>{ui.money(granted)}</b> granted" in grants.text()

    with operator.expect_download() as given:
        operator.get_by_role("link", name="CSV").click()
    given.value.save_as(tmp_path / "month.csv")
    head, *rows = csv.reader((tmp_path / "month.csv").read_text().splitlines())
    assert sum(Decimal(row[head.index("cost_usd")]) for row in rows) == spent
    for slug in ("bugs", "contracts"):
        cells = [row for row in rows if row[head.index("project")] == slug]
        assert sum(Decimal(row[head.index("cost_usd")]) for row in cells) == total(
            facts, "spent", project=slug
        )
    operator.get_by_role("link", name=ui.money(spent), exact=True).first.click()
    expect(operator.get_by_role("heading", level=1)).to_have_text(f"Ledger, {month:%B %Y}")
    expect(operator.locator(".lead")).to_contain_text(f"{ui.money(spent)} spent")


def assert_figures_are_the_ledgers(page: Page, facts: list[Fact]) -> None:
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
            del asked["month"]
            sum_of = total(facts, kind, **asked)
            read = (ui.money, ui.dollars) if kind == "spent" else (ui.ceiling, review.held)
            if "$" not in text:
                counts += 1
                assert int(text) == jobs_of(facts, **asked), (href, text)
            else:
                assert text.removesuffix(" held") in {one(sum_of) for one in read}, (href, text)
            if sum_of:
                sums.add((kind, *sorted(asked.items())))
        if href in followed or text == "$0.00":
            continue
        followed.add(href)
        answer = page.request.get(href)
        assert answer.ok, href
        if path == "/budget/ledger/":
            html = unescape(answer.text())
            assert_rows_are(html, kind, sum_of, href)
            jobs = jobs_of(facts, **asked)
            assert kind != "spent" or f" on <b>{jobs}</b> job{'s' if jobs != 1 else ''}" in html, href
        elif path == "/budget/refused/":
            assert answer.text().count("<tr><td>") == int(text.split()[0]) == 2
    assert sums == figures_of(facts)
    assert "/budget/refused/" in {urlsplit(href).path for href in followed}
    assert counts == 7  # three people and tokens, two tags, two models


def assert_rows_are(html: str, kind: str, sum_of: Decimal, href: str) -> None:
    """Hold a page of the ledger against the figure that led to it: its own sum, and that of its rows."""
    said = ui.money(sum_of) if kind == "spent" else ui.ceiling(sum_of)
    assert f"<b>{said}</b> {'spent' if kind == 'spent' else 'held now'}" in html, href
    amounts = re.findall(r'<td>[^<]*</td><td class="r">(−?)\$([\d,]+\.\d+)</td>', html)
    rows = [Decimal(number.replace(",", "")) * (-1 if sign else 1) for sign, number in amounts]
    assert sum(rows, ZERO) == sum_of, href


def jobs_of(facts: list[Fact], **asked: str) -> int:
    """Count the charges that rest on something; nothing of this month is corrected."""
    return sum(one.kind == "charge" and one.basis != "none" and one.fits(asked) for one in facts)


def figures_of(facts: list[Fact]) -> set[tuple[Any, ...]]:
    """Return what the page must have figures for: every way of sharing out that is not nothing."""
    found: set[tuple[Any, ...]] = {("spent",), ("held",)}
    for one in facts:
        if one.kind == "charge":
            found |= {
                ("spent", (name, getattr(one, name))) for name in ("project", "model", "effort", "job", "day")
            }
            found |= {("spent", ("tag", tag)) for tag in one.tags}
            found.add(("spent", ("person", one.person), ("token", one.token)))
            found.add(("spent", ("day", one.day), ("project", one.project)))
    still_open = {one.job for one in facts if one.job and total(facts, "held", job=one.job)}
    for one in facts:
        if one.job in still_open:
            found |= {("held", ("project", one.project)), ("held", ("job", one.job))}
    return found
