"""Asking for responses: when, in what order of patience, and what only looks like an end."""

import datetime as dt
import uuid
from collections import Counter
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs import lifecycle
from jobs.access import Role
from jobs.lifecycle import Announcement, ending, polling
from jobs.models import Attempt, AttemptState, Connection, Event, Job, Notice, Secret, Status, User
from jobs.openai_client import Blocked, BorderError, NotFound, Outcome, Rejected, Retryable
from tests.factories import a_project
from tests.fake_api import FakeApi, age
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]


@pytest.fixture
def job(api: FakeApi, submit: Submit) -> Job:
    """A job in flight."""
    made = submit()
    api.run("send")
    return made


def the(job: Job) -> Attempt:
    job.refresh_from_db()
    return Attempt.objects.get(job=job)


def seconds_to_next_look(job: Job) -> float:
    job.refresh_from_db()
    assert job.next_action_at is not None
    return (job.next_action_at - timezone.now()).total_seconds()


def claim_one(api: FakeApi) -> polling.Poll:
    api.make_due()
    (poll,) = polling.claim_polls(10)
    return poll


@pytest.mark.parametrize(
    ("seconds", "stretch", "expected"),
    [
        pytest.param(0, 1, 2, id="never more often than every 2 s"),
        pytest.param(500, 1, 5, id="1 % of its age"),
        pytest.param(36_000, 1, 20, id="at least every 20 s"),
        pytest.param(36_000, 3, 60, id="unless the fleet is too large"),
        pytest.param(500, 0.1, 5, id="a small fleet is not asked more often"),
    ],
)
def test_the_interval_grows_with_age(seconds: float, stretch: float, expected: float) -> None:
    found = [polling.interval(seconds, stretch=stretch) for _ in range(50)]
    assert all(expected * 0.9 <= value <= expected * 1.1 for value in found)
    assert max(found) > min(found)


def test_a_fleet_within_its_budget_is_not_stretched(job: Job) -> None:
    assert polling.stretch() == 1


def test_a_fleet_above_its_budget_is_stretched(
    api: FakeApi, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "FLEET_BUDGET", 0.1)
    assert polling.stretch() == pytest.approx(5)  # one poll in 2 s, at 0.1 a second
    age(job, hours=1)
    assert polling.stretch() == 1  # one in 20 s


def test_a_running_response_is_asked_again_and_its_status_shown(api: FakeApi, job: Job) -> None:
    version = job.version
    api.put(job, "in_progress")
    api.run("poll")
    assert 1.5 < seconds_to_next_look(job) <= 2.3
    assert (job.status, job.claim_token) == (Status.IN_PROGRESS, None)
    shown = job.version
    assert shown > version
    api.run("poll")
    job.refresh_from_db()
    assert job.version == shown, "polls are not what people see"
    assert Event.objects.filter(job=job, kind="in_progress").count() == 1


def test_running_responses_are_written_back_in_bulk(api: FakeApi, submit: Submit) -> None:
    for number in range(12):
        submit(prompt=f"Lemma {number}?")
    api.run("send")
    api.make_due()
    polls = polling.claim_polls(100)
    outcomes = [Outcome(poll, "retrieve", body=api.body(poll.response_id, "queued")) for poll in polls]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        polling.write_back(outcomes, stretched=1)
    assert len(polls) == 12
    assert len(queries) <= 7


def test_a_claim_pushes_the_clock_and_hides_the_row(api: FakeApi, job: Job) -> None:
    poll = claim_one(api)
    assert 20 < seconds_to_next_look(job) <= 30
    assert job.claim_token == poll.claim
    assert polling.claim_polls(10) == []


def test_a_claim_takes_no_more_than_its_room(api: FakeApi, submit: Submit) -> None:
    for _ in range(3):
        submit()
    api.run("send")
    api.make_due()
    assert len(polling.claim_polls(2)) == 2
    assert len(polling.claim_polls(2)) == 1


def test_what_goes_first_is_asked_for_before_all_that_is_overdue(
    api: FakeApi, submit: Submit, person: User
) -> None:
    jobs = [submit(prompt=f"Lemma {number}?") for number in range(5)]
    api.run("send")
    Job.objects.update(next_action_at=Now() - dt.timedelta(minutes=5))
    announced, cancelled, asked, *rest = jobs
    news = Announcement("wh_1", "response.completed", the(announced).response_id, timezone.now())
    lifecycle.receive(announced.project.connection_id, news)
    lifecycle.cancel(cancelled.pk, by=person)
    lifecycle.poll_now(asked.pk, by=person)
    urgent = {announced.pk, cancelled.pk, asked.pk}
    assert [poll.job_id for poll in polling.claim_polls(1)] == [announced.pk]
    assert {poll.job_id for poll in polling.claim_polls(2)} == urgent - {announced.pk}
    assert {poll.job_id for poll in polling.claim_polls(10)} == {job.pk for job in rest}
    # A claim that is never answered, or in vain, is no answer: they come first again.
    assert set(Job.objects.filter(goes_first=True).values_list("pk", flat=True)) == urgent


def test_what_goes_first_is_that_until_it_is_answered(api: FakeApi, job: Job, person: User) -> None:
    lifecycle.poll_now(job.pk, by=person)
    (poll,) = polling.claim_polls(1)
    busy = Retryable("overloaded", code="server_overloaded")
    polling.write_back([Outcome(poll, "retrieve", error=busy)], stretched=1)
    assert Job.objects.get().goes_first
    Connection.objects.update(not_before=timezone.now() + dt.timedelta(seconds=30))
    Job.objects.update(next_action_at=Now())
    assert polling.claim_polls(1) == []
    assert Job.objects.get().goes_first
    Connection.objects.update(not_before=None)
    api.put(job, "in_progress")
    api.run("poll")
    assert not Job.objects.get().goes_first
    lifecycle.poll_now(job.pk, by=person)
    api.put(job, "completed")
    api.run("poll")
    assert not Job.objects.get().goes_first


def test_a_connection_that_hangs_leaves_room_to_ask_for_what_runs_elsewhere(
    api: FakeApi, submit: Submit, person: User
) -> None:
    other = a_project("other", is_practice=False, members={person: Role.MANAGER})
    for _ in range(12):
        submit()
    one = submit(to=other)
    Connection.objects.update(accepted_at=Now())
    api.run("send")
    due = Job.objects.exclude(pk=one.pk)
    due.update(next_action_at=Now() - dt.timedelta(seconds=2))
    Job.objects.filter(pk=one.pk).update(next_action_at=Now())
    first = polling.claim_polls(10, {})
    busy = Counter(poll.connection_id for poll in first)
    assert list(busy.values()) == [5], "the rest of its jobs were due before the other's"
    assert [poll.job_id for poll in polling.claim_polls(5, busy)] == [one.pk]


def test_a_write_back_without_the_claim_changes_nothing(api: FakeApi, job: Job) -> None:
    poll = claim_one(api)
    newer = uuid.uuid4()
    Job.objects.update(claim_token=newer)
    before = Job.objects.values().get()
    polling.write_back([Outcome(poll, "retrieve", body=api.body("resp_1", "in_progress"))], stretched=1)
    polling.write_back([Outcome(poll, "retrieve", error=Retryable("Away.", code="x"))], stretched=1)
    assert Job.objects.values().get() == before


def test_an_end_counts_whoever_saw_it_first(api: FakeApi, job: Job) -> None:
    poll = claim_one(api)
    Job.objects.update(claim_token=uuid.uuid4())
    end = Outcome(poll, "retrieve", body=api.body("resp_1", "completed"))
    polling.write_back([end, end], stretched=1)
    job.refresh_from_db()
    assert job.status == Status.COMPLETED
    assert Event.objects.filter(job=job, kind="completed").count() == 1


def test_a_poll_error_never_fails_a_job(api: FakeApi, job: Job) -> None:
    api.lose(job, Retryable("Away.", code="connect_error"))
    api.run("poll")
    assert 3.5 < seconds_to_next_look(job) <= 4.5, "twice the interval"
    assert (job.status, job.claim_token) == (Status.QUEUED, None)
    assert not Connection.objects.paused().exists()


def test_a_poll_that_is_asked_to_wait_waits_and_so_does_its_connection(api: FakeApi, job: Job) -> None:
    api.lose(job, Retryable("Slow.", code="rate_limit_exceeded", retry_after=60))
    api.run("poll")
    assert 62 < seconds_to_next_look(job) <= 65
    Job.objects.update(next_action_at=Now())
    lifecycle.run_pump("poll")
    assert len(api.gets) == 1
    assert 55 < seconds_to_next_look(job) <= 60


def test_a_key_that_is_refused_pauses_the_connection_and_polls_go_on(api: FakeApi, job: Job) -> None:
    api.lose(job, Blocked("Wrong key.", code="invalid_api_key"))
    api.run("poll")
    assert Connection.objects.paused().exists()
    api.put(job, "completed")
    api.run("poll")
    job.refresh_from_db()
    assert job.status == Status.COMPLETED


def test_a_key_that_does_not_decrypt_pauses_the_connection(api: FakeApi, job: Job) -> None:
    Connection.objects.update(key=Secret("gAAAA-of-another-key"))
    api.run("poll")
    assert api.gets == []
    assert Connection.objects.get().paused_reason.startswith("key_unreadable")
    assert 20 < seconds_to_next_look(job) <= 30


@pytest.mark.parametrize("word", ["paused_for_review", None, ["completed"], {"status": 1}])
def test_a_word_we_do_not_know_is_no_end_and_alarms_once(api: FakeApi, job: Job, word: Any) -> None:
    api.put(job, "queued", status=word)
    api.run("poll", "poll")
    job.refresh_from_db()
    assert (job.status, the(job).state) == (Status.QUEUED, AttemptState.KNOWN)
    assert Event.objects.filter(job=job, kind="unknown_status").count() == 1
    assert Notice.objects.get().kind == "unknown_status"
    api.put(job, "completed")
    api.run("poll")
    job.refresh_from_db()
    assert job.status == Status.COMPLETED


def test_an_answer_that_cannot_be_written_down_keeps_no_other_from_being(
    api: FakeApi, submit: Submit, job: Job
) -> None:
    other = submit()
    api.run("send")
    api.put(job, "completed", odd=float("inf"))  # JSON has no infinity, and neither has the database
    api.put(other, "completed")
    api.run("poll", "poll")
    job.refresh_from_db()
    other.refresh_from_db()
    assert (job.status, other.status) == (Status.QUEUED, Status.COMPLETED)
    notice = Notice.objects.get()
    assert (notice.kind, notice.message) == (
        "unreadable",
        "Its response could not be written down (DataError).",
    )


def test_trouble_with_the_database_is_not_the_answers(
    api: FakeApi, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(ending, "observe_end", lost)
    api.put(job, "completed")
    with pytest.raises(OperationalError):
        api.run("poll")
    assert not Notice.objects.exists()


def test_a_job_with_nothing_left_to_ask_leaves_the_clock(api: FakeApi, job: Job) -> None:
    Attempt.objects.update(state=AttemptState.ENDED)
    api.run("poll")
    job.refresh_from_db()
    assert (job.next_action_at, job.claim_token, api.gets) == (None, None, [])
    Attempt.objects.update(state=AttemptState.KNOWN)
    api.put(job, "completed")
    Job.objects.update(next_action_at=Now())
    lifecycle.run_pump("poll")


def test_past_its_deadline_upstream_is_asked_to_stop_and_its_word_decides(api: FakeApi, job: Job) -> None:
    age(job, hours=25)
    api.run("poll", "poll")
    job.refresh_from_db()
    assert api.cancels == ["resp_1"], "asked once"
    assert job.status == Status.QUEUED
    assert job.cancel_requested_at is not None
    assert job.cancel_requested_by is None
    assert list(Event.objects.filter(kind="deadline")) == [Event.objects.get(kind="deadline")]
    api.put(job, "cancelled")
    api.run("poll")
    job.refresh_from_db()
    assert job.status == Status.CANCELLED


LOST = Retryable("Away.", code="connect_error")
NO_ROUTE = Blocked("The API answered 404 without an OpenAI error body.", code="http_404", status=404)
NO_METHOD = Blocked("Method not allowed.", code="method_not_allowed", status=405)
NO_RESPONSE = NotFound("No such response.", code="not_found", status=404)
NO_KEY = Blocked("Wrong key.", code="invalid_api_key", status=401)


def test_a_cancel_that_was_lost_is_asked_again_when_it_still_runs_a_minute_later(
    api: FakeApi, job: Job
) -> None:
    lifecycle.cancel(job.pk)
    api.on_cancel["resp_1"] = LOST
    api.run("poll", "poll", "poll")
    assert (api.cancels, api.gets) == (["resp_1"], ["resp_1", "resp_1"])
    age(job, minutes=1)
    api.lose(job, LOST)
    api.run("poll", "poll")
    assert len(api.cancels) == 1, "nobody has said that it still runs"
    api.put(job, "in_progress")
    api.run("poll", "poll", "poll")
    assert (len(api.cancels), len(api.gets)) == (2, 6)
    assert not Event.objects.filter(kind="cancel_refused").exists()


@pytest.mark.parametrize("error", [LOST, NO_ROUTE, NO_METHOD, NO_RESPONSE, NO_KEY])
def test_a_cancel_that_fails_does_not_hide_the_end(api: FakeApi, job: Job, error: BorderError) -> None:
    age(job, hours=49)  # a job past its deadline is cancelled by itself; this one would be given up as stuck
    api.on_cancel["resp_1"] = error
    api.put(job, "completed")
    api.run("poll", "poll")
    job.refresh_from_db()
    assert (len(api.cancels), len(api.gets)) == (1, 1)
    assert (job.status, the(job).misses) == (Status.COMPLETED, 0)
    assert list(Notice.objects.values_list("kind", flat=True)) == ["connection_paused"] * (error is NO_KEY)


@pytest.mark.parametrize("error", [NO_ROUTE, NO_METHOD, NO_RESPONSE])
def test_a_cancel_that_the_server_does_not_know_is_not_repeated_and_said_once(
    api: FakeApi, job: Job, error: BorderError
) -> None:
    age(job, minutes=2)
    lifecycle.cancel(job.pk)
    api.on_cancel["resp_1"] = error
    for _ in range(5):
        api.run("poll")
        age(job, minutes=11)
    job.refresh_from_db()
    assert (len(api.cancels), len(api.gets), job.status) == (1, 4, Status.QUEUED)
    assert Event.objects.get(kind="cancel_refused").note == f"{error.code}: {error.message}"
    assert not Notice.objects.exists()


def test_a_cancel_of_what_was_just_accepted_and_is_not_known_yet_is_repeated(api: FakeApi, job: Job) -> None:
    lifecycle.cancel(job.pk)
    api.on_cancel["resp_1"] = NO_RESPONSE
    api.run("poll")
    age(job, minutes=1)
    api.on_cancel["resp_1"] = api.body("resp_1", "cancelled")
    api.run("poll", "poll")
    job.refresh_from_db()
    assert (len(api.cancels), job.status) == (2, Status.CANCELLED)


def test_a_cancel_that_is_refused_does_not_hide_the_end(api: FakeApi, job: Job) -> None:
    lifecycle.cancel(job.pk)
    api.on_cancel["resp_1"] = Rejected("Cannot cancel a completed response.", code="invalid_request_error")
    api.put(job, "completed")
    api.run("poll", "poll")
    job.refresh_from_db()
    assert job.status == Status.COMPLETED
    assert Event.objects.get(kind="cancel_refused").note.endswith("Cannot cancel a completed response.")


def test_a_watched_response_that_is_still_running_is_asked_once_a_minute(api: FakeApi, job: Job) -> None:
    api.put(job, "cancelled")
    api.run("poll")
    api.put(job, "in_progress")
    api.run("poll")
    assert 55 < seconds_to_next_look(job) <= 60


def test_what_is_not_known_yet_is_not_polled(api: FakeApi, submit: Submit) -> None:
    job = submit()
    Job.objects.update(next_action_at=Now() - dt.timedelta(minutes=1))
    for status in (Status.WAITING, Status.SENDING, Status.UNCONFIRMED, Status.AWAITING_APPROVAL):
        Job.objects.update(status=status)
        assert polling.claim_polls(10) == []
    Job.objects.update(status=Status.WAITING)
    assert job.pk
