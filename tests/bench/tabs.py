"""Measures what open tabs cost: `python -m tests.bench.tabs`.

Pages of jobs in flight and the jobs list are open in 300 tabs, each with a connection of its own. One in six
is visible and asks for news as often as the server tells it to; the others ask once a minute, as app.js does.
Printed is the processor time of the web server and the database, in per cent of one core.
"""

import argparse
import heapq
import os
import random
import re
import time
from dataclasses import dataclass, field

import django

from tests.bench import figures
from tests.bench.idle import usage
from tests.whole import Visitor, Whole

POLLED = re.compile(r'<[a-z]+ [^>]*hx-get="([^"]*/live/[^"]*)"[^>]*data-poll="(\d+)"')
TAG = re.compile(r'hx-ptag="([^"]*)"')
HIDDEN_EVERY = 60.0  # seconds
ONE_VISIBLE_IN = 6


@dataclass(slots=True)
class Tab:
    """One open page, and how it asks for news."""

    visitor: Visitor
    is_visible: bool
    path: str = ""
    tag: str = ""
    interval: float = 0.0  # seconds, as the server said last
    answers: dict[int, int] = field(default_factory=dict)

    def read(self, text: str) -> None:
        """Take address, tag and interval out of a page or a part of one."""
        found = POLLED.search(text)
        if found is None:
            raise RuntimeError("nothing on the page asks for news")
        tag = TAG.search(found[0])
        self.path, self.interval, self.tag = found[1], float(found[2]), tag[1] if tag else self.tag

    @property
    def wait(self) -> float:
        return self.interval if self.is_visible else max(self.interval, HIDDEN_EVERY)

    def ask(self) -> None:
        """Ask for news once."""
        answer = self.visitor.get(self.path, HX_Request="true", HX_PTag=self.tag)
        self.answers[answer.status] = self.answers.get(answer.status, 0) + 1
        if answer.status == 200:
            self.read(answer.text)
            self.tag = answer.headers.get("hx-ptag", self.tag)


def main() -> None:
    """Fill a database, open the tabs, watch what they cost and print it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--tabs", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=120.0)
    args = parser.parse_args()
    print(figures.noise())
    with Whole(words=["--only", "web"]) as whole:
        os.environ |= {"PONDER_DATA_DIR": str(whole.home), "DJANGO_SETTINGS_MODULE": "o3site.settings"}
        django.setup()
        tabs = open_tabs(whole, args.jobs, args.tabs)
        run(tabs, 10)  # the first round is warmer than any later one
        for tab in tabs:
            tab.answers.clear()
        before = usage(whole)
        run(tabs, args.seconds)
        after = usage(whole)
        answers = [status for tab in tabs for status, times in tab.answers.items() for _ in range(times)]
        visible = sum(tab.is_visible for tab in tabs)
        per_second = len(answers) / args.seconds
        unchanged = answers.count(304) / max(1, len(answers))
        print(
            f"{len(tabs)} tabs, {visible} visible: {per_second:.1f} questions a second, {unchanged:.0%} 304"
        )
        total = 0.0
        for part in ("web server", "database"):
            spent = sum(
                seconds - before.get(pid, (part, 0.0))[1]
                for pid, (name, seconds) in after.items()
                if name == part
            )
            total += spent / args.seconds * 100
            print(f"  {part:<12} {spent / args.seconds * 100:6.2f} % of a core")
        print(f"  {'together':<12} {total:6.2f} % of a core   (at most 20)")
        for visitor in {tab.visitor for tab in tabs}:
            visitor.close()
    print(figures.noise())


def open_tabs(whole: Whole, jobs: int, count: int) -> list[Tab]:
    """Fill the database; open the list in every fourth tab, and jobs in flight in the others."""
    from django.test import Client

    from jobs.models import IN_FLIGHT, Job
    from tests.bench import seed

    operator = seed.fill(jobs)
    client = Client(SERVER_NAME="localhost")
    client.force_login(operator)
    flying = list(Job.objects.filter(status__in=IN_FLIGHT).values_list("short_id", flat=True))
    tabs = []
    for number in range(count):
        visitor = Visitor(whole.base_url)
        visitor.cookies["sessionid"] = client.cookies["sessionid"].value
        tab = Tab(visitor, is_visible=number % ONE_VISIBLE_IN == 0)
        address = f"/jobs/{flying[number // 2 % len(flying)]}/" if number % 4 else "/jobs/"
        tab.read(visitor.get(address).text)
        tabs.append(tab)
    return tabs


def run(tabs: list[Tab], seconds: float) -> None:
    """Let every tab ask for news at its times, from a random moment of its first interval on."""
    began = time.monotonic()
    due = [(random.uniform(0, tab.wait), number) for number, tab in enumerate(tabs)]
    heapq.heapify(due)
    while due and due[0][0] < seconds:
        at, number = heapq.heappop(due)
        time.sleep(max(0.0, began + at - time.monotonic()))
        tabs[number].ask()
        heapq.heappush(due, (time.monotonic() - began + tabs[number].wait, number))


if __name__ == "__main__":
    main()
