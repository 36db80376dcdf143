"""Measures admission on a database that waits for its disk: `python -m tests.bench.holds`.

Jobs with planned attempts are written beforehand. Then fifty processes, each with a connection of its own,
hold them one by one, each in a transaction of its own, as fast as they can: on one cap that has room for
fifty, under one cap of the workspace, and on fifty caps of projects.
"""

import argparse
import multiprocessing as mp
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import django

from o3site import localpg
from tests.bench import figures

CONNECTIONS = 50
AMOUNT = Decimal("0.10")


def main() -> None:
    """Run the three benches in a database of its own and print their figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--holds", type=int, default=5_000, help="of the two that have room for all")
    args = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="ponder-bench-"))
    home.chmod(0o711)  # under root the database is another user and must pass through
    os.environ |= {"PONDER_DATA_DIR": str(home / "var"), "DJANGO_SETTINGS_MODULE": "o3site.settings"}
    localpg.start(home / "var")
    try:
        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        print(figures.noise())
        print(f"a commit waits {_commit():.2f} ms for the disk (median)")
        for name, projects, cap, workspace, count, target in (
            ("$0.10 holds on one cap of $5.00", 1, "5.00", None, 1_000, "50 admitted, ≤ 2.7 s"),
            ("under one cap of the workspace", 50, "1000000", "1000000", args.holds, "≥ 500/s"),
            ("on fifty caps of projects", 50, "1000000", None, args.holds, "≥ 1,000/s"),
        ):
            found, seconds = measure(projects, Decimal(cap), workspace and Decimal(workspace), count)
            said = ", ".join(f"{number:,} {kind}" for kind, number in sorted(found.items()))
            print(f"{name}: {said} in {seconds:.2f} s, {count / seconds:,.0f}/s   ({target})")
        print(figures.noise())
    finally:
        localpg.stop(home / "var")
        shutil.rmtree(home)


def measure(projects: int, cap: Decimal, workspace: Decimal | None, count: int) -> tuple[Counter[str], float]:
    """Return how many attempts were admitted and refused, and the seconds from the first to the last."""
    attempts = _planned(projects, cap, workspace, count)
    from django.db import connections

    connections.close_all()  # none is shared with those to come
    context = mp.get_context("fork")
    ready, results = context.Barrier(CONNECTIONS), context.SimpleQueue()
    parts = [attempts[number::CONNECTIONS] for number in range(CONNECTIONS)]
    running = [context.Process(target=work, args=(part, ready, results)) for part in parts]
    for process in running:
        process.start()
    told = [results.get() for _ in running]
    for process in running:
        process.join()
    found: Counter[str] = sum((kinds for kinds, _, _ in told), Counter())
    _check(found, projects, cap)
    return found, max(ended for *_, ended in told) - min(began for _, began, _ in told)


def work(attempts: Sequence[int], ready: Barrier, results: Any) -> None:
    """Hold these attempts one after the other; the body of one process."""
    from django.db import transaction

    from jobs import spend
    from jobs.models import Attempt

    rows = Attempt.objects.select_related("job__project__connection").in_bulk(attempts)
    ready.wait()
    began, kinds = time.time(), Counter[str]()
    for row in rows.values():
        try:
            with transaction.atomic():
                spend.admit(row.job, row)
            kinds["admitted"] += 1
        except spend.BudgetRefused:
            kinds["refused"] += 1
    results.put((kinds, began, time.time()))


def _planned(projects: int, cap: Decimal, workspace: Decimal | None, count: int) -> list[int]:
    """Write projects with caps and jobs with attempts that nothing is held for yet; return the attempts."""
    from jobs import spend
    from jobs.models import (
        Attempt,
        Budget,
        BudgetPeriod,
        Connection,
        Job,
        ModelSpec,
        Project,
        User,
        Workspace,
    )

    # The ledger is only ever added to, so each bench has projects of its own; caps of the one before go.
    BudgetPeriod.objects.filter(budget__scope="workspace").delete()
    Budget.objects.filter(scope="workspace").delete()
    ModelSpec.objects.seed()
    today = Workspace.objects.the().today()
    spec = ModelSpec.objects.get(pk="o3-pro")
    price = spec.price_on(today)
    assert price is not None
    where, _ = Connection.objects.get_or_create(name="bench", defaults={"base_url": "http://127.0.0.1:9/v1"})
    person, _ = User.objects.get_or_create(email="bench@example.com", defaults={"name": "Bench"})
    told = f"{time.time_ns()}"
    owners = Project.objects.bulk_create(
        Project(name=f"Bench {told} {number}", slug=f"bench-{told}-{number}", connection=where)
        for number in range(projects)
    )
    if workspace is not None:
        spend.set_cap(workspace)
    for owner in owners:
        spend.set_cap(cap, project=owner)
    made = Job.objects.bulk_create(
        Job(
            project=owners[number % projects],
            submitted_by=person,
            model=spec,
            effort="high",
            max_output_tokens=1_000,
            status="waiting",
            input_bound=100,
            worst_case=AMOUNT,
            fingerprint=f"{told}-{number}",
        )
        for number in range(count)
    )
    attempts = Attempt.objects.bulk_create(
        Attempt(job=job, number=1, connection=where, price=price, worst_case=AMOUNT) for job in made
    )
    return [attempt.pk for attempt in attempts]


def _check(found: Counter[str], projects: int, cap: Decimal) -> None:
    """See that what was admitted is what is held, and fits."""
    from django.db.models import Sum

    from jobs.models import BudgetPeriod, LedgerEntry, Project

    newest = Project.objects.order_by("-pk").values("pk")[:projects]
    ids = [row["pk"] for row in newest]
    held = LedgerEntry.objects.filter(project__in=ids).aggregate(held=Sum("amount"))["held"]
    periods = BudgetPeriod.objects.filter(budget__project__in=ids).aggregate(held=Sum("held"))["held"]
    assert held == periods == found["admitted"] * AMOUNT, (held, periods, found)
    assert found["admitted"] == min(found.total(), int(cap / AMOUNT) * projects), found


def _commit() -> float:
    """Return how long a commit of one small row takes, milliseconds."""
    from jobs.models import Workspace

    Workspace.objects.the()
    found = []
    for _ in range(200):
        began = time.perf_counter()
        Workspace.objects.filter(pk=1).update(name="Ponder")
        found.append((time.perf_counter() - began) * 1000)
    return figures.quantile(found, 0.5)


if __name__ == "__main__":
    main()
