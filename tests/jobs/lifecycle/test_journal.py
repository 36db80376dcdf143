"""The journal: what it still knows after a kill, and what it never gets wrong."""

import uuid

import pytest
from django.conf import settings
from django.db.models.functions import Now

from jobs import lifecycle
from jobs.lifecycle import Decision, journal, sending
from jobs.models import Attempt, AttemptState, BudgetPeriod, Event, Job, Status
from jobs.openai_client import Outcome
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]


def the(job: Job) -> Attempt:
    job.refresh_from_db()
    return Attempt.objects.get(job=job)


def claimed(job: Job) -> sending.Send:
    """Claim the job as a process that is killed before it commits what the API said."""
    (send,) = sending.claim_sends(1)
    assert send.job_id == job.pk
    return send


def lease_ends() -> None:
    Attempt.objects.filter(state=AttemptState.SENDING).update(lease_expires_at=Now())


def test_the_line_is_written_before_the_database_knows(api: FakeApi, submit: Submit) -> None:
    job = submit()
    seen: list[tuple[bool, str]] = []
    api.while_sending = lambda: seen.append((journal.path().exists(), the(job).state))
    api.run("send")
    assert seen == [(False, "sending")]
    line = journal.path().read_text().strip()
    assert line == f'{{"attempt": "{the(job).nonce}", "response_id": "resp_1", "request_id": "req_1"}}'
    assert journal.path().stat().st_mode & 0o777 == 0o600
    assert journal.path().name == f"{settings.INSTANCE}.jsonl"


def test_a_replay_adopts_what_the_database_does_not_know_and_only_once(submit: Submit) -> None:
    job = submit()
    journal.write(claimed(job).nonce, "resp_9", "req_9")
    assert lifecycle.replay() == 1
    assert lifecycle.replay() == 0
    assert (the(job).state, the(job).response_id, the(job).request_id) == ("known", "resp_9", "req_9")
    assert job.status == Status.QUEUED
    assert Event.objects.filter(kind="adopted").count() == 1
    assert BudgetPeriod.objects.get().held == job.worst_case


def test_without_a_journal_there_is_nothing_to_adopt(submit: Submit) -> None:
    assert lifecycle.replay() == 0
    claimed(submit())
    assert lifecycle.replay() == 0


def test_the_reaper_adopts_what_the_journal_knows(submit: Submit) -> None:
    job = submit()
    journal.write(claimed(job).nonce, "resp_9", "")
    lease_ends()
    assert sending.reap() == 0
    assert the(job).state == AttemptState.KNOWN


def test_the_reaper_calls_the_rest_unconfirmed_and_keeps_the_hold(submit: Submit) -> None:
    job = submit()
    claimed(job)
    lease_ends()
    assert sending.reap() == 1
    assert (the(job).state, the(job).error_code, job.status) == ("unconfirmed", "interrupted", "unconfirmed")
    assert (job.next_action_at, job.claim_token) == (None, None)
    assert BudgetPeriod.objects.get().held == job.worst_case


def test_a_line_found_after_the_reaper_still_adopts(submit: Submit) -> None:
    job = submit()
    nonce = claimed(job).nonce
    lease_ends()
    sending.reap()
    journal.write(nonce, "resp_9", "")
    assert lifecycle.replay() == 1
    assert job_status(job) == Status.QUEUED


@pytest.mark.parametrize("decision", [Decision.LOST, Decision.PAID])
def test_a_line_found_after_a_decision_still_adopts(submit: Submit, decision: Decision) -> None:
    job = submit()
    nonce = claimed(job).nonce
    lease_ends()
    sending.reap()
    lifecycle.resolve(job.pk, decision)
    journal.write(nonce, "resp_9", "")
    assert lifecycle.replay() == 1
    assert (the(job).state, job_status(job)) == (AttemptState.KNOWN, Status.FAILED)
    assert job.next_action_at is not None


def test_another_installation_reaps_but_never_adopts(submit: Submit) -> None:
    job = submit()
    send = claimed(job)
    journal.write(send.nonce, "resp_9", "")
    Attempt.objects.update(instance="another")
    assert lifecycle.replay() == 0
    lease_ends()
    assert sending.reap() == 1
    assert the(job).state == AttemptState.UNCONFIRMED
    # Its owner is back.
    Attempt.objects.update(instance=settings.INSTANCE)
    assert lifecycle.replay() == 1
    assert the(job).state == AttemptState.KNOWN


@pytest.mark.parametrize(
    "rubbish",
    [
        '{"attempt": "8d',
        "{}",
        "[]",
        "7",
        "null",
        '{"attempt": 7, "response_id": "x", "request_id": ""}',
        "\x00\ufffd",
    ],
)
def test_half_a_line_does_not_cost_the_next_one(
    submit: Submit, rubbish: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = submit()
    nonce = claimed(job).nonce
    journal.path().parent.mkdir(parents=True)
    journal.path().write_text(rubbish)  # killed in mid-write: no end of line
    journal.write(nonce, "resp_9", "")
    assert lifecycle.replay() == 1
    assert caplog.messages == ["a line of the journal cannot be read"]


def test_a_line_of_another_database_adopts_nothing(submit: Submit) -> None:
    # A restored database gives row numbers again; a nonce it never gives again.
    job = submit()
    claimed(job)
    journal.write(uuid.uuid4(), "resp_of_the_past", "")
    assert lifecycle.replay() == 0
    assert the(job).state == AttemptState.SENDING


def test_the_pump_replays_before_it_sends(api: FakeApi, submit: Submit) -> None:
    job = submit()
    journal.write(claimed(job).nonce, "resp_9", "")
    api.run("send")
    assert the(job).response_id == "resp_9"
    assert api.posts == []


def test_the_answer_that_is_committed_after_a_replay_changes_nothing(api: FakeApi, submit: Submit) -> None:
    job = submit()
    send = claimed(job)
    journal.write(send.nonce, "resp_9", "")
    lifecycle.replay()
    sending.write_back(Outcome(send, "create", body=api.body("resp_9")))
    assert (the(job).state, job_status(job)) == (AttemptState.KNOWN, Status.QUEUED)
    assert Event.objects.filter(job=job).count() == 2


def job_status(job: Job) -> str:
    job.refresh_from_db()
    return job.status
