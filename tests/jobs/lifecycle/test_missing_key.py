"""A key that comes from the environment, where one installation has it and another has not."""

import datetime as dt

import pytest
from django.db.models.functions import Now
from django_q.models import OrmQ
from pytest_django.fixtures import Settings

from jobs import lifecycle
from jobs.models import Attempt, Connection, Job, KeySource, Notice, Project, Status
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

KEY = "sk-of-the-environment"


@pytest.fixture(autouse=True)
def _from_environment(project: object, settings: Settings) -> None:
    """Let the connection's key come from the environment, which is not this installation's."""
    Connection.objects.update(key_source=KeySource.ENVIRONMENT)
    settings.OPENAI_API_KEY = ""


def job_status(job: Job) -> str:
    job.refresh_from_db()
    return job.status


def overdue_by(**span: float) -> None:
    Job.objects.update(next_action_at=Now() - dt.timedelta(**span))


def the_connection() -> Connection:
    return Connection.objects.get()


def test_an_installation_without_the_key_leaves_the_jobs_to_the_others(
    api: FakeApi, submit: Submit, settings: Settings
) -> None:
    job = submit()
    api.run("send")
    assert (job_status(job), api.posts, the_connection().paused_at) == (Status.WAITING, [], None)
    settings.OPENAI_API_KEY = KEY
    api.run("send")
    settings.OPENAI_API_KEY = ""
    before = Job.objects.values_list("next_action_at", "claim_token").get()
    lifecycle.run_pump("poll")
    assert api.gets == []
    assert Job.objects.values_list("next_action_at", "claim_token").get() == before
    assert the_connection().paused_at is None
    settings.OPENAI_API_KEY = KEY
    api.put(job, "completed")
    api.run("poll")
    assert job_status(job) == Status.COMPLETED
    assert not Notice.objects.exists()


def test_a_connection_whose_key_is_set_here_goes_on_without_it(api: FakeApi, submit: Submit) -> None:
    Connection.objects.update(key_source=KeySource.STORED)
    job = submit()
    api.run("send")
    api.put(job, "completed")
    api.run("poll")
    assert job_status(job) == Status.COMPLETED


@pytest.mark.parametrize("status", ["waiting", "in flight"])
def test_a_job_that_nobody_takes_shows_why(
    api: FakeApi, submit: Submit, settings: Settings, status: str
) -> None:
    submit()
    if status == "in flight":
        settings.OPENAI_API_KEY = KEY
        api.run("send")
        settings.OPENAI_API_KEY = ""
    overdue_by(seconds=50)
    lifecycle.wake()
    assert the_connection().paused_at is None, "the installation that has the key may be on its way"
    overdue_by(seconds=70)
    lifecycle.wake()
    lifecycle.wake()
    found = the_connection()
    assert (found.paused_by, found.paused_reason.startswith("no_key: OPENAI_API_KEY is not set")) == (
        None,
        True,
    )
    assert Notice.objects.get().kind == "connection_paused"


def test_a_finished_job_that_nobody_asks_for_its_usage_shows_why(
    api: FakeApi, submit: Submit, settings: Settings
) -> None:
    settings.OPENAI_API_KEY = KEY
    job = submit()
    api.run("send")
    api.put(job, "completed", usage=None)
    api.run("poll")
    settings.OPENAI_API_KEY = ""
    overdue_by(seconds=50)
    lifecycle.wake()
    assert the_connection().paused_at is None
    overdue_by(seconds=70)
    lifecycle.wake()
    assert job_status(job) == Status.COMPLETED
    assert the_connection().paused_reason.startswith("no_key: OPENAI_API_KEY is not set")
    settings.OPENAI_API_KEY = KEY
    lifecycle.wake()
    api.put(job, "completed")
    api.run("poll")
    assert (the_connection().paused_at, Job.objects.get().next_action_at) == (None, None)


def test_the_connection_it_was_sent_through_is_the_one_that_shows_why(
    api: FakeApi, submit: Submit, project: Project, settings: Settings
) -> None:
    settings.OPENAI_API_KEY = KEY
    submit()
    api.run("send")
    settings.OPENAI_API_KEY = ""
    sent_through = the_connection()
    moved_to = Connection.objects.create(
        name="Elsewhere", base_url="https://elsewhere.example/v1", key_source=KeySource.ENVIRONMENT
    )
    Project.objects.filter(pk=project.pk).update(connection=moved_to)
    overdue_by(seconds=70)
    lifecycle.wake()
    assert list(Connection.objects.filter(paused_at__isnull=False)) == [sent_through]


def test_a_job_that_waits_for_room_is_nobodys_neglect(
    api: FakeApi, submit: Submit, settings: Settings
) -> None:
    settings.OPENAI_API_KEY = KEY
    submit()
    api.run("send")
    waiting = submit()
    settings.OPENAI_API_KEY = ""
    overdue_by(seconds=70)
    Job.objects.exclude(pk=waiting.pk).update(next_action_at=Now())
    lifecycle.wake()
    assert the_connection().paused_at is None
    # Of a response that has ended nobody is asked for on time.
    Attempt.objects.exclude(job=waiting).update(end_seen_at=Now())
    lifecycle.wake()
    assert the_connection().paused_at is not None


def test_a_job_that_the_api_asked_to_wait_is_nobodys_neglect(submit: Submit) -> None:
    submit()
    overdue_by(seconds=70)
    Connection.objects.update(not_before=Now() + dt.timedelta(minutes=5))
    lifecycle.wake()
    assert the_connection().paused_at is None
    Connection.objects.update(not_before=Now() - dt.timedelta(minutes=5))
    lifecycle.wake()
    assert the_connection().paused_at is not None


def test_an_installation_that_has_the_key_goes_on_with_what_paused_for_want_of_it(
    api: FakeApi, submit: Submit, settings: Settings
) -> None:
    job = submit()
    overdue_by(seconds=70)
    lifecycle.wake()
    settings.OPENAI_API_KEY = KEY
    OrmQ.objects.all().delete()
    lifecycle.wake()
    assert the_connection().paused_at is None
    assert OrmQ.objects.exists()
    api.run("send")
    assert job_status(job) == Status.QUEUED


@pytest.mark.parametrize("why", ["by hand", "for another reason", "for a key that is set here"])
def test_it_resumes_nothing_that_paused_otherwise(
    settings: Settings, submit: Submit, project: object, why: str
) -> None:
    by = submit().submitted_by if why == "by hand" else None
    if why == "for a key that is set here":
        Connection.objects.update(key_source=KeySource.STORED)
    reason = "invalid_api_key: Wrong." if why == "for another reason" else "no_key: It has no key."
    lifecycle.pause(the_connection().pk, reason, by=by)
    settings.OPENAI_API_KEY = KEY
    lifecycle.wake()
    assert the_connection().paused_at is not None


def test_an_installation_without_the_token_command_leaves_its_jobs_to_the_others(
    api: FakeApi, submit: Submit, settings: Settings
) -> None:
    Connection.objects.update(
        key_source=KeySource.COMMAND, kind="azure", base_url="https://ours.openai.azure.com/openai/v1"
    )
    settings.OPENAI_API_KEY = KEY
    job = submit()
    api.run("send")
    assert (job_status(job), api.posts) == (Status.WAITING, [])
    overdue_by(minutes=2)
    lifecycle.wake()
    assert the_connection().paused_reason.startswith("no_key: PONDER_AZURE_TOKEN_COMMAND is not set")
    settings.PONDER_AZURE_TOKEN_COMMAND = ("az", "account")
    lifecycle.wake()
    assert the_connection().paused_at is None
    api.run("send")
    assert job_status(job) == Status.QUEUED
    settings.PONDER_AZURE_TOKEN_COMMAND = ()
    api.run("poll")
    assert api.gets == []
