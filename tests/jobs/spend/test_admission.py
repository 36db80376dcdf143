"""Admission: a hold in every budget that applies, or a refusal that says exactly what was missing."""

import datetime as dt
import re
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from jobs import spend
from jobs.models import (
    ApiToken,
    Budget,
    BudgetPeriod,
    LedgerEntry,
    Project,
    Refusal,
    Scope,
    User,
    Workspace,
)
from jobs.spend import admission
from tests.factories import a_project
from tests.jobs.spend.conftest import MakeAttempt, findings

pytestmark = pytest.mark.django_db

THIS_MONTH = dt.date(2026, 11, 1)


@pytest.fixture(autouse=True)
def _november(settings: Settings) -> None:
    settings.PONDER_TODAY = dt.date(2026, 11, 30)


def held(budget: Budget) -> Decimal:
    return BudgetPeriod.objects.get(budget=budget, month=THIS_MONTH).held


def test_a_hold_counts_in_every_budget_that_applies(
    project: Project, person: User, admitted: MakeAttempt
) -> None:
    token = ApiToken.objects.create(name="t", project=project, user=person, prefix="p", digest="d")
    other = User.objects.create_user("other@example.com", name="Other")
    of_token = Budget.objects.create(scope=Scope.TOKEN, token=token, cap=5)
    budgets = {
        "workspace": spend.set_cap(Decimal(50)),
        "member": spend.set_cap(Decimal(20), user=person),
        "stranger": spend.set_cap(Decimal(20), user=other),
        "project": Budget.objects.get(project=project),
        "token": of_token,
    }
    admitted(project, "1.5")
    admitted(project, "0.25", token=token)
    admitted(project, "0.125", by=other)
    found = {name: held(budget) for name, budget in budgets.items()}
    assert found == {
        "workspace": Decimal("1.875"),
        "member": Decimal("1.75"),
        "stranger": Decimal("0.125"),
        "project": Decimal("1.875"),
        "token": Decimal("0.25"),
    }
    assert findings() == []


def test_a_practice_job_counts_in_its_own_project_only(person: User, admitted: MakeAttempt) -> None:
    practice = a_project("practice", cap="10")
    budgets = [spend.set_cap(Decimal(1)), spend.set_cap(Decimal(1), user=person)]
    admitted(practice, "5")
    assert held(Budget.objects.get(project=practice)) == 5
    assert [held(budget) for budget in budgets] == [0, 0]
    assert not LedgerEntry.objects.real().exists()
    assert findings() == []


def test_the_last_cent_is_admitted_and_the_next_is_not(project: Project, admitted: MakeAttempt) -> None:
    admitted(project, "9.9999999999")
    admitted(project, "0.0000000001")
    with pytest.raises(spend.BudgetRefused) as refused:
        admitted(project, "0.0000000001")
    assert (refused.value.left, refused.value.shortfall) == (0, Decimal("0.0000000001"))
    assert str(refused.value) == "the cap of Real has no room for a ceiling of 0.0000000001 USD"
    assert LedgerEntry.objects.count() == 2
    assert findings() == []


def test_the_first_budget_in_the_way_refuses_and_none_keeps_a_hold(
    project: Project, person: User, admitted: MakeAttempt
) -> None:
    member = spend.set_cap(Decimal("0.5"), user=person)
    spend.set_cap(Decimal(100))
    with pytest.raises(spend.BudgetRefused) as refused:
        admitted(project, "2")
    assert (refused.value.budget, refused.value.month) == (member, THIS_MONTH)
    assert (refused.value.ceiling, refused.value.shortfall) == (2, Decimal("1.5"))
    assert not BudgetPeriod.objects.exclude(held=0).exists()


def test_a_soft_cap_admits(project: Project, admitted: MakeAttempt) -> None:
    spend.set_cap(Decimal(1), project=project, is_hard=False)
    admitted(project, "3")
    period = BudgetPeriod.objects.get()
    assert (period.held, period.left) == (3, -2)


def test_a_grant_makes_room(project: Project, admitted: MakeAttempt) -> None:
    BudgetPeriod.objects.update(granted=F("granted") + 5)
    admitted(project, "15")
    with pytest.raises(spend.BudgetRefused):
        admitted(project, "0.01")


def test_while_overrun_nothing_is_admitted_not_even_for_nothing(
    project: Project, admitted: MakeAttempt
) -> None:
    BudgetPeriod.objects.update(spent=Decimal("10.01"))
    with pytest.raises(spend.BudgetRefused) as refused:
        admitted(project, "0")
    assert refused.value.shortfall == Decimal("0.01")


def test_room_made_between_the_refusal_and_the_look_at_it_is_room(
    project: Project, admitted: MakeAttempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = admitted(project, "10")
    hold_at_once = admission._hold_at_once

    def released_meanwhile(*hold: Any) -> bool:
        done = hold_at_once(*hold)
        if not done:
            monkeypatch.undo()
            spend.settle(first, cost=None)
        return done

    monkeypatch.setattr(admission, "_hold_at_once", released_meanwhile)
    admitted(project, "4")
    assert BudgetPeriod.objects.get().held == 4


def test_the_month_and_the_day_are_those_of_the_workspace(
    project: Project, admitted: MakeAttempt, settings: Settings
) -> None:
    Workspace.objects.update(time_zone="Pacific/Auckland")
    settings.PONDER_TODAY = dt.date(2026, 12, 1)
    hold = LedgerEntry.objects.get(attempt=admitted(project))
    assert (hold.spent_on, hold.month) == (dt.date(2026, 12, 1), dt.date(2026, 12, 1))


def test_a_new_month_opens_with_the_cap_and_nothing_in_it(
    project: Project, admitted: MakeAttempt, settings: Settings
) -> None:
    admitted(project, "10")
    settings.PONDER_TODAY = dt.date(2026, 12, 1)
    admitted(project, "10")
    found = BudgetPeriod.objects.order_by("month").values_list("month", "cap", "held")
    assert list(found) == [(THIS_MONTH, 10, 10), (dt.date(2026, 12, 1), 10, 10)]
    assert findings() == []


@pytest.mark.parametrize("is_open", [True, False])
def test_the_budgets_are_locked_last_and_in_id_order(
    project: Project, person: User, admitted: MakeAttempt, settings: Settings, is_open: bool
) -> None:
    spend.set_cap(Decimal(50), user=person)
    spend.set_cap(Decimal(50))
    if not is_open:
        settings.PONDER_TODAY = dt.date(2026, 12, 1)
    with CaptureQueriesContext(connection) as queries:
        admitted(project)
    sent = [sql.strip() for query in queries for sql in query["sql"].split(";")]
    undone = max((number for number, sql in enumerate(sent) if sql.startswith("ROLLBACK TO")), default=0)
    writes = [sql for sql in sent[undone:] if sql.startswith(("INSERT", "UPDATE"))]
    ids = [int(re.findall(r'budget_id"? = (\d+)', sql)[0]) for sql in writes[-3:]]
    assert ids == sorted(Budget.objects.values_list("pk", flat=True))
    assert "UPDATE" not in "".join(writes[:-3])


def test_money_outside_a_transaction_is_a_defect(
    project: Project, attempt_of: MakeAttempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = attempt_of(project)
    for name in ("admission", "settlement"):
        outside = SimpleNamespace(in_atomic_block=False)
        monkeypatch.setattr(sys.modules[f"jobs.spend.{name}"], "connection", outside)
    with pytest.raises(RuntimeError, match="transaction that makes the attempt"):
        spend.admit(attempt.job, attempt)
    with pytest.raises(RuntimeError, match="transaction that says why"):
        spend.settle(attempt, cost=None)


def test_without_a_cap_of_the_project_nothing_is_admitted(admitted: MakeAttempt) -> None:
    capless = a_project("capless", cap=None, is_practice=False)
    spend.set_cap(Decimal(100))
    with pytest.raises(spend.NoCap):
        admitted(capless)
    assert not LedgerEntry.objects.exists()


def test_a_refusal_is_recorded_with_what_was_missing(
    project: Project, person: User, attempt_of: MakeAttempt
) -> None:
    attempt = attempt_of(project, "12")
    with pytest.raises(spend.BudgetRefused) as refused, transaction.atomic():
        spend.admit(attempt.job, attempt)
    spend.record_refusal(refused.value, attempt.job)
    row = Refusal.objects.get()
    assert (row.project, row.user, row.budget) == (project, person, Budget.objects.get())
    assert (row.month, row.ceiling, row.shortfall) == (THIS_MONTH, 12, 2)


def test_a_cap_that_is_made_soft_while_an_admission_waits_admits_it(
    project: Project, admitted: MakeAttempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, tries = admission._hold_at_once, []

    def held(wanted: Mapping[str, Any], budgets: Sequence[Any]) -> bool:
        tries.append(budgets)
        assert len(tries) < 5, "it would try for ever"
        if len(tries) == 1:
            spend.set_cap(Decimal(1), project=project, is_hard=False)
            return False
        return hold(wanted, budgets)

    monkeypatch.setattr(admission, "_hold_at_once", held)
    admitted(project, "5")
    assert len(tries) == 2
