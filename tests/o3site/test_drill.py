"""The drill finds what it is there to find, and a short one finds nothing."""

import os
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from django.db.models.functions import Now

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.models import Attempt, AttemptState, Basis, DailySpend, Job, Status
from jobs.sandbox import directives
from o3site.drill import accounts, prompts
from tests.factories import a_person, a_project, a_spec
from tests.whole import OURS, ROOT

USED = Decimal("1.25")
SHORT = ("--hurry", "--seed=7", "--jobs=15", "--kills=3", "--seconds=12")


@pytest.fixture
def job(db: None) -> Job:
    """A job that was accepted as resp_1, has ended and is charged by its usage."""
    person = a_person()
    made = lifecycle.submit(a_spec(a_project(members={person: Role.MANAGER}), person))
    attempt = Attempt.objects.get(job=made)
    spend.settle(attempt, cost=USED, basis=Basis.USAGE, price=attempt.price, reason="completed")
    Attempt.objects.update(state=AttemptState.ENDED, response_id="resp_1", ended_at=Now())
    Job.objects.update(status=Status.COMPLETED, next_action_at=None, finished_at=Now())
    made.refresh_from_db()
    return made


def a_response(response_id: str = "resp_1", *, nonce: object = None, bill: Decimal | None = USED) -> Any:
    nonce = nonce or Attempt.objects.first().nonce  # type: ignore[union-attr]
    billed = None if bill is None else {"amount": str(bill)}
    return {"id": response_id, "metadata": {"ponder_attempt": str(nonce)}, "bill": billed}


def broken(*responses: Any, submitted: list[str] | None = None) -> list[str]:
    """Return the first words of every invariant that is broken."""
    log = {"responses": responses or [a_response()]}
    known = [*Job.objects.values_list("short_id", flat=True)] if submitted is None else submitted
    return [" ".join(one.sentence.split()[:4]) for one in accounts.invariants(log, known) if one.broken]


def test_nothing_is_broken_where_all_is_well(job: Job) -> None:
    assert broken() == []
    assert accounts.is_quiet()
    assert accounts.charges({"responses": [a_response()]}) == []
    assert accounts.ends() == {"completed": 1}


def test_a_response_that_nobody_knows_is_found_unless_a_send_is_unconfirmed(job: Job) -> None:
    unknown = a_response("resp_2", nonce="6f1ed002-ab5e-4a52-9f1e-0d7c5b6a9e01")
    assert broken(a_response(), unknown) == ["Every response accepted upstream"]
    Attempt.objects.update(state=AttemptState.UNCONFIRMED, response_id="", error_code="interrupted")
    Job.objects.update(status=Status.UNCONFIRMED)
    assert "Every response accepted upstream" not in broken(a_response("resp_2"))


def test_a_response_that_was_never_accepted_is_found(job: Job) -> None:
    log_of_nothing = a_response("resp_3")
    assert "Every response known here" in broken(log_of_nothing)


def test_a_send_that_was_accepted_twice_is_found(job: Job) -> None:
    Attempt.objects.update(state=AttemptState.UNCONFIRMED, error_code="interrupted")
    assert broken(a_response(), a_response("resp_2")) == ["No send was accepted"]


def test_a_charge_that_is_not_the_bill_is_found(job: Job) -> None:
    assert broken(a_response(bill=USED + Decimal("0.0000000001"))) == ["Charges of basis usage"]
    assert broken(a_response(bill=None)) == ["Charges of basis usage"]


def test_a_job_that_was_acknowledged_and_is_not_there_is_found(job: Job) -> None:
    assert broken(submitted=[job.short_id, "j_lost"]) == ["Every job that was"]


@pytest.mark.parametrize("state", [AttemptState.KNOWN, AttemptState.UNCONFIRMED])
def test_a_final_job_that_holds_money_is_found(job: Job, state: AttemptState) -> None:
    other = lifecycle.submit(a_spec(job.project, job.submitted_by, prompt="Another."))
    Attempt.objects.filter(job=other).update(state=state, error_code="interrupted")
    Job.objects.filter(pk=other.pk).update(status=Status.FAILED)
    assert "No final job holds" in broken()
    assert not accounts.is_quiet()


def test_a_job_that_goes_on_or_does_not_say_why_not_is_found(job: Job) -> None:
    Job.objects.update(status=Status.IN_PROGRESS, next_action_at=Now())
    assert broken() == ["Every job is final"]
    assert not accounts.is_quiet()
    Job.objects.update(status=Status.UNCONFIRMED)
    assert "Every job is final" in broken()


def test_the_prompts_ask_for_every_end_and_every_fault_that_the_practice_api_knows() -> None:
    asked = [directives.read([f"[[sandbox: {words.format(s=1)}]]"]) for _, words in prompts.MIX]
    found = {
        name: {getattr(one, name) for one in asked} - {None}
        for name in ("outcome", "reason", "http", "fault", "cancelled_then", "cancel")
    }
    assert found == {
        "outcome": set(directives.OUTCOMES),
        "reason": set(directives.REASONS),
        "http": set(directives.HTTP_ANSWERS),
        "fault": set(directives.FAULTS),
        "cancelled_then": {"completed"},
        "cancel": {"ignored"},
    }
    assert all(any(getattr(one, name) for one in asked) for name in ("status", "tier", "calls", "approvals"))


def test_what_the_audit_finds_is_found(job: Job) -> None:
    DailySpend.objects.update(cost=0)
    assert broken() == ["The audit is clean"]


def test_charges_of_another_basis_stand_beside_their_bill(job: Job) -> None:
    other = lifecycle.submit(a_spec(job.project, job.submitted_by, prompt="Another."))
    attempt = Attempt.objects.get(job=other)
    spend.settle(attempt, cost=Decimal(2), basis=Basis.BOUND, price=attempt.price, reason="no usage")
    Attempt.objects.filter(pk=attempt.pk).update(response_id="resp_2")
    log = {"responses": [a_response(), a_response("resp_2", nonce=attempt.nonce, bill=Decimal("0.5"))]}
    assert accounts.charges(log) == [accounts.Charged("resp_2", Basis.BOUND, Decimal(2), Decimal("0.5"))]


@pytest.mark.cluster
@pytest.mark.thorough
def test_a_short_drill_loses_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "drill", *SHORT],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(OURS)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing was lost and nothing was paid twice." in done.stdout
    assert done.stdout.count("✓") == 9
    assert "15 jobs" in done.stdout
    assert "together             3" in done.stdout
