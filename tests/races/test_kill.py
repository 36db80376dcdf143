"""A process that is killed with bytes on the wire leaves a job that can be explained and is not repeated."""

import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from django.conf import settings as ours
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from jobs import lifecycle
from jobs.access import Role
from jobs.lifecycle import sending
from jobs.models import Attempt, AttemptState, BudgetPeriod, Job, PumpLease, Status, User
from tests.cluster_process import ROOT, environment
from tests.factories import a_project, a_spec
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.django_db(transaction=True)

PUMP = """
import django
django.setup()
from jobs import lifecycle
{before}
lifecycle.run_pump("send")
"""
DIES_BEFORE_IT_COMMITS = """
import os, signal
from jobs.lifecycle import sending
sending.write_back = lambda outcome: os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def _shared_journal(settings: Settings) -> None:
    """Read the journal that the processes of this test write."""
    settings.JOURNAL_DIR = ours.DATA_DIR / "journal"


def a_pump(before: str = "") -> subprocess.Popen[bytes]:
    """Start a send pump as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", PUMP.format(before=before)], cwd=ROOT, env=environment("cluster")
    )


def wait_until(is_so: Callable[[], bool], *, within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def a_job(sandbox: SandboxProcess, person: User, prompt: str) -> Job:
    project = a_project(base_url=sandbox.base_url, members={person: Role.MANAGER})
    return lifecycle.submit(a_spec(project, person, prompt=prompt))


def accepted(sandbox: SandboxProcess) -> list[str]:
    return [response["id"] for response in sandbox.log()["responses"]]


def everything_expired() -> None:
    """Let the dead process's lease on its job and on the pump run out."""
    Attempt.objects.update(lease_expires_at=Now())
    PumpLease.objects.update(expires_at=Now())


def test_killed_in_mid_post_it_is_unconfirmed_and_never_sent_again(
    sandbox: SandboxProcess, person: User
) -> None:
    # Accepted upstream, and the answer does not come.
    job = a_job(sandbox, person, "Is it true? [[sandbox: fault=hang hang=30]]")
    with a_pump() as process:
        wait_until(lambda: len(accepted(sandbox)) == 1)
        process.kill()
    attempt = Attempt.objects.get()
    assert attempt.state == AttemptState.SENDING
    everything_expired()
    assert sending.reap() == 1
    lifecycle.run_pump("send")
    job.refresh_from_db()
    attempt.refresh_from_db()
    assert (job.status, attempt.state) == (Status.UNCONFIRMED, AttemptState.UNCONFIRMED)
    assert sandbox.stats()["posts"] == 1
    assert BudgetPeriod.objects.get().held == job.worst_case


def test_killed_after_its_journal_line_it_is_adopted_and_finished(
    sandbox: SandboxProcess, person: User
) -> None:
    job = a_job(sandbox, person, "Is it true? [[sandbox: seconds=0]]")
    with a_pump(DIES_BEFORE_IT_COMMITS) as process:
        assert process.wait(timeout=30) == -9
    assert Attempt.objects.get().state == AttemptState.SENDING
    everything_expired()
    lifecycle.run_pump("send")
    attempt = Attempt.objects.get()
    assert (attempt.state, attempt.response_id) == (AttemptState.KNOWN, accepted(sandbox)[0])
    assert BudgetPeriod.objects.get().held == job.worst_case
    lifecycle.run_pump("poll")
    job.refresh_from_db()
    assert job.status == Status.COMPLETED
    assert job.cost > 0
    assert sandbox.stats()["posts"] == 1
    assert BudgetPeriod.objects.get().held == 0
