"""Measures what Ponder costs while nobody uses it: `python -m tests.bench.idle`.

First every worker sends and polls, since that is what makes it big; then, over a minute, the processor time
of every process in per cent of one core, and at its end their proportional set sizes (smaps_rollup), the
bundled database's included. The web server has served a page.
"""

import argparse
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from tests.bench import figures
from tests.whole import ROOT, Visitor, Whole

MOST_ROUNDS = 60
WORKERS = 3
JOB = "Think. [[sandbox: seconds=1 outcome=completed answer_tokens=90]]"


def main() -> None:
    """Warm it up, watch it and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    print(figures.noise())
    with Whole() as whole:
        with Visitor(whole.base_url) as visitor:
            visitor.get("/login/")
        rounds = warm_up(whole)
        time.sleep(25)  # the last pump ends within its 20 s
        before = usage(whole)
        time.sleep(seconds)
        after = usage(whole)
        sizes = {pid: size for pid in after if (size := pss(pid)) is not None}
        print(f"{rounds} jobs until every worker had sent and polled; then {seconds:g} s of nothing")
        parts: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
        for pid, (part, spent) in after.items():
            found = parts[part]
            found[0] += 1
            found[1] += (spent - before.get(pid, (part, 0.0))[1]) / seconds * 100
            found[2] += sizes.get(pid, 0.0)
        for part, (count, percent, size) in sorted(parts.items(), key=lambda one: -one[1][2]):
            print(f"  {part:<28} {count:>2.0f} processes {percent:6.2f} % of a core {size:8.1f} MB PSS")
        percent, size = (sum(found[column] for found in parts.values()) for column in (1, 2))
        print(f"  {'together':<28} {len(after):>2} processes {percent:6.2f} % of a core {size:8.1f} MB PSS")
    print("to reach: at most 3 % of a core and 450 MB")
    print(figures.noise())


def warm_up(whole: Whole) -> int:
    """Have jobs sent one by one until each worker has run both pumps; return how many that took."""
    words = ["--project", "practice", JOB]
    whole.await_sandbox(lambda log: True)
    # Long enough to be seen from outside.
    whole.sandbox_faults(post_delay=0.6)
    pumped: dict[int, set[str]] = defaultdict(set)
    for number in range(1, MOST_ROUNDS + 1):
        subprocess.run(
            [sys.executable, "manage.py", "submit", *words],
            cwd=ROOT,
            env=whole.environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        for _ in range(30):
            for pid, pump in pumping(whole):
                pumped[pid].add(pump)
            time.sleep(0.1)
        if len(pumped) == WORKERS and all(len(pumps) == 2 for pumps in pumped.values()):
            return number
    raise RuntimeError(f"some worker has not pumped after {MOST_ROUNDS} jobs: {dict(pumped)}")


def pumping(whole: Whole) -> Iterator[tuple[int, str]]:
    """Yield the workers that run a pump at this moment, by the titles that Django-Q gives them."""
    for process in whole.processes():
        with suppress(psutil.NoSuchProcess):
            found = re.search(r"processing .*jobs\.tasks\.(send|poll)_due", " ".join(process.cmdline()))
            if found:
                yield process.pid, found[1]


def usage(whole: Whole) -> dict[int, tuple[str, float]]:
    """Return part and processor seconds so far of every process."""
    found = {}
    for process in whole.processes():
        with suppress(psutil.NoSuchProcess):
            found[process.pid] = (part_of(" ".join(process.cmdline())), sum(process.cpu_times()[:2]))
    return found


def part_of(command: str) -> str:
    """Return which part of the product a process belongs to."""
    for mark, part in (
        ("ponder-web", "web server"),
        ("qcluster", "workers"),
        ("jobs.sandbox", "sandbox"),
        ("postgres", "database"),
        ("groups=", "guard"),
    ):
        if mark in command:
            return part
    return "supervisor"


def pss(pid: int) -> float | None:
    """Return a process's proportional set size, MB."""
    with suppress(OSError):
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        return int(found[1]) / 1024 if found else None
    return None


if __name__ == "__main__":
    main()
