"""Measures pages over many jobs: `python -m tests.bench.pages`.

A year of work is written straight into a fresh installation. Then each page is asked for again and again,
first through Django's own client in this process, which also counts the queries, then over HTTP from the
product's web server.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import django

from o3site import collector
from tests.bench import figures
from tests.whole import Visitor, Whole


def main() -> None:
    """Fill a database, ask for the pages, print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=200)
    args = parser.parse_args()
    print(figures.noise())
    with Whole(words=["--only", "web"]) as whole:
        os.environ |= {"PONDER_DATA_DIR": str(whole.home), "DJANGO_SETTINGS_MODULE": "o3site.settings"}
        django.setup()
        from tests.bench import seed  # needs Django to be set up

        began = time.monotonic()
        operator = seed.fill(args.jobs)
        print(f"{args.jobs:,} jobs written in {time.monotonic() - began:.0f} s")
        measure(whole, operator, args.requests)
    print("to reach: job list and job page in at most 12 queries and 40 ms")
    print(figures.noise())


def measure(whole: Whole, operator: Any, requests: int) -> None:
    """Print queries and times of every page, in milliseconds."""
    from django.test import Client

    from jobs.models import Job

    client = Client(SERVER_NAME="localhost")
    client.force_login(operator)
    done = Job.objects.filter(status="completed").order_by("-pk")[300]
    running = Job.objects.filter(status="in_progress").first()
    assert running is not None
    pages: dict[str, tuple[str, dict[str, str]]] = {
        "job list": ("/jobs/", {}),
        "job list of a project": ("/jobs/?project=project-1", {}),
        "job list, failed only": ("/jobs/?status=failed", {}),
        "job list, no news": ("/jobs/live/", {"HX_PTag": ""}),
        "job page, completed": (f"/jobs/{done.short_id}/", {}),
        "job page, running": (f"/jobs/{running.short_id}/", {}),
        "new job": ("/jobs/new/", {}),
        "project": ("/projects/project-1/", {}),
        "budget": ("/budget/", {}),
    }
    with Visitor(whole.base_url) as visitor:
        visitor.cookies["sessionid"] = client.cookies["sessionid"].value
        for name, (path, headers) in pages.items():
            if headers:  # a tag is good for half a minute
                headers = {"HX_PTag": client.get(path)["HX-PTag"]}
            sent = {title.replace("_", "-"): value for title, value in headers.items()}
            with counted() as queries:
                answer = client.get(path, headers=sent)
            assert answer.status_code in (200, 304), (path, answer.status_code)
            inside = timed(requests, partial(client.get, path, headers=sent))
            outside = timed(requests, partial(visitor.get, path, **headers))
            size = len(answer.content) / 1024
            print(figures.line(f"{name}: {queries[0]} queries, {size:.0f} KB", inside, "ms in process"))
            print(figures.line("", outside, "ms over HTTP"))


def timed(requests: int, ask: Callable[[], object]) -> list[float]:
    """Return how long each request took, milliseconds, after three to warm up."""
    for _ in range(3):
        ask()
    collector.settle()  # as the web server has done before its first request
    found = []
    for _ in range(requests):
        began = time.perf_counter()
        ask()
        found.append((time.perf_counter() - began) * 1000)
    return found


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count the queries that are made inside."""
    from django.db import connection

    count = [0]

    def add(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        count[0] += 1
        return execute(sql, params, many, context)

    with connection.execute_wrapper(add):
        yield count


if __name__ == "__main__":
    main()
