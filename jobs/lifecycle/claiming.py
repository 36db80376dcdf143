"""Claims what is due: attempts are 'sending' and committed before a byte leaves."""

import datetime as dt
import logging
import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db import Error, transaction
from django.db.models import F
from django.db.models.functions import Now

from jobs.attachments import MOST_BYTES_A_JOB
from jobs.lifecycle import attaching, calls, tools
from jobs.lifecycle.connections import endpoint_of, pause_for
from jobs.lifecycle.sending import LEASE, UNKNOWN_LIMIT, Send, end_unsent, locked_job
from jobs.lifecycle.spec import request_body
from jobs.lifecycle.submission import PROMPT_GONE
from jobs.models import Attempt, AttemptState, Connection, Job, Kind, Status, Workspace, turns
from jobs.models.catalogue import SOONEST
from jobs.models.connections import sources_here
from jobs.models.questions import Among, Blank, Question
from jobs.openai_client import WINDOW_REFUSED, Blocked, Rejected

# Of attachments on the wire at once: 49 MB took 230 MB of memory while they were counted and sent.
MOST_BYTES_AT_ONCE = MOST_BYTES_A_JOB
# A POST may take a minute to be answered; of a connection that has accepted nothing for longer nobody knows
# whether it would, and so many sends at most find that out.
ACCEPTED_LATELY = dt.timedelta(minutes=1)
# Rows read beyond the room there is: light jobs go out past so many whose attachments have to wait.
LOOK_AHEAD = 64

logger = logging.getLogger(__name__)


def claim_sends(room: int, busy: Mapping[int, int] | None = None, *, under_way: int = 0) -> list[Send]:
    """Claim due jobs for up to `room` free slots: attempts are 'sending' and committed before this returns.

    `busy` has the slots that connections hold already. None gets more than it leaves free, and the one that
    holds least comes first, then the one whose job has waited longest: an API that hangs starves no other.
    The row of a connection is locked while its jobs in flight are counted, so `max_in_flight` is exact. Its
    projects take turns (`turns.in_turn`).
    `under_way` are the bytes of attachments that are being sent already; what is too much for now stays due.
    """
    claimed: list[Send] = []
    held = busy or {}
    for connection_id, _ in sorted(turns.waiting_since(), key=lambda row: (held.get(row[0], 0), row[1])):
        share = (room - len(claimed) - held.get(connection_id, 0) + 1) // 2
        if share <= 0:
            continue
        try:
            weight = under_way + sum(send.size for send in claimed)
            sends, unsendable = _claim_on(connection_id, share, weight)
            claimed += sends
            for attempt, refusal in unsendable:
                _refuse(attempt, refusal)
        except Error as error:
            if not claimed:
                raise
            # What is claimed already must be sent, or it would count as sent perhaps.
            logger.error("claiming for connection %d failed (%s)", connection_id, type(error).__name__)
            break
    return claimed


def _claim_on(
    connection_id: int, room: int, under_way: int
) -> tuple[list[Send], list[tuple[Attempt, Rejected]]]:
    """Claim what is due on a connection; return the sends, and what can never be one with the reason."""
    claim = uuid.uuid4()
    with transaction.atomic():
        # Not the key itself: a new attempt that names the connection must not wait for a claim.
        connection = _ready(tuple(sources_here())).first(connection=connection_id)
        if connection is None:
            # Paused, or asked to wait, since it was looked at.
            return [], []
        try:
            endpoint = endpoint_of(connection)
        except Blocked as error:
            pause_for(connection_id, error)
            return [], []
        sends = Attempt.objects.open().filter(connection=connection)
        free = connection.max_in_flight - sends.count()
        kept = turns.kept_slots(connection_id, connection.max_in_flight)
        room = min(room, free)
        accepts = Connection.objects.filter(pk=connection_id, accepted_at__gt=Now() - ACCEPTED_LATELY)
        if connection.unknown_in_a_row or not accepts.exists():
            # In doubt about it no more are on the wire than it would be paused for.
            on_the_wire = sends.filter(state=AttemptState.SENDING).count()
            room = min(room, UNKNOWN_LIMIT - connection.unknown_in_a_row - on_the_wire)
        if room <= 0:
            return [], []
        sizes = _those_with_room(_next(connection, room), room, under_way, common=free - kept)
        bodies: list[tuple[Attempt, dict[str, Any]]] = []
        unsendable: list[tuple[Attempt, Rejected]] = []
        for attempt in _planned().ask(jobs=list(sizes)):
            try:
                bodies.append((attempt, _body(attempt, connection)))
            except Rejected as refusal:
                unsendable.append((attempt, refusal))
        ids = [attempt.job_id for attempt, _ in bodies]
        Job.objects.filter(pk__in=ids).update(
            status=Status.SENDING, version=F("version") + 1, claim_token=claim, next_action_at=Now() + LEASE
        )
        Attempt.objects.filter(job__in=ids, state=AttemptState.PLANNED).update(
            state=AttemptState.SENDING,
            connection=connection,
            instance=settings.INSTANCE,
            sent_at=Now(),
            lease_expires_at=Now() + LEASE,
        )
        _note_names(bodies)
        claimed = [
            Send(
                job_id=attempt.job_id,
                attempt_id=attempt.pk,
                connection_id=connection_id,
                claim=claim,
                nonce=attempt.nonce,
                bound=attempt.job.input_bound,
                # As it was read before it was pushed: since when it was to be sent.
                due_at=attempt.job.next_action_at or attempt.created_at,
                endpoint=endpoint,
                body=body,
                size=sizes[attempt.job_id],
            )
            for attempt, body in bodies
        ]
    return claimed, unsendable


@lru_cache
def _ready(here: tuple[str, ...]) -> Question[Connection]:  # noqa: ARG001 - what is open depends on it
    ready = Connection.objects.open_here().select_for_update(no_key=True)
    return Question(ready.filter(pk=Blank("connection")))


@lru_cache
def _planned() -> Question[Attempt]:
    """The attempts to be sent, with all that a POST says."""
    planned = Attempt.objects.filter(Among("job", Blank("jobs")), state=AttemptState.PLANNED)
    planned = planned.select_related("price", "job__prompt", "job__previous", "job__model")
    return Question(planned.prefetch_related("job__jobattachment_set__attachment"))


@lru_cache
def _waiting() -> Question[Job]:
    """Those of some jobs that still wait, locked."""
    waiting = Job.objects.filter(status=Status.WAITING, cancel_requested_at=None)
    rows = waiting.filter(Among("pk", Blank("jobs")), project__connection=Blank("connection"))
    return Question(rows.only("pk", "root").select_for_update(no_key=True, skip_locked=True, of=("self",)))


def _note_names(bodies: Sequence[tuple[Attempt, dict[str, Any]]]) -> None:
    """Note by what other name models are asked for: a connection's names may change before they answer."""
    named: dict[str, list[int]] = {}
    for attempt, body in bodies:
        name = body["model"] if body["model"] != attempt.job.model_id else ""
        if name != attempt.sent_as:
            named.setdefault(name, []).append(attempt.pk)
    for name, ids in named.items():
        Attempt.objects.filter(pk__in=ids).update(sent_as=name)


def _body(attempt: Attempt, connection: Connection) -> dict[str, Any]:
    """Return what a POST of an attempt says. Raises Rejected where it can never be sent.

    Nothing else may leave here, whatever its rows hold: it would keep all others of the connection waiting.
    """
    job = attempt.job
    if not hasattr(job, "prompt"):
        raise Rejected(PROMPT_GONE, code="prompt_missing")
    try:
        # It may have been moved, or the connection or the price have changed, since its ceiling was held.
        given = job.prompt.tools or ()
        reason = tools.unbounded(given, spec=job.model, price=attempt.price, kind=connection.kind)
        body = request_body(job, attempt.nonce, connection)
    except Error:
        raise
    except Exception as error:
        # Only the kind of error: its text could hold the prompt.
        raise Rejected(
            f"Its request cannot be put together ({type(error).__name__}).", code="unsendable"
        ) from None
    if reason:
        raise Rejected(f"Its ceiling would not hold: {reason}", code="tools_unbounded")
    if job.window != SOONEST and connection.kind != Kind.OPENAI:
        # What is held is the window's part of the price, and another API would answer, and bill, at once.
        raise Rejected(f"{connection.name} has no waiting discount.", code=WINDOW_REFUSED)
    if not calls.takes_files(connection) and calls.has_files(body["input"]):
        message = f"A call is answered with a file, which {connection.name} is not known to take."
        raise Rejected(message, code="files_refused")
    return body


def _refuse(attempt: Attempt, error: Rejected) -> None:
    """Fail a job that waits and can never be sent, unless it is something else by now."""
    with transaction.atomic():
        job = locked_job(attempt.job_id)
        planned = Attempt.objects.filter(pk=attempt.pk, state=AttemptState.PLANNED).first()
        if planned is not None:
            end_unsent(job, planned, status=Status.FAILED, kind="unsendable", error=error)


def _next(connection: Connection, room: int) -> list[tuple[Job, bool]]:
    """Lock the first jobs in line; tell of each whether its project has no slot yet. Needs the connection's
    lock.

    What waits at a price of the past is held anew first (see `replanning`).
    """
    today = Workspace.objects.the().today()
    line = turns.in_turn(connection.pk, most=room + LOOK_AHEAD, day=today)
    # A cancel may have come, or come yet, between the look and the lock.
    rows = _waiting().ask(connection=connection.pk, jobs=[turn.job_id for turn in line])
    locked = {job.pk: job for job in rows}
    return [(locked[job_id], number == 1) for job_id, number in line if job_id in locked]


def _those_with_room(
    line: Sequence[tuple[Job, bool]], room: int, under_way: int, *, common: int
) -> dict[int, int]:
    """Return the first in line whose attachments fit beside the bytes under way, each with its own bytes.

    A job alone is sent whatever it weighs. Behind one that has to wait no other with attachments is sent, so
    that many light ones cannot keep it waiting. Beyond `common` slots only projects that have none get one.
    """
    sizes, is_full = attaching.bytes_sent([job for job, _ in line]), False
    found: dict[int, int] = {}
    for job, is_first in line:
        if len(found) == room:
            break
        size = sizes.get(job.pk, 0)
        is_full = is_full or bool(size and under_way and under_way + size > MOST_BYTES_AT_ONCE)
        if not (size and is_full) and (is_first or len(found) < common):
            found[job.pk] = size
            under_way += size
    return found
