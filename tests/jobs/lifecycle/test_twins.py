"""What a job goes on with when one of its several sends has brought nothing: it is never left behind."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from jobs import lifecycle
from jobs.lifecycle import Decision, polling, pump
from jobs.lifecycle.adoption import adopt
from jobs.models import Attempt, AttemptState, BudgetPeriod, Connection, Event, Job, Status
from jobs.openai_client import NotFound, Outcome, OutcomeUnknown, Rejected, Retryable
from tests.fake_api import FakeApi, age

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

LOST = OutcomeUnknown("The connection broke.", code="connection_lost")
REFUSED = Rejected("No.", code="invalid_value")
AWAY = Retryable("The API could not be reached.", code="connect_error")
BUSY = Retryable("Slow down.", code="rate_limit_exceeded", status=429, retry_after=30)
FAILED_UPSTREAM: dict[str, Any] = {"error": {"code": "server_error", "message": "Oh."}}


def the(job: Job, number: int = 1) -> Attempt:
    job.refresh_from_db()
    return Attempt.objects.get(job=job, number=number)


def states(job: Job) -> list[str]:
    job.refresh_from_db()
    return list(Attempt.objects.filter(job=job).order_by("number").values_list("state", flat=True))


def held() -> Decimal:
    return BudgetPeriod.objects.get().held


def turn_up(job: Job) -> None:
    with transaction.atomic():
        assert adopt(the(job).pk, "resp_first", how="journal")


@pytest.fixture
def both(api: FakeApi, resent: Job) -> Job:
    """A job whose two sends are both running."""
    api.run("send")
    api.responses["resp_first"] = api.body("resp_first", "in_progress")
    turn_up(resent)
    api.run("poll")
    assert states(resent) == ["known", "known"]
    return resent


@pytest.fixture
def watched(api: FakeApi, both: Job) -> Job:
    """A job whose first send expired and is watched, whose second failed, and whose third waits."""
    api.responses["resp_first"] = NotFound("No such response.", code="not_found")
    api.put(both, "in_progress", number=2)
    api.run("poll")
    Attempt.objects.filter(pk=the(both).pk).update(misses=30)
    age(both, minutes=11)
    api.run("poll")
    assert (the(both).state, the(both).error_code) == ("known", "expired")
    api.put(both, "failed", number=2, **FAILED_UPSTREAM)
    api.run("poll")
    assert (states(both), both.status) == (["known", "ended", "planned"], Status.WAITING)
    return both


def test_beside_one_nobody_knows_of_a_send_that_expired_leaves_the_decision_to_a_person(
    api: FakeApi, resent: Job
) -> None:
    api.run("send")
    second = the(resent, 2)
    assert states(resent) == ["unconfirmed", "known"]
    api.responses[second.response_id] = NotFound("No such response.", code="not_found")
    api.run("poll")
    Attempt.objects.filter(pk=second.pk).update(misses=30)
    age(resent, minutes=11)
    before = held()
    api.run("poll")
    assert the(resent, 2).error_code == "expired"
    assert (resent.status, states(resent)[0]) == (Status.UNCONFIRMED, "unconfirmed")
    # The expired one's ceiling is booked; the other's hold stays until someone has decided.
    assert held() == before / 2
    lifecycle.resolve(resent.pk, Decision.LOST)
    assert (the(resent).state, resent.status, held()) == ("ended", Status.FAILED, 0)


@pytest.mark.parametrize(
    ("end", "status", "code"),
    [
        pytest.param("rejected", Status.FAILED, "invalid_value", id="rejected"),
        pytest.param("cancelled", Status.CANCELLED, "", id="cancelled"),
    ],
)
def test_beside_one_that_is_only_watched_the_last_send_ends_the_job(
    api: FakeApi, watched: Job, end: str, status: Status, code: str
) -> None:
    if end == "rejected":
        api.replies.append(REFUSED)
        api.run("send")
    else:
        lifecycle.cancel(watched.pk)
    assert states(watched) == ["known", "ended", "ended"]
    assert (watched.status, watched.error_code, held()) == (status, code, 0)
    assert watched.finished_at is not None
    api.make_due()
    assert not pump.falls_due("send", within=0)
    # It is still watched, and an answer of it is still taken.
    api.responses["resp_first"] = api.body("resp_first", "completed")
    api.run("poll")
    assert (states(watched)[0], watched.status) == ("ended", Status.COMPLETED)


def test_beside_one_that_is_only_watched_a_send_nobody_knows_of_is_decided_about(
    api: FakeApi, watched: Job
) -> None:
    api.replies.append(LOST)
    api.run("send")
    assert (states(watched)[2], watched.status, watched.error_code) == (
        "unconfirmed",
        Status.UNCONFIRMED,
        "connection_lost",
    )
    gone = lifecycle.resolve(watched.pk, Decision.LOST)
    assert (gone.status, gone.error_code, held()) == (Status.FAILED, "lost", 0)
    # Then the first is watched on.
    assert gone.next_action_at is not None


def both_end(api: FakeApi, job: Job, word: str, **more: Any) -> None:
    """Let the second send fail and the first, watched since it was cancelled, be heard of in one batch."""
    api.put(job, "cancelled", number=1, usage=None)
    api.put(job, "in_progress", number=2)
    api.run("poll")
    api.make_due()
    polls = {poll.response_id: poll for poll in polling.claim_polls(10)}
    failed = api.body(the(job, 2).response_id, "failed", **FAILED_UPSTREAM)
    first = api.body("resp_first", word, **more)
    for body in (failed, first):
        polling.write_back([Outcome(polls[body["id"]], "retrieve", body=body)], stretched=1.0)


def test_a_watched_cancel_heard_of_again_does_not_end_a_job_that_is_tried_again(
    api: FakeApi, both: Job
) -> None:
    both_end(api, both, "cancelled", usage=None)
    assert (states(both), both.status) == (["known", "ended", "planned"], Status.WAITING)
    assert held() == the(both, 3).worst_case
    # Its clock says when to send it: not when to look at what is watched.
    assert both.next_action_at is not None
    assert both.next_action_at < timezone.now() + dt.timedelta(seconds=15)
    assert Event.objects.filter(job=both, kind="cancelled").count() == 1
    api.run("send")
    api.put(both, "completed", number=3)
    api.run("poll")
    assert (the(both, 3).state, both.status, held()) == ("ended", Status.COMPLETED, 0)


def test_an_answer_of_a_watched_send_drops_the_one_that_has_not_left(api: FakeApi, both: Job) -> None:
    both_end(api, both, "completed")
    assert states(both) == ["ended"] * 3
    assert (both.status, held(), both.next_action_at) == (Status.COMPLETED, 0, None)
    api.run("send")
    assert len(api.posts) == 2


@pytest.mark.parametrize(
    ("reply", "second", "status", "code"),
    [
        pytest.param(LOST, "unconfirmed", Status.UNCONFIRMED, "connection_lost", id="nobody knows"),
        pytest.param(REFUSED, "ended", Status.FAILED, "invalid_value", id="rejected"),
    ],
)
def test_a_first_send_that_fails_while_the_second_is_on_the_wire_leaves_the_job_to_that_one(
    api: FakeApi, resent: Job, reply: Any, second: str, status: Status, code: str
) -> None:
    api.responses["resp_first"] = api.body("resp_first", "failed")
    api.while_sending = _once(api, lambda: (turn_up(resent), lifecycle.run_pump("poll")))
    api.replies.append(reply)
    api.run("send")
    assert states(resent) == ["ended", second]
    assert (resent.status, resent.error_code, resent.next_action_at) == (status, code, None)
    if status == Status.UNCONFIRMED:
        lifecycle.resolve(resent.pk, Decision.LOST)
    resent.refresh_from_db()
    assert (resent.status, held()) == (Status.FAILED, 0)


@pytest.mark.parametrize("error", [AWAY, BUSY], ids=["out of reach", "rate limit"])
def test_a_second_send_surely_not_accepted_is_sent_again_when_the_first_has_failed_meanwhile(
    api: FakeApi, resent: Job, error: Retryable
) -> None:
    api.responses["resp_first"] = api.body("resp_first", "failed")
    api.while_sending = _once(api, lambda: (turn_up(resent), lifecycle.run_pump("poll")))
    api.replies.append(error)
    api.run("send")
    assert (states(resent), resent.status) == (["ended", "planned"], Status.WAITING)
    assert (the(resent, 2).tries, resent.error_code, held()) == (1, "", resent.worst_case)
    assert resent.next_action_at is not None
    wait = (resent.next_action_at - timezone.now()).total_seconds()
    assert (error.retry_after or 0) - 1 < wait <= (error.retry_after or 0) + 2
    Connection.objects.update(not_before=None)
    api.run("send")
    api.put(resent, "completed", number=2)
    api.run("poll")
    resent.refresh_from_db()
    assert (len(api.posts), resent.status, held()) == (3, Status.COMPLETED, 0)


def test_a_first_send_that_fails_while_nobody_knows_of_the_second_leaves_that_to_a_person(
    api: FakeApi, resent: Job
) -> None:
    api.replies.append(LOST)
    api.run("send")
    turn_up(resent)
    api.responses["resp_first"] = api.body("resp_first", "failed")
    api.run("poll")
    assert (states(resent), resent.status) == (["ended", "unconfirmed"], Status.UNCONFIRMED)
    assert Event.objects.filter(job=resent, kind="failed").count() == 1
    assert (held(), resent.error_code) == (resent.worst_case, "connection_lost")


def test_a_cancelled_second_send_leaves_the_first_to_be_decided_about(resent: Job) -> None:
    found = lifecycle.cancel(resent.pk)
    assert (found.status, found.cancel_requested_at) == (Status.UNCONFIRMED, None)
    assert states(resent) == [AttemptState.UNCONFIRMED, AttemptState.ENDED]
    assert held() == resent.worst_case


def _once(api: FakeApi, act: Callable[[], object]) -> Callable[[], object]:
    """Return what is done during the next POST only."""

    def acted() -> None:
        api.while_sending = lambda: None
        act()

    return acted
