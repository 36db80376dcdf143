"""The end of the month on the page of the budget: told, drawn, compared with caps, and checked afterwards."""

import csv
import datetime as dt
import html as html_module
import io
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.http import StreamingHttpResponse
from django.test import Client

from jobs import clock, lifecycle, spend
from jobs.access import Role
from jobs.forecast import month_ends
from jobs.models import (
    Budget,
    BudgetPeriod,
    Connection,
    Kind,
    Membership,
    Project,
    Refusal,
    Status,
    User,
    Verdict,
    VerdictValue,
    Workspace,
)
from jobs.templatetags import review, ui
from jobs.views import month_lists, month_rows
from jobs.views.month_end import Ending
from jobs.views.month_export import FOCUS
from jobs.views.month_rows import Rows
from tests.factories import a_person, a_project
from tests.jobs.views.rollups import spend_days
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db
TODAY = dt.date(2026, 6, 19)  # a Friday


@pytest.fixture(autouse=True)
def _noon(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.PONDER_TODAY = TODAY
    monkeypatch.setattr(clock, "gone", lambda _: 0.5)


@pytest.fixture
def real(mira: User) -> Project:
    return a_project("bugs", cap="2500", is_practice=False, members={mira: Role.SUBMITTER})


def working_days(since: dt.date, until: dt.date, usd: int) -> dict[dt.date, Decimal]:
    every = [since + dt.timedelta(days=number) for number in range((until - since).days + 1)]
    return {day: Decimal(usd) for day in every if day.weekday() < 5}


def page_of(client: Client, query: str = "") -> Any:
    return client.get(f"/budget/{query}")


def words_of(client: Client, query: str = "") -> str:
    return " ".join(page_of(client, query).content.decode().split())


def test_the_sentence_tells_what_is_spent_held_and_likely(
    real: Project, mira: User, signed_in: Client
) -> None:
    spend_days(real, mira, working_days(dt.date(2026, 4, 13), dt.date(2026, 6, 18), 100))
    a_job(real, mira, Status.IN_PROGRESS)
    page = page_of(signed_in)
    end = page.context["end"].all
    assert 2100 < end.likely < 2300
    assert end.low < end.likely < end.high
    html = " ".join(page.content.decode().split())
    held = review.held(BudgetPeriod.objects.get(budget__project=real, month="2026-06-01").held)
    assert "<b>$1,400</b></a> of $2,500, <a class=" in html
    assert f"{held} held</a>, likely <b>${end.likely:,.0f}</b> by 30 Jun." in html
    assert "Month-end forecast" in html
    rows = "/budget/ledger/?month=2026-06&amp;kind=held"
    assert f', with <a class="fig" href="{rows}">{held}</a> held now</p>' in html
    drawn = page.context["drawn"]["ahead"]
    assert len(drawn["daily"]) == len(drawn["cumulative"]) == 11
    assert drawn["cumulative"][-1] == [float(end.low), float(end.likely), float(end.high)]
    assert f"${end.likely:,.0f} likely" in drawn["labels"]
    assert "20 Jun, likely" in html


def test_the_side_bar_says_what_the_page_says_as_of_the_last_hour(
    real: Project, mira: User, signed_in: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana, eve = a_person("ana@example.com", is_superuser=True), a_person("eve@example.com")
    proofs = a_project("proofs", cap="700", is_practice=False, members={mira: Role.VIEWER, eve: Role.VIEWER})
    foreign = a_project("foreign", cap="90", is_practice=False, members={eve: Role.VIEWER})
    for project, usd in ((real, 100), (proofs, 30), (foreign, 3)):
        days = working_days(dt.date(2026, 4, 13), dt.date(2026, 6, 18), usd)
        spend_days(project, mira, days)
        settled(project, days)
    a_job(real, mira, Status.IN_PROGRESS)
    lifecycle.foretell()
    seen = {}
    for person in (mira, eve, ana):
        client = Client()
        client.force_login(person)
        page = page_of(client)
        seen[person] = page.context["end"].all.likely
        assert f"Forecast ${seen[person]:,.0f}, within budget" in page.content.decode()
    assert len(set(seen.values())) == 3
    # Six hours later nothing more was spent: the page knows, the side bar within the hour.
    monkeypatch.setattr(clock, "gone", lambda _: 0.75)
    page = page_of(signed_in)
    later = page.context["end"].all.likely
    assert seen[mira] - 45 < later < seen[mira]
    assert f"Forecast ${seen[mira]:,.0f}, " in page.content.decode()
    lifecycle.foretell()
    assert f"Forecast ${later:,.0f}, " in page_of(signed_in).content.decode()


def test_below_five_active_days_nothing_is_told(real: Project, mira: User, signed_in: Client) -> None:
    spend_days(real, mira, working_days(dt.date(2026, 6, 15), dt.date(2026, 6, 18), 100))
    page = page_of(signed_in)
    assert page.context["end"].all is None
    assert page.context["drawn"]["ahead"] is None
    assert "too early to tell how it ends" in page.content.decode()


def test_the_alert_names_the_cap_that_is_reached_first_and_the_day(
    real: Project, mira: User, signed_in: Client
) -> None:
    later = a_project("contracts", cap="2100", is_practice=False, members={mira: Role.SUBMITTER})
    days = working_days(dt.date(2026, 4, 13), dt.date(2026, 6, 18), 100)
    for project in (real, later):
        spend_days(project, mira, days)
        settled(project, days)
    assert "reaches it around" in words_of(signed_in)
    assert (
        "<b>Contracts</b> has used 67% of its cap and reaches it around <b>Tuesday 30 June</b>"
        in words_of(signed_in)
    )
    spend.set_cap(Decimal(1600), project=real)
    html = words_of(signed_in)
    assert "<b>Bugs</b> has used 88% of its cap and reaches it around <b>Tuesday 23 June</b>" in html
    assert "reaches its cap around Tue 30 Jun" in html
    # A soft cap admits, so nothing is hit.
    spend.set_cap(Decimal(1600), project=real, is_hard=False)
    assert "<b>Contracts</b> has used" in words_of(signed_in)


def test_no_alert_where_the_workspaces_cap_refuses_nothing(mira: User) -> None:
    project = a_project("bugs", cap="9000", is_practice=False)
    spend_days(project, mira, working_days(dt.date(2026, 4, 13), dt.date(2026, 6, 18), 100))
    client = Client()
    client.force_login(a_person("ops@example.com", is_superuser=True))
    spend.set_cap(Decimal(1500))
    assert "<b>The workspace</b> has used" in words_of(client)
    assert '<a class="go" href="/budget/rules/">Review cap</a>' in words_of(client)
    spend.set_cap(Decimal(1500), is_hard=False)
    assert "is not admitted then" not in words_of(client)


def test_no_alert_where_nothing_will_be_hit(real: Project, mira: User, signed_in: Client) -> None:
    days = working_days(dt.date(2026, 4, 13), dt.date(2026, 6, 18), 100)
    spend_days(real, mira, days)
    settled(real, days)
    html = words_of(signed_in)
    assert "reaches" not in html
    assert "% to spare" in html


def test_no_alert_where_little_is_left_but_will_do(
    real: Project, mira: User, signed_in: Client, settings: Any
) -> None:
    settings.PONDER_TODAY = dt.date(2026, 6, 30)
    days = working_days(dt.date(2026, 4, 13), dt.date(2026, 6, 29), 100)
    spend_days(real, mira, days)
    settled(real, days)
    spend.set_cap(Decimal(2300), project=real)
    assert "91%" in words_of(signed_in)
    assert "Review cap" not in words_of(signed_in)


def test_a_cap_of_a_project_that_is_not_listed_raises_the_alarm_too(
    real: Project, mira: User, signed_in: Client
) -> None:
    days = working_days(dt.date(2026, 4, 13), dt.date(2026, 6, 18), 100)
    for number in range(12):
        spend_days(
            a_project(f"p{number}", cap="9000", is_practice=False, members={mira: Role.VIEWER}), mira, days
        )
    # Cheaper than a dozen others, and all with little room; one admits what does not fit.
    for slug, usd, cap, is_hard in (
        ("later", 20, "420", True),
        ("sooner", 10, "160", True),
        ("soft", 10, "145", False),
        ("idle", 0, "5", True),
        *((f"roomy{number}", 30, "700", True) for number in range(3)),
    ):
        project = a_project(slug, cap=cap, is_practice=False, members={mira: Role.VIEWER})
        own = working_days(dt.date(2026, 4, 13), dt.date(2026, 6, 18), usd)
        if usd:
            spend_days(project, mira, own)
        settled(project, own)
        spend.set_cap(Decimal(cap), project=project, is_hard=is_hard)
    page = page_of(signed_in)
    assert {line.project.name for line in page.context["month"].listed} == {f"P{n}" for n in range(12)}
    assert "<b>Sooner</b> has used 88% of its cap and reaches it around <b>Tuesday 23 June</b>" in " ".join(
        page.content.decode().split()
    )
    Budget.objects.filter(project__slug="sooner").update(cap=1000)
    BudgetPeriod.objects.filter(budget__project__slug="sooner").update(cap=1000)
    assert "<b>Later</b> has used" in words_of(signed_in)


def settled(project: Project, days: dict[dt.date, Decimal]) -> None:
    """Let the period have been charged what the rollups of June say."""
    total = sum(cost for day, cost in days.items() if day.month == 6)
    BudgetPeriod.objects.filter(budget__project=project, month="2026-06-01").update(spent=total)


def test_past_months_say_how_often_the_forecast_held(real: Project, mira: User, signed_in: Client) -> None:
    usual = working_days(dt.date(2026, 2, 2), dt.date(2026, 5, 31), 100)
    # The end of May was four times as dear as anyone could know.
    spend_days(real, mira, usual | working_days(dt.date(2026, 5, 18), dt.date(2026, 5, 31), 400))
    end = page_of(signed_in).context["end"]
    assert isinstance(end, Ending)
    assert [ended.month.month for ended in end.months] == [5, 4, 3, 2]
    assert (end.within, len(end.told)) == (3, 4)
    html = words_of(signed_in)
    assert "3 of 4 months ended within the range forecast on the 10th; 8 in 10 should." in html
    assert "<td>above</td>" in html
    april = page_of(signed_in, "?month=2026-04").context["end"]
    assert april.all is None
    assert april.change == 0
    assert "Against March" in words_of(signed_in, "?month=2026-04")


def test_the_costliest_jobs_stand_with_what_the_month_was_charged_for_them(
    real: Project, mira: User, signed_in: Client
) -> None:
    for cost in (1, 7, 3, 2, 6, 5, 4):
        a_job(real, mira, Status.COMPLETED, cost=Decimal(cost), spec={"title": f"Job {cost}"})
    rows = page_of(signed_in).context["rows"]
    assert isinstance(rows, Rows)
    assert [job.in_month for job in rows.costliest] == [7, 6, 5, 4, 3]  # type: ignore[attr-defined]
    assert "Job 7</a>" in words_of(signed_in)


def test_money_in_flight_begins_with_its_oldest_holds(real: Project, mira: User, signed_in: Client) -> None:
    jobs = [a_job(real, mira, Status.IN_PROGRESS) for _ in range(7)]
    a_job(real, mira, Status.COMPLETED)
    page = page_of(signed_in)
    assert [job.pk for job in page.context["rows"].oldest] == [job.pk for job in jobs[:5]]
    assert sum(job.held for job in page.context["rows"].oldest) * 7 / 5 == page.context["month"].held


def test_refusals_say_who_wanted_what_and_what_was_missing(
    real: Project, mira: User, signed_in: Client
) -> None:
    hidden = a_project("secret", is_practice=False)
    month = dt.date(2026, 6, 1)
    for project in (real, hidden):
        Refusal.objects.create(
            project=project, user=mira, budget=project.budget_set.get(), month=month,
            ceiling=Decimal("3.26"), shortfall=Decimal("1.36"),
        )  # fmt: skip
    rows = page_of(signed_in).context["rows"]
    assert rows.refused == 1
    assert '<td class="r">$3.26</td><td class="r">$1.36</td>' in words_of(signed_in)
    Refusal.objects.bulk_create(
        Refusal(project=real, user=mira, budget=real.budget_set.get(), month=month, ceiling=1, shortfall=1)
        for _ in range(6)
    )
    assert page_of(signed_in).context["rows"].refused == 7
    words = 'Refused, <a class="fig" href="/budget/refused/?month=2026-06">7 times</a>'
    assert words in words_of(signed_in)


def test_the_number_of_refusals_leads_to_all_of_them(
    real: Project, mira: User, signed_in: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = a_project("secret", is_practice=False)
    other = a_project("contracts", is_practice=False, members={mira: Role.VIEWER})
    practice = a_project("proofs", members={mira: Role.SUBMITTER})
    june, may = dt.date(2026, 6, 1), dt.date(2026, 5, 1)
    told = [(real, june)] * 5 + [(other, june)] * 2 + [(real, may), (hidden, june), (practice, june)]
    for number, (project, month) in enumerate(told):
        Refusal.objects.create(
            project=project, user=mira, budget=project.budget_set.get(), month=month,
            ceiling=Decimal(number + 3), shortfall=Decimal("0.36"),
        )  # fmt: skip
    # Two of one moment, on two pages.
    Refusal.objects.update(at=dt.datetime(2026, 6, 18, 12, tzinfo=dt.UTC))
    monkeypatch.setattr(month_lists, "PAGE", 3)
    for query, number in (("month=2026-06", 7), ("month=2026-06&project=bugs", 5), ("month=2026-05", 1)):
        html = page_of(signed_in, f"?{query}").content.decode()
        (link, words) = re.findall(r'href="(/budget/refused/[^"]*)">(.*?)</a>', html)[0]
        assert words == f"{number} time{'s' if number > 1 else ''}"
        rows, url = [], html_module.unescape(link)
        while url:
            page = signed_in.get(url)
            assert f"<b>{number}</b> time{'s' if number > 1 else ''} a job" in page.content.decode()
            listing = page.context["listing"]
            rows += [row.ceiling for row in listing.rows]
            url = listing.older and f"/budget/refused/?{listing.older}"
        assert len(rows) == len(set(rows)) == number
    assert "First page</a>" in page_of(signed_in, f"refused/?{listing.first}&after=1-1").content.decode()
    assert "Secret" not in page.content.decode()
    practised = signed_in.get("/budget/refused/?month=2026-06&side=practice")
    assert [row.project_name for row in practised.context["listing"].rows] == ["Proofs"]
    assert "Made-up money" in practised.content.decode()
    assert signed_in.get("/budget/refused/?project=secret").status_code == 404
    assert "No job was refused" in signed_in.get("/budget/refused/?month=2026-04").content.decode()


def test_ones_own_cap_stands_with_its_end_among_the_caps(
    real: Project, mira: User, signed_in: Client
) -> None:
    other, elsewhere = a_person("jo@example.com"), a_project("else", is_practice=False)
    spend_days(real, mira, working_days(dt.date(2026, 4, 13), dt.date(2026, 6, 18), 10))
    spend_days(elsewhere, other, working_days(dt.date(2026, 4, 13), dt.date(2026, 6, 18), 30))
    assert "Your own cap" not in words_of(signed_in)
    spend.set_cap(Decimal(7), user=other)
    own = spend.set_cap(Decimal(400), user=mira)
    job = a_job(real, mira, Status.IN_PROGRESS)
    BudgetPeriod.objects.filter(budget=own).update(spent=140)
    page = page_of(signed_in)
    end = page.context["end"]
    periods = Budget.objects.own_of(mira.pk).periods_in(TODAY.replace(day=1))
    assert end.own.end == month_ends(periods)[own.pk]
    assert 200 < end.own.end.likely < 260
    words = words_of(signed_in)
    assert "Your own cap, in all projects" in words
    held = f'kind=held&amp;person={mira.pk}">{ui.ceiling(job.worst_case)} held</a>, '
    assert f"{held}{ui.money(260 - job.worst_case)} left. Forecast {ui.dollars(end.own.end.likely)}" in words
    assert f'kind=spent&amp;person={mira.pk}">$140.00</a> <span class="of">of $400</span>' in words
    assert end.alarm is None
    spend.set_cap(Decimal(180), user=mira)
    words = words_of(signed_in)
    assert "<b>You</b> have used 78% of your own cap and reach it around <b>" in words
    assert "reaches its cap around" in words
    # Not of one project alone, nor of practice, nor to anyone else; of a month that is over it says no end.
    assert "Your own cap" not in words_of(signed_in, "?project=bugs")
    a_project("trial", members={mira: Role.SUBMITTER})
    assert "Your own cap" not in words_of(signed_in, "?side=practice")
    assert "Your own cap" in words_of(signed_in, "?month=2026-05")
    spend.set_cap(Decimal(180), user=mira, is_hard=False)
    assert "<b>You</b>" not in words_of(signed_in)
    spend.lift_cap(own)
    assert "Your own cap" not in words_of(signed_in)


def test_what_was_missing_of_anothers_cap_is_for_them_and_for_operators(real: Project, mira: User) -> None:
    jo, operator = a_person("jo@example.com"), a_person("op@example.com", is_superuser=True)
    real.members.add(jo, through_defaults={"role": Role.MANAGER})
    whole, own = spend.set_cap(Decimal(10)), spend.set_cap(Decimal(1), user=jo)
    Refusal.objects.bulk_create(
        Refusal(project=real, user=jo, budget=budget, month=dt.date(2026, 6, 1), ceiling=7, shortfall=missing)
        for budget, missing in ((real.budget_set.get(), 1), (whole, 2), (own, 3))
    )

    def told(person: User) -> list[list[str]]:
        client = Client()
        client.force_login(person)
        pages = ("/budget/", real.get_absolute_url())
        return [
            re.findall(r'<td class="r">\$7.00</td><td class="r">([^<]+)</td>', client.get(page).text)
            for page in pages
        ]

    # Newest first: of the person's own cap, of the workspace, of the project.
    assert told(mira) == [["–", "–", "$1.00"]] * 2
    assert told(jo) == told(operator) == [["$3.00", "$2.00", "$1.00"]] * 2


def test_the_list_of_refusals_tells_nobody_what_is_left_of_anothers_cap(
    real: Project, mira: User, signed_in: Client
) -> None:
    jo = a_person("jo@example.com")
    real.members.add(jo, through_defaults={"role": Role.SUBMITTER})
    own = spend.set_cap(Decimal(5), user=jo)
    Refusal.objects.create(
        project=real,
        user=jo,
        budget=own,
        month=dt.date(2026, 6, 1),
        ceiling=Decimal("3.26"),
        shortfall=Decimal(1),
    )
    cells = '<td class="r">$3.26</td><td class="r">{}</td>'
    assert cells.format("–") in page_of(signed_in, "refused/").content.decode()
    signed_in.force_login(jo)
    assert cells.format("$1.00") in page_of(signed_in, "refused/").content.decode()


def test_a_right_answer_costs_what_the_wrong_ones_cost_as_well(
    real: Project, mira: User, signed_in: Client
) -> None:
    assert "Nobody has marked an answer yet" in words_of(signed_in)
    at = dt.datetime(2026, 6, 18, 12, tzinfo=dt.UTC)
    for value, cost in ((VerdictValue.RIGHT, 1), (VerdictValue.WRONG, 2), (VerdictValue.UNSURE, 9)):
        job = a_job(real, mira, Status.COMPLETED, cost=Decimal(cost))
        Verdict.objects.create(job=job, value=value, by=mira, at=at)
    judged = page_of(signed_in).context["rows"].judged
    assert (judged.answers, judged.right, judged.cost, judged.per_right) == (2, 1, 3, 3)
    words = text_of(words_of(signed_in))
    assert "$3.00 for each right one: 1 of 2 judged answers was right, and all of them cost $3.00." in words
    Verdict.objects.filter(value=VerdictValue.RIGHT).delete()
    assert "None of 1 judged answer was right, and all of them cost $2.00." in text_of(words_of(signed_in))


def text_of(html: str) -> str:
    return re.sub("<[^>]*>", "", html)


@pytest.fixture
def judged(real: Project, mira: User) -> list[Verdict]:
    """Four verdicts that count in June, and others: unsure, of July, of another's project, of practice."""
    made = []
    own = [(real, VerdictValue.RIGHT, 1), (real, VerdictValue.RIGHT, 2), (real, VerdictValue.WRONG, 4)]
    other = a_project("contracts", is_practice=False, members={mira: Role.SUBMITTER})
    hidden = a_project("secret", is_practice=False, members={mira: Role.SUBMITTER})
    practice = a_project("proofs", members={mira: Role.SUBMITTER})
    said = [
        *own,
        (other, VerdictValue.WRONG, 8),
        (real, VerdictValue.UNSURE, 16),
        (real, VerdictValue.RIGHT, 32),
    ]
    for project, value, cost in [*said, (hidden, VerdictValue.RIGHT, 64), (practice, VerdictValue.RIGHT, 5)]:
        # Charged in another month than the one in which it is judged.
        job = a_job(project, mira, Status.COMPLETED, cost=Decimal(cost), spec={"title": f"Job {cost}"})
        at = dt.datetime(2026, 7 if cost == 32 else 6, 18, 12, tzinfo=dt.UTC)
        made.append(Verdict.objects.create(job=job, value=value, by=mira, at=at))
    Membership.objects.filter(project=hidden).delete()
    return made


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("month=2026-06", {"": (4, 15), "right": (2, 3), "wrong": (2, 12)}),
        ("month=2026-06&project=bugs", {"": (3, 7), "right": (2, 3), "wrong": (1, 4)}),
    ],
)
def test_what_a_right_answer_costs_leads_to_the_answers(
    judged: list[Verdict],
    signed_in: Client,
    monkeypatch: pytest.MonkeyPatch,
    query: str,
    told: dict[str, tuple[int, int]],
) -> None:
    monkeypatch.setattr(month_lists, "PAGE", 1)
    html = page_of(signed_in, f"?{query}").content.decode()
    links = dict(re.findall(r'href="(/budget/judged/[^"]*)">([^<]*)</a>', html))
    found = {html_module.unescape(link) for link in links}
    assert found == {f"/budget/judged/?{query}", f"/budget/judged/?{query}&value=right"}
    for value, (number, cost) in told.items():
        rows, url = [], f"/budget/judged/?{query}&value={value}"
        while url:
            page = signed_in.get(url)
            words = f"<b>{number}</b> {value or 'judged'} answers, which cost <b>${cost}.00</b>"
            assert words.replace("1</b> wrong answers", "1</b> wrong answer") in page.content.decode()
            rows += page.context["listing"].rows
            url = page.context["listing"].older and f"/budget/judged/?{page.context['listing'].older}"
        assert (len(rows), sum(row.cost for row in rows)) == (number, cost)
        assert {row.value for row in rows} <= {value or row.value for row in rows}


def test_only_the_newest_verdicts_count_and_the_page_says_so(
    judged: list[Verdict], signed_in: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "of the newest" not in words_of(signed_in)
    for module in (month_lists, month_rows):
        monkeypatch.setattr(module, "MOST_JUDGED", 2)
    month_rows._judged.cache_clear()
    # Of one moment, those of the newest jobs.
    assert "None of the newest 2 judged answers was right, and all of them cost $12.00" in text_of(
        words_of(signed_in)
    )
    page = signed_in.get("/budget/judged/")
    assert [row.cost for row in page.context["listing"].rows] == [8, 4]
    assert ", of the newest 2 that were judged in this month." in page.content.decode()
    month_rows._judged.cache_clear()


def test_nobody_has_judged_anything(real: Project, signed_in: Client) -> None:
    page = signed_in.get("/budget/judged/?value=all").content.decode()
    assert "Nobody has marked an answer in this month." in page


def test_lists_of_a_month_need_few_queries(
    judged: list[Verdict], signed_in: Client, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    for path in ("/budget/refused/", "/budget/judged/?value=right"):
        with django_assert_max_num_queries(8):
            signed_in.get(path)


def test_practice_is_judged_apart(judged: list[Verdict], signed_in: Client) -> None:
    page = signed_in.get("/budget/judged/?side=practice")
    assert [row.cost for row in page.context["listing"].rows] == [5]
    assert "Made-up money" in page.content.decode()
    assert signed_in.get("/budget/judged/?project=secret").status_code == 404


def test_tags_stand_with_what_they_cost(real: Project, mira: User, signed_in: Client) -> None:
    a_job(real, mira, Status.COMPLETED, cost=Decimal(2), spec={"tags": ("lemma", "proof")})
    a_job(real, mira, Status.COMPLETED, cost=Decimal(1), spec={"tags": ("lemma",)})
    tags = page_of(signed_in).context["month"].tags
    assert [(row.tag, row.cost, row.jobs) for row in tags] == [("lemma", 3, 2), ("proof", 2, 1)]


def test_waiting_saves_nothing_where_a_connection_has_no_windows(
    real: Project, mira: User, signed_in: Client, settings: Any
) -> None:
    settings.PONDER_TODAY = dt.date(2026, 11, 20)
    spec = {"model": "gpt-6-sol", "mode": "standard"}
    a_job(real, mira, Status.COMPLETED, cost=Decimal(2), spec=spec)
    assert 'Waiting would have saved up to <b class="num">$0.80</b>: 1 job was' in words_of(signed_in)
    Connection.objects.update(kind=Kind.AZURE)
    assert "Waiting would have saved" not in words_of(signed_in)


def test_the_bill_for_other_tools_has_the_columns_of_focus(
    real: Project, mira: User, signed_in: Client
) -> None:
    """https://focus.finops.org/focus-specification/v1-2/"""
    Workspace.objects.update(time_zone="Europe/Stockholm")
    Project.objects.filter(pk=real.pk).update(cost_centre='=cc"7', name="-Bugs")
    job = a_job(real, mira, Status.COMPLETED)
    a_job(a_project(members={mira: Role.SUBMITTER}), mira, Status.COMPLETED)
    answer = signed_in.get("/budget/?format=focus")
    assert isinstance(answer, StreamingHttpResponse)
    (row,) = csv.DictReader(io.StringIO(answer.getvalue().decode()))
    assert tuple(row) == FOCUS
    mandatory = FOCUS[: FOCUS.index("ServiceName") + 1]
    assert len(mandatory) == 21
    assert [name for name in mandatory if not row[name]] == ["ChargeClass"]  # null: no correction
    assert {Decimal(row[f"{kind}Cost"]) for kind in ("Billed", "Effective", "List", "Contracted")} == {
        job.cost
    }
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == (
        "2026-06-18T22:00:00Z", "2026-06-19T22:00:00Z",
    )  # fmt: skip
    assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == (
        "2026-05-31T22:00:00Z", "2026-06-30T22:00:00Z",
    )  # fmt: skip
    assert row["ServiceCategory"] == "AI and Machine Learning"
    assert row["ProviderName"] == row["InvoiceIssuerName"] == "OpenAI"
    assert row["SubAccountName"] == "'-Bugs"
    assert json.loads(row["Tags"]) == {"cost_centre": '=cc"7'}
    assert row["ConsumedQuantity"] == row["PricingQuantity"] == "11000"
