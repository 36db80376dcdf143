"""The processes of an installation by what they do, so that one of each kind can be killed."""

import signal
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import psutil

# By what their titles say; Django-Q's workers tell what they are doing.
TITLES = {
    "idle worker": (" idle",),
    "send pump": ("processing ", "jobs.tasks.send_due"),
    "poll pump": ("processing ", "jobs.tasks.poll_due"),
    "busy worker": ("processing ",),
}
KINDS = ("cluster's main", *TITLES, "web worker", "sandbox", "database", "database session")
# A supervisor gives up on a program that dies five times a minute; the drill is not to prove that.
DEATHS_A_MINUTE = 3
# What a kill of each kind ends: a worker is replaced by its cluster, unless it was idle.
PROGRAM = {
    "cluster's main": "workers",
    "idle worker": "workers",
    "web worker": "web",
    "sandbox": "sandbox",
    "database": "database",
}


class Victims:
    """Finds and kills processes under one `start`, and remembers when, so that no program dies too often."""

    def __init__(self, pid: int, home: Path) -> None:
        self._root = psutil.Process(pid)
        self._home = home
        self._deaths: dict[str, list[float]] = defaultdict(list)

    def kill(self, kind: str) -> bool:
        """Kill one of a kind with SIGKILL; return False where there is none or its program died lately."""
        now, program = time.monotonic(), PROGRAM.get(kind, "")
        lately = [at for at in self._deaths[program] if now - at < 60.0]
        if program and len(lately) >= DEATHS_A_MINUTE:
            return False
        for victim in self.of(kind):
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGKILL)
                self._deaths[program] = [*lately, now]
                return True
        return False

    def of(self, kind: str) -> list[psutil.Process]:
        """Return the processes of a kind that live now."""
        if kind in ("database", "database session"):
            return self._database(kind)
        found = []
        for process in self._children():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if self._is(kind, process, " ".join(process.cmdline())):
                    found.append(process)
        return found

    def _children(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return self._root.children(recursive=True)
        return []

    def _is(self, kind: str, process: psutil.Process, title: str) -> bool:
        if kind == "cluster's main":
            return "qcluster" in title and process.ppid() == self._root.pid
        if kind == "sandbox":
            return "jobs.sandbox" in title
        if kind == "web worker":
            return title.startswith("ponder-web") and process.ppid() != self._root.pid
        if kind == "busy worker" and any(f"{pump}_due" in title for pump in ("send", "poll")):
            return False
        return title.startswith("qcluster") and all(word in title for word in TITLES[kind])

    def _database(self, kind: str) -> list[psutil.Process]:
        file = self._home / "postgres" / "data" / "postmaster.pid"
        with suppress(OSError, ValueError, IndexError, psutil.NoSuchProcess):
            postmaster = psutil.Process(int(file.read_text().split()[0]))
            if kind == "database":
                return [postmaster]
            return [one for one in postmaster.children() if "ponder ponder" in " ".join(one.cmdline())]
        return []
