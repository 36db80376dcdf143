"""A price that is succeeded while a job waits: what it can cost is held anew, or it is not sent."""

import datetime as dt
from decimal import Decimal

import pytest
from pytest_django.fixtures import Settings

from jobs import lifecycle, spend
from jobs.lifecycle import Decision, claiming, replanning
from jobs.models import (
    Attempt,
    AttemptState,
    BudgetPeriod,
    Connection,
    Event,
    Job,
    LedgerEntry,
    ModelSpec,
    Price,
    Project,
    Refusal,
    Status,
    Workspace,
)
from jobs.openai_client import OutcomeUnknown
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]


def succeed(*, factor: int | Decimal = 10, days: int = 0, model: str = "gpt-6-sol") -> Price:
    """Put a price row in force, so many times as dear, in so many days."""
    today = Workspace.objects.the().today()
    before = ModelSpec.objects.get(pk=model).price_on(today)
    assert before is not None
    return Price.objects.create(
        model_id=model,
        valid_from=today + dt.timedelta(days=days),
        input=before.input * factor,
        output=before.output * factor,
        source="test",
    )


def the(job: Job, number: int = 1) -> Attempt:
    job.refresh_from_db()
    return Attempt.objects.get(job=job, number=number)


def held() -> Decimal:
    return BudgetPeriod.objects.get().held


def test_a_job_that_waited_holds_its_ceiling_at_the_price_it_will_pay(submit: Submit) -> None:
    job = submit()
    before, version = job.worst_case, job.version
    dearer = succeed()
    assert replanning.replan_due() == 1
    assert replanning.replan_due() == 0
    old, new = the(job), the(job, 2)
    assert (old.state, old.error_code) == (AttemptState.ENDED, "price_changed")
    assert (new.state, new.price) == (AttemptState.PLANNED, dearer)
    assert new.worst_case > 9 * before
    assert held() == new.worst_case == job.worst_case
    assert list(LedgerEntry.objects.order_by("pk").values_list("kind", "amount", "price")) == [
        ("hold", before, old.price_id),
        ("release", -before, None),
        ("hold", new.worst_case, dearer.pk),
    ]
    assert (job.status, job.version > version) == (Status.WAITING, True)
    assert "USD are held now" in Event.objects.get(kind="held_anew").note


def test_what_it_uses_is_charged_at_the_price_it_was_held_at(api: FakeApi, submit: Submit) -> None:
    job = submit()
    succeed()
    replanning.replan_due()
    api.run("send")
    api.put(job, "completed")
    api.run("poll")
    job.refresh_from_db()
    assert job.cost == Decimal("0.22")


def test_a_price_that_fell_frees_the_difference(submit: Submit) -> None:
    job = submit()
    today = Workspace.objects.the().today()
    Price.objects.create(model_id="gpt-6-sol", valid_from=today, input=0, output=1, source="test")
    before, first = job.worst_case, the(job).pk
    assert replanning.replan(job.pk)
    assert not replanning.replan(job.pk)
    planned = the(job)
    assert (planned.pk, planned.state, Attempt.objects.count()) == (first, AttemptState.PLANNED, 1)
    assert planned.price.valid_from == today
    assert held() == planned.worst_case == job.worst_case < before / 5
    assert "USD are held now" in Event.objects.get(kind="held_anew").note


def test_what_is_held_already_is_enough_whatever_the_caps_have_become(api: FakeApi, submit: Submit) -> None:
    job = submit()
    spend.set_cap(job.worst_case / 4, project=job.project)
    Project.objects.update(job_limit=job.worst_case / 4)
    cheaper = succeed(factor=Decimal("0.5"))
    api.run("send")
    assert (the(job).state, the(job).price, job.status) == (AttemptState.KNOWN, cheaper, Status.QUEUED)
    assert not Refusal.objects.exists()


def test_what_is_held_in_a_month_that_is_over_is_held_anew_in_this_one(
    submit: Submit, settings: Settings
) -> None:
    job = submit()
    succeed(factor=Decimal("0.5"))
    today = Workspace.objects.the().today()
    next_month = (today.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    settings.PONDER_TODAY = next_month
    assert replanning.replan(job.pk)
    assert (the(job).state, the(job, 2).state) == (AttemptState.ENDED, AttemptState.PLANNED)
    assert dict(BudgetPeriod.objects.values_list("month", "held")) == {
        today.replace(day=1): 0,
        next_month: the(job, 2).worst_case,
    }


# The limit per job of a project binds every send, not only the first.


def limit(job: Job) -> None:
    """Let a job cost twice what it can cost now, and its price rise to ten times that."""
    Project.objects.update(job_limit=2 * job.worst_case)
    succeed()


def test_a_job_that_has_become_dearer_than_its_project_allows_is_not_sent(
    api: FakeApi, submit: Submit
) -> None:
    job = submit()
    limit(job)
    api.run("send")
    assert (the(job).state, job.status, job.error_code) == ("ended", Status.FAILED, "price_changed")
    assert "limit per job: " in Event.objects.get(kind="price_changed").note
    assert (held(), api.posts, Refusal.objects.exists()) == (0, [], False)


def test_nor_is_another_attempt_of_it(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.run("send")
    limit(job)
    api.put(job, "failed", error={"code": "server_error", "message": "Oh."})
    api.run("poll")
    assert (the(job).state, job.status, job.error_code) == ("ended", Status.FAILED, "server_error")
    assert "limit per job: " in Event.objects.get(kind="no_budget").note
    assert (held(), Attempt.objects.count()) == (0, 1)


def test_nor_is_it_sent_again_by_hand(api: FakeApi, submit: Submit) -> None:
    job = submit()
    api.replies.append(OutcomeUnknown("The connection broke.", code="connection_lost"))
    api.run("send")
    limit(job)
    with pytest.raises(lifecycle.OverJobLimit) as refused:
        lifecycle.resolve(job.pk, Decision.RESEND)
    assert refused.value.limit == 2 * job.worst_case < refused.value.ceiling
    assert (the(job).state, job.status) == (AttemptState.UNCONFIRMED, Status.UNCONFIRMED)
    assert Attempt.objects.count() == 1


def test_a_price_of_another_day_or_model_changes_nothing(submit: Submit) -> None:
    job = submit()
    succeed(days=1)
    succeed(model="o3")
    assert replanning.replan_due() == 0
    assert not replanning.replan(job.pk)
    assert Attempt.objects.count() == 1


def test_without_a_price_in_force_it_keeps_its_own(submit: Submit) -> None:
    job = submit()
    Price.objects.filter(model="gpt-6-sol").update(valid_from=dt.date(2100, 1, 1))
    assert replanning.replan_due() == 0
    assert not replanning.replan(job.pk)
    assert the(job).state == AttemptState.PLANNED


def test_what_is_not_due_yet_or_cannot_be_sent_is_left_until_then(submit: Submit) -> None:
    job = submit()
    succeed()
    lifecycle.pause(Connection.objects.get().pk, "Moving house")
    assert replanning.replan_due() == 0
    lifecycle.resume(Connection.objects.get().pk)
    assert replanning.replan_due() == 1
    assert the(job, 2).state == AttemptState.PLANNED


@pytest.mark.parametrize("moment", ["sent", "cancelled"])
def test_a_job_that_does_not_wait_any_more_is_left_alone(api: FakeApi, submit: Submit, moment: str) -> None:
    job = submit()
    if moment == "sent":
        api.run("send")
    else:
        lifecycle.cancel(job.pk)
    succeed()
    assert not replanning.replan(job.pk)
    assert Attempt.objects.count() == 1


def test_without_room_for_the_new_ceiling_it_is_not_sent_and_says_so(api: FakeApi, submit: Submit) -> None:
    job = submit()
    spend.set_cap(2 * job.worst_case, project=job.project)
    succeed()
    assert replanning.replan_due() == 1
    assert (the(job).state, the(job).error_code) == (AttemptState.ENDED, "price_changed")
    assert (job.status, job.error_code, job.cost) == (Status.FAILED, "price_changed", 0)
    assert job.finished_at is not None
    assert "it does not fit any more" in Event.objects.get(kind="price_changed").note
    assert Refusal.objects.get().ceiling > 9 * job.worst_case
    assert (held(), Attempt.objects.count()) == (0, 1)
    api.run("send")
    assert api.posts == []


def test_without_any_cap_left_it_says_so_too(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise spend.NoCap

    job = submit()
    succeed()
    monkeypatch.setattr(spend, "admit", refuse)
    assert replanning.replan(job.pk)
    job.refresh_from_db()
    assert job.status == Status.FAILED
    assert Event.objects.get(kind="price_changed").note.endswith("the project has no cap")
    assert not Refusal.objects.exists()


def test_a_resend_that_does_not_fit_leaves_the_first_send_to_be_decided_about(
    api: FakeApi, submit: Submit
) -> None:
    job = submit()
    api.replies.append(OutcomeUnknown("The connection broke.", code="connection_lost"))
    api.run("send")
    lifecycle.resolve(job.pk, Decision.RESEND)
    spend.set_cap(3 * job.worst_case, project=job.project)
    succeed()
    replanning.replan_due()
    assert (the(job).state, the(job, 2).state) == (AttemptState.UNCONFIRMED, AttemptState.ENDED)
    assert (job.status, held()) == (Status.UNCONFIRMED, job.worst_case)


def test_attempts_that_were_not_sent_are_none_of_the_three(api: FakeApi, submit: Submit) -> None:
    job = submit()
    for days in (-2, -1):
        succeed(factor=2, days=days)
        assert replanning.replan_due() == 1
    for _ in range(3):
        api.run("send")
        api.put(job, "failed", error={"code": "server_error", "message": "Oh."})
        api.run("poll")
    assert len(api.posts) == 3
    assert Attempt.objects.count() == 5
    job.refresh_from_db()
    assert job.status == Status.FAILED


def test_the_pump_sends_nothing_at_a_price_that_is_no_longer_in_force(api: FakeApi, submit: Submit) -> None:
    job = submit()
    succeed()
    assert claiming.claim_sends(10) == []
    api.run("send")
    assert (the(job).state, the(job, 2).state) == (AttemptState.ENDED, AttemptState.KNOWN)
    assert api.posts[0]["metadata"]["ponder_attempt"] == str(the(job, 2).nonce)
    assert held() == the(job, 2).worst_case


def test_a_job_whose_prompt_goes_before_it_is_held_anew_fails_with_its_cause(submit: Submit) -> None:
    job = submit()
    succeed()
    job.prompt.delete()
    assert replanning.replan(job.pk)
    assert (the(job).state, the(job).error_code) == (AttemptState.ENDED, "prompt_missing")
    assert (job.status, held()) == (Status.FAILED, 0)
