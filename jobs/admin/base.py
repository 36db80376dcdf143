"""What the admin's pages share: lists that never count a million rows, and pages that only show."""

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any, override

from django.contrib import admin
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest
from django.utils.functional import cached_property

from jobs import clock
from jobs.models.secret import SecretField

if TYPE_CHECKING:
    BaseModelAdmin = admin.ModelAdmin[Any]
    BasePaginator = Paginator[Any]
else:
    BaseModelAdmin, BasePaginator = admin.ModelAdmin, Paginator

MONTHS = 12
LIST_DEPTH = 10_000  # rows; counting a million takes longer than reading the page
REACH = f"A list reaches back {LIST_DEPTH:,} rows: filter or search for older ones."


class ShallowPaginator(BasePaginator):
    """Pages over the first rows of a list only."""

    @cached_property
    def count(self) -> int:
        """Rows that can be paged to, at most LIST_DEPTH."""
        rows: models.QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows[:LIST_DEPTH].count()


class Page(BaseModelAdmin):
    """A record's pages, made for tables of any size."""

    paginator = ShallowPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.ALLOW
    list_per_page = 50


class Kept(Page):
    """A record that may be changed but never deleted: the ledger, or history, names it."""

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes."""
        return False


class ViewOnly(Kept):
    """A record that the product writes and nobody else."""

    actions: Any = None
    show_facets = admin.ShowFacets.NEVER  # each would count the whole table

    @override
    def has_add_permission(self, request: HttpRequest, *_: Any) -> bool:
        """Nobody adds."""
        return False

    @override
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes."""
        return False

    @override
    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Show every column, also those no form would offer; but no secret and no hash of one."""
        fields = self.model._meta.concrete_fields
        return [
            field.name for field in fields if not isinstance(field, SecretField) and field.name != "digest"
        ]

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """All of them."""
        return self.get_fields(request, obj)


class Months(admin.SimpleListFilter):
    """The last twelve months to choose from; a date hierarchy would read the whole table for its years."""

    title = "month"
    parameter_name = "in_month"
    column: str

    @override
    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Name them, newest first."""
        months = [clock.month_of(clock.now().date())]
        while len(months) < MONTHS:
            months.append(clock.month_of(months[-1] - dt.timedelta(days=1)))
        return [(f"{month:%Y-%m}", f"{month:%B %Y}") for month in months]

    @override
    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Keep the rows of the month that was chosen; a word that is none of them chooses nothing."""
        if self.value() not in dict(self.lookup_choices):
            return queryset
        first = dt.date.fromisoformat(f"{self.value()}-01")
        ends: list[dt.date] = [first, clock.month_of(first + dt.timedelta(days=32))]
        if isinstance(queryset.model._meta.get_field(self.column), models.DateTimeField):
            ends = [dt.datetime.combine(end, dt.time.min, tzinfo=dt.UTC) for end in ends]
        return queryset.filter(**{f"{self.column}__gte": ends[0], f"{self.column}__lt": ends[1]})


def months_of(column: str) -> type[Months]:
    """Return the filter for a table that has an index by this day or moment."""
    return type("MonthsOf", (Months,), {"column": column})


def exact(amount: Decimal | None) -> str:
    """Return USD with every digit that counts, at least two after the point."""
    if amount is None:
        return "–"
    whole, _, part = f"{amount.normalize():f}".partition(".")
    return f"{whole}.{part:0<2}"
