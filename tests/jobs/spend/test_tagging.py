"""Tags: a job's cost moves with them, and the rollups stay what the ledger says."""

from decimal import Decimal

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import spend
from jobs.models import Attempt, Basis, DailyTagSpend, Job, MonthlyTagSpend, Project
from tests.jobs.spend.conftest import MakeAttempt, findings

pytestmark = pytest.mark.django_db


def settle(attempt: Attempt, cost: str, basis: Basis = Basis.USAGE) -> None:
    with transaction.atomic():
        spend.settle(attempt, cost=Decimal(cost), basis=basis)


def retag(attempt: Attempt, *tags: str) -> tuple[list[str], list[str]]:
    with transaction.atomic():
        return spend.retag(attempt.job_id, tags)


def tag_rows() -> dict[str, tuple[Decimal, int]]:
    """The day's rows; the month's are the same while it has one day."""
    by_day, by_month = (
        {row.tag: (row.cost, row.jobs) for row in rows}
        for rows in (DailyTagSpend.objects.all(), MonthlyTagSpend.objects.all())
    )
    assert by_day == by_month
    return by_day


def test_cost_moves_from_the_old_tags_to_the_new(admitted: MakeAttempt, project: Project) -> None:
    attempt = admitted(project, tags=("a", "b"))
    settle(attempt, "0.5")
    assert retag(attempt, "c", "b") == (["a", "b"], ["b", "c"])
    assert tag_rows() == {"b": (Decimal("0.5"), 1), "c": (Decimal("0.5"), 1)}
    assert Job.objects.get(pk=attempt.job_id).tags == ["b", "c"]
    assert findings() == []


def test_what_other_jobs_cost_stays_with_their_tags(admitted: MakeAttempt, project: Project) -> None:
    first, second = admitted(project, tags=("a",)), admitted(project, tags=("a",))
    settle(first, "0.5")
    settle(second, "0.25")
    retag(first)
    assert tag_rows() == {"a": (Decimal("0.25"), 1)}
    retag(first, "a")
    assert tag_rows() == {"a": (Decimal("0.75"), 2)}
    assert findings() == []


def test_tags_changed_before_the_charge_get_all_of_it(admitted: MakeAttempt, project: Project) -> None:
    attempt = admitted(project, tags=("a",))
    retag(attempt, "b")
    assert tag_rows() == {}
    settle(attempt, "0.5")
    settle(attempt, "0.75")
    retag(attempt, "c")
    assert tag_rows() == {"c": (Decimal("0.75"), 1)}
    assert findings() == []


def test_a_charge_that_rests_on_nothing_moves_without_being_counted(
    admitted: MakeAttempt, project: Project
) -> None:
    attempt = admitted(project, tags=("a",))
    settle(attempt, "0", Basis.NONE)
    retag(attempt, "b")
    assert tag_rows() == {"b": (Decimal(0), 0)}
    assert findings() == []


def test_two_attempts_of_a_job_move_together(
    attempt_of: MakeAttempt, admitted: MakeAttempt, project: Project
) -> None:
    first = admitted(project, tags=("a",))
    settle(first, "0.5")
    with transaction.atomic():
        second = attempt_of(project, job=first.job)
        spend.admit(second.job, second)
    settle(second, "0.25")
    retag(first, "b")
    assert tag_rows() == {"b": (Decimal("0.75"), 2)}
    assert findings() == []


def test_the_same_tags_change_nothing(admitted: MakeAttempt, project: Project) -> None:
    attempt = admitted(project, tags=("a",))
    version = Job.objects.get(pk=attempt.job_id).version
    assert retag(attempt, "a") == (["a"], ["a"])
    assert Job.objects.get(pk=attempt.job_id).version == version


@pytest.mark.django_db(transaction=True)
def test_tags_move_only_in_a_transaction(admitted: MakeAttempt, project: Project) -> None:
    attempt = admitted(project)
    with pytest.raises(RuntimeError, match="money moves"):
        spend.retag(attempt.job_id, ["a"])


TAGS = st.lists(st.sampled_from("abc"), max_size=3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 2), st.booleans(), TAGS), max_size=8))
def test_any_order_of_charges_and_changes_leaves_the_books_right(
    admitted: MakeAttempt, project: Project, changes: list[tuple[int, bool, list[str]]]
) -> None:
    attempts = [admitted(project, "0.001", tags=("a",)) for _ in range(3)]
    for place, (which, is_charge, tags) in enumerate(changes):
        if is_charge:
            settle(attempts[which], f"0.000{place}")
        else:
            retag(attempts[which], *tags)
    assert findings() == []
