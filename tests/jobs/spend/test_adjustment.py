"""Adjustments: what an attempt cost by the bill, with a reason, an actor and a key that counts once."""

from decimal import Decimal
from typing import Any

import pytest

from jobs import spend
from jobs.models import Attempt, Basis, BudgetPeriod, DailySpend, EntryKind, Job, LedgerEntry, Project, User
from jobs.pricing import Usage
from tests.jobs.spend.conftest import MakeAttempt, findings

pytestmark = pytest.mark.django_db

USAGE = Usage(input_tokens=100, cached_tokens=10, output_tokens=50, reasoning_tokens=40)


@pytest.fixture
def attempt(project: Project, admitted: MakeAttempt) -> Attempt:
    """An attempt that holds 1 USD."""
    return admitted(project, "1", tags=("a", "b"))


def adjust(attempt: Attempt, person: User, **wanted: Any) -> Decimal:
    given = {"was": Decimal("0.4"), "to": Decimal("0.5"), "reason": "the bill says so", "key": "1"}
    return spend.adjust(attempt, actor=person, **{**given, **wanted})


def test_an_adjustment_names_reason_and_actor_in_the_month_of_the_hold(
    attempt: Attempt, person: User
) -> None:
    spend.settle(attempt, cost=Decimal("0.4"), basis=Basis.USAGE, usage=USAGE)
    assert adjust(attempt, person) == Decimal("0.1")
    hold, *_, row = LedgerEntry.objects.order_by("pk")
    assert (row.kind, row.basis, row.amount) == (EntryKind.ADJUST, Basis.BILL, Decimal("0.1"))
    assert (row.reason, row.actor) == ("the bill says so", person)
    assert (row.month, row.spent_on, row.project) == (hold.month, hold.spent_on, hold.project)
    assert BudgetPeriod.objects.get().spent == Attempt.objects.get().cost == Job.objects.get().cost
    assert DailySpend.objects.get().cost == Decimal("0.5")
    assert findings() == []


def test_the_same_key_books_once(attempt: Attempt, person: User) -> None:
    spend.settle(attempt, cost=Decimal("0.4"), basis=Basis.USAGE, usage=USAGE)
    assert [adjust(attempt, person), adjust(attempt, person)] == [Decimal("0.1"), 0]
    assert Attempt.objects.get().cost == Decimal("0.5")


def test_tokens_that_were_billed_count_as_if_they_had_been_told(attempt: Attempt, person: User) -> None:
    spend.settle(attempt, cost=Decimal("0.4"), basis=Basis.ESTIMATE)
    adjust(attempt, person, tokens={"input_tokens": 30, "output_tokens": 20})
    rollup = DailySpend.objects.get()
    assert (rollup.jobs, rollup.input_tokens, rollup.output_tokens) == (1, 30, 20)
    assert findings() == []


def test_what_was_declared_lost_can_turn_out_to_have_cost(attempt: Attempt, person: User) -> None:
    spend.settle(attempt, cost=None, reason="declared lost")
    assert not spend.is_charged(attempt)
    adjust(attempt, person, was=Decimal(0))
    assert spend.is_charged(attempt)
    assert DailySpend.objects.get().jobs == 1
    spend.settle(attempt, cost=Decimal("0.2"), basis=Basis.USAGE, usage=USAGE)  # it has turned up
    assert Attempt.objects.get().cost == Decimal("0.2")
    assert [row.kind for row in LedgerEntry.objects.order_by("pk")][2:] == ["adjust", "adjust"]
    assert findings() == []


@pytest.mark.parametrize("basis", [Basis.USAGE, Basis.BOUND])
def test_what_is_read_again_does_not_undo_the_bill(attempt: Attempt, person: User, basis: Basis) -> None:
    spend.settle(attempt, cost=Decimal("0.4"), basis=Basis.USAGE, usage=USAGE)
    adjust(attempt, person)
    spend.settle(attempt, cost=Decimal("0.4"), basis=basis, usage=USAGE)
    assert Attempt.objects.get().cost == Decimal("0.5")


def test_nothing_is_adjusted_while_money_is_held(attempt: Attempt, person: User) -> None:
    with pytest.raises(spend.NotAdjustable):
        adjust(attempt, person, was=Decimal(0))


def test_nothing_is_adjusted_that_has_moved_since(attempt: Attempt, person: User) -> None:
    spend.settle(attempt, cost=Decimal("0.3"), basis=Basis.USAGE, usage=USAGE)
    with pytest.raises(spend.NotAdjustable):
        adjust(attempt, person)


def test_nothing_costs_less_than_nothing(attempt: Attempt, person: User) -> None:
    spend.settle(attempt, cost=Decimal("0.4"), basis=Basis.USAGE, usage=USAGE)
    with pytest.raises(ValueError):
        adjust(attempt, person, to=Decimal("-0.01"))
    assert adjust(attempt, person, to=Decimal(0)) == Decimal("-0.4")
    assert BudgetPeriod.objects.get().spent == 0
