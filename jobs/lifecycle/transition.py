"""Moves a status: a conditional UPDATE whose count says who won, the line in the timeline, the mail."""

import datetime as dt
import logging
from collections.abc import Collection, Iterable
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from jobs.lifecycle.counting import count_end
from jobs.lifecycle.doorbell import ring_for
from jobs.models import FINAL, Attempt, AttemptState, Event, Job, Status, User

LONG = dt.timedelta(minutes=2)  # what runs no longer is awaited on the page
# Where a job stands still until a person looks at it.
ENDS = (*FINAL, Status.REQUIRES_ACTION)
# What has a job in flight asked for next, before all else that is due. Without its claim a poll under way,
# which may have seen it run, cannot push the clock back again.
ASKED_NEXT: dict[str, Any] = {"next_action_at": Now(), "claim_token": None, "goes_first": True}

logger = logging.getLogger(__name__)


def move(job_id: int, *, of: Iterable[Status], to: Status, **fields: Any) -> bool:
    """Move a job from one of the statuses `of` to `to`; True if this call did it.

    `fields` are set along with the status.
    """
    rows = Job.objects.filter(pk=job_id, status__in=list(of))
    is_moved = rows.update(status=to, version=F("version") + 1, **fields) == 1
    if is_moved and to in ENDS:
        _announce(job_id)
    if is_moved and to in FINAL:
        count_end(job_id, to)
    return is_moved


def step(attempt_id: int, *, of: Iterable[AttemptState], to: AttemptState, **fields: Any) -> bool:
    """Move an attempt from one of the states `of` to `to`; True if this call did it."""
    return Attempt.objects.filter(pk=attempt_id, state__in=list(of)).update(state=to, **fields) == 1


def tell(
    job_id: int, kind: str, *, attempt_id: int | None = None, actor: User | None = None, note: str = ""
) -> None:
    """Add a line to the timeline, and to the log at INFO; never content."""
    Event.objects.create(job_id=job_id, attempt_id=attempt_id, kind=kind, actor=actor, note=note[:600])
    if attempt_id is not None:
        log_sends(kind, [attempt_id])
    elif logger.isEnabledFor(logging.INFO):
        job = Job.objects.values_list("short_id", "project__connection__name").get(pk=job_id)
        _log(kind, job[0], None, job[1])


def log_sends(kind: str, attempt_ids: Collection[int]) -> None:
    """Add a step of sends, which is in their timelines, to the log at INFO."""
    if not logger.isEnabledFor(logging.INFO):
        return
    found = Attempt.objects.filter(pk__in=attempt_ids).order_by("pk")
    for short_id, pk, name in found.values_list("job__short_id", "pk", "connection__name"):
        _log(kind, short_id, pk, name)


def _log(kind: str, short_id: str, attempt_id: int | None, connection: str) -> None:
    """Write a line once the caller's transaction has committed. Without a note: it may repeat an API."""
    about = {"job": short_id, "attempt": attempt_id, "connection": connection}
    transaction.on_commit(lambda: logger.info(kind, extra=about))


def _announce(job_id: int) -> None:
    """Have whoever asked for it told by mail that a long job has ended, in the caller's transaction."""
    waited = Job.objects.filter(pk=job_id, sent_at__lte=Now() - LONG, mailed_at=None)
    if settings.IS_MAIL_SENT and waited.filter(submitted_by__wants_mail=True).exists():
        ring_for("mail_job_end", job_id)
