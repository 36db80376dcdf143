"""Keep the programs that make up Ponder running: start, watch, start again, and end every last process."""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds before a dead program is started again, doubled each time
CALM_SECONDS = 60.0  # a program that lived this long starts afresh with the first pause
DEATHS, DEATHS_WITHIN = 5, 60.0
SILENCE, FIRST_SILENCE = 30.0, 60.0
ASK_EVERY = 5.0
AGAIN_SECONDS = 0.5  # a terminal and `uv run` may both deliver one Ctrl-C: only a later one is a second
PR_SET_PDEATHSIG = 1

# Reads the process groups to end: a line is the whole list, or one more with a plus sign before it.
# At end-of-file the supervisor is gone.
GUARD = """
groups=$1
while read -r line; do
    case $line in +*) groups="$groups -${line#+}" ;; *) groups=$line ;; esac
done
[ -z "$groups" ] || kill -s KILL -- $groups
"""


@dataclass(frozen=True, kw_only=True)
class Pulse:
    """How a program shows that it lives: `last` changes with every sign; silence is in seconds."""

    last: Callable[[], int]
    silence: float = SILENCE
    first_silence: float = FIRST_SILENCE


@dataclass(kw_only=True)
class Child:
    """One program in a session of its own, killed when it has not ended `stop_seconds` after it was asked to.

    It has longer as long as `is_busy` says so.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    stop_seconds: float
    is_busy: Callable[[], bool] = lambda: False
    is_wanted: Callable[[], bool] = lambda: True  # asked before a start, and again every `ask_every` seconds
    ask_every: float = ASK_EVERY
    is_vital: bool = True  # whether nothing goes on without it; what is not is tried for ever
    is_heard: bool = True  # whether what it prints, errors apart, is for people
    pulse: Pulse | None = None
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float | None = None
    pause: float = FIRST_PAUSE
    deaths: list[float] = field(default_factory=list)
    is_given_rest: bool = False  # it ended again and again, as was said
    # The pulse as last seen: its value and when it changed.
    beat: int = 0
    beat_at: float = 0.0

    def start(self, guard: "Guard") -> None:
        """Start the program."""
        now = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 (the command is ours)
            self.command,
            env=self.environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=None if self.is_heard else subprocess.DEVNULL,
            start_new_session=True,
            # Safe, because the supervisor has no threads.
            preexec_fn=_before_exec(os.getpid(), guard.descriptor),
        )
        self.started_at, self.start_at = now, None
        self.beat, self.beat_at = (self.pulse.last() if self.pulse else 0), now

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the main process alone, if it runs."""
        if self.process:
            self.process.send_signal(number)

    def end_session(self) -> None:
        """Kill whatever is left of the program's session and reap its main process."""
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def is_silent(self, now: float) -> bool:
        """Say whether the program has given no sign of life for too long."""
        if not self.pulse or not self.process:
            return False
        beat = self.pulse.last()
        if beat != self.beat:
            self.beat, self.beat_at = beat, now
        patience = self.pulse.silence if self.beat_at > self.started_at else self.pulse.first_silence
        return now - self.beat_at > patience


class Guard:
    """A small process that outlives us just long enough to kill what we have started."""

    def __init__(self) -> None:
        self._process = self._launch("")

    @property
    def descriptor(self) -> int:
        """Return where process groups are written to."""
        assert self._process.stdin
        return self._process.stdin.fileno()

    def tell(self, children: Iterable[Child]) -> None:
        """Tell which sessions to end; a guard that was killed is replaced."""
        groups = " ".join(f"-{child.process.pid}" for child in children if child.process)
        if self._process.poll() is not None:
            self._process = self._launch(groups)
        with suppress(BrokenPipeError):  # killed just now: the next look replaces it
            os.write(self.descriptor, f"{groups}\n".encode())

    def is_alive(self) -> bool:
        """Say whether it still guards."""
        return self._process.poll() is None

    def dismiss(self) -> None:
        """End it when nothing is left to guard."""
        self.tell([])
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    @staticmethod
    def _launch(groups: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 (fixed words)
            ["/bin/sh", "-c", GUARD, "guard", groups], stdin=subprocess.PIPE, start_new_session=True
        )


class Supervisor:
    """Runs children until told to stop or until one of them cannot be kept alive."""

    def __init__(self, *, say: Callable[[str], None], look: Callable[[], None] = lambda: None) -> None:
        """Take what says a line, and what looks after that which is no child; it must return at once."""
        self._say = say
        self._look = look
        self._children: list[Child] = []
        self._guard = Guard()
        self._asked_at: float | None = None
        self._is_hurried = False
        self.failure = ""
        self._wake, wake_writer = os.pipe()
        for end in (self._wake, wake_writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)
        # A handler, even an empty one, makes a child's death wake `tick`.
        signal.signal(signal.SIGCHLD, lambda *_: None)

    @property
    def is_stopping(self) -> bool:
        """Say whether a signal asked for the end or a child could not be kept alive."""
        return self._asked_at is not None or bool(self.failure)

    def add(self, child: Child) -> None:
        """Start a child once it is wanted, and keep it running from then on."""
        self._children.append(child)
        self._start(child)

    def run(self) -> None:
        """Look after the children until a stop is asked for or one cannot be kept alive."""
        while not self.is_stopping:
            self.tick(1.0)
            if not self.is_stopping:
                self._look()

    def tick(self, seconds: float) -> None:
        """Wait for a signal or a child's end, at most so many seconds, then do what is due."""
        self._sleep(seconds)
        for child in self._children:
            now = time.monotonic()
            if child.process and child.process.poll() is not None:
                self._bury(child, f"ended ({_reason(child.process.returncode)})")
            elif child.is_silent(now):
                self._bury(child, "stopped answering")
            elif child.start_at is not None and now >= child.start_at and not self.is_stopping:
                self._start(child)
        if not self._guard.is_alive():
            self._guard.tell(self._children)

    def stop(self, order: Iterable[Child]) -> None:
        """End the children in order: SIGTERM to the main process, SIGKILL to the session after its time."""
        for child in order:
            child.signal(signal.SIGTERM)
            deadline = time.monotonic() + child.stop_seconds
            while child.process and child.process.poll() is None and not self._is_hurried:
                is_busy = child.is_busy()
                left = deadline - time.monotonic()
                if left <= 0 and not is_busy:
                    break
                self._sleep(0.2 if is_busy else min(left, 0.2))
            child.end_session()
        self._guard.dismiss()

    def _ask_to_stop(self, *_: object) -> None:
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
        elif now - self._asked_at > AGAIN_SECONDS:
            self._is_hurried = True

    def _start(self, child: Child) -> None:
        if not child.is_wanted():
            child.start_at = time.monotonic() + child.ask_every
            return
        self._guard.tell(self._children)
        child.start(self._guard)

    def _sleep(self, seconds: float) -> None:
        due = [child.start_at - time.monotonic() for child in self._children if child.start_at is not None]
        select.select([self._wake], [], [], max(0.0, min([seconds, *due])))
        with suppress(BlockingIOError):
            os.read(self._wake, 4096)

    def _bury(self, child: Child, how: str) -> None:
        now = time.monotonic()
        child.end_session()
        if self.is_stopping:
            return
        child.deaths = [at for at in child.deaths if now - at < DEATHS_WITHIN] + [now]
        if now - child.started_at >= CALM_SECONDS:
            child.pause, child.is_given_rest = FIRST_PAUSE, False
        if len(child.deaths) >= DEATHS:
            if child.is_vital:
                self.failure = f"The {child.name} {how}, {DEATHS} times in a minute: giving up."
                return
            child.pause = LONGEST_PAUSE
            if not child.is_given_rest:
                every = f"trying again every {LONGEST_PAUSE:g} s; all else goes on."
                self._say(f"The {child.name} {how}, {DEATHS} times in a minute: {every}")
            child.is_given_rest = True
        if not child.is_given_rest:
            self._say(f"The {child.name} {how}; starting it again in {child.pause:g} s.")
        child.start_at = now + child.pause
        child.pause = min(child.pause * 2, LONGEST_PAUSE)
        self._guard.tell(self._children)


def _before_exec(parent: int, guard: int) -> Callable[[], None]:
    """Return what a new process does before it becomes its program, so that it cannot outlive its parent."""
    prctl = ctypes.CDLL(None).prctl if sys.platform.startswith("linux") else None

    def arrange() -> None:
        # Told by the child itself: between a start and a later word of ours it could have children already.
        os.write(guard, f"+{os.getpid()}\n".encode())
        if prctl:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before it could be noticed
            os._exit(1)

    return arrange


def _reason(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
