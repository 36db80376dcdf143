"""Does sooner what would be done anyway, where staff ask for it: a poll, or another rendering."""

from django.db import transaction
from django.db.models import F

from jobs.lifecycle.doorbell import ring
from jobs.lifecycle.transition import ASKED_NEXT, tell
from jobs.models import UNASKABLE, Answer, Job, User


class NotPolled(Exception):
    """Nothing of the job is known at the other side, or nothing more is expected from it."""


class NothingToRender(Exception):
    """The job has no answer with a text."""


def poll_now(job_id: int, *, by: User) -> None:
    """Ask upstream about a job as soon as a pump is there, also about one that is final and still watched.

    Raises NotPolled.
    """
    with transaction.atomic():
        followed = Job.objects.filter(pk=job_id, next_action_at__isnull=False).exclude(status__in=UNASKABLE)
        if not followed.update(**ASKED_NEXT, version=F("version") + 1):
            raise NotPolled
        tell(job_id, "poll_asked", actor=by)
        ring("poll")


def render_again(job_id: int) -> None:
    """Have the answer's HTML made anew, also of one that took too long before. Raises NothingToRender."""
    with transaction.atomic():
        if not Answer.objects.filter(job=job_id).exclude(text="").update(renderer_version=0):
            raise NothingToRender
        Job.objects.filter(pk=job_id).update(version=F("version") + 1)
        ring("render")
