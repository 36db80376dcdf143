"""Ends a job's wait for replies once: when what answers it may be sent, not while that waits for approval."""

from django.db.models import F

from jobs.lifecycle import calls
from jobs.lifecycle.spec import SpecError
from jobs.lifecycle.transition import move, tell
from jobs.models import Job, SavedReplies, Status, User

ASKED_ALREADY = (
    "Answers to these calls wait for approval already. If they are not approved, the calls wait again."
)


def complete(following: Job) -> None:
    """Complete the job whose calls a new job answers, in the transaction that admits that one.

    One that waits no more stays as it is where these very answers were sent before. Raises SpecError where
    they were not, and where another answer waits for approval.
    """
    previous = _free(following)
    if previous is not None:
        move(previous, of=[Status.REQUIRES_ACTION], to=Status.COMPLETED)
        SavedReplies.objects.filter(job=previous).delete()
        tell(previous, "answered", actor=following.submitted_by, note=following.short_id)


def reserve(following: Job) -> None:
    """Keep a job's calls for an answer that is asked for, in the transaction that stores that one.

    The job goes on waiting. Raises as `complete` does.
    """
    previous = _free(following)
    if previous is not None:
        by = following.submitted_by
        SavedReplies.objects.update_or_create(
            job_id=previous,
            defaults={"asked_in": following},
            create_defaults={"asked_in": following, "by": by},
        )
        tell(previous, "answer_asked", actor=by, note=following.short_id)


def complete_reserved(following: Job) -> None:
    """Complete the job whose calls were kept for an answer, in the transaction that approves that one.

    They may be kept no more: code of the version before answers them without asking. Raises as `complete`.
    """
    if is_reserved(asked_in=following.pk) or calls.is_answer(following):
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


def _free(following: Job) -> int | None:
    """Return the id of the job before, locked; None where the answers to it were sent. Raises SpecError."""
    previous = _locked(following)
    if previous is None:
        if calls.were_sent(following.rerun_of):
            return None
        raise SpecError({"replies": calls.ANSWERED_MEANWHILE})
    others = SavedReplies.objects.filter(job=previous, asked_in__isnull=False).exclude(asked_in=following)
    if others.exists():
        raise SpecError({"replies": ASKED_ALREADY})
    return previous
