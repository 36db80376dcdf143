"""The month by day, project, model and person, in the browser and as files."""

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from jobs import clock, forecast
from jobs.models.questions import ask_in_step
from jobs.views import month_charts, month_export
from jobs.views.frame import frame_of, person_of
from jobs.views.month import Month
from jobs.views.month_end import Ending
from jobs.views.month_rows import Rows
from jobs.views.month_wanted import wanted_of


@require_safe
def budget(request: HttpRequest) -> HttpResponseBase:
    """Show the money of ?month=YYYY-MM, of ?project=SLUG or ?side=practice; with ?format= as a file."""
    wanted = wanted_of(request)
    write = month_export.KINDS.get(request.GET.get("format", ""))
    if write is not None:
        return write(request, wanted)
    frame, user = frame_of(request), person_of(request)
    is_whole = not wanted.project and not wanted.is_practice
    zone = frame.workspace.zone
    month = Month(
        wanted.month,
        frame.today,
        wanted.projects,
        with_workspace=is_whole and user.is_superuser,
        person=user.pk if is_whole else None,
    )
    context: dict[str, Any] = {"wanted": wanted, "month": month, "zone": zone.key}
    if wanted.visible:
        end, rows = Ending(month, clock.gone(zone)), Rows(month, zone)
        waited = forecast.Waited(month.ids, month.first, frame.today)
        ask_in_step(month.asking(), end.asking(), rows.asking(), waited.asking(), frame.asking())
        context |= {
            "end": end,
            "rows": rows,
            "drawn": month_charts.drawn(month, end.all),
            "cumulative_said": month_charts.cumulative_said(month, end.all),
            "daily_said": month_charts.daily_said(month),
            "models_said": month_charts.models_said(month),
            "costs_said": month_charts.costs_said(month),
            "waiting": waited.would_have_saved(
                {share.name: (share.cost, share.jobs) for share in month.models}
            ),
            "bars": [(month_charts.span(bar), bar.jobs) for bar in month.costs.bars] if month.costs else [],
        }
    return render(request, "budget.html", context)
