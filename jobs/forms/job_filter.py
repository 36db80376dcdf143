"""Reads out of an address which jobs a list shows; what it does not understand counts as not asked."""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

import django_filters
from django.db.models import Subquery
from django.forms import Field, ValidationError
from django.http import QueryDict
from django.utils import timezone

from jobs.models import Job, Project, Status, User
from jobs.models.job_queries import JobQuerySet, Order, Place
from jobs.models.projects import Someone
from jobs.models.questions import Among, Anyone, Blank
from jobs.models.search import asked_for

FLIGHT = "in_flight"  # the tab of all that is not final
TABS = {
    "": "All",
    FLIGHT: "In flight",
    Status.COMPLETED.value: "Completed",
    Status.INCOMPLETE.value: "Incomplete",
    Status.FAILED.value: "Failed",
    Status.CANCELLED.value: "Cancelled",
}
ME = "me"  # whoever looks
LONGEST_SEARCH = 300  # characters
_LATEST = dt.datetime.max.replace(tzinfo=dt.UTC)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_PLACE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,10})?)-([0-9]{1,18})")
_MICROSECOND = dt.timedelta(microseconds=1)


class JobFilter(django_filters.FilterSet):  # type: ignore[misc]
    """What jobs can be filtered by, beside the tab and the words looked for; values may be blanks."""

    project = django_filters.CharFilter(method="of_project")
    by = django_filters.CharFilter(field_name="submitted_by")
    token = django_filters.CharFilter(field_name="token")
    model = django_filters.CharFilter(field_name="model")
    effort = django_filters.CharFilter(field_name="effort")
    tag = django_filters.CharFilter(method="with_tag")
    since = django_filters.DateFilter(field_name="created_at", lookup_expr="gte")
    until = django_filters.DateFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Job
        fields: list[str] = []

    def __init__(self, *, queryset: JobQuerySet, user: Someone) -> None:
        self.user = user
        super().__init__(queryset=queryset)

    def of_project(self, rows: JobQuerySet, _name: str, slug: str | Blank) -> JobQuerySet:
        """Look the project up on the way: one that the person cannot see has no jobs."""
        named = Project.objects.visible_to(self.user).filter(slug=slug)
        return rows.filter(project=Subquery(named.values("pk")[:1]))

    def with_tag(self, rows: JobQuerySet, _name: str, tag: str | Blank) -> JobQuerySet:
        return rows.filter(tags__contains=[tag])


@dataclass(frozen=True)
class Wanted:
    """What an address asks for: a tab, filters, words, an order, and where to begin.

    `typed` are the filters as they were written, `meant` is what they mean: a slug, a person's id, a moment.
    `found` are the jobs with the words, None where they are too many, or nobody has looked yet.
    """

    user: Someone
    status: str = ""
    typed: tuple[tuple[str, str], ...] = ()
    meant: tuple[tuple[str, Any], ...] = ()
    search: str | Blank = ""
    order: Order = Order.NEWEST
    after: Place | None = None
    found: Sequence[int] | Blank | None = None

    @classmethod
    def of(cls, query: QueryDict, user: User) -> "Wanted":
        status, search = query.get("status", ""), query.get("q", "").strip()[:LONGEST_SEARCH]
        asked = query.get("sort", "")
        filters = JobFilter.base_filters.items()
        held = {name: value for name, one in filters if (value := _read(query, name, one.field))}
        found = cls(
            user,
            status=status if status in TABS else "",
            typed=tuple((name, str(query[name]).strip()) for name in held),
            meant=tuple((name, _meaning(name, value, user)) for name, value in held.items()),
            # PostgreSQL refuses NUL in a parameter.
            search="" if "\x00" in search else search,
            order=Order(asked) if asked in Order else Order.NEWEST,
        )
        # What has not ended has neither its cost nor its time yet.
        found = found if found.has_order else replace(found, order=Order.NEWEST)
        return replace(found, after=place_of(query.get("after", ""), found.order))

    @property
    def has_order(self) -> bool:
        """Whether the rows can be put in another order than the newest first."""
        return self.status != FLIGHT and not self.search

    @property
    def is_filtered(self) -> bool:
        return bool(self.status or self.search or self.typed)

    @cached_property
    def filters(self) -> Mapping[str, str]:
        """The filters that hold, as they were written."""
        return dict(self.typed)

    @cached_property
    def shape(self) -> "Wanted":
        """The same with blanks for all values: what it shares with others whose question is written alike."""
        return replace(
            self,
            user=Anyone(is_superuser=self.user.is_superuser),
            typed=(),
            meant=tuple((name, Blank(name)) for name, _ in self.meant),
            search=Blank("words") if self.search else "",
            after=Place(Blank("value"), Blank("pk")) if self.after else None,
            found=None if self.found is None else Blank("found"),
        )

    @cached_property
    def blanks(self) -> dict[str, Any]:
        """What the blanks of the shape stand for."""
        found = {"person": self.user.pk, "words": self.search, "found": self.found, **dict(self.meant)}
        return found | (self.after._asdict() if self.after else {})

    def visible(self) -> JobQuerySet:
        """Return what the person can see and has what is looked for, before any filter."""
        rows = Job.objects.visible_to(self.user)
        if not self.search:
            return rows
        if self.found is None:
            return rows.filter(jobtext__vector=asked_for(self.search))
        return rows.filter(Among("pk", self.found))

    def filtered(self, rows: JobQuerySet) -> JobQuerySet:
        """Return those of `rows` that the filters let through, under any tab."""
        if not self.meant:
            return rows
        filters = JobFilter(queryset=rows, user=self.user).filters
        for name, value in self.meant:
            rows = filters[name].filter(rows, value)
        return rows

    def under(self, rows: JobQuerySet, tab: str) -> JobQuerySet:
        """Return those of `rows` that stand under a tab."""
        if tab == FLIGHT:
            return rows.unfinished()
        if tab:
            return rows.filter(status=tab)
        # What is looked for is found wherever it stands; else what has not ended has its cards.
        return rows if self.search else rows.final()

    def rows(self, rows: JobQuerySet) -> JobQuerySet:
        """Return those of `rows` that the filters and the tab let through."""
        return self.under(self.filtered(rows), self.status)

    def address(self, **changed: str) -> str:
        """Return the query string with some parts changed; without a place it begins at the first again."""
        sort = "" if self.order is Order.NEWEST else self.order
        parts = {"status": self.status, "q": str(self.search), **self.filters, "sort": sort} | changed
        return urlencode({name: value for name, value in parts.items() if value})


def place_of(text: str, order: Order) -> Place | None:
    """Read a place in an order out of an address; None for what is none."""
    found = _PLACE.fullmatch(text)
    if found is None:
        return None
    number, pk = Decimal(found[1]), int(found[2])
    if order is Order.COSTLIEST:
        return Place(number, pk)
    try:
        span = int(number) * _MICROSECOND
        return Place(span if order is Order.LONGEST else _EPOCH + span, pk)
    except OverflowError:
        return None


def written(place: Place) -> str:
    """Return a place as an address has it: its cost in USD, or its time in microseconds, and its id."""
    value = place.value
    if isinstance(value, dt.datetime):
        value -= _EPOCH
    shown = f"{value:f}" if isinstance(value, Decimal) else str(value // _MICROSECOND)
    return f"{shown}-{place.pk}"


def _read(query: QueryDict, name: str, field: Field) -> Any:
    """Return what an address says of a filter; None if that is nothing, or nothing that it can be."""
    if name not in query:
        return None
    try:
        return field.clean(query[name])
    except ValidationError:
        return None


def _meaning(name: str, value: Any, user: User) -> Any:
    """Return what a filter means by what was written."""
    if name == "by":
        # 0 is nobody.
        return user.pk if value == ME else int(value) if re.fullmatch("[0-9]{1,9}", value) else 0
    if name == "token":
        return int(value) if re.fullmatch("[0-9]{1,9}", value) else 0
    if name == "since":
        return _midnight(value)
    if name == "until":
        return _midnight(value + dt.timedelta(days=1)) if value < dt.date.max else _LATEST
    return value


def _midnight(day: dt.date) -> dt.datetime:
    return timezone.make_aware(dt.datetime.combine(day, dt.time()))
