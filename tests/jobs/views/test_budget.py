"""The month: totals that are sums of rows, practice apart, a past month that can still move, safe cells."""

import csv
import datetime as dt
import io
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.http import StreamingHttpResponse
from django.test import Client

from jobs import clock, pricing, spend
from jobs.access import Role
from jobs.models import (
    ApiToken,
    Basis,
    BudgetPeriod,
    DailySpend,
    Job,
    MonthlySpend,
    Project,
    Status,
    User,
    Workspace,
)
from jobs.models.questions import ask_in_step
from jobs.templatetags import ui
from jobs.views.month import Line, Month
from tests.factories import a_person, a_project
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def real(mira: User) -> Project:
    return a_project("bugs", is_practice=False, members={mira: Role.SUBMITTER})


def table_of(client: Client, query: str = "") -> list[list[str]]:
    return file_of(client, f"/budget/?format=csv{query}")


def file_of(client: Client, address: str) -> list[list[str]]:
    answer = client.get(address)
    assert isinstance(answer, StreamingHttpResponse)
    return list(csv.reader(io.StringIO(answer.getvalue().decode())))


def shown(client: Client, query: str = "") -> Month:
    month = client.get(f"/budget/{query}").context["month"]
    assert isinstance(month, Month)
    return month


def test_the_cap_of_a_project_in_the_archive_counts_only_where_it_cost_something(
    real: Project, mira: User
) -> None:
    old = a_project("old", cap="900", is_practice=False, members={mira: Role.SUBMITTER})
    job = a_job(old, mira, Status.COMPLETED)
    old.archive(by=mira)
    month = shown(signed_in(mira))
    assert (month.cap, month.cap_name, len(month.lines)) == (1_000, "All caps", 2)
    BudgetPeriod.objects.filter(budget__project=old).update(spent=0)
    MonthlySpend.objects.filter(project=old).delete()
    month = shown(signed_in(mira))
    assert (job.cost > 0, month.cap, month.cap_name, len(month.lines)) == (True, 100, "Cap", 1)


def test_totals_are_the_sums_of_their_rows_and_of_the_ledger(real: Project, mira: User) -> None:
    other = a_project("contracts", is_practice=False, members={mira: Role.VIEWER})
    a_job(real, mira, Status.COMPLETED)
    a_job(real, mira, Status.COMPLETED, spec={"model": "gpt-6-luna", "mode": "standard"})
    other.members.add(a_person("jo@example.com"), through_defaults={"role": Role.MANAGER})
    page = signed_in(mira).get("/budget/")
    month = page.context["month"]
    booked = BudgetPeriod.objects.get(budget__project=real).spent
    assert booked > 0
    assert month.spent == booked == spent_in(month.lines)
    assert sum(share.cost for share in month.models) == sum(share.cost for share in month.efforts) == booked
    assert sum(row.cost for row in month.spenders) == month.days[-1].so_far == booked
    assert sum(bar.jobs for bar in month.costs.bars) == 1
    assert (month.jobs, len(month.models)) == (2, 2)
    assert {line.project.name for line in month.lines} == {"Bugs", "Contracts"}
    assert page.content.decode().count(f"${month.spent:.2f}") >= 3


def spent_in(lines: list[Line]) -> Decimal:
    return sum((line.spent for line in lines), Decimal(0))


def test_practice_stands_apart_and_in_no_total(real: Project, mira: User) -> None:
    practice = a_project(members={mira: Role.SUBMITTER})
    a_job(practice, mira, Status.COMPLETED)
    client = signed_in(mira)
    assert shown(client).spent == 0
    assert "Made-up money" not in client.get("/budget/").content.decode()
    page = client.get("/budget/?side=practice")
    assert page.context["month"].spent > 0
    assert [line.project.pk for line in page.context["month"].lines] == [practice.pk]
    assert "Made-up money" in page.content.decode()
    assert "format=csv" not in page.content.decode()
    assert shown(client, "?project=proofs").spent > 0
    for query in ("", "&side=practice", "&project=proofs"):
        assert len(table_of(client, query)) == 1


def test_whoever_sees_practice_only_is_shown_it(mira: User) -> None:
    a_job(a_project(members={mira: Role.SUBMITTER}), mira, Status.COMPLETED)
    page = signed_in(mira).get("/budget/")
    assert page.context["month"].spent > 0
    assert "Back to real money" not in page.content.decode()


def test_only_projects_one_may_see_are_counted(real: Project, mira: User) -> None:
    hidden = a_project("secret", is_practice=False)
    operator = a_person("ops@example.com", is_superuser=True)
    a_job(hidden, operator, Status.COMPLETED)
    a_job(hidden, operator, Status.IN_PROGRESS)
    client = signed_in(mira)
    month = shown(client)
    assert (month.spent, month.held, month.spenders, month.models) == (0, 0, [], [])
    assert "Secret" not in client.get("/budget/").content.decode()
    assert client.get("/budget/?project=secret").status_code == 404
    assert client.get("/budget/?project=secret&format=csv").status_code == 404
    assert len(table_of(client)) == 1
    assert shown(signed_in(operator)).spent > 0


def test_one_project_can_be_looked_at_alone(real: Project, mira: User) -> None:
    other = a_project("contracts", is_practice=False, members={mira: Role.SUBMITTER})
    a_job(real, mira, Status.COMPLETED)
    a_job(other, mira, Status.COMPLETED)
    client = signed_in(mira)
    month = shown(client, "?project=bugs")
    assert month.spent == BudgetPeriod.objects.get(budget__project=real).spent
    assert [line.project.name for line in month.lines] == ["Bugs"]
    assert (month.cap, month.cap_name) == (100, "Cap")
    assert {row[1] for row in table_of(client, "&project=bugs")[1:]} == {"bugs"}


def test_the_workspaces_cap_is_for_operators(real: Project, mira: User) -> None:
    spend.set_cap(Decimal(500))
    operator = signed_in(a_person("ops@example.com", is_superuser=True))
    member = shown(signed_in(mira))
    assert (member.workspace, member.cap, member.cap_name) == (None, 100, "Cap")
    assert (shown(operator).cap, shown(operator).cap_name) == (500, "Budget")
    # It is the cap of all projects, not of one.
    assert shown(operator, "?project=bugs").cap == 100


def test_what_is_held_is_shown_beside_what_is_spent(real: Project, mira: User) -> None:
    a_job(real, mira, Status.IN_PROGRESS)
    page = signed_in(mira).get("/budget/")
    month = page.context["month"]
    assert month.held == month.lines[0].period.held > 0
    html = page.content.decode()
    rows = f"/budget/ledger/?month={month.first:%Y-%m}&amp;kind=held"
    shown_held = ui.ceiling(month.held)
    assert f'<a class="fig" href="{rows}">{shown_held}</a> held, the oldest first' in html
    assert f'<a class="fig" href="{rows}&amp;project=bugs">{shown_held} held</a>, ' in html


def test_a_cap_that_is_nearly_used_up_is_named_first(real: Project, mira: User) -> None:
    client = signed_in(mira)
    a_job(real, mira, Status.COMPLETED, cost=Decimal("8.50"))
    assert shown(client).tight is None
    spend.set_cap(Decimal(10), project=real)
    assert "has used 85% of its cap: $1.50 is left." in client.get("/budget/").content.decode()
    spend.set_cap(Decimal(5), project=real)
    html = client.get("/budget/").content.decode()
    assert "nothing more is admitted until it fits" in html
    assert "over by $3.50" in html


def test_a_past_month_with_open_holds_can_still_move(real: Project, mira: User, settings: Any) -> None:
    a_job(real, mira, Status.IN_PROGRESS)
    month = clock.month_of(Workspace.objects.the().today())
    client = signed_in(mira)
    assert "can still move" not in client.get("/budget/").content.decode()
    settings.PONDER_TODAY = (month + dt.timedelta(days=40)).replace(day=2)
    page = client.get(f"/budget/?month={month:%Y-%m}")
    html, rows = page.content.decode(), f"/budget/ledger/?month={month:%Y-%m}&amp;kind=held"
    amount = ui.ceiling(page.context["month"].held)
    assert f'can still move.</b> <a class="fig" href="{rows}">{amount}</a> is held for jobs' in html
    assert f'<a class="fig" href="{rows}">{amount}</a> is still held' in html
    assert (page.context["month"].gone, page.context["month"].is_now) == (page.context["month"].length, False)
    assert [f"{one:%Y-%m}" for one in page.context["wanted"].months][-1] == f"{month:%Y-%m}"


def test_the_month_before_stands_beside_people_and_medians(real: Project, mira: User, settings: Any) -> None:
    first = clock.month_of(Workspace.objects.the().today())
    for cost in ("0.20", "0.20"):
        a_job(real, mira, Status.COMPLETED, cost=Decimal(cost))
    settings.PONDER_TODAY = (first + dt.timedelta(days=32)).replace(day=1)
    a_job(real, mira, Status.COMPLETED, cost=Decimal("1.20"))
    client = signed_in(mira)
    month = shown(client)
    (person,) = month.spenders
    assert (person.cost, person.before, person.jobs) == (Decimal("1.20"), Decimal("0.40"), 1)
    assert month.costs is not None
    assert month.costs.median == pricing.middle(pricing.bucket(Decimal("1.20")))
    assert month.costs.median_before == pricing.middle(pricing.bucket(Decimal("0.20")))
    # The middle of a bucket is near the median, and no more.
    html, drawn = client.get("/budget/").content.decode(), client.get("/budget/").context["drawn"]
    assert f"<small>about</small> {ui.money(month.costs.median)}</p>" in html
    assert f"<p>about {ui.money(month.costs.median_before)} in {first:%B}</p>" in html
    assert drawn["costs"]["median"] == f"Median about {ui.money(month.costs.median)}"
    assert drawn["costs"]["tail"].startswith("95th percentile about $")
    before = shown(client, f"?month={first:%Y-%m}")
    assert (before.spent, len(before.days)) == (Decimal("0.40"), before.length)


def test_many_projects_share_the_palette_and_the_dearest_have_a_colour_each(mira: User) -> None:
    for number in range(8):
        project = a_project(f"p{number}", is_practice=False, members={mira: Role.SUBMITTER})
        a_job(project, mira, Status.COMPLETED, cost=Decimal(number) / 100)
    month = shown(signed_in(mira))
    assert [one.name for one in month.series] == ["P7", "P6", "P5", "P4", "3 others"]
    assert len({one.swatch for one in month.series}) == 5
    assert [line.swatch for line in month.lines[:4]] == [one.swatch for one in month.series[:4]]
    assert {line.swatch for line in month.lines[4:]} == {month.series[-1].swatch}
    assert sum(month.series[-1].values) == Decimal("0.06")
    assert month.days[-1].so_far == month.spent == Decimal("0.28")


def test_a_long_list_of_projects_ends_in_one_line(mira: User) -> None:
    for number in range(14):
        project = a_project(f"p{number}", is_practice=False, members={mira: Role.SUBMITTER})
        if number < 2:
            a_job(project, mira, Status.COMPLETED, cost=Decimal("0.01") * (number + 1))
    page = signed_in(mira).get("/budget/")
    assert "2 more projects</a>" in page.content.decode()
    assert page.context["month"].listed[0].project.name == "P1"
    assert len(page.context["month"].listed) == 12


def test_projects_that_are_not_listed_are_shown_with_what_they_cost(mira: User) -> None:
    for number in range(15):
        project = a_project(f"p{number}", is_practice=False, members={mira: Role.SUBMITTER})
        if number < 14:
            a_job(project, mira, Status.COMPLETED, cost=Decimal("0.10") * (number + 1))
    html = signed_in(mira).get("/budget/").content.decode()
    rest = html.partition('<details class="rest">')[2].partition("</details>")[0]
    assert '<span class="n">3 more projects</span><span class="v">$0.30</span>' in rest
    assert re.findall(r'kind=spent&amp;project=(p\d+)">(.*?)</a>', rest) == [("p1", "$0.20"), ("p0", "$0.10")]


def test_two_projects_of_one_colour_differ_on_the_page(mira: User) -> None:
    first = a_project("first", is_practice=False, members={mira: Role.SUBMITTER})
    twin = Project(pk=first.pk + 5, name="Twin", slug="twin", connection=first.connection)
    month = Month(dt.date(2026, 11, 1), dt.date(2026, 11, 5), [first, twin], with_workspace=False)
    ask_in_step(month.asking())
    assert len({line.swatch for line in month.lines}) == 2


def test_each_chart_is_told_in_a_sentence_and_in_a_table(real: Project, mira: User, settings: Any) -> None:
    settings.PONDER_TODAY = dt.date(2026, 11, 6)
    for cost, model in (("3", "o3-pro"), ("1", "gpt-6-luna")):
        spec = {"model": model, "mode": "standard"}
        a_job(real, mira, Status.COMPLETED, cost=Decimal(cost), spec=spec)
    page = signed_in(mira).get("/budget/")
    html = " ".join(page.content.decode().split())
    assert "$4.00 of $100.00 after 6 of 30 days; an even pace would be at $20.00." in html
    assert "The dearest day was 6 Nov with $4.00. Dashed line: $3.33 a day spends the cap exactly." in html
    assert "o3-pro took 75% of $4.00." in html
    assert "1 job charged: half cost up to about $2.74, one in twenty more than about $2.74." in html
    rows = "/budget/ledger/?month=2026-11&amp;kind=spent&amp;day=2026-11-06"
    spent = f'<td class="r"><a class="fig" href="{rows}">$4.00</a></td>'
    assert f'<th scope="row">6 Nov</th>{spent}<td class="r">$4.00</td>' in html
    assert '<th scope="row">$2.37–$3.16</th><td class="r">1</td>' in html
    drawn = page.context["drawn"]
    assert drawn["cumulative"]["values"] == [0, 0, 0, 0, 0, 4]
    assert drawn["weekends"] == [0, 6, 7, 13, 14, 20, 21, 27, 28]
    assert drawn["daily"]["series"] == [{"name": "Bugs", "swatch": drawn["daily"]["series"][0]["swatch"],
                                         "values": [0, 0, 0, 0, 0, 4]}]  # fmt: skip
    assert drawn["costs"]["jobs"] == [0, 1, 0]


def test_a_month_of_charges_that_rest_on_nothing_has_no_costs_to_draw(real: Project, mira: User) -> None:
    a_job(real, mira, Status.FAILED, basis=Basis.NONE, cost=Decimal(0))
    page = signed_in(mira).get("/budget/")
    assert page.context["month"].costs is None
    assert "No job was charged." in page.content.decode()
    assert "Nothing was spent." in page.content.decode()


def test_what_charts_are_drawn_from_runs_no_script(real: Project, mira: User) -> None:
    Project.objects.update(name="</script><script>alert(1)</script>")
    a_job(real, mira, Status.COMPLETED)
    html = signed_in(mira).get("/budget/").content.decode()
    assert "<script>alert" not in html
    assert '<script id="drawn" type="application/json">' in html


@pytest.mark.parametrize("month", ["2026-13", "next", "1999-12", "9999-12", "2026-1", "２０２６-01"])
def test_a_month_that_is_none_is_not_found(mira: User, month: str) -> None:
    assert signed_in(mira).get("/budget/", {"month": month}).status_code == 404


def test_a_month_without_money_is_empty_and_not_an_error(real: Project, mira: User) -> None:
    page = signed_in(mira).get("/budget/?month=2020-02")
    assert page.status_code == 200
    assert "February 2020" in page.content.decode()


def test_the_page_names_the_zone_in_which_days_are_counted(real: Project, mira: User) -> None:
    Workspace.objects.update(time_zone="Europe/Stockholm")
    assert "Europe/Stockholm" in signed_in(mira).get("/budget/").content.decode()


def test_the_spreadsheet_has_every_digit_and_runs_no_cell(real: Project, mira: User) -> None:
    mira.name = '=HYPERLINK("http://x")'
    mira.save()
    a_job(real, mira, Status.COMPLETED)
    head, row = table_of(signed_in(mira))
    assert head[0] == "day"
    assert row[head.index("person")] == '\'=HYPERLINK("http://x")'
    assert Decimal(row[head.index("cost_usd")]) == DailySpend.objects.get().cost
    assert row[head.index("reasoning_tokens")] == "8000"


def test_the_spreadsheet_adds_up_to_the_page(real: Project, mira: User) -> None:
    token = ApiToken.objects.create(name="night", project=real, user=mira, prefix="p", digest="d")
    a_job(real, mira, Status.COMPLETED)
    Job.objects.update(token=token)
    for model in ("gpt-6-luna", "o3-pro"):
        a_job(real, mira, Status.COMPLETED, spec={"model": model, "mode": "standard"})
    client = signed_in(mira)
    head, *rows = table_of(client)
    cost, jobs = head.index("cost_usd"), head.index("jobs")
    assert sum(Decimal(row[cost]) for row in rows) == shown(client).spent
    assert sum(int(row[jobs]) for row in rows) == shown(client).jobs == 3


def test_someone_in_no_project_is_told_so(mira: User) -> None:
    assert "You are in no project yet" in signed_in(mira).get("/budget/").content.decode()


def test_the_budget_needs_few_queries(
    real: Project, mira: User, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    for number in range(3):
        project = a_project(f"p{number}", is_practice=False, members={mira: Role.SUBMITTER})
        a_job(project, mira, Status.COMPLETED)
        a_job(project, mira, Status.IN_PROGRESS)
    client = signed_in(mira)
    for path in ("/budget/", "/budget/?project=p1", "/budget/?side=practice"):
        with django_assert_max_num_queries(6):
            client.get(path)


def test_a_model_used_on_both_sides_is_summed_on_each(real: Project, mira: User) -> None:
    practice = a_project(members={mira: Role.SUBMITTER})
    a_job(real, mira, Status.COMPLETED, cost=Decimal(3))
    for _ in range(2):
        a_job(practice, mira, Status.COMPLETED, cost=Decimal(7))
    client = signed_in(mira)
    assert [(share.cost, share.jobs) for share in shown(client).models] == [(3, 1)]
    assert [(share.cost, share.jobs) for share in shown(client, "?side=practice").models] == [(14, 2)]


def test_an_archived_project_is_listed_in_the_months_it_cost_something(real: Project, mira: User) -> None:
    a_job(real, mira, Status.COMPLETED)
    Project.objects.update(archived_at="2026-11-01T00:00Z")
    client = signed_in(mira)
    assert [line.project.name for line in shown(client).lines] == ["Bugs"]
    assert shown(client, "?month=2020-02").lines == []


@pytest.mark.parametrize(
    ("cap", "spent", "held", "percents", "is_over"),
    [
        ("40", "10", "5", (25, Decimal("12.5")), False),
        ("0", "0", "0", (0, 0), False),
        ("0", "1", "0", (100, 0), True),
    ],
)
def test_a_period_says_what_part_of_its_room_is_taken(
    cap: str, spent: str, held: str, percents: tuple[Decimal, Decimal], is_over: bool
) -> None:
    period = BudgetPeriod(cap=Decimal(cap), spent=Decimal(spent), held=Decimal(held))
    assert (period.spent_percent, period.held_percent) == percents
    assert period.is_over is is_over
