"""Moves a status: a conditional UPDATE whose count says who won, and the line in the timeline."""

from collections.abc import Iterable
from typing import Any

from django.db.models import F

from jobs.models import Attempt, AttemptState, Event, Job, Status, User


def move(job_id: int, *, of: Iterable[Status], to: Status, claim: Any = None, **fields: Any) -> bool:
    """Move a job from one of the statuses `of` to `to`; True if this call did it.

    `claim` makes it conditional on the claim token too; `fields` are set along with the status.
    """
    rows = Job.objects.filter(pk=job_id, status__in=list(of))
    if claim is not None:
        rows = rows.filter(claim_token=claim)
    return rows.update(status=to, version=F("version") + 1, **fields) == 1


def step(attempt_id: int, *, of: Iterable[AttemptState], to: AttemptState, **fields: Any) -> bool:
    """Move an attempt from one of the states `of` to `to`; True if this call did it."""
    return Attempt.objects.filter(pk=attempt_id, state__in=list(of)).update(state=to, **fields) == 1


def tell(
    job_id: int, kind: str, *, attempt_id: int | None = None, actor: User | None = None, note: str = ""
) -> None:
    """Add a line to the timeline; never content."""
    Event.objects.create(job_id=job_id, attempt_id=attempt_id, kind=kind, actor=actor, note=note[:600])
