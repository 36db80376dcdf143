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

# Why a send is ended when its job needs it no longer, by how far it has come: a code, and a reason.
_ENDED_AS = {
    AttemptState.PLANNED: ("", "an earlier send turned up"),
    AttemptState.UNCONFIRMED: ("lost", "another attempt of the job ended"),
}


def is_any_open(job: Job) -> bool:
    """Tell whether a send of the job is planned, on the wire or running upstream."""
    return Attempt.objects.filter(_OPEN, job=job).exists()


def is_another_running(job: Job, attempt: Attempt) -> bool:
    """Tell whether another send of the job than this one is open."""
    return Attempt.objects.filter(_OPEN, job=job).exclude(pk=attempt.pk).exists()


def drop_unsent(job: Job) -> None:
    """Give back the hold of a send that has not left yet: an earlier one turned up."""
    _end(job, AttemptState.PLANNED)


def end_unheard(job: Job) -> None:
    """Hold nothing, when a job ends, for sends nobody has heard of: one that turns up is charged then."""
    _end(job, AttemptState.UNCONFIRMED)


def end_rest(job: Job) -> None:
    """Hold nothing, when a job has its answer, for sends that have not left or that nobody has heard of."""
    _end(job, AttemptState.PLANNED, AttemptState.UNCONFIRMED)


def _end(job: Job, *states: AttemptState) -> None:
    for twin in Attempt.objects.filter(job=job, state__in=states):
        code, reason = _ENDED_AS[AttemptState(twin.state)]
        step(twin.pk, of=states, to=AttemptState.ENDED, ended_at=Now(), error_code=code)
        spend.settle(twin, cost=None, reason=reason)
