"""The rows of the ledger that a figure of the budget sums: a page of them, their sum, and all as a file."""

from collections.abc import Iterator
from decimal import Decimal
from functools import cached_property
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from jobs.forms.ledger_filter import KINDS, columns_of, filtered, filters_of, place_of
from jobs.models import EntryKind, LedgerEntry, MonthlyTagSpend
from jobs.models.money import Charged, LedgerQuerySet, LedgerRow
from jobs.models.rollups import charged_by
from jobs.views.downloads import stream
from jobs.views.frame import person_of
from jobs.views.month_wanted import Wanted, wanted_of

PAGE = 50
BATCH = 1_000  # rows read at once for a file
COLUMNS = (
    "entry", "month", "day", "kind", "basis", "project", "person", "token", "job", "attempt", "usd",
    "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "actor", "reason", "created_at",
)  # fmt: skip


class Ledger:
    """A page of the ledger of some projects, as an address asks for it."""

    def __init__(self, wanted: Wanted, filters: dict[str, str], after: str, *, sees_all: bool) -> None:
        self.wanted, self.filters, self._after = wanted, filters, place_of(after)
        self._sees_all = sees_all

    @cached_property
    def entries(self) -> list[LedgerRow]:
        return self._found[:PAGE]

    @property
    def kinds(self) -> list[tuple[str, str]]:
        return list(KINDS.items())

    @property
    def kind(self) -> str:
        return self.filters.get("kind", "")

    @property
    def said(self) -> list[tuple[str, str, str]]:
        """Each filter beside the kind: its name, what it is, and the address without it."""
        return [(name, self._shown(name, value), self._address(**{name: ""})) for name, value in self.others]

    @property
    def others(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.filters.items() if name != "kind"]

    @property
    def older(self) -> str:
        """The address of the next page; '' on the last."""
        if len(self._found) <= PAGE:
            return ""
        last = self.entries[-1]
        return self._address(after=f"{last.spent_on}-{last.pk}")

    @property
    def first(self) -> str:
        """The address of the first page; '' on it."""
        return self._address() if self._after else ""

    @property
    def as_csv(self) -> str:
        return self._address(format="csv")

    @property
    def spent(self) -> Decimal | None:
        """The sum of all charges and corrections with these filters, USD; None where none are shown."""
        return self._charged.cost if self._charged else None

    @property
    def jobs(self) -> int | None:
        """How many charges with these filters rest on something; None where not all of theirs are shown."""
        return self._charged.jobs if self._charged and self.kind != "adjust" else None

    @property
    def number(self) -> int | None:
        """How many rows these are; None for more than a page."""
        return None if self.older or self.first else len(self.entries)

    @property
    def is_row_a_job(self) -> bool:
        """Whether each row of what was spent counts as a job: none corrects another, or rests on nothing."""
        return self.kind != "spent" or self.number == self.jobs

    @cached_property
    def held(self) -> Decimal | None:
        """The sum of all that is held now with these filters, USD; None where none is shown."""
        if self.kind not in ("", "held"):
            return None
        open_holds = self._filtered(**{**self.filters, "kind": "held"})
        return open_holds.total(EntryKind.HOLD, EntryKind.RELEASE)

    @cached_property
    def granted(self) -> Decimal | None:
        """The sum of the grants with these filters, USD; None where none are shown."""
        return self.rows.total(EntryKind.GRANT) if self.kind == "grant" else None

    @property
    def rows(self) -> LedgerQuerySet:
        """All rows with these filters."""
        return self._filtered(**self.filters)

    def batches(self) -> Iterator[list[tuple[Any, ...]]]:
        """Yield every row of real money as cells of a file, newest first, a batch at a time."""
        rows, after = self.rows.real(), None
        while True:
            found = list(rows.as_cells(BATCH, after=after))
            yield found
            if len(found) < BATCH:
                return
            after = found[-1][COLUMNS.index("day")], found[-1][COLUMNS.index("entry")]

    @cached_property
    def _charged(self) -> Charged | None:
        if self.kind in ("held", "grant"):
            return None
        asked = dict(self.others)
        if self.kind == "adjust" or "job" in asked or asked.keys() > {"tag"}:
            return self.rows.charged()
        if "tag" in asked:
            return MonthlyTagSpend.objects.charged_for(asked["tag"], self._projects, self.wanted.month)
        # Settlement keeps the rollups equal to the ledger: a month of it is a hundred thousand rows.
        return charged_by(self._projects, self.wanted.month, columns_of(asked))

    @cached_property
    def _found(self) -> list[LedgerRow]:
        return self.rows.page(PAGE + 1, after=self._after)

    def _filtered(self, **filters: str) -> LedgerQuerySet:
        rows = LedgerEntry.objects.in_month(self.wanted.month)
        return filtered(rows, filters, self._projects, is_all=self._sees_all)

    @property
    def _projects(self) -> list[int]:
        return [project.pk for project in self.wanted.projects]

    def _shown(self, name: str, value: str) -> str:
        if name == "person" and self.entries:
            return str(self.entries[0].person)
        if name == "token" and self.entries and self.entries[0].token:
            return self.entries[0].token
        return value

    def _address(self, **changed: str) -> str:
        parts = {**self.filters, **changed}
        return self.wanted.address(**{name: value for name, value in parts.items() if value})


@require_safe
def ledger(request: HttpRequest) -> HttpResponseBase:
    """Show the rows of ?month= with ?project=, day, person, token, model, effort, tag, job and kind."""
    wanted, filters = wanted_of(request), filters_of(request.GET)
    sees_all = person_of(request).is_superuser and not wanted.project and not wanted.is_practice
    found = Ledger(wanted, filters, request.GET.get("after", ""), sees_all=sees_all)
    if request.GET.get("format") == "csv":
        return stream(request, COLUMNS, found.batches(), f"ponder-ledger-{wanted.month:%Y-%m}.csv")
    return render(request, "ledger.html", {"wanted": wanted, "ledger": found})
