"""The month by day, project, model and person, in the browser and as a spreadsheet."""

import datetime as dt
import re
from dataclasses import dataclass
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from jobs import clock, forecast
from jobs.models import DailySpend
from jobs.views import month_charts
from jobs.views.downloads import file, table
from jobs.views.frame import SeenProject, frame_of, person_of
from jobs.views.month import Month

COLUMNS = (
    "day", "project", "model", "effort", "person", "token", "jobs", "cost_usd",
    "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens",
)  # fmt: skip
MONTHS = 24  # at most so many are offered


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the address asks for, of what a person may see: a month of one project, or of all of one side."""

    month: dt.date
    this_month: dt.date
    visible: list[SeenProject]
    project: SeenProject | None
    is_practice: bool

    @property
    def side(self) -> list[SeenProject]:
        """The projects one may choose from: real ones or practice ones, never both."""
        return [project for project in self.visible if project.is_practice == self.is_practice]

    @property
    def projects(self) -> list[SeenProject]:
        return [self.project] if self.project else self.side

    @property
    def has_other_side(self) -> bool:
        return len(self.side) < len(self.visible)

    @property
    def months(self) -> list[dt.date]:
        """The months there can be money in, newest first, and the one that is asked for."""
        first = min((project.created_at.date() for project in self.visible), default=self.this_month)
        found, month = {self.month}, self.this_month
        while month >= clock.month_of(first) and len(found) < MONTHS:
            found.add(month)
            month = clock.month_of(month - dt.timedelta(days=1))
        return sorted(found, reverse=True)

    @property
    def query(self) -> str:
        """The address of the same as a spreadsheet."""
        project = {"project": self.project.slug} if self.project else {}
        return urlencode({"month": f"{self.month:%Y-%m}", **project, "format": "csv"})


@require_safe
def budget(request: HttpRequest) -> HttpResponse:
    """Show the money of ?month=YYYY-MM, of ?project=SLUG or ?side=practice; ?format=csv for a spreadsheet."""
    wanted = _wanted(request)
    if request.GET.get("format") == "csv":
        return _spreadsheet(wanted)
    frame, user = frame_of(request), person_of(request)
    sees_all = user.is_superuser and not wanted.project and not wanted.is_practice
    month = Month(wanted.month, frame.today, wanted.projects, with_workspace=sees_all)
    context = {"wanted": wanted, "month": month, "zone": frame.workspace.zone.key}
    if wanted.visible:
        context |= {
            "drawn": month_charts.drawn(month),
            "cumulative_said": month_charts.cumulative_said(month),
            "daily_said": month_charts.daily_said(month),
            "models_said": month_charts.models_said(month),
            "costs_said": month_charts.costs_said(month),
            "waiting": forecast.waiting_would_have_saved(
                [project.pk for project in wanted.projects], wanted.month, frame.today
            ),
            "bars": [(month_charts.span(bar), bar.jobs) for bar in month.costs.bars] if month.costs else [],
        }
    return render(request, "budget.html", context)


def _wanted(request: HttpRequest) -> Wanted:
    this_month = clock.month_of(frame_of(request).today)
    visible = frame_of(request).visible
    slug = request.GET.get("project", "")
    project = next((one for one in visible if one.slug == slug), None)
    if slug and project is None:
        raise Http404
    is_practice = project.is_practice if project else request.GET.get("side") == "practice"
    # Who sees nothing real is shown practice.
    is_practice = is_practice or not any(not one.is_practice for one in visible)
    return Wanted(_month(request.GET.get("month", ""), this_month), this_month, visible, project, is_practice)


def _month(asked: str, this_month: dt.date) -> dt.date:
    """Return the first day of the month asked for, this one's when none is; a month to come is a 404."""
    if not asked:
        return this_month
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", asked, re.ASCII) or asked < "2000":
        raise Http404
    month = dt.date.fromisoformat(f"{asked}-01")
    if month > this_month:
        raise Http404
    return month


def _spreadsheet(wanted: Wanted) -> HttpResponse:
    """Return what the page sums: a row a day, project, model, effort, person and token; real money only."""
    rows = (
        DailySpend.objects.real()
        .filter(project__in=[project.pk for project in wanted.projects])
        .in_month(wanted.month)
    )
    return file(table(COLUMNS, rows.for_spreadsheet()), "text/csv", f"ponder-{wanted.month:%Y-%m}.csv")
