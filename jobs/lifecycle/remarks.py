"""Keeps what people make of a job: a verdict on its answer, notes beside it, and its tags."""

from collections.abc import Iterable

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from jobs import spend
from jobs.lifecycle.spec import SpecError, tag_problems
from jobs.lifecycle.transition import tell
from jobs.models import Answer, Job, JobNote, User, Verdict, VerdictValue
from jobs.schemas.reading import UNSTORABLE

NOTE_LIMIT = 4_000  # characters


class NothingToJudge(Exception):
    """The job has no answer."""


def judge(job_id: int, value: VerdictValue | None, *, by: User) -> None:
    """Say whether a job's answer is right; None takes the verdict back. Raises NothingToJudge.

    The last word stands, whoever said it; all of them are on the timeline.
    """
    with transaction.atomic():
        Job.objects.select_for_update(no_key=True).get(pk=job_id)
        if not Answer.objects.filter(job=job_id).exclude(text="").exists():
            raise NothingToJudge
        standing = Verdict.objects.filter(job=job_id)
        if value is None:
            if not standing.delete()[0]:
                return
            kind = "verdict_withdrawn"
        else:
            if standing.filter(value=value, by=by).exists():
                return
            Verdict.objects.update_or_create(job_id=job_id, defaults={"value": value, "by": by, "at": Now()})
            kind = f"judged_{value}"
        tell(job_id, kind, actor=by)
        _show(job_id)


def add_note(job_id: int, text: str, *, by: User) -> None:
    """Write a note beside a job. Raises SpecError for one that is empty, too long or cannot be stored."""
    text = text.strip()
    if not text or len(text) > NOTE_LIMIT or UNSTORABLE.search(text):
        raise SpecError({"note": f"A note has 1 to {NOTE_LIMIT:,} characters."})
    with transaction.atomic():
        JobNote.objects.create(job_id=job_id, by=by, text=text)
        tell(job_id, "noted", actor=by)
        _show(job_id)


def remove_note(job_id: int, note_id: int, *, by: User) -> bool:
    """Remove a note of one's own from a job; False where there is none such."""
    with transaction.atomic():
        removed = JobNote.objects.filter(pk=note_id, job=job_id, by=by).delete()[0]
        if removed:
            tell(job_id, "note_removed", actor=by)
            _show(job_id)
    return bool(removed)


def retag(job_id: int, tags: Iterable[str], *, by: User) -> None:
    """Give a job other tags; what it cost counts for them from then on. Raises SpecError."""
    wanted = {tag.strip() for tag in tags}
    if problems := tag_problems(wanted):
        raise SpecError(problems)
    with transaction.atomic():
        before, after = spend.retag(job_id, wanted)
        if before != after:
            note = f"{', '.join(before) or 'none'} → {', '.join(after) or 'none'}"
            tell(job_id, "tagged", actor=by, note=note)


def _show(job_id: int) -> None:
    Job.objects.filter(pk=job_id).update(version=F("version") + 1)
