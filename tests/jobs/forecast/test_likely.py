"""The likely cost: what it rests on, how many jobs that are, and how well such ranges have held."""

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from jobs import forecast
from jobs.access import Role
from jobs.forecast import Likely, Rests
from jobs.models import Attempt, Job, ModelSpec, Project, Status, User
from tests.factories import a_project
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


def history(project: Project, by: User, outputs: Iterable[Any], **spec: Any) -> None:
    """Make ended jobs of a kind that put out so many tokens, the newest last, by letting one be repeated."""
    wanted = {"model": "gpt-6-sol", "mode": "standard", "effort": "low", **spec}
    job = a_job(project, by, Status.COMPLETED, spec=wanted)
    attempt, now = Attempt.objects.get(job=job), timezone.now()
    jobs, attempts = [], []
    for number, output in enumerate(outputs):
        fresh = Job()
        copy = Job.objects.get(pk=job.pk)
        copy.pk = None
        copy.uuid, copy.short_id = fresh.uuid, fresh.short_id
        copy.created_at = now + dt.timedelta(seconds=number)
        jobs.append(copy)
        attempts.append(output)
    made = Job.objects.bulk_create(jobs)
    for one, output in zip(made, attempts, strict=True):
        copied = Attempt.objects.get(pk=attempt.pk)
        copied.pk, copied.nonce, copied.job, copied.response_id = None, Attempt().nonce, one, ""
        copied.usage = output if isinstance(output, dict | None) else {"output_tokens": output}
        copied.save(force_insert=True)
    Attempt.objects.filter(pk=attempt.pk).update(usage=None)


def likely(project: Project, *others: Project, **wanted: Any) -> Likely:
    spec = ModelSpec.objects.get(pk="gpt-6-sol")
    price = spec.price_on(dt.date(2026, 11, 23))
    assert price is not None
    asked = {"effort": "low", "input_tokens": 0, "max_output_tokens": 100_000, **wanted}
    return forecast.likely_cost(project, spec, price, others=[one.pk for one in others], **asked)


def dollars(tokens: int) -> Decimal:
    return Decimal(tokens) * 10 / 1_000_000


@pytest.fixture
def other(mira: User) -> Project:
    return a_project("other", members={mira: Role.SUBMITTER})


def test_twenty_jobs_of_a_project_are_enough(project: Project, other: Project, mira: User) -> None:
    history(project, mira, range(1_000, 21_000, 1_000))
    history(other, mira, [90_000] * 30)
    found = likely(project, other)
    assert (found.low, found.high) == (dollars(2_000), dollars(18_000))
    assert (found.n, found.rests) == (20, Rests.PROJECT)


def test_with_fewer_those_of_other_projects_count(project: Project, other: Project, mira: User) -> None:
    history(project, mira, [90_000] * 19)
    history(other, mira, [1_000] * 25)
    found = likely(project, other)
    assert (found.low, found.high, found.n) == (dollars(1_000), dollars(1_000), 25)
    assert found.is_of_others


def test_with_few_anywhere_it_is_the_catalogues_usual_use(
    project: Project, other: Project, mira: User
) -> None:
    history(project, mira, [1_000] * 19)
    history(other, mira, [1_000] * 19)
    found, (low, _, high) = likely(project, other), ModelSpec.objects.get(pk="gpt-6-sol").usual_output("low")
    assert (found.low, found.high) == (dollars(low), dollars(high))
    assert (found.n, found.rests, found.tried) == (0, Rests.PRIOR, 0)


def test_projects_that_are_not_named_do_not_count(project: Project, other: Project, mira: User) -> None:
    history(other, mira, [1_000] * 30)
    assert likely(project).rests == Rests.PRIOR


@pytest.mark.parametrize("spec", [{"effort": "high"}, {"model": "gpt-6-luna"}])
def test_jobs_of_another_kind_do_not_count(project: Project, mira: User, spec: dict[str, str]) -> None:
    history(project, mira, [1_000] * 30, **spec)
    assert likely(project).rests == Rests.PRIOR


def test_what_an_api_says_that_is_no_number_of_tokens_does_not_count(project: Project, mira: User) -> None:
    odd: list[Any] = [{"output_tokens": word} for word in ("9", -1, 1.5, 10**30, None)]
    history(project, mira, [*odd, None, {}, *[1_000] * 20])
    found = likely(project)
    assert (found.low, found.high, found.n) == (dollars(1_000), dollars(1_000), 20)


def test_the_newest_two_hundred_count(project: Project, mira: User) -> None:
    history(project, mira, [90_000] * 150 + [1_000] * 200)
    found = likely(project)
    assert (found.high, found.n) == (dollars(1_000), 200)


def test_ranges_are_held_against_what_came_after_them(project: Project, mira: User) -> None:
    history(project, mira, [1_000] * 20 + [1_000, 5_000, 1_000, 1_000])
    found = likely(project)
    assert (found.tried, found.within, found.percent_within) == (4, 3, 75)


def test_at_most_a_hundred_are_held_against_their_range(project: Project, mira: User) -> None:
    history(project, mira, [5_000] * 20 + [1_000] * 130)
    found = likely(project)
    assert (found.tried, found.within) == (100, 100)


def test_nothing_is_tried_that_few_jobs_came_before(project: Project, mira: User) -> None:
    history(project, mira, [1_000] * 20)
    assert (likely(project).tried, likely(project).percent_within) == (0, 0)


def test_a_window_makes_the_range_cheaper(project: Project, mira: User) -> None:
    history(project, mira, [1_000] * 20)
    assert likely(project, window="8h").high == dollars(600)


def test_it_takes_one_query(
    project: Project, other: Project, mira: User, django_assert_num_queries: Callable[..., Any]
) -> None:
    history(other, mira, [1_000] * 25)
    with django_assert_num_queries(3):  # and one each for the model and its price row
        likely(project, other)


def test_a_job_that_can_wait_is_told_the_range_of_its_own_window(project: Project, mira: User) -> None:
    job = a_job(project, mira, spec={"model": "gpt-6-sol", "mode": "standard"})
    price = job.model.price_on(dt.date(2026, 11, 23))
    assert price is not None
    soonest = forecast.likely_of(job, price, previous=None, others=[project.pk])
    job.window = price.windows_offered[-1]
    waiting = forecast.likely_of(job, price, previous=None, others=[project.pk])
    assert (waiting.low, waiting.high) < (soonest.low, soonest.high)
    assert forecast.likely_of(job, price, previous=None, others=[], input_tokens=9_000).low > waiting.low
