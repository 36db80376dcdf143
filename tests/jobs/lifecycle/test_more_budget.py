"""More budget: asked for, granted for a while or refused, and the jobs that waited for it go on."""

import datetime as dt
from decimal import Decimal

import pytest
from django_q.models import OrmQ
from pytest_django.fixtures import Settings

from jobs import lifecycle, spend, tasks
from jobs.access import Role
from jobs.lifecycle import approval, more_budget
from jobs.models import (
    Approval,
    Attempt,
    Budget,
    BudgetPeriod,
    BudgetRequest,
    Event,
    Job,
    LedgerEntry,
    Project,
    Status,
    User,
)
from jobs.models.trail import trail_of
from tests.factories import a_person, a_project, a_spec

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

TODAY = dt.date(2026, 11, 15)
END = dt.date(2026, 11, 30)


@pytest.fixture(autouse=True)
def _november(settings: Settings) -> None:
    settings.PONDER_TODAY = TODAY


@pytest.fixture
def ops(db: None) -> User:
    return a_person("ops@example.com", is_superuser=True)


@pytest.fixture
def budget(project: Project) -> Budget:
    """A budget without room."""
    return spend.set_cap(Decimal("0.01"), project=project)


@pytest.fixture
def wish(budget: Budget, person: User) -> BudgetRequest:
    return lifecycle.ask_for_budget(budget, Decimal(5), until=END, why="A deadline.", by=person)


def waiting(project: Project, person: User, prompt: str = "Is it so?") -> Job:
    return lifecycle.ask(
        a_spec(project, person, model="gpt-6-sol", mode="standard", prompt=prompt), why="Needed."
    )


def granted(wish: BudgetRequest, ops: User, amount: object = 5, until: dt.date = END) -> BudgetRequest:
    return lifecycle.grant_budget(wish.pk, Decimal(str(amount)), until=until, by=ops, note="Go.")


def statuses() -> list[str]:
    return list(Job.objects.order_by("pk").values_list("status", flat=True))


def test_a_grant_given_as_the_month_changes_is_no_grant_of_the_next(
    wish: BudgetRequest, ops: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lock() -> None:
        settings.PONDER_TODAY = dt.date(2026, 12, 1)

    monkeypatch.setattr(spend.grants, "lock_money_shared", lock)
    with pytest.raises(lifecycle.BadUntil):
        granted(wish, ops)
    assert not LedgerEntry.objects.exists()
    assert BudgetRequest.objects.get().decision == ""


def test_a_grant_is_in_the_ledger_and_in_the_trail(wish: BudgetRequest, ops: User, project: Project) -> None:
    made = granted(wish, ops, amount=3)
    assert (made.decision, made.amount, made.decided_by, made.note) == ("granted", 3, ops, "Go.")
    assert BudgetPeriod.objects.get().granted == 3
    entry = LedgerEntry.objects.get()
    assert (entry.kind, entry.reason) == ("grant", "until 30 November 2026: A deadline.")
    said = trail_of(project).first()
    assert said
    assert said.get_change_message() == "Granted 3.00 USD until 30 November 2026, asked by Mira"


@pytest.mark.parametrize("until", [dt.date(2026, 11, 14), dt.date(2026, 12, 1)])
def test_a_grant_lasts_until_a_day_of_this_month(wish: BudgetRequest, ops: User, until: dt.date) -> None:
    with pytest.raises(lifecycle.BadUntil):
        granted(wish, ops, until=until)
    assert not LedgerEntry.objects.exists()


def test_a_request_is_decided_once(wish: BudgetRequest, ops: User) -> None:
    refused = lifecycle.refuse_budget(wish.pk, by=ops, note="Wait for December.")
    assert (refused.decision, refused.note) == ("refused", "Wait for December.")
    with pytest.raises(lifecycle.AlreadyDecided):
        granted(wish, ops)
    with pytest.raises(lifecycle.AlreadyDecided):
        lifecycle.refuse_budget(wish.pk, by=ops, note="No.")
    assert BudgetPeriod.objects.get().granted == 0


def test_jobs_that_waited_go_on_oldest_first_as_far_as_it_reaches(
    project: Project, person: User, budget: Budget, wish: BudgetRequest, ops: User
) -> None:
    first, second = waiting(project, person), waiting(project, person, "And the other?")
    made = granted(wish, ops, amount=first.worst_case)
    assert statuses() == ["awaiting_approval", "awaiting_approval"]
    tasks.hand_on_grant(made.pk)
    assert statuses() == ["waiting", "awaiting_approval"]
    decided = Approval.objects.get(job=first)
    assert (decided.decision, decided.decided_by, decided.ceiling) == ("approved", None, None)
    assert Event.objects.get(kind="approved").note == "More budget was granted."
    assert Attempt.objects.get().job == first
    # Once a grant: what is given back later is for approvers to give away.
    lifecycle.cancel(first.pk)
    tasks.hand_on_grant(made.pk)
    lifecycle.mind_grants()
    assert statuses() == ["cancelled", "awaiting_approval"]
    assert second.pk in Approval.objects.undecided().values_list("pk", flat=True)


def test_what_another_cap_is_in_the_way_of_goes_on_when_more_is_granted_there(
    person: User, ops: User
) -> None:
    project = a_project("billed", is_practice=False, cap="0.01", members={person: Role.SUBMITTER})
    job = waiting(project, person)
    own, workspace = Budget.objects.get(project=project), spend.set_cap(Decimal("0.02"))
    for budget in (own, workspace):
        assert statuses() == ["awaiting_approval"]
        wish = lifecycle.ask_for_budget(budget, Decimal(5), until=END, why="A deadline.", by=person)
        tasks.hand_on_grant(granted(wish, ops).pk)
    assert statuses() == ["waiting"]
    assert Attempt.objects.get().job == job


def test_what_an_approver_had_no_room_for_waits_for_that_room(person: User, ops: User) -> None:
    project = a_project("billed", is_practice=False, cap="0.01", members={person: Role.SUBMITTER})
    job = waiting(project, person)
    spend.set_cap(Decimal(9), project=project)
    workspace = spend.set_cap(Decimal("0.02"))
    with pytest.raises(spend.BudgetRefused):
        lifecycle.approve(job.pk, by=ops)
    assert Approval.objects.get().budget == workspace


def test_what_asked_because_of_the_limit_waits_for_an_approver(
    project: Project, person: User, wish: BudgetRequest, ops: User
) -> None:
    without_room = waiting(project, person)
    Project.objects.update(job_limit=Decimal("0.001"))
    project.refresh_from_db()
    waiting(project, person, "And the other?")
    assert lifecycle.hand_on(granted(wish, ops).pk) == 0
    assert statuses() == ["awaiting_approval"] * 2
    # The limit was set after the first had asked: it holds for it too.
    Project.objects.update(job_limit=None)
    assert approval.go_on(without_room.pk)


def test_whose_submitter_may_not_submit_any_more_waits_on(
    project: Project, person: User, wish: BudgetRequest, ops: User
) -> None:
    waiting(project, person)
    project.membership_set.update(role=Role.VIEWER)
    assert lifecycle.hand_on(granted(wish, ops).pk) == 0
    assert statuses() == ["awaiting_approval"]


def test_a_job_that_asked_after_the_grant_waits_for_an_approver(
    project: Project, person: User, wish: BudgetRequest, ops: User
) -> None:
    made = granted(wish, ops, amount="0.01")
    late = waiting(project, person)
    Approval.objects.filter(job=late).update(asked_at=made.decided_at + dt.timedelta(seconds=1))  # type: ignore[operator]
    spend.set_cap(Decimal(100), project=project)
    assert lifecycle.hand_on(made.pk) == 0


def test_one_that_breaks_keeps_no_other_from_going(
    project: Project, person: User, wish: BudgetRequest, ops: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, fine = waiting(project, person), waiting(project, person, "And the other?")
    go_on = approval.go_on

    def breaks(job_id: int) -> bool:
        if job_id == broken.pk:
            raise ValueError
        return go_on(job_id)

    monkeypatch.setattr(more_budget, "go_on", breaks)
    assert lifecycle.hand_on(granted(wish, ops).pk) == 1
    fine.refresh_from_db()
    assert fine.status == Status.WAITING


def test_the_databases_trouble_is_no_jobs(
    project: Project, person: User, wish: BudgetRequest, ops: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting(project, person)
    made = granted(wish, ops)

    def gone(_: int) -> bool:
        raise more_budget.OperationalError

    monkeypatch.setattr(more_budget, "go_on", gone)
    with pytest.raises(more_budget.OperationalError):
        lifecycle.hand_on(made.pk)
    assert BudgetRequest.objects.get().handed_on_at is None


def test_the_watchdog_hands_on_what_no_message_did(
    project: Project, person: User, wish: BudgetRequest, ops: User
) -> None:
    waiting(project, person)
    granted(wish, ops)
    OrmQ.objects.all().delete()
    tasks.watchdog()
    assert statuses() == ["waiting"]


def test_a_grant_ends_after_its_last_day_by_the_watchdog(
    wish: BudgetRequest, ops: User, settings: Settings
) -> None:
    granted(wish, ops, until=TODAY)
    lifecycle.mind_grants()
    assert BudgetPeriod.objects.get().granted == 5
    settings.PONDER_TODAY = TODAY + dt.timedelta(days=1)
    for _ in range(2):
        lifecycle.mind_grants()
    assert BudgetPeriod.objects.get().granted == 0
    assert BudgetRequest.objects.get().ended_at is not None
    assert list(LedgerEntry.objects.order_by("pk").values_list("amount", flat=True)) == [5, -5]


def test_a_grant_to_the_end_of_its_month_ends_with_it(
    wish: BudgetRequest, ops: User, settings: Settings
) -> None:
    granted(wish, ops)
    settings.PONDER_TODAY = dt.date(2026, 12, 1)
    lifecycle.mind_grants()
    assert BudgetRequest.objects.get().ended_at is not None
    assert BudgetPeriod.objects.get(month=dt.date(2026, 11, 1)).granted == 5
    assert LedgerEntry.objects.count() == 1


def test_two_ends_at_once_take_back_once(wish: BudgetRequest, ops: User, settings: Settings) -> None:
    made = granted(wish, ops, until=TODAY)
    settings.PONDER_TODAY = TODAY + dt.timedelta(days=1)
    for _ in range(2):
        more_budget._end(made)
    assert BudgetPeriod.objects.get().granted == 0


def test_people_are_mailed_when_it_is_asked_and_when_it_is_decided(
    budget: Budget, person: User, ops: User, settings: Settings
) -> None:
    settings.IS_MAIL_SENT = True
    wish = lifecycle.ask_for_budget(budget, Decimal(5), until=END, why="A deadline.", by=person)
    granted(wish, ops)
    asked = [message.func() for message in OrmQ.objects.order_by("pk")]
    assert asked == [
        "jobs.tasks.mail_budget_request",
        "jobs.tasks.mail_budget_decision",
        "jobs.tasks.hand_on_grant",
    ]
