"""Deployments: a model is asked for as its deployment, and what answers under that name is no surprise."""

import pytest

from jobs.models import Attempt, Basis, Connection, Kind, LedgerEntry, Notice, Status
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]


@pytest.fixture(autouse=True)
def _azure(project: object) -> None:
    """Let the connection lead to Azure, where one model goes by the name of another and one by none's."""
    names = {"gpt-6-sol": "gpt-6-luna", "gpt-6-luna": "think-fast"}
    Connection.objects.update(kind=Kind.AZURE, deployments=names)


def test_a_model_is_asked_for_by_the_name_of_its_deployment(api: FakeApi, submit: Submit) -> None:
    submit()
    submit(model="gpt-6-luna")
    submit(model="gpt-6-astra")
    api.run("send")
    assert sorted(post["model"] for post in api.posts) == ["gpt-6-astra", "gpt-6-luna", "think-fast"]
    sent_as = dict(Attempt.objects.values_list("job__model", "sent_as"))
    assert sent_as == {"gpt-6-sol": "gpt-6-luna", "gpt-6-luna": "think-fast", "gpt-6-astra": ""}


@pytest.mark.parametrize("name", ["gpt-6-luna", "gpt-6-sol", "gpt-6-sol-2026-09-01"])
def test_the_answer_is_charged_as_the_model_that_was_asked_for(
    api: FakeApi, submit: Submit, name: str
) -> None:
    job = submit()
    api.run("send")
    # Renamed while it ran: what was sent counts.
    Connection.objects.update(deployments={})
    api.put(job, "completed", model=name)
    api.run("poll")
    job.refresh_from_db()
    charge = LedgerEntry.objects.get(kind="charge")
    assert (job.status, charge.basis) == (Status.COMPLETED, Basis.USAGE)
    assert charge.price is not None
    assert charge.price.model_id == "gpt-6-sol"
    assert not Notice.objects.exists()


def test_another_model_than_the_deployment_was_said_to_be_raises_an_alarm(
    api: FakeApi, submit: Submit
) -> None:
    job = submit()
    api.run("send")
    api.put(job, "completed", model="someone-elses")
    api.run("poll")
    assert Notice.objects.get().kind == "unknown_model"


def test_a_send_that_was_put_off_goes_out_under_the_name_of_now(api: FakeApi, submit: Submit) -> None:
    from jobs.openai_client import Retryable

    job = submit()
    api.replies.append(Retryable("Away.", code="connect_error"))
    api.run("send")
    assert Attempt.objects.get(job=job).sent_as == "gpt-6-luna"
    Connection.objects.update(deployments={})
    api.run("send")
    assert Attempt.objects.get(job=job).sent_as == ""
    assert [post["model"] for post in api.posts] == ["gpt-6-luna", "gpt-6-sol"]


def test_at_openai_a_model_goes_by_its_own_name_whatever_the_connection_was_before(
    api: FakeApi, submit: Submit
) -> None:
    Connection.objects.update(kind=Kind.OPENAI)
    submit()
    api.run("send")
    assert api.posts[-1]["model"] == "gpt-6-sol"
    assert Attempt.objects.get().sent_as == ""
