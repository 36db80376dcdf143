"""Rings for a pump: a message makes work sooner, never possible; a lost or doubled one does no harm."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from django.conf import settings
from django.db.models.functions import Now
from django_q.models import Schedule
from django_q.tasks import async_task, schedule

from jobs.models import PumpLease

type PumpKind = Literal["send", "poll"]
type Rung = PumpKind | Literal["render"]
# What is done for one row.
type Errand = Literal[
    "test_connection",
    "mail_sign_in_link",
    "mail_job_end",
    "mail_approvers",
    "mail_decision",
    "reconcile_bill",
    "book_difference",
    "mail_budget_request",
    "mail_budget_decision",
    "hand_on_grant",
    "deliver_alert",
]

_TASKS: dict[Rung, str] = {
    "send": "jobs.tasks.send_due",
    "poll": "jobs.tasks.poll_due",
    "render": "jobs.tasks.render_due",
}
_held: ContextVar[set[Rung] | None] = ContextVar("held", default=None)
_EVERY = {"watchdog": 1, "sweep": 60}  # minutes
# Seconds until a send pump is killed, with what it has on the wire: longer than it can take (see `pump`). The
# message is then delivered a second time meanwhile; that one finds the lease taken.
SEND_TIMEOUT = 240
# A month of a million sends takes half a minute to add up, and ten thousand adjustments more than one.
BILL_TIMEOUT = 600


def ring(kind: Rung) -> None:
    """Ask the cluster for a pump, in the caller's transaction: a rollback leaves no message."""
    held = _held.get()
    if held is not None:
        held.add(kind)
        return
    options = {"timeout": SEND_TIMEOUT} if kind == "send" else {}
    # Without a cluster named, a task started inside a worker would go to that worker's own.
    async_task(_TASKS[kind], cluster=settings.CLUSTER_NAME, **options)


def ring_unless_pumped(kind: PumpKind) -> None:
    """Ring unless a pump of this installation runs. Needs the caller's transaction, and that a short one.

    A pump looks once more as it lets its lease go, and with that it has to wait until the caller has
    committed what it made due.
    """
    mine = PumpLease.objects.filter(kind=kind, instance=settings.INSTANCE, holder__isnull=False)
    running = mine.filter(expires_at__gt=Now()).select_for_update(no_key=True)
    if not running.values_list("pk"):
        ring(kind)


@contextmanager
def once() -> Iterator[None]:
    """Ring within but once of each kind, and not before the end: by then all is committed.

    A worker takes longer for a message, also where there is nothing left to do, than for an answer. What is
    not rung for because of a kill in between, the next beat rings for.
    """
    token = _held.set(set())
    try:
        yield
    finally:
        kinds = _held.get() or set()
        _held.reset(token)
        for kind in sorted(kinds):
            ring(kind)


def ring_for(task: Errand, row_id: int) -> None:
    """Ask the cluster to do something for one row, in the caller's transaction."""
    options = {"timeout": BILL_TIMEOUT} if task in ("reconcile_bill", "book_difference") else {}
    async_task(f"jobs.tasks.{task}", row_id, cluster=settings.CLUSTER_NAME, **options)


def install_watchdog() -> None:
    """Make sure that the one-minute watchdog and the hourly sweep exist, once."""
    for task, minutes in _EVERY.items():
        if not Schedule.objects.filter(name=task).exists():
            schedule(
                f"jobs.tasks.{task}",
                name=task,
                cluster=settings.CLUSTER_NAME,
                schedule_type=Schedule.MINUTES,
                minutes=minutes,
                repeats=-1,
            )


def last_watch() -> dt.datetime | None:
    """Return when a cluster, whichever it was, ran the one-minute watchdog last.

    Until one has, it is when the watchdog was installed; None before that.
    """
    found = Schedule.objects.filter(name="watchdog").values_list("next_run", "task").first()
    if found is None:
        return None
    due: dt.datetime = found[0]
    return due - dt.timedelta(minutes=_EVERY["watchdog"]) if found[1] else due
