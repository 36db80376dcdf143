"""Works out the panel on the console's first page: whether all runs as it should, and what mends it."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Count, Max, Min, Q, Sum
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from jobs import clock, lifecycle
from jobs.models import (
    IN_FLIGHT,
    Attempt,
    AttemptState,
    Budget,
    BudgetPeriod,
    Connection,
    Job,
    MonthlySpend,
    Status,
    Workspace,
)
from jobs.templatetags import ui

MOST_WAITING = 500  # jobs
LATEST_DUE = dt.timedelta(seconds=60)
LATEST_WATCH = dt.timedelta(minutes=3)
MOST_FAILED = {1: 10, 24: 50}  # in so many hours
MOST_COMMITTED = 90  # percent of the workspace's cap
# A job ends within a day and its completion window of being made, or is given up.
LONGEST = dt.timedelta(days=2)
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure with what it should not pass; `word` says what is wrong, `path` and `link` what mends it."""

    name: str
    figure: str
    detail: str
    limit: str = ""
    word: str = ""
    icon: str = "triangle-alert"
    path: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """The tiles, and in one sentence how many of them need someone."""

    tiles: list[Tile]
    at: dt.datetime

    @property
    def needs(self) -> int:
        return sum(bool(tile.word) for tile in self.tiles)

    @property
    def said(self) -> str:
        if not self.needs:
            return "Nothing needs you"
        number = ("", "One thing needs", "Two things need", "Three things need")
        return f"{number[self.needs] if self.needs < len(number) else f'{self.needs} things need'} you"

    @property
    def otherwise(self) -> str:
        return "Everything else runs as it should." if self.needs else "Everything runs as it should."


def panel() -> Panel:
    """Look at everything once."""
    now = timezone.now()
    by_status = {row["status"]: row for row in _unfinished()}
    failed = _failed(now)
    tiles = [
        _waiting(by_status.get(Status.WAITING), now),
        _in_flight(
            [by_status[status] for status in (*IN_FLIGHT, Status.SENDING) if status in by_status], now
        ),
        _due(now),
        _heartbeat(now),
        _unconfirmed(by_status.get(Status.UNCONFIRMED), now),
        _paused(),
        *(_failures(hours, failed) for hours in MOST_FAILED),
        _spend(),
    ]
    return Panel(tiles, now)


def _unfinished() -> Any:
    late = Count("pk", filter=Q(deadline_at__lt=Now()))
    rows = Job.objects.unfinished().order_by().values("status")
    return rows.annotate(count=Count("pk"), oldest=Min("created_at"), sent=Min("sent_at"), late=late)


def _waiting(found: dict[str, Any] | None, now: dt.datetime) -> Tile:
    count = found["count"] if found else 0
    return Tile(
        "Waiting",
        ui.number(count),
        f"jobs, oldest {_ago(found['oldest'], now)}" if found else "jobs",
        limit=f"alarm over {MOST_WAITING}",
        word="Many" if count > MOST_WAITING else "",
        path=_list("job", status__exact=Status.WAITING),
        link="See them",
    )


def _in_flight(found: list[dict[str, Any]], now: dt.datetime) -> Tile:
    sent = min((row["sent"] for row in found if row["sent"]), default=None)
    late = sum(row["late"] for row in found)
    return Tile(
        "In flight",
        ui.number(sum(row["count"] for row in found)),
        f"jobs, oldest sent {_ago(sent, now)} ago" if sent else "jobs",
        limit="alarm past a deadline",
        word=f"{late} past the deadline" if late else "",
        path=_list("job", status__exact=Status.IN_PROGRESS),
        link="See them",
    )


def _due(now: dt.datetime) -> Tile:
    soonest = Min("next_action_at")
    dues = [
        rows.order_by().aggregate(at=soonest)["at"]
        for rows in (Job.objects.to_send(), Job.objects.to_poll_anywhere())
    ]
    oldest = min((due for due in dues if due), default=None)
    is_late = oldest is not None and now - oldest > LATEST_DUE
    return Tile(
        "Oldest due",
        _ago(oldest, now) if oldest else "0s",
        "behind, of what is to be sent or asked for",
        limit=f"alarm over {LATEST_DUE.seconds} s",
        word="Nobody does it" if is_late else "",
        path=_list("pumplease"),
        link="See the pumps",
    )


def _heartbeat(now: dt.datetime) -> Tile:
    last = lifecycle.last_watch()
    is_silent = last is None or now - last > LATEST_WATCH
    return Tile(
        "Heartbeat",
        _ago(last, now) if last else "none yet",
        "since a worker ran the watchdog, once a minute",
        limit=f"alarm over {LATEST_WATCH.seconds} s",
        word="No worker runs" if is_silent else "",
        path=reverse("admin:django_q_schedule_changelist"),
        link="See the schedule",
    )


def _unconfirmed(found: dict[str, Any] | None, now: dt.datetime) -> Tile:
    if found is None:
        return Tile("Unconfirmed", "0", "jobs that were sent perhaps", limit="alarm at 1")
    rows = Attempt.objects.filter(state=AttemptState.UNCONFIRMED, job__status=Status.UNCONFIRMED)
    real = Q(job__project__connection__is_practice=False)
    about = rows.order_by().aggregate(
        held=Sum("worst_case", filter=real), at=Min("sent_at"), one=Max("job__short_id")
    )
    is_one = found["count"] == 1 and about["one"]
    return Tile(
        "Unconfirmed",
        ui.number(found["count"]),
        f"{ui.ceiling(about['held'] or ZERO)} held, oldest {_ago(about['at'] or found['oldest'], now)}",
        word="Needs a choice",
        icon="circle-question-mark",
        path=f"/jobs/{about['one']}/" if is_one else _list("job", status__exact=Status.UNCONFIRMED),
        link="Open the job" if is_one else "See them",
    )


def _paused() -> Tile:
    waiting = Count("project__job", filter=Q(project__job__status=Status.WAITING))
    paused = list(Connection.objects.paused().annotate(waiting=waiting).order_by("name"))
    if not paused:
        return Tile("Paused connections", "0", "every connection may be sent to", limit="alarm at 1")
    first: Any = paused[0]
    others = f", and {len(paused) - 1} more" if len(paused) > 1 else ""
    waits = f"{first.waiting} job{'s wait' if first.waiting != 1 else ' waits'}"
    return Tile(
        "Paused connections",
        str(len(paused)),
        f"{first.name}: {first.paused_reason or 'by hand'}, {waits}{others}",
        word="Paused",
        icon="circle-pause",
        path=reverse("connection", args=[first.pk]) if len(paused) == 1 else reverse("connections"),
        link="Open the connection" if len(paused) == 1 else "See them",
    )


def _failed(now: dt.datetime) -> list[dict[str, Any]]:
    """Return the failures of the last 24 hours by code, each with how many there were within each limit."""
    within = {
        f"h{hours}": Count("pk", filter=Q(finished_at__gte=now - dt.timedelta(hours=hours)))
        for hours in MOST_FAILED
    }
    # By when they were made: the index by status has no other time.
    rows = Job.objects.filter(status=Status.FAILED, created_at__gte=now - LONGEST)
    return [dict(row) for row in rows.order_by().values("error_code").annotate(**within)]


def _failures(hours: int, failed: list[dict[str, Any]]) -> Tile:
    counts = {row["error_code"]: row[f"h{hours}"] for row in failed}
    total, code = sum(counts.values()), max(counts, key=lambda name: counts[name], default="")
    return Tile(
        "Failed within an hour" if hours == 1 else f"Failed within {hours} hours",
        ui.number(total),
        f"most often {code or 'without a code'} ({counts[code]})" if total else "no job",
        limit=f"alarm over {MOST_FAILED[hours]}",
        word="Many" if total > MOST_FAILED[hours] else "",
        path=_list("job", status__exact=Status.FAILED),
        link="See them",
    )


def _spend() -> Tile:
    """Real money only."""
    today = Workspace.objects.the().today()
    month = clock.month_of(today)
    days = MonthlySpend.objects.filter(
        month=month, spent_on__isnull=False, project__connection__is_practice=False
    )
    spent = days.aggregate(
        today=Sum("cost", filter=Q(spent_on=today), default=ZERO), month=Sum("cost", default=ZERO)
    )
    period = _workspace_period(month)
    percent = period.percent_of_room(period.committed) if period else ZERO
    return Tile(
        "Spent today",
        ui.money(spent["today"]),
        f"{ui.money(spent['month'])} this month{f' of {ui.money(period.room)}' if period else ''}",
        limit=f"alarm at {MOST_COMMITTED}% of the cap" if period else "no cap for the workspace",
        word=f"{percent:.0f}% of the cap" if percent >= MOST_COMMITTED else "",
        path=reverse("budget"),
        link="Open the budget",
    )


def _workspace_period(month: dt.date) -> BudgetPeriod | None:
    return next(iter(Budget.objects.in_sight([], with_workspace=True).periods_in(month)), None)


def _ago(moment: dt.datetime, now: dt.datetime) -> str:
    return ui.duration(now - moment)


def _list(name: str, **query: str) -> str:
    return reverse(f"admin:jobs_{name}_changelist", query=query)


def regrouped(apps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the console's records by what they are about instead of by who wrote their code."""
    known = {model["object_name"]: model for app in apps for model in app["models"]}
    home = next((app for app in apps if app["app_label"] == "jobs"), None)
    for title, names in GROUPS.items():
        models = [known.pop(name) for name in names if name in known]
        if home and models:
            yield {**home, "name": title, "models": sorted(models, key=lambda model: model["name"])}
    for app in apps:
        left = [model for model in app["models"] if model["object_name"] in known]
        if left:
            yield {**app, "models": left}


GROUPS = {
    "Jobs": ("Attempt", "Event", "Job", "Notice", "Verdict"),
    "Content": (
        "Answer", "Attachment", "JobAttachment", "JobNote", "Prompt", "RawResponse", "SavedReplies",
    ),
    "Money": (
        "Budget", "BudgetPeriod", "DailySpend", "DailyTagSpend", "LedgerEntry", "MonthlySpend", "Price",
        "Refusal",
    ),
    "People": (
        "ApiToken", "Group", "Invitation", "LogEntry", "Membership", "SignInFailure", "SignInLink", "User",
    ),
    "Setup": ("Connection", "ModelSpec", "Project", "PumpLease", "WebhookDelivery", "Workspace"),
}  # fmt: skip
