import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psutil
import pytest

from o3site.supervisor import Child, Pulse, Supervisor

SLEEPS = 'echo "$0 is $$"; exec sleep 1000'
SAYS_GOODBYE = 'trap "echo goodbye from $0; exit 0" TERM; echo "$0 is $$"; while :; do sleep 0.02; done'
IGNORES_TERM = 'trap "" TERM; echo "$0 is $$"; while :; do sleep 1000; done'
HAS_A_CHILD = 'sleep 1000 & echo "$0 is $$"; echo "child of $0 is $!"; wait'


class Toys:
    """A supervisor over toy programs, and what it and they have printed."""

    def __init__(self, *toys: dict[str, Any]) -> None:
        plan = [{**toy, "shell": toy["shell"].replace("$0", toy["name"])} for toy in toys]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.o3site.supervised", json.dumps(plan)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.lines: list[str] = []
        self.unread: list[str] = []

    def read(self, start: str) -> str:
        """Return what follows `start` in a line that begins so, each line once: order is left to chance."""
        assert self.process.stdout
        while not (found := [line for line in self.unread if line.startswith(start)]):
            line = self.process.stdout.readline()
            assert line, f"no line began with {start!r}: {self.lines}"
            self.lines.append(line.rstrip())
            self.unread.append(line.rstrip())
        self.unread.remove(found[0])
        return found[0].removeprefix(start)

    def end(self) -> tuple[int, str]:
        """Wait for the supervisor's end; return its exit code and what it said on stderr."""
        out, err = self.process.communicate(timeout=20)
        self.lines += out.splitlines()
        return self.process.returncode, err.strip()

    def close(self) -> None:
        self.process.kill()
        # Ends when the last program that holds the pipe has.
        self.process.communicate(timeout=20)


@pytest.fixture
def toys() -> Iterator[Any]:
    made: list[Toys] = []

    def make(*plan: dict[str, Any]) -> Toys:
        made.append(Toys(*plan))
        return made[-1]

    yield make
    for supervised in made:
        supervised.close()


def ends(pid: int, seconds: float = 10) -> bool:
    """Wait for the end of a process that need not be a child of ours."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def test_a_killed_program_is_started_again(toys: Any) -> None:
    running = toys({"name": "a", "shell": SLEEPS})
    first = int(running.read("a is "))
    os.kill(first, signal.SIGKILL)
    assert running.read("The a ended (") == "SIGKILL); starting it again in 0.01 s."
    assert int(running.read("a is ")) != first


def test_a_program_is_started_once_it_is_wanted_and_runs_on_when_it_is_not(toys: Any, tmp_path: Path) -> None:
    wanted = tmp_path / "wanted"
    running = toys({"name": "a", "shell": SLEEPS, "wanted": str(wanted)})
    running.read("supervising")
    time.sleep(0.2)  # several times the pause between two questions
    assert not any(line.startswith("a is ") for line in running.lines)
    wanted.touch()
    first = int(running.read("a is "))
    wanted.unlink()
    assert not ends(first, seconds=0.2)
    os.kill(first, signal.SIGKILL)
    running.read("The a ended (")
    wanted.touch()
    assert int(running.read("a is ")) != first


def test_what_a_dead_program_leaves_is_killed_before_it_starts_again(toys: Any) -> None:
    running = toys({"name": "a", "shell": HAS_A_CHILD})
    main, orphan = int(running.read("a is ")), int(running.read("child of a is "))
    os.kill(main, signal.SIGKILL)
    running.read("a is ")
    assert not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE


def test_an_exit_code_of_zero_is_a_death_too(toys: Any) -> None:
    running = toys({"name": "a", "shell": 'echo "$0 is $$"; sleep 0.05'})
    running.read("a is ")
    assert running.read("The a ended (").startswith("exit code 0)")


def test_five_deaths_in_a_minute_end_everything_with_one_line(toys: Any) -> None:
    running = toys({"name": "b", "shell": SLEEPS}, {"name": "a", "shell": "exit 3"})
    other = int(running.read("b is "))
    assert running.end() == (1, "The a ended (exit code 3), 5 times in a minute: giving up.")
    assert ends(other)


def test_what_is_not_vital_ends_nothing_else_and_is_tried_ever_more_rarely(toys: Any) -> None:
    running = toys({"name": "b", "shell": SLEEPS}, {"name": "a", "shell": "exit 3", "is_vital": False})
    other = int(running.read("b is "))
    assert running.read("The a ended (exit code 3), ") == (
        "5 times in a minute: trying again every 10 s; all else goes on."
    )
    assert psutil.pid_exists(other)
    running.process.send_signal(signal.SIGTERM)
    assert running.end() == (0, "")
    assert sum(line.startswith("The a ended") for line in running.lines) == 5


def test_its_later_ends_are_not_said_again_until_it_has_run_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    found = object.__new__(Supervisor)
    found._say, found._asked_at, found.failure, found._children = said.append, None, "", []
    found._guard = Mock()
    clock = [1_000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    toy = Child(
        name="a", command=[], environment={}, directory=Path("/"), stop_seconds=1, is_vital=False
    )  # fmt: skip

    def live(seconds: float) -> None:
        toy.started_at = clock[0]
        clock[0] += seconds
        found._bury(toy, "ended (exit code 3)")
        clock[0] = toy.start_at or 0

    for _ in range(20):
        live(0.1)
    assert len(said) == 5
    assert (toy.pause, found.failure) == (10.0, "")
    live(61)
    assert said[-1] == "The a ended (exit code 3); starting it again in 0.5 s."
    assert len(said) == 6


def test_killing_the_supervisor_leaves_no_process(toys: Any) -> None:
    running = toys({"name": "a", "shell": HAS_A_CHILD}, {"name": "b", "shell": HAS_A_CHILD})
    pids = [int(running.read(start)) for start in ("a is ", "child of a is ", "b is ", "child of b is ")]
    running.read("supervising")
    guards = psutil.Process(running.process.pid).children()
    running.process.kill()
    assert all(ends(pid) for pid in [*pids, *(guard.pid for guard in guards)])


def test_a_killed_guard_is_replaced(toys: Any) -> None:
    running = toys({"name": "a", "shell": HAS_A_CHILD})
    main, grandchild = int(running.read("a is ")), int(running.read("child of a is "))
    running.read("supervising")
    (guard,) = [child for child in psutil.Process(running.process.pid).children() if child.pid != main]
    guard.kill()
    while not [
        child
        for child in psutil.Process(running.process.pid).children()
        if child.pid not in (main, guard.pid) and child.status() != psutil.STATUS_ZOMBIE
    ]:
        time.sleep(0.01)
    running.process.kill()
    assert ends(grandchild)


def test_programs_stop_one_after_the_other_in_the_order_asked_for(toys: Any) -> None:
    running = toys(
        {"name": "late", "shell": SAYS_GOODBYE},
        {"name": "early", "shell": SAYS_GOODBYE},
    )
    running.read("late is ")
    running.read("early is ")
    running.read("supervising")
    running.process.send_signal(signal.SIGTERM)
    assert running.end() == (0, "")
    assert [line for line in running.lines if "goodbye" in line] == [
        "goodbye from early",
        "goodbye from late",
    ]


def test_a_program_that_ignores_the_request_is_killed_when_its_time_is_up(toys: Any) -> None:
    running = toys({"name": "a", "shell": IGNORES_TERM, "stop_seconds": 0.3})
    pid = int(running.read("a is "))
    running.read("supervising")
    begun = time.monotonic()
    running.process.send_signal(signal.SIGINT)
    assert running.end() == (0, "")
    assert 0.3 <= time.monotonic() - begun < 3
    assert ends(pid)


def test_a_second_signal_ends_everything_at_once(toys: Any) -> None:
    running = toys({"name": "a", "shell": IGNORES_TERM, "stop_seconds": 60})
    pid = int(running.read("a is "))
    running.read("supervising")
    running.process.send_signal(signal.SIGINT)
    time.sleep(0.7)  # sooner it counts as the same Ctrl-C
    running.process.send_signal(signal.SIGINT)
    assert running.end() == (0, "")
    assert ends(pid)


def test_a_busy_program_is_not_killed_when_its_time_is_up(toys: Any, tmp_path: Path) -> None:
    busy = tmp_path / "busy"
    busy.touch()
    running = toys({"name": "a", "shell": IGNORES_TERM, "stop_seconds": 0.1, "busy": str(busy)})
    pid = int(running.read("a is "))
    running.read("supervising")
    running.process.send_signal(signal.SIGINT)
    assert not ends(pid, seconds=0.5)
    busy.unlink()
    assert running.end() == (0, "")
    assert ends(pid)


def test_one_ctrl_c_that_arrives_twice_is_one(toys: Any) -> None:
    slow = (
        'trap "sleep 0.3; echo goodbye from $0; exit 0" TERM; echo "$0 is $$"; while :; do sleep 0.02; done'
    )
    running = toys({"name": "a", "shell": slow})
    running.read("a is ")
    running.read("supervising")
    running.process.send_signal(signal.SIGINT)
    running.process.send_signal(signal.SIGINT)
    assert running.end() == (0, "")
    assert "goodbye from a" in running.lines


def test_a_silent_program_is_killed_and_started_again(toys: Any, tmp_path: Path) -> None:
    running = toys({"name": "a", "shell": SLEEPS, "pulse": str(tmp_path / "never touched")})
    first = int(running.read("a is "))
    running.read("The a stopped answering; starting it again")
    assert ends(first)
    assert int(running.read("a is ")) != first


class Watched:
    """A child whose beat and clock a test moves by hand."""

    def __init__(self) -> None:
        self.value = 0
        pulse = Pulse(last=lambda: self.value)
        self.child = Child(
            name="a", command=[], environment={}, directory=Path("/"), stop_seconds=0, pulse=pulse
        )
        self.child.process = subprocess.Popen(["/bin/true"])
        self.child.process.wait()
        self.child.started_at = self.child.beat_at = 1000.0

    def silent_at(self, second: float) -> bool:
        return self.child.is_silent(1000.0 + second)


def test_a_program_may_take_a_minute_to_its_first_answer() -> None:
    watched = Watched()
    assert not any(watched.silent_at(second) for second in range(0, 60, 5))
    assert watched.silent_at(61)


def test_after_the_first_answer_thirty_seconds_of_silence_are_enough() -> None:
    watched = Watched()
    watched.silent_at(0)
    watched.value = 1
    assert not any(watched.silent_at(second) for second in range(5, 40, 5))
    assert watched.silent_at(36)
