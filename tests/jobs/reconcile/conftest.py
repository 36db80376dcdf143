"""A project on the sandbox, jobs that end at once, and its bill to change."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models.functions import Now

from jobs import lifecycle, reconcile
from jobs.models import Attempt, Connection, Job, Project, Reconciliation, User
from jobs.sandbox.server import key_id
from tests.factories import a_spec
from tests.jobs.lifecycle import conftest as of_lifecycle
from tests.sandbox_process import SandboxProcess

_own_files = of_lifecycle._own_files
_one_sandbox = of_lifecycle._one_sandbox
books_agree = of_lifecycle.books_agree
person = of_lifecycle.person
sandbox = of_lifecycle.sandbox
wired = of_lifecycle.wired

SOON = "[[sandbox: seconds=0 reasoning=2000 answer_tokens=300 {}]]"

type Ask = Callable[..., Job]
type Change = Callable[..., None]


@pytest.fixture
def ours(wired: Project) -> Connection:
    """The project's connection, whose key the bill knows by its id."""
    Connection.objects.update(bill_keys=[key_id("sk-test-key")])
    return Connection.objects.get()


@pytest.fixture
def ask(person: User, wired: Project, ours: Connection) -> Ask:
    """Submit a job to the sandbox that ends at once, and see it end."""

    def ask(more: str = "", *, words: str = "Is lemma 4.7 true?", **wanted: Any) -> Job:
        wanted = {"model": "gpt-6-sol", "mode": "standard", **wanted}
        return pump(lifecycle.submit(a_spec(wired, person, prompt=words + SOON.format(more), **wanted)))

    return ask


@pytest.fixture
def change(sandbox: SandboxProcess) -> Change:
    """Let the sandbox's bill of a job, or a line of someone else, be another one."""

    def change(job: Job | None = None, **how: Any) -> None:
        if job is not None:
            how["response_id"] = Attempt.objects.get(job=job).response_id
        assert sandbox._call("POST", "/sandbox/bill", how) == {"ok": True}

    return change


def pump(job: Job) -> Job:
    """Send a job and poll it to its end."""
    for kind in ("send", "poll"):
        Job.objects.filter(next_action_at__isnull=False).update(next_action_at=Now())
        lifecycle.run_pump(kind)  # type: ignore[arg-type]
    job.refresh_from_db()
    return job


def reconciled() -> Reconciliation:
    """Reconcile the sandbox's bill as a worker does."""
    asked = reconcile.ask(is_practice=True)
    reconcile.run(asked.pk)
    asked.refresh_from_db()
    return asked
