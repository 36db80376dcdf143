"""Ways on from a job that stopped too early: each with its price, and one click makes one job of it."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from jobs import spend
from jobs.access import Role
from jobs.models import Attempt, AttemptState, Job, ModelSpec, Price, Project, Prompt, Status, User
from tests.factories import a_project
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db
KEY = "0b1c7e3e-5a3e-4a51-8c65-2f6f2f1f0a11"


def stopped(project: Project, by: User, **fields: Any) -> Job:
    spec = {"model": "gpt-6-astra", "mode": "standard", "effort": "high", **fields.pop("spec", {})}
    return a_job(project, by, Status.INCOMPLETE, incomplete_reason="max_output_tokens", spec=spec, **fields)


def ways(client: Client, job: Job) -> dict[str, Any]:
    return {way.key: way for way in client.get(job.get_absolute_url()).context["ways"]}


def take(client: Client, job: Job, way: str) -> HttpResponse:
    path = f"{job.get_absolute_url()}again/"
    return client.post(path, {"way": way, "submission_key": KEY})  # type: ignore[return-value]


def test_each_way_says_what_it_costs_and_that_is_what_is_held(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = stopped(project, mira)
    found = ways(signed_in, job)
    assert list(found) == ["limit", "effort", "model"]
    assert [way.button for way in found.values()] == [
        "Run with 40,000",
        "Run on medium",
        "Run on gpt-5.6-sol",
    ]
    for key, way in found.items():
        assert 0 < way.low <= way.high <= way.ceiling
        take(signed_in, job, key)
        new = Job.objects.latest("pk")
        assert (new.worst_case, new.rerun_of) == (way.ceiling, job)
        for name, value in way.changes.items():
            assert str(getattr(new, f"{name}_id" if name == "model" else name)) == str(value)
    # It has just been seen to need all of its limit.
    assert found["limit"].low >= job.cost
    assert found["model"].ceiling < job.worst_case


def test_a_double_click_runs_it_once(signed_in: Client, project: Project, mira: User) -> None:
    job = stopped(project, mira)
    assert len({take(signed_in, job, "limit")["Location"] for _ in range(2)}) == 1
    assert Job.objects.count() == 2


def test_a_way_over_the_limit_per_job_is_asked_for(signed_in: Client, project: Project, mira: User) -> None:
    job = stopped(project, mira)
    Project.objects.update(job_limit=job.worst_case)
    found = ways(signed_in, job)
    assert found["limit"].problem.startswith("Over the $")
    assert found["effort"].problem == ""
    page = signed_in.get(job.get_absolute_url()).content.decode()
    assert 'value="limit">Ask for approval</button>' in page
    assert 'value="effort"' in page
    assert len({take(signed_in, job, "limit")["Location"] for _ in range(2)}) == 1
    asked = Job.objects.exclude(pk=job.pk).get()
    assert (asked.status, asked.rerun_of, asked.max_output_tokens) == (
        Status.AWAITING_APPROVAL,
        job,
        2 * job.max_output_tokens,
    )
    assert not asked.attempt_set.exists()


def test_a_way_that_the_cap_refuses_is_said_in_words(signed_in: Client, project: Project, mira: User) -> None:
    job = stopped(project, mira)
    spend.set_cap(job.cost + Decimal("0.10"), project=project)
    page = signed_in.post(f"{job.get_absolute_url()}again/", {"way": "effort"}, follow=True)
    assert "$0.10 is left this month in Proofs" in page.content.decode()
    assert "Nothing was sent." in page.content.decode()
    assert Job.objects.count() == 1


@pytest.mark.parametrize("way", ["", "cheapest", "model; drop"])
def test_a_way_that_is_not_offered_is_none(signed_in: Client, project: Project, mira: User, way: str) -> None:
    job = stopped(project, mira)
    page = signed_in.post(f"{job.get_absolute_url()}again/", {"way": way}, follow=True)
    assert "That way is not open any more." in page.content.decode()


def test_no_way_leads_to_a_model_that_is_off_has_no_price_or_is_not_used_here(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = stopped(project, mira)
    ModelSpec.objects.filter(pk="gpt-5.6-sol").update(shutdown_date="2020-01-01")
    Price.objects.filter(model="gpt-6.1-sol").delete()
    assert ways(signed_in, job)["model"].changes["model"] == "gpt-6-sol"
    project.allowed_models.add(ModelSpec.objects.get(pk="gpt-6-astra"))
    assert "model" not in ways(signed_in, job)
    ModelSpec.objects.filter(pk="gpt-6-astra").update(shutdown_date="2020-01-01")
    assert ways(signed_in, job) == {}


def test_no_way_leaves_the_efforts_and_limits_of_project_and_model(
    signed_in: Client, project: Project, mira: User
) -> None:
    most = ModelSpec.objects.get(pk="gpt-6-astra").max_output_tokens
    job = stopped(project, mira, max_output_tokens=most)
    Project.objects.update(allowed_efforts=["high"])
    assert list(ways(signed_in, job)) == ["model"]
    Job.objects.update(effort="low")
    Project.objects.update(allowed_efforts=["xhigh"])
    assert ways(signed_in, job) == {}


def test_a_smaller_model_is_offered_only_where_its_ceiling_is_known(
    signed_in: Client, project: Project, mira: User
) -> None:
    first, job = a_job(project, mira, Status.COMPLETED), stopped(project, mira)
    Job.objects.filter(pk=job.pk).update(previous=first, root=first)
    assert "model" not in ways(signed_in, job)
    Job.objects.filter(pk=job.pk).update(previous=None, root=None, max_tool_calls=2)
    assert "model" not in ways(signed_in, job)
    Job.objects.filter(pk=job.pk).update(max_tool_calls=None)
    Prompt.objects.filter(job=job).update(tools=[{"type": "function", "name": "f"}])
    ModelSpec.objects.exclude(pk="gpt-6-astra").update(capabilities=["background"])
    assert "model" not in ways(signed_in, job)


def past(
    job: Job, number: int, *, done: int, output: int = 30_000, limit: int = 40_000, **fields: Any
) -> None:
    """Make jobs of the kind of a job, `done` of them completed, each with `output` tokens."""
    like = {name: getattr(job, name) for name in ("project", "submitted_by", "model", "effort", "mode")}
    like |= {"max_output_tokens": limit, "input_bound": 1, "worst_case": 0, "fingerprint": "f", **fields}
    jobs = Job.objects.bulk_create(
        Job(**like, status=Status.COMPLETED if place < done else Status.INCOMPLETE) for place in range(number)
    )
    attempt = Attempt.objects.get(job=job)
    Attempt.objects.bulk_create(
        Attempt(
            job=one,
            number=1,
            connection=one.project.connection,
            price=attempt.price,
            worst_case=0,
            state=AttemptState.ENDED,
            usage={"input_tokens": 1, "output_tokens": output},
        )
        for one in jobs
    )


def told(client: Client, job: Job) -> dict[str, str]:
    """Return what the page says for each way, and which has the best odds."""
    page = client.get(job.get_absolute_url())
    found = page.context["ways"]
    best = [way.title for way in found if way.is_best]
    assert [title for title in best if f"<b>{title}<em>Best odds</em></b>" in page.content.decode()] == best
    assert page.content.decode().count("Best odds") == len(best) <= 1
    return {way.key: way.why for way in found} | {"best": best[0] if best else ""}


def test_the_best_odds_are_told_from_ten_jobs_on(signed_in: Client, project: Project, mira: User) -> None:
    job = stopped(project, mira)
    past(job, 9, done=8)
    # Neither what needed less, nor what had no more room than this one, nor another kind says anything.
    past(job, 5, done=5, output=8_999)
    past(job, 5, done=0, output=20_000, limit=20_000)
    past(job, 5, done=5, effort="low")
    assert told(signed_in, job)["best"] == ""
    past(job, 2, done=2, output=40_001, limit=80_000)
    found = told(signed_in, job)
    assert found["limit"] == "8 of 11 jobs that needed more than 20,000 finished within this."
    assert found["best"] == "Raise the limit to 40,000 tokens"
    assert found["effort"].startswith("Same limit.")


def test_a_way_by_which_most_jobs_failed_is_told_and_is_not_the_best(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = stopped(project, mira)
    past(job, 10, done=4)
    found = told(signed_in, job)
    assert found["limit"] == "4 of 10 jobs that needed more than 20,000 finished within this."
    assert found["best"] == ""


def test_a_way_that_cannot_be_gone_is_not_the_best(signed_in: Client, project: Project, mira: User) -> None:
    job = stopped(project, mira)
    past(job, 10, done=10)
    assert told(signed_in, job)["best"] == "Raise the limit to 40,000 tokens"
    project.job_limit = job.worst_case
    project.save()
    found = told(signed_in, job)
    assert found["limit"] == "10 of 10 jobs that needed more than 20,000 finished within this."
    assert found["best"] == ""


def test_another_effort_or_model_is_judged_by_what_was_run_again_there(
    signed_in: Client, project: Project, mira: User
) -> None:
    job, other = stopped(project, mira), stopped(project, mira, spec={"effort": "medium"})
    past(job, 10, done=7)
    lower = {"effort": "medium", "limit": 20_000, "output": 9_000}
    past(job, 30, done=30, **lower)  # begun there
    past(job, 30, done=30, rerun_of=other, **lower)  # another kind of job ran out before
    assert told(signed_in, job)["best"] == "Raise the limit to 40,000 tokens"
    past(job, 10, done=8, rerun_of=job, **lower)
    found = told(signed_in, job)
    assert found["effort"] == "8 of 10 jobs that ran out like this one finished when they were run this way."
    assert found["best"] == "Lower the effort to medium"
    smaller = ModelSpec.objects.get(pk="gpt-5.6-sol")
    past(job, 10, done=8, rerun_of=job, model=smaller, effort="high", limit=20_000, output=9_000)
    # Of two that are as good the cheaper one is better.
    assert told(signed_in, job)["best"] == "Try gpt-5.6-sol first, high effort"


def test_where_the_project_knows_too_little_all_that_one_can_see_counts(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = stopped(project, mira)
    past(job, 4, done=4)
    foreign, real = a_project("foreign"), a_project("real", is_practice=False, members={mira: Role.SUBMITTER})
    for unseen in (foreign, real):
        past(job, 20, done=20, project=unseen)
    assert told(signed_in, job)["best"] == ""
    seen = a_project("seen", members={mira: Role.VIEWER})
    past(job, 6, done=5, project=seen)
    assert told(signed_in, job)["limit"] == "9 of 10 jobs that needed more than 20,000 finished within this."


@pytest.mark.parametrize("reason", ["content_filter", "steered"])
def test_a_job_stopped_for_another_reason_has_only_its_prompt_to_change(
    signed_in: Client, project: Project, mira: User, reason: str
) -> None:
    job = stopped(project, mira)
    Job.objects.update(incomplete_reason=reason)
    page = signed_in.get(job.get_absolute_url())
    assert page.context["ways"] == []
    assert "Change the prompt" in page.content.decode()


def test_a_job_without_its_prompt_has_no_way(signed_in: Client, project: Project, mira: User) -> None:
    job = stopped(project, mira)
    Prompt.objects.all().delete()
    assert "Raise the limit" not in signed_in.get(job.get_absolute_url()).content.decode()
    assert take(signed_in, job, "limit")["Location"] == job.get_absolute_url()
    assert Job.objects.count() == 1


def test_a_slow_job_can_be_run_on_a_smaller_model_beside_it(
    signed_in: Client, project: Project, mira: User
) -> None:
    long_ago = timezone.now() - dt.timedelta(hours=9)
    spec = {"model": "gpt-6-astra", "mode": "standard", "effort": "high"}
    job = a_job(project, mira, Status.IN_PROGRESS, spec=spec, sent_at=long_ago)
    page = signed_in.get(job.get_absolute_url())
    assert "Also run it on gpt-5.6-sol" in page.content.decode()
    take(signed_in, job, "model")
    beside = Job.objects.latest("pk")
    assert (beside.rerun_of, beside.model_id) == (job, "gpt-5.6-sol")
    job.refresh_from_db()
    assert job.status == Status.IN_PROGRESS


def refused_window(project: Project, by: User) -> Job:
    spec = {"model": "gpt-6-astra", "mode": "standard", "window": "8h"}
    return a_job(
        project, by, Status.FAILED, error_code="completion_window_refused", spec=spec, cost=Decimal(0)
    )


def test_a_refused_window_is_one_click_from_being_answered_at_once(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = refused_window(project, mira)
    shown = signed_in.get(job.get_absolute_url())
    assert "This model has no waiting discount" in shown.text
    way = shown.context["at_once"]
    assert way.ceiling * Decimal("0.6") == job.worst_case
    take(signed_in, job, "soonest")
    new = Job.objects.latest("pk")
    assert (new.window, new.rerun_of, new.worst_case) == ("soonest", job, way.ceiling)


def test_only_a_refused_window_is_run_at_once(signed_in: Client, project: Project, mira: User) -> None:
    job = refused_window(project, mira)
    Job.objects.update(error_code="invalid_prompt")
    assert signed_in.get(job.get_absolute_url()).context["at_once"] is None
    take(signed_in, job, "soonest")
    assert Job.objects.count() == 1


def test_what_waiting_saved_stands_with_the_charge(signed_in: Client, project: Project, mira: User) -> None:
    spec = {"model": "gpt-6-astra", "mode": "standard", "window": "8h"}
    job = a_job(project, mira, Status.COMPLETED, answer={"text": "Yes."}, spec=spec)
    shown = signed_in.get(job.get_absolute_url())
    (line,) = shown.context["bill"].lines
    assert line.saved == line.amount * Decimal("0.4") / Decimal("0.6")
    assert "Waiting saved $" in shown.text
    assert "within 8 hours" in shown.text
    Job.objects.update(window="soonest")
    assert "Waiting saved" not in signed_in.get(job.get_absolute_url()).text
