"""Run pumps that are killed at one boundary each: a line read names it.

Boundaries are counted by kind: `commit` (before and after each transaction's commit, and each statement
outside one), `step` (each step of the event loop, where a coroutine goes on after an await) and `fsync`
(before and after a file is forced to disk). Every pump is a fork of this process, which has the SDK loaded.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import django

django.setup()

from django.db import connection  # noqa: E402 (after the set-up)
from django.db.backends.base.base import BaseDatabaseWrapper  # noqa: E402

from jobs import lifecycle, openai_client  # noqa: E402
from jobs.lifecycle.doorbell import PumpKind  # noqa: E402


class Boundaries:
    """Counts the boundaries that were reached, and dies at one of them."""

    def __init__(self, kind: str, number: int) -> None:
        self.reached: Counter[str] = Counter()
        self._fatal = kind, number
        self._lock = threading.Lock()

    def reach(self, kind: str) -> None:
        with self._lock:
            self.reached[kind] += 1
            if (kind, self.reached[kind]) == self._fatal:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)  # nothing of this thread happens any more

    def around(self, kind: str, act: Callable[..., Any]) -> Callable[..., Any]:
        """Return `act` with a boundary before and one after it."""

        def acted(*args: Any, **kwargs: Any) -> Any:
            self.reach(kind)
            result = act(*args, **kwargs)
            self.reach(kind)
            return result

        return acted

    def set(self) -> None:
        """Set them in this process."""
        commit = BaseDatabaseWrapper._commit  # type: ignore[attr-defined]  # Django's stubs leave it out
        run, fsync = asyncio.Handle._run, os.fsync

        def stepped(handle: asyncio.Handle) -> None:
            self.reach("step")
            run(handle)

        def stated(execute: Callable[..., Any], *args: Any) -> Any:
            is_commit = not connection.in_atomic_block
            return (self.around("commit", execute) if is_commit else execute)(*args)

        BaseDatabaseWrapper._commit = self.around("commit", commit)  # type: ignore[attr-defined]
        asyncio.Handle._run = stepped  # type: ignore[method-assign]
        os.fsync = self.around("fsync", fsync)
        connection.execute_wrappers.append(stated)


def die_at(pump: PumpKind, kind: str, number: int) -> dict[str, int]:
    """Run a pump in a fork that dies at a boundary; return its exit code, and what it reached if it lived."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        boundaries = Boundaries(kind, number)
        boundaries.set()
        try:
            lifecycle.run_pump(pump)
            os.write(writer, json.dumps(boundaries.reached).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        reached = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {"code": code, **(json.loads(reached) if reached else {})}


def main() -> None:
    openai_client.load()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        pump, kind, number = json.loads(line)
        sys.stdout.write(json.dumps(die_at(pump, kind, number)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
