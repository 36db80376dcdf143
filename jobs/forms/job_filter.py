"""Reads out of an address which jobs a list shows; what it does not understand counts as not asked."""

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from urllib.parse import urlencode

import django_filters
from django.db.models import Subquery
from django.http import QueryDict
from django.utils import timezone

from jobs.models import Job, Project, Status, User
from jobs.models.job_queries import JobQuerySet, Order, Place

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
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_PLACE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,10})?)-([0-9]{1,18})")
_MICROSECOND = dt.timedelta(microseconds=1)


class JobFilter(django_filters.FilterSet):  # type: ignore[misc]
    """What jobs can be filtered by, beside the tab and the words that are looked for."""

    project = django_filters.CharFilter(method="of_project")
    by = django_filters.CharFilter(method="of_person")
    model = django_filters.CharFilter(field_name="model")
    effort = django_filters.CharFilter(field_name="effort")
    tag = django_filters.CharFilter(method="with_tag")
    since = django_filters.DateFilter(method="from_day")
    until = django_filters.DateFilter(method="to_day")

    class Meta:
        model = Job
        fields: list[str] = []

    def __init__(self, data: QueryDict, queryset: JobQuerySet, *, user: User) -> None:
        self.user = user
        super().__init__(data, queryset)

    def of_project(self, rows: JobQuerySet, _name: str, slug: str) -> JobQuerySet:
        """Look the project up on the way: one that the person cannot see has no jobs."""
        named = Project.objects.visible_to(self.user).filter(slug=slug)
        return rows.filter(project=Subquery(named.values("pk")[:1]))

    def of_person(self, rows: JobQuerySet, _name: str, number: str) -> JobQuerySet:
        return rows.filter(submitted_by=_person(number, self.user))

    def with_tag(self, rows: JobQuerySet, _name: str, tag: str) -> JobQuerySet:
        return rows.filter(tags__contains=[tag])

    def from_day(self, rows: JobQuerySet, _name: str, day: dt.date) -> JobQuerySet:
        return rows.filter(created_at__gte=_midnight(day))

    def to_day(self, rows: JobQuerySet, _name: str, day: dt.date) -> JobQuerySet:
        if day == dt.date.max:
            return rows
        return rows.filter(created_at__lt=_midnight(day + dt.timedelta(days=1)))


@dataclass(frozen=True)
class Wanted:
    """What an address asks for: a tab, filters as they were written, words, an order, and where to begin."""

    query: QueryDict
    user: User
    status: str = ""
    search: str = ""
    order: Order = Order.NEWEST
    after: Place | None = None

    @classmethod
    def of(cls, query: QueryDict, user: User) -> "Wanted":
        status, search = query.get("status", ""), query.get("q", "").strip()[:LONGEST_SEARCH]
        asked = query.get("sort", "")
        found = cls(
            query,
            user,
            status=status if status in TABS else "",
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
        return bool(self.status or self.search or self.filters)

    @cached_property
    def filters(self) -> Mapping[str, str]:
        """The filters that hold, as they were written."""
        if self._filter is None:
            return {}
        held = self._filter.form.cleaned_data
        return {name: str(self.query[name]).strip() for name, value in held.items() if value}

    @property
    def person(self) -> int:
        """The id of the person whose jobs are asked for; 0, whom nobody is, for what names none."""
        return _person(self.filters.get("by", ""), self.user)

    def filtered(self, rows: JobQuerySet) -> JobQuerySet:
        """Return those of `rows` that the filters let through, under any tab."""
        return rows if self._filter is None else self._filter.filter_queryset(rows)

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

    @cached_property
    def _filter(self) -> JobFilter | None:
        # Most lists have none, and a form takes its time.
        if not self.query.keys() & JobFilter.base_filters.keys():
            return None
        found = JobFilter(self.query, Job.objects.none(), user=self.user)
        found.form.is_valid()
        return found

    def address(self, **changed: str) -> str:
        """Return the query string with some parts changed; without a place it begins at the first again."""
        sort = "" if self.order is Order.NEWEST else self.order
        parts = {"status": self.status, "q": self.search, **self.filters, "sort": sort} | changed
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


def _person(number: str, user: User) -> int:
    return user.pk if number == ME else int(number) if re.fullmatch("[0-9]{1,9}", number) else 0


def _midnight(day: dt.date) -> dt.datetime:
    return timezone.make_aware(dt.datetime.combine(day, dt.time()))
