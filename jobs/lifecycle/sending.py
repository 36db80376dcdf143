"""Sends: claims due jobs, and writes down what became of each POST."""

import datetime as dt
import random
import uuid
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now

from jobs import pricing, spend
from jobs.lifecycle.adoption import adopt
from jobs.lifecycle.connections import endpoint_of, hold_back, pause_for
from jobs.lifecycle.doorbell import ring
from jobs.lifecycle.journal import replay
from jobs.lifecycle.spec import request_body
from jobs.lifecycle.transition import move, step, tell
from jobs.models import Attempt, AttemptState, Connection, Job, Status
from jobs.notify import alarm
from jobs.openai_client import Blocked, BorderError, Endpoint, Outcome, OutcomeUnknown, Rejected, Retryable

# Longer than a POST (60 s) and the count before it (10 s) can take; after it nobody is sending any more.
LEASE = dt.timedelta(seconds=90)
# Upstream is asked to stop after this long; until then slow is shown, not punished.
DEADLINE = dt.timedelta(hours=24)
FIRST_POLL = dt.timedelta(seconds=1)
BACK_OFF_LIMIT = 120.0  # seconds


@dataclass(frozen=True, slots=True, eq=False)
class Send:
    """One claimed attempt, with all that a POST needs; `claim` fences its write-back."""

    job_id: int
    attempt_id: int
    connection_id: int
    claim: uuid.UUID
    bound: int
    endpoint: Endpoint = field(repr=False)
    body: dict[str, Any] = field(repr=False)


def claim_sends(room: int) -> list[Send]:
    """Claim up to `room` due jobs: attempts are 'sending' and committed before this returns.

    The row of a connection is locked while its jobs in flight are counted, so `max_in_flight` is exact.
    """
    claimed: list[Send] = []
    due = Job.objects.to_send().values_list("project__connection", flat=True)
    for connection_id in sorted(set(due[:1000])):
        if len(claimed) >= room:
            break
        claimed += _claim_on(connection_id, room - len(claimed))
    return claimed


def _claim_on(connection_id: int, room: int) -> list[Send]:
    claim = uuid.uuid4()
    with transaction.atomic():
        connection = Connection.objects.select_for_update().get(pk=connection_id)
        try:
            endpoint = endpoint_of(connection)
        except Blocked as error:
            pause_for(connection_id, error)
            return []
        open_now = Attempt.objects.filter(
            connection=connection, state__in=[AttemptState.SENDING, AttemptState.KNOWN], end_seen_at=None
        ).count()
        room = min(room, connection.max_in_flight - open_now)
        if room <= 0:
            return []
        due = (
            Job.objects.to_send()
            .filter(project__connection=connection, cancel_requested_at=None)
            .order_by("next_action_at")
            .select_for_update(skip_locked=True, of=("self",))
        )
        ids = list(due.values_list("pk", flat=True)[:room])
        moved = Job.objects.filter(pk__in=ids, status=Status.WAITING).update(
            status=Status.SENDING, version=F("version") + 1, claim_token=claim, next_action_at=Now() + LEASE
        )
        if moved != len(ids):  # pragma: no cover - the rows are locked
            raise RuntimeError("a locked job changed")
        Attempt.objects.filter(job__in=ids, state=AttemptState.PLANNED).update(
            state=AttemptState.SENDING,
            connection=connection,
            instance=settings.INSTANCE,
            sent_at=Now(),
            lease_expires_at=Now() + LEASE,
        )
        attempts = Attempt.objects.filter(job__in=ids, state=AttemptState.SENDING).select_related("job__prompt")
        return [
            Send(
                job_id=attempt.job_id,
                attempt_id=attempt.pk,
                connection_id=connection_id,
                claim=claim,
                bound=attempt.job.input_bound,
                endpoint=endpoint,
                body=request_body(attempt.job, attempt.nonce),
            )
            for attempt in attempts
        ]


def write_back(outcome: Outcome[Send]) -> None:
    """Write down what became of one POST, in one transaction."""
    send, error = outcome.key, outcome.error
    with transaction.atomic():
        if error is None:
            _accepted(send, outcome)
        elif isinstance(error, Retryable):
            _put_off(send, error)
        elif isinstance(error, Blocked):
            _blocked(send, error)
        elif isinstance(error, Rejected):
            _rejected(send, error)
        else:
            _unknown(send, error)


def _accepted(send: Send, outcome: Outcome[Send]) -> None:
    body = outcome.body or {}
    response_id = str(body["id"])
    status = Status.IN_PROGRESS if body.get("status") == Status.IN_PROGRESS else Status.QUEUED
    if not move(
        send.job_id,
        of=[Status.SENDING],
        to=status,
        claim=send.claim,
        claim_token=None,
        next_action_at=Now() + FIRST_POLL,
        sent_at=Coalesce("sent_at", Now()),
        deadline_at=Now() + DEADLINE,
    ):
        # The lease ran out meanwhile: it may have been declared unconfirmed, and is known after all.
        adopt(send.attempt_id, response_id, request_id=outcome.request_id, how="late answer")
        return
    step(
        send.attempt_id,
        of=[AttemptState.SENDING],
        to=AttemptState.KNOWN,
        response_id=response_id,
        request_id=outcome.request_id,
        lease_expires_at=None,
        input_tokens=outcome.input_tokens,
    )
    tell(send.job_id, "accepted", attempt_id=send.attempt_id)
    ring("poll")
    _give_back_uncounted(send.attempt_id, outcome.input_tokens)


def _give_back_uncounted(attempt_id: int, input_tokens: int | None) -> None:
    """Release what was held for input that the exact count shows is not there."""
    attempt = Attempt.objects.select_related("job__model", "price").get(pk=attempt_id)
    job = attempt.job
    # Of a mode that bills several passes the count is only the first one's.
    is_whole = job.model.mode_factor(job.mode) == 1
    if input_tokens is None or input_tokens >= job.input_bound or not is_whole:
        return
    exact = pricing.worst_case(
        attempt.price.rates,
        input_tokens=input_tokens,
        max_output_tokens=job.max_output_tokens,
        service_tier=job.service_tier,
        window=job.window,
    )
    spend.release_part(attempt, to=exact, reason=f"input counted: {input_tokens} tokens")


def _put_off(send: Send, error: Retryable) -> None:
    """Surely not accepted: wait and send the same attempt again, with full jitter."""
    attempt = Attempt.objects.get(pk=send.attempt_id)
    back_off = random.uniform(0, min(BACK_OFF_LIMIT, 2.0 ** min(attempt.tries + 1, 10)))  # noqa: S311 - jitter
    if error.retry_after is not None:
        hold_back(send.connection_id, error.retry_after)
    wait = dt.timedelta(seconds=(error.retry_after or 0) + back_off)
    _back_to_waiting(send, error, wait=wait, tries=attempt.tries + 1)


def _blocked(send: Send, error: Blocked) -> None:
    """The connection does not work: pause it, and let its jobs wait."""
    pause_for(send.connection_id, error)
    _back_to_waiting(send, error, wait=dt.timedelta(0), tries=0)


def _back_to_waiting(send: Send, error: BorderError, *, wait: dt.timedelta, tries: int) -> None:
    job = Job.objects.select_for_update().get(pk=send.job_id)
    if not move(
        send.job_id,
        of=[Status.SENDING],
        to=Status.WAITING,
        claim=send.claim,
        claim_token=None,
        next_action_at=Now() + wait,
    ):
        # Its lease ran out and it was declared unconfirmed, but now we know: it was not accepted.
        _not_accepted_after_all(send, error)
        return
    step(
        send.attempt_id,
        of=[AttemptState.SENDING],
        to=AttemptState.PLANNED,
        sent_at=None,
        lease_expires_at=None,
        tries=tries,
        error_code=error.code[:80],
        error_message=error.message[:600],
        request_id=error.request_id,
    )
    tell(send.job_id, "put_off", attempt_id=send.attempt_id, note=f"{error.code}: {error.message}")
    if job.cancel_requested_at is not None:
        end_unsent(job, send.attempt_id, status=Status.CANCELLED, kind="cancelled")


def _not_accepted_after_all(send: Send, error: BorderError) -> None:
    if step(
        send.attempt_id,
        of=[AttemptState.UNCONFIRMED],
        to=AttemptState.PLANNED,
        sent_at=None,
        error_code=error.code[:80],
        error_message=error.message[:600],
    ):
        move(send.job_id, of=[Status.UNCONFIRMED], to=Status.WAITING, next_action_at=Now(), claim_token=None)
        tell(send.job_id, "put_off", attempt_id=send.attempt_id, note=f"{error.code}: {error.message}")


def _rejected(send: Send, error: Rejected) -> None:
    """This job will never work: nothing is billed, everything is given back."""
    job = Job.objects.select_for_update().get(pk=send.job_id)
    Attempt.objects.filter(pk=send.attempt_id).update(
        error_code=error.code[:80],
        error_message=error.message[:600],
        request_id=error.request_id,
    )
    if job.claim_token == send.claim or job.status == Status.UNCONFIRMED:
        end_unsent(job, send.attempt_id, status=Status.FAILED, kind="rejected", code=error.code, note=error.message)


def _unknown(send: Send, error: BorderError) -> None:
    """It may have been accepted: keep the hold, send nothing, ask."""
    assert isinstance(error, OutcomeUnknown)
    if move(
        send.job_id,
        of=[Status.SENDING],
        to=Status.UNCONFIRMED,
        claim=send.claim,
        claim_token=None,
        next_action_at=None,
        error_code=error.code[:80],
    ):
        make_unconfirmed(send.job_id, send.attempt_id, code=error.code, message=error.message, request_id=error.request_id)


def make_unconfirmed(job_id: int, attempt_id: int, *, code: str, message: str, request_id: str = "") -> None:
    """Mark the attempt of a job that was just moved to unconfirmed, and alarm."""
    step(
        attempt_id,
        of=[AttemptState.SENDING],
        to=AttemptState.UNCONFIRMED,
        lease_expires_at=None,
        error_code=code[:80],
        error_message=message[:600],
        request_id=request_id,
    )
    tell(job_id, "unconfirmed", attempt_id=attempt_id, note=f"{code}: {message}")
    alarm("unconfirmed", f"Sent perhaps: {message}", job_id=job_id)


def end_unsent(
    job: Job, attempt_id: int, *, status: Status, kind: str, code: str = "", note: str = ""
) -> None:
    """End a job whose attempt was surely not accepted: everything held is given back. Needs the job's lock.

    While an earlier send of the job is still open, the job goes on with that one instead of ending.
    """
    attempt = Attempt.objects.get(pk=attempt_id)
    others = Attempt.objects.filter(job=job).exclude(pk=attempt_id)
    end: dict[str, Any] = {"to": status, "next_action_at": None, "finished_at": Now(), "error_code": code[:80]}
    if others.filter(state=AttemptState.KNOWN).exists():
        end = {"to": Status.QUEUED, "next_action_at": Now()}
    elif others.filter(state=AttemptState.UNCONFIRMED).exists():
        end = {"to": Status.UNCONFIRMED, "next_action_at": None, "cancel_requested_at": None}
    if not move(job.pk, of=[Status.WAITING, Status.SENDING, Status.UNCONFIRMED], claim_token=None, **end):
        return
    step(
        attempt_id,
        of=[AttemptState.PLANNED, AttemptState.SENDING, AttemptState.UNCONFIRMED],
        to=AttemptState.ENDED,
        ended_at=Now(),
        lease_expires_at=None,
    )
    tell(job.pk, kind, attempt_id=attempt_id, actor=job.cancel_requested_by if kind == "cancelled" else None, note=note)
    spend.settle(attempt, cost=None, reason=f"{kind}: not accepted")


def reap() -> int:
    """Decide about sends that outlived their lease: adopt what the journal knows, the rest is unconfirmed.

    Another installation's sends become unconfirmed only; its own journal still adopts them when it is back.
    """
    if not Job.objects.to_reap().exists():
        return 0
    replay()
    reaped = 0
    for job_id, claim in Job.objects.to_reap().values_list("pk", "claim_token")[:100]:
        with transaction.atomic():
            attempt = Attempt.objects.filter(job=job_id, state=AttemptState.SENDING).first()
            if attempt is None or not move(
                job_id, of=[Status.SENDING], to=Status.UNCONFIRMED, claim=claim, claim_token=None, next_action_at=None
            ):
                continue
            make_unconfirmed(
                job_id,
                attempt.pk,
                code="interrupted",
                message="The process that was sending it ended before the answer came.",
            )
            reaped += 1
    return reaped


def sends_in_progress() -> int:
    """Return how many POSTs of this installation may be on the wire now."""
    live = Q(state=AttemptState.SENDING, instance=settings.INSTANCE, lease_expires_at__gt=Now())
    return Attempt.objects.filter(live).count()
