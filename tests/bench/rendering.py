"""Measures what rendering an answer takes of a worker: `python -m tests.bench.rendering`.

An essay of 400 KB with formulas, code and tables is rendered as the worker does it, read back as text and cut
for a page. Then come 1 MB of each kind of hostile Markdown, each under the worker's own time limit.
"""

import argparse
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

import django

from tests.bench import figures

ESSAYS = Path(__file__).parents[2] / "jobs" / "sandbox" / "answers"
ESSAY, HOSTILE = 400_000, 1_000_000  # characters


def main() -> None:
    """Render, and print the milliseconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=10)
    times = parser.parse_args().times
    print(figures.noise())
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from jobs import rendering
    from jobs.lifecycle import text as worker
    from jobs.rendering import parts, reading
    from tests.hostile import FLOODS

    essay = repeated("\n\n".join(path.read_text() for path in sorted(ESSAYS.glob("*.md"))), ESSAY)
    html = rendering.render(essay)
    size = (
        f"{len(essay) / 1000:.0f} KB, {html.count('class="math"'):,} formulas, {len(html) / 1000:.0f} KB HTML"
    )
    print(size)
    cpu = taken(lambda: rendering.render(essay), times, time.thread_time)
    print(
        figures.line(
            "rendered, on the clock", taken(lambda: rendering.render(essay), times), "ms", "1,000 ms"
        )
    )
    print(figures.line("rendered, of one core", cpu, "ms", "1,000 ms"))
    print(figures.line("read back as text", taken(lambda: reading.text_of(html), times), "ms"))
    print(figures.line("cut for a page", taken(lambda: parts.cut(html), times), "ms"))
    for name, flood in FLOODS.items():
        text = repeated(flood, HOSTILE)
        ends: list[str] = []

        def render(text: str = text, ends: list[str] = ends) -> None:
            try:
                found = worker._within(worker.RENDER_LIMIT, text)
                ends.append("plain" if found == rendering.plain(text) else "rendered")
            except worker._TooSlow:
                ends.append("stopped")

        took = taken(render, 1)
        print(figures.line(f"1 MB of {name}: {ends[0]}", took, "ms", f"{worker.RENDER_LIMIT:,},000 ms"))
    print(figures.noise())


def repeated(text: str, size: int) -> str:
    """Return a text over and over, `size` characters long."""
    return "".join(itertools.repeat(f"{text}\n\n", size // len(text) + 1))[:size]


def taken(
    act: Callable[[], object], times: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Return how long an act took each time by a clock of seconds, in milliseconds."""
    found = []
    for _ in range(times):
        began = clock()
        act()
        found.append((clock() - began) * 1000)
    return found


if __name__ == "__main__":
    main()
