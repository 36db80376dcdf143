"""Killed at any await, commit or fsync of its way, a job is sent once, known, or explained; and paid once."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings as ours
from django.db.models import Sum
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from jobs import lifecycle
from jobs.access import Role
from jobs.lifecycle import journal
from jobs.models import (
    Attempt,
    AttemptState,
    Connection,
    EntryKind,
    Job,
    LedgerEntry,
    Project,
    PumpLease,
    Status,
    User,
)
from tests.cluster_process import ROOT, environment
from tests.factories import a_project, a_spec
from tests.sandbox_process import SandboxProcess

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]

KINDS = "commit", "step", "fsync"
SPENT = EntryKind.CHARGE, EntryKind.ADJUST


class Mortals:
    """Pumps of a process that stands ready to run and to lose them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert self._said() == "ready"

    def run(self, pump: str, kind: str = "", number: int = 0) -> dict[str, int]:
        """Run one that dies at a boundary; return its exit code and, if it lived, how many there are."""
        PumpLease.objects.update(expires_at=Now())
        assert self._process.stdin
        self._process.stdin.write(json.dumps([pump, kind, number]) + "\n")
        self._process.stdin.flush()
        found: dict[str, int] = json.loads(self._said())
        return found

    def _said(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@pytest.fixture
def mortals(settings: Settings, transactional_db: None) -> Iterator[Mortals]:
    settings.JOURNAL_DIR = ours.DATA_DIR / "journal"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.races.mortal"],
        cwd=ROOT,
        env=environment("cluster"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Mortals(process)
        assert process.stdin
        process.stdin.close()


@pytest.fixture
def project(sandbox: SandboxProcess, person: User) -> Project:
    """A project with room for hundreds, on a connection known to accept."""
    made = a_project(base_url=sandbox.base_url, members={person: Role.MANAGER}, cap="100000")
    Connection.objects.update(max_in_flight=10_000, accepted_at="2100-01-01T00:00Z")
    return made


def a_job(project: Project, person: User, number: int) -> Job:
    return lifecycle.submit(a_spec(project, person, prompt=f"Lemma {number}. [[sandbox: seconds=0]]"))


def put_away() -> None:
    """Let the pumps to come meet one job each."""
    Job.objects.exclude(next_action_at=None).update(next_action_at="2100-01-01T00:00Z")


def bring_back() -> None:
    """Let all that was put away fall due, and the leases of the dead run out."""
    Job.objects.exclude(next_action_at=None).update(next_action_at=Now())
    Attempt.objects.filter(state=AttemptState.SENDING).update(lease_expires_at=Now())
    PumpLease.objects.update(expires_at=Now())


def finish() -> None:
    """Do what the pumps of a fresh start do, until nothing is under way."""
    for _ in range(3):
        bring_back()
        lifecycle.run_pump("send")
        bring_back()
        lifecycle.run_pump("poll")


def bills(sandbox: SandboxProcess) -> dict[str, list[Decimal]]:
    """Return by job what the sandbox has accepted and billed, USD."""
    found: dict[str, list[Decimal]] = {}
    for response in sandbox.log()["responses"]:
        bill = Decimal(response["bill"]["amount"]) if response["bill"] else Decimal(0)
        found.setdefault(response["metadata"]["ponder_job"], []).append(bill)
    return found


def ledger(job: Job, *kinds: EntryKind) -> Decimal:
    rows = LedgerEntry.objects.filter(job=job, kind__in=kinds)
    return rows.aggregate(total=Sum("amount"))["total"] or Decimal(0)


def journalled() -> set[str]:
    """Return the nonces of which the journal has a whole line."""
    found = set()
    for line in journal.path().read_bytes().splitlines() if journal.path().exists() else ():
        try:
            found.add(json.loads(line)["attempt"])
        except ValueError:
            continue
    return found


def points(mortals: Mortals, pump: str) -> list[tuple[str, int]]:
    """Return every boundary on the way of one job through a pump."""
    reached = mortals.run(pump)
    assert reached["code"] == 0
    found = [(kind, number) for kind in KINDS for number in range(1, reached.get(kind, 0) + 1)]
    put_away()
    return found


def test_killed_anywhere_while_sending_nothing_is_lost_or_sent_twice(
    mortals: Mortals, sandbox: SandboxProcess, project: Project, person: User
) -> None:
    a_job(project, person, 0)
    killed: dict[Any, tuple[Job, str]] = {}
    everywhere = points(mortals, "send")
    assert {kind for kind, _ in everywhere} == set(KINDS)
    for number, point in enumerate(everywhere, 1):
        job = a_job(project, person, number)
        code = mortals.run("send", *point)["code"]
        attempt = Attempt.objects.get(job=job)
        if attempt.state == AttemptState.PLANNED:
            left = "not sent"
        elif attempt.state == AttemptState.KNOWN or str(attempt.nonce) in journalled():
            left = "known"
        else:
            left = "ambiguous"
        if code:
            killed[point] = job, left
        put_away()
    assert len(killed) > 0.9 * len(everywhere)

    finish()

    billed, ends = bills(sandbox), Counter[tuple[str, bool]]()
    for point, (job, left) in killed.items():
        job.refresh_from_db()
        accepted = billed.get(str(job.uuid), [])
        ends[left, bool(accepted)] += 1
        if left == "ambiguous":
            assert (point, job.status, len(accepted) <= 1) == (point, Status.UNCONFIRMED, True)
            assert ledger(job, EntryKind.HOLD, EntryKind.RELEASE) == job.worst_case
            assert ledger(job, *SPENT) == 0
        else:
            assert (point, job.status, len(accepted)) == (point, Status.COMPLETED, 1)
            assert ledger(job, EntryKind.HOLD, EntryKind.RELEASE) == 0
            assert ledger(job, *SPENT) == accepted[0] > 0
    # Every way there is was met: before it left, on the wire, accepted and unheard, heard.
    assert {("not sent", True), ("ambiguous", False), ("ambiguous", True), ("known", True)} == set(ends)


def test_killed_anywhere_while_polling_an_answer_is_read_and_paid_once(
    mortals: Mortals, sandbox: SandboxProcess, project: Project, person: User
) -> None:
    a_job(project, person, 0)
    lifecycle.run_pump("send")
    bring_back()
    everywhere = points(mortals, "poll")
    jobs = [a_job(project, person, number) for number in range(1, len(everywhere) + 1)]
    lifecycle.run_pump("send")
    put_away()
    killed = []
    for job, point in zip(jobs, everywhere, strict=True):
        Job.objects.filter(pk=job.pk).update(next_action_at=Now())
        if mortals.run("poll", *point)["code"]:
            killed.append(job)
        put_away()
    assert len(killed) > 0.9 * len(everywhere)

    finish()

    billed = bills(sandbox)
    for job in killed:
        job.refresh_from_db()
        assert job.status == Status.COMPLETED
        assert ledger(job, EntryKind.HOLD, EntryKind.RELEASE) == 0
        assert [ledger(job, *SPENT)] == billed[str(job.uuid)]
        assert LedgerEntry.objects.filter(job=job, kind=EntryKind.CHARGE).count() == 1
