"""Measures how soon a job gets out and its answer comes in: `python -m tests.bench.latency`.

The whole product runs with its sandbox. Jobs are sent one a second by the form, over HTTP with session and
CSRF; each takes a real time upstream, spread evenly over the orders of magnitude from 5 s to `--longest`.
Measured are: the POST until the sandbox has accepted the job; the end upstream until another connection reads
a final status in the database; and the end upstream until a page that is open on the job shows it, asking as
often as it is told to and as late as app.js's tick makes it.
"""

import argparse
import math
import random
import re
import sys
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg

from o3site import localpg
from tests.bench import figures
from tests.whole import Visitor, Whole

PASSWORD = "correct horse battery"
TICK = 1.0  # seconds between app.js's looks at what is due
FINAL = ["completed", "incomplete", "failed", "cancelled"]


@dataclass
class Sent:
    """One job: seconds upstream, and the moments (Unix time) at which things were seen."""

    path: str
    seconds: float
    posted_at: float
    answered_at: float
    seen_final_at: float = 0.0
    shown_at: float = 0.0
    accepted_at: float = 0.0
    is_watched: bool = False

    @property
    def short_id(self) -> str:
        return self.path.split("/")[2]

    @property
    def ended_at(self) -> float:
        return self.accepted_at + self.seconds


@dataclass
class Run:
    """What the threads share."""

    whole: Whole
    sent: list[Sent] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


def main() -> None:
    """Send the jobs, wait for the last one, and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--longest", type=float, default=240.0, help="seconds upstream")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two jobs")
    parser.add_argument("--watch", type=int, default=3, help="a page is open on each n-th job")
    args = parser.parse_args()
    print(figures.noise())
    with Whole() as whole, Visitor(whole.base_url) as visitor:
        sign_in(visitor, whole)
        run = Run(whole)
        watcher = threading.Thread(target=watch_database, args=[run])
        watcher.start()
        pages: list[threading.Thread] = []
        try:
            for seconds in durations(args.jobs, args.longest):
                began = time.monotonic()
                job = send(visitor, seconds)
                run.sent.append(job)
                if len(run.sent) % args.watch == 0:
                    job.is_watched = True
                    pages.append(threading.Thread(target=watch_page, args=[run, job, dict(visitor.cookies)]))
                    pages[-1].start()
                time.sleep(max(0.0, args.every - (time.monotonic() - began)))
            deadline = time.monotonic() + args.longest + 60
            while time.monotonic() < deadline and not all(job.seen_final_at for job in run.sent):
                time.sleep(0.5)
            time.sleep(20)  # the slowest page asks every 15 s
        finally:
            run.stop.set()
            for thread in (watcher, *pages):
                thread.join()
        accepted_at = whole_log(whole)
        for job in run.sent:
            job.accepted_at = accepted_at[job.short_id]
    report(run.sent)


def durations(count: int, longest: float) -> list[float]:
    """Return seconds from 5 to `longest`, as many of each order of magnitude, in an order without pattern."""
    step = (math.log(longest) - math.log(5)) / max(1, count - 1)
    found = [round(math.exp(math.log(5) + number * step), 1) for number in range(count)]
    random.Random(7).shuffle(found)
    return found


def sign_in(visitor: Visitor, whole: Whole) -> None:
    """Enter by the link that the first start printed, and make room in the practice project's cap."""
    visitor.get("/enter/")
    entered = visitor.post(
        "/enter/", {"token": whole.link, "new_password1": PASSWORD, "new_password2": PASSWORD}
    )
    assert entered.status == 302, entered.text
    assert visitor.post("/projects/practice/cap/", {"cap": "100000"}).status == 302


def send(visitor: Visitor, seconds: float) -> Sent:
    """Send one job by the form; the page was loaded before, as a person's was."""
    fields = visitor.get("/jobs/new/").fields("/jobs/new/")
    prompt = f"Think. {uuid.uuid4()} [[sandbox: seconds={seconds} outcome=completed answer_tokens=200]]"
    posted_at = time.time()
    page = visitor.post("/jobs/new/", {**fields, "prompt": prompt})
    assert page.status == 302, page.text
    return Sent(page.location, seconds, posted_at, time.time())


def connect(whole: Whole) -> psycopg.Connection[tuple[Any, ...]]:
    """Return a connection to its database, each statement a transaction of its own."""
    reach = localpg.parameters(whole.home)
    return psycopg.connect(
        host=reach["HOST"],
        user=reach["USER"],
        password=reach["PASSWORD"],
        dbname=reach["NAME"],
        autocommit=True,
    )


def watch_database(run: Run) -> None:
    """Note, 20 times a second, which jobs another connection reads as final."""
    with connect(run.whole) as connection:
        while not run.stop.wait(0.05):
            rows = connection.execute("SELECT short_id FROM jobs_job WHERE status = ANY(%s)", [FINAL])
            now, final = time.time(), {short_id for (short_id,) in rows}
            for job in list(run.sent):
                if not job.seen_final_at and job.short_id in final:
                    job.seen_final_at = now


def watch_page(run: Run, job: Sent, cookies: dict[str, str]) -> None:
    """Keep a page open on a job until it shows the end, asking for news as app.js does."""
    with Visitor(run.whole.base_url) as visitor:
        visitor.cookies = cookies
        text, tag = visitor.get(job.path).text, ""
        while not run.stop.is_set():
            element = re.search(r'<div id="job"[^>]*>', text)
            poll = re.search(r'data-poll="(\d+)"', element[0]) if element else None
            if not poll:
                return
            found = re.search(r'hx-ptag="([^"]*)"', element[0]) if element else None
            tag = found[1] if found else tag
            if run.stop.wait(math.ceil(int(poll[1]) / TICK) * TICK + random.uniform(0, 0.2)):
                return
            with suppress(OSError):
                page = visitor.get(f"{job.path}live/", HX_Request="true", HX_PTag=tag)
                if page.status == 200:
                    text = page.text
                    if ">Completed<" in text:
                        job.shown_at = time.time()
                        return


def whole_log(whole: Whole) -> dict[str, float]:
    """Return by short id when the sandbox accepted each job (Unix time)."""
    accepted = {
        row["metadata"].get("ponder_job"): row["created_at"] for row in whole.sandbox_log()["responses"]
    }
    with connect(whole) as connection:
        rows = connection.execute("SELECT short_id, uuid::text FROM jobs_job").fetchall()
    return {short_id: accepted[name] for short_id, name in rows if name in accepted}


def report(sent: list[Sent]) -> None:
    """Print the figures, in seconds."""
    done = [job for job in sent if job.seen_final_at]
    young = [job for job in done if job.seconds <= 60]
    shown = [job for job in sent if job.shown_at]
    watched = [job for job in sent if job.is_watched]
    print(figures.line("form POST answered", [job.answered_at - job.posted_at for job in sent], "s"))
    print(
        figures.line(
            "form POST to accepted upstream",
            [job.accepted_at - job.posted_at for job in sent],
            "s",
            "p50 at most 0.5",
        )
    )
    ends = [job.seen_final_at - job.ended_at for job in done]
    print(figures.line("ended upstream to final in the database", ends, "s", "p95 at most 3"))
    print(figures.line("  of jobs up to a minute", [job.seen_final_at - job.ended_at for job in young], "s"))
    page = [job.shown_at - job.ended_at for job in shown]
    print(figures.line("ended upstream to shown on its page", page, "s", "at most 7"))
    late = sorted((round(job.shown_at - job.ended_at, 1), job.seconds) for job in shown)[-3:]
    print(f"slowest pages (seconds late, seconds upstream): {late}")
    print(f"{len(done)} of {len(sent)} jobs ended, {len(shown)} of {len(watched)} open pages showed it")
    print(figures.noise())
    if len(done) < len(sent) or len(shown) < len(watched):
        sys.exit(1)


if __name__ == "__main__":
    main()
