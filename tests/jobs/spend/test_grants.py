"""Grants: more may be spent in one budget for a while, every cent of it in the ledger."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction
from pytest_django.fixtures import Settings

from jobs import spend
from jobs.models import Budget, BudgetPeriod, LedgerEntry, Project, User
from tests.factories import a_person
from tests.jobs.spend.conftest import MakeAttempt, findings

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _november(settings: Settings) -> None:
    settings.PONDER_TODAY = dt.date(2026, 11, 15)


@pytest.fixture
def ops(db: None) -> User:
    return a_person("ops@example.com", is_superuser=True)


def granted(budget: Budget, amount: str, ops: User, key: str = "grant:1") -> LedgerEntry:
    with transaction.atomic():
        return spend.grant(budget, Decimal(amount), key=key, actor=ops, reason="a deadline")


def test_a_grant_makes_room_in_its_budget_and_in_no_other(
    project: Project, ops: User, admitted: MakeAttempt
) -> None:
    workspace = spend.set_cap(Decimal(50))
    entry = granted(Budget.objects.get(project=project), "5", ops)
    assert (entry.amount, entry.actor, entry.reason, entry.project) == (5, ops, "a deadline", project)
    admitted(project, "15")
    assert BudgetPeriod.objects.get(budget__project=project).left == 0
    assert BudgetPeriod.objects.get(budget=workspace).granted == 0
    assert findings() == []


def test_its_end_takes_it_back_once_and_leaves_what_is_committed(
    project: Project, ops: User, admitted: MakeAttempt
) -> None:
    granted(Budget.objects.get(), "5", ops)
    admitted(project, "14")
    for _ in range(2):
        with transaction.atomic():
            spend.end_grant("grant:1", reason="its time was over")
    period = BudgetPeriod.objects.get()
    assert (period.granted, period.held, period.left) == (0, 14, -4)
    grants = LedgerEntry.objects.filter(kind="grant").order_by("pk")
    assert list(grants.values_list("amount", flat=True)) == [5, -5]
    assert findings() == []
    with pytest.raises(spend.BudgetRefused):
        admitted(project, "0.01")


def test_an_end_in_a_later_month_is_booked_in_the_grants_own(
    project: Project, ops: User, settings: Settings
) -> None:
    granted(Budget.objects.get(), "5", ops)
    settings.PONDER_TODAY = dt.date(2026, 12, 3)
    with transaction.atomic():
        spend.end_grant("grant:1", reason="its time was over")
    assert BudgetPeriod.objects.get().granted == 0
    assert findings() == []


def test_a_grant_counts_in_this_month_only(project: Project, ops: User, settings: Settings) -> None:
    granted(Budget.objects.get(), "5", ops)
    settings.PONDER_TODAY = dt.date(2026, 12, 3)
    assert [period.room for period in spend.periods_now(project, ops.pk)] == [10]


def test_the_same_grant_is_booked_once(project: Project, ops: User) -> None:
    budget = Budget.objects.get()
    granted(budget, "5", ops)
    with pytest.raises(IntegrityError), transaction.atomic():
        granted(budget, "5", ops)
    assert BudgetPeriod.objects.get().granted == 5


def test_an_audit_sees_a_grant_that_the_ledger_does_not_have(project: Project, ops: User) -> None:
    granted(Budget.objects.get(), "5", ops)
    BudgetPeriod.objects.update(granted=6)
    assert findings() == ["cap of Real, 2026-11: granted"]


@pytest.mark.django_db(transaction=True)
def test_a_grant_belongs_to_the_transaction_that_decides_it(project: Project, ops: User) -> None:
    with pytest.raises(RuntimeError):
        spend.grant(Budget.objects.get(), Decimal(5), key="grant:1", actor=ops, reason="")
