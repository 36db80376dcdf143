"""One installation for browser stories: live server, cluster and sandbox, with the words a story needs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.db.models.functions import Now

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.lifecycle import polling
from jobs.models import (
    IN_FLIGHT,
    Answer,
    Attempt,
    AttemptState,
    BudgetPeriod,
    EntryKind,
    Job,
    LedgerEntry,
    Project,
    PumpLease,
    Status,
    User,
)
from jobs.rendering import RENDERER_VERSION
from tests.cluster_process import ClusterProcess
from tests.factories import a_project, a_spec
from tests.sandbox_process import SandboxProcess

CHARGED = (EntryKind.CHARGE, EntryKind.ADJUST)


def until[T](look: Any, *, within: float = 30.0, what: str = "") -> Any:
    """Look until something is there, and return it. Raises TimeoutError after `within` seconds."""
    deadline = time.monotonic() + within
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(what or "it did not come about in time")
        time.sleep(0.05)
    return found


@dataclass(frozen=True)
class Installation:
    """Everything of Ponder but its supervisor, on the test database."""

    url: str
    sandbox: SandboxProcess
    cluster: ClusterProcess

    def project(self, slug: str = "proofs", *, members: dict[User, Role], **extra: Any) -> Project:
        """Make a project whose jobs go to the sandbox."""
        return a_project(slug, base_url=self.sandbox.base_url, members=members, **extra)

    def submit(self, project: Project, by: User, prompt: str, **wanted: Any) -> Job:
        """Submit a job on the project's default model, as the shell and the form do."""
        return lifecycle.submit(a_spec(project, by, prompt=prompt, **wanted))

    def wait_for(self, job: Job, *statuses: str, within: float = 40.0) -> Job:
        """Wait until a job has one of the statuses; return it as it is then.

        Meanwhile the time between two polls passes at once.
        """

        def there() -> Job | None:
            self.skip_to_next_poll()
            return Job.objects.filter(pk=job.pk, status__in=statuses).first()

        try:
            found: Job = until(there, within=within)
        except TimeoutError:
            job.refresh_from_db()
            raise TimeoutError(f"{job.status}, not {statuses}: {self.cluster.output[-2000:]}") from None
        return found

    def wait_until_rendered(self, job: Job) -> Answer:
        """Wait until the answer of a job is stored as HTML."""
        found: Answer = until(
            lambda: Answer.objects.filter(job=job, renderer_version=RENDERER_VERSION).first()
        )
        return found

    def skip_back_off(self, job: Job, *, attempt: int) -> None:
        """Let the time pass for which an attempt waits that failed, or could not be sent."""
        # It may have been long enough already: then it has gone on.
        waits_or_went_on = Attempt.objects.filter(job=job, number=attempt).exclude(state=AttemptState.SENDING)

        def failed_before() -> bool:
            self.skip_to_next_poll()
            return waits_or_went_on.exists()

        until(failed_before)
        Job.objects.filter(pk=job.pk, status=Status.WAITING).update(next_action_at=Now())

    def skip_to_next_poll(self) -> None:
        """Let the time pass for which jobs in flight wait to be asked for again."""
        # One that is being asked for keeps its claim: it is due again much later, should its pump be killed.
        soon = Now(), Now() + polling.VISIBILITY / 2
        waits = Job.objects.filter(status__in=IN_FLIGHT, next_action_at__range=soon)
        waits.update(next_action_at=Now())

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """Let no pump claim anything meanwhile; then ring for both."""
        self.fall_asleep()
        yield
        self.wake()

    def fall_asleep(self) -> None:
        """Have the pumps end, as at a stop of the installation, and wait until nothing writes any more."""
        settings.STOP_FILE.touch()
        held = PumpLease.objects.filter(holder__isnull=False, expires_at__gt=Now())
        until(lambda: not held.exists(), what="the pumps went on")
        unrendered = Answer.objects.filter(renderer_version__gte=0).exclude(renderer_version=RENDERER_VERSION)
        if unrendered.exists():
            lifecycle.ring("render")
        until(lambda: not unrendered.exists(), what="rendering went on")

    def wake(self) -> None:
        """Let the pumps claim again."""
        settings.STOP_FILE.unlink(missing_ok=True)
        lifecycle.ring("send")
        lifecycle.ring("poll")


def charged(job: Job) -> Decimal:
    """Return what the ledger says a job cost, USD."""
    rows = LedgerEntry.objects.filter(job=job, kind__in=CHARGED)
    return rows.aggregate(total=Sum("amount"))["total"] or Decimal(0)


def held(job: Job) -> Decimal:
    """Return what the ledger says is held for a job, USD."""
    rows = LedgerEntry.objects.filter(job=job, kind__in=(EntryKind.HOLD, EntryKind.RELEASE))
    return rows.aggregate(total=Sum("amount"))["total"] or Decimal(0)


def period_of(project: Project) -> BudgetPeriod:
    """Return this month of a project's own budget."""
    return BudgetPeriod.objects.select_related("budget").get(budget__project=project)


def assert_books_are_right() -> None:
    """Recompute every total from the ledger."""
    with transaction.atomic():
        assert spend.audit() == []
