"""Caps: set, lowered, made in mid-month, and shown before their month is open."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db import IntegrityError
from pytest_django.fixtures import Settings

from jobs import spend
from jobs.models import ApiToken, Basis, Budget, BudgetPeriod, Project, Scope, User
from jobs.spend import caps
from tests.factories import a_project
from tests.jobs.spend.conftest import MakeAttempt, findings

pytestmark = pytest.mark.django_db

NOVEMBER, DECEMBER = dt.date(2026, 11, 1), dt.date(2026, 12, 1)


@pytest.fixture(autouse=True)
def _november(settings: Settings) -> None:
    settings.PONDER_TODAY = dt.date(2026, 11, 15)


def test_a_cap_is_set_for_one_scope(project: Project, person: User) -> None:
    assert spend.set_cap(Decimal(7)).scope == Scope.WORKSPACE
    assert spend.set_cap(Decimal(7), user=person).scope == Scope.MEMBER
    assert spend.set_cap(Decimal(7), project=project).scope == Scope.PROJECT
    assert spend.set_cap(Decimal(8), user=person) == Budget.objects.get(scope=Scope.MEMBER)
    assert Budget.objects.count() == 3


def test_a_cap_may_be_lowered_below_what_is_committed(project: Project, admitted: MakeAttempt) -> None:
    admitted(project, "9")
    budget = spend.set_cap(Decimal(5), project=project)
    period = BudgetPeriod.objects.get()
    assert (budget.cap, period.cap, period.left) == (5, 5, -4)
    with pytest.raises(spend.BudgetRefused):
        admitted(project, "0.01")


def test_a_changed_cap_leaves_past_months_as_they_were(project: Project, settings: Settings) -> None:
    settings.PONDER_TODAY = dt.date(2026, 12, 3)
    spend.set_cap(Decimal(99), project=project)
    found = BudgetPeriod.objects.order_by("month").values_list("month", "cap")
    assert list(found) == [(NOVEMBER, 10), (DECEMBER, 99)]


def test_a_budget_made_in_mid_month_opens_with_what_the_ledger_says(
    project: Project, person: User, admitted: MakeAttempt
) -> None:
    practice = a_project("practice")
    admitted(practice, "3")
    spend.settle(admitted(project, "2"), cost=Decimal("0.5"), basis=Basis.USAGE)
    admitted(project, "1.5")
    for budget in (spend.set_cap(Decimal(50)), spend.set_cap(Decimal(50), user=person)):
        period = BudgetPeriod.objects.get(budget=budget)
        assert (period.spent, period.held) == (Decimal("0.5"), Decimal("1.5"))
    assert findings() == []


def test_a_new_budget_opens_past_months_that_can_still_move(
    project: Project, admitted: MakeAttempt, settings: Settings
) -> None:
    waiting = admitted(project, "2")
    settings.PONDER_TODAY = dt.date(2026, 12, 3)
    budget = spend.set_cap(Decimal(50))
    spend.settle(waiting, cost=Decimal(1), basis=Basis.USAGE)
    found = BudgetPeriod.objects.filter(budget=budget).order_by("month").values_list("month", "held", "spent")
    assert list(found) == [(NOVEMBER, 0, 1), (DECEMBER, 0, 0)]
    assert findings() == []


def test_a_month_that_begins_while_a_new_budget_waits_for_its_lock_is_the_one_opened(
    project: Project, admitted: MakeAttempt, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = caps.lock_money

    def waits() -> None:
        settings.PONDER_TODAY = dt.date(2026, 12, 1)
        attempt = admitted(project, "1")
        spend.settle(attempt, cost=Decimal(1), basis=Basis.USAGE)
        type(attempt).objects.update(state="ended")
        lock()

    monkeypatch.setattr(caps, "lock_money", waits)
    spend.set_cap(Decimal(50))
    assert findings() == []
    assert BudgetPeriod.objects.get(budget__scope="workspace").spent == 1


def test_this_months_periods_are_shown_before_they_are_open(
    project: Project, person: User, admitted: MakeAttempt, settings: Settings
) -> None:
    spend.set_cap(Decimal(50))
    admitted(project, "2")
    assert [(period.cap, period.held) for period in spend.periods_now(project, person.pk)] == [
        (10, 2),
        (50, 2),
    ]
    settings.PONDER_TODAY = dt.date(2026, 12, 3)
    found = spend.periods_now(project, person.pk)
    assert [(period.month, period.cap, period.committed) for period in found] == [
        (DECEMBER, 10, 0),
        (DECEMBER, 50, 0),
    ]
    assert BudgetPeriod.objects.count() == 2


def test_opening_a_month_twice_is_harmless(project: Project) -> None:
    budgets = list(Budget.objects.all())
    spend.open_periods(budgets, DECEMBER)
    spend.open_periods(budgets, DECEMBER)
    assert BudgetPeriod.objects.filter(month=DECEMBER).count() == 1


def test_a_token_has_a_cap_of_its_own(project: Project, person: User, admitted: MakeAttempt) -> None:
    token = ApiToken.objects.create(name="nightly", project=project, user=person, prefix="p", digest="d")
    spend.set_cap(Decimal(3), token=token)
    admitted(project, "2", token=token)
    admitted(project, "2")
    with pytest.raises(spend.BudgetRefused) as refused:
        admitted(project, "2", token=token)
    assert (refused.value.budget.token, refused.value.shortfall) == (token, 1)
    assert findings() == []


def test_a_soft_cap_admits_and_shows_what_is_over(project: Project, admitted: MakeAttempt) -> None:
    spend.set_cap(Decimal(5), project=project, is_hard=False)
    admitted(project, "7")
    period = BudgetPeriod.objects.get()
    assert (period.left, period.is_over, period.is_closed) == (-2, True, False)
    spend.set_cap(Decimal(5), project=project)
    assert BudgetPeriod.objects.get().is_closed


def test_a_lifted_cap_refuses_nothing_and_goes_on_counting(
    project: Project, person: User, admitted: MakeAttempt
) -> None:
    budget = spend.set_cap(Decimal(1), user=person)
    assert spend.lift_cap(budget)
    assert not spend.lift_cap(budget)
    admitted(project, "4")
    assert [period.budget.scope for period in spend.periods_now(project, person.pk)] == [Scope.PROJECT]
    assert findings() == []
    spend.set_cap(Decimal(5), user=person)
    assert BudgetPeriod.objects.get(budget=budget).left == 1
    with pytest.raises(spend.BudgetRefused):
        admitted(project, "2")


def test_the_cap_of_a_project_is_never_lifted(project: Project) -> None:
    with pytest.raises(IntegrityError, match="project_cap_is_never_lifted"):
        spend.lift_cap(Budget.objects.get())
