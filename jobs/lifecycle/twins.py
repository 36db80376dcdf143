"""Knows what becomes of a job's other sends: a resend can leave two of them that both cost money."""

from django.db.models.functions import Now

from jobs import spend
from jobs.lifecycle.transition import step
from jobs.models import Attempt, AttemptState, Job


def is_another_running(job: Job, attempt: Attempt) -> bool:
    """Tell whether another send of the job is on the wire or running upstream."""
    others = Attempt.objects.filter(job=job, state__in=[AttemptState.SENDING, AttemptState.KNOWN])
    return others.filter(end_seen_at=None).exclude(pk=attempt.pk).exists()


def drop_unsent(job: Job) -> None:
    """Give back the hold of a second send that has not left yet: the first one turned up."""
    for twin in Attempt.objects.filter(job=job, state=AttemptState.PLANNED):
        step(twin.pk, of=[AttemptState.PLANNED], to=AttemptState.ENDED, ended_at=Now())
        spend.settle(twin, cost=None, reason="the first send turned up")


def end_unheard(job: Job) -> None:
    """Hold nothing, when a job ends, for sends nobody has heard of: one that turns up is charged then."""
    for twin in Attempt.objects.filter(job=job, state=AttemptState.UNCONFIRMED):
        step(twin.pk, of=[AttemptState.UNCONFIRMED], to=AttemptState.ENDED, ended_at=Now(), error_code="lost")
        spend.settle(twin, cost=None, reason="another attempt of the job ended")
