"""Completion windows: what is sent, what is held, by when it is stopped, and what a refusal says."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db.models import F

from jobs import lifecycle
from jobs.lifecycle import SpecError
from jobs.models import Connection, Job, Kind, LedgerEntry, ModelSpec, Project, Status, User
from jobs.openai_client import WINDOW_REFUSED
from tests.factories import a_spec
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit
from tests.jobs.reconcile.conftest import SOON, pump
from tests.sandbox_process import SandboxProcess

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]


def test_a_window_is_sent_only_where_one_is_wanted(api: FakeApi, submit: Submit) -> None:
    submit()
    submit(window="2h")
    api.run("send")
    assert sorted(str(body.get("background_options")) for body in api.posts) == [
        "None",
        "{'completion_window': '2h'}",
    ]
    assert {body["background"] for body in api.posts} == {True}


@pytest.mark.parametrize(("window", "part"), [("soonest", "1"), ("2h", "0.7"), ("8h", "0.6")])
def test_what_can_wait_holds_less(submit: Submit, window: str, part: str) -> None:
    assert submit(window=window).worst_case == submit().worst_case * Decimal(part)


@pytest.mark.parametrize(("window", "hours"), [("soonest", 24), ("2h", 26), ("8h", 32)])
def test_what_can_wait_is_stopped_so_much_later(
    api: FakeApi, submit: Submit, window: str, hours: int
) -> None:
    job = submit(window=window)
    api.run("send")
    job.refresh_from_db()
    assert job.deadline_at
    assert job.sent_at
    assert job.deadline_at - job.sent_at == dt.timedelta(hours=hours)


@pytest.mark.parametrize("window", ["2h", "1h", ""])
def test_a_model_without_the_window_is_refused_before_anything_is_held(submit: Submit, window: str) -> None:
    ModelSpec.objects.filter(pk="gpt-6-sol").update(completion_windows=["soonest", "8h"])
    with pytest.raises(SpecError) as refused:
        submit(window=window)
    assert refused.value.errors == {
        "window": "This model has no waiting discount. Run it as soon as possible?"
    }
    assert not LedgerEntry.objects.exists()


def test_only_openai_has_windows(submit: Submit, person: User) -> None:
    job = submit(window="8h")
    Connection.objects.update(kind=Kind.AZURE)
    with pytest.raises(SpecError, match="no waiting discount"):
        submit(to=Project.objects.get(), window="8h")
    job = Job.objects.select_related("project__connection", "prompt").get(pk=job.pk)
    assert lifecycle.asked(job, by=person).window == "soonest"


def test_a_waiting_job_moved_to_where_there_is_no_discount_is_not_sent(api: FakeApi, submit: Submit) -> None:
    can_wait, plain = submit(window="8h"), submit()
    Connection.objects.update(kind=Kind.COMPATIBLE)
    api.run("send")
    rows = Job.objects.order_by("pk").values_list("pk", "status", "error_code")
    assert list(rows) == [(can_wait.pk, Status.FAILED, WINDOW_REFUSED), (plain.pk, Status.QUEUED, "")]
    assert len(api.posts) == 1


def test_a_job_asked_again_may_wait_as_long(submit: Submit, person: User) -> None:
    assert lifecycle.asked(submit(window="8h"), by=person).window == "8h"


def test_a_successor_without_the_window_answers_at_once(submit: Submit, person: User) -> None:
    job = submit(window="8h")
    today = dt.date(2026, 11, 23)
    ModelSpec.objects.filter(pk="gpt-6-sol").update(shutdown_date=today, successor="gpt-6.1-sol")
    ModelSpec.objects.filter(pk="gpt-6.1-sol").update(completion_windows=["soonest"])
    wanted = lifecycle.successor_spec(
        lifecycle.asked(job, by=person), ModelSpec.objects.get(pk="gpt-6-sol"), today
    )
    assert (wanted.model, wanted.window) == ("gpt-6.1-sol", "soonest")


def test_the_same_form_with_another_window_is_another_job(submit: Submit) -> None:
    key = "0b1c7e3e-5a3e-4a51-8c65-2f6f2f1f0a11"
    first = submit(submission_key=key, window="8h")
    assert submit(submission_key=key, window="8h") == first
    assert submit(submission_key=key, window="2h") != first


def test_a_window_is_charged_to_the_last_digit(person: User, wired: Project, sandbox: SandboxProcess) -> None:
    prompt = f"Is it so? {SOON.format('')}"
    job = lifecycle.submit(
        a_spec(wired, person, prompt=prompt, model="gpt-6-sol", mode="standard", window="8h")
    )
    job = pump(job)
    assert job.status == Status.COMPLETED
    assert job.cost == Decimal(sandbox.log()["responses"][0]["bill"]["amount"])
    (usage,) = job.attempt_set.values_list("usage", flat=True)
    assert job.cost == (usage["input_tokens"] * 2 + usage["output_tokens"] * 10) * Decimal("0.6") / 1_000_000


def test_a_refused_window_costs_nothing_and_is_called_what_it_is(
    person: User, wired: Project, sandbox: SandboxProcess
) -> None:
    prompt = f"Is it so? {SOON.format('window=refused')}"
    job = pump(
        lifecycle.submit(
            a_spec(wired, person, prompt=prompt, model="gpt-6-sol", mode="standard", window="8h")
        )
    )
    assert (job.status, job.error_code, job.cost) == (Status.FAILED, WINDOW_REFUSED, 0)
    at_once = lifecycle.submit(a_spec(wired, person, prompt=prompt, model="gpt-6-sol", mode="standard"))
    assert pump(at_once).status == Status.COMPLETED


def test_a_deadline_counts_from_the_acceptance_also_when_it_is_heard_of_late(
    api: FakeApi, resent: Job
) -> None:
    Job.objects.update(window="2h")
    api.run("send")
    resent.refresh_from_db()
    Job.objects.filter(pk=resent.pk, deadline_at__gt=F("sent_at") + dt.timedelta(hours=25)).get()
