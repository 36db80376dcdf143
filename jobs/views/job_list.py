"""Reads the list of jobs: what the URL asks for, cards in flight, pages of history, and the version tag."""

import datetime as dt
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from urllib.parse import urlencode

from django.http import QueryDict
from django.utils import timezone

from jobs.lifecycle import usual_seconds
from jobs.models import FINAL, IN_FLIGHT, UNFINISHED, Job, ModelSpec, Status
from jobs.models.job_queries import JobQuerySet
from jobs.pricing import Usage
from jobs.views import news
from jobs.views.frame import Frame, swatch_of
from jobs.views.words import Why, usually, why

PAGE = 50
MOST_CARDS = 12
FLIGHT = "in_flight"  # the tab of all that is not final
TABS = {
    "": "All",
    FLIGHT: "In flight",
    Status.COMPLETED: "Completed",
    Status.INCOMPLETE: "Incomplete",
    Status.FAILED: "Failed",
    Status.CANCELLED: "Cancelled",
}
# Statuses in which something happens by itself, so that the clock changes what the page shows.
MOVING = (Status.WAITING, Status.SENDING, *IN_FLIGHT)
REDRAW = 30  # seconds after which bars and 'Slow' are drawn anew though no version has changed
BAR_END = 0.7  # the usual range ends at this part of a card's bar

# What the version tag is made of: id, version, status, created_at.
type Seen = tuple[int, int, str, dt.datetime]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the URL asks for; what it does not understand counts as not asked."""

    status: str = ""
    project: str = ""
    model: str = ""
    after: str = ""

    @classmethod
    def of(cls, query: QueryDict) -> "Wanted":
        given = {name: query.get(name, "") for name in ("status", "project", "model", "after")}
        # PostgreSQL refuses NUL in a parameter.
        given = {name: value for name, value in given.items() if "\x00" not in value}
        if given.get("status") not in TABS:
            given["status"] = ""
        return cls(**given)

    @property
    def is_filtered(self) -> bool:
        return bool(self.status or self.project or self.model)

    def query(self, **changed: str) -> str:
        """Return the query string with some parts changed; a change of filter starts at the newest again."""
        parts = {"status": self.status, "project": self.project, "model": self.model} | changed
        return urlencode({name: value for name, value in parts.items() if value})


@dataclass(frozen=True, slots=True)
class Card:
    """A job in flight: where it stands, and how its time compares to the usual (P10 to P90)."""

    job: Job
    spec: ModelSpec
    now: dt.datetime

    @property
    def seconds(self) -> float:
        return self.job.seconds_taken(self.now)

    @property
    def is_running(self) -> bool:
        return self.job.is_in_flight

    @property
    def usual(self) -> tuple[float, float]:
        return usual_seconds(self.spec, self.job.effort)

    @property
    def is_slow(self) -> bool:
        return self.is_running and self.seconds > self.usual[1]

    @property
    def shown_status(self) -> str:
        return "slow" if self.is_slow else self.job.status

    @property
    def hint(self) -> str:
        """What to know about it beside the status."""
        reason = why(self.job)
        if reason is not None:
            return reason.text
        if self.job.status == Status.WAITING:
            paused = getattr(self.job, "paused_connection", None)
            return f"{paused} is paused; it waits" if paused else "To be sent next"
        if self.job.status == Status.AWAITING_APPROVAL:
            return "Nothing is sent until someone agrees"
        return f"Usually {usually(*self.usual)}" + (". Still running." if self.is_slow else "")

    @property
    def bar(self) -> dict[str, float]:
        """The bar in percent: the usual range and the time taken; a job over the scale fills it."""
        low, high = self.usual
        scale = max(high / BAR_END, 1.0)
        start = low / scale * 100
        taken = min(self.seconds / scale * 100, 100.0) if self.is_running else 0.0
        return {"start": start, "width": high / scale * 100 - start, "taken": taken}


@dataclass(frozen=True, slots=True)
class Row:
    """A job in the history."""

    job: Job
    now: dt.datetime

    @property
    def swatch(self) -> int:
        return swatch_of(self.job.project_id)

    @property
    def why(self) -> Why | None:
        return why(self.job)

    @property
    def took(self) -> float | None:
        """Seconds from being sent until the end; None for what was never sent."""
        return self.job.seconds_taken(self.now) if self.job.sent_at and self.job.is_final else None

    @property
    def usage(self) -> Usage | None:
        """What its last attempt with a known usage used."""
        known = getattr(self.job, "usage", None)
        return Usage.from_wire({"usage": known}) if known else None


@dataclass(frozen=True, slots=True)
class Day:
    """The rows of one day, in the page's zone."""

    on: dt.date
    is_today: bool
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Tab:
    """A link to the jobs of one status."""

    name: str
    query: str
    is_here: bool


class JobList:
    """One person's list as one URL asks for it."""

    def __init__(self, frame: Frame, wanted: Wanted) -> None:
        self.frame = frame
        self.wanted = wanted
        self.now = timezone.now()

    @property
    def tab_links(self) -> list[Tab]:
        """The status tabs, each with the query that opens it."""
        return [
            Tab(name, self.wanted.query(status=key), key == self.wanted.status) for key, name in TABS.items()
        ]

    @property
    def flight_query(self) -> str:
        return self.wanted.query(status=FLIGHT)

    @property
    def has_cards(self) -> bool:
        """Cards stand over the newest page of everything; the tab of what is in flight lists it instead."""
        return self.wanted.status == "" and not self.wanted.after

    @cached_property
    def cards(self) -> list[Card]:
        return [Card(job, self.catalogue[job.model_id], self.now) for job in self._flight[:MOST_CARDS]]

    @property
    def has_more_cards(self) -> bool:
        return len(self._flight) > MOST_CARDS

    @cached_property
    def days(self) -> list[Day]:
        today = timezone.localdate(self.now)
        rows = [Row(job, self.now) for job in self._page[:PAGE]]
        grouped = groupby(rows, key=lambda row: timezone.localdate(row.job.created_at))
        return [Day(day, day == today, list(found)) for day, found in grouped]

    @property
    def is_empty(self) -> bool:
        return not self.days

    @property
    def older(self) -> str:
        """The query of the next page; empty on the last."""
        if len(self._page) <= PAGE:
            return ""
        return self.wanted.query(after=self._page[PAGE - 1].short_id)

    @property
    def newest(self) -> str:
        return self.wanted.query()

    @property
    def here(self) -> str:
        return self.wanted.query(after=self.wanted.after)

    @cached_property
    def catalogue(self) -> dict[str, ModelSpec]:
        """Every model by its id, to filter by and to tell what is usual."""
        return {spec.pk: spec for spec in ModelSpec.objects.only("prior", "default_effort")}

    @cached_property
    def poll(self) -> int:
        """Seconds until the page asks again; 0 when nothing on it can change by itself."""
        shown = self._seen
        if not any(status in UNFINISHED for _, _, status, _ in shown):
            return 0
        return news.wait(_age(shown, self.now))

    @property
    def tag(self) -> str:
        """The version of what is shown."""
        return _tag(self._seen, self.frame.pauses, self.now)

    def tag_now(self) -> str:
        """Return the version of what would be shown, in two queries, without reading it."""
        shown = ("pk", "version", "status", "created_at")
        page = self._rows().values_list(*shown)[: PAGE + 1]
        if self.has_cards:
            page = page.union(self._unfinished().values_list(*shown)[: MOST_CARDS + 1], all=True)
        return _tag(list(page), self.frame.pauses_now(), self.now)

    @property
    def _seen(self) -> list[Seen]:
        return [(job.pk, job.version, job.status, job.created_at) for job in (*self._page, *self._flight)]

    @cached_property
    def _flight(self) -> list[Job]:
        if not self.has_cards:
            return []
        return list(self._unfinished().for_cards()[: MOST_CARDS + 1])

    @cached_property
    def _page(self) -> list[Job]:
        return list(self._rows().for_list().with_usage()[: PAGE + 1])

    def _unfinished(self) -> JobQuerySet:
        return self._visible().unfinished()

    def _rows(self) -> JobQuerySet:
        """The history, from where the URL says."""
        rows = self._visible()
        if self.wanted.status == FLIGHT:
            rows = rows.unfinished()
        elif self.wanted.status:
            rows = rows.filter(status=self.wanted.status)
        else:
            rows = rows.filter(status__in=FINAL)
        return rows if self._last is None else _older_than(rows, self._last)

    def _visible(self) -> JobQuerySet:
        rows = Job.objects.visible_to(self.frame.user)
        if self.wanted.project:
            rows = rows.filter(project__slug=self.wanted.project)
        if self.wanted.model:
            rows = rows.filter(model=self.wanted.model)
        return rows.order_by("-created_at", "-id")

    @cached_property
    def _last(self) -> Job | None:
        """The job after which the page begins; one that the person cannot see is no place to begin."""
        if not self.wanted.after:
            return None
        rows = Job.objects.visible_to(self.frame.user).only("created_at")
        return rows.filter(short_id=self.wanted.after).first()


def _older_than(rows: JobQuerySet, job: Job) -> JobQuerySet:
    """Return the rows after a job in the order newest first; equal times are told apart by id."""
    # The range on created_at is what the index can use; the exclusion only trims its first instant.
    return rows.filter(created_at__lte=job.created_at).exclude(created_at=job.created_at, id__gte=job.pk)


def _age(shown: Iterable[Seen], now: dt.datetime) -> float:
    """Return the seconds since the newest job that moves by itself was made; infinity without one."""
    moving = [created_at for _, _, status, created_at in shown if status in MOVING]
    return max((now - max(moving)).total_seconds(), 0.0) if moving else float("inf")


def _tag(shown: Iterable[Seen], pauses: str, now: dt.datetime) -> str:
    shown = list(shown)
    age = _age(shown, now)
    beat = "" if age == float("inf") else str(int(age // REDRAW))
    versions = sorted((pk, version) for pk, version, _, _ in shown)
    return hashlib.sha256(f"{versions}{pauses}{beat}".encode()).hexdigest()[:20]
