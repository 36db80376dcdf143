"""A job that waits for approval is decided about once, whoever decides at the same moment."""

import uuid
from collections.abc import Callable
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.lifecycle import Reply, SpecError, approval, attaching, submission
from jobs.models import (
    Approval,
    Attempt,
    Budget,
    BudgetPeriod,
    BudgetRequest,
    Job,
    LedgerEntry,
    Project,
    Refusal,
    Status,
    User,
    Workspace,
)
from tests.factories import a_person, a_spec
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.test_answering import SAGE, stop
from tests.jobs.lifecycle.test_attaching import given
from tests.races.test_locks import Turns
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def job(person: User, project: Project) -> Job:
    project.job_limit = Decimal("0.01")
    project.save()
    return lifecycle.ask(a_spec(project, person))


def test_of_two_sends_of_one_wish_one_is_a_job_and_a_refusal(person: User, project: Project) -> None:
    project.job_limit = Decimal("0.01")
    project.save()
    spend.set_cap(Decimal("0.01"), project=project)
    wanted = a_spec(project, person, submission_key=str(uuid.uuid4()))
    found = at_once([lambda: lifecycle.ask(wanted)] * 3)
    assert {job.pk for job in found} == {Job.objects.get().pk}
    assert Refusal.objects.get().budget == Approval.objects.get().budget == project.budget_set.get()


def slow_after(turns: Turns, patch: pytest.MonkeyPatch, module: ModuleType, name: str) -> None:
    """Hold the first one up where a function of a module has done its part."""
    own: Callable[..., Any] = getattr(module, name)

    def slowly(*args: Any, **more: Any) -> Any:
        found = own(*args, **more)
        turns.hold_up()
        return found

    patch.setattr(module, name, slowly)


def test_of_two_approvers_at_once_one_admits_it(job: Job, person: User, project: Project) -> None:
    ana = a_person("ana@example.com")
    project.membership_set.create(user=ana, role=Role.APPROVER)
    found = at_once([lambda: lifecycle.approve(job.pk, by=person), lambda: lifecycle.approve(job.pk, by=ana)])
    assert sorted(type(one).__name__ for one in found) == ["Job", "NotAwaiting"]
    assert Attempt.objects.count() == LedgerEntry.objects.count() == 1
    assert BudgetPeriod.objects.get().held == Job.objects.get().worst_case


def test_an_approval_and_a_rejection_at_once_leave_one_of_both(job: Job, person: User) -> None:
    found = at_once(
        [
            lambda: lifecycle.approve(job.pk, by=person),
            lambda: lifecycle.reject(job.pk, by=person, note="No."),
        ]
    )
    assert sorted(type(one).__name__ for one in found) == ["Job", "NotAwaiting"]
    decided, status = Approval.objects.get().decision, Job.objects.get().status
    assert (decided, status) in {("approved", Status.WAITING), ("rejected", Status.CANCELLED)}
    assert Attempt.objects.count() == (status == Status.WAITING)


def test_an_approval_and_a_cancel_at_once_leave_nothing_held(job: Job, person: User) -> None:
    found = at_once([lambda: lifecycle.approve(job.pk, by=person), lambda: lifecycle.cancel(job.pk)])
    assert not isinstance(found[1], Exception)
    assert Job.objects.get().status == Status.CANCELLED
    assert BudgetPeriod.objects.get().held == 0


def test_an_approval_and_the_archive_at_once_admit_it_wholly_or_not_at_all(
    job: Job, person: User, project: Project
) -> None:
    found = at_once(
        [lambda: lifecycle.approve(job.pk, by=person), lambda: project.archive(by=person)]  # type: ignore[list-item]
    )
    is_admitted = not isinstance(found[0], Exception)
    assert is_admitted or isinstance(found[0], lifecycle.SpecError)
    assert Attempt.objects.count() == LedgerEntry.objects.count() == is_admitted
    assert (Job.objects.get().status == Status.WAITING) == is_admitted


def test_two_approvals_for_which_there_is_room_for_one_admit_one(
    job: Job, person: User, project: Project
) -> None:
    other = lifecycle.ask(a_spec(project, person, prompt="Another?"))
    spend.set_cap(max(job.worst_case, other.worst_case), project=project)
    found = at_once([lambda one=one: lifecycle.approve(one.pk, by=person) for one in (job, other)])
    assert sorted(type(one).__name__ for one in found) == ["BudgetRefused", "Job"]
    assert sorted(Job.objects.values_list("status", flat=True)) == ["awaiting_approval", "waiting"]


def test_of_two_who_decide_about_more_budget_at_once_one_does(person: User, project: Project) -> None:
    today = Workspace.objects.the().today()
    budget = Budget.objects.get()
    wish = lifecycle.ask_for_budget(budget, Decimal(5), until=today, why="A deadline.", by=person)
    found = at_once(
        [
            *[lambda: lifecycle.grant_budget(wish.pk, Decimal(5), until=today, by=person)] * 2,
            lambda: lifecycle.refuse_budget(wish.pk, by=person, note="No."),
        ]
    )
    assert sorted(type(one).__name__ for one in found) == ["AlreadyDecided"] * 2 + ["BudgetRequest"]
    is_granted = BudgetRequest.objects.get().decision == "granted"
    assert LedgerEntry.objects.filter(kind="grant").count() == is_granted
    assert sum(BudgetPeriod.objects.values_list("granted", flat=True)) == 5 * is_granted


def test_a_grant_handed_on_twice_admits_no_more_than_it_reaches_for(person: User, project: Project) -> None:
    today = Workspace.objects.the().today()
    budget = spend.set_cap(Decimal("0.01"), project=project)
    waiting = [lifecycle.ask(a_spec(project, person, prompt=f"Is it {n}?")) for n in range(3)]
    wish = lifecycle.ask_for_budget(budget, Decimal(1), until=today, why="A deadline.", by=person)
    lifecycle.grant_budget(wish.pk, 2 * waiting[0].worst_case, until=today, by=person)
    at_once([lambda: lifecycle.hand_on(wish.pk)] * 3 + [lifecycle.mind_grants])  # type: ignore[list-item]
    assert Job.objects.filter(status=Status.WAITING).count() == Attempt.objects.count() == 2
    period = BudgetPeriod.objects.get()
    assert period.held <= period.room


def test_a_job_is_approved_while_it_is_run_again(
    job: Job, person: User, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.job_limit = None
    project.save()
    lifecycle.submit(a_spec(project, person, prompt="The first one makes the month's period."))
    turns = Turns()
    # With the periods in hand; the job is looked at by a foreign key when the new one is committed.
    slow_after(turns, monkeypatch, submission, "plan_attempt")
    again = a_spec(project, person, rerun_of=job)
    approve = turns.second(lambda: lifecycle.approve(job.pk, by=person))
    run_again, approved = at_once([lambda: lifecycle.submit(again), approve])
    assert isinstance(run_again, Job), run_again
    assert approved is None
    assert Attempt.objects.count() == 3


def test_a_cheaper_job_that_comes_while_one_is_approved_comes_too_late(
    job: Job, person: User, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.job_limit = None
    project.save()
    turns = Turns()
    slow_after(turns, monkeypatch, approval, "_awaiting")
    wanted = a_spec(project, person, model="gpt-6-luna", mode="standard", rerun_of=job)
    cheaper = turns.second(lambda: lifecycle.run_cheaper(job.pk, wanted))
    approved, late = at_once([lambda: lifecycle.approve(job.pk, by=person), cheaper])
    assert isinstance(approved, Job), approved
    assert isinstance(late, lifecycle.NotAwaiting), late
    assert Job.objects.count() == Attempt.objects.count() == 1


def test_replies_with_a_file_that_are_saved_while_others_are_asked_for_come_too_late(
    api: FakeApi, person: User, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = lifecycle.submit(a_spec(project, person, model="gpt-6-sol", mode="standard"))
    job = stop(api, submitted, [SAGE])
    Project.objects.update(job_limit=Decimal("0.01"))
    job = Job.objects.select_related("project__connection", "prompt").get(pk=job.pk)
    replies = [Reply(key="call_1", output="See the figure.", files=(given(project, person),))]
    turns = Turns()
    slow_after(turns, monkeypatch, attaching, "attach")
    save = turns.second(lambda: lifecycle.save_replies(job, replies, by=person))
    asked, late = at_once([lambda: lifecycle.ask_to_answer(job, replies, by=person), save])
    assert isinstance(asked, Job), asked
    assert isinstance(late, SpecError), late
    assert lifecycle.saved_draft(job).asked_in == asked
