"""Gives up on responses that are not found or never end, and knows for how long they are watched then."""

import datetime as dt

from django.db import transaction
from django.db.models import Count, Max, Min, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from jobs import spend
from jobs.lifecycle.connections import pause
from jobs.lifecycle.ending import (
    GIVEN_UP,
    WATCH_CANCELLED,
    WATCH_EVERY,
    book_bound,
    disown,
    go_on,
    locked,
    set_clock,
)
from jobs.lifecycle.transition import step, tell
from jobs.models import Attempt, AttemptState, Connection, Job, Status
from jobs.notify import alarm

# What is unknown for so long, and nothing else in between, upstream holds no longer.
MISSING_FOR = dt.timedelta(minutes=10)
# An installation that slept between two polls has seen no row of misses.
MISSES_TO_EXPIRE = 20
# An id given by hand that is not found is a slip; its hold stays, so that nothing is lost by saying so soon.
MISSES_TO_DISOWN = 3
# So many unknown at once, for so long, and nothing sent before them known: that is the connection, not they.
SEVERAL = 3
DOUBT_AFTER = dt.timedelta(minutes=2)
DOUBT = (
    "responses_unknown: Several responses are unknown there: has the key, organization, project or address "
    "been changed? Put back what was changed, then resume. What is still unknown ten minutes after that is "
    "given up and its ceiling booked."
)
STUCK_AFTER_DEADLINE = dt.timedelta(hours=24)
WATCH_GIVEN_UP = dt.timedelta(days=7)


def observe_missing(attempt_id: int) -> dt.timedelta | None:
    """Count a 404 for a response; return how long to wait before it is asked for again, None if that is set.

    Ten minutes of nothing else mean that upstream holds it no longer: its ceiling is booked, and it is
    watched for a week all the same. While its connection is paused nothing expires.
    """
    with transaction.atomic():
        job, attempt, now = locked(attempt_id)
        if attempt.state != AttemptState.KNOWN:
            return None
        attempt.misses += 1
        attempt.missed_since = attempt.missed_since or now
        attempt.save(update_fields=["misses", "missed_since"])
        missing_for = now - attempt.missed_since
        wait = dt.timedelta(seconds=5 if missing_for < dt.timedelta(minutes=1) else 20)
        if attempt.is_unproven:
            if attempt.misses < MISSES_TO_DISOWN:
                return wait
            disown(job, attempt, "There is no response with that id.", heir=_sent_elsewhere(job, attempt))
            return None
        if attempt.end_seen_at is not None and spend.is_charged(attempt):
            if not is_over(attempt, now):
                return WATCH_EVERY
            _stop_watching(job, attempt)
            return None
        if attempt.connection.paused_at is not None or missing_for < DOUBT_AFTER:
            return wait
        if _is_in_doubt(attempt.connection, now):
            pause(attempt.connection_id, DOUBT)
            Connection.objects.filter(pk=attempt.connection_id).update(doubted_at=Now())
            return wait
        if missing_for < MISSING_FOR or attempt.misses < MISSES_TO_EXPIRE:
            return wait
        note = (
            f"404 for {attempt.response_id}, {attempt.misses} times in {int(missing_for.total_seconds())} s, "
            f"{int((now - (attempt.sent_at or attempt.created_at)).total_seconds())} s after it was sent"
        )
        tell(job.pk, "expired", attempt_id=attempt.pk, note=note)
        alarm("expired", f"{job.short_id}: {note}. Its ceiling was booked.", job_id=job.pk)
        _give_up(job, attempt, "expired", reason="expired: upstream no longer holds the response")
        return None


def hear(attempts: QuerySet[Attempt]) -> None:
    """End the rows of misses of attempts of which something else than a 404 was heard."""
    attempts.filter(misses__gt=0).update(misses=0, missed_since=None)


def is_over(attempt: Attempt, now: dt.datetime) -> bool:
    """Tell whether a known attempt (with its job) has been waited for, or watched, long enough."""
    if attempt.end_seen_at is None:
        deadline = attempt.job.deadline_at
        return deadline is not None and now > deadline + STUCK_AFTER_DEADLINE
    return now > attempt.end_seen_at + (WATCH_GIVEN_UP if attempt.error_code in GIVEN_UP else WATCH_CANCELLED)


def lose_patience(attempt_id: int) -> None:
    """Give up, if it is over, what still runs or cannot be read; stop watching what has ended."""
    with transaction.atomic():
        job, attempt, now = locked(attempt_id)
        if attempt.state != AttemptState.KNOWN or not is_over(attempt, now):
            return
        if attempt.end_seen_at is not None:
            _stop_watching(job, attempt)
            return
        tell(job.pk, "stuck", attempt_id=attempt.pk)
        alarm(
            "stuck",
            f"{job.short_id} did not end a day after its deadline. Its ceiling was booked.",
            job_id=job.pk,
        )
        _give_up(job, attempt, "stuck", reason="stuck: no end a day after its deadline")


def _sent_elsewhere(job: Job, attempt: Attempt) -> Attempt | None:
    """Return an earlier send of a job, through another connection, of which nobody knows."""
    earlier = Attempt.objects.filter(job=job, state=AttemptState.UNCONFIRMED, number__lt=attempt.number)
    return earlier.exclude(connection=attempt.connection_id).order_by("-number").first()


def _is_in_doubt(connection: Connection, now: dt.datetime) -> bool:
    """Tell whether everything of a connection up to a moment is unknown there: no single response's trouble.

    What was sent with a changed key is known there and proves nothing, so only what was sent before the
    newest unknown one is looked at. Someone who resumed has answered for all that was sent before.
    """
    unknown = Attempt.objects.filter(
        connection=connection,
        state=AttemptState.KNOWN,
        end_seen_at=None,
        is_unproven=False,
        missed_since__lte=now - DOUBT_AFTER,
    )
    if connection.doubted_at is not None:
        unknown = unknown.filter(sent_at__gt=connection.doubted_at)
    found = unknown.aggregate(count=Count("pk"), since=Min("missed_since"), newest=Max("sent_at"))
    if found["count"] < SEVERAL:
        return False
    heard = Attempt.objects.filter(connection=connection, missed_since=None, sent_at__lt=found["newest"])
    is_known = Q(state=AttemptState.KNOWN) | Q(ended_at__gt=found["since"])
    return not heard.filter(is_known).exclude(response_id="").exists()


def _give_up(job: Job, attempt: Attempt, code: str, *, reason: str) -> None:
    """Book the ceiling of a response that is waited for no longer, and fail its job; it is watched on."""
    Attempt.objects.filter(pk=attempt.pk).update(error_code=code, end_seen_at=Coalesce("end_seen_at", Now()))
    book_bound(attempt, reason=reason)
    go_on(job, end=Status.FAILED, code=code)
    set_clock(job)


def _stop_watching(job: Job, attempt: Attempt) -> None:
    """End an attempt that was watched long enough."""
    step(attempt.pk, of=[AttemptState.KNOWN], to=AttemptState.ENDED, ended_at=Now())
    book_bound(attempt, reason="watched to the end without usage")
    set_clock(job)
