"""Do a piece of work in a process that ends with it, so that the memory it takes is given back."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from o3site.supervisor import PR_SET_PDEATHSIG

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How the work ended: its exit code, or minus the signal that killed it, and what it returned."""

    code: int
    answer: str
    is_interrupted: bool


def do(work: Callable[[], str]) -> Ended:
    """Run `work` in a forked child and wait for its end; SIGINT and SIGTERM end the child, not us.

    An error goes on up through the caller in the child, and whoever catches it there tells it: nothing on
    its way may undo what is not the child's own. Not for a process with threads.
    """
    reader, writer = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    child = os.fork()
    if child == 0:
        os.close(reader)
        _arrange_the_end()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            answer = work()
        except KeyboardInterrupt:
            os._exit(1)
        with open(writer, "w") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writer)
    is_interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal is_interrupted
        is_interrupted = True
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    with open(reader) as pipe:
        answer = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for number, handler in before.items():
        signal.signal(number, handler)
    return Ended(code=code, answer=answer, is_interrupted=is_interrupted)


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
