"""Measures how long Ponder takes to start and to stop: `python -m tests.bench.start`.

A cold start makes a new data directory, a warm one finds it; both end when the address is printed and
/healthz answers, and include `uv run`. A stop lasts from Ctrl-C until the last process, the database's
too, is gone; the second figure is that of a stop while a job is being followed.
"""

import argparse
import subprocess
import sys

from tests.bench import figures
from tests.whole import ROOT, Whole

COMMAND = ("uv", "run", "--frozen")


def main() -> None:
    """Start and stop it so many times and print the figures, in seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    print(figures.noise())
    cold, warm, idle, busy = [], [], [], []
    for _ in range(runs):
        with Whole(command=COMMAND) as whole:
            cold.append(whole.took)
            idle.append(whole.stop())
            warm.append(whole.start())
            submit(whole)
            busy.append(whole.stop())
    print(figures.line("first start", cold, "s", "at most 10"))
    print(figures.line("warm start", warm, "s", "at most 4"))
    print(figures.line("Ctrl-C to the last process, idle", idle, "s", "at most 5"))
    print(figures.line("Ctrl-C to the last process, polling", busy, "s", "at most 5"))
    print(figures.noise())


def submit(whole: Whole) -> None:
    """Have one job sent that goes on for a long time."""
    words = ["--project", "practice", "Think long. [[sandbox: seconds=600]]"]
    subprocess.run(
        [sys.executable, "manage.py", "submit", *words],
        cwd=ROOT,
        env=whole.environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    whole.await_sandbox(lambda log: bool(log["responses"]))


if __name__ == "__main__":
    main()
