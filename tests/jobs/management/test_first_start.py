"""What a start makes, what it leaves alone, and when practice needs the sandbox."""

import uuid

import pytest
from django.conf import settings
from pytest_django.fixtures import Settings

from jobs import lifecycle
from jobs.access import Role
from jobs.management import first_start
from jobs.models import (
    Budget,
    Connection,
    Job,
    KeySource,
    Project,
    PumpLease,
    Secret,
    SignInLink,
    Status,
    User,
)
from jobs.models.connections import is_webhook_secret
from tests.factories import PASSWORD, a_person, a_project, a_spec

pytestmark = pytest.mark.django_db

HERE, ELSEWHERE = "http://127.0.0.1:7/v1", "http://127.0.0.1:8/v1"
KEY = "sk-of-the-environment"


def practice() -> Connection:
    return Connection.objects.get(is_practice=True)


def waiting_job() -> Job:
    return lifecycle.submit(a_spec(Project.objects.get(slug="practice"), User.objects.get()))


def test_the_first_start_makes_an_operator_with_a_link_and_a_practice_project_with_a_cap() -> None:
    token = first_start.prepare(sandbox_base_url=HERE)
    assert token is not None
    assert SignInLink.objects.count() == 1
    project = Project.objects.get()
    assert (project.connection, practice().base_url) == (practice(), HERE)
    assert Budget.objects.get(project=project).cap == first_start.PRACTICE_CAP


def test_no_link_is_made_once_an_operator_can_sign_in() -> None:
    first_start.prepare(sandbox_base_url=HERE)
    operator = User.objects.get()
    operator.set_password(PASSWORD)
    operator.save()
    assert first_start.prepare(sandbox_base_url=HERE) is None
    assert User.objects.count() == 1


def test_practice_follows_the_sandbox_that_moved_and_no_other_machines() -> None:
    first_start.prepare(sandbox_base_url=HERE, moves_sandbox=False)
    assert practice().base_url == HERE, "the very first start says where it is, whoever it is"
    first_start.prepare(sandbox_base_url=ELSEWHERE, moves_sandbox=False)
    assert practice().base_url == HERE
    first_start.prepare(sandbox_base_url=ELSEWHERE)
    assert practice().base_url == ELSEWHERE
    assert practice().key.reveal() == "sk-practice"


def test_of_two_installations_that_run_a_sandbox_practice_stays_with_the_first(settings: Settings) -> None:
    first_start.prepare(sandbox_base_url=HERE)
    first, settings.INSTANCE = settings.INSTANCE, "of the second"
    first_start.prepare(sandbox_base_url=ELSEWHERE)
    assert (practice().base_url, practice().sandbox_of) == (HERE, first)
    assert (first_start.sandbox_elsewhere(), first_start.needs_sandbox()) == (HERE, False)
    # Until the second explicitly takes it.
    first_start.prepare(sandbox_base_url=ELSEWHERE, takes_sandbox=True)
    assert (first_start.sandbox_elsewhere(), first_start.needs_sandbox()) == ("", True)
    settings.INSTANCE = first
    first_start.prepare(sandbox_base_url=HERE)
    assert (practice().base_url, first_start.needs_sandbox()) == (ELSEWHERE, False)


def test_a_start_of_another_part_leaves_the_pumps_that_run_alone() -> None:
    first_start.prepare(sandbox_base_url=HERE)
    holder = uuid.uuid4()
    mine = {"kind": "send", "instance": settings.INSTANCE}
    PumpLease.objects.update_or_create(**mine, defaults={"holder": holder})
    first_start.prepare(sandbox_base_url=HERE, frees_pumps=False)
    assert PumpLease.objects.get(**mine).holder == holder
    first_start.prepare(sandbox_base_url=HERE)
    assert PumpLease.objects.get(**mine).holder is None


def test_a_first_key_finds_its_names_taken_and_takes_others(settings: Settings) -> None:
    a_project("general")
    Connection.objects.update(name="OpenAI")
    settings.OPENAI_API_KEY = KEY
    first_start.prepare(sandbox_base_url=HERE)
    real = Connection.objects.get(key_source=KeySource.ENVIRONMENT)
    assert (real.name, Project.objects.get(connection=real).slug) == ("OpenAI-2", "general-2")


def test_a_start_with_the_key_goes_on_with_what_paused_for_want_of_it(settings: Settings) -> None:
    settings.OPENAI_API_KEY = KEY
    first_start.prepare(sandbox_base_url=HERE)
    real = Connection.objects.get(key_source=KeySource.ENVIRONMENT)
    lifecycle.pause(real.pk, "no_key: It has no key.")
    settings.OPENAI_API_KEY = ""
    first_start.prepare(sandbox_base_url=HERE)
    real.refresh_from_db()
    assert real.paused_at is not None
    settings.OPENAI_API_KEY = KEY
    first_start.prepare(sandbox_base_url=HERE)
    real.refresh_from_db()
    assert real.paused_at is None


def test_the_sandbox_is_needed_while_nothing_else_is_connected() -> None:
    first_start.prepare(sandbox_base_url=HERE)
    assert first_start.needs_sandbox()


def test_beside_a_real_connection_the_sandbox_is_needed_until_the_last_practice_job_has_ended(
    settings: Settings,
) -> None:
    first_start.prepare(sandbox_base_url=HERE)
    settings.OPENAI_API_KEY = KEY
    first_start.prepare(sandbox_base_url=HERE)
    assert not first_start.needs_sandbox()
    job = waiting_job()
    assert first_start.needs_sandbox()
    lifecycle.cancel(job.pk, by=User.objects.get())
    job.refresh_from_db()
    assert job.status == Status.CANCELLED
    assert not first_start.needs_sandbox()


def test_a_job_for_real_money_needs_no_sandbox() -> None:
    mira = a_person()
    lifecycle.submit(a_spec(a_project(is_practice=False, members={mira: Role.SUBMITTER}), mira))
    assert not first_start.needs_sandbox()


def test_an_address_of_azure_in_the_environment_is_spoken_to_as_azure(settings: Settings) -> None:
    settings.OPENAI_API_KEY, settings.PONDER_TODAY = KEY, None
    settings.OPENAI_BASE_URL = "https://ours.openai.azure.com/openai/v1"
    first_start.prepare(sandbox_base_url=HERE)
    made = Connection.objects.get(key_source=KeySource.ENVIRONMENT)
    assert (made.name, made.kind, made.base_url) == ("Azure", "azure", settings.OPENAI_BASE_URL)
    settings.OPENAI_BASE_URL = "https://proxy.example.com/v1"
    first_start.prepare(sandbox_base_url=HERE)
    made.refresh_from_db()
    assert (made.name, made.kind) == ("Azure", "openai")


def test_the_first_start_makes_a_webhook_secret_for_practice_and_keeps_it() -> None:
    first_start.prepare(sandbox_base_url=HERE)
    found = first_start.practice_webhook()
    assert found is not None
    assert found == (f"/webhooks/openai/{practice().webhook_slug}/", practice().webhook_secret.reveal())
    assert is_webhook_secret(found[1])
    first_start.prepare(sandbox_base_url=HERE)
    assert first_start.practice_webhook() == found


def test_practice_whose_webhook_secret_cannot_be_read_any_more_gets_another() -> None:
    first_start.prepare(sandbox_base_url=HERE)
    Connection.objects.update(webhook_secret=Secret("of lost keys"))
    assert first_start.practice_webhook() is None
    first_start.prepare(sandbox_base_url=HERE)
    assert first_start.practice_webhook() is not None


def test_another_installations_sandbox_is_told_no_webhook_by_us(settings: Settings) -> None:
    first_start.prepare(sandbox_base_url=HERE)
    settings.INSTANCE = "of the second"
    first_start.prepare(sandbox_base_url=ELSEWHERE)
    assert first_start.practice_webhook() is None
