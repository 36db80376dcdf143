"""Rate limits: what one cluster is told holds for all of a connection, and one job's limit for no other."""

import datetime as dt

import pytest
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django.fixtures import Settings

from jobs import lifecycle
from jobs.lifecycle import claiming, polling, sending
from jobs.models import Attempt, AttemptState, Connection, Job, Project, Status, User
from jobs.openai_client import Retryable
from tests.factories import a_spec
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit
from tests.sandbox_process import SandboxProcess

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]


def too_fast(seconds: float | None = None) -> Retryable:
    return Retryable("Slow down.", code="rate_limit_exceeded", status=429, retry_after=seconds)


def rests() -> float:
    """Return the seconds for which nothing is sent through the connection; 0 when it is free."""
    until = Connection.objects.get().not_before
    return max(0.0, (until - timezone.now()).total_seconds()) if until else 0.0


def the(job: Job) -> Attempt:
    return Attempt.objects.get(job=job)


def test_what_one_installation_is_told_to_wait_holds_back_all(
    api: FakeApi, submit: Submit, settings: Settings
) -> None:
    submit()
    api.replies.append(too_fast(30))
    lifecycle.run_pump("send")
    submit()
    settings.INSTANCE = "the-other-machine"
    lifecycle.run_pump("send")
    assert claiming.claim_sends(64) == []
    assert len(api.posts) == 1
    assert 28 < rests() <= 30
    Connection.objects.update(not_before=Now())
    assert len(claiming.claim_sends(64)) == 1


def test_a_poll_that_is_told_to_wait_holds_back_sends_and_polls_of_all(
    api: FakeApi, submit: Submit, settings: Settings
) -> None:
    first, second = submit(), submit()
    api.run("send")
    api.lose(first, too_fast(30))
    Job.objects.filter(pk=first.pk).update(next_action_at=Now())
    Job.objects.filter(pk=second.pk).update(next_action_at=Now() + dt.timedelta(minutes=9))
    lifecycle.run_pump("poll")
    assert 28 < rests() <= 30
    settings.INSTANCE = "the-other-machine"
    submit()
    Job.objects.filter(status=Status.QUEUED).update(next_action_at=Now())
    assert (claiming.claim_sends(64), polling.claim_polls(64)) == ([], [])
    second.refresh_from_db()
    assert second.next_action_at == Connection.objects.get().not_before, "asked for when the wait is over"


@pytest.mark.parametrize("act", ["send", "poll"])
def test_the_last_request_of_a_limit_lets_the_connection_rest_before_it_is_refused(
    api: FakeApi, submit: Submit, act: str
) -> None:
    job = submit()
    api.rest = 20 if act == "send" else None
    api.run("send")
    assert (rests() > 18) is (act == "send")
    assert the(job).state == AttemptState.KNOWN
    api.rest = 20
    api.run("poll")
    assert 18 < rests() <= 20
    submit()
    assert claiming.claim_sends(64) == []


def test_an_answer_in_the_apis_own_headers_lets_the_connection_rest(
    person: User, wired: Project, sandbox: SandboxProcess
) -> None:
    sandbox.faults(remaining_requests=0, reset_requests="6h0m0s")
    job = lifecycle.submit(a_spec(wired, person, prompt="[[sandbox: seconds=60]]", model="gpt-6-sol"))
    lifecycle.run_pump("send")
    assert the(job).state == AttemptState.KNOWN
    assert 55 < rests() <= 60, "the rest of a limit per day is for the API to refuse"


def test_a_job_larger_than_its_limit_backs_off_alone(
    api: FakeApi, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    monkeypatch.setattr(sending.random, "uniform", lambda _, most: asked.append(most) or 0.0)  # type: ignore[func-returns-value]
    large = submit()
    api.replies.append(too_fast(60))
    api.run("send")
    assert rests() > 55, "the first time nobody knows whose limit it is"
    Connection.objects.update(not_before=None)
    # Others are accepted meanwhile, and it is refused again.
    Job.objects.filter(pk=large.pk).update(next_action_at=None)
    submit()
    api.run("send")
    Connection.objects.update(accepted_at=timezone.now())
    Job.objects.filter(status=Status.WAITING).update(next_action_at=Now())
    Attempt.objects.filter(job=large).update(tries=9)
    api.replies.append(too_fast(60))
    lifecycle.run_pump("send")
    assert rests() == 0
    assert the(large).tries == 10
    assert asked[-1] == 600
    large.refresh_from_db()
    assert large.next_action_at is not None
    assert (large.next_action_at - timezone.now()).total_seconds() > 58
    small = submit()
    lifecycle.run_pump("send")
    assert the(small).state == AttemptState.KNOWN
    # Nobody else has been accepted since: it may be everybody's limit again.
    Connection.objects.update(accepted_at=timezone.now() - dt.timedelta(minutes=1))
    Job.objects.filter(pk=large.pk).update(next_action_at=Now())
    api.replies.append(too_fast(60))
    lifecycle.run_pump("send")
    assert rests() > 55
