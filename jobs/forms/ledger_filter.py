"""Reads out of an address which rows of the ledger a page shows; what it does not understand is not there."""

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

import django_filters
from django.db.models import Q
from django.http import QueryDict

from jobs.models import EntryKind, LedgerEntry
from jobs.models.money import LedgerQuerySet

# What can be asked for: what was spent, what is held now, or one kind of correction.
KINDS = {
    "": "All rows",
    "spent": "Spent: charges and their corrections",
    "held": "Held now: holds of unfinished jobs",
    "adjust": "Corrections of charges",
    "grant": "Grants",
}
NO_TOKEN = "none"  # noqa: S105 - what was sent by a person
_PLACE = re.compile(r"(\d{4}-\d{2}-\d{2})-(\d{1,18})")


class LedgerFilter(django_filters.FilterSet):  # type: ignore[misc]
    """What rows of a month can be filtered by, beside their projects."""

    kind = django_filters.ChoiceFilter(choices=list(KINDS.items())[1:], method="of_kind")
    day = django_filters.DateFilter(field_name="spent_on")
    person = django_filters.NumberFilter(field_name="user", decimal_places=0)
    token = django_filters.CharFilter(method="by_token")
    model = django_filters.CharFilter(field_name="job__model")
    effort = django_filters.CharFilter(field_name="job__effort")
    tag = django_filters.CharFilter(method="with_tag")
    job = django_filters.CharFilter(field_name="job__short_id")

    class Meta:
        model = LedgerEntry
        fields: list[str] = []

    def __init__(self, *args: Any, projects: Sequence[int] | None = None, **more: Any) -> None:
        self.projects = projects
        super().__init__(*args, **more)

    def of_kind(self, rows: LedgerQuerySet, _name: str, kind: str) -> LedgerQuerySet:
        if kind == "spent":
            return rows.spent()
        return rows.held_now() if kind == "held" else rows.filter(kind=EntryKind(kind))

    def by_token(self, rows: LedgerQuerySet, _name: str, token: str) -> LedgerQuerySet:
        return rows.filter(token=_token(token))

    def with_tag(self, rows: LedgerQuerySet, _name: str, tag: str) -> LedgerQuerySet:
        return rows.tagged(tag, self.projects)


def filters_of(query: QueryDict) -> dict[str, str]:
    """Return the filters that an address asks for and that can be, as they were written."""
    given = {name: query.get(name, "").strip() for name in LedgerFilter.base_filters}
    asked = {name: text for name, text in given.items() if text}
    # PostgreSQL refuses NUL in a parameter.
    form = LedgerFilter(data={name: text for name, text in asked.items() if "\x00" not in text}).form
    form.is_valid()
    return {name: text for name, text in asked.items() if form.cleaned_data.get(name) not in (None, "")}


def filtered(
    rows: LedgerQuerySet, filters: dict[str, str], projects: list[int], *, is_all: bool
) -> LedgerQuerySet:
    """Return those of `rows` of some projects that filters of `filters_of` let through.

    `is_all` says that these are all there are; then the workspace's, which are of none, are among them.
    """
    match = Q(project__in=projects)
    own = rows.filter(match | Q(project=None) if is_all else match)
    found: LedgerQuerySet = LedgerFilter(data=filters, queryset=own, projects=None if is_all else projects).qs
    return found


def place_of(text: str) -> tuple[dt.date, int] | None:
    """Read a row's place, its day and id, out of an address; None for what is none."""
    found = _PLACE.fullmatch(text)
    if found is None:
        return None
    try:
        return dt.date.fromisoformat(found[1]), int(found[2])
    except ValueError:
        return None


def columns_of(filters: dict[str, str]) -> dict[str, Any]:
    """Return what the columns of a rollup must be for these filters."""
    form = LedgerFilter(data=filters).form
    form.is_valid()
    columns: dict[str, Any] = {}
    for name, column in (("day", "spent_on"), ("person", "user"), ("model", "model"), ("effort", "effort")):
        if name in filters:
            columns[column] = form.cleaned_data[name]
    if "token" in filters:
        columns["token"] = _token(filters["token"])
    return columns


def _token(text: str) -> int | None:
    """Return the id of a token that is asked for: None for none, and 0, which is nobody's, for nonsense."""
    if text == NO_TOKEN:
        return None
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else 0
