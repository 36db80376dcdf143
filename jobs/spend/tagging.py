"""Changes a job's tags and moves what it has cost from the old ones to the new."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from django.db import connection
from django.db.models import F, Q, Sum

from jobs.models import Basis, DailyTagSpend, EntryKind, Job, LedgerEntry, MonthlyTagSpend
from jobs.spend.caps import lock_money_shared
from jobs.spend.rollup import add_to_months_tags, add_to_tags

ZERO = Decimal(0)


def retag(job_id: int, tags: Iterable[str]) -> tuple[list[str], list[str]]:
    """Give a job other tags, and their rollups its cost; return its tags before and after, in order.

    Needs the caller's transaction; locks the job's row, so that no charge is booked on tags of a moment ago.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("money moves in the transaction that says why")
    lock_money_shared()
    job = Job.objects.select_for_update(no_key=True).get(pk=job_id)
    before, after = set(job.tags), set(tags)
    if before != after:
        booked = sorted(_booked(job).items())
        # In the order in which settlement takes these rows: no two transactions can deadlock.
        for (_, spent_on), (cost, jobs) in booked:
            for tag in sorted(before ^ after):
                if tag in after:
                    add_to_tags(job, [tag], spent_on=spent_on, cost=cost, jobs=jobs)
                else:
                    _take_from_tag(job, tag, spent_on=spent_on, cost=cost, jobs=jobs)
        for (month, _), (cost, jobs) in booked:
            for tag in sorted(before ^ after):
                if tag in after:
                    add_to_months_tags(job, [tag], month=month, cost=cost, jobs=jobs)
                else:
                    _take_from_months_tag(job, tag, month=month, cost=cost, jobs=jobs)
        Job.objects.filter(pk=job_id).update(tags=sorted(after), version=F("version") + 1)
    return sorted(before), sorted(after)


def _booked(job: Job) -> dict[tuple[dt.date, dt.date], tuple[Decimal, int]]:
    """Return what a job's attempts have cost, USD, and how many of them count, by month and day."""
    rows = LedgerEntry.objects.filter(job=job, kind__in=[EntryKind.CHARGE, EntryKind.ADJUST])
    attempts = rows.values("month", "spent_on", "attempt").annotate(
        total=Sum("amount"), counted=Sum("amount", filter=~Q(basis=Basis.NONE))
    )
    found: dict[tuple[dt.date, dt.date], tuple[Decimal, int]] = defaultdict(lambda: (ZERO, 0))
    for row in attempts:
        cost, jobs = found[row["month"], row["spent_on"]]
        found[row["month"], row["spent_on"]] = cost + row["total"], jobs + (row["counted"] is not None)
    return found


def _take_from_tag(job: Job, tag: str, *, spent_on: dt.date, cost: Decimal, jobs: int) -> None:
    rows = DailyTagSpend.objects.filter(
        spent_on=spent_on, project=job.project_id, user=job.submitted_by_id, tag=tag
    )
    rows.update(cost=F("cost") - cost, jobs=F("jobs") - jobs)
    rows.filter(cost=ZERO, jobs=0).delete()


def _take_from_months_tag(job: Job, tag: str, *, month: dt.date, cost: Decimal, jobs: int) -> None:
    rows = MonthlyTagSpend.objects.filter(month=month, project=job.project_id, tag=tag)
    rows.update(cost=F("cost") - cost, jobs=F("jobs") - jobs)
    rows.filter(cost=ZERO, jobs=0).delete()
