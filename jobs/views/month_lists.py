"""Lists what figures of a month count that is no row of the ledger: jobs refused, and answers judged."""

from functools import cached_property
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from jobs.forms.job_filter import place_of, written
from jobs.models import Refusal, Verdict, VerdictValue
from jobs.models.job_queries import Order, Place
from jobs.views.frame import frame_of
from jobs.views.month_rows import MOST_JUDGED, MOST_REFUSED, judged_of, moments_of
from jobs.views.month_wanted import Wanted, wanted_of

PAGE = 50
VALUES = {"": "Right and wrong", VerdictValue.RIGHT.value: "Right", VerdictValue.WRONG.value: "Wrong"}


class Listing:
    """A page of rows that have a moment, newest first."""

    def __init__(self, wanted: Wanted, rows: QuerySet[Any, Any], after: str, **filters: str) -> None:
        self._wanted, self._rows, self._filters = wanted, rows.order_by("-at", "-pk"), filters
        self._after = place_of(after, Order.NEWEST)

    @property
    def rows(self) -> list[Any]:
        return self._found[:PAGE]

    @property
    def older(self) -> str:
        """The address of the next page; '' on the last."""
        if len(self._found) <= PAGE:
            return ""
        last = self.rows[-1]
        return self._address(after=written(Place(last.at, last.pk)))

    @property
    def first(self) -> str:
        """The address of the first page; '' on it."""
        return self._address() if self._after else ""

    @cached_property
    def _found(self) -> list[Any]:
        rows = self._rows
        if self._after is not None:
            rows = rows.filter(at__lte=self._after.value).exclude(
                at=self._after.value, pk__gte=self._after.pk
            )
        return list(rows[: PAGE + 1])

    def _address(self, **more: str) -> str:
        parts = self._filters | more
        return self._wanted.address(**{name: value for name, value in parts.items() if value})


@require_safe
def refused(request: HttpRequest) -> HttpResponse:
    """Show the jobs of ?month= that did not fit a cap, with ?project= or ?side=."""
    wanted = wanted_of(request)
    rows = Refusal.objects.newest_of(_ids(wanted), wanted.month)
    number = rows[:MOST_REFUSED].count()
    context = {
        "wanted": wanted,
        "listing": Listing(wanted, rows, request.GET.get("after", "")),
        "number": number,
        "are_more": number == MOST_REFUSED,
    }
    return render(request, "refused.html", context)


@require_safe
def judged(request: HttpRequest) -> HttpResponse:
    """Show the answers that were judged in ?month=, with ?project= or ?side=, and ?value= right or wrong."""
    wanted, value = wanted_of(request), request.GET.get("value", "")
    value = value if value in VALUES else ""
    since, until = moments_of(wanted.month, frame_of(request).workspace.zone)
    newest = Verdict.objects.judged(_ids(wanted), since=since, until=until)[:MOST_JUDGED]
    rows = Verdict.objects.filter(pk__in=newest.values("pk")).with_job()
    context = {
        "wanted": wanted,
        "listing": Listing(
            wanted, rows.filter(value=value) if value else rows, request.GET.get("after", ""), value=value
        ),
        "judged": judged_of(_ids(wanted), since, until),
        "values": list(VALUES.items()),
        "value": value,
    }
    return render(request, "judged.html", context)


def _ids(wanted: Wanted) -> list[int]:
    return [project.pk for project in wanted.projects]
