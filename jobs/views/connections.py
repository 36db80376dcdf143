"""Where jobs are sent: which connections are paused and why, and the buttons that pause and resume them."""

from dataclasses import dataclass

from django.contrib import messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from jobs import lifecycle
from jobs.forms import PauseForm
from jobs.models import IN_FLIGHT, Connection, Job, KeySource, Project, Status
from jobs.views.frame import operators_only, person_of
from jobs.views.words import paused_because


@dataclass(frozen=True, slots=True)
class Row:
    """A connection as the page shows it: never its key."""

    connection: Connection
    projects: list[Project]
    waiting: int
    in_flight: int

    @property
    def because(self) -> str:
        return paused_because(self.connection)

    @property
    def said(self) -> str:
        """The other side's own words, where it paused by itself."""
        return "" if self.connection.paused_by_id else self.connection.paused_reason

    @property
    def is_key_from_environment(self) -> bool:
        return self.connection.key_source == KeySource.ENVIRONMENT

    @property
    def has_key(self) -> bool:
        return bool(self.connection.key)


@require_safe
@operators_only
def connections(request: HttpRequest) -> HttpResponse:
    """List the connections, paused first."""
    found = Connection.objects.select_related("paused_by").order_by("paused_at", "name")
    counted = (
        Job.objects.filter(status__in=[Status.WAITING, *IN_FLIGHT])
        .values_list("project__connection", "status")
        .annotate(jobs=Count("pk"))
        .order_by()
    )
    jobs = {(connection, status): number for connection, status, number in counted}
    projects = list(Project.objects.filter(archived_at=None))
    rows = [
        Row(
            connection=connection,
            projects=[project for project in projects if project.connection_id == connection.pk],
            waiting=jobs.get((connection.pk, Status.WAITING), 0),
            in_flight=sum(jobs.get((connection.pk, status), 0) for status in IN_FLIGHT),
        )
        for connection in found
    ]
    return render(request, "connections.html", {"rows": rows})


@require_POST
@operators_only
def pause(request: HttpRequest, pk: int) -> HttpResponse:
    """Send nothing more through a connection."""
    found = get_object_or_404(Connection, pk=pk)
    form = PauseForm(request.POST)
    reason = form.cleaned_data["reason"] if form.is_valid() else ""
    if lifecycle.pause(found.pk, reason, by=person_of(request)):
        messages.info(request, f"{found} is paused. Jobs already there are still followed.")
    return redirect("connections")


@require_POST
@operators_only
def resume(request: HttpRequest, pk: int) -> HttpResponse:
    """Go on sending through a connection."""
    found = get_object_or_404(Connection, pk=pk)
    if lifecycle.resume(found.pk):
        messages.success(request, f"{found} goes on. What waited is being sent.")
    return redirect("connections")
