"""Ends a job's wait for replies once: when what answers it may be sent, not while that waits for approval."""

from django.db.models import F

from jobs.lifecycle.spec import SpecError
from jobs.lifecycle.transition import move, tell
from jobs.models import Job, SavedReplies, Status, User

ASKED_ALREADY = (
    "Answers to these calls wait for approval already. If they are not approved, the calls wait again."
)


def complete(following: Job) -> None:
    """Complete the job whose calls a new job answers, in the transaction that admits that one.

    Raises SpecError where another answer waits for approval. A job that waits no more stays as it is.
    """
    previous = _locked(following)
    if previous is not None:
        _check_free(following, previous)
        move(previous, of=[Status.REQUIRES_ACTION], to=Status.COMPLETED)
        SavedReplies.objects.filter(job=previous).delete()
        tell(previous, "answered", actor=following.submitted_by, note=following.short_id)


def reserve(following: Job) -> None:
    """Keep a job's calls for an answer that is asked for, in the transaction that stores that one.

    The job goes on waiting. Raises SpecError where another answer waits for approval.
    """
    previous = _locked(following)
    if previous is not None:
        _check_free(following, previous)
        by = following.submitted_by
        SavedReplies.objects.update_or_create(
            job_id=previous,
            defaults={"asked_in": following},
            create_defaults={"asked_in": following, "by": by},
        )
        tell(previous, "answer_asked", actor=by, note=following.short_id)


def complete_reserved(following: Job) -> None:
    """Complete the job whose calls were kept for an answer, in the transaction that approves that one."""
    if is_reserved(asked_in=following.pk):
        complete(following)


def give_back(following: Job, *, by: User | None) -> None:
    """Let calls that were kept for an answer be answered again, in the transaction that ends that one."""
    previous = _locked(following) if is_reserved(asked_in=following.pk) else None
    if previous is not None:
        SavedReplies.objects.filter(asked_in=following).update(asked_in=None)
        tell(previous, "answer_given_back", actor=by, note=following.short_id)


def is_reserved(**which: int) -> bool:
    """Tell whether calls, those of `job`, are kept for an answer that waits for approval, `asked_in`."""
    return SavedReplies.objects.filter(asked_in__isnull=False, **which).exists()


def _locked(following: Job) -> int | None:
    """Return the id of the job before, locked and changed to be seen; None if it waits for no replies."""
    previous = following.previous_id
    waiting = Job.objects.filter(status=Status.REQUIRES_ACTION)
    if previous is None or not waiting.filter(pk=previous).update(version=F("version") + 1):
        return None
    return previous


def _check_free(following: Job, previous: int) -> None:
    others = SavedReplies.objects.filter(job=previous, asked_in__isnull=False).exclude(asked_in=following)
    if others.exists():
        raise SpecError({"replies": ASKED_ALREADY})
