"""Azure, from the form of a request to its charge, through the real SDK and against the sandbox as Azure."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models.functions import Now

from jobs import lifecycle
from jobs.lifecycle import Reply, SpecError
from jobs.models import (
    Attempt,
    Connection,
    Event,
    Job,
    JobAttachment,
    Kind,
    LedgerEntry,
    Notice,
    Project,
    RawResponse,
    Secret,
    Status,
    User,
)
from tests.factories import a_spec
from tests.jobs.attachments.files import picture
from tests.jobs.lifecycle.test_attaching import given
from tests.jobs.lifecycle.test_threads_on_the_wire import SAGE, body_of, read_by, response_id, run
from tests.sandbox_process import SandboxProcess

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

SOON = "[[sandbox: seconds=0]]"

type Ask = Callable[..., Job]


@pytest.fixture
def azure(wired: Project, sandbox: SandboxProcess) -> Project:
    """A project that sends through Azure, where one model is deployed under another name."""
    wired.connection = Connection.objects.create(
        name="Azure",
        kind=Kind.AZURE,
        is_practice=True,
        base_url=sandbox.azure_url,
        key=Secret.of("sk-test-key"),
        deployments={"gpt-6-sol": "deployment-gpt-6-sol", "gpt-6-astra": "gone"},
    )
    wired.save()
    return wired


@pytest.fixture
def ask(person: User, wired: Project) -> Ask:
    """Submit a job, send it, and poll it once."""

    def ask(prompt: str = f"Is lemma 4.7 true? {SOON}", **wanted: Any) -> Job:
        project = Project.objects.select_related("connection").get(pk=wired.pk)
        wanted = {"model": "gpt-6-sol", "mode": "standard", **wanted}
        return run(lifecycle.submit(a_spec(project, person, prompt=prompt, **wanted)))

    return ask


def test_a_job_is_sent_to_its_deployment_and_charged_as_its_model(
    azure: Project, ask: Ask, sandbox: SandboxProcess
) -> None:
    jobs = [ask() for _ in range(2)]
    assert {job.status for job in jobs} == {Status.COMPLETED}
    assert {body_of(job)["model"] for job in jobs} == {"deployment-gpt-6-sol"}
    assert set(Attempt.objects.values_list("sent_as", flat=True)) == {"deployment-gpt-6-sol"}
    charges = LedgerEntry.objects.filter(kind="charge", basis="usage", price__model="gpt-6-sol")
    assert charges.count() == 2
    assert not Notice.objects.exists()
    assert sandbox.stats()["posts"] == 2
    assert all(attempt.request_id.startswith("req_") for attempt in Attempt.objects.all())


def test_a_deployment_that_is_not_there_fails_the_job_by_its_name_and_costs_nothing(
    azure: Project, ask: Ask
) -> None:
    job = ask(model="gpt-6-astra")
    attempt = Attempt.objects.get(job=job)
    assert (job.status, job.error_code, job.cost) == (Status.FAILED, "DeploymentNotFound", 0)
    assert attempt.error_message.startswith("There is no deployment named 'gone'. The API deployment")
    assert azure.connection.paused_at is None


def test_what_azures_filter_refuses_fails_the_job(azure: Project, ask: Ask) -> None:
    job = ask("No. [[sandbox: http=400 code=content_filter]]")
    assert (job.status, job.error_code) == (Status.FAILED, "content_filter")


def test_a_key_that_azure_refuses_pauses_the_connection(azure: Project, ask: Ask) -> None:
    Connection.objects.filter(pk=azure.connection_id).update(key=Secret.of("sk-bad-key"))
    job = ask()
    assert job.status == Status.WAITING
    found = Connection.objects.get(pk=azure.connection_id)
    assert found.paused_reason.startswith("401: Access denied due to invalid subscription key")


def test_a_limit_of_azure_holds_the_connection_for_as_long_as_it_says(azure: Project, ask: Ask) -> None:
    job = ask("Why? [[sandbox: http=429 retry_after=40]]")
    found = Connection.objects.filter(pk=azure.connection_id, not_before__gt=Now())
    assert (job.status, found.exists()) == (Status.WAITING, True)
    assert Attempt.objects.get(job=job).error_code == "429"


def test_answers_to_calls_replay_the_thread(azure: Project, ask: Ask, sandbox: SandboxProcess) -> None:
    first = ask("Compute it. [[sandbox: seconds=0 calls=1]]", tools=(SAGE,))
    assert first.status == Status.REQUIRES_ACTION
    (card,) = lifecycle.cards(first)
    second = run(lifecycle.answer(first, [Reply(key=card.call.key, output="1")], by=first.submitted_by))
    assert body_of(second)["previous_response_id"] is None
    assert read_by(sandbox, second) == ["user", "function_call", "function_call_output"]
    refused = sandbox.call(
        "POST",
        "/responses",
        {
            "model": "gpt-6-sol",
            "previous_response_id": response_id(first),
            "input": [{"type": "function_call_output", "call_id": card.call.key, "output": "1"}],
        },
        at=sandbox.azure_url,
    )
    assert refused.status == 400, "as it would have been by its id"


@pytest.fixture
def with_a_file(ask: Ask, wired: Project, person: User) -> Job:
    """A job at OpenAI whose call is to be answered with a picture."""
    first = ask("Compute it. [[sandbox: seconds=0 calls=1 times=1]]", tools=(SAGE,))
    (card,) = lifecycle.cards(first)
    plot = given(wired, person, picture(), "plot.png")
    return lifecycle.answer(first, [Reply(key=card.call.key, files=(plot,))], by=person)


def test_a_job_whose_project_moves_to_azure_is_not_sent_with_a_file_that_azure_refuses(
    with_a_file: Job, sandbox: SandboxProcess, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("azure")
    posts = sandbox.stats()["posts"]
    job = run(with_a_file)
    assert (job.status, job.error_code, job.cost) == (Status.FAILED, "files_refused", 0)
    assert sandbox.stats()["posts"] == posts
    event = Event.objects.get(job=job, kind="unsendable")
    assert event.note == "files_refused: A call is answered with a file, which Azure is not known to take."
    # Nothing is lost: back at OpenAI it is asked again as it was.
    assert JobAttachment.objects.filter(job=job).exclude(call_key="").count() == 1
    Project.objects.update(connection=Connection.objects.get(name="practice"))
    job = Job.objects.get(pk=job.pk)
    again = dataclasses.replace(lifecycle.asked(job, by=job.submitted_by), rerun_of=job)
    assert run(lifecycle.submit(again)).status != Status.FAILED


def test_a_thread_with_such_a_file_is_not_followed_up_at_azure(
    with_a_file: Job, request: pytest.FixtureRequest
) -> None:
    run(with_a_file)
    request.getfixturevalue("azure")
    job = Job.objects.get(pk=with_a_file.pk)
    with pytest.raises(SpecError) as refused:
        lifecycle.submit(lifecycle.follow_up(job, by=job.submitted_by, prompt="And then?"))
    assert refused.value.errors == {
        "previous": "A call of this thread was answered with a file, and in the output of a call Azure is "
        "not known to take one. Ask in a new job."
    }
    assert RawResponse.objects.filter(attempt__job=job).exists()
