"""Measures lists, search and pages over a million jobs: `python -m tests.bench.lists`.

Each page is asked for again and again through Django's own client in this process, as an operator and as a
member of a few projects, which also counts its queries; then the slowest statements of each are explained.
"""

import argparse
import datetime as dt
import resource
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench import figures
from tests.bench.pages import counted, timed
from tests.bench.seed import seeded

DEPTH = 10  # pages gone down before a page at depth is measured: the cursor finds any depth alike
TO_REACH = {"poll": 5, "search": 300}  # milliseconds at p95; everything else in PAGE
PAGE = 40
LAST = "(SELECT max(month) FROM jobs_ledgerentry)"
NAIVE = {
    "by day and project": "SELECT spent_on, project_id, sum(amount), count(*) FROM jobs_ledgerentry"
    f" WHERE month = {LAST} AND kind IN ('charge', 'adjust') GROUP BY 1, 2",
    "by model and effort": "SELECT j.model_id, j.effort, sum(l.amount), count(*) FROM jobs_ledgerentry l"
    f" JOIN jobs_job j ON j.id = l.job_id WHERE l.month = {LAST} AND l.kind IN ('charge', 'adjust')"
    " GROUP BY 1, 2",
    "by person": "SELECT user_id, sum(amount), count(*) FROM jobs_ledgerentry"
    f" WHERE month = {LAST} AND kind IN ('charge', 'adjust') GROUP BY 1",
}


def main() -> None:
    """Seed a database, or take one that is seeded already, and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--home", type=Path, help="where a seeded database is, or is to be kept")
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--only", default="", help="pages whose name holds this")
    args = parser.parse_args()
    with seeded(args.jobs, args.home):
        from o3site.preparation import collect_static  # needs Django to be set up

        collect_static(say=lambda _: None)
        print(figures.noise())
        for role, person in people().items():
            measure(role, person, args.requests, args.only)
        if args.only in "budget files":
            measure_files(people()["operator"])
            measure_naive()
        print(figures.noise())


def measure_files(person: Any) -> None:
    """Print how long a month's files take to send, and by how much they grow this process, in megabytes."""
    from django.test import Client

    from jobs.models import MonthlySpend

    month = MonthlySpend.objects.order_by("-month").values_list("month", flat=True).distinct()[1]
    client = Client(SERVER_NAME="localhost")
    client.force_login(person)
    for name, path in {
        "csv": f"/budget/?month={month:%Y-%m}&format=csv",
        "focus": f"/budget/?month={month:%Y-%m}&format=focus",
        "ledger csv": f"/budget/ledger/?month={month:%Y-%m}&format=csv",
    }.items():
        answer: Any = client.get(path)
        parts = iter(answer)
        size = len(next(parts)) + len(next(parts))
        before, began = peak_memory(), time.monotonic()
        size += sum(map(len, parts))
        took, grown = time.monotonic() - began, peak_memory() - before
        print(f"budget {name}: {size / 1e6:.0f} MB in {took:.1f} s, {grown:.1f} MB more memory", flush=True)


def measure_naive() -> None:
    """Print what the page's first figures would take to add up from the ledger itself."""
    from django.db import connection

    with connection.cursor() as cursor:
        for name, sql in NAIVE.items():
            times = timed(5, partial(cursor.execute, sql))
            print(figures.line(f"budget without rollups, {name}", times, "ms", ""), flush=True)


def peak_memory() -> float:
    """Return the most memory this process has had, megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def people() -> dict[str, Any]:
    """Return who looks: an operator, and a member of some projects with jobs of their own."""
    from django.db.models import Count

    from jobs.models import User

    members = User.objects.filter(is_superuser=False).annotate(projects=Count("membership"))
    return {
        "operator": User.objects.filter(is_superuser=True).first(),
        "member": members.order_by("-projects", "pk")[5],
    }


def measure(role: str, person: Any, requests: int, only: str) -> None:
    """Print queries and times of every page for one person, in milliseconds."""
    from django.test import Client

    client = Client(SERVER_NAME="localhost")
    client.force_login(person)
    for name, path in pages(client, person):
        if only not in name:
            continue
        headers = {"HX-PTag": client.get(path)["HX-PTag"]} if name.startswith("poll") else {}
        with counted() as queries:
            answer = client.get(path, headers=headers)
        assert answer.status_code == (304 if headers else 200), (path, answer.status_code)
        times = timed(requests, partial(client.get, path, headers=headers))
        target = TO_REACH.get(name.split()[0].rstrip(","), PAGE)
        print(
            figures.line(f"{role}: {name}, {queries[0]} queries", times, "ms", f"p95 ≤ {target}"), flush=True
        )


def pages(client: Any, person: Any) -> Iterator[tuple[str, str]]:
    """Yield every page to measure by its name."""
    import re

    from jobs.models import Job

    seen = Job.objects.visible_to(person)
    last = seen.filter(status="completed").order_by("-pk").select_related("project").first()
    assert last is not None
    running = seen.filter(status="in_progress").first()
    before = (last.created_at.replace(day=1) - dt.timedelta(days=1)).date()  # a whole month
    asked = {
        "all": "",
        "a project": f"project={last.project.slug}",
        "a person": f"by={last.submitted_by_id}",
        "a model": "model=o3-pro",
        "failed": "status=failed",
        "cancelled": "status=cancelled",
        "an effort": "effort=low",
        "a tag": "tag=tag-6",
        "a day": "since=2026-09-01&until=2026-09-01",
        "project, failed": f"project={last.project.slug}&status=failed",
        "project, model": f"project={last.project.slug}&model=gpt-5.5-pro",
        "person, model": f"by={last.submitted_by_id}&model=gpt-5.5-pro",
        "costliest": "sort=costliest",
        "costliest of a cheap model": "sort=costliest&model=gpt-6-luna",
        "costliest of a project": f"sort=costliest&project={last.project.slug}",
        "costliest failed": "sort=costliest&status=failed",
        "longest": "sort=longest",
        "longest of a model": "sort=longest&model=o3",
        "in flight": "status=in_flight",
        "nothing": "model=no-such-model",
        "no such effort": "effort=none&model=o3",
    }
    for name, query in asked.items():
        yield f"list, {name}", f"/jobs/?{query}"
    for name, query in (("all", ""), ("failed", "status=failed"), ("costliest", "sort=costliest")):
        path = f"/jobs/?{query}"
        for _ in range(DEPTH):
            found = re.search(r'href="(\?[^"]*after=[^"]+)">Next', client.get(path).content.decode())
            if found:
                path = "/jobs/" + found[1].replace("&amp;", "&")
        yield f"list, {name}, {DEPTH} pages down", path
    moment = Job.objects.order_by("created_at")[1_000].created_at
    yield "list, all, at the oldest", f"/jobs/?after={round(moment.timestamp() * 1e6)}-1"
    common = last.prompt.text.split()
    yield "search, one job", f"/jobs/?q={last.pk}"
    yield "search, a word of some", f"/jobs/?q={common[0]}"
    yield "search, two words", f"/jobs/?q={common[0]}+{common[1]}"
    yield "search, a word of many", "/jobs/?q=lemma"
    yield "search, a word of all", "/jobs/?q=case"
    yield "search, two words of many", "/jobs/?q=lemma+scheduler"
    yield "search, never together", "/jobs/?q=lemma+%22norm+lemma+norm%22"
    yield "search in a project", f"/jobs/?q=lemma&project={last.project.slug}"
    yield "search, nothing", "/jobs/?q=nosuchwordanywhere"
    yield "poll, list", "/jobs/live/"
    yield "poll, list of a project", f"/jobs/live/?project={last.project.slug}"
    yield "poll, list of failed", "/jobs/live/?status=failed"
    yield "job, completed", last.get_absolute_url()
    if running:
        yield "job, running", running.get_absolute_url()
    yield "budget", "/budget/"
    yield "budget of a project", f"/budget/?project={last.project.slug}"
    yield "budget of the month before", f"/budget/?month={before:%Y-%m}"
    charged = f"/budget/ledger/?month={before:%Y-%m}&kind=spent"
    for name, query in {
        "a month": "",
        "a project": f"&project={last.project.slug}",
        "a day": f"&day={before:%Y-%m}-12",
        "a day of a project": f"&day={before:%Y-%m}-12&project={last.project.slug}",
        "a person": f"&person={last.submitted_by_id}",
        "a model": "&model=gpt-6-luna",
        "a dear model": "&model=o3-pro",
        "an effort": "&effort=low",
        "a tag": "&tag=tag-6",
        "a job": f"&job={last.short_id}",
    }.items():
        yield f"budget drill-down, {name}", charged + query
    yield "budget drill-down, held", "/budget/ledger/?kind=held"
    yield "budget drill-down, every row", f"/budget/ledger/?month={before:%Y-%m}"
    yield "budget, refused jobs", f"/budget/refused/?month={before:%Y-%m}"
    yield "budget, judged answers", f"/budget/judged/?month={before:%Y-%m}"
    yield "project", last.project.get_absolute_url()


if __name__ == "__main__":
    main()
