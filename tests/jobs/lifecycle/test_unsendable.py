"""What can never be sent fails by itself before a byte leaves, and keeps nothing else from being sent."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.lifecycle import Decision, claiming, replanning
from jobs.models import (
    Attempt,
    BudgetPeriod,
    Connection,
    Event,
    Job,
    Kind,
    LedgerEntry,
    ModelSpec,
    Project,
    Prompt,
    Status,
    User,
    Workspace,
)
from jobs.openai_client import OutcomeUnknown
from tests.factories import a_project
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

SEARCH: dict[str, Any] = {"tools": ({"type": "web_search"},), "max_tool_calls": 2}
LOOK_UP = {"type": "function", "name": "look_up", "parameters": {"type": "object"}, "strict": False}


def states(*jobs: Job) -> list[tuple[str, str]]:
    """Return the status of each job with its error code."""
    rows = {job.pk: job for job in Job.objects.all()}
    return [(rows[job.pk].status, rows[job.pk].error_code) for job in jobs]


def dearer(**rates: Any) -> None:
    """Succeed the price of the jobs' model today."""
    given = {"input": 20, "output": 100, "source": "test", **rates}
    today = Workspace.objects.the().today()
    ModelSpec.objects.get(pk="gpt-6-sol").price_set.create(valid_from=today, **given)


@pytest.fixture
def azure(person: User) -> Connection:
    """Another connection of the practice side, where nobody knows what tools cost."""
    return Connection.objects.create(
        name="azure", kind=Kind.AZURE, is_practice=True, base_url="http://127.0.0.1:9/v1"
    )


def test_a_job_without_its_prompt_fails_by_itself_and_all_others_are_sent(
    api: FakeApi, submit: Submit
) -> None:
    first, bad, last = submit(), submit(), submit()
    Prompt.objects.filter(job=bad).delete()
    api.run("send")
    assert states(first, bad, last) == [
        (Status.QUEUED, ""),
        (Status.FAILED, "prompt_missing"),
        (Status.QUEUED, ""),
    ]
    assert (len(api.posts), BudgetPeriod.objects.get().held) == (2, first.worst_case + last.worst_case)
    attempt, event = Attempt.objects.get(job=bad), Event.objects.get(kind="unsendable")
    assert (attempt.state, attempt.sent_at, event.job_id) == ("ended", None, bad.pk)
    assert event.note == "prompt_missing: What it asks is no longer stored."
    bad.refresh_from_db()
    assert (bad.next_action_at, bad.cost, bad.finished_at is None) == (None, 0, False)


def test_nor_does_it_keep_others_from_being_held_anew(api: FakeApi, submit: Submit) -> None:
    bad, good = submit(**SEARCH), submit(**SEARCH)
    Prompt.objects.filter(job=bad).delete()
    dearer(tool_fees=Attempt.objects.get(job=good).price.tool_fees)
    api.run("send")
    assert states(bad, good) == [(Status.FAILED, "prompt_missing"), (Status.QUEUED, "")]
    assert Attempt.objects.get(job=good, number=2).worst_case > 2 * good.worst_case


def test_a_job_that_cannot_be_replanned_keeps_no_other_from_it(
    api: FakeApi, submit: Submit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = submit(), submit()
    dearer()
    real = replanning.replan

    def replan(job_id: int) -> bool:
        if job_id == bad.pk:
            raise IntegrityError("The lemma is true.")
        return real(job_id)

    monkeypatch.setattr(replanning, "replan", replan)
    api.run("send")
    assert states(bad, good) == [(Status.WAITING, ""), (Status.QUEUED, "")]
    assert caplog.messages == [f"replanning job {bad.pk} failed (IntegrityError)"]


def test_replanning_waits_for_a_database_that_is_away(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: int) -> bool:
        raise OperationalError("away")

    submit()
    dearer()
    monkeypatch.setattr(replanning, "replan", away)
    with pytest.raises(OperationalError):
        replanning.replan_due()


def test_whatever_is_wrong_with_a_job_it_alone_fails(api: FakeApi, submit: Submit) -> None:
    bad, good = submit(), submit()
    Prompt.objects.filter(job=bad).update(input_items=7)
    api.run("send")
    assert states(bad, good) == [(Status.FAILED, "unsendable"), (Status.QUEUED, "")]
    assert Attempt.objects.get(job=bad).error_message == "Its request cannot be put together (TypeError)."
    assert BudgetPeriod.objects.get().held == good.worst_case


def test_a_database_that_is_away_for_a_moment_fails_no_job(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> dict[str, Any]:
        raise OperationalError("away")

    job = submit()
    monkeypatch.setattr(claiming, "request_body", away)
    with pytest.raises(OperationalError):
        claiming.claim_sends(10)
    assert states(job) == [(Status.WAITING, "")]


def test_what_is_claimed_is_sent_though_the_refusal_of_another_fails(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OperationalError("away")

    bad, good = submit(), submit()
    Prompt.objects.filter(job=bad).delete()
    monkeypatch.setattr(claiming, "end_unsent", away)
    assert [send.job_id for send in claiming.claim_sends(10)] == [good.pk]
    assert states(bad) == [(Status.WAITING, "")]


def test_what_is_something_else_by_then_is_not_refused(submit: Submit) -> None:
    bad = submit()
    Prompt.objects.filter(job=bad).delete()
    _, ((attempt, refusal),) = claiming._claim_on(bad.project.connection_id, 10, 0)
    lifecycle.cancel(bad.pk)
    claiming._refuse(attempt, refusal)
    assert states(bad) == [(Status.CANCELLED, "")]


def test_a_second_send_that_cannot_be_leaves_the_first_to_be_decided_about(api: FakeApi, resent: Job) -> None:
    Prompt.objects.all().delete()
    api.run("send")
    assert states(resent) == [(Status.UNCONFIRMED, "connection_lost")]
    assert BudgetPeriod.objects.get().held == resent.worst_case


def test_a_job_whose_prompt_went_while_it_ran_is_charged_and_keeps_its_answer(
    api: FakeApi, submit: Submit
) -> None:
    job = submit()
    api.run("send")
    Prompt.objects.all().delete()
    api.put(job, "completed")
    api.run("poll")
    job.refresh_from_db()
    assert (job.status, job.cost, job.answer.text) == ("completed", Decimal("0.022"), "The lemma is true.")


# Tools whose price nobody knows where the job goes now.


def test_a_waiting_job_moved_to_where_its_tools_have_no_price_is_not_sent(
    api: FakeApi, submit: Submit, person: User, project: Project, azure: Connection
) -> None:
    searching, plain, calling = submit(**SEARCH), submit(), submit(tools=(LOOK_UP,))
    azure.set_key("sk-azure", by=person)
    azure.save()
    lifecycle.relieve(project.connection_id, by=person, through=azure.pk)
    api.run("send")
    assert states(searching, plain, calling) == [
        (Status.FAILED, "tools_unbounded"),
        (Status.QUEUED, ""),
        (Status.QUEUED, ""),
    ]
    assert BudgetPeriod.objects.get().held == plain.worst_case + calling.worst_case
    assert Event.objects.get(kind="unsendable").note == (
        "tools_unbounded: Its ceiling would not hold: what web search costs at this connection is not known, "
        "so it cannot be bounded."
    )
    assert not LedgerEntry.objects.filter(kind="charge").exists()


def test_nor_is_one_whose_connection_has_become_another_kind(api: FakeApi, submit: Submit) -> None:
    job = submit(**SEARCH)
    Connection.objects.update(kind=Kind.COMPATIBLE)
    api.run("send")
    assert (states(job), api.posts) == ([(Status.FAILED, "tools_unbounded")], [])


def test_nor_one_whose_price_has_no_fee_for_its_tools_any_more(api: FakeApi, submit: Submit) -> None:
    job = submit(**SEARCH)
    dearer()
    api.run("send")
    assert (states(job), api.posts) == ([(Status.FAILED, "tools_unbounded")], [])
    assert BudgetPeriod.objects.get().held == 0


def test_nor_one_that_is_sent_again_by_hand(api: FakeApi, submit: Submit) -> None:
    job = submit(**SEARCH)
    api.replies.append(OutcomeUnknown("The connection broke.", code="connection_lost"))
    api.run("send")
    Connection.objects.update(kind=Kind.AZURE)
    lifecycle.resolve(job.pk, Decision.RESEND)
    api.run("send")
    assert (states(job)[0][0], len(api.posts)) == (Status.UNCONFIRMED, 1)
    assert BudgetPeriod.objects.get().held == job.worst_case


def test_a_move_back_in_time_saves_it(
    api: FakeApi, submit: Submit, person: User, project: Project, azure: Connection
) -> None:
    job, home = submit(**SEARCH), project.connection
    lifecycle.relieve(home.pk, by=person, through=azure.pk)
    assert a_project("other", members={person: Role.MANAGER}).connection == home
    lifecycle.relieve(azure.pk, by=person, through=home.pk)
    api.run("send")
    assert states(job) == [(Status.QUEUED, "")]
    assert spend.held_for(Attempt.objects.get(job=job)) == job.worst_case


@pytest.mark.parametrize("wanted", [{}, SEARCH], ids=["plain", "with tools"])
def test_what_failed_and_is_no_longer_stored_fails_with_its_cause(
    api: FakeApi, submit: Submit, wanted: dict[str, Any]
) -> None:
    job = submit(**wanted)
    api.run("send")
    Prompt.objects.all().delete()
    api.put(job, "failed", usage=None, error={"code": "server_error", "message": "Oh."})
    api.run("poll")
    assert states(job) == [(Status.FAILED, "server_error")]
    assert BudgetPeriod.objects.get().held == 0


@pytest.mark.parametrize("wanted", [{}, SEARCH], ids=["plain", "with tools"])
def test_what_is_no_longer_stored_cannot_be_sent_again(
    api: FakeApi, submit: Submit, wanted: dict[str, Any]
) -> None:
    job = submit(**wanted)
    api.replies.append(OutcomeUnknown("The connection broke.", code="connection_lost"))
    api.run("send")
    Prompt.objects.all().delete()
    with pytest.raises(lifecycle.PromptGone, match="no longer stored"):
        lifecycle.resolve(job.pk, Decision.RESEND)
    assert states(job) == [(Status.UNCONFIRMED, "connection_lost")]
    assert Attempt.objects.count() == 1
