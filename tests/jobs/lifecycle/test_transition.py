"""What the log says of a job on its way, and what it does not."""

import logging
from typing import Any

import pytest
from django.db import transaction
from pytest_django import DjangoCaptureOnCommitCallbacks

from jobs import lifecycle
from jobs.lifecycle.transition import tell
from jobs.models import Attempt, Event
from jobs.openai_client import BorderError, OutcomeUnknown, Retryable
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = pytest.mark.django_db


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log at INFO."""
    caplog.set_level(logging.INFO, logger="jobs")
    return caplog


def test_each_step_of_a_job_is_a_line_with_its_ids(
    submit: Submit,
    api: FakeApi,
    log: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        job = submit()
        api.run("send")
        api.put(job, "completed")
        api.run("poll")
    about = [line for line in log.records if line.__dict__.get("job") == job.short_id]
    assert [line.getMessage() for line in about] == ["submitted", "accepted", "completed"]
    attempt = Attempt.objects.get(job=job)
    assert {line.__dict__["attempt"] for line in about[1:]} == {attempt.pk}
    assert {line.__dict__["connection"] for line in about} == {attempt.connection.name}


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (Retryable("canary", code="canary"), "put_off"),
        (OutcomeUnknown("canary", code="canary"), "unconfirmed"),
    ],
)
def test_what_an_api_says_is_in_no_line(
    submit: Submit,
    api: FakeApi,
    log: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    error: BorderError,
    word: str,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        submit()
        api.replies.append(error)
        api.run("send")
    assert word in [line.getMessage() for line in log.records]
    assert "canary" not in str([line.__dict__ for line in log.records])


def test_a_pause_and_its_end_are_lines_without_the_reason(
    submit: Submit,
    log: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    connection = submit().project.connection
    with django_capture_on_commit_callbacks(execute=True):
        lifecycle.pause(connection.pk, "canary")
        lifecycle.pause(connection.pk, "again")
        lifecycle.resume(connection.pk)
    said = [(line.getMessage(), line.__dict__.get("connection")) for line in log.records]
    assert said[-2:] == [("paused", connection.name), ("resumed", connection.name)]
    assert "canary" not in str([line.__dict__ for line in log.records])


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_no_line(submit: Submit, log: pytest.LogCaptureFixture) -> None:
    job = submit()
    before = len(log.records)
    with transaction.atomic():
        tell(job.pk, "accepted")
        transaction.set_rollback(True)
    assert len(log.records) == before
    assert not Event.objects.filter(kind="accepted").exists()


def test_at_its_usual_level_the_log_asks_nothing(
    submit: Submit, caplog: pytest.LogCaptureFixture, django_assert_num_queries: Any
) -> None:
    job = submit()
    caplog.set_level(logging.WARNING, logger="jobs")
    with django_assert_num_queries(1):
        tell(job.pk, "accepted")
    assert not caplog.records
