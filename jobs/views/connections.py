"""Where jobs are sent: connections, how they are doing, and what operators do about them."""

from dataclasses import dataclass, field

from django.contrib import messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from jobs import lifecycle
from jobs.forms import ConnectionForm, PauseForm, RelieveForm, WebhookSecretForm
from jobs.models import IN_FLIGHT, Connection, Job, KeySource, Project, Status
from jobs.views.delivery_rows import Webhook
from jobs.views.frame import fragment, operators_only, person_of
from jobs.views.words import paused_because


@dataclass(frozen=True, slots=True)
class Row:
    """A connection as the page shows it: never its key."""

    connection: Connection
    projects: list[Project] = field(default_factory=list)
    waiting: int = 0
    in_flight: int = 0
    others: list[Connection] = field(default_factory=list)  # that its projects could go on through

    @property
    def because(self) -> str:
        return paused_because(self.connection)

    @property
    def paused_on_or_at(self) -> str:
        """The word before the day or the time of the pause."""
        paused_at = self.connection.paused_at
        return "at" if paused_at and timezone.localdate(paused_at) == timezone.localdate() else "on"

    @property
    def said(self) -> str:
        """The other side's own words, where it paused by itself."""
        return "" if self.connection.paused_by_id else self.connection.paused_reason

    @property
    def says(self) -> str:
        """Whose words those are."""
        return "The API" if self.connection.is_practice else str(self.connection.get_kind_display())

    @property
    def is_key_from_environment(self) -> bool:
        return self.connection.key_source == KeySource.ENVIRONMENT

    @property
    def is_key_a_token(self) -> bool:
        return self.connection.key_source == KeySource.COMMAND

    @property
    def has_key(self) -> bool:
        return self.connection.key_source != KeySource.STORED or bool(self.connection.key)

    @property
    def names(self) -> list[tuple[str, str]]:
        """Models that go by another name there, with that name."""
        return sorted(self.connection.deployments.items())

    @property
    def waiting_at(self) -> str:
        """Where the jobs that wait are listed."""
        only = f"&project={self.projects[0].slug}" if len(self.projects) == 1 else ""
        return f"{reverse('jobs')}?status=in_flight{only}"

    @property
    def is_test_owed(self) -> bool:
        """Whether a test was asked for that has no result."""
        asked, done = self.connection.test_asked_at, self.connection.last_test_at
        return asked is not None and (done is None or done < asked)

    @property
    def is_testing(self) -> bool:
        """Whether that test may still end."""
        asked = self.connection.test_asked_at
        return self.is_test_owed and asked is not None and timezone.now() - asked < lifecycle.TEST_PATIENCE


@require_safe
@operators_only
def connections(request: HttpRequest) -> HttpResponse:
    """List the connections, paused first."""
    found = list(Connection.objects.select_related("paused_by", "key_set_by").order_by("paused_at", "name"))
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
            others=[other for other in found if _takes_over(other, connection)],
        )
        for connection in found
    ]
    context = {
        "rows": rows,
        "is_any_open": any(connection.paused_at is None for connection in found),
        "everything": next((row for row in rows if row.connection.is_paused_with_all), None),
    }
    return render(request, "connections.html", context)


@sensitive_post_parameters("new_key")
@operators_only
@require_http_methods(["GET", "HEAD", "POST"])
def connection_new(request: HttpRequest) -> HttpResponse:
    """Add a connection."""
    form = ConnectionForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        made = form.keep(by=person_of(request))
        lifecycle.ask_for_test(made.pk)
        messages.success(request, f"{made} is added and being tested. A project can send through it now.")
        return redirect("connections")
    return render(request, "connection.html", {"form": form}, status=422 if form.is_bound else 200)


@sensitive_post_parameters("new_key")
@operators_only
@require_http_methods(["GET", "HEAD", "POST"])
def connection(request: HttpRequest, pk: int) -> HttpResponse:
    """Change a connection; another kind or address clears its key."""
    found = get_object_or_404(Connection.objects.select_related("key_set_by"), pk=pk)
    form = ConnectionForm(request.POST if request.method == "POST" else None, instance=found)
    if form.is_valid():
        kept = form.keep(by=person_of(request))
        if Row(kept).has_key:
            messages.success(request, f"{kept} is saved.")
        else:
            messages.warning(
                request, f"{kept} is saved without a key: the one it had was for another address."
            )
        return redirect("connections")
    context = {"form": form, "row": Row(found), "webhook": Webhook(found, WebhookSecretForm())}
    return render(request, "connection.html", context, status=422 if form.is_bound else 200)


@require_POST
@operators_only
def test(_: HttpRequest, pk: int) -> HttpResponse:
    """Have a worker ask a connection for its models; the page then waits for what became of it."""
    found = get_object_or_404(Connection, pk=pk)
    lifecycle.ask_for_test(found.pk)
    return redirect(f"{reverse('connections')}#connection-{found.pk}")


@require_safe
@fragment
@operators_only
def connection_live(request: HttpRequest, pk: int) -> HttpResponse:
    """Answer a page that waits for a test."""
    return render(request, "_connection_test.html", {"row": Row(get_object_or_404(Connection, pk=pk))})


@require_POST
@operators_only
def pause(request: HttpRequest, pk: int) -> HttpResponse:
    """Send nothing more through a connection."""
    found = get_object_or_404(Connection, pk=pk)
    if lifecycle.pause(found.pk, _reason(request), by=person_of(request)):
        messages.info(request, f"{found} is paused. Jobs already there are still followed.")
    return redirect("connections")


@require_POST
@operators_only
def pause_all(request: HttpRequest) -> HttpResponse:
    """Send nothing more at all."""
    if lifecycle.pause_all(_reason(request), by=person_of(request)):
        messages.info(request, "Everything is paused. Jobs already sent are still followed.")
    return _back(request)


@require_POST
@operators_only
def resume_all(request: HttpRequest) -> HttpResponse:
    """Go on sending through what was paused with everything."""
    if resumed := lifecycle.resume_all(by=person_of(request)):
        left = Connection.objects.paused().count()
        noun = "connection goes on" if resumed == 1 else "connections go on"
        stay = f" {left} that paused otherwise stay{'s' * (left == 1)} paused." if left else ""
        messages.success(request, f"{resumed} {noun}. What waited is being sent.{stay}")
    return _back(request)


@require_POST
@operators_only
def resume(request: HttpRequest, pk: int) -> HttpResponse:
    """Go on sending through a connection."""
    found = get_object_or_404(Connection, pk=pk)
    if lifecycle.resume(found.pk, by=person_of(request)):
        messages.success(request, f"{found} goes on. What waited is being sent.")
    return redirect("connections")


@require_POST
@operators_only
def relieve(request: HttpRequest, pk: int) -> HttpResponse:
    """Let the projects of a connection go on through another."""
    found, form = get_object_or_404(Connection, pk=pk), RelieveForm(request.POST)
    if form.is_valid():
        through = get_object_or_404(Connection, pk=form.cleaned_data["through"])
        moved = lifecycle.relieve(found.pk, by=person_of(request), through=through.pk)
        if moved:
            noun = "project sends" if moved == 1 else "projects send"
            messages.success(request, f"{moved} {noun} through {through} now. What waited goes there.")
    return redirect("connections")


def _takes_over(other: Connection, paused: Connection) -> bool:
    is_other = other.pk != paused.pk and other.is_practice == paused.is_practice
    return is_other and other.paused_at is None and Row(other).has_key


def _back(request: HttpRequest) -> HttpResponse:
    """Lead back to the page with the switch: it is on the connections page and in the admin console."""
    return redirect("admin:index" if request.POST.get("from") == "console" else "connections")


def _reason(request: HttpRequest) -> str:
    form = PauseForm(request.POST)
    return str(form.cleaned_data["reason"]) if form.is_valid() else ""
