"""The whole product, run by its own command, for tests of that command."""

import contextlib
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.whole import Visitor, Whole


class Ponder(Whole):
    """One that can be hurt."""

    def of_kind(self, *words: str) -> list[psutil.Process]:
        """Return its processes whose command line holds one of the words."""
        found = []
        for one in self.processes():
            # One that ended since it was listed is none of them.
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(word in " ".join(one.cmdline()) for word in words):
                    found.append(one)
        return found

    def postmaster(self) -> int:
        """Return the process id of its database."""
        return int((self.home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])

    def await_beat(self) -> None:
        """Wait until a worker has answered once more."""
        stamp = self.home / "run" / "beat"
        before = stamp.stat().st_mtime_ns if stamp.exists() else 0
        deadline = time.monotonic() + 60
        while not stamp.exists() or stamp.stat().st_mtime_ns == before:
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def await_web(self) -> None:
        """Wait until the web server answers."""
        deadline = time.monotonic() + 60
        while True:
            try:
                with Visitor(self.base_url) as visitor:
                    assert visitor.get("/healthz").status == 200
                    return
            except OSError:
                assert time.monotonic() < deadline, self.output
                time.sleep(0.05)

    def kill_start(self) -> None:
        """Kill the command itself, as the out-of-memory killer would, and none of what it runs."""
        assert self._process
        self._process.kill()
        self._process.wait()
        self._forget()


@pytest.fixture
def ponder() -> Iterator[Ponder]:
    """Run one of this test's own, to be killed or stopped at will."""
    with Ponder() as whole:
        yield whole


@pytest.fixture(scope="module")
def running() -> Iterator[Ponder]:
    """Run one for tests that only look."""
    with Ponder() as whole:
        yield whole
