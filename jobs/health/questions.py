"""Asks the database how things stand: each question once, whoever shows the answer."""

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Count, Max, Min, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce, Now

from jobs import clock
from jobs.models import (
    Attempt,
    AttemptState,
    Budget,
    BudgetPeriod,
    Connection,
    DeliveryState,
    Job,
    MonthlySpend,
    Reconciliation,
    Scope,
    Status,
    WebhookDelivery,
    Workspace,
)
from jobs.models.questions import Statement

# A job ends within a day and its completion window of being made, or is given up.
LONGEST = dt.timedelta(days=2)
MOST_COUNTED = 50_000  # jobs that are not final
ZERO = Decimal(0)


class Due(NamedTuple):
    """Since when the oldest of what is to be sent and of what is to be asked for is due."""

    send: dt.datetime | None
    poll: dt.datetime | None


class Unsettled(NamedTuple):
    """The oldest send whose money is not settled, and the oldest end upstream of such a one."""

    sent_at: dt.datetime | None
    ended_at: dt.datetime | None


class Heard(NamedTuple):
    """The last webhook of a connection: when it came, and when what it tells of happened, if it says."""

    connection: str
    received_at: dt.datetime
    event_at: dt.datetime | None

    @property
    def lag(self) -> dt.timedelta:
        return max(self.received_at - self.event_at, dt.timedelta(0)) if self.event_at else dt.timedelta(0)


class Spend(NamedTuple):
    """USD of real money, today and this month, and the workspace's period of the month if it has a budget."""

    today: Decimal
    month: Decimal
    period: BudgetPeriod | None


class Size(NamedTuple):
    """The database's size in bytes, and its connections, in use and at most."""

    bytes: int
    connections: int
    most: int


def unfinished() -> "QuerySet[Job, Any]":
    """Return of each status that is not final: how many jobs, the oldest, and how many are late."""
    late = Count("pk", filter=Q(deadline_at__lt=Now()))
    rows = Job.objects.unfinished().order_by().values("status")
    return rows.annotate(count=Count("pk"), oldest=Min("created_at"), sent=Min("sent_at"), late=late)


def number_unfinished() -> list[tuple[str, bool, int]]:
    """Return how many jobs are in each status that is not final, real and practice apart."""
    return [(str(status), bool(practice), int(number)) for status, practice, number in _numbers().ask()]


@cache
def _numbers() -> Statement:
    some = Job.objects.unfinished().order_by().values("status", "project_id")[:MOST_COUNTED]
    return Statement(
        "SELECT few.status, c.is_practice, count(*) FROM ({}) few"
        " JOIN jobs_project p ON p.id = few.project_id JOIN jobs_connection c ON c.id = p.connection_id"
        " GROUP BY few.status, c.is_practice ORDER BY few.status, c.is_practice",
        some,
    )


def oldest_due(connections: Iterable[Any] = ()) -> Due:
    """Return what nobody has done yet, whichever installation is to do it.

    What waits for room on its connection is left out: it is nobody's to do before another has ended.
    `connections` are those that `in_use` returned, if it was asked.
    """
    soonest = Min("next_action_at")
    to_send = Job.objects.to_send_anywhere().order_by()
    waiting: dict[int, dt.datetime] = dict(to_send.values_list("project__connection").annotate(soonest))
    used = connections or (in_use() if waiting else ())
    full = {one.pk for one in used if one.open_now >= one.max_in_flight}
    return Due(
        min((since for pk, since in waiting.items() if pk not in full), default=None),
        Job.objects.to_poll_anywhere().order_by().aggregate(at=soonest)["at"],
    )


def in_use() -> list[Any]:
    """Return every connection, each with how many sends are `open_now` there."""
    taken = Attempt.objects.open().filter(connection=OuterRef("pk")).order_by().values("connection")
    number = Subquery(taken.annotate(number=Count("pk")).values("number"))
    return list(Connection.objects.annotate(open_now=Coalesce(number, 0)).order_by("name"))


def unsettled() -> Unsettled:
    """Return the oldest of what was sent, perhaps or surely, and is not booked."""
    ended = Min("end_seen_at", filter=Q(state=AttemptState.KNOWN))
    found = Attempt.objects.unsettled().order_by().aggregate(sent=Min("sent_at"), ended=ended)
    return Unsettled(found["sent"], found["ended"])


def unconfirmed() -> dict[str, Any]:
    """Return of the sends nobody knows of: USD held (real money only), the oldest, and one job's id."""
    rows = Attempt.objects.filter(state=AttemptState.UNCONFIRMED, job__status=Status.UNCONFIRMED)
    real = Q(job__project__connection__is_practice=False)
    return rows.order_by().aggregate(
        held=Sum("worst_case", filter=real), at=Min("sent_at"), one=Max("job__short_id")
    )


def paused() -> list[Any]:
    """Return the paused connections, each with how many jobs are `waiting` for it."""
    waiting = Count("project__job", filter=Q(project__job__status=Status.WAITING))
    return list(Connection.objects.paused().annotate(waiting=waiting).order_by("name"))


def webhooks() -> list[Heard]:
    """Return of each connection that was sent a webhook the last one that was signed as it must be."""
    rows = WebhookDelivery.objects.filter(connection=OuterRef("pk")).exclude(state=DeliveryState.REFUSED)
    last = rows.order_by("-pk")[:1]
    found = Connection.objects.annotate(
        received_at=Subquery(last.values("received_at")), event_at=Subquery(last.values("event_at"))
    ).filter(received_at__isnull=False)
    return [Heard(*row) for row in found.order_by("name").values_list("name", "received_at", "event_at")]


def webhooks_waiting() -> dt.datetime | None:
    """Return since when the oldest delivery waits whose response is to be looked up."""
    found: dt.datetime | None = WebhookDelivery.objects.order_by().aggregate(at=Min("next_look_at"))["at"]
    return found


def webhook_refused_at() -> dt.datetime | None:
    """Return when a delivery was last refused, to an hour."""
    refused = WebhookDelivery.objects.filter(state=DeliveryState.REFUSED).order_by("-pk")
    return refused.values_list("received_at", flat=True).first()


def failed(within: Iterable[int]) -> list[dict[str, Any]]:
    """Return the failures of late by code, each with how many there were in the last so many hours."""
    spans = {
        f"h{hours}": Count("pk", filter=Q(finished_at__gte=Now() - dt.timedelta(hours=hours)))
        for hours in within
    }
    # By when they were made: the index by status has no other time.
    rows = Job.objects.filter(status=Status.FAILED, created_at__gte=Now() - LONGEST)
    return [dict(row) for row in rows.order_by().values("error_code").annotate(**spans)]


def spend_now() -> Spend:
    """Return what real money today and this month have cost, and the workspace's own budget."""
    today = Workspace.objects.the().today()
    month = clock.month_of(today)
    days = MonthlySpend.objects.filter(
        month=month, spent_on__isnull=False, project__connection__is_practice=False
    )
    found = days.aggregate(
        today=Sum("cost", filter=Q(spent_on=today), default=ZERO), month=Sum("cost", default=ZERO)
    )
    periods = Budget.objects.in_sight([], with_workspace=True).periods_in(month)
    return Spend(found["today"], found["month"], next(iter(periods), None))


def project_periods() -> list[dict[str, Any]]:
    """Return of each project in use: USD held in all months, and spent and room of this one's period."""
    month = clock.month_of(Workspace.objects.the().today())
    rows = BudgetPeriod.objects.filter(budget__scope=Scope.PROJECT, budget__project__archived_at=None)
    this = Q(month=month)
    found: QuerySet[BudgetPeriod, Any] = (
        rows.values("budget__project__slug", "budget__project__connection__is_practice")
        .annotate(
            all_held=Sum("held"),
            month_spent=Sum("spent", filter=this, default=0),
            month_room=Sum("cap", filter=this, default=0) + Sum("granted", filter=this, default=0),
        )
        .order_by("budget__project__slug")
    )
    return list(found)


def size() -> Size:
    """Return how large the database is and how many connections it has left."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_database_size(current_database()),"
            " (SELECT coalesce(sum(numbackends), 0) FROM pg_stat_database),"
            " current_setting('max_connections')::int"
        )
        return Size(*(int(value) for value in cursor.fetchone()))


def newest_bill() -> Reconciliation | None:
    """Return the newest comparison with the bill of a real account that has ended."""
    return Reconciliation.objects.of(is_practice=False).filter(ended_at__isnull=False).first()
