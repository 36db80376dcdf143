"""Two supervisors share one database; the network between it and one of them is cut while both send."""

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import settings as ours
from django.db import connection, transaction
from django.db.models import Sum
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.models import Attempt, AttemptState, EntryKind, Job, LedgerEntry, Project, Status, User
from tests.cluster_process import environment
from tests.factories import a_person, a_project, a_spec
from tests.sandbox_process import SandboxProcess
from tests.whole import Whole

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.cluster, pytest.mark.thorough]

pytest_plugins = ["tests.fixtures"]
SPENT = EntryKind.CHARGE, EntryKind.ADJUST


class Wire:
    """What lies between one machine and the database: a socket of its own that can be cut and mended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        where = connection.settings_dict
        self._far = f"{where['HOST']}/.s.PGSQL.{where['PORT'] or 5432}"
        self._near = folder / ".s.PGSQL.5432"
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None

    def mend(self) -> None:
        """Let sessions through from now on."""
        self._near.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._near))
        self._listener.listen(64)
        threading.Thread(target=self._serve, args=[self._listener], daemon=True).start()

    def cut(self) -> None:
        """End every session and let none through."""
        self._near.unlink(missing_ok=True)
        assert self._listener
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open = []

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=self._relay, args=[near], daemon=True).start()

    def _relay(self, near: socket.socket) -> None:
        with near, socket.socket(socket.AF_UNIX) as far:
            far.connect(self._far)
            self._open += [near, far]
            back = threading.Thread(target=_pour, args=[far, near], daemon=True)
            back.start()
            _pour(near, far)
            back.join()


def _pour(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


class Machine(Whole):
    """The workers of one machine, under a supervisor of their own."""

    def __init__(self, home: Path, *, through: Path | None = None) -> None:
        reach = environment("shell")
        if through:
            reach["DATABASE_URL"] = re.sub(r"host=[^&]*", f"host={through}", reach["DATABASE_URL"])
        kept = {name: reach[name] for name in ("DATABASE_URL", "SECRET_KEY", "PONDER_KEYS")}
        super().__init__(home, words=["--only", "workers"], environment=kept)


def until(
    is_so: Callable[[], object], *, within: float = 60.0, what: Callable[[], str] = lambda: "not in time"
) -> None:
    deadline = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    made = Wire(tmp_path / "wire")
    made.folder.mkdir()
    made.mend()
    yield made
    made.cut()


@pytest.fixture
def machines(
    settings: Settings, tmp_path: Path, wire: Wire, transactional_db: None
) -> Iterator[list[Machine]]:
    settings.JOURNAL_DIR = ours.DATA_DIR / "journal"
    with Machine(tmp_path / "one") as one, Machine(tmp_path / "two", through=wire.folder) as two:
        yield [one, two]


def instance_of(machine: Machine) -> str:
    return (machine.home / "instance").read_text().strip()


def submit(project: Project, by: User, count: int, what: str) -> list[Job]:
    return [
        lifecycle.submit(a_spec(project, by, prompt=f"{what} {n}. [[sandbox: seconds=1 reasoning=640]]"))
        for n in range(count)
    ]


def test_a_machine_cut_off_from_the_database_sends_and_books_nothing_twice(
    machines: list[Machine], wire: Wire, sandbox: SandboxProcess
) -> None:
    mira = a_person()
    project = a_project(base_url=sandbox.base_url, members={mira: Role.MANAGER}, cap="10000")
    sandbox.faults(post_delay=1)
    near, far = map(instance_of, machines)

    def sends_of(instance: str) -> int:
        return Attempt.objects.filter(instance=instance, state=AttemptState.SENDING).count()

    # Both take their part, and the cut meets one with bytes on the wire.
    jobs = submit(project, mira, 5, "Lemma")
    until(lambda: Attempt.objects.filter(job__in=jobs).exclude(response_id="").count() == 5)
    deadline = time.monotonic() + 60
    while not sends_of(far):
        assert time.monotonic() < deadline
        jobs += submit(project, mira, 8, f"Tiling {len(jobs)}")
        time.sleep(0.3)
    wire.cut()
    cut_off = list(
        Attempt.objects.filter(instance=far, state=AttemptState.SENDING).values_list("pk", flat=True)
    )
    assert cut_off
    sandbox.faults(post_delay=0)
    jobs += submit(project, mira, 10, "Knot")

    # Its leases run out meanwhile: the other one may only say that nobody knows.
    others = Job.objects.exclude(attempt__in=cut_off)
    until(lambda: not others.exclude(status=Status.COMPLETED).exists(), what=lambda: machines[0].output)
    Attempt.objects.filter(pk__in=cut_off).update(lease_expires_at=Now())
    Job.objects.filter(attempt__in=cut_off).update(next_action_at=Now())
    unsure = Attempt.objects.filter(pk__in=cut_off, state=AttemptState.UNCONFIRMED)
    until(lambda: unsure.count() == len(cut_off), what=lambda: machines[0].output)
    assert sandbox.stats()["posts"] == len(jobs)

    wire.mend()
    until(
        lambda: not Job.objects.exclude(status=Status.COMPLETED).exists(),
        within=90,
        what=lambda: machines[1].output,
    )
    assert "giving up" not in machines[1].output
    log = sandbox.log()
    accepted = Counter(row["metadata"]["ponder_job"] for row in log["responses"])
    assert accepted == Counter(str(job.uuid) for job in jobs)
    assert sandbox.stats()["posts"] == len(jobs)
    for row in log["responses"]:
        entries = LedgerEntry.objects.filter(attempt__response_id=row["id"])
        assert entries.filter(kind=EntryKind.CHARGE).count() == 1
        spent = entries.filter(kind__in=SPENT).aggregate(total=Sum("amount"))["total"]
        assert spent == Decimal(row["bill"]["amount"])
    assert {near, far} == set(Attempt.objects.values_list("instance", flat=True))
    with transaction.atomic():
        assert spend.audit() == []
