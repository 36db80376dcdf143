"""Settlement: holds given back, charges booked once, adjusted with a reason, and rolled up as they move."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from jobs import pricing, spend
from jobs.models import (
    ApiToken,
    Attempt,
    Basis,
    Budget,
    BudgetPeriod,
    DailySpend,
    DailyTagSpend,
    Job,
    LedgerEntry,
    Project,
    User,
)
from jobs.pricing import Usage
from tests.jobs.spend.conftest import MakeAttempt, findings

pytestmark = pytest.mark.django_db

# How periods are locked.
OWN = 'FOR NO KEY UPDATE OF "jobs_job"'
BY_ID = 'ORDER BY "jobs_budgetperiod"."month" ASC, "jobs_budgetperiod"."budget_id" ASC FOR NO KEY UPDATE'
USAGE = Usage(input_tokens=100, cached_tokens=10, output_tokens=50, reasoning_tokens=40)


def settle(attempt: Attempt, cost: str | None, basis: Basis = Basis.USAGE, **more: Any) -> None:
    spend.settle(attempt, cost=None if cost is None else Decimal(cost), basis=basis, **more)


def rows() -> list[tuple[str, str, Decimal]]:
    return [(row.kind, row.basis, row.amount) for row in LedgerEntry.objects.order_by("pk")[1:]]


def period() -> tuple[Decimal, Decimal]:
    found = BudgetPeriod.objects.get()
    return found.held, found.spent


@pytest.fixture
def attempt(project: Project, admitted: MakeAttempt) -> Attempt:
    """An attempt that holds 1 USD."""
    return admitted(project, "1", tags=("a", "b"))


def test_a_charge_gives_the_hold_back_and_books_what_it_cost(attempt: Attempt, person: User) -> None:
    settle(attempt, "0.4", usage=USAGE, price=attempt.price, reason="completed", actor=person)
    assert rows() == [("release", "", -1), ("charge", "usage", Decimal("0.4"))]
    assert period() == (0, Decimal("0.4"))
    hold, release, charge = LedgerEntry.objects.order_by("pk")
    assert {(row.month, row.spent_on, row.project, row.user, row.token) for row in (release, charge)} == {
        (hold.month, hold.spent_on, hold.project, hold.user, hold.token)
    }
    assert (charge.price, charge.reason, charge.actor) == (attempt.price, "completed", person)
    assert attempt.cost == Attempt.objects.get().cost == Job.objects.get().cost == Decimal("0.4")
    assert findings() == []


def test_a_settlement_repeated_changes_nothing(attempt: Attempt) -> None:
    for _ in range(3):
        settle(attempt, "0.4", usage=USAGE)
    assert len(rows()) == 2
    assert DailySpend.objects.get().input_tokens == 100
    assert findings() == []


def test_nothing_sent_costs_nothing(attempt: Attempt) -> None:
    settle(attempt, None)
    settle(attempt, None)
    assert rows() == [("release", "", -1)]
    assert period() == (0, 0)
    assert not DailySpend.objects.exists()
    assert findings() == []


def test_a_part_is_given_back_once_and_never_taken_again(attempt: Attempt) -> None:
    for to in ("0.7", "0.7", "0.9"):
        spend.release_part(attempt, to=Decimal(to), reason="counted")
    assert rows() == [("release", "", Decimal("-0.3"))]
    assert (period(), spend.held_for(attempt)) == ((Decimal("0.7"), 0), Decimal("0.7"))
    settle(attempt, "0.2")
    assert period() == (0, Decimal("0.2"))
    assert findings() == []


def test_a_charge_of_three_times_the_hold_is_booked_whole_and_nothing_more_fits(
    project: Project, admitted: MakeAttempt
) -> None:
    attempt = admitted(project, "4")
    settle(attempt, "12")
    assert period() == (0, 12)
    assert BudgetPeriod.objects.get().left == -2
    with pytest.raises(spend.BudgetRefused) as refused:
        admitted(project, "0.5")
    assert refused.value.shortfall == Decimal("2.5")
    spend.set_cap(Decimal("12.5"), project=project)
    admitted(project, "0.5")
    assert findings() == []


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        pytest.param(
            ("0.5", Basis.ESTIMATE), ("0.3", Basis.USAGE), ("adjust", "usage", "-0.2"), id="a guess corrected"
        ),
        pytest.param(
            ("1", Basis.BOUND), ("1", Basis.USAGE), ("adjust", "usage", "0"), id="as much, better founded"
        ),
        pytest.param(("0", Basis.NONE), ("0.2", Basis.USAGE), ("adjust", "usage", "0.2"), id="late usage"),
        pytest.param(("0.3", Basis.USAGE), ("0.5", Basis.USAGE), ("adjust", "usage", "0.2"), id="it grew"),
        pytest.param(("0.3", Basis.USAGE), ("1", Basis.BOUND), None, id="never to a weaker basis"),
        pytest.param(("0.3", Basis.ESTIMATE), ("0.3", Basis.ESTIMATE), None, id="nothing new"),
    ],
)  # fmt: skip
def test_what_was_charged_is_adjusted(
    attempt: Attempt,
    first: tuple[str, Basis],
    then: tuple[str, Basis],
    expected: tuple[str, str, str] | None,
) -> None:
    settle(attempt, *first)
    settle(attempt, *then, usage=USAGE)
    adjusted = rows()[2:]
    assert adjusted == ([] if expected is None else [(*expected[:2], Decimal(expected[2]))])
    daily = DailySpend.objects.get()
    assert daily.cost == period()[1] == Job.objects.get().cost
    assert (daily.jobs, sum(daily.buckets)) == (1, 1)
    assert daily.buckets[pricing.bucket(daily.cost)] == 1
    assert findings() == []


def tokens() -> tuple[int, ...]:
    row = DailySpend.objects.get()
    return row.input_tokens, row.cached_tokens, row.output_tokens, row.reasoning_tokens


@pytest.mark.parametrize(
    ("then", "cost"),
    [
        pytest.param(Usage(300, 20, 0, 0, 90, 70), "0.5", id="it grew"),
        pytest.param(Usage(100, 0, 0, 0, 20, 0), "0.1", id="it shrank"),
        pytest.param(Usage(100, 10, 0, 0, 50, 45), "0.3", id="other tokens, the same cost"),
    ],
)
def test_the_tokens_of_the_rollup_are_those_of_the_last_usage(
    attempt: Attempt, then: Usage, cost: str
) -> None:
    settle(attempt, "0.3", usage=USAGE)
    assert tokens() == (100, 10, 50, 40)
    for _ in range(2):
        settle(attempt, cost, usage=then)
        assert tokens() == (then.input_tokens, then.cached_tokens, then.output_tokens, then.reasoning_tokens)
    assert [kind for kind, _, _ in rows()] == ["release", "charge", "adjust"]
    assert DailySpend.objects.get().jobs == 1
    assert findings() == []


def test_tokens_come_with_a_usage_only_and_stay_when_it_is_overruled(attempt: Attempt, person: User) -> None:
    settle(attempt, "1", Basis.BOUND, usage=USAGE)
    assert tokens() == (0, 0, 0, 0)
    settle(attempt, "0.3", usage=USAGE)
    settle(attempt, "0.2", Basis.ESTIMATE, actor=person, reason="as on the bill")
    settle(attempt, "0.3")
    assert tokens() == (100, 10, 50, 40)
    assert findings() == []


def test_a_person_may_overrule_the_usage_with_a_reason(attempt: Attempt, person: User) -> None:
    settle(attempt, "0.3")
    settle(attempt, "0.25", Basis.ESTIMATE, actor=person, reason="as on the bill")
    assert rows()[-1] == ("adjust", "estimate", Decimal("-0.05"))
    assert LedgerEntry.objects.latest("pk").reason == "as on the bill"
    assert findings() == []


def test_a_charge_that_rests_on_nothing_is_not_counted_among_jobs(attempt: Attempt) -> None:
    settle(attempt, "0", Basis.NONE)
    daily = DailySpend.objects.get()
    assert (daily.cost, daily.jobs, sum(daily.buckets)) == (0, 0, 0)
    assert rows() == [("release", "", -1), ("charge", "none", 0)]
    assert findings() == []


def test_amounts_are_booked_to_the_last_digit_the_ledger_has(attempt: Attempt) -> None:
    settle(attempt, "0.12345678905")
    assert rows()[-1][2] == Decimal("0.1234567890")
    assert findings() == []


def test_the_rollups_add_up_over_jobs_people_tokens_and_tags(
    project: Project, person: User, admitted: MakeAttempt
) -> None:
    token = ApiToken.objects.create(name="t", project=project, user=person, prefix="p", digest="d")
    settle(admitted(project, tags=("a", "b")), "0.1", usage=USAGE)
    settle(admitted(project, tags=("b",)), "0.2", usage=USAGE)
    settle(admitted(project, token=token), "0.4", usage=USAGE)
    by_token = {row.token: row for row in DailySpend.objects.all()}
    assert {owner: (row.cost, row.jobs) for owner, row in by_token.items()} == {
        None: (Decimal("0.3"), 2),
        token: (Decimal("0.4"), 1),
    }
    row = by_token[None]
    assert (row.input_tokens, row.cached_tokens) == (200, 20)
    assert (row.output_tokens, row.reasoning_tokens) == (100, 80)
    tags = DailyTagSpend.objects.order_by("tag").values_list("tag", "cost", "jobs")
    assert list(tags) == [("a", Decimal("0.1"), 1), ("b", Decimal("0.3"), 2)]
    assert findings() == []


def test_two_attempts_of_one_job_add_up_to_its_cost(project: Project, admitted: MakeAttempt) -> None:
    first = admitted(project)
    second = admitted(project, job=first.job)
    settle(first, "0.1")
    settle(second, "0.2")
    assert Job.objects.get().cost == Decimal("0.3")
    assert findings() == []


def test_what_is_settled_later_belongs_to_the_month_it_was_admitted_in(
    project: Project, admitted: MakeAttempt, settings: Settings
) -> None:
    settings.PONDER_TODAY = dt.date(2026, 11, 30)
    attempt = admitted(project, "1")
    settings.PONDER_TODAY = dt.date(2026, 12, 1)
    admitted(project, "2")
    settle(attempt, "0.5")
    november, december = BudgetPeriod.objects.order_by("month")[:2]
    assert (november.held, november.spent) == (0, Decimal("0.5"))
    assert (december.held, december.spent) == (2, 0)
    assert DailySpend.objects.get().spent_on == dt.date(2026, 11, 30)
    assert DailySpend.objects.in_month(dt.date(2026, 11, 1)).count() == 1
    assert findings() == []


def test_of_a_job_with_sends_of_two_months_the_earlier_month_is_locked_first(
    project: Project, admitted: MakeAttempt, settings: Settings
) -> None:
    spend.set_cap(Decimal(50))
    settings.PONDER_TODAY = dt.date(2026, 11, 30)
    first = admitted(project, "1")
    settings.PONDER_TODAY = dt.date(2026, 12, 1)
    second = admitted(project, "2", job=first.job)
    with CaptureQueriesContext(connection) as queries:
        settle(second, "0.5")
        settle(first, None)
    (locked, *_) = [query["sql"] for query in queries if "jobs_budgetperiod" in query["sql"]]
    assert locked.endswith(BY_ID)
    assert findings() == []


def test_a_settlement_locks_job_then_rollup_then_periods_by_id(
    project: Project, person: User, admitted: MakeAttempt
) -> None:
    spend.set_cap(Decimal(50), user=person)
    spend.set_cap(Decimal(50))
    attempt = admitted(project, tags=("a",))
    with CaptureQueriesContext(connection) as queries:
        settle(attempt, "0.5")
    order = []
    for sql in (sql for query in queries for sql in query["sql"].split(";")):
        for word in (
            OWN,
            "jobs_dailyspend",
            "jobs_dailytagspend",
            BY_ID,
            'UPDATE "jobs_budgetperiod"',
        ):
            if word in sql:
                order.append(word)
    assert order == [
        OWN,
        "jobs_dailyspend",
        "jobs_dailytagspend",
        BY_ID,
        'UPDATE "jobs_budgetperiod"',
    ]
    assert {period.spent for period in BudgetPeriod.objects.all()} == {Decimal("0.5")}
    assert BudgetPeriod.objects.count() == 3


@pytest.mark.parametrize(
    "statement", ["UPDATE jobs_ledgerentry SET amount = 0", "DELETE FROM jobs_ledgerentry"]
)
def test_the_ledger_is_append_only(attempt: Attempt, statement: str) -> None:
    with pytest.raises(IntegrityError, match="append-only"), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize("kind", ["hold", "charge"])
def test_an_attempt_has_one_hold_and_one_charge(attempt: Attempt, kind: str) -> None:
    settle(attempt, "0.5")
    again = LedgerEntry.objects.get(kind=kind)
    again.pk, again.idempotency_key = None, "another"
    with pytest.raises(IntegrityError, match=f"one_{kind}_an_attempt"), transaction.atomic():
        again.save(force_insert=True)


def test_neither_spent_nor_held_ever_falls_below_nothing(attempt: Attempt) -> None:
    BudgetPeriod.objects.update(held=0)
    with pytest.raises(IntegrityError, match="spent_and_held_not_negative"), transaction.atomic():
        settle(attempt, None)


def test_money_moves_in_budgets_made_since(attempt: Attempt) -> None:
    workspace = spend.set_cap(Decimal(5))
    settle(attempt, "0.5")
    assert BudgetPeriod.objects.get(budget=workspace).spent == Decimal("0.5")
    assert Budget.objects.count() == 2
    assert findings() == []
