"""What a job goes on from is read once for many models, and anew for each job that is held."""

import dataclasses
from decimal import Decimal

import pytest
from pytest_django import DjangoAssertNumQueries

from jobs import lifecycle
from jobs.lifecycle.before import Before
from jobs.models import Attempt, Job, Price, Workspace
from tests.fake_api import USAGE, FakeApi, message
from tests.jobs.lifecycle.conftest import Submit
from tests.jobs.lifecycle.test_threads import end, follow

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]
MODELS = ("gpt-6-sol", "gpt-6-luna", "gpt-6.1-sol", "gpt-6-astra")


@pytest.fixture
def last(api: FakeApi, submit: Submit) -> Job:
    """The last of three answered jobs, of another model than the first, the middle one without usage."""
    first = end(api, submit(), output=[message("It fails. " * 100)])
    second = end(api, follow(first, model="gpt-6-luna"), usage=None)
    return end(api, follow(second), output=[message("It holds. " * 200)])


def test_one_reading_serves_every_model_as_one_of_its_own_would(
    last: Job, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    alone = {model: Before(last).tokens(model) for model in MODELS}
    assert alone["gpt-6-sol"] != alone["gpt-6-luna"]
    # The thread, its sends, its files, what was asked and what was answered. A model that knows how much some
    # of it was asks for less at first.
    for order, queries in ((MODELS, 7), (MODELS[::-1], 5)):
        before = Before(last)
        with django_assert_num_queries(queries):
            assert {model: before.tokens(model) for model in order} == alone


def test_a_model_that_read_the_whole_thread_needs_no_sizes(
    api: FakeApi, submit: Submit, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    job = end(api, submit())
    with django_assert_num_queries(2):
        assert Before(job).tokens("gpt-6-sol") == USAGE["input_tokens"] + USAGE["output_tokens"]


def test_a_beginning_goes_on_from_nothing(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        assert (Before(None).tokens("gpt-6-sol"), Before(None).calls) == (0, [])


def test_a_ceiling_that_was_shown_is_worked_out_anew_when_it_is_held(last: Job) -> None:
    wanted = lifecycle.follow_up(last, by=last.submitted_by, prompt="Why?")
    shown = lifecycle.ceiling_of(wanted)
    assert shown
    today = Workspace.objects.the().today()
    prices = {price.model_id: price for price in Price.objects.in_force(today)}
    dear = dataclasses.replace(wanted, model="gpt-6-astra")
    offered = lifecycle.instead(dear, prices, shown.worst_case, today)
    assert offered
    lower = lifecycle.ceiling_of(offered)
    assert lower
    # Usage turns up that says ten times as much, between the price and the send.
    more = {**USAGE, "input_tokens": 90_000, "output_tokens": 40_000, "total_tokens": 130_000}
    Attempt.objects.filter(job=last).update(usage=more)
    assert lifecycle.submit(wanted).input_bound > shown.input_bound + 100_000
    job = lifecycle.submit(offered)
    assert job.input_bound > lower.input_bound + 30_000
    assert job.worst_case > lower.worst_case > Decimal(0)
