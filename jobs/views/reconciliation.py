"""Our charges against the organization's bill: what differs, why, and the button that books it."""

from dataclasses import dataclass
from functools import cached_property

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from jobs import reconcile
from jobs.forms import AccountForm, BookForm
from jobs.models import Cause, Reconciliation, ReconciliationLine
from jobs.templatetags import ui
from jobs.views.frame import fragment, operators_only, person_of

MOST_LINES = 200
MOST_JOBS = 3  # of a difference that are named
_COLOURS = {Cause.MATCHED: "ok", Cause.ROUNDING: "idle", Cause.UNEXPLAINED: "bad"}


@dataclass(frozen=True)
class Books:
    """What the page shows: the newest result of one account, and whether another is under way."""

    is_practice: bool

    @cached_property
    def problem(self) -> str:
        """Why there is no bill to read, '' if there is one."""
        try:
            reconcile.account(is_practice=self.is_practice)
        except reconcile.NoAccount as missing:
            return str(missing)
        return ""

    @cached_property
    def newest(self) -> list[Reconciliation]:
        runs = Reconciliation.objects.of(is_practice=self.is_practice)
        return list(runs.select_related("asked_by")[:2])

    @property
    def run(self) -> Reconciliation | None:
        """The newest that has ended."""
        return next((run for run in self.newest if run.ended_at), None)

    @property
    def is_under_way(self) -> bool:
        return Reconciliation.objects.of(is_practice=self.is_practice).under_way().exists()

    @property
    def is_given_up(self) -> bool:
        """Whether the newest was never ended by a worker."""
        return bool(self.newest and self.newest[0].ended_at is None and not self.is_under_way)

    @cached_property
    def lines(self) -> list[ReconciliationLine]:
        if self.run is None:
            return []
        lines = ReconciliationLine.objects.filter(reconciliation=self.run).in_order().with_bookable()
        found = list(lines.with_jobs(MOST_JOBS).select_related("connection", "booked_by")[: MOST_LINES + 1])
        for line in found:
            line.colour = _COLOURS.get(Cause(line.cause), "warn")  # type: ignore[attr-defined]
        return found

    @property
    def shown(self) -> list[ReconciliationLine]:
        return self.lines[:MOST_LINES]

    @property
    def has_more(self) -> bool:
        return len(self.lines) > MOST_LINES

    @property
    def here(self) -> str:
        return reverse("reconciliation") + ("?practice=on" if self.is_practice else "")


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only
def reconciliation(request: HttpRequest) -> HttpResponse:
    """Show what the last reconciliation found; a POST has a worker do another."""
    books = Books(_is_practice(request))
    if request.method != "POST":
        return render(request, "reconciliation.html", {"books": books})
    try:
        reconcile.ask(is_practice=books.is_practice, by=person_of(request))
    except reconcile.NoAccount as missing:
        messages.error(request, str(missing))
    return redirect(books.here)


@require_safe
@fragment
@operators_only
def live(request: HttpRequest) -> HttpResponse:
    """Answer a page that waits for a reconciliation."""
    return render(request, "reconciliation.html#run", {"books": Books(_is_practice(request))})


@require_POST
@operators_only
def book(request: HttpRequest, pk: int) -> HttpResponse:
    """Adjust the ledger to what a difference says."""
    get_object_or_404(ReconciliationLine, pk=pk)
    form = BookForm(request.POST)
    reason = str(form.cleaned_data["reason"]) if form.is_valid() else ""
    try:
        moved = reconcile.book(pk, reason=reason, by=person_of(request))
    except reconcile.NotBookable as refused:
        messages.error(request, str(refused))
    else:
        amount = "It is being" if moved is None else f"{ui.money(moved)} is"
        messages.success(request, f"{amount} booked, with your name and reason in the ledger.")
    return redirect(Books(_is_practice(request)).here)


def _is_practice(request: HttpRequest) -> bool:
    form = AccountForm(request.POST if request.method == "POST" else request.GET)
    return form.is_valid() and bool(form.cleaned_data["practice"])
