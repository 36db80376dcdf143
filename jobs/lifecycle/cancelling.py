"""Cancels: at once what was not sent, by asking upstream what was."""

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from jobs.lifecycle import replying
from jobs.lifecycle.doorbell import ring
from jobs.lifecycle.sending import end_unsent
from jobs.lifecycle.transition import ASKED_NEXT, move, tell
from jobs.models import IN_FLIGHT, Attempt, AttemptState, Job, Status, User


class NotCancellable(Exception):
    """The job has ended, is being cancelled already, or nobody knows where it is."""


def cancel(job_id: int, *, by: User | None = None) -> Job:
    """Cancel a job, or ask upstream to: its word decides. Raises NotCancellable.

    What was not sent is cancelled at once and costs nothing. What is being sent is asked to stop as soon as
    its response id is known.
    """
    with transaction.atomic():
        job = Job.objects.select_for_update(no_key=True).get(pk=job_id)
        if not job.can_be_cancelled:
            raise NotCancellable
        Job.objects.filter(pk=job_id).update(
            cancel_requested_at=Now(), cancel_requested_by=by, version=F("version") + 1
        )
        job.cancel_requested_by = by
        tell(job_id, "cancel_requested", actor=by)
        if job.status == Status.WAITING:
            planned = Attempt.objects.get(job=job, state=AttemptState.PLANNED)
            end_unsent(job, planned, status=Status.CANCELLED, kind="cancelled")
        elif job.status == Status.AWAITING_APPROVAL:
            move(
                job_id,
                of=[Status.AWAITING_APPROVAL],
                to=Status.CANCELLED,
                finished_at=Now(),
                next_action_at=None,
            )
            tell(job_id, "cancelled", actor=by)
            replying.give_back(job, by=by)
        elif job.status in IN_FLIGHT:
            Job.objects.filter(pk=job_id).update(**ASKED_NEXT)
            ring("poll")
    job.refresh_from_db()
    return job
