"""A bill with six differences: each is found, named, and booked, and nothing is left over."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db.models import F

from jobs import lifecycle, reconcile
from jobs.lifecycle import Decision
from jobs.models import Attempt, Cause, EntryKind, LedgerEntry, Reconciliation, Status, User
from tests.jobs.reconcile.conftest import Ask, Change, pump, reconciled
from tests.sandbox_process import SandboxProcess

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

A_DAY = dt.timedelta(days=1)


def by_cause(run: Reconciliation) -> dict[str, tuple[str, Decimal]]:
    return {line.cause: (line.model, line.difference) for line in run.lines.all()}


def billed(sandbox: SandboxProcess) -> Decimal:
    return sum((Decimal(row["bill"]["amount"]) for row in sandbox.log()["responses"]), Decimal(0))


def test_six_differences_are_found_named_and_booked(
    ask: Ask, change: Change, sandbox: SandboxProcess, person: User
) -> None:
    ask(words="This one agrees.")
    late = ask(words="This one is billed a day after it ended.")
    Attempt.objects.filter(job=late).update(
        sent_at=F("sent_at") - A_DAY, end_seen_at=F("end_seen_at") - A_DAY, ended_at=F("ended_at") - A_DAY
    )
    silent = ask("outcome=cancelled usage=none", words="This one tells no usage.", model="gpt-6-astra")
    dearer = ask(model="gpt-6.1-sol")
    change(dearer, factor="1.25")
    change(ask(model="gpt-5.6-sol"), places=3)
    twin = pump(
        ask("fault=reset_after times=1", words="This one is sent twice, long as it is.", model="gpt-6-astra")
    )
    pump(lifecycle.resolve(twin.pk, Decision.RESEND))
    twin.refresh_from_db()
    assert (silent.status, twin.status) == (Status.CANCELLED, Status.COMPLETED)
    change(
        add={
            "line_item": "gpt-6-sol, output_tokens",
            "quantity": 1_000_000,
            "amount": "10",
            "project_id": "proj_of_others",
            "api_key_id": "key_of_others",
        }
    )

    run = reconciled()
    found = by_cause(run)
    assert run.problem == ""
    assert {cause: model for cause, (model, _) in found.items()} == {
        Cause.MATCHED: found[Cause.MATCHED][0],
        Cause.LATE: "gpt-6-sol",
        Cause.NO_USAGE: "gpt-6-astra",
        Cause.PRICE: "gpt-6.1-sol",
        Cause.ROUNDING: "gpt-5.6-sol",
        Cause.TWIN: "gpt-6-astra",
        Cause.OUTSIDE: "gpt-6-sol",
    }
    assert run.residual == 0
    assert found[Cause.LATE][1] == 0
    assert found[Cause.OUTSIDE][1] == 10
    assert found[Cause.PRICE][1] == dearer.cost / 4
    assert abs(found[Cause.ROUNDING][1]) <= Decimal("0.001")
    assert abs(run.billed - billed(sandbox) - 10) < Decimal("1E-8")
    about = {line.cause: {part.attempt.job for part in line.parts.all()} for line in run.lines.all()}
    assert about[Cause.LATE] == {late}
    assert (about[Cause.NO_USAGE], about[Cause.TWIN], about[Cause.PRICE]) == ({silent}, {twin}, {dearer})

    for line in run.lines.bookable():
        reconcile.book(line.pk, reason="as OpenAI’s bill says", by=person)
    rows = LedgerEntry.objects.filter(kind=EntryKind.ADJUST)
    assert {row.actor for row in rows} == {person}
    assert sorted(row.reason for row in rows) == [
        "Ended without usage: as OpenAI’s bill says",
        "Price change: as OpenAI’s bill says",
        "Twin: as OpenAI’s bill says",
    ]
    again = reconciled()
    assert by_cause(again).keys() == {Cause.MATCHED, Cause.LATE, Cause.ROUNDING, Cause.OUTSIDE}
    assert again.residual == 0
    assert again.difference == found[Cause.ROUNDING][1] + 10
