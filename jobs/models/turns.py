"""Whose job of a connection is sent next: projects take turns, and each sends in the order of waiting."""

import datetime as dt
from functools import lru_cache
from typing import NamedTuple

from django.db import models
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from jobs.models.attempt import Attempt
from jobs.models.connections import Connection, sources_here
from jobs.models.job import Job
from jobs.models.projects import Project
from jobs.models.questions import AS_JOINED, BY_INDEX, Blank, Question, Statement
from jobs.models.status import Status

# Of so many slots one is kept for a project that has none of them, where several projects send.
KEPT_OF = 20
# A line is read until there is room for no more; joined all at once it would be read to its end. And from
# each of its jobs to what belongs to that: while ten thousand are so new that no statistics know of them, a
# table that seems empty would be read once for each.
_AT_ONCE = ("enable_hashjoin", "enable_mergejoin", "enable_material")
_ROW_BY_ROW = (*((way, "off") for way in _AT_ONCE), *AS_JOINED, *BY_INDEX)


class Turn(NamedTuple):
    """A job that waits, and how many slots its project would have with it."""

    job_id: int
    number: int


def in_turn(connection_id: int, *, most: int, day: dt.date) -> list[Turn]:
    """Return the first jobs that are due on a connection, as they are to be sent.

    The project that has fewest slots comes first, then who has waited longest. What is not held at the price
    of `day` is left out. Costs as much with ten thousand waiting as with ten.
    """
    found = _in_turn().ask(connection=connection_id, day=day, most=most)
    return [Turn(job_id, number) for job_id, number in found]


def waiting_since() -> list[tuple[int, dt.datetime]]:
    """Return the connections that can be sent to from here and have due jobs, each with when its first fell
    due.
    """
    since: dict[int, dt.datetime] = {}
    for connection_id, at in _waiting_since(tuple(sources_here())).ask():
        since[connection_id] = min(at, since.get(connection_id, at))
    return list(since.items())


def kept_slots(connection_id: int, max_in_flight: int) -> int:
    """Return how many slots of a connection are kept for projects that have none.

    At least one where several projects send through it, so that none waits for another's long jobs to end.
    """
    return most_kept(max_in_flight) if len(_two_projects().ask(connection=connection_id)) > 1 else 0


def most_kept(max_in_flight: int) -> int:
    """Return how many of so many slots are kept for projects that have none, where there are several."""
    return max(1, max_in_flight // KEPT_OF) if max_in_flight > 1 else 0


@lru_cache
def _two_projects() -> Question[int]:
    projects = Project.objects.filter(connection=Blank("connection"), archived_at=None).order_by()
    return Question(projects.values_list("pk", flat=True)[:2])


@lru_cache
def _waiting_since(here: tuple[str, ...]) -> Question[tuple[int, dt.datetime]]:  # noqa: ARG001 - they decide
    first = _in_line().filter(project=models.OuterRef("pk")).order_by("next_action_at")
    waiting = Project.objects.filter(connection__in=Connection.objects.open_here()).annotate(
        since=models.Subquery(first.values("next_action_at")[:1])
    )
    return Question(waiting.exclude(since=None).values_list("connection", "since"), hint=BY_INDEX)


@lru_cache
def _in_turn() -> Statement:
    connection = Blank("connection")
    slots = Attempt.objects.open().filter(connection=connection).order_by().values("job__project")
    outdated = Attempt.objects.outdated(Blank("day")).filter(job=models.OuterRef("pk"))
    line = _in_line().filter(~models.Exists(outdated), project=RawSQL("own.id", ()))
    return Statement(
        "WITH held(project, slots) AS MATERIALIZED ({}) SELECT due.id,"
        " coalesce(held.slots, 0) + due.place AS number FROM ({}) own(id)"
        " LEFT JOIN held ON held.project = own.id CROSS JOIN LATERAL"
        " (SELECT id, at, row_number() OVER (ORDER BY at, id) AS place FROM ({}) line(id, at) LIMIT {}) due"
        " ORDER BY number, due.at, due.id LIMIT {}",
        slots.annotate(slots=models.Count("pk")).values_list("job__project", "slots"),
        Project.objects.filter(connection=connection).order_by().values("pk"),
        line.order_by("next_action_at", "pk").values_list("pk", "next_action_at"),
        Blank("most"),
        Blank("most"),
        hint=_ROW_BY_ROW,
    )


def _in_line() -> models.QuerySet[Job]:
    due = Job.objects.filter(status=Status.WAITING, next_action_at__lte=Now())
    return due.filter(cancel_requested_at=None)
