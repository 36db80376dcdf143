"""Do pieces of work in processes that end with them, so that the memory they take is given back."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from o3site.supervisor import PR_SET_PDEATHSIG

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait: work may only begin here, and be given up by what comes after."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


class Work:
    """Some work in a forked child; once it is over, `code` is its exit code, or minus the signal it died of.

    An error goes on up through whoever began it, in the child, and whoever catches it there tells it: nothing
    on its way may undo what is not the child's own. Not for a process with threads.
    """

    def __init__(self, work: Callable[[], str | None]) -> None:
        self.code = 0
        self._is_over = False
        self._reader, writer = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(writer)
            return
        os.close(self._reader)
        _arrange_the_end()
        try:
            answer = work()
        except KeyboardInterrupt:
            os._exit(1)
        with open(writer, "w") as pipe:
            pipe.write(answer or "")
        os._exit(0)

    def is_over(self) -> bool:
        """Tell whether it has ended, by itself or not."""
        if not self._is_over:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._is_over, self.code = True, os.waitstatus_to_exitcode(status)
        return self._is_over

    def give_up(self) -> None:
        """Interrupt it and wait for its end."""
        if not self.is_over():
            os.kill(self._pid, signal.SIGTERM)
            self._is_over, self.code = True, os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def answer(self) -> str:
        """Return what it returned once it is over, "" for nothing; ask once."""
        with open(self._reader) as pipe:
            return pipe.read()


def _arrange_the_end() -> None:
    """Have the child interrupted once, by its parent alone, and also when that is gone."""

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)
        raise KeyboardInterrupt

    # A handler, not SIG_IGN: that would be inherited by the programs it runs.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, interrupt)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
