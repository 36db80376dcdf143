"""The month: totals that are sums of rows, practice apart, a past month that can still move, safe cells."""

import csv
import io
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from jobs import clock, spend
from jobs.access import Role
from jobs.models import BudgetPeriod, DailySpend, Project, Status, User, Workspace
from tests.factories import a_person, a_project
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def mira() -> User:
    return a_person()


@pytest.fixture
def real(mira: User) -> Project:
    return a_project("bugs", is_practice=False, members={mira: Role.SUBMITTER})


def table_of(client: Client, query: str = "") -> list[list[str]]:
    return list(csv.reader(io.StringIO(client.get(f"/budget/?format=csv{query}").content.decode())))


def test_totals_are_the_sums_of_their_rows_and_of_the_ledger(real: Project, mira: User) -> None:
    other = a_project("contracts", is_practice=False, members={mira: Role.VIEWER})
    a_job(real, mira, Status.COMPLETED)
    a_job(real, mira, Status.COMPLETED, spec={"model": "gpt-6-luna", "mode": "standard"})
    other.members.add(a_person("jo@example.com"), through_defaults={"role": Role.MANAGER})
    Project.objects.filter(pk=other.pk).update(archived_at=None)
    page = signed_in(mira).get("/budget/")
    side = page.context["real"]
    booked = BudgetPeriod.objects.get(budget__project=real).spent
    assert booked > 0
    assert sum(line.cost for line in side.by_project) == side.spent == booked
    assert sum(line.cost for line in side.by_model) == side.spent
    assert len(side.by_model) == 2
    assert {line.name for line in side.by_project} == {"Bugs", "Contracts"}
    assert page.content.decode().count(f"${side.spent:.2f}") >= 3


def test_practice_stands_apart_and_in_no_total(real: Project, mira: User) -> None:
    practice = a_project(members={mira: Role.SUBMITTER})
    a_job(practice, mira, Status.COMPLETED)
    page = signed_in(mira).get("/budget/")
    assert page.context["real"].spent == 0
    assert page.context["practice"].spent > 0
    assert "Made-up money" in page.content.decode()
    assert len(table_of(signed_in(mira))) == 1


def test_only_projects_one_may_see_are_counted(real: Project, mira: User) -> None:
    hidden = a_project("hidden", is_practice=False)
    operator = a_person("ops@example.com", is_superuser=True)
    a_job(hidden, operator, Status.COMPLETED)
    a_job(hidden, operator, Status.IN_PROGRESS)
    page = signed_in(mira).get("/budget/")
    assert page.context["real"].spent == 0
    assert page.context["holds"] == []
    assert "Hidden" not in page.content.decode()
    assert len(table_of(signed_in(mira))) == 1
    assert signed_in(operator).get("/budget/").context["real"].spent > 0


def test_the_workspaces_cap_is_for_operators(real: Project, mira: User) -> None:
    spend.set_cap(Decimal(500))
    operator = a_person("ops@example.com", is_superuser=True)
    assert signed_in(mira).get("/budget/").context["workspace"] is None
    assert "$500.00" in signed_in(operator).get("/budget/").content.decode()


def test_money_in_flight_is_listed_oldest_first(real: Project, mira: User) -> None:
    first, second = (a_job(real, mira, Status.IN_PROGRESS) for _ in range(2))
    page = signed_in(mira).get("/budget/")
    assert [hold["short_id"] for hold in page.context["holds"]] == [first.short_id, second.short_id]
    assert page.context["real"].held == sum(hold["held"] for hold in page.context["holds"])
    assert "Money in flight" in page.content.decode()


def test_a_past_month_with_open_holds_can_still_move(real: Project, mira: User, settings: Any) -> None:
    a_job(real, mira, Status.IN_PROGRESS)
    month = clock.month_of(Workspace.objects.the().today())
    client = signed_in(mira)
    assert "can still move" not in client.get("/budget/").content.decode()
    settings.PONDER_TODAY = (month.replace(day=28) + (month.replace(day=28) - month)).replace(day=2)
    page = client.get(f"/budget/?month={month:%Y-%m}")
    assert "This month can still move." in page.content.decode()
    assert page.context["after"] is not None


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
    with django_assert_max_num_queries(14):
        client.get("/budget/")


def test_a_model_used_on_both_sides_is_summed_on_each(real: Project, mira: User) -> None:
    practice = a_project(members={mira: Role.SUBMITTER})
    a_job(real, mira, Status.COMPLETED, cost=Decimal(3))
    for _ in range(2):
        a_job(practice, mira, Status.COMPLETED, cost=Decimal(7))
    page = signed_in(mira).get("/budget/").context
    assert [(line.cost, line.jobs) for line in page["real"].by_model] == [(3, 1)]
    assert [(line.cost, line.jobs) for line in page["practice"].by_model] == [(14, 2)]


def test_an_archived_project_is_listed_in_the_months_it_cost_something(real: Project, mira: User) -> None:
    a_job(real, mira, Status.COMPLETED)
    Project.objects.update(archived_at="2026-11-01T00:00Z")
    client = signed_in(mira)
    assert [line.name for line in client.get("/budget/").context["real"].by_project] == ["Bugs"]
    assert client.get("/budget/?month=2020-02").context["real"].by_project == []


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
