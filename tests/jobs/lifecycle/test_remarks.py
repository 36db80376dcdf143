"""What people make of a job: verdicts, notes and tags, each on the timeline, none of it content there."""

from typing import Any

import pytest
from django.db import transaction

from jobs import lifecycle, spend
from jobs.lifecycle import NothingToJudge, SpecError
from jobs.lifecycle.remarks import NOTE_LIMIT
from jobs.models import Event, Job, JobNote, Status, User, Verdict, VerdictValue
from tests.factories import a_person, a_project
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def mira(db: None) -> User:
    return a_person()


@pytest.fixture
def job(mira: User) -> Job:
    project = a_project(members={})
    operator = a_person("tomas@example.com", is_superuser=True)
    return a_job(project, operator, Status.COMPLETED, answer={"text": "Yes."}, spec={"tags": ("a",)})


def told(job: Job) -> list[tuple[str, str]]:
    """Return what the timeline says since the job was made."""
    return list(Event.objects.filter(job=job).exclude(kind="submitted").values_list("kind", "note"))


def version(job: Job) -> int:
    return Job.objects.get(pk=job.pk).version


def test_the_last_verdict_stands_and_every_one_is_on_the_timeline(job: Job, mira: User) -> None:
    lifecycle.judge(job.pk, VerdictValue.RIGHT, by=mira)
    lifecycle.judge(job.pk, VerdictValue.WRONG, by=job.submitted_by)
    verdict = Verdict.objects.get()
    assert (verdict.value, verdict.by) == ("wrong", job.submitted_by)
    assert told(job) == [("judged_right", ""), ("judged_wrong", "")]
    assert version(job) == job.version + 2


def test_the_same_verdict_again_says_nothing_new_but_another_persons_does(job: Job, mira: User) -> None:
    lifecycle.judge(job.pk, VerdictValue.RIGHT, by=mira)
    lifecycle.judge(job.pk, VerdictValue.RIGHT, by=mira)
    lifecycle.judge(job.pk, VerdictValue.RIGHT, by=job.submitted_by)
    assert told(job) == [("judged_right", "")] * 2
    assert Verdict.objects.get().by == job.submitted_by


def test_a_verdict_can_be_taken_back_once(job: Job, mira: User) -> None:
    lifecycle.judge(job.pk, VerdictValue.UNSURE, by=mira)
    lifecycle.judge(job.pk, None, by=mira)
    lifecycle.judge(job.pk, None, by=mira)
    assert not Verdict.objects.exists()
    assert told(job) == [("judged_unsure", ""), ("verdict_withdrawn", "")]


@pytest.mark.parametrize("answer", [None, {"text": ""}])
def test_where_there_is_no_answer_there_is_nothing_to_judge(
    job: Job, mira: User, answer: dict[str, Any] | None
) -> None:
    silent = a_job(job.project, job.submitted_by, Status.COMPLETED, answer=answer)
    with pytest.raises(NothingToJudge):
        lifecycle.judge(silent.pk, VerdictValue.RIGHT, by=mira)


def test_a_note_is_kept_beside_the_job_and_never_on_the_timeline(job: Job, mira: User) -> None:
    lifecycle.add_note(job.pk, "  Step 3 is a guess.\n", by=mira)
    assert JobNote.objects.get().text == "Step 3 is a guess."
    assert told(job) == [("noted", "")]
    assert version(job) == job.version + 1


@pytest.mark.parametrize("words", ["", " \n", "x" * (NOTE_LIMIT + 1), "a\x00b", "\ud800"])
def test_a_note_that_cannot_be_kept_is_refused(job: Job, mira: User, words: str) -> None:
    with pytest.raises(SpecError) as refused:
        lifecycle.add_note(job.pk, words, by=mira)
    assert list(refused.value.errors) == ["note"]
    assert not JobNote.objects.exists()


def test_only_its_author_removes_a_note(job: Job, mira: User) -> None:
    lifecycle.add_note(job.pk, "Mine.", by=mira)
    note = JobNote.objects.get()
    other = a_job(job.project, job.submitted_by)
    assert not lifecycle.remove_note(job.pk, note.pk, by=job.submitted_by)
    assert not lifecycle.remove_note(other.pk, note.pk, by=mira)
    assert lifecycle.remove_note(job.pk, note.pk, by=mira)
    assert not lifecycle.remove_note(job.pk, note.pk, by=mira)
    assert told(job) == [("noted", ""), ("note_removed", "")]


def test_other_tags_are_told_with_the_old_ones_and_take_the_cost_along(job: Job, mira: User) -> None:
    lifecycle.retag(job.pk, [" b ", "b"], by=mira)
    assert Job.objects.get(pk=job.pk).tags == ["b"]
    assert told(job) == [("tagged", "a → b")]
    lifecycle.retag(job.pk, ["b"], by=mira)
    lifecycle.retag(job.pk, [], by=mira)
    assert told(job)[1:] == [("tagged", "b → none")]
    with transaction.atomic():
        assert spend.audit() == []


@pytest.mark.parametrize("tag", ["", "x" * 61, "a\x00"])
def test_a_tag_that_cannot_be_kept_is_refused(job: Job, mira: User, tag: str) -> None:
    with pytest.raises(SpecError) as refused:
        lifecycle.retag(job.pk, [tag], by=mira)
    assert list(refused.value.errors) == ["tags"]
    assert Job.objects.get(pk=job.pk).tags == ["a"]
