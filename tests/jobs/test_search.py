"""The words by which jobs are found again: kept with every text, whatever it holds."""

from collections.abc import Callable

import pytest

from jobs import lifecycle
from jobs.access import Role
from jobs.models import Answer, Attempt, Job, JobText, User
from jobs.models.job_text import ANSWER_SEARCHED, PROMPT_SEARCHED
from tests.factories import a_person, a_project, a_spec

pytestmark = pytest.mark.django_db


@pytest.fixture
def mira() -> User:
    return a_person()


@pytest.fixture
def submit(mira: User) -> Callable[..., Job]:
    project = a_project(members={mira: Role.SUBMITTER})
    return lambda **wanted: lifecycle.submit(a_spec(project, mira, **wanted))


def answer(job: Job, text: str) -> None:
    Answer.objects.create(job=job, attempt=Attempt.objects.get(job=job), text=text)
    lifecycle.render_due()


def found(words: str) -> set[int]:
    return set(JobText.objects.matching(words).values_list("pk", flat=True))


def test_a_job_is_found_by_its_title_and_prompt_at_once_and_by_its_answer_once_that_is_there(
    submit: Callable[..., Job],
) -> None:
    job = submit(title="The cobalt lattice", prompt="Does every tiling have defects?")
    other = submit(title="Another", prompt="Is the scheduler fair?")
    assert found("lattice") == {job.pk}
    assert found("tilings defect") == {job.pk}  # other forms of the words
    assert found("counterexample") == set()
    answer(job, "No: here is a *counterexample*.")
    assert found("counterexample") == {job.pk}
    assert found("lattice counterexample") == {job.pk}
    assert found("lattice or scheduler") == {job.pk, other.pk}
    assert found("tiling -lattice") == set()
    assert found('"scheduler fair"') == {other.pk}
    assert found('"every defects"') == set()


def test_an_answer_that_came_later_replaces_the_words_of_the_one_before(submit: Callable[..., Job]) -> None:
    job = submit()
    answer(job, "pearl")
    Answer.objects.filter(job=job).update(text="onyx", renderer_version=0)
    lifecycle.render_due()
    assert (found("pearl"), found("onyx")) == (set(), {job.pk})


@pytest.mark.parametrize("words", ['"', "or or or", "-", ":*|&!()", "'", "the of", "\\", "(", "a" * 5_000])
def test_whatever_is_typed_is_a_search(submit: Callable[..., Job], words: str) -> None:
    submit()
    assert found(words) <= set(JobText.objects.values_list("pk", flat=True))


@pytest.mark.parametrize(
    "hostile",
    [
        lambda n: f"{chr(0x4E00 + n % 20_000)}{chr(0x4E00 + n // 20_000)} ",
        lambda n: f"{chr(0x4E00 + n)}-{chr(0x4E00 + n // 2)} ",
        lambda n: f"{chr(0x20000 + n)} ",
        lambda n: f"a{n:x}-b{n:x} ",
        lambda n: f"{n:x}.de/{n:x} ",
        lambda n: f"{n:x}@{n:x}.de ",
        lambda n: f"{n} ",
        lambda n: f"x{n:x} ",
        lambda n: "word " * 9,
        lambda n: "y" * 3_000,
    ],
)
def test_no_text_has_too_many_words_to_be_kept(
    submit: Callable[..., Job], hostile: Callable[[int], str]
) -> None:
    most = 20_000
    text = "".join(hostile(n) for n in range(most))
    job = submit(prompt=(text * 9)[:PROMPT_SEARCHED])
    answer(job, (text[PROMPT_SEARCHED:] + text)[:ANSWER_SEARCHED])
    assert JobText.objects.filter(pk=job.pk).exists()
