"""The month by project and by model, in the browser and as a spreadsheet."""

import csv
import datetime as dt
import re

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from jobs import clock
from jobs.models import Project
from jobs.views.frame import frame_of, person_of
from jobs.views.month import daily_rows, oldest_holds, sides_of, workspace_period

COLUMNS = (
    "day", "project", "model", "effort", "person", "jobs", "cost_usd",
    "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens",
)  # fmt: skip
# A spreadsheet runs a cell that begins with one of these as a formula.
RISKY = ("=", "+", "-", "@", "\t", "\r")


@require_safe
def budget(request: HttpRequest) -> HttpResponse:
    """Show the money of ?month=YYYY-MM in the projects a person may see; ?format=csv for a spreadsheet."""
    frame, user = frame_of(request), person_of(request)
    this_month = clock.month_of(frame.today)
    month = _month(request.GET.get("month", ""), this_month)
    if request.GET.get("format") == "csv":
        return _spreadsheet(request, month)
    projects = list(Project.objects.visible_to(user).select_related("connection"))
    real, practice = sides_of(user, projects, month)
    return render(
        request,
        "budget.html",
        {
            "month": month,
            "is_past": month < this_month,
            "is_now": month == this_month,
            "before": clock.month_of(month - dt.timedelta(days=1)),
            "after": clock.month_of(month + dt.timedelta(days=32)) if month < this_month else None,
            "zone": frame.workspace.zone.key,
            "real": real,
            "practice": practice,
            "workspace": workspace_period(month) if user.is_superuser else None,
            "holds": oldest_holds(user, month) if real.held else [],
        },
    )


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


def _spreadsheet(request: HttpRequest, month: dt.date) -> HttpResponse:
    """Return the month's rollups, one row a day, project, model, effort and person: real money only."""
    response = HttpResponse(
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="ponder-{month:%Y-%m}.csv"'},
    )
    writer = csv.writer(response)
    writer.writerow(COLUMNS)
    for row in daily_rows(person_of(request), month):
        words = (row.project.slug, row.model_id, row.effort, str(row.user))
        figures = (row.jobs, f"{row.cost:f}", row.input_tokens, row.cached_tokens)
        writer.writerow(
            [
                row.spent_on,
                *(_cell(word) for word in words),
                *figures,
                row.output_tokens,
                row.reasoning_tokens,
            ]
        )
    return response


def _cell(text: str) -> str:
    """Return text that a spreadsheet shows and never runs."""
    return f"'{text}" if text.startswith(RISKY) else text
