"""Guard rails of the new-job page: where less would do, it says so, and rests it on what is known."""

import datetime as dt
import re
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import strip_tags

from jobs import forecast
from jobs.access import Role
from jobs.models import DailySpend, Job, ModelSpec, Price, Project, Status, User, Verdict, VerdictValue
from jobs.views import advice
from tests.factories import a_project
from tests.jobs.views.states import a_job
from tests.jobs.views.test_new_job import html, price, send, typed

pytestmark = pytest.mark.django_db

LONG = "Is the lemma true without compactness, step by step? " * 8


@pytest.fixture(autouse=True)
def before_the_shutdown(settings: Any) -> None:
    settings.PONDER_TODAY = dt.date(2026, 11, 22)


@pytest.fixture
def project(mira: User) -> Project:
    return a_project(cap="1000", members={mira: Role.SUBMITTER})


@pytest.fixture
def signed_in(client: Client, mira: User, project: Project) -> Client:
    client.force_login(mira)
    return client


def said(client: Client, **changed: Any) -> str:
    part = re.search(r'hx-target="#advice".*?</hx-partial>', price(client, **changed), re.DOTALL)
    assert part
    return " ".join(strip_tags(f"<i {part[0]}").split())


def judged(project: Project, by: User, right: int, wrong: int, **spec: Any) -> None:
    for number in range(right + wrong):
        job = a_job(project, by, "completed", spec={"model": "o3", "mode": "standard", **spec})
        value = VerdictValue.RIGHT if number < right else VerdictValue.WRONG
        Verdict.objects.create(job=job, value=value, by=by)


def spent(project: Project, by: User, model: str, jobs: int, day: dt.date = dt.date(2026, 11, 3)) -> None:
    DailySpend.objects.create(
        spent_on=day,
        project=project,
        model_id=model,
        effort="high",
        user=by,
        cost=Decimal("84"),
        jobs=jobs,
        input_tokens=200_000,
        cached_tokens=100_000,
        output_tokens=1_000_000,
        reasoning_tokens=900_000,
        buckets=[],
    )


def test_a_short_question_for_a_dear_model_at_high_effort_is_asked_back(signed_in: Client) -> None:
    assert re.fullmatch(
        r"Short question for o3-pro high. o3 is often enough. Try o3 first, about \$0\.\d\d", said(signed_in)
    )
    assert said(signed_in, prompt=LONG) == ""
    assert said(signed_in, effort="medium") == ""
    assert said(signed_in, model="o3") == ""


def test_the_first_page_says_it_too(signed_in: Client, project: Project) -> None:
    Project.objects.update(default_effort="high")
    assert "Short question for" in html(signed_in)


def test_pro_mode_is_held_against_the_same_model_without(signed_in: Client) -> None:
    text = price(signed_in, model="gpt-5.6-sol", mode="pro")
    assert "Short question for gpt-5.6-sol pro high." in text
    assert "Try gpt-5.6-sol first" in text
    assert 'data-choose="mode-standard"' in text


def test_verdicts_are_better_evidence_than_length(
    signed_in: Client, project: Project, mira: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "ENOUGH", 4)
    judged(project, mira, 3, 1)
    for prompt in ("Is it so?", LONG):
        assert said(signed_in, prompt=prompt).startswith("o3 was enough in 75% of 4 jobs like this. Try o3")
    assert said(signed_in, effort="low") == ""
    # Where it is mostly wrong nothing speaks for it, however short the question.
    judged(project, mira, 0, 4)
    assert said(signed_in) == ""


def test_verdicts_of_other_projects_models_and_doubters_count_for_nothing(
    signed_in: Client, project: Project, mira: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "ENOUGH", 1)
    judged(a_project("other", members={mira: Role.SUBMITTER}), mira, 1, 0)
    judged(project, mira, 1, 0, model="gpt-6-sol")
    job = a_job(project, mira, "completed", spec={"model": "o3", "mode": "standard"})
    Verdict.objects.create(job=job, value=VerdictValue.UNSURE, by=mira)
    assert said(signed_in).startswith("Short question")


def test_a_project_that_sends_volume_is_told_what_less_would_have_cost(
    signed_in: Client, project: Project, mira: User
) -> None:
    spent(project, mira, "o3-pro", advice.VOLUME)
    spent(project, mira, "o3-pro", 400, dt.date(2026, 10, 30))
    spent(project, mira, "o3", 400)
    text = said(signed_in, prompt=LONG, effort="low")
    assert text.startswith("50 jobs of this project went to o3-pro this month, for $84.00.")
    # 100,000 × $2 + 100,000 × $0.50 + 1,000,000 × $8, per million.
    assert "The same tokens on o3 would have cost $8.25." in text
    DailySpend.objects.filter(jobs=advice.VOLUME).update(jobs=advice.VOLUME - 1)
    assert said(signed_in, prompt=LONG) == ""


def test_a_model_that_cannot_do_the_job_is_not_advised(signed_in: Client) -> None:
    ModelSpec.objects.filter(family="o-series", rung__lt=80).update(capabilities=[])
    schema = '{"type":"object","properties":{},"required":[],"additionalProperties":false}'
    assert "Try o3 " in said(signed_in)
    assert "Try o3 " not in said(signed_in, schema=schema, schema_name="facts")
    functions = '[{"type":"function","name":"f","parameters":' + schema + "}]"
    assert "Try o3 " not in said(signed_in, tools=functions)


def test_a_model_the_project_does_not_use_is_not_advised(signed_in: Client, project: Project) -> None:
    project.allowed_models.set(["o3-pro", "gpt-6-sol"])
    assert "gpt-6-sol is often enough" in said(signed_in)
    project.allowed_models.set(["o3-pro"])
    assert said(signed_in) == ""


def test_advice_is_taken_by_a_click_without_script(signed_in: Client) -> None:
    text = signed_in.post("/jobs/new/", typed(use_model="o3 standard")).content.decode()
    assert 'value="o3" checked' in text
    assert not Job.objects.exists()


def test_advice_costs_one_query_and_none_on_a_small_model(
    signed_in: Client, project: Project, mira: User
) -> None:
    for model, most in (("o3-pro", 10), ("o3", 9)):
        with CaptureQueriesContext(connection) as asked:
            price(signed_in, model=model)
        assert len(asked) <= most, model


def test_much_to_read_is_priced_before_it_is_sent(signed_in: Client) -> None:
    text = price(signed_in, prompt="four" * 163_000)
    assert "This is 163,000 tokens of input, $3.26 before it starts thinking." in text
    assert "before it starts thinking" not in price(signed_in, prompt="four" * 149_000)
    assert "before it starts thinking" not in price(signed_in, prompt="four" * 163_000, model="nothing")


def test_a_job_still_running_is_pointed_out_however_old(
    signed_in: Client, project: Project, mira: User
) -> None:
    same = {"prompt": "Is lemma 4.7 true?", "effort": "high", "model": "o3-pro"}
    job = a_job(project, mira, Status.IN_PROGRESS, spec=same)
    for ago, words in (
        (dt.timedelta(minutes=4), "4 minutes ago"),
        (dt.timedelta(hours=1), "1 hour ago"),
        (dt.timedelta(days=3), "3 days ago"),
    ):
        Job.objects.filter(pk=job.pk).update(created_at=timezone.now() - ago)
        assert f"You asked this {words} and it is still running." in price(signed_in)
    Job.objects.filter(pk=job.pk).update(status=Status.WAITING)
    assert "and it is still waiting." in price(signed_in)
    Job.objects.filter(pk=job.pk).update(status=Status.FAILED)
    assert "asked this" not in price(signed_in)
    Job.objects.filter(pk=job.pk).update(created_at=timezone.now())
    assert "It ended without an answer" in price(signed_in)
    # It may be asked again all the same.
    assert send(signed_in).status_code == 302


def test_what_less_would_have_cost_needs_a_price(project: Project, mira: User) -> None:
    smaller = Price.objects.filter(model="o3").latest("valid_from")
    found = forecast.experience(
        project,
        ModelSpec.objects.get(pk="o3-pro"),
        smaller=smaller,
        smaller_mode="standard",
        since=dt.date(2026, 11, 1),
    )
    assert found == forecast.Experience(judged=0, right=0, sent=0, cost=Decimal(0), instead=Decimal(0))
