"""Knows what becomes of a job's other sends: a resend can leave two of them that both cost money."""

from django.db.models import Q
from django.db.models.functions import Now

from jobs import spend
from jobs.lifecycle.transition import step
from jobs.models import Attempt, AttemptState, Job

# What can still bring an answer; one that has ended and is only watched for its bill is none of these.
_OPEN = Q(state__in=[AttemptState.PLANNED, AttemptState.SENDING]) | Q(
    state=AttemptState.KNOWN, end_seen_at=None
)


def is_any_open(job: Job) -> bool:
    """Tell whether a send of the job is planned, on the wire or running upstream."""
    return Attempt.objects.filter(_OPEN, job=job).exists()


def is_another_running(job: Job, attempt: Attempt) -> bool:
    """Tell whether another send of the job than this one is open."""
    return Attempt.objects.filter(_OPEN, job=job).exclude(pk=attempt.pk).exists()


def drop_unsent(job: Job) -> None:
    """Give back the hold of a send that has not left yet: an earlier one turned up."""
    for twin in Attempt.objects.filter(job=job, state=AttemptState.PLANNED):
        step(twin.pk, of=[AttemptState.PLANNED], to=AttemptState.ENDED, ended_at=Now())
        spend.settle(twin, cost=None, reason="an earlier send turned up")


def end_unheard(job: Job) -> None:
    """Hold nothing, when a job ends, for sends nobody has heard of: one that turns up is charged then."""
    for twin in Attempt.objects.filter(job=job, state=AttemptState.UNCONFIRMED):
        step(twin.pk, of=[AttemptState.UNCONFIRMED], to=AttemptState.ENDED, ended_at=Now(), error_code="lost")
        spend.settle(twin, cost=None, reason="another attempt of the job ended")
