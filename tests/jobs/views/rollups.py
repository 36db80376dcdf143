"""Writes days into the rollups, as settlement would have, for pages that look back over months."""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal

from jobs import pricing
from jobs.models import DailySpend, MonthlySpend, Project, User


def spend_days(project: Project, user: User, spent: Mapping[dt.date, Decimal], model: str = "o3-pro") -> None:
    """Let a project have cost USD by day, one job a day, besides what it has cost."""
    buckets = [0] * pricing.BUCKETS
    one = {"project": project, "jobs": 1}
    DailySpend.objects.bulk_create(
        DailySpend(**one, spent_on=on, user=user, model_id=model, effort="high", cost=cost, buckets=buckets)
        for on, cost in spent.items()
    )
    sums = [
        MonthlySpend(**one, month=on.replace(day=1), spent_on=on, cost=cost) for on, cost in spent.items()
    ]
    for month in {on.replace(day=1) for on in spent}:
        cost = sum(cost for on, cost in spent.items() if on.replace(day=1) == month)
        whole = {"project": project, "month": month, "cost": cost, "jobs": 1}
        sums += [
            MonthlySpend(**whole, model_id=model, effort="high", buckets=buckets),
            MonthlySpend(**whole, user=user),
        ]
    MonthlySpend.objects.bulk_create(sums)
