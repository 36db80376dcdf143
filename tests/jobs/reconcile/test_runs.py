"""Reconciliations: asked for once, said plainly when there is no result, and booked with a reason."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F
from django_q.models import OrmQ
from pytest_django.fixtures import Settings

from jobs import clock, openai_client, reconcile, tasks
from jobs.models import (
    Attempt,
    Cause,
    Connection,
    Job,
    LedgerEntry,
    ModelSpec,
    Notice,
    Price,
    Reconciliation,
    ReconciliationLine,
    Status,
    User,
)
from jobs.openai_client import Blocked, BorderError, Cost, NotFound, Retryable
from jobs.reconcile import runs
from jobs.reconcile.matching import Difference
from tests.factories import a_project
from tests.jobs.reconcile.conftest import Ask, Change, pump, reconciled

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

type Bill = Callable[..., None]


@pytest.fixture
def bill(monkeypatch: pytest.MonkeyPatch) -> Bill:
    """Let the API answer with a bill, or an error."""

    def bill(*lines: Cost, error: BorderError | None = None) -> None:
        def costs(*_: Any, **__: Any) -> list[Cost]:
            if error is not None:
                raise error
            return list(lines)

        monkeypatch.setattr(openai_client, "costs", costs)

    return bill


@pytest.fixture
def real(settings: Settings) -> Connection:
    """A connection to OpenAI, and the organization's admin key."""
    settings.OPENAI_ADMIN_KEY = "sk-admin-real"
    return a_project(is_practice=False, base_url="https://api.openai.com/v1").connection


def a_line(item: str, amount: str, quantity: int | None = 1, key: str = "") -> Cost:
    today = clock.now().date()
    return Cost(today, "", key, item, Decimal(amount), 2, quantity)


def run(*, is_practice: bool = False) -> Reconciliation:
    asked = reconcile.ask(is_practice=is_practice)
    tasks.reconcile_bill(asked.pk)
    asked.refresh_from_db()
    return asked


def test_one_is_under_way_at_a_time(real: Connection) -> None:
    first = reconcile.ask(is_practice=False)
    assert reconcile.ask(is_practice=False) == first
    assert OrmQ.objects.count() == 1
    Reconciliation.objects.update(asked_at=F("asked_at") - dt.timedelta(hours=1))  # no worker was there
    assert reconcile.ask(is_practice=False) != first


def test_once_a_day_it_happens_by_itself(real: Connection, bill: Bill) -> None:
    bill()
    tasks.sweep()
    tasks.sweep()
    (found,) = Reconciliation.objects.all()
    assert (found.is_practice, found.asked_by) == (False, None)
    assert (found.until - found.since).days == 35
    Reconciliation.objects.update(asked_at=F("asked_at") - dt.timedelta(hours=24))
    tasks.sweep()
    assert Reconciliation.objects.count() == 2


def test_it_does_not_happen_by_itself_without_a_key_or_a_connection(settings: Settings) -> None:
    tasks.sweep()
    settings.OPENAI_ADMIN_KEY = "sk-admin-real"
    tasks.sweep()
    assert not Reconciliation.objects.exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Blocked("No.", code="invalid_api_key", status=401), "does not know the key in OPENAI_ADMIN_KEY"),
        (Blocked("No.", code="scopes", status=403), "It has to be an admin key of the organization"),
        (NotFound("No.", code="not_found", status=404), "no Costs API at the address in OPENAI_BASE_URL"),
        (Retryable("Later.", code="timeout"), "The bill could not be read: Later."),
    ],
)
def test_what_keeps_the_bill_from_being_read_is_said(
    real: Connection, bill: Bill, error: BorderError, said: str
) -> None:
    bill(error=error)
    assert said in run().problem


def test_a_connection_that_went_meanwhile_is_said(real: Connection) -> None:
    asked = reconcile.ask(is_practice=False)
    Connection.objects.update(base_url="https://elsewhere.example/v1")
    reconcile.run(asked.pk)
    asked.refresh_from_db()
    assert asked.problem.startswith("No connection here leads to OpenAI.")


def test_a_reconciliation_that_has_ended_is_not_done_again(real: Connection, bill: Bill) -> None:
    bill(a_line("o3, input_tokens", "1.00"))
    found = run()
    reconcile.run(found.pk)
    assert ReconciliationLine.objects.count() == 1


def test_a_reconciliation_that_is_done_twice_is_kept_once(real: Connection, monkeypatch: Any) -> None:
    asked = reconcile.ask(is_practice=False)
    lines = [a_line("o3, input_tokens", "1.00")]

    def costs(*_: Any, **__: Any) -> list[Cost]:
        monkeypatch.setattr(openai_client, "costs", lambda *_, **__: lines)
        reconcile.run(asked.pk)  # the message came a second time meanwhile
        return lines

    monkeypatch.setattr(openai_client, "costs", costs)
    reconcile.run(asked.pk)
    assert ReconciliationLine.objects.count() == 1


def test_what_nobody_can_explain_raises_an_alarm_when_it_changes(
    real: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for residual in ("7.50", "7.50", "9.00", "0"):
        found = Difference(Cause.UNEXPLAINED, None, Decimal(residual), Decimal(0))
        monkeypatch.setattr(runs, "_lines", lambda *_, found=found, **__: [runs._Line(found, "o3-pro")])
        monkeypatch.setattr(openai_client, "costs", lambda *_, **__: [])
        assert run().residual == Decimal(residual)
    said = Notice.objects.filter(kind="bill_unexplained").order_by("pk").values_list("message", flat=True)
    assert [message.partition(" ")[0] for message in said] == ["$7.50", "$9.00"]


def test_what_a_bill_names_otherwise_is_kept_as_it_is_named(real: Connection, bill: Bill) -> None:
    bill(
        a_line("gpt-image-9, output_tokens", "1.00"),
        a_line("assistants api | storage", "2.00"),
        a_line("", "3.00"),
        a_line("web search calls", "4.00"),
    )
    found = run()
    lines = {line.model: (line.cause, line.difference) for line in found.lines.all()}
    assert lines == {
        "gpt-image-9": (Cause.OUTSIDE, 1),
        "assistants api | storage": (Cause.OUTSIDE, 2),
        "not named": (Cause.OUTSIDE, 3),
        "tools": (Cause.UNEXPLAINED, 4),
    }
    assert (found.billed, found.booked, found.residual) == (10, 0, 4)


def test_calls_of_tools_are_compared_beside_the_tokens(ask: Ask) -> None:
    job = ask("searches=3", tools=({"type": "web_search"},), max_tool_calls=3)
    found = reconciled()
    assert {line.cause for line in found.lines.all()} == {Cause.MATCHED}
    assert found.lines.get(model="tools").booked == Decimal("0.03")
    assert found.booked == job.cost


def test_a_model_without_a_price_is_compared_all_the_same(ask: Ask) -> None:
    ask()
    Price.objects.exclude(pk__in=LedgerEntry.objects.values("price")).delete()
    ModelSpec.objects.create(
        id="new",
        name="new",
        family="new",
        rung=1,
        context_window=1,
        max_output_tokens=1,
        default_effort="low",
    )
    assert reconciled().difference == 0


@pytest.fixture
def dearer(ask: Ask, change: Change) -> ReconciliationLine:
    """A difference to book: a job that was billed a quarter more."""
    change(ask(), factor="1.25")
    return reconciled().lines.get(cause=Cause.PRICE)


def test_a_difference_is_booked_once_with_a_reason(dearer: ReconciliationLine, person: User) -> None:
    with pytest.raises(reconcile.NotBookable, match="Say why"):
        reconcile.book(dearer.pk, reason=" ", by=person)
    before = Job.objects.get().cost
    assert reconcile.book(dearer.pk, reason="dearer since Monday", by=person) == before / 4
    assert Job.objects.get().cost == before * Decimal("1.25")
    dearer.refresh_from_db()
    assert (dearer.booked_by, dearer.reason) == (person, "dearer since Monday")
    with pytest.raises(reconcile.NotBookable, match="nothing to book any more"):
        reconcile.book(dearer.pk, reason="again", by=person)


def test_booking_goes_on_where_it_broke_off(dearer: ReconciliationLine, person: User) -> None:
    reconcile.book(dearer.pk, reason="the bill", by=person)
    cost = Job.objects.get().cost
    ReconciliationLine.objects.update(booked_at=None)
    tasks.book_difference(dearer.pk)
    dearer.refresh_from_db()
    assert dearer.booked_at
    assert Job.objects.get().cost == cost


def test_a_difference_about_many_jobs_is_booked_by_a_worker(
    dearer: ReconciliationLine, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.reconcile.runs.AT_ONCE", 0)
    tasks.book_difference(dearer.pk)  # nobody has asked for it
    before = Job.objects.get().cost
    assert reconcile.book(dearer.pk, reason="the bill", by=person) is None
    with pytest.raises(reconcile.NotBookable, match="nothing to book any more"):
        reconcile.book(dearer.pk, reason="the bill", by=person)
    assert Job.objects.get().cost == before
    tasks.book_difference(dearer.pk)
    assert Job.objects.get().cost == before * Decimal("1.25")
    assert LedgerEntry.objects.latest("pk").actor == person


def test_a_worker_that_cannot_book_says_why(
    dearer: ReconciliationLine, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.reconcile.runs.AT_ONCE", 0)
    reconcile.book(dearer.pk, reason="the bill", by=person)
    dearer.parts.update(was=Decimal(1))
    tasks.book_difference(dearer.pk)
    dearer.refresh_from_db()
    assert "Money has moved since" in dearer.note
    assert dearer.booked_by is None


def test_what_has_moved_since_is_not_booked(dearer: ReconciliationLine, person: User) -> None:
    dearer.parts.update(was=Decimal(1))
    with pytest.raises(reconcile.NotBookable, match="Money has moved since"):
        reconcile.book(dearer.pk, reason="the bill", by=person)
    assert Attempt.objects.get().cost != 1


def test_another_line_for_the_same_attempt_is_booked_as_well(
    dearer: ReconciliationLine, person: User, change: Change
) -> None:
    reconcile.book(dearer.pk, reason="the bill", by=person)
    change(Job.objects.get(), factor="2")
    again = reconciled().lines.get(cause=Cause.PRICE)
    reconcile.book(again.pk, reason="and again", by=person)
    assert reconciled().difference == 0


def test_a_send_that_is_not_decided_about_is_named_but_not_booked(ask: Ask) -> None:
    unsure = pump(ask("fault=reset_after"))
    assert unsure.status == Status.UNCONFIRMED
    found = reconciled()
    twin = found.lines.get(cause=Cause.TWIN)
    assert twin.parts.get().attempt.job == unsure
    assert not found.lines.bookable().exists()
    assert found.residual == 0
