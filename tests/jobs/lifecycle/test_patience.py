"""Responses that are not found, that never end, and for how long they are looked for all the same."""

import datetime as dt
from decimal import Decimal

import pytest
import time_machine
from django.utils import timezone

from jobs import lifecycle
from jobs.lifecycle import Decision, claiming, patience, polling, sending
from jobs.models import (
    Attempt,
    AttemptState,
    BudgetPeriod,
    Connection,
    Event,
    Job,
    LedgerEntry,
    Notice,
    Status,
)
from jobs.openai_client import Blocked, BorderError, NotFound, Outcome, OutcomeUnknown, Retryable
from tests.fake_api import FakeApi, age
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]


@pytest.fixture
def job(api: FakeApi, submit: Submit) -> Job:
    """A job in flight."""
    made = submit()
    api.run("send")
    return made


@pytest.fixture
def three(api: FakeApi, submit: Submit) -> list[Job]:
    """Three jobs in flight that have been seen running."""
    made = [submit(prompt=f"Lemma {number}?") for number in range(3)]
    api.run("send", "poll")
    return made


def the(job: Job, number: int = 1) -> Attempt:
    job.refresh_from_db()
    return Attempt.objects.get(job=job, number=number)


def booked(job: Job) -> list[tuple[str, str, Decimal]]:
    """The ledger after the hold."""
    rows = LedgerEntry.objects.filter(job=job).order_by("pk")[1:]
    return [(row.kind, row.basis, row.amount) for row in rows]


def alarms() -> list[str]:
    return list(Notice.objects.order_by("pk").values_list("kind", flat=True))


def seconds_to_next_look(job: Job) -> float:
    job.refresh_from_db()
    assert job.next_action_at is not None
    return (job.next_action_at - timezone.now()).total_seconds()


def miss_for(job: Job, minutes: float) -> None:
    """Let a row of misses have begun so long ago, with a poll every half minute."""
    Attempt.objects.filter(job=job).update(
        missed_since=timezone.now() - dt.timedelta(minutes=minutes), misses=2 * minutes
    )


def expire(api: FakeApi, job: Job) -> None:
    """Let a job be unknown upstream until it is given up."""
    api.lose(job)
    miss_for(job, 10)
    api.run("poll")


def job_status(job: Job) -> str:
    job.refresh_from_db()
    return job.status


def job_cost(job: Job) -> Decimal:
    job.refresh_from_db()
    return job.cost


# Not found


def test_a_404_in_the_first_minutes_is_patience(api: FakeApi, job: Job) -> None:
    api.lose(job)
    for _ in range(4):
        api.run("poll")
    assert (the(job).misses, job.status) == (4, Status.QUEUED)
    assert 3 < seconds_to_next_look(job) <= 5
    miss_for(job, 2)
    api.run("poll")
    assert 18 < seconds_to_next_look(job) <= 20


def test_an_old_job_has_the_same_ten_minutes(api: FakeApi, job: Job) -> None:
    # As after a change of the key: what was there for hours is unknown from one poll to the next.
    age(job, hours=5)
    api.lose(job)
    for _ in range(30):
        api.run("poll")
    assert (job_status(job), booked(job), alarms()) == (Status.QUEUED, [], [])
    age(job, minutes=9, seconds=50)
    api.run("poll")
    assert job_status(job) == Status.QUEUED
    age(job, seconds=10)
    api.run("poll")
    assert job_status(job) == Status.FAILED


def test_an_installation_that_slept_has_seen_no_row(api: FakeApi, job: Job) -> None:
    api.lose(job)
    api.run("poll")
    age(job, hours=2)
    api.run("poll", "poll")
    assert (the(job).misses, job_status(job)) == (3, Status.QUEUED)


def test_a_404_that_stays_expires_the_job_with_its_evidence_and_its_ceiling(api: FakeApi, job: Job) -> None:
    age(job, minutes=30)
    expire(api, job)
    assert (job_status(job), job.error_code) == (Status.FAILED, "expired")
    assert booked(job) == [("release", "", -job.worst_case), ("charge", "bound", job.worst_case)]
    assert Event.objects.get(kind="expired").note == (
        "404 for resp_1, 21 times in 600 s, 1800 s after it was sent"
    )
    assert alarms() == ["expired"]
    assert job.finished_at is not None


def test_what_expired_is_watched_for_a_week_and_then_left(api: FakeApi, job: Job) -> None:
    expire(api, job)
    assert (the(job).state, the(job).error_code) == (AttemptState.KNOWN, "expired")
    assert 55 < seconds_to_next_look(job) <= 61
    api.run("poll")
    assert 55 < seconds_to_next_look(job) <= 61
    age(job, days=6, hours=23)
    api.run("poll")
    assert the(job).state == AttemptState.KNOWN
    age(job, hours=2)
    api.run("poll")
    assert (the(job).state, job.next_action_at) == (AttemptState.ENDED, None)
    assert [kind for kind, _, _ in booked(job)] == ["release", "charge"]
    assert alarms() == ["expired"]


def test_what_expired_and_turns_up_is_adjusted_to_its_usage_and_gives_its_answer(
    api: FakeApi, job: Job
) -> None:
    expire(api, job)
    api.put(job, "in_progress")
    api.run("poll")
    assert (job_status(job), job.error_code) == (Status.FAILED, "expired")
    assert (the(job).misses, the(job).missed_since) == (0, None)
    assert 55 < seconds_to_next_look(job) <= 61
    api.put(job, "completed")
    api.run("poll", "poll")
    assert (job_status(job), job.error_code, job.answer.text) == ("completed", "", "The lemma is true.")
    assert booked(job) == [
        ("release", "", -job.worst_case),
        ("charge", "bound", job.worst_case),
        ("adjust", "usage", Decimal("0.022") - job.worst_case),
    ]
    assert (the(job).state, job.next_action_at) == (AttemptState.ENDED, None)


def test_what_expired_and_turns_up_failed_stays_expired_at_what_it_used(api: FakeApi, job: Job) -> None:
    expire(api, job)
    api.put(job, "failed", error={"code": "server_error", "message": "Oh."})
    api.run("poll")
    assert (job_status(job), job.error_code, job.cost) == (Status.FAILED, "expired", Decimal("0.022"))
    assert Attempt.objects.count() == 1


def test_what_expired_and_turns_up_without_usage_is_not_booked_above_what_was_held(
    api: FakeApi, submit: Submit
) -> None:
    api.input_tokens = 40  # the exact count: a part of the hold is given back
    job = submit()
    api.run("send")
    expire(api, job)
    before = job_cost(job)
    assert 0 < before < job.worst_case
    api.put(job, "completed", usage=None)
    api.run("poll")
    age(job, minutes=11)
    api.run("poll")
    assert (job_status(job), job.cost) == (Status.COMPLETED, before)
    assert [kind for kind, _, _ in booked(job)] == ["release", "release", "charge"]


def test_misses_count_in_a_row_only(api: FakeApi, job: Job) -> None:
    for _ in range(3):
        api.lose(job)
        miss_for(job, 9.5)
        api.run("poll")
        api.put(job, "in_progress")
        api.run("poll")
    assert (the(job).misses, the(job).missed_since, job.status) == (0, None, Status.IN_PROGRESS)


@pytest.mark.parametrize(
    "error",
    [
        Retryable("Away.", code="http_503"),
        Retryable("The API did not answer in time.", code="timeout"),
        Blocked("Wrong key.", code="invalid_api_key"),
    ],
)
def test_ten_minutes_in_which_something_else_was_answered_are_no_row(
    api: FakeApi, job: Job, error: BorderError
) -> None:
    api.lose(job)
    miss_for(job, 1)
    for _ in range(15):
        api.run("poll")
    api.lose(job, error)
    api.run("poll")
    assert (the(job).misses, the(job).missed_since) == (0, None)
    lifecycle.resume(the(job).connection_id)
    age(job, minutes=9)
    api.lose(job)
    for _ in range(25):
        api.run("poll")
    assert (the(job).misses, job_status(job), booked(job)) == (25, Status.QUEUED, [])


def test_an_answer_deleted_before_its_usage_came_is_booked_with_an_alarm(api: FakeApi, job: Job) -> None:
    api.put(job, "completed", usage=None)
    api.run("poll")
    expire(api, job)
    assert (job_status(job), job.error_code) == (Status.COMPLETED, "")
    assert booked(job)[-1] == ("charge", "bound", job.worst_case)
    assert alarms() == ["expired"]
    assert 55 < seconds_to_next_look(job) <= 61
    api.put(job, "completed")
    api.run("poll")
    assert (job_cost(job), the(job).state) == (Decimal("0.022"), AttemptState.ENDED)


def test_a_cancelled_response_that_is_deleted_stays_cancelled_at_its_estimate(api: FakeApi, job: Job) -> None:
    api.put(job, "cancelled", usage=None)
    api.run("poll")
    before = booked(job)
    expire(api, job)
    assert (job_status(job), the(job).state) == (Status.CANCELLED, AttemptState.KNOWN)
    age(job, minutes=61)
    api.run("poll")
    assert (job_status(job), the(job).state, job.next_action_at) == ("cancelled", "ended", None)
    assert booked(job) == before
    assert alarms() == []


def test_what_is_heard_of_an_ended_attempt_says_nothing(api: FakeApi, job: Job) -> None:
    api.put(job, "completed")
    api.run("poll")
    assert patience.observe_missing(the(job).pk) is None
    patience.lose_patience(the(job).pk)
    assert (the(job).misses, the(job).end_status, job.status) == (0, "completed", Status.COMPLETED)


def test_a_miss_whose_claim_was_lost_does_not_move_the_clock(api: FakeApi, job: Job) -> None:
    api.make_due()
    (poll,) = polling.claim_polls(10)
    lifecycle.cancel(job.pk)  # takes the claim away, for it wants the next look at once
    before = the(job).job.next_action_at
    missed = Outcome(poll, "retrieve", error=NotFound("No such response.", code="not_found"))
    polling.write_back([missed], stretched=1)
    assert (the(job).misses, job.next_action_at) == (1, before)


# Several of a connection at once


def test_several_unknown_at_once_pause_the_connection_and_none_expires(
    api: FakeApi, three: list[Job]
) -> None:
    for job in three:
        api.lose(job)
        miss_for(job, 9)
    api.run("poll")
    connection = Connection.objects.get()
    assert connection.paused_reason.startswith(
        "responses_unknown: Several responses are unknown there: has the key"
    )
    assert connection.paused_by is None
    assert alarms() == ["connection_paused"]
    for job in three:
        miss_for(job, 60)
    api.run("poll")
    assert len(api.gets) == 9, "they are asked for while it is paused"
    assert {job_status(job) for job in three} == {Status.QUEUED}
    assert BudgetPeriod.objects.get().held == sum(job.worst_case for job in three)


def test_after_the_old_key_is_back_they_go_on(api: FakeApi, three: list[Job]) -> None:
    for job in three:
        api.lose(job)
        miss_for(job, 9)
    api.run("poll")
    for job in three:
        api.put(job, "completed")
    api.run("poll")
    assert {job_status(job) for job in three} == {Status.COMPLETED}
    assert Connection.objects.paused().exists(), "a person resumes it"


def test_someone_who_resumes_has_looked_and_the_row_begins_afresh(api: FakeApi, three: list[Job]) -> None:
    for job in three:
        api.lose(job)
        miss_for(job, 30)
    api.run("poll")
    assert lifecycle.resume(Connection.objects.get().pk)
    assert set(Attempt.objects.values_list("misses", "missed_since")) == {(0, None)}
    for job in three:
        miss_for(job, 9)
    api.run("poll")
    assert not Connection.objects.paused().exists(), "asked once about what was sent before"
    assert {job_status(job) for job in three} == {Status.QUEUED}
    for job in three:
        miss_for(job, 10)
    api.run("poll")
    assert {job_status(job) for job in three} == {Status.FAILED}
    assert BudgetPeriod.objects.get().held == 0


def test_nothing_expires_while_its_connection_is_paused_by_hand(api: FakeApi, job: Job) -> None:
    lifecycle.pause(Connection.objects.get().pk, "Changing the key", by=job.submitted_by)
    expire(api, job)
    assert job_status(job) == Status.QUEUED


def test_one_that_was_sent_before_and_is_known_says_that_the_connection_is_right(
    api: FakeApi, submit: Submit, job: Job
) -> None:
    api.put(job, "in_progress")
    later = [submit() for _ in range(3)]
    api.run("send")
    for one in later:
        api.lose(one)
        miss_for(one, 9)
    api.run("poll")
    assert not Connection.objects.paused().exists()
    # Nor does it matter that it has ended since.
    api.put(job, "completed")
    api.run("poll")
    assert not Connection.objects.paused().exists()
    for one in later:
        expire(api, one)
    assert {job_status(one) for one in later} == {Status.FAILED}


def test_one_that_ended_before_the_others_were_lost_says_nothing(
    api: FakeApi, submit: Submit, job: Job
) -> None:
    api.put(job, "completed")
    api.run("poll")
    Attempt.objects.filter(job=job).update(ended_at=timezone.now() - dt.timedelta(hours=1))
    later = [submit() for _ in range(3)]
    api.run("send")
    for one in later:
        api.lose(one)
        miss_for(one, 9)
    api.run("poll")
    assert Connection.objects.paused().exists()


def test_one_that_was_sent_with_the_new_key_says_nothing(
    api: FakeApi, submit: Submit, three: list[Job]
) -> None:
    new = submit(prompt="With the new key.")
    api.run("send")
    api.put(new, "in_progress")
    for job in three:
        api.lose(job)
        miss_for(job, 9)
    api.run("poll")
    assert Connection.objects.paused().exists()


def test_two_unknown_at_once_are_their_own_trouble(api: FakeApi, three: list[Job]) -> None:
    api.put(three[0], "completed")
    api.run("poll")
    Attempt.objects.filter(job=three[0]).update(ended_at=timezone.now() - dt.timedelta(hours=1))
    for job in three[1:]:
        expire(api, job)
    assert not Connection.objects.paused().exists()
    assert [job_status(job) for job in three[1:]] == [Status.FAILED] * 2


# An id that was given by hand


def test_an_id_given_by_hand_that_is_not_found_is_given_up_soon_and_keeps_its_hold(
    api: FakeApi, submit: Submit
) -> None:
    job = submit()
    api.replies.append(OutcomeUnknown("The connection broke.", code="connection_lost"))
    api.run("send")
    lifecycle.resolve(job.pk, Decision.ADOPT, response_id="resp_7")
    api.lose(job)
    api.run("poll", "poll")
    assert job_status(job) == Status.QUEUED
    api.run("poll")
    attempt = the(job)
    assert (job.status, attempt.state, attempt.response_id) == ("unconfirmed", "unconfirmed", "")
    assert (attempt.misses, attempt.missed_since, attempt.is_unproven) == (0, None, False)
    assert Event.objects.get(kind="disowned").note == "There is no response with that id."
    assert BudgetPeriod.objects.get().held == job.worst_case
    # The right one is taken afterwards.
    lifecycle.resolve(job.pk, Decision.ADOPT, response_id="resp_8")
    api.put(job, "completed", metadata={"ponder_attempt": str(attempt.nonce)})
    api.run("poll")
    assert (job_status(job), job.cost) == (Status.COMPLETED, Decimal("0.022"))


# Never ending


def test_a_day_past_its_deadline_it_is_stuck_booked_and_watched_for_a_week(api: FakeApi, job: Job) -> None:
    api.put(job, "in_progress")
    api.run("poll")
    age(job, hours=49)
    api.run("poll", "poll")
    assert (job_status(job), job.error_code) == (Status.FAILED, "stuck")
    assert booked(job) == [("release", "", -job.worst_case), ("charge", "bound", job.worst_case)]
    assert alarms() == ["stuck"]
    assert job.next_action_at is not None
    assert 55 < (job.next_action_at - timezone.now()).total_seconds() <= 61
    age(job, days=6, hours=23)
    api.run("poll")
    assert the(job).state == AttemptState.KNOWN
    age(job, hours=2)
    api.run("poll")
    assert (the(job).state, job.next_action_at) == (AttemptState.ENDED, None)


def test_a_stuck_job_that_ends_after_all_takes_its_answer_and_its_usage(api: FakeApi, job: Job) -> None:
    age(job, hours=49)
    api.run("poll")
    api.put(job, "completed", usage=None)
    api.run("poll")
    assert (job_status(job), job.error_code, job.answer.text) == ("completed", "", "The lemma is true.")
    api.put(job, "completed")
    api.run("poll")
    assert [kind for kind, _, _ in booked(job)] == ["release", "charge", "adjust"]
    assert job_cost(job) == Decimal("0.022")


def test_a_stuck_job_that_fails_after_all_stays_stuck(api: FakeApi, job: Job) -> None:
    age(job, hours=49)
    api.run("poll")
    api.put(job, "failed")
    api.run("poll")
    assert (job_status(job), job.error_code) == (Status.FAILED, "stuck")
    assert (the(job).state, job.cost) == (AttemptState.ENDED, Decimal("0.022"))


def test_an_end_that_can_never_be_read_is_stuck_too(api: FakeApi, job: Job) -> None:
    api.lose(job, Retryable("Away.", code="connect_error"))
    age(job, hours=47)
    api.run("poll")
    assert job_status(job) == Status.QUEUED
    age(job, hours=2)
    api.run("poll")
    assert (job_status(job), job.error_code, job.cost) == (Status.FAILED, "stuck", job.worst_case)


def test_before_that_slow_is_not_stuck(api: FakeApi, job: Job) -> None:
    age(job, hours=47)
    api.run("poll")
    assert job_status(job) == Status.QUEUED
    Job.objects.update(deadline_at=None)
    patience.lose_patience(the(job).pk)
    assert job_status(job) == Status.QUEUED


def test_cancelled_is_watched_for_an_hour_and_then_left(api: FakeApi, job: Job) -> None:
    api.put(job, "cancelled")
    api.run("poll")
    age(job, minutes=59)
    api.run("poll")
    assert the(job).state == AttemptState.KNOWN
    age(job, minutes=2)
    api.run("poll")
    assert (the(job).state, job.next_action_at, job.status) == (AttemptState.ENDED, None, Status.CANCELLED)
    assert len(booked(job)) == 2


def test_cancelled_that_seems_to_run_again_is_left_after_the_hour_too(api: FakeApi, job: Job) -> None:
    api.put(job, "cancelled")
    api.run("poll")
    api.put(job, "in_progress")
    api.run("poll")
    assert job_status(job) == Status.CANCELLED
    age(job, minutes=61)
    api.run("poll")
    assert the(job).state == AttemptState.ENDED


def test_completed_that_seems_to_run_again_never_loses_its_hold_unbooked(api: FakeApi, job: Job) -> None:
    api.put(job, "completed", usage=None)
    api.run("poll")
    api.put(job, "in_progress")
    age(job, minutes=61)
    api.run("poll")
    assert booked(job)[-1] == ("charge", "bound", job.worst_case)


def test_what_was_given_up_and_cannot_be_read_is_left_after_its_week_too(api: FakeApi, job: Job) -> None:
    age(job, hours=49)
    api.run("poll")
    api.lose(job, Retryable("Away.", code="connect_error"))
    api.run("poll")
    assert 110 < seconds_to_next_look(job) <= 120
    age(job, days=8)
    api.run("poll")
    assert (the(job).state, job.next_action_at) == (AttemptState.ENDED, None)


def test_what_is_stuck_is_watched_for_its_week_although_the_jobs_other_send_has_ended(
    api: FakeApi, submit: Submit
) -> None:
    job = submit()
    api.replies.append(OutcomeUnknown("The connection broke.", code="connection_lost"))
    api.run("send")
    first = the(job)
    lifecycle.resolve(job.pk, Decision.RESEND)
    (send,) = claiming.claim_sends(1)
    api.responses["resp_first"] = api.body("resp_first", "in_progress")
    lifecycle.journal.write(first.nonce, "resp_first", "")
    lifecycle.replay()
    assert send.attempt_id == the(job, 2).pk
    age(job, minutes=2)
    sending.reap()
    lifecycle.journal.write(send.nonce, "resp_2", "")
    lifecycle.replay()
    api.responses["resp_2"] = api.body("resp_2", "in_progress")
    age(job, hours=49)
    api.run("poll", "poll")
    api.responses["resp_2"] = api.body("resp_2", "completed")
    api.run("poll")
    assert (job_status(job), job.error_code) == (Status.COMPLETED, "")
    age(job, hours=3)
    api.run("poll")
    assert the(job).state == AttemptState.KNOWN
    age(job, days=8)
    api.run("poll")
    assert (the(job).state, job.next_action_at) == (AttemptState.ENDED, None)


def test_a_watched_send_of_a_job_that_needs_answers_is_left_after_its_hour(api: FakeApi, job: Job) -> None:
    api.put(job, "cancelled")
    api.run("poll")
    Job.objects.filter(pk=job.pk).update(status=Status.REQUIRES_ACTION)
    api.put(job, "in_progress")
    api.run("poll")
    assert 55 < seconds_to_next_look(job) <= 61
    age(job, minutes=61)
    api.run("poll")
    assert (the(job).state, job.next_action_at) == (AttemptState.ENDED, None)


def test_an_end_that_can_never_be_written_down_does_not_hold_its_money_for_ever(
    api: FakeApi, job: Job
) -> None:
    api.put(job, "completed", odd=float("inf"))  # JSON has no infinity, and neither has the database
    age(job, hours=49)
    api.run("poll")
    assert (job_status(job), job.error_code) == (Status.FAILED, "stuck")
    assert sorted(alarms()) == ["stuck", "unreadable"]
    assert booked(job)[-1] == ("charge", "bound", job.worst_case)


# The clock of a machine


def test_a_machine_whose_clock_is_ahead_gives_nothing_up(api: FakeApi, job: Job) -> None:
    api.lose(job)
    with time_machine.travel(timezone.now() + dt.timedelta(days=30)):
        for _ in range(patience.MISSES_TO_EXPIRE + 1):
            api.run("poll")
    with time_machine.travel(timezone.now() + dt.timedelta(days=60)):
        api.run("poll")
        patience.lose_patience(the(job).pk)
    assert (job_status(job), booked(job)) == (Status.QUEUED, [])
