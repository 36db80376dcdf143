"""Polls: claims due jobs in flight, asks for their responses, writes the running ones back in bulk."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from django.db import OperationalError, connection, transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now

from jobs.lifecycle import ending, patience
from jobs.lifecycle.connections import endpoint_of, hold_back, pause_for
from jobs.lifecycle.counting import count_polls
from jobs.lifecycle.relaxing import (
    LEAST,
    LONGEST,
    MOST,
    SHORTEST,
    announced,
    interval,
    rare_interval,
    relaxed,
)
from jobs.lifecycle.transition import tell
from jobs.models import IN_FLIGHT, Attempt, AttemptState, Connection, Event, Job, Status
from jobs.models.connections import RESTORED, sources_here
from jobs.models.questions import Among, Blank, Question, Statement
from jobs.notify import alarm
from jobs.openai_client import Blocked, BorderError, Endpoint, NotFound, Outcome, Rejected

# A killed pump's rows come back after this long.
VISIBILITY = dt.timedelta(seconds=25)
FLEET_BUDGET = 300.0  # polls a second over all jobs in flight
# A cancel may have been lost: what still runs so long after it is asked to stop again.
CANCEL_AGAIN = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True, eq=False)
class Poll:
    """One claimed response to ask for; `claim` fences its write-back."""

    job_id: int
    attempt_id: int
    connection_id: int
    claim: uuid.UUID
    response_id: str
    asks_cancel: bool
    is_unproven: bool  # its id was given by hand: it may be anybody's
    may_be_rare: bool  # what is to come is told by an event that has not come yet
    age: float  # seconds since it was sent
    status: str  # of the job, when it was claimed
    endpoint: Endpoint = field(repr=False)


def stretch() -> float:
    """Return by how much intervals must grow so that the whole fleet stays within its budget."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce(sum(1 / CASE
              WHEN j.status = 'in_progress' AND c.relaxed_at IS NOT NULL THEN %s
              ELSE least(greatest(extract(epoch FROM now() - j.sent_at) * 0.01, %s), %s) END), 0)
            FROM jobs_job j
              JOIN jobs_project p ON p.id = j.project_id
              JOIN jobs_connection c ON c.id = p.connection_id
            WHERE j.next_action_at IS NOT NULL AND j.status IN ('queued', 'in_progress')
            """,
            [(LEAST + MOST) / 2, SHORTEST, LONGEST],
        )
        (rate,) = cursor.fetchone()
    return max(1.0, float(rate) / FLEET_BUDGET)


@lru_cache
def _due(here: tuple[str, ...], *, is_full: bool) -> Statement:  # noqa: ARG001 - what is due depends on it
    """The jobs to be asked for, locked, those that go first before the rest; none of full connections."""
    asked = Job.objects.to_poll()
    if is_full:
        theirs = Attempt.objects.filter(Among("connection", Blank("full")), job=OuterRef("pk"))
        asked = asked.exclude(Exists(theirs.filter(state=AttemptState.KNOWN)))
    due = (
        asked.order_by("next_action_at")
        .select_for_update(no_key=True, skip_locked=True, of=("self",))
        .values("pk")
    )
    most = Blank("most")
    # Read only as far as its rows are wanted: nothing of the rest is locked in vain.
    return Statement(
        "SELECT pk FROM ({} LIMIT {}) first UNION ALL SELECT pk FROM ({} LIMIT {}) rest LIMIT {}",
        due.filter(goes_first=True),
        most,
        due.filter(goes_first=False),
        most,
        most,
    )


@lru_cache
def _late() -> Question[int]:
    """Those of some jobs that are past their deadline, and are to be cancelled."""
    late = Job.objects.filter(deadline_at__lt=Now(), cancel_requested_at=None, status__in=IN_FLIGHT)
    # In a copy from a backup time has passed that nobody waited.
    held = Connection.objects.paused().filter(paused_reason__startswith=RESTORED)
    ours = late.filter(Among("pk", Blank("jobs"))).exclude(attempt__connection__in=held)
    return Question(ours.values_list("pk", flat=True))


@lru_cache
def _known() -> Question[Any]:
    """The responses of some jobs, each with whether an event has told of it already, and the time it is."""
    known = Attempt.objects.filter(Among("job", Blank("jobs")), state=AttemptState.KNOWN)
    known = known.annotate(is_announced=announced(), read_at=Now())
    return Question(known.select_related("job", "connection"))


def claim_polls(room: int, busy: Mapping[int, int] | None = None) -> list[Poll]:
    """Claim due jobs for up to `room` free slots by pushing their clock, and return what to ask for.

    `busy` has the slots that connections hold already. Where it is given none gets more than it leaves free:
    an API that hangs keeps nobody from being asked for what runs elsewhere.
    """
    claim, most, full = uuid.uuid4(), room, []
    if busy is not None:
        full = [connection_id for connection_id, held in busy.items() if held >= room]
        most = (room - max((held for held in busy.values() if held < room), default=0) + 1) // 2
    with transaction.atomic():
        due = _due(tuple(sources_here()), is_full=bool(full)).ask(most=max(most, 0), full=full)
        ids = [job_id for (job_id,) in due]
        if not ids:
            return []
        Job.objects.filter(pk__in=ids).update(claim_token=claim, next_action_at=Now() + VISIBILITY)
        overdue = _late().ask(jobs=ids)
        for job_id in overdue:
            tell(job_id, "deadline")
        Job.objects.filter(pk__in=overdue).update(cancel_requested_at=Now(), version=F("version") + 1)
    known = _known().ask(jobs=ids)
    polls = []
    for attempt in known:
        until = attempt.connection.not_before
        if until is not None and until > attempt.read_at:
            Job.objects.filter(pk=attempt.job_id, claim_token=claim).update(
                next_action_at=until, claim_token=None
            )
            continue
        try:
            endpoint = endpoint_of(attempt.connection)
        except Blocked as error:
            pause_for(attempt.connection_id, error)
            continue
        is_cancelling = attempt.job.cancel_requested_at is not None
        wants_cancel = is_cancelling and attempt.end_seen_at is None
        polls.append(
            Poll(
                job_id=attempt.job_id,
                attempt_id=attempt.pk,
                connection_id=attempt.connection_id,
                claim=claim,
                response_id=attempt.response_id,
                asks_cancel=wants_cancel and attempt.cancel_sent_at is None and not attempt.is_unproven,
                is_unproven=attempt.is_unproven,
                may_be_rare=not (is_cancelling or attempt.is_unproven or attempt.is_announced),
                age=(attempt.read_at - (attempt.sent_at or attempt.created_at)).total_seconds(),
                status=attempt.job.status,
                endpoint=endpoint,
            )
        )
    # A job that has nothing left to ask for leaves the clock.
    idle = set(ids) - {attempt.job_id for attempt in known}
    if idle:
        Job.objects.filter(pk__in=idle, claim_token=claim).update(
            next_action_at=None, claim_token=None, goes_first=False
        )
    return polls


def write_back(outcomes: Sequence[Outcome[Poll]], *, stretched: float) -> None:
    """Write down what the API said: ends one by one, the still running in bulk, failures as patience."""
    running: list[tuple[Poll, str, float]] = []
    rests: dict[int, float] = {}
    runs = any(outcome.body and outcome.body.get("status") == Status.IN_PROGRESS for outcome in outcomes)
    calm = relaxed() if runs else set()
    found = [(outcome.key.connection_id, outcome.body or outcome.error) for outcome in outcomes]
    for outcome in outcomes:
        poll = outcome.key
        if outcome.rest is not None:
            rests[poll.connection_id] = max(outcome.rest, rests.get(poll.connection_id, 0))
        if outcome.body is None:
            _not_answered(outcome, stretched=stretched)
            continue
        if poll.is_unproven and not ending.prove(poll.attempt_id, poll.response_id, outcome.body):
            continue
        if poll.asks_cancel:
            Attempt.objects.filter(pk=poll.attempt_id).update(cancel_sent_at=Now())
        status = str(outcome.body.get("status"))
        if status in ending.ENDS:
            _ended(outcome)
            continue
        if status not in ending.RUNNING:
            _unknown_word(poll, status)
        is_rare = status == Status.IN_PROGRESS and poll.may_be_rare and poll.connection_id in calm
        running.append((poll, status, _wait(poll, stretched=stretched, is_rare=is_rare)))
    for connection_id, seconds in rests.items():
        hold_back(connection_id, seconds)
    _still_running(running)
    count_polls((connection_id, answer) for connection_id, answer in found if answer is not None)


def _ended(outcome: Outcome[Poll]) -> None:
    """Finish a job. An answer that cannot be written down must not keep the others from being."""
    poll, body = outcome.key, outcome.body or {}
    try:
        ending.observe_end(poll.attempt_id, body, request_id=outcome.request_id)
    except OperationalError:  # the database's trouble: the claim comes back after its visibility
        raise
    except Exception as error:
        # Its text could hold the answer.
        _say_once(poll, "unreadable", f"Its response could not be written down ({type(error).__name__}).")
        # Nor must it hold its money for ever.
        patience.lose_patience(poll.attempt_id)


def _wait(poll: Poll, *, stretched: float, is_rare: bool = False) -> float:
    """Return the seconds until a response that has not ended is asked for again."""
    if poll.status not in IN_FLIGHT:
        return ending.WATCH_EVERY.total_seconds()
    if is_rare:
        return rare_interval(poll.age, stretch=stretched)
    return interval(poll.age, stretch=stretched)


def _still_running(running: Sequence[tuple[Poll, str, float]]) -> None:
    if not running:
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE jobs_job AS j SET
              next_action_at = statement_timestamp() + seen.wait * interval '1 second',
              version = j.version + (seen.is_running AND j.status <> seen.status)::int,
              status = CASE WHEN seen.is_running THEN seen.status ELSE j.status END,
              claim_token = NULL,
              goes_first = false
            FROM unnest(%s::bigint[], %s::uuid[], %s::text[], %s::boolean[], %s::float8[])
              AS seen(id, claim, status, is_running, wait)
            WHERE j.id = seen.id AND j.claim_token = seen.claim
            RETURNING j.id, j.status
            """,
            [
                [poll.job_id for poll, _, _ in running],
                [poll.claim for poll, _, _ in running],
                [status for _, status, _ in running],
                [poll.status in IN_FLIGHT and status in IN_FLIGHT for poll, status, _ in running],
                [wait for _, _, wait in running],
            ],
        )
        before = {poll.job_id: poll.status for poll, _, _ in running}
        for job_id, status in cursor.fetchall():
            if status != before[job_id]:
                tell(job_id, status)
    heard = Attempt.objects.filter(pk__in=[poll.attempt_id for poll, _, _ in running])
    patience.hear(heard)
    refused = Event.objects.filter(attempt=OuterRef("pk"), kind="cancel_refused")
    heard.filter(~Exists(refused), cancel_sent_at__lte=Now() - CANCEL_AGAIN).update(cancel_sent_at=None)
    known: Any = heard.filter(state=AttemptState.KNOWN).annotate(read_at=Now()).select_related("job")
    for attempt in known:
        if patience.is_over(attempt, attempt.read_at):
            patience.lose_patience(attempt.pk)


def _not_answered(outcome: Outcome[Poll], *, stretched: float) -> None:
    """A poll error never fails a job; only a 404 that stays is an end."""
    poll, error = outcome.key, outcome.error
    if poll.asks_cancel:
        _not_cancelled(poll, error)
    elif isinstance(error, NotFound):
        again = patience.observe_missing(poll.attempt_id)
        if again is not None:
            _ask_again(poll, again)
        return
    else:
        # Ten minutes of nothing but 404 are counted: this was something else.
        patience.hear(Attempt.objects.filter(pk=poll.attempt_id))
        if isinstance(error, Blocked):
            pause_for(poll.connection_id, error)
        # An end that can never be read must not hold its money for ever.
        patience.lose_patience(poll.attempt_id)
    wait = _wait(poll, stretched=stretched) * 2
    if error is not None and error.retry_after is not None:
        hold_back(poll.connection_id, error.retry_after)
        wait += error.retry_after
    _ask_again(poll, dt.timedelta(seconds=wait))


def _not_cancelled(poll: Poll, error: BorderError | None) -> None:
    """Read next, whatever a cancel met: a cancel that a server cannot do must not hide the end."""
    Attempt.objects.filter(pk=poll.attempt_id).update(cancel_sent_at=Now())
    if isinstance(error, NotFound) and poll.age < CANCEL_AGAIN.total_seconds():
        return  # what was just accepted may not be known there yet
    # A 404 or 405 for the cancel alone is a server that has none: no fault of the connection.
    if isinstance(error, Rejected | NotFound) or (isinstance(error, Blocked) and error.status in (404, 405)):
        tell(poll.job_id, "cancel_refused", attempt_id=poll.attempt_id, note=f"{error.code}: {error.message}")
    elif isinstance(error, Blocked):
        pause_for(poll.connection_id, error)


def _ask_again(poll: Poll, wait: dt.timedelta) -> None:
    Job.objects.filter(pk=poll.job_id, claim_token=poll.claim).update(
        next_action_at=Now() + wait, claim_token=None
    )


def _unknown_word(poll: Poll, status: str) -> None:
    """A word we do not know is not an end."""
    _say_once(poll, "unknown_status", f"The API reports the status {status[:40]!r}.")


def _say_once(poll: Poll, kind: str, message: str) -> None:
    """Alarm about a response, once for each message."""
    with transaction.atomic():
        if not Event.objects.filter(attempt=poll.attempt_id, kind=kind, note=message).exists():
            tell(poll.job_id, kind, attempt_id=poll.attempt_id, note=message)
            alarm(kind, message, job_id=poll.job_id)
