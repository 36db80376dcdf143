"""What is accepted in one moment is written down in one transaction, each as it would be by itself."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import Sum
from django.db.models.functions import Now

from jobs import lifecycle
from jobs.access import Role
from jobs.lifecycle import claiming, sending
from jobs.models import (
    Attempt,
    AttemptState,
    BudgetPeriod,
    Connection,
    Event,
    Job,
    LedgerEntry,
    Project,
    Status,
    User,
)
from jobs.openai_client import Outcome
from tests.factories import a_person, a_project
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]


def accepted(api: FakeApi, send: sending.Send, number: int, **more: Any) -> Outcome[sending.Send]:
    status = more.pop("status", "queued")
    return Outcome(
        send, "create", body=api.body(f"resp_{number}", status), request_id=f"req_{number}", **more
    )


def claim() -> list[sending.Send]:
    """Claim all that waits on connections that are known to accept."""
    Connection.objects.update(accepted_at=Now())
    return claiming.claim_sends(64)


def held(job: Job) -> Decimal:
    rows = LedgerEntry.objects.filter(job=job)
    return rows.aggregate(total=Sum("amount"))["total"] or Decimal(0)


def test_each_job_goes_on_with_its_own_response_and_gives_back_what_was_not_counted(
    api: FakeApi, submit: Submit, project: Project, person: User
) -> None:
    ada = a_person("ada@example.com")
    other = a_project("other", is_practice=False, members={person: Role.MANAGER, ada: Role.SUBMITTER})
    jobs = [submit(), submit(), submit(to=other), submit(to=other, by=ada)]
    sends = sorted(claim(), key=lambda send: send.job_id)
    words = ["queued", "in_progress", "queued", "in_progress"]
    counts = [10, None, 20, 10**9]
    outcomes = [
        accepted(api, send, number, status=words[number], input_tokens=counts[number])
        for number, send in enumerate(sends)
    ]
    assert sending.write_back_accepted(outcomes) == []
    for number, job in enumerate(jobs):
        job.refresh_from_db()
        attempt = Attempt.objects.get(job=job)
        assert (job.status, job.claim_token) == (words[number], None)
        assert (attempt.state, attempt.lease_expires_at) == (AttemptState.KNOWN, None)
        assert (attempt.response_id, attempt.request_id) == (f"resp_{number}", f"req_{number}")
        assert attempt.input_tokens == counts[number]
        kinds = Event.objects.filter(job=job).order_by("pk").values_list("kind", flat=True)
        assert list(kinds) == ["submitted", "accepted"]
        is_less = number in (0, 2)
        assert (held(job) < job.worst_case) == is_less
    for owner, own in ((project, jobs[:2]), (other, jobs[2:])):
        period = BudgetPeriod.objects.get(budget__project=owner)
        assert period.held == sum(map(held, own))


def test_they_take_no_more_questions_than_one_of_them_twice(
    api: FakeApi, submit: Submit, django_assert_max_num_queries: Any
) -> None:
    for _ in range(20):
        submit()
    outcomes = [accepted(api, send, number, input_tokens=10) for number, send in enumerate(claim())]
    assert len(outcomes) == 20
    with django_assert_max_num_queries(24):
        assert sending.write_back_accepted(outcomes) == []
    assert set(Job.objects.values_list("status", flat=True)) == {Status.QUEUED}


def test_what_there_is_more_to_say_about_is_left_to_be_written_by_itself(
    api: FakeApi, submit: Submit
) -> None:
    jobs = [submit() for _ in range(4)]
    first, expired, repeated, claimed_anew = sorted(claim(), key=lambda send: send.job_id)
    Attempt.objects.filter(pk=expired.attempt_id).update(lease_expires_at=Now())
    Job.objects.filter(pk=expired.job_id).update(next_action_at=Now())
    assert sending.reap() == 1
    Job.objects.filter(pk=claimed_anew.job_id).update(claim_token="6f1ed002-ab5e-4a52-9f1e-0d7c5b6a9e01")
    outcomes = [
        accepted(api, first, 1),
        accepted(api, expired, 2),
        accepted(api, repeated, 1),
        accepted(api, claimed_anew, 4),
    ]
    assert sending.write_back_accepted(outcomes) == outcomes[1:]
    # Once more is as good as once.
    assert sending.write_back_accepted(outcomes[:1]) == outcomes[:1]
    for outcome in outcomes:
        sending.write_back(outcome)
    states = [Attempt.objects.get(job=job).state for job in jobs]
    known, unsure = AttemptState.KNOWN, AttemptState.UNCONFIRMED
    assert states == [known, known, unsure, known]
    assert Attempt.objects.get(job=jobs[2]).error_code == "id_repeated"
    assert Event.objects.filter(kind="accepted").count() == 1


def test_an_id_that_another_attempt_has_is_not_taken_again(api: FakeApi, submit: Submit) -> None:
    submit()
    (before,) = claim()
    sending.write_back(accepted(api, before, 7))
    submit()
    (send,) = claim()
    outcome = accepted(api, send, 7)
    assert sending.write_back_accepted([outcome]) == [outcome]


def test_a_connection_rests_as_long_as_the_last_of_them_asks(api: FakeApi, submit: Submit) -> None:
    submit(), submit()
    outcomes = [accepted(api, send, number, rest=5.0 * number) for number, send in enumerate(claim())]
    sending.write_back_accepted(outcomes)
    connection = Connection.objects.get()
    assert connection.not_before is not None


def test_a_moment_that_cannot_be_written_down_at_once_is_written_one_by_one(
    api: FakeApi, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def fail(outcomes: Sequence[Outcome[sending.Send]]) -> list[Outcome[sending.Send]]:
        tried.append(len(outcomes))
        raise OperationalError("deadlock detected")

    monkeypatch.setattr(sending, "write_back_accepted", fail)
    jobs = [submit() for _ in range(3)]
    Connection.objects.update(accepted_at=Now())
    lifecycle.run_pump("send")
    assert tried == [3]
    for job in jobs:
        job.refresh_from_db()
        assert job.status == Status.QUEUED
