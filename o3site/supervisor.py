"""Keep the programs that make up Ponder running: start, watch, start again, and end every last process."""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds before a dead program is started again, doubled each time
CALM_SECONDS = 60.0  # a program that lived this long starts afresh with the first pause
DEATHS, DEATHS_WITHIN = 5, 60.0
BEAT_EVERY, SILENCE, FIRST_SILENCE = 5.0, 30.0, 60.0
AGAIN_SECONDS = 0.5  # a terminal and `uv run` may both deliver one Ctrl-C: only a later one is a second
PR_SET_PDEATHSIG = 1

# Reads the process groups to end, the newest line being the whole list; at end-of-file the supervisor is gone.
GUARD = 'groups=; while read -r line; do groups=$line; done; [ -z "$groups" ] || kill -s KILL -- $groups'


@dataclass(frozen=True, kw_only=True)
class Pulse:
    """How to ask a program for a sign of life: `ring` asks and raises if it cannot, `last` changes on answers."""

    ring: Callable[[], None]
    last: Callable[[], int]
    every: float = BEAT_EVERY
    silence: float = SILENCE
    first_silence: float = FIRST_SILENCE


@dataclass(kw_only=True)
class Child:
    """One program in a session of its own; it is killed `stop_seconds` after the start of the whole stop."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    stop_seconds: float
    pulse: Pulse | None = None
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float | None = None
    pause: float = FIRST_PAUSE
    deaths: list[float] = field(default_factory=list)
    # The pulse as last seen: its value and when it changed, when it was rung, since when ringing works.
    beat: int = 0
    beat_at: float = 0.0
    rung_at: float = 0.0
    rings_since: float | None = None

    def start(self) -> None:
        """Start the program."""
        now = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent(os.getpid()),  # noqa: PLW1509 (the supervisor has no threads)
        )
        self.started_at, self.start_at = now, None
        self.beat, self.beat_at = (self.pulse.last() if self.pulse else 0), now

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the main process alone."""
        if self.process:
            self.process.send_signal(number)

    def end_session(self) -> None:
        """Kill whatever is left of the program's session and reap its main process."""
        if self.process:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
            self.process = None

    def is_silent(self, now: float) -> bool:
        """Ring when it is time; say whether the program has owed an answer for too long."""
        pulse = self.pulse
        if not pulse or not self.process:
            return False
        if now - self.rung_at >= pulse.every:
            self.rung_at = now
            try:
                pulse.ring()
            except Exception:  # whatever the reason, unrung is unanswered: the program is not to blame
                self.rings_since = None
            else:
                self.rings_since = self.rings_since or now
        if pulse.last() != self.beat:
            self.beat, self.beat_at = pulse.last(), now
        if self.rings_since is None:
            return False
        patience = pulse.silence if self.beat_at > self.started_at else pulse.first_silence
        return now - max(self.beat_at, self.rings_since) > patience


class Supervisor:
    """Runs children until told to stop or until one of them cannot be kept alive."""

    def __init__(self, *, say: Callable[[str], None]) -> None:
        self._say = say
        self._children: list[Child] = []
        self._guard: subprocess.Popen[bytes] | None = None
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
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    @property
    def is_stopping(self) -> bool:
        """Say whether a signal asked for the end or a child could not be kept alive."""
        return self._asked_at is not None or bool(self.failure)

    @property
    def is_hurried(self) -> bool:
        """Say whether a second signal asked for the end at once."""
        return self._is_hurried

    def add(self, child: Child) -> None:
        """Start a child and keep it running."""
        self._children.append(child)
        child.start()
        self._tell_guard()

    def run(self) -> None:
        """Look after the children until a stop is asked for or one cannot be kept alive."""
        while not self.is_stopping:
            self.tick(1.0)

    def tick(self, seconds: float) -> None:
        """Wait for a signal or a child's end, at most so many seconds, then do what is due."""
        self._sleep(seconds)
        for child in self._children:
            now = time.monotonic()
            if child.process and child.process.poll() is not None:
                self._bury(child, f"ended ({_reason(child.process.returncode)})")
            elif child.is_silent(now):
                self._bury(child, "did not answer and was killed")
            elif child.start_at is not None and now >= child.start_at and not self.is_stopping:
                child.start()
                self._tell_guard()
        if self._guard and self._guard.poll() is not None:
            self._tell_guard()

    def wait(self, is_over: Callable[[], bool], *, seconds: float) -> None:
        """Wait until `is_over()`, a hurried stop, or so many seconds have passed; restart nothing."""
        end = time.monotonic() + seconds
        while not self._is_hurried and time.monotonic() < end and not is_over():
            self._sleep(0.2)

    def stop(self) -> None:
        """End one child after the other, by `stop_seconds`: SIGTERM to its main process, SIGKILL to its session when its time is up."""
        begun = time.monotonic()
        for child in sorted(self._children, key=lambda child: child.stop_seconds):
            if child.process and not self._is_hurried:
                child.signal(signal.SIGTERM)
                while child.process.poll() is None and not self._is_hurried:
                    left = begun + child.stop_seconds - time.monotonic()
                    if left <= 0:
                        break
                    self._sleep(min(left, 0.2))
            child.end_session()
        self._dismiss_guard()

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
        elif now - self._asked_at > AGAIN_SECONDS:
            self._is_hurried = True

    def _sleep(self, seconds: float) -> None:
        due = [child.start_at - time.monotonic() for child in self._children if child.start_at is not None]
        select.select([self._wake], [], [], max(0.0, min([seconds, *due])))
        try:
            os.read(self._wake, 4096)
        except BlockingIOError:
            pass

    def _bury(self, child: Child, how: str) -> None:
        now = time.monotonic()
        child.end_session()
        if self.is_stopping:
            return
        child.deaths = [at for at in child.deaths if now - at < DEATHS_WITHIN] + [now]
        if len(child.deaths) >= DEATHS:
            self.failure = f"The {child.name} {how}, {DEATHS} times in a minute: giving up."
            return
        if now - child.started_at >= CALM_SECONDS:
            child.pause = FIRST_PAUSE
        self._say(f"The {child.name} {how}; starting it again in {child.pause:g} s.")
        child.start_at = now + child.pause
        child.pause = min(child.pause * 2, LONGEST_PAUSE)
        self._tell_guard()

    def _tell_guard(self) -> None:
        groups = " ".join(f"-{child.process.pid}" for child in self._children if child.process)
        for _ in range(2):  # a guard that was killed is replaced, and told again
            if not self._guard or self._guard.poll() is not None:
                self._guard = subprocess.Popen(
                    ["/bin/sh", "-c", GUARD], stdin=subprocess.PIPE, start_new_session=True
                )
            assert self._guard.stdin
            try:
                os.write(self._guard.stdin.fileno(), f"{groups}\n".encode())
            except BrokenPipeError:
                self._guard.wait()
            else:
                return

    def _dismiss_guard(self) -> None:
        if self._guard and self._guard.stdin:
            self._tell_guard()
            self._guard.stdin.close()
            self._guard.wait()
            self._guard = None


def _die_with_parent(parent: int) -> Callable[[], None]:
    """Return what a new process calls to be killed when its parent ends, on Linux; elsewhere the guard does it."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    prctl = ctypes.CDLL(None).prctl

    def arrange() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the call above
            os._exit(1)

    return arrange


def _reason(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
