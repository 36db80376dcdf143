"""Runs a real Django-Q cluster on the test database, as a process group that can be killed like one."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

from django.conf import settings
from django.db import connection

from o3site import datadir

ROOT = Path(__file__).resolve().parent.parent
READY_WITHIN = 30.0  # seconds; importing the SDK takes three of them on an idle machine


def environment(role: str) -> dict[str, str]:
    """Return what a process of ours needs to work on the test database, in the words of the settings.

    Keys, data directory and secret are the tests' own, so journal, instance and signatures agree.
    """
    where = connection.settings_dict
    login = f"{quote(where['USER'], safe='')}:{quote(where['PASSWORD'], safe='')}"
    found = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "o3site.settings",
        "DATABASE_URL": f"postgresql://{login}@/{where['NAME']}?{urlencode({'host': where['HOST']})}",
        "SECRET_KEY": settings.SECRET_KEY,
        "PONDER_KEYS": ",".join(settings.PONDER_KEYS),
        "PONDER_DATA_DIR": str(settings.DATA_DIR),
        "PONDER_ROLE": role,
    }
    # Set while browser tests run; a real process must show when it uses the ORM inside a loop.
    found.pop("DJANGO_ALLOW_ASYNC_UNSAFE", None)
    return found


class ClusterProcess:
    """One cluster in a session of its own; needs a test whose rows are committed (`transactional_db`).

    As a context manager it starts, waits until a worker has run a task, and leaves no process behind.
    """

    def __init__(self, extra: Mapping[str, str] | None = None) -> None:
        self._extra = extra or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="cluster-")
        self.log = Path(self._folder.name) / "output"

    @property
    def pid(self) -> int:
        """The main process, whose id is also the group's and the session's."""
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        """All it has printed so far, over every start."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def start(self) -> Self:
        """Start it and wait until it runs tasks. Raises RuntimeError with its output when it does not."""
        datadir.private(settings.DATA_DIR / "run")
        settings.STOP_FILE.unlink(missing_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "qcluster"],
                cwd=ROOT,
                env={**environment("cluster"), **self._extra},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._await_beat()
        return self

    def kill(self) -> None:
        """End the whole group with SIGKILL, as a power cut would."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=10)
            self._process = None

    def __enter__(self) -> Self:
        return self if self._process else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._folder.cleanup()

    def _await_beat(self) -> None:
        before, deadline = datadir.touched(settings.BEAT_FILE), time.monotonic() + READY_WITHIN
        while datadir.touched(settings.BEAT_FILE) == before:
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the cluster runs no tasks: {self.output[-2000:]}")
            time.sleep(0.02)
