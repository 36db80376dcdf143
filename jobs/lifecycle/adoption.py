"""Adopts a response: ties an id that was heard late to the attempt that sent it."""

from django.db.models.functions import Coalesce, Now

from jobs import spend
from jobs.lifecycle.doorbell import ring
from jobs.lifecycle.transition import move, step, tell
from jobs.models import Attempt, AttemptState, Job, Status

# What a person had declared of a send whose response now turns up.
DECLARED = ("lost", "assumed_paid")


def adopt(attempt_id: int, response_id: str, *, request_id: str = "", how: str) -> bool:
    """Make an attempt known by its response id and let the poll look at it; True if it was not yet.

    Needs the caller's transaction; idempotent. An attempt that was declared lost or paid becomes known again:
    its usage is then booked and its job takes the answer if it has none.
    """
    attempt = Attempt.objects.get(pk=attempt_id)
    job = Job.objects.select_for_update().get(pk=attempt.job_id)
    states = [AttemptState.SENDING, AttemptState.UNCONFIRMED]
    if attempt.error_code in DECLARED:
        states.append(AttemptState.ENDED)
    if not step(
        attempt_id,
        of=states,
        to=AttemptState.KNOWN,
        response_id=response_id,
        request_id=request_id,
        lease_expires_at=None,
        ended_at=None,
        error_code="",
        error_message="",
    ):
        return False
    _drop_unsent_twin(job.pk)
    if not move(
        job.pk,
        of=[Status.SENDING, Status.UNCONFIRMED, Status.WAITING],
        to=Status.QUEUED,
        next_action_at=Now(),
        claim_token=None,
        sent_at=Coalesce("sent_at", Now()),
    ):
        Job.objects.filter(pk=job.pk).update(next_action_at=Now())
    tell(job.pk, "adopted", attempt_id=attempt_id, note=how)
    ring("poll")
    return True


def _drop_unsent_twin(job_id: int) -> None:
    """A second send that has not left yet is not needed any more: give its hold back."""
    twin = Attempt.objects.filter(job=job_id, state=AttemptState.PLANNED).first()
    if twin is not None and step(twin.pk, of=[AttemptState.PLANNED], to=AttemptState.ENDED, ended_at=Now()):
        spend.settle(twin, cost=None, reason="the first send turned up")
