"""Adopts a response: ties an id that was heard late to the attempt that sent it."""

import datetime as dt

from django.db.models import Case, DurationField, Value, When
from django.db.models.functions import Coalesce, Now

from jobs.lifecycle import twins
from jobs.lifecycle.doorbell import ring
from jobs.lifecycle.transition import move, step, tell
from jobs.models import DECLARED, Attempt, AttemptState, Job, Status
from jobs.models.catalogue import WINDOWS

# Upstream is asked to stop after this long; until then slow is shown, not punished.
DEADLINE = dt.timedelta(hours=24)
# When a job that is accepted now is asked to stop: after a day, and after its completion window.
DEADLINE_AT = Now() + Case(
    *(When(window=name, then=Value(DEADLINE + length)) for name, length in WINDOWS.items()),
    default=Value(DEADLINE),
    output_field=DurationField(),
)


def adopt(
    attempt_id: int, response_id: str, *, request_id: str = "", how: str, is_unproven: bool = False
) -> bool:
    """Make an attempt known by its response id and let the poll look at it; True if it was not yet.

    Needs the caller's transaction; idempotent. An attempt that was declared lost or paid becomes known again:
    its usage is then booked and its job takes the answer if it has none. An id from the API's own answer
    needs no proof; an unproven one is given up again unless the response under it names the attempt.
    """
    job_id = Attempt.objects.values_list("job", flat=True).get(pk=attempt_id)
    job = Job.objects.select_for_update(no_key=True).get(pk=job_id)
    attempt = Attempt.objects.get(pk=attempt_id)
    states = [AttemptState.SENDING, AttemptState.UNCONFIRMED]
    if attempt.error_code in DECLARED:
        states.append(AttemptState.ENDED)
    if belongs_to_another(attempt, response_id) or not step(
        attempt_id,
        of=states,
        to=AttemptState.KNOWN,
        response_id=response_id,
        is_unproven=is_unproven,
        request_id=request_id,
        lease_expires_at=None,
        ended_at=None,
        error_code="",
        error_message="",
    ):
        return False
    if not move(
        job.pk,
        of=[Status.SENDING, Status.UNCONFIRMED, Status.WAITING],
        to=Status.QUEUED,
        next_action_at=Now(),
        claim_token=None,
        sent_at=Coalesce("sent_at", Now()),
        deadline_at=DEADLINE_AT,
        error_code="",
    ):
        Job.objects.filter(pk=job.pk).update(next_action_at=Now())
    tell(job.pk, "adopted", attempt_id=attempt_id, note=how)
    ring("poll")
    twins.drop_unsent(job)
    return True


def belongs_to_another(attempt: Attempt, response_id: str) -> bool:
    """Tell whether the id is another attempt's: a server that repeats its ids proves nothing with one."""
    same = Attempt.objects.filter(connection=attempt.connection_id, response_id=response_id)
    return same.exclude(pk=attempt.pk).exists()
