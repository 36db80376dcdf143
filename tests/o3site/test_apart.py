import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# What a parent does with the work of its child; `work` says when it has begun and waits for what never comes.
SCRIPT = """
import os, signal, sys, time
from o3site import apart

def work():
    try:
        os.write(1, f"child {os.getpid()}\\n".encode())
        while True:
            time.sleep(60)
    finally:
        os.write(1, b"put away\\n")

def refuse():
    sys.exit("refused")

def fail():
    raise ValueError

def be_killed():
    os.kill(os.getpid(), signal.SIGKILL)

given_up = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: given_up.append(True))
with apart.undisturbed():
    done = apart.Work({"answer": lambda: "well", "nothing": lambda: None, "work": work, "refuse": refuse,
                       "fail": fail, "be killed": be_killed}[sys.argv[1]])
while not done.is_over() and not given_up:
    time.sleep(0.01)
done.give_up()
os.write(1, f"{done.code} {done.answer()!r}\\n".encode())
"""


class Parent:
    """A process that has a piece of work done apart, until SIGINT or SIGTERM make it give it up."""

    def __init__(self, work: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, work],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def child(self) -> int:
        """Wait until the work has begun; return the process id of whoever does it."""
        assert self.process.stdout
        return int(self.process.stdout.readline().removeprefix("child "))

    def end(self) -> tuple[int, list[str], str]:
        """Wait for its end; return exit code, what it printed, and the last line of its errors."""
        out, errors = self.process.communicate(timeout=20)
        return self.process.returncode, out.splitlines(), errors.strip().rpartition("\n")[2]


@pytest.fixture
def parent() -> Iterator[Any]:
    made: list[Parent] = []

    def make(work: str) -> Parent:
        made.append(Parent(work))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.communicate(timeout=20)


@pytest.mark.parametrize(("work", "answer"), [("answer", "'well'"), ("nothing", "''")])
def test_what_the_work_returns_comes_back(parent: Any, work: str, answer: str) -> None:
    assert parent(work).end() == (0, [f"0 {answer}"], "")


@pytest.mark.parametrize(("work", "told"), [("refuse", "refused"), ("fail", "ValueError")])
def test_an_error_is_told_by_the_child_and_its_exit_code_by_us(parent: Any, work: str, told: str) -> None:
    assert parent(work).end() == (0, ["1 ''"], told)


def test_a_child_that_is_killed_is_told_by_its_signal(parent: Any) -> None:
    assert parent("be killed").end() == (0, ["-9 ''"], "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_work_that_is_given_up_puts_its_things_away(parent: Any, number: signal.Signals) -> None:
    waiting = parent("work")
    waiting.child()
    waiting.process.send_signal(number)
    assert waiting.end() == (0, ["put away", "1 ''"], "")


def test_ctrl_c_of_a_terminal_reaches_both_and_ends_the_work_once(parent: Any) -> None:
    waiting = parent("work")
    waiting.child()
    for _ in range(2):
        os.killpg(waiting.process.pid, signal.SIGINT)
    assert waiting.end() == (0, ["put away", "1 ''"], "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nobody tells it")
def test_the_work_ends_with_its_parent(parent: Any) -> None:
    waiting = parent("work")
    descriptor = os.pidfd_open(waiting.child())
    try:
        waiting.process.kill()
        assert select.select([descriptor], [], [], 10)[0]
    finally:
        os.close(descriptor)
    assert waiting.end() == (-signal.SIGKILL, ["put away"], "")
