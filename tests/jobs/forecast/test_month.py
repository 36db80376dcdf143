"""The end of a month: what is told, when it is too early, and how often reality falls into the range."""

import datetime as dt
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from jobs import spend
from jobs.access import Role
from jobs.forecast import Outlook, kept, month_ends, outlook
from jobs.models import BudgetPeriod, DailySpend, MonthlySpend, Project, Status, User
from tests.factories import a_person, a_project
from tests.jobs.forecast.teams import CHANCES, MONTHS, a_team
from tests.jobs.views.states import a_job

MONDAY = dt.date(2026, 6, 1)  # and the first of a month


def days(first: dt.date, *usd: str | int) -> dict[dt.date, Decimal]:
    return {first + dt.timedelta(days=number): Decimal(cost) for number, cost in enumerate(usd)}


def working_weeks(first: dt.date, last: dt.date, usd: int) -> dict[dt.date, Decimal]:
    """USD on every working day, nothing at weekends."""
    every = [first + dt.timedelta(days=number) for number in range((last - first).days + 1)]
    return {day: Decimal(usd if day.weekday() < 5 else 0) for day in every}


def told(spent: dict[dt.date, Decimal], today: dt.date, **more: Any) -> Outlook:
    found = outlook(spent, today, **more)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_range_of_day_ten_has_the_months_end_in_75_to_90_percent(seed: int) -> None:
    """Half a year of teams of each kind, the first month included, of which only ten days are known."""
    draw = random.Random(seed)
    assert_it_holds([a_team(draw, chance) for chance in CHANCES for _ in range(6)])


@pytest.mark.parametrize("chance", CHANCES)
def test_the_range_holds_whatever_chance_is_like(chance: str) -> None:
    draw = random.Random(11)
    assert_it_holds([a_team(draw, chance) for _ in range(24)])


def assert_it_holds(teams: list[dict[dt.date, Decimal]]) -> None:
    found = [one for team in teams for one in kept(team, MONTHS)]
    assert len(found) >= 60
    assert 0.75 <= sum(one.is_within for one in found) / len(found) <= 0.90


def test_below_five_active_days_it_is_too_early_to_tell() -> None:
    assert outlook({}, MONDAY) is None
    assert outlook(days(MONDAY, 5, 5, 5, 5), dt.date(2026, 6, 8)) is None
    assert outlook(days(MONDAY, 5, 5, 5, 5, 5), dt.date(2026, 6, 5)) is not None


def test_what_was_spent_more_than_ten_weeks_ago_tells_nothing() -> None:
    assert outlook(working_weeks(dt.date(2026, 1, 1), dt.date(2026, 3, 1), 5), dt.date(2026, 6, 5)) is None


def test_quiet_weekends_and_busy_weekdays_are_expected_again() -> None:
    today = dt.date(2026, 6, 19)  # a Friday
    found = told(working_weeks(dt.date(2026, 4, 13), today, 100), today)
    weekend = [day for day in found.ahead if day.on.weekday() >= 5]
    working = [day for day in found.ahead if day.on.weekday() < 5]
    assert all(day.likely < 10 for day in weekend)
    assert all(90 < day.likely < 110 for day in working)
    # 15 working days are spent and 7 are left.
    assert 2150 < found.likely < 2250
    assert found.low <= found.likely <= found.high
    assert [day.on.day for day in found.ahead] == list(range(20, 31))


def test_growth_is_followed_but_not_believed_at_once() -> None:
    today = dt.date(2026, 6, 10)
    growing = {today - dt.timedelta(days=ago): Decimal(100 - ago) for ago in range(60)}
    flat = {day: Decimal(70) for day in growing}
    rising, level = told(growing, today), told(flat, today)
    assert rising.ahead[0].likely > 90
    assert rising.ahead[-1].likely > rising.ahead[0].likely
    assert level.ahead[-1].likely == 70


def test_low_never_falls_below_what_is_spent() -> None:
    draw = random.Random(5)
    spent = a_team(draw, "with gaps")
    for day in (3, 10, 20, 29):
        today = dt.date(2026, 5, day)
        found = told(spent, today)
        so_far = sum(cost for on, cost in spent.items() if MONTHS[4] <= on <= today)
        assert so_far <= found.low <= found.likely <= found.high
        ends = [one.so_far for one in found.ahead]
        assert ends == sorted(ends)
        assert ends[-1] == found.likely


def test_of_what_is_held_its_usual_part_is_expected() -> None:
    today = dt.date(2026, 6, 19)
    spent = working_weeks(dt.date(2026, 4, 13), today, 100)
    without, held = told(spent, today), told(spent, today, held=Decimal(80), share=Decimal("0.25"))
    assert held.likely - without.likely == 20
    assert held.committed - without.committed == 80


def test_the_rest_of_today_is_still_to_come() -> None:
    today = dt.date(2026, 6, 19)
    spent = working_weeks(dt.date(2026, 4, 13), today - dt.timedelta(days=1), 100)
    night, evening = told(spent, today, gone=0.0), told(spent, today, gone=0.75)
    assert 70 < night.likely - evening.likely < 80
    # What a day costs in the end is not known in its morning, so it does not count as a quiet one.
    assert night.ahead[4].likely == evening.ahead[4].likely > 90


def test_a_cap_is_reached_on_the_day_that_likely_uses_it_up() -> None:
    today = dt.date(2026, 6, 19)
    spent = working_weeks(dt.date(2026, 4, 13), today, 100)  # 1,500 of this month
    found = told(spent, today)
    assert found.reaches(Decimal(1500)) == today
    assert found.reaches(Decimal(1650)) == dt.date(2026, 6, 23)
    assert found.reaches(Decimal(5000)) is None
    # What is held is not admitted a second time.
    assert told(spent, today, held=Decimal(200)).reaches(Decimal(1650)) == today


def test_on_the_last_evening_nothing_is_to_come() -> None:
    spent = working_weeks(MONDAY, dt.date(2026, 6, 30), 10)
    found = told(spent, dt.date(2026, 6, 30))
    assert (found.low, found.likely, found.high, found.ahead) == (220, 220, 220, ())


def test_a_team_that_stopped_is_expected_to_spend_little_and_breaks_nothing() -> None:
    found = told(days(MONDAY, 9, 9, 9, 9, 9), dt.date(2026, 6, 29))
    assert 45 <= found.low <= found.likely < 50


@pytest.fixture
def mira(db: None) -> User:
    return a_person()


def test_budgets_of_every_scope_are_told_from_the_rollups(
    mira: User, settings: Any, django_assert_num_queries: Callable[..., Any]
) -> None:
    settings.PONDER_TODAY = dt.date(2026, 6, 19)
    members = {mira: Role.SUBMITTER}
    bugs, proofs = (a_project(slug, is_practice=False, members=members) for slug in ("bugs", "proofs"))
    practice = a_project("toys", members=members)
    for project in (bugs, proofs, practice):
        a_job(project, mira, Status.COMPLETED, cost=Decimal(1))
        seed(project, mira, working_weeks(dt.date(2026, 5, 1), dt.date(2026, 6, 18), 10))
    a_job(bugs, mira, Status.IN_PROGRESS)
    spend.set_cap(Decimal(1000))
    spend.set_cap(Decimal(1000), user=mira)
    periods = list(BudgetPeriod.objects.select_related("budget").order_by("pk"))
    month_ends(periods)
    with django_assert_num_queries(5):  # one of them for the workspace's zone
        found = month_ends(periods)
    by_scope = {
        (period.budget.scope, period.budget.project_id): found[period.budget_id] for period in periods
    }
    one, both = by_scope["project", proofs.pk], by_scope["workspace", None]
    assert one is not None
    assert both is not None
    assert 210 < one.likely < 240
    # Practice is in neither the workspace's nor the person's.
    assert 2 * one.likely - 5 < both.likely < 2 * one.likely + 25
    assert by_scope["member", None] == both
    assert by_scope["project", bugs.pk] != one
    assert by_scope["project", practice.pk] is not None


def seed(project: Project, user: User, spent: dict[dt.date, Decimal]) -> None:
    """Write a project's days into the rollups, as settlement would have."""
    a_day = DailySpend.objects.filter(project=project).values().first()
    assert a_day is not None
    rows, sums = [], []
    for on, cost in spent.items():
        rows.append(DailySpend(**{**a_day, "id": None, "spent_on": on, "cost": cost}))
        sums.append(MonthlySpend(month=on.replace(day=1), project=project, spent_on=on, cost=cost, jobs=1))
    DailySpend.objects.bulk_create(rows)
    MonthlySpend.objects.bulk_create(sums)
