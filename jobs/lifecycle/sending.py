"""Writes down what became of each POST, and of those that nobody heard of."""

import datetime as dt
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from jobs import spend
from jobs.lifecycle import twins
from jobs.lifecycle.acceptance import accept
from jobs.lifecycle.adoption import adopt, belongs_to_another
from jobs.lifecycle.connections import hold_back, pause, pause_for
from jobs.lifecycle.counting import count_accepted, count_refused
from jobs.lifecycle.ending import go_on
from jobs.lifecycle.journal import replay
from jobs.lifecycle.transition import move, step, tell
from jobs.models import IN_FLIGHT, Attempt, AttemptState, Connection, Event, Job, Status
from jobs.models.attempt import TOLD_WITHIN
from jobs.models.installation import ON_THE_WIRE
from jobs.models.questions import Blank, Question
from jobs.notify import alarm
from jobs.openai_client import (
    THREAD_FORGOTTEN,
    Blocked,
    BorderError,
    Endpoint,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Rejected,
    Retryable,
)

# Longer than a POST (60 s) can take with the token (10 s) and the count (10 s) before it; after it nobody is
# sending any more.
LEASE = ON_THE_WIRE
BACK_OFF_LIMIT = 120.0  # seconds
OWN_BACK_OFF_LIMIT = 600.0  # seconds; of a job that meets a rate limit which others do not
# Seconds at most that a connection rests once a send was surely not accepted there: the rest of a burst does
# not meet the same, and an API that is back is not kept waiting for what met it often.
REST_LIMIT = 10.0
# Sends in a row that nobody knows about until their connection pauses: each may be paid for twice, and each
# takes a person to decide.
UNKNOWN_LIMIT = 5


@dataclass(frozen=True, slots=True, eq=False)
class Send:
    """One claimed attempt, with all that a POST needs; `claim` fences its write-back."""

    job_id: int
    attempt_id: int
    connection_id: int
    claim: uuid.UUID
    nonce: uuid.UUID
    bound: int
    due_at: dt.datetime
    endpoint: Endpoint = field(repr=False)
    body: dict[str, Any] = field(repr=False)
    size: int = 0  # bytes of attachments in the body


def write_back(outcome: Outcome[Send]) -> None:
    """Write down what became of one POST, in one transaction. Safe to repeat."""
    send, error = outcome.key, outcome.error
    with transaction.atomic():
        if error is None and not accept([outcome]):
            return
        job = locked_job(send.job_id)
        attempt = _attempt().get(attempt=send.attempt_id)
        if error is None:
            _heard_late(job, attempt, outcome)
            count_accepted([(send.connection_id, send.due_at)])
        elif isinstance(error, NotSent):
            # This machine stopped; the API and the others are none the worse for it.
            _back_to_waiting(job, attempt, None, wait=dt.timedelta(0), tries=attempt.tries, kind="not_sent")
        elif isinstance(error, Retryable):
            _put_off(job, attempt, error)
        elif isinstance(error, Blocked):
            pause_for(send.connection_id, error)
            _back_to_waiting(job, attempt, error, wait=dt.timedelta(0), tries=0)
        elif isinstance(error, Rejected) and error.code == THREAD_FORGOTTEN and _can_replay(job):
            Job.objects.filter(pk=job.pk).update(replays_thread=True)
            _back_to_waiting(job, attempt, error, wait=dt.timedelta(0), tries=attempt.tries, kind="replayed")
        elif isinstance(error, Rejected):
            # This job will never work: nothing is billed, everything is given back.
            end_unsent(job, attempt, status=Status.FAILED, kind="rejected", error=error)
        else:
            assert isinstance(error, OutcomeUnknown)
            _unknown(job, attempt, error)
        if error is not None:
            count_refused(send.connection_id, error)


def write_back_accepted(outcomes: Sequence[Outcome[Send]]) -> list[Outcome[Send]]:
    """Write down what was accepted, in one transaction; return what has to be written back by itself."""
    with transaction.atomic():
        return accept(outcomes)


def end_unsent(
    job: Job, attempt: Attempt, *, status: Status, kind: str, error: BorderError | None = None
) -> None:
    """End an attempt that was surely not accepted, give its hold back, and end its job. Needs the job's lock.

    A job that has another open send goes on with that one instead of ending.
    """
    states = [AttemptState.PLANNED, AttemptState.SENDING, AttemptState.UNCONFIRMED]
    if not step(
        attempt.pk, of=states, to=AttemptState.ENDED, ended_at=Now(), lease_expires_at=None, **_said(error)
    ):
        return
    actor = job.cancel_requested_by if kind == "cancelled" else None
    tell(job.pk, kind, attempt_id=attempt.pk, actor=actor, note=_note(error))
    code = error.code[:80] if error and status == Status.FAILED else ""
    if go_on(job, end=status, code=code) == Status.UNCONFIRMED:
        # What was asked to stop has; about the rest a person decides.
        Job.objects.filter(pk=job.pk).update(cancel_requested_at=None)
    spend.settle(attempt, cost=None, reason=f"{kind}: not accepted")


def lose_sight(job: Job, attempt: Attempt, *, code: str, message: str, request_id: str = "") -> bool:
    """Note that a send may have been accepted: keep its hold, send nothing, ask. Needs the job's lock.

    A rule of the project may decide about it in time, unless its job was unconfirmed before, or this is a
    copy from a backup, whose original knows what became of it.
    """
    was_before = Event.objects.filter(job=job, kind="unconfirmed").exists()
    is_left = was_before or attempt.connection.is_restored
    if not step(
        attempt.pk,
        of=[AttemptState.SENDING],
        to=AttemptState.UNCONFIRMED,
        rule_due_at=None if is_left else Now() + TOLD_WITHIN,
        lease_expires_at=None,
        error_code=code[:80],
        error_message=message[:600],
        request_id=request_id,
    ):
        return False
    tell(job.pk, "unconfirmed", attempt_id=attempt.pk, note=f"{code}: {message}")
    alarm("unconfirmed", f"Sent perhaps: {message}", job_id=job.pk)
    go_on(job, end=Status.FAILED)
    return True


def reap() -> int:
    """Decide about sends that outlived their lease: adopt what the journal knows, the rest is unconfirmed.

    Another installation's sends become unconfirmed only; its own journal still adopts them when it is back.
    """
    if not _to_reap().ask():
        return 0
    replay()
    reaped = 0
    expired = Attempt.objects.filter(state=AttemptState.SENDING, lease_expires_at__lte=Now())
    for attempt in expired[:100]:
        with transaction.atomic():
            reaped += lose_sight(
                locked_job(attempt.job_id),
                attempt,
                code="interrupted",
                message="The process that was sending it ended before the answer came.",
            )
    return reaped


@lru_cache
def _to_reap() -> Question[int]:
    return Question(Job.objects.to_reap().order_by().values_list("pk", flat=True)[:1])


def locked_job(job_id: int) -> Job:
    """Lock a job, to change it and its sends."""
    return _locked().get(job=job_id)


@lru_cache
def _locked() -> Question[Job]:
    jobs = Job.objects.select_for_update(no_key=True, of=("self",)).select_related("model")
    return Question(jobs.filter(pk=Blank("job")))


@lru_cache
def _attempt() -> Question[Attempt]:
    return Question(Attempt.objects.select_related("price", "connection").filter(pk=Blank("attempt")))


def _heard_late(job: Job, attempt: Attempt, outcome: Outcome[Send]) -> None:
    """Its lease ran out or its twin turned up: it is known all the same, unless its id is another's."""
    response_id = str((outcome.body or {})["id"])
    if belongs_to_another(attempt, response_id):
        message = "The API answered with the id of another response."
        _unknown(job, attempt, OutcomeUnknown(message, code="id_repeated", request_id=outcome.request_id))
        return
    adopt(attempt.pk, response_id, request_id=outcome.request_id, how="late answer")


def _unknown(job: Job, attempt: Attempt, error: OutcomeUnknown) -> None:
    """Quarantine a send that may have been accepted, and its connection after several of them in a row."""
    # The connection's row before any money, as in a claim.
    open_now = Connection.objects.filter(pk=attempt.connection_id, paused_at=None)
    open_now.update(unknown_in_a_row=F("unknown_in_a_row") + 1)
    if open_now.filter(unknown_in_a_row__gte=UNKNOWN_LIMIT).update(unknown_in_a_row=0):
        several = f"Of {UNKNOWN_LIMIT} sends in a row nobody knows whether they were accepted."
        pause(attempt.connection_id, f"outcomes_unknown: {several} {error.code}: {error.message}")
    lose_sight(job, attempt, code=error.code, message=error.message, request_id=error.request_id)


def _can_replay(job: Job) -> bool:
    """Tell whether a thread was left to the API's memory, and its items can be sent instead."""
    return job.previous_id is not None and not job.replays_thread


def _put_off(job: Job, attempt: Attempt, error: Retryable) -> None:
    """Surely not accepted: wait and send the same attempt again, with full jitter. Its connection rests.

    A rate limit that only this job meets, as one that is larger than what a minute allows, is its own affair.
    """
    is_own = error.status == 429 and _were_others_accepted(attempt)
    limit = OWN_BACK_OFF_LIMIT if is_own else BACK_OFF_LIMIT
    back_off = random.uniform(0, min(limit, 2.0 ** min(attempt.tries + 1, 10)))  # noqa: S311 - jitter
    if not is_own:
        rest = min(back_off, REST_LIMIT) if error.retry_after is None else error.retry_after
        hold_back(attempt.connection_id, rest)
    wait = dt.timedelta(seconds=(error.retry_after or 0) + back_off)
    _back_to_waiting(job, attempt, error, wait=wait, tries=attempt.tries + 1)


def _were_others_accepted(attempt: Attempt) -> bool:
    """Tell whether its connection has accepted others since an attempt was put off the last time."""
    events = Event.objects.filter(attempt=attempt, kind="put_off").order_by("-pk")
    last = events.values_list("at", flat=True).first()
    return (
        last is not None
        and Connection.objects.filter(pk=attempt.connection_id, accepted_at__gt=last).exists()
    )


def _back_to_waiting(
    job: Job,
    attempt: Attempt,
    error: BorderError | None,
    *,
    wait: dt.timedelta,
    tries: int,
    kind: str = "put_off",
) -> None:
    """Plan an attempt anew that was surely not accepted, unless it is not wanted any more."""
    if job.cancel_requested_at is not None:
        end_unsent(job, attempt, status=Status.CANCELLED, kind="cancelled", error=error)
        return
    others = Attempt.objects.filter(job=job).exclude(pk=attempt.pk).exclude(state=AttemptState.ENDED)
    # In flight it is for another send, which may have failed meanwhile: then this one is all it has.
    is_left = job.status == Status.SENDING or (
        job.is_in_flight and not twins.is_another_running(job, attempt)
    )
    is_sending = is_left and attempt.state == AttemptState.SENDING
    # Its lease ran out and it was declared unconfirmed, but now we know: it was not accepted.
    is_unconfirmed = job.status == Status.UNCONFIRMED and not others.exists()
    if not (is_sending or is_unconfirmed):
        end_unsent(job, attempt, status=Status.FAILED, kind="not_accepted", error=error)
        return
    step(
        attempt.pk,
        of=[AttemptState.SENDING, AttemptState.UNCONFIRMED],
        to=AttemptState.PLANNED,
        sent_at=None,
        lease_expires_at=None,
        tries=tries,
        **_said(error),
    )
    move(
        job.pk,
        of=[Status.SENDING, Status.UNCONFIRMED, *IN_FLIGHT],
        to=Status.WAITING,
        claim_token=None,
        next_action_at=Now() + wait,
        error_code="",
    )
    tell(job.pk, kind, attempt_id=attempt.pk, note=_note(error))


def _said(error: BorderError | None) -> dict[str, str]:
    """What an attempt keeps of an error."""
    if error is None:
        return {}
    return {
        "error_code": error.code[:80],
        "error_message": error.message[:600],
        "request_id": error.request_id,
    }


def _note(error: BorderError | None) -> str:
    return f"{error.code}: {error.message}" if error else ""
