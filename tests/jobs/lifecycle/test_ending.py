"""Ends that need patience, an alarm or a second look; and what they cost."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.lifecycle import ending
from jobs.models import (
    Answer,
    Attempt,
    AttemptState,
    BudgetPeriod,
    Event,
    Job,
    LedgerEntry,
    ModelSpec,
    Notice,
    RawResponse,
    Refusal,
    Status,
    User,
    Verdict,
    VerdictValue,
)
from tests.factories import a_project
from tests.fake_api import USAGE, FakeApi, age, message
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

FAILED_UPSTREAM: dict[str, Any] = {"error": {"code": "server_error", "message": "Oh."}}


@pytest.fixture
def job(api: FakeApi, submit: Submit) -> Job:
    """A job in flight."""
    made = submit(tags=("proofs",))
    api.run("send")
    return made


def the(job: Job, number: int = 1) -> Attempt:
    job.refresh_from_db()
    return Attempt.objects.get(job=job, number=number)


def booked(job: Job) -> list[tuple[str, str, Decimal]]:
    """The ledger after the hold."""
    rows = LedgerEntry.objects.filter(job=job).order_by("pk")[1:]
    return [(row.kind, row.basis, row.amount) for row in rows]


def alarms() -> list[str]:
    return list(Notice.objects.order_by("pk").values_list("kind", flat=True))


def test_what_is_heard_of_an_ended_attempt_says_nothing(api: FakeApi, job: Job) -> None:
    api.put(job, "completed")
    api.run("poll")
    ending.observe_end(the(job).pk, api.body("resp_1", "failed", usage=USAGE | {"output_tokens": 9_000}))
    assert (the(job).end_status, job.status) == ("completed", Status.COMPLETED)
    assert job.cost == Decimal("0.022")


@pytest.mark.parametrize("word", ["completed", "incomplete"])
def test_usage_missing_for_ten_minutes_books_the_ceiling_with_an_alarm(
    api: FakeApi, job: Job, word: str
) -> None:
    api.put(job, word, usage=None)
    api.run("poll")
    age(job, minutes=9)
    api.run("poll")
    assert booked(job) == []
    assert BudgetPeriod.objects.get().held == job.worst_case
    age(job, minutes=1)
    api.run("poll")
    assert booked(job) == [("release", "", -job.worst_case), ("charge", "bound", job.worst_case)]
    assert (the(job).state, job.next_action_at) == (AttemptState.ENDED, None)
    assert alarms() == ["no_usage"]


def test_usage_that_cannot_be_read_is_none(api: FakeApi, job: Job) -> None:
    api.put(job, "completed", usage={"input_tokens": -1, "output_tokens": "many"}, error="not an object")
    api.run("poll")
    assert job_status(job) == Status.COMPLETED
    assert the(job).usage is None
    assert booked(job) == []


def test_cancelled_may_become_completed_within_the_hour(api: FakeApi, job: Job) -> None:
    age(job, minutes=3)
    api.put(job, "cancelled", usage=None)
    api.run("poll")
    estimate = job_cost(job)
    assert 0 < estimate < job.worst_case
    api.put(job, "completed")
    api.run("poll")
    assert (job_status(job), job.answer.text) == (Status.COMPLETED, "The lemma is true.")
    assert booked(job)[-1] == ("adjust", "usage", Decimal("0.022") - estimate)
    assert (the(job).state, job.next_action_at) == (AttemptState.ENDED, None)


@pytest.mark.parametrize(("text", "stands"), [("The whole.", False), ("A half.", True)])
def test_a_verdict_on_half_an_answer_is_none_on_another(
    api: FakeApi, job: Job, text: str, stands: bool
) -> None:
    api.put(job, "cancelled", output=[message("A half.")])
    api.run("poll")
    lifecycle.judge(job.pk, VerdictValue.WRONG, by=job.submitted_by)
    api.put(job, "completed", output=[message(text)])
    Job.objects.filter(pk=job.pk).update(next_action_at=timezone.now())
    api.run("poll")
    assert Answer.objects.get(job=job).text == text
    assert Verdict.objects.filter(job=job).exists() is stands
    assert Event.objects.filter(job=job, kind="verdict_withdrawn").exists() is not stands


def test_cancelled_that_completes_without_usage_is_asked_for_it_before_the_ceiling_is_booked(
    api: FakeApi, job: Job
) -> None:
    api.put(job, "cancelled", usage=None)
    api.run("poll")
    age(job, minutes=30)
    api.put(job, "completed", usage=None)
    api.run("poll")
    assert (job_status(job), alarms()) == (Status.COMPLETED, [])
    age(job, minutes=11)
    api.run("poll")
    assert job_cost(job) == job.worst_case
    assert booked(job)[-1][:2] == ("adjust", "bound")
    assert alarms() == ["no_usage"]


def test_the_estimate_of_a_cancelled_job_is_at_most_its_ceiling(api: FakeApi, job: Job) -> None:
    age(job, hours=20)
    Attempt.objects.update(input_tokens=40)
    api.put(job, "cancelled", usage=None)
    api.run("poll")
    assert job.worst_case * Decimal("0.97") < job_cost(job) <= job.worst_case


def test_the_estimate_rests_on_the_databases_clock(api: FakeApi, job: Job) -> None:
    Attempt.objects.update(input_tokens=40)
    api.put(job, "cancelled", usage=None)
    with time_machine.travel(timezone.now() + dt.timedelta(days=1)):
        api.run("poll")
    assert job_cost(job) < job.worst_case / 10
    assert (the(job).state, the(job).ended_at) == (AttemptState.KNOWN, None)


def test_a_retryable_failure_is_tried_three_times_at_most(api: FakeApi, job: Job) -> None:
    for number in (1, 2, 3):
        api.put(job, "failed", **FAILED_UPSTREAM)
        api.run("poll", "send")
        assert the(job, number).end_status == "failed"
    assert (job.status, job.error_code) == (Status.FAILED, "server_error")
    assert len(api.posts) == 3
    assert job.cost == 3 * Decimal("0.022")
    assert {post["metadata"]["ponder_attempt"] for post in api.posts} == {
        str(attempt.nonce) for attempt in Attempt.objects.all()
    }


def test_without_a_budget_for_another_attempt_it_fails_and_says_so(api: FakeApi, job: Job) -> None:
    spend.set_cap(Decimal("0.1"), project=job.project)
    api.put(job, "failed", **FAILED_UPSTREAM)
    api.run("poll")
    assert (job_status(job), job.error_code) == (Status.FAILED, "server_error")
    said = Event.objects.get(kind="no_budget").note
    assert said.startswith("No budget for another attempt: the cap of ")
    assert "has no room" in said
    assert Refusal.objects.get().ceiling == job.worst_case
    assert not Event.objects.filter(kind="tried_again").exists()
    assert Attempt.objects.count() == 1
    assert BudgetPeriod.objects.get().held == 0


@pytest.mark.parametrize("gone", ["price", "model"])
def test_a_model_that_cannot_be_sold_any_more_is_not_tried_again(api: FakeApi, job: Job, gone: str) -> None:
    day = timezone.now().date()
    if gone == "model":
        ModelSpec.objects.filter(pk="gpt-6-sol").update(shutdown_date=dt.date(2026, 10, 1))
    else:
        the(job).price.__class__.objects.filter(model="gpt-6-sol").update(valid_from=day.replace(year=2100))
    api.put(job, "failed", **FAILED_UPSTREAM)
    api.run("poll")
    assert (job_status(job), Attempt.objects.count()) == (Status.FAILED, 1)


def test_another_attempt_is_bounded_at_the_price_of_its_own_day(api: FakeApi, job: Job) -> None:
    spec = ModelSpec.objects.get(pk="gpt-6-sol")
    spec.price_set.create(valid_from=timezone.now().date(), input=20, output=100, source="test")
    api.put(job, "failed", **FAILED_UPSTREAM)
    api.run("poll")
    assert the(job, 2).worst_case > 9 * job.worst_case
    assert BudgetPeriod.objects.get().held == the(job, 2).worst_case


def test_a_charge_of_three_times_the_hold_is_booked_whole_with_an_alarm(api: FakeApi, job: Job) -> None:
    api.put(job, "completed", usage={"input_tokens": 1_000, "output_tokens": 60_000, "total_tokens": 61_000})
    api.run("poll")
    assert job_cost(job) == Decimal("0.602")
    assert alarms() == ["overrun"]
    assert "cost 0.6020 USD" in Notice.objects.get().message


@pytest.mark.parametrize(
    ("tier", "factor", "odd"),
    [
        ("default", 1, []),
        ("priority", 2, []),
        ("flex", Decimal("0.5"), []),
        ("warp", 6, ["unknown_tier"]),  # the dearest there is: a guess must not be cheap
    ],
)
def test_the_tier_that_answered_decides_the_price(
    api: FakeApi, job: Job, tier: str, factor: Decimal, odd: list[str]
) -> None:
    api.put(job, "completed", service_tier=tier)
    api.run("poll")
    assert job_cost(job) == Decimal("0.022") * factor
    assert the(job).service_tier == tier
    assert alarms() == odd


@pytest.mark.parametrize(
    ("model", "cost", "odd"),
    [
        pytest.param("gpt-6-sol-2026-09-22", "0.022", [], id="a snapshot settles at its model's row"),
        pytest.param("gpt-6-astra", "0.11", [], id="another model we know settles at its own row"),
        pytest.param("gpt-99", "0.022", ["unknown_model"], id="an unknown one never at 0, and with an alarm"),
        pytest.param("unpriced", "0.022", ["unknown_model"], id="nor one without a price"),
        pytest.param(None, "0.022", [], id="none named is the one asked"),
    ],
)
def test_the_model_that_answered_decides_the_price_row(
    api: FakeApi, job: Job, model: str | None, cost: str, odd: list[str]
) -> None:
    ModelSpec.objects.create(
        id="unpriced",
        name="U",
        family="u",
        rung=1,
        context_window=1,
        max_output_tokens=1,
        default_effort="low",
    )
    api.put(job, "completed", model=model)
    api.run("poll")
    assert job_cost(job) == Decimal(cost)
    assert alarms() == odd


def test_oddities_of_a_watched_response_are_said_once(api: FakeApi, job: Job) -> None:
    api.put(job, "cancelled", model="gpt-99", service_tier="warp")
    api.run("poll", "poll", "poll")
    assert sorted(alarms()) == ["unknown_model", "unknown_tier"]


def test_usage_that_grows_while_it_is_watched_is_adjusted_to(api: FakeApi, job: Job) -> None:
    api.put(job, "cancelled")
    api.run("poll")
    api.put(job, "cancelled", usage=USAGE | {"output_tokens": 3_000, "total_tokens": 4_000})
    api.run("poll", "poll")
    assert [row[:2] for row in booked(job)] == [("release", ""), ("charge", "usage"), ("adjust", "usage")]
    assert job_cost(job) == Decimal("0.032")
    # Once it was known, a weaker basis does not take its place.
    api.put(job, "cancelled", usage=None)
    api.run("poll")
    assert job_cost(job) == Decimal("0.032")
    assert the(job).usage["output_tokens"] == 3_000


def test_the_whole_body_and_the_request_id_are_kept(api: FakeApi, job: Job) -> None:
    api.put(job, "incomplete", odd={"deeply": ["nested"]})
    api.run("poll")
    assert RawResponse.objects.get().body["odd"] == {"deeply": ["nested"]}
    assert (the(job).request_id, job_reason(job)) == ("req_1", "max_output_tokens")


@pytest.mark.parametrize("details", [None, "length", {"reason": None}, {"reason": ["a"]}])
def test_an_incomplete_answer_whose_reason_is_not_as_documented_still_ends(
    api: FakeApi, job: Job, details: Any
) -> None:
    api.put(job, "incomplete", incomplete_details=details)
    api.run("poll")
    assert job_status(job) == Status.INCOMPLETE


def test_a_job_that_needs_answers_can_be_finished_without(api: FakeApi, job: Job) -> None:
    call = {"type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": "{}"}
    api.put(job, "completed", output=[{**call, "status": "completed"}])
    api.run("poll")
    assert job_status(job) == Status.REQUIRES_ACTION
    assert Answer.objects.get().calls == [call]
    assert lifecycle.finish_without_answering(job.pk, by=job.submitted_by)
    assert not lifecycle.finish_without_answering(job.pk)
    assert job_status(job) == Status.COMPLETED
    assert Event.objects.filter(kind="finished_without_answering").count() == 1


def test_half_an_answer_gives_way_to_the_whole(api: FakeApi, job: Job) -> None:
    api.put(job, "cancelled", output=[message("Half of")])
    api.run("poll")
    api.put(job, "completed", output=[message("Half of it is true.")])
    api.run("poll")
    assert (job_status(job), job.answer.text) == (Status.COMPLETED, "Half of it is true.")


def job_status(job: Job) -> str:
    job.refresh_from_db()
    return job.status


def job_cost(job: Job) -> Decimal:
    job.refresh_from_db()
    return job.cost


def job_reason(job: Job) -> str:
    job.refresh_from_db()
    return job.incomplete_reason


@pytest.mark.parametrize("caps", [0, 2], ids=["one budget", "three budgets"])
@pytest.mark.parametrize("tags", [("a",), tuple("abcde")], ids=["one tag", "five tags"])
def test_an_end_takes_as_many_queries_whatever_it_counts_in(
    api: FakeApi,
    submit: Submit,
    person: User,
    caps: int,
    tags: tuple[str, ...],
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    real = a_project("real", is_practice=False, members={person: Role.MANAGER})
    for user in [None, person][:caps]:
        spend.set_cap(Decimal(50), user=user)
    job = submit(to=real, tags=tags)
    api.run("send")
    attempt = the(job)
    body = api.body(attempt.response_id, "completed")
    # Two of them are the savepoint in which a test runs a transaction.
    with django_assert_num_queries(23):
        ending.observe_end(attempt.pk, body)
    job.refresh_from_db()
    assert (job.status, job.cost, job.answer.text) == ("completed", Decimal("0.022"), "The lemma is true.")
    assert BudgetPeriod.objects.filter(spent=job.cost, held=0).count() == 1 + caps
