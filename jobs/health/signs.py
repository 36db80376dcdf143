"""Says of each thing worth watching how it stands, when that is an alarm, and what to do about it."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils import timezone

from jobs import lifecycle
from jobs.health import questions
from jobs.models import IN_FLIGHT, Attempt, AttemptState, Installation, Status
from jobs.reconcile import has_admin_key
from jobs.templatetags import ui

MOST_WAITING = 500  # jobs
LATEST_DUE = dt.timedelta(seconds=60)
LATEST_WATCH = dt.timedelta(minutes=3)
LATEST_BEAT = dt.timedelta(seconds=60)  # a cluster that is silent for 30 s is killed and started again
# A response that does not end is given up two days after it was sent; nothing is unsettled for longer.
LATEST_SETTLED = dt.timedelta(days=2, hours=1)
LATEST_BOOKED = dt.timedelta(minutes=15)  # missing usage is asked for for ten minutes
MOST_FAILED = {1: 10, 24: 50}  # in so many hours
LATEST_WEBHOOK = dt.timedelta(seconds=60)
LATEST_BILL = dt.timedelta(days=2)
REFUSED_LATELY = dt.timedelta(hours=1)
MOST_COMMITTED = 90  # percent of the workspace's cap
MOST_CONNECTIONS = 85  # percent of what the database allows
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Sign:
    """One figure with what it should not pass.

    `word` says what is wrong, `step` what to do next, `path` and `link` lead there, and `topic` is the
    section of the guide for operators that tells more.
    """

    name: str
    figure: str
    detail: str
    topic: str
    limit: str = ""
    word: str = ""
    step: str = ""
    icon: str = "triangle-alert"
    path: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """The signs, and in one sentence how many of them need someone."""

    tiles: list[Sign]
    at: dt.datetime
    is_all_paused: bool  # by the switch for everything

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
    """Look at what the console's first page shows."""
    return _panel(timezone.now())


def status() -> Panel:
    """Look at everything once."""
    now = timezone.now()
    watched = (
        *_installations(now),
        _webhooks(now),
        _unsettled(now),
        _on_the_wire(),
        *_bill(now),
        _database(),
    )
    return _panel(now, *watched)


def _panel(now: dt.datetime, *more: Sign) -> Panel:
    by_status = {row["status"]: row for row in questions.unfinished()}
    failures = questions.failed(MOST_FAILED)
    paused = questions.paused()
    tiles = [
        _waiting(by_status.get(Status.WAITING), now),
        _in_flight(
            [by_status[status] for status in (*IN_FLIGHT, Status.SENDING) if status in by_status], now
        ),
        _due(now),
        _heartbeat(now),
        _unconfirmed(by_status.get(Status.UNCONFIRMED), now),
        _paused(paused),
        *(_failed(hours, failures) for hours in MOST_FAILED),
        _spend(),
        *more,
    ]
    return Panel(tiles, now, is_all_paused=any(one.is_paused_with_all for one in paused))


def _waiting(found: dict[str, Any] | None, now: dt.datetime) -> Sign:
    count = found["count"] if found else 0
    return Sign(
        "Waiting",
        ui.number(count),
        f"jobs, oldest {_ago(found['oldest'], now)}" if found else "jobs",
        "waiting",
        limit=f"alarm over {MOST_WAITING}",
        word="Many" if count > MOST_WAITING else "",
        step="Look whether a connection is paused or full, or whether somebody sends in bulk.",
        path=_list("job", status__exact=Status.WAITING),
        link="See them",
    )


def _in_flight(found: list[dict[str, Any]], now: dt.datetime) -> Sign:
    sent = min((row["sent"] for row in found if row["sent"]), default=None)
    late = sum(row["late"] for row in found)
    return Sign(
        "In flight",
        ui.number(sum(row["count"] for row in found)),
        f"jobs, oldest sent {_ago(sent, now)} ago" if sent else "jobs",
        "jobs-in-flight",
        limit="alarm past a deadline",
        word=f"{late} past the deadline" if late else "",
        step="They were asked to stop. Wait, or look at the oldest: after a day more it is given up.",
        path=_list("job", status__exact=Status.IN_PROGRESS),
        link="See them",
    )


def _due(now: dt.datetime) -> Sign:
    oldest = min((due for due in questions.oldest_due() if due), default=None)
    is_late = oldest is not None and now - oldest > LATEST_DUE
    return Sign(
        "Oldest due",
        _ago(oldest, now) if oldest else "0s",
        "behind, of what is to be sent or asked for",
        "oldest-due",
        limit=f"alarm over {LATEST_DUE.seconds} s",
        word="Nobody does it" if is_late else "",
        step="See whether workers run, and whether one that runs has the key.",
        path=_list("pumplease"),
        link="See the pumps",
    )


def _heartbeat(now: dt.datetime) -> Sign:
    last = lifecycle.last_watch()
    is_silent = last is None or now - last > LATEST_WATCH
    return Sign(
        "Heartbeat",
        _ago(last, now) if last else "none yet",
        "since a worker ran the watchdog, once a minute",
        "heartbeat",
        limit=f"alarm over {LATEST_WATCH.seconds} s",
        word="No worker runs" if is_silent else "",
        step="Start Ponder where its workers run, and read its log if they end again.",
        path=reverse("admin:django_q_schedule_changelist"),
        link="See the schedule",
    )


def _installations(now: dt.datetime) -> Iterator[Sign]:
    """Yield a sign for each installation that was not stopped on purpose."""
    for one in Installation.objects.at_work().order_by("host", "instance"):
        is_silent = now - one.beat_at > LATEST_BEAT
        yield Sign(
            f"Workers on {one.host}",
            _ago(one.beat_at, now),
            f"since one answered, version {one.version}, installation {one.instance[:8]}",
            "installation",
            limit=f"alarm over {LATEST_BEAT.seconds} s",
            word="Silent" if is_silent else "",
            step="Start it again there: its journal knows the sends that nobody else can tell about.",
            path=_list("installation"),
            link="See all installations",
        )


def _unconfirmed(found: dict[str, Any] | None, now: dt.datetime) -> Sign:
    name, topic = "Unconfirmed", "unconfirmed"
    if found is None:
        return Sign(name, "0", "jobs that were sent perhaps", topic, limit="alarm at 1")
    about = questions.unconfirmed()
    is_one = found["count"] == 1 and about["one"]
    return Sign(
        name,
        ui.number(found["count"]),
        f"{ui.ceiling(about['held'] or ZERO)} held, oldest {_ago(about['at'] or found['oldest'], now)}",
        topic,
        limit="alarm at 1",
        word="Needs a choice",
        step="Look in the API's own log whether it was accepted, then choose on the job's page.",
        icon="circle-question-mark",
        path=f"/jobs/{about['one']}/" if is_one else _list("job", status__exact=Status.UNCONFIRMED),
        link="Open the job" if is_one else "See them",
    )


def _unsettled(now: dt.datetime) -> Sign:
    found = questions.unsettled()
    is_old = found.sent_at is not None and now - found.sent_at > LATEST_SETTLED
    is_owed = found.ended_at is not None and now - found.ended_at > LATEST_BOOKED
    return Sign(
        "Oldest unsettled",
        _ago(found.sent_at, now) if found.sent_at else "0s",
        "since it was sent, of what is not booked yet",
        "unsettled",
        limit=f"alarm over {LATEST_SETTLED / dt.timedelta(hours=1):.0f} h",
        word="Ended and not booked" if is_owed else "Held too long" if is_old else "",
        step="Run `manage.py audit`, and look at the oldest send of the list.",
        path=_list("attempt", state__exact=AttemptState.KNOWN),
        link="See them",
    )


def _webhooks(now: dt.datetime) -> Sign:
    heard, since = questions.webhooks(), questions.webhooks_waiting()
    refused_at = questions.webhook_refused_at()
    worst = max(heard, key=lambda one: one.lag, default=None)
    last = max((one.received_at for one in heard), default=None)
    word = ""
    if refused_at is not None and now - refused_at < REFUSED_LATELY:
        word = "Some are refused"
    elif since is not None and now - since > LATEST_DUE:
        word = "Nobody looks them up"
    elif worst is not None and worst.lag > LATEST_WEBHOOK:
        word = f"{worst.connection} is late"
    return Sign(
        "Webhook lag",
        ui.duration(worst.lag) if worst else "none yet",
        f"from the event to us, the last {_ago(last, now)} ago" if last else "polls find the ends",
        "webhooks",
        limit=f"alarm over {LATEST_WEBHOOK.seconds} s",
        word=word,
        step="See the log. Nothing is lost: polls come back by themselves where ends are not announced.",
        path=reverse("deliveries"),
        link="See the log",
    )


def _on_the_wire() -> Sign:
    number = Attempt.objects.on_the_wire().count()
    return Sign("Sends on the wire", ui.number(number), "waiting for the API's first answer", "sends")


def _paused(paused: list[Any]) -> Sign:
    name, topic = "Paused connections", "paused"
    if not paused:
        return Sign(name, "0", "every connection may be sent to", topic, limit="alarm at 1")
    first = paused[0]
    others = f", and {len(paused) - 1} more" if len(paused) > 1 else ""
    waits = f"{first.waiting} job{'s wait' if first.waiting != 1 else ' waits'}"
    return Sign(
        name,
        str(len(paused)),
        f"{first.name}: {first.paused_reason.rstrip('. ') or 'by hand'}, {waits}{others}",
        topic,
        limit="alarm at 1",
        word="Paused",
        step="Mend what its reason names, then resume it. Nothing is lost meanwhile.",
        icon="circle-pause",
        path=reverse("connection", args=[first.pk]) if len(paused) == 1 else reverse("connections"),
        link="Open the connection" if len(paused) == 1 else "See them",
    )


def _failed(hours: int, failures: list[dict[str, Any]]) -> Sign:
    counts = {row["error_code"]: row[f"h{hours}"] for row in failures}
    total, code = sum(counts.values()), max(counts, key=lambda name: counts[name], default="")
    return Sign(
        "Failed within an hour" if hours == 1 else f"Failed within {hours} hours",
        ui.number(total),
        f"most often {code or 'without a code'} ({counts[code]})" if total else "no job",
        "failed",
        limit=f"alarm over {MOST_FAILED[hours]}",
        word="Many" if total > MOST_FAILED[hours] else "",
        step="See whether they share a code, a model or a project.",
        path=_list("job", status__exact=Status.FAILED),
        link="See them",
    )


def _spend() -> Sign:
    """Real money only."""
    today, month, period = questions.spend_now()
    percent = period.percent_of_room(period.committed) if period else ZERO
    is_soft = period is not None and not period.budget.refuses
    return Sign(
        "Spent today",
        ui.money(today),
        f"{ui.money(month)} this month{f' of {ui.money(period.room)}' if period else ''}",
        "spend",
        limit=f"alarm at {MOST_COMMITTED}% of the cap" if period else "no cap for the workspace",
        word=f"{percent:.0f}% of the cap" if percent >= MOST_COMMITTED else "",
        step="The cap is soft: nothing is refused. Look at who spends, or make it hard."
        if is_soft
        else "Raise the cap or let jobs wait: at 100% nothing more is admitted.",
        path=reverse("budget"),
        link="Open the budget",
    )


def _bill(now: dt.datetime) -> Iterator[Sign]:
    """Yield a sign where the bill of a real account has been compared."""
    newest = questions.newest_bill()
    if newest is None:
        return
    word = step = ""
    if newest.problem:
        word, step = "Not read", "Its page says what keeps the bill from being read."
    elif newest.residual:
        word, step = "Not explained", "Look at what nobody can explain: it is billed and has no reason here."
    elif has_admin_key() and now - newest.asked_at > LATEST_BILL:
        word, step = "Not read lately", "It is read once a day by itself: see whether workers run."
    yield Sign(
        "Not explained by the bill",
        ui.money(abs(newest.residual)),
        f"since {newest.since:%-d %B}, compared {_ago(newest.asked_at, now)} ago",
        "bill",
        limit="alarm at any difference",
        word=word,
        step=step,
        path=reverse("reconciliation"),
        link="See the reconciliation",
    )


def _database() -> Sign:
    found = questions.size()
    is_full = found.connections * 100 >= found.most * MOST_CONNECTIONS
    return Sign(
        "Database",
        filesizeformat(found.bytes).replace("\xa0", " "),
        f"{found.connections} of {found.most} connections in use",
        "database",
        limit=f"alarm at {MOST_CONNECTIONS}% of the connections",
        word="Few connections left" if is_full else "",
        step="See who holds them, or raise max_connections.",
    )


def _ago(moment: dt.datetime, now: dt.datetime) -> str:
    return ui.duration(max(now - moment, dt.timedelta(0)))


def _list(name: str, **query: str) -> str:
    return reverse(f"admin:jobs_{name}_changelist", query=query)
