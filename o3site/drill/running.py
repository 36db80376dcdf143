"""Runs an installation through a drill: sends, kills, breaks the API, then waits until nothing moves."""

import datetime as dt
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import Error, connection
from django.db.models import Q
from django.db.models.functions import Now

from jobs import lifecycle, spend
from jobs.lifecycle import JobSpec
from jobs.models import (
    IN_FLIGHT,
    Attempt,
    AttemptState,
    Connection,
    Event,
    Job,
    Project,
    Status,
    User,
    Workspace,
)
from o3site.drill import accounts
from o3site.drill.prompts import prompt
from o3site.drill.victims import KINDS, Victims

READY_WITHIN = 120.0  # seconds
CAP = Decimal(1_000_000)
PROJECTS = 3
# A send that a kill has cut off is decided about 90 s later; missing usage is asked for during ten minutes.
QUIET_WITHIN = 900.0
# Of the jobs that run, so many are cancelled on their way.
CANCELLED = 0.05
# What the API as a whole does for a while, and for how many seconds.
OUTAGES: tuple[tuple[dict[str, Any], float], ...] = (
    ({"down": True}, 4.0),
    ({"get_http": "500"}, 4.0),
    ({"get_http": "429", "retry_after": "2"}, 3.0),
    ({"post_http": "503", "retry_after": "1"}, 3.0),
    ({"post_delay": 1.5}, 5.0),
    ({"get_delay": 1.0}, 5.0),
)
WELL: dict[str, Any] = {
    "down": False,
    "get_http": None,
    "post_http": None,
    "retry_after": None,
    "post_delay": 0,
    "get_delay": 0,
}


class Drill:
    """One drill on the data directory of this process's settings, which nobody else uses."""

    def __init__(self, *, port: int, seed: int, hurries: bool, say: Callable[[str], None]) -> None:
        """Take a port for the web server; one that `hurries` lets waits pass at once that a kill costs."""
        self._port, self._hurries, self._say = port, hurries, say
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self.submitted: list[str] = []
        self.kills: dict[str, list[float]] = defaultdict(list)  # by kind, the seconds until work went on
        self.outages = 0
        self._sick_until = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *, jobs: int, kills: int, seconds: float) -> None:
        """Send jobs and kill processes, both spread over some seconds; then wait until all is quiet."""
        self._start()
        projects, by = self._prepare()
        victims = Victims(self._pid, settings.DATA_DIR)
        began, killed = time.monotonic(), 0
        while len(self.submitted) < jobs or killed < kills:
            share = (time.monotonic() - began) / seconds
            if len(self.submitted) < min(jobs, share * jobs):
                self._submit(self._rng.choice(projects), by, len(self.submitted))
            elif killed < min(kills, share * kills):
                killed += self._kill(victims)
            else:
                self._meddle()
                time.sleep(0.05)
        self._await_quiet()

    def log(self) -> dict[str, Any]:
        """Return what the practice API accepted, was asked for and billed."""
        found: dict[str, Any] = json.loads(self._ask_sandbox("GET", "log"))
        return found

    def stop(self) -> None:
        """End the installation, by force if it takes longer than it may."""
        if self._process is None:
            return
        connection.close()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(90)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def output(self) -> Path:
        """What the installation printed."""
        return settings.DATA_DIR.parent / "start.log"

    @property
    def _pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _ask_sandbox(self, method: str, name: str, body: bytes | None = None) -> bytes:
        port = int((settings.DATA_DIR / "sandbox-port").read_text())
        sandbox = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            sandbox.request(method, f"/sandbox/{name}", body)
            return sandbox.getresponse().read()
        finally:
            sandbox.close()

    def _start(self) -> None:
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 (our own words)
                [sys.executable, "manage.py", "start", "--port", str(self._port)],
                cwd=settings.BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if name != "PONDER_ROLE"},
            )
        deadline = time.monotonic() + READY_WITHIN
        while b"Ponder runs at" not in self.output.read_bytes() or not self._is_sandbox_up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The installation of the drill did not start: see {self.output}")
            time.sleep(0.1)

    def _is_sandbox_up(self) -> bool:
        with suppress(OSError):
            self._ask_sandbox("GET", "healthz")
            return True
        return False

    def _prepare(self) -> tuple[list[Project], User]:
        practice = Connection.objects.get(is_practice=True)
        by = User.objects.filter(is_superuser=True).order_by("pk")[0]
        projects = []
        for number in range(1, PROJECTS + 1):
            slug = f"drill-{number}"
            project = Project.objects.create(name=f"Drill {number}", slug=slug, connection=practice)
            spend.set_cap(CAP, project=project)
            projects.append(project)
        return projects, by

    def _submit(self, project: Project, by: User, number: int) -> None:
        text = prompt(number, self._rng)

        def submit() -> str:
            choice = project.default_choice(Workspace.objects.the().today())
            assert choice is not None
            wanted = JobSpec(
                project=project,
                by=by,
                prompt=text,
                model=choice.spec.pk,
                mode=choice.mode,
                effort="low",
                max_output_tokens=20_000,
            )
            return lifecycle.submit(wanted).short_id

        self.submitted.append(self._insist(submit))

    def _kill(self, victims: Victims) -> bool:
        kind = self._rng.choice(KINDS)
        at = self._insist(lambda: Event.objects.order_by("-pk").values_list("pk", flat=True).first() or 0)
        sends = [one.pid for one in victims.of("send pump")]
        if not victims.kill(kind):
            self._meddle()
            time.sleep(0.05)
            return False
        killed = time.monotonic()
        if self._hurries:
            time.sleep(0.2)
            self._pass_leases(sends, victims)
        # Work goes on when something is written down that was not there before.
        while time.monotonic() - killed < 120:
            self._meddle()
            if self._insist(lambda: Event.objects.filter(pk__gt=at).exclude(kind="submitted").exists()):
                break
            time.sleep(0.05)
        self.kills[kind].append(time.monotonic() - killed)
        return True

    def _pass_leases(self, before: list[int], victims: Victims) -> None:
        """Let the leases of sends run out whose pump is gone, as 90 seconds would."""
        if set(before) & {one.pid for one in victims.of("send pump")}:
            return
        cut_off = Attempt.objects.filter(state=AttemptState.SENDING)
        self._insist(lambda: cut_off.update(lease_expires_at=Now()))

    def _meddle(self) -> None:
        """Do now and then what an API, its users and its operators do."""
        now = time.monotonic()
        if self._sick_until and now > self._sick_until:
            self._sick_until = 0.0
            self._set_faults(WELL)
        elif not self._sick_until and self._rng.random() < 0.005:
            faults, seconds = self._rng.choice(OUTAGES)
            self._sick_until = now + seconds
            self.outages += 1
            self._set_faults(faults)
        if self._rng.random() < CANCELLED:
            self._insist(self._cancel_one)
        self._insist(self._resume)

    def _set_faults(self, faults: dict[str, Any]) -> None:
        # It may have been killed just now, and has no faults then.
        with suppress(OSError, http.client.HTTPException):
            self._ask_sandbox("POST", "faults", json.dumps(faults).encode())

    def _cancel_one(self) -> None:
        # Those whose prompts ask for what only a cancel brings about, and some others.
        words = ("cancel", "stuck", "seconds=3")
        wanted = reduce(or_, (Q(prompt__text__contains=word) for word in words))
        found = Job.objects.filter(wanted, status__in=[Status.WAITING, *IN_FLIGHT], cancel_requested_at=None)
        job = found.order_by("pk").first()
        if job is not None:
            with suppress(lifecycle.NotCancellable):
                lifecycle.cancel(job.pk)

    def _resume(self) -> None:
        """Resume what paused by itself: an operator has looked, and it was the drill."""
        for pk in Connection.objects.paused().values_list("pk", flat=True):
            lifecycle.resume(pk)

    def _await_quiet(self) -> None:
        self._set_faults(WELL)
        self._say("All is sent; waiting until nothing moves any more.")
        deadline = time.monotonic() + QUIET_WITHIN
        while not self._insist(accounts.is_quiet) and time.monotonic() < deadline:
            self._insist(self._resume)
            self._insist(self._cancel_one)
            if self._hurries:
                # Ten minutes of asking for missing usage pass at once.
                self._insist(_let_usage_be_given_up)
            time.sleep(0.5)

    def _insist[T](self, act: Callable[[], T]) -> T:
        """Do something on the database, again where that was killed meanwhile."""
        deadline = time.monotonic() + 120
        while True:
            try:
                return act()
            except Error:
                connection.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


def _let_usage_be_given_up() -> None:
    """Let the ten minutes pass in which missing usage is asked for."""
    asked = Attempt.objects.filter(state=AttemptState.KNOWN, end_seen_at__isnull=False)
    asked.update(end_seen_at=Now() - dt.timedelta(minutes=15))
