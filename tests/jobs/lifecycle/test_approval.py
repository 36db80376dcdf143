"""Jobs that wait for a person: nothing is held or sent before one agrees, and each is decided about once."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError
from django_q.models import OrmQ
from pytest_django.fixtures import Settings

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.lifecycle import SpecError, approval
from jobs.models import (
    Approval,
    AskedBecause,
    Attempt,
    BudgetPeriod,
    Event,
    Job,
    LedgerEntry,
    ModelSpec,
    Project,
    Prompt,
    Refusal,
    Ruling,
    Status,
    User,
)
from tests.factories import a_person, a_spec
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

type Ask = Callable[..., Job]


@pytest.fixture
def ask(person: User, project: Project) -> Ask:
    """Ask for a job that is over the limit per job."""

    def ask(*, why: str = "It settles the lemma.", **wanted: Any) -> Job:
        project.refresh_from_db()
        if project.job_limit is None:
            Project.objects.update(job_limit=Decimal("0.01"))
            project.refresh_from_db()
        spec = a_spec(project, person, **{"model": "gpt-6-sol", "mode": "standard", **wanted})
        return lifecycle.ask(spec, why=why)

    return ask


@pytest.fixture
def ana(project: Project) -> User:
    """An approver."""
    ana = a_person("ana@example.com")
    project.membership_set.create(user=ana, role=Role.APPROVER)
    return ana


@pytest.fixture
def without_room(project: Project) -> None:
    spend.set_cap(Decimal("0.01"), project=project)


def test_a_job_over_the_limit_waits_with_nothing_held(ask: Ask, person: User) -> None:
    job = ask()
    assert (job.status, job.next_action_at) == (Status.AWAITING_APPROVAL, None)
    assert not Attempt.objects.exists()
    assert not LedgerEntry.objects.exists()
    asked = Approval.objects.get()
    assert (asked.job, asked.reason, asked.why) == (job, AskedBecause.LIMIT, "It settles the lemma.")
    assert list(Event.objects.values_list("kind", flat=True)) == ["submitted", "approval_asked"]
    assert list(Approval.objects.undecided()) == [asked]


def test_what_fits_is_sent_without_asking_anyone(submit: Submit, person: User, project: Project) -> None:
    Project.objects.update(job_limit=Decimal(90))
    project.refresh_from_db()
    assert lifecycle.ask(a_spec(project, person)).status == Status.WAITING
    assert not Approval.objects.exists()


@pytest.mark.usefixtures("without_room")
def test_a_job_without_budget_waits_and_its_refusal_is_recorded(person: User, project: Project) -> None:
    job = lifecycle.ask(a_spec(project, person))
    asked = Approval.objects.get()
    assert (job.status, asked.reason) == (Status.AWAITING_APPROVAL, AskedBecause.BUDGET)
    assert asked.budget == Refusal.objects.get().budget
    assert BudgetPeriod.objects.get().held == 0
    assert list(Approval.objects.for_room_in(asked.budget)) == [asked]


def test_what_cannot_be_sent_cannot_be_asked_for(ask: Ask) -> None:
    with pytest.raises(SpecError) as refused:
        ask(prompt=" ")
    assert set(refused.value.errors) == {"prompt"}
    assert not Job.objects.exists()


def test_asking_twice_makes_one_job(ask: Ask) -> None:
    assert ask(submission_key="k") == ask(submission_key="k")


def test_asking_twice_at_the_same_moment_makes_one_job(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ask(submission_key="k")
    answers = [None, first, None, None]
    monkeypatch.setattr(approval, "submitted_before", lambda wanted: answers.pop(0))
    assert ask(submission_key="k") == first
    with pytest.raises(IntegrityError):
        ask(submission_key="k")


def test_an_approved_job_is_held_at_its_ceiling_and_sent(ask: Ask, ana: User, api: FakeApi) -> None:
    job = lifecycle.approve(ask().pk, by=ana, note="Go.")
    attempt = Attempt.objects.get()
    assert (job.status, attempt.worst_case, spend.held_for(attempt)) == (
        Status.WAITING,
        *[job.worst_case] * 2,
    )
    asked = Approval.objects.get()
    assert (asked.decision, asked.decided_by, asked.note) == (Ruling.APPROVED, ana, "Go.")
    assert asked.ceiling == job.worst_case
    event = Event.objects.get(kind="approved")
    assert (event.actor, event.note) == (ana, "Go.")
    api.run("send")
    job.refresh_from_db()
    assert job.status == Status.QUEUED


def test_an_approver_may_approve_their_own(ask: Ask, person: User) -> None:
    assert lifecycle.approve(ask().pk, by=person).status == Status.WAITING


@pytest.mark.usefixtures("without_room")
def test_an_approval_without_room_says_what_is_missing_and_changes_nothing(ask: Ask, ana: User) -> None:
    job = ask()
    with pytest.raises(spend.BudgetRefused) as refused:
        lifecycle.approve(job.pk, by=ana)
    assert refused.value.shortfall == job.worst_case - Decimal("0.01")
    # When it was asked for, and now.
    assert [row.shortfall for row in Refusal.objects.all()] == [refused.value.shortfall] * 2
    job.refresh_from_db()
    assert (job.status, Approval.objects.get().decision) == (Status.AWAITING_APPROVAL, "")
    assert not Attempt.objects.exists()


def test_a_raised_limit_approves_nothing_by_itself(ask: Ask, api: FakeApi) -> None:
    job = ask()
    Project.objects.update(job_limit=None)
    api.run("send")
    job.refresh_from_db()
    assert job.status == Status.AWAITING_APPROVAL


@pytest.mark.usefixtures("without_room")
def test_it_is_admitted_at_the_price_of_the_day_it_is_approved(
    person: User, project: Project, settings: Settings
) -> None:
    spec = ModelSpec.objects.get(pk="gpt-6-sol")
    job = lifecycle.ask(a_spec(project, person, model=spec.pk, mode="standard"))
    today = dt.date.today()  # noqa: DTZ011
    price = spec.price_on(settings.PONDER_TODAY or today)
    assert price is not None
    price.pk, price.valid_from = None, (settings.PONDER_TODAY or today) + dt.timedelta(days=1)
    price.output *= 2
    price.save()
    settings.PONDER_TODAY = price.valid_from
    spend.set_cap(Decimal(100), project=project)
    approved = lifecycle.approve(job.pk, by=person)
    assert approved.worst_case > job.worst_case
    assert Attempt.objects.get().price == price


def test_a_rejected_job_is_cancelled_and_costs_nothing(ask: Ask, ana: User) -> None:
    job = lifecycle.reject(ask().pk, by=ana, note="o3 is enough.")
    assert (job.status, job.error_code) == (Status.CANCELLED, "not_approved")
    assert job.finished_at is not None
    assert not LedgerEntry.objects.exists()
    event = Event.objects.get(kind="not_approved")
    assert (event.actor, event.note) == (ana, "o3 is enough.")


def test_it_is_decided_once(ask: Ask, ana: User) -> None:
    rejected = lifecycle.reject(ask().pk, by=ana, note="No.")
    cancelled = ask(prompt="Another?")
    lifecycle.cancel(cancelled.pk)
    Project.objects.update(job_limit=None)
    project = Project.objects.get()
    for job in (rejected, cancelled):
        with pytest.raises(lifecycle.NotAwaiting):
            lifecycle.approve(job.pk, by=ana)
        with pytest.raises(lifecycle.NotAwaiting):
            lifecycle.reject(job.pk, by=ana, note="No.")
        with pytest.raises(lifecycle.NotAwaiting):
            lifecycle.run_cheaper(job.pk, a_spec(project, ana, max_output_tokens=16))
    assert list(Approval.objects.undecided()) == []
    assert Job.objects.count() == 2


def archived(job: Job) -> None:
    Project.objects.get().archive(by=job.submitted_by)


def switched_off(job: Job) -> None:
    ModelSpec.objects.filter(pk=job.model_id).update(shutdown_date=dt.date(2020, 1, 1))


def model_not_used(job: Job) -> None:
    job.project.allowed_models.set([ModelSpec.objects.exclude(pk=job.model_id).earliest("pk")])


def effort_not_used(job: Job) -> None:
    Project.objects.update(allowed_efforts=["max"])


def forgotten(job: Job) -> None:
    Prompt.objects.all().delete()


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (archived, SpecError),
        (switched_off, SpecError),
        (model_not_used, SpecError),
        (effort_not_used, SpecError),
        (forgotten, lifecycle.PromptGone),
    ],
)
def test_what_can_no_longer_be_sent_is_not_approved(
    change: Callable[[Job], None], refusal: type[Exception], ask: Ask, ana: User
) -> None:
    job = ask()
    change(job)
    with pytest.raises(refusal):
        lifecycle.approve(job.pk, by=ana)
    assert Job.objects.get().status == Status.AWAITING_APPROVAL


def test_a_follow_up_whose_thread_is_no_longer_stored_is_not_approved(
    api: FakeApi, submit: Submit, person: User, ana: User
) -> None:
    first = submit()
    api.run("send")
    api.put(first, "completed")
    api.run("poll")
    Project.objects.update(job_limit=Decimal("0.01"))
    job = lifecycle.ask(lifecycle.follow_up(Job.objects.get(), by=person, prompt="Why?"))
    kept = Prompt.objects.get(job=first)
    Prompt.objects.filter(job=first).delete()
    with pytest.raises(SpecError):
        lifecycle.approve(job.pk, by=ana)
    kept.save(force_insert=True)
    assert lifecycle.approve(job.pk, by=ana).status == Status.WAITING


def test_a_cheaper_model_is_tried_first_by_the_approver(ask: Ask, ana: User) -> None:
    job = ask()
    Project.objects.update(job_limit=Decimal(1))
    project = Project.objects.get()
    made = lifecycle.run_cheaper(job.pk, a_spec(project, ana, max_output_tokens=16))
    assert (made.status, made.submitted_by) == (Status.WAITING, ana)
    assert Approval.objects.get().cheaper == made
    before, job = job.version, Job.objects.get(pk=job.pk)
    assert (job.status, job.version) == (Status.AWAITING_APPROVAL, before + 1)
    assert made.short_id in Event.objects.get(kind="cheaper_first").note
    assert lifecycle.approve(job.pk, by=ana).status == Status.WAITING


def test_of_two_approvers_one_has_it_tried_on_a_cheaper_model(ask: Ask, ana: User, person: User) -> None:
    job = ask()
    Project.objects.update(job_limit=Decimal(1))
    project = Project.objects.get()
    made = lifecycle.run_cheaper(job.pk, a_spec(project, ana, max_output_tokens=16))
    with pytest.raises(lifecycle.NotAwaiting):
        lifecycle.run_cheaper(job.pk, a_spec(project, person, max_output_tokens=16))
    assert (Approval.objects.get().cheaper, Attempt.objects.get().job) == (made, made)


def test_a_yes_to_a_ceiling_is_none_to_a_higher_one(ask: Ask, ana: User) -> None:
    job = ask()
    with pytest.raises(SpecError, match="risen since you looked"):
        lifecycle.approve(job.pk, by=ana, seen=job.worst_case - Decimal("0.0000000001"))
    assert Job.objects.get().status == Status.AWAITING_APPROVAL
    assert not LedgerEntry.objects.exists()
    assert lifecycle.approve(job.pk, by=ana, seen=job.worst_case).status == Status.WAITING


def test_a_retry_is_covered_by_what_was_approved_and_by_no_more(
    ask: Ask, ana: User, project: Project
) -> None:
    job = lifecycle.approve(ask().pk, by=ana)
    attempt = Attempt.objects.select_related("price").get()
    Attempt.objects.update(state="ended")
    spend.settle(attempt, cost=Decimal(0))
    job = Job.objects.select_related("project__connection", "model").get()
    again = lifecycle.submission.plan_attempt(job, number=2, price=attempt.price)
    assert again.worst_case == attempt.worst_case
    Attempt.objects.update(state="ended")
    spend.settle(again, cost=None)
    Approval.objects.update(ceiling=attempt.worst_case - Decimal("0.0001"))
    with pytest.raises(lifecycle.OverJobLimit):
        lifecycle.submission.plan_attempt(job, number=3, price=attempt.price)


def test_approvers_are_mailed_when_someone_asks_and_the_asker_when_it_is_decided(
    ask: Ask, ana: User, person: User, settings: Settings
) -> None:
    settings.IS_MAIL_SENT = True
    first, second, third = ask(), ask(prompt="Another?"), ask(prompt="A third?")
    lifecycle.approve(first.pk, by=ana)
    lifecycle.reject(second.pk, by=ana, note="No.")
    lifecycle.approve(third.pk, by=person)
    tasks = [message.func() for message in OrmQ.objects.order_by("pk")]
    assert tasks.count("jobs.tasks.mail_approvers") == 3
    assert tasks.count("jobs.tasks.mail_decision") == 2
