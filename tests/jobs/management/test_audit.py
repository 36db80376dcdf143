"""The audit from a shell: silent about what agrees, exact about what does not."""

import io
import json
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command

from jobs import lifecycle
from jobs.access import Role
from jobs.models import BudgetPeriod, Job, User
from tests.factories import a_project, a_spec


@pytest.fixture
def job(db: None) -> Job:
    person = User.objects.create_user("mira@example.com")
    return lifecycle.submit(a_spec(a_project(members={person: Role.SUBMITTER}), person))


def test_totals_that_agree_are_said_to(job: Job) -> None:
    out = io.StringIO()
    call_command("audit", stdout=out)
    assert out.getvalue() == "Every total is what the ledger says.\n"
    out = io.StringIO()
    call_command("audit", "--json", stdout=out)
    assert json.loads(out.getvalue()) == {"ok": True, "differences": []}


def test_a_total_that_differs_is_named_with_both_figures_and_code_1(job: Job) -> None:
    BudgetPeriod.objects.update(spent=Decimal("0.5"))
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"^1 total differs from the ledger\.$") as end:
        call_command("audit", stdout=out)
    assert end.value.returncode == 1
    assert out.getvalue().strip().endswith("spent: the ledger says 0, found 0.5000000000")


def test_json_names_every_difference(job: Job) -> None:
    BudgetPeriod.objects.update(spent=1, held=0)
    out = io.StringIO()
    with pytest.raises(CommandError, match="2 totals differ"):
        call_command("audit", "--json", stdout=out)
    found = json.loads(out.getvalue())
    assert found["ok"] is False
    assert {row["what"].split(": ")[1] for row in found["differences"]} == {"spent", "held"}
    assert all(set(row) == {"what", "expected", "found"} for row in found["differences"])
