"""Projects: the list, one project's page, its cap, its settings, and the archive."""

from copy import copy
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from jobs import access, clock
from jobs.access import Act, Role
from jobs.forms import CapForm, ChatForm, NewProjectForm, ProjectForm
from jobs.forms.caps import initial_of
from jobs.models import Alert, Chat, Job, Membership, ModelSpec, Project, Refusal
from jobs.models.trail import trail_of
from jobs.templatetags import ui
from jobs.views.frame import frame_of, operators_only, person_of
from jobs.views.month import capped_projects

NEWEST = 20


@require_safe
def projects(request: HttpRequest) -> HttpResponse:
    """List the projects a person may see, with this month's money; the archived ones apart."""
    month = clock.month_of(frame_of(request).today)
    found = list(Project.objects.visible_to(person_of(request)).select_related("connection"))
    caps = capped_projects(found, month)
    return render(
        request,
        "projects.html",
        {
            "caps": [one for one in caps if one.project.archived_at is None],
            "archived": [one for one in caps if one.project.archived_at is not None],
            "month": month,
        },
    )


@operators_only
@require_http_methods(["GET", "HEAD", "POST"])
def project_new(request: HttpRequest) -> HttpResponse:
    """Make a project."""
    first = {"connection": request.GET.get("connection")}
    form = NewProjectForm(request.POST if request.method == "POST" else None, initial=first)
    if form.is_valid():
        made = form.keep(by=person_of(request))
        messages.success(request, f"{made} is ready. Invite whoever works in it.")
        return redirect("members", made.slug)
    return render(request, "project_new.html", {"form": form}, status=422 if form.is_bound else 200)


@require_safe
def project(request: HttpRequest, slug: str) -> HttpResponse:
    """Show one project: its money this month, its cap, its people and its newest jobs."""
    return render(request, "project.html", _page(request, find(request, slug)))


@require_POST
def project_cap(request: HttpRequest, slug: str) -> HttpResponse:
    """Set the cap of a project from this month on."""
    found = find(request, slug, Act.SET_CAP)
    form = CapForm(request.POST)
    if not form.is_valid():
        return render(request, "project.html", _page(request, found, form), status=422)
    budget = form.keep(project=found, by=person_of(request))
    messages.success(request, f"The cap is {ui.money(budget.cap)} a month now.")
    return redirect(found)


@sensitive_post_parameters()
@require_POST
def project_chat(request: HttpRequest, slug: str) -> HttpResponse:
    """Set where a project's alerts are posted."""
    found, form = find(request, slug, Act.CHANGE_PROJECT), ChatForm(request.POST)
    if form.is_valid():
        form.keep(project=found, by=person_of(request))
        messages.success(request, "Saved.")
    else:
        messages.error(request, " ".join(str(error) for error in form.errors["address"]))
    return redirect("project_settings", slug)


@require_http_methods(["GET", "HEAD", "POST"])
def project_settings(request: HttpRequest, slug: str) -> HttpResponse:
    """Show and change what a project's jobs start from, what they may use, and where they go."""
    found = find(request, slug, Act.CHANGE_PROJECT)
    form = ProjectForm(
        request.POST if request.method == "POST" else None,
        # Another object than the one the page shows, which must not read what is only typed.
        instance=copy(found),
        models=list(ModelSpec.objects.choosable(frame_of(request).today)),
        by=person_of(request),
    )
    if form.is_valid():
        messages.success(request, f"Saved. New jobs in {form.keep()} start from it.")
        return redirect("project_settings", slug)
    context = {"project": found, "may_change": True, "form": form, "trail": trail_of(found)[:NEWEST]}
    context |= {"chat": Chat.objects.of(found), "chat_form": ChatForm()}
    context["alerts"] = Alert.objects.with_budget().filter(budget__project=found)[:NEWEST]
    context["chat_url"] = reverse("project_chat", args=[slug])
    return render(request, "project_settings.html", context, status=422 if form.is_bound else 200)


@require_POST
def project_archive(request: HttpRequest, slug: str) -> HttpResponse:
    """Take no more jobs into a project."""
    found = find(request, slug, Act.CHANGE_PROJECT)
    found.archive(by=person_of(request))
    messages.success(request, f"{found} is archived. Its jobs stay readable, and those under way go on.")
    return redirect(found)


@require_POST
def project_unarchive(request: HttpRequest, slug: str) -> HttpResponse:
    """Take jobs into a project again."""
    found = find(request, slug, Act.CHANGE_PROJECT)
    found.unarchive(by=person_of(request))
    messages.success(request, f"{found} takes jobs again.")
    return redirect(found)


def find(request: HttpRequest, slug: str, act: Act | None = None) -> Project:
    """Return a project the person may see, or do `act` to: else 404 for a foreign or unknown one, or 403."""
    rows = Project.objects.visible_to(person_of(request)).with_allowed_names()
    found = get_object_or_404(rows.select_related("connection", "default_model"), slug=slug)
    if act is not None and not found.may(person_of(request), act):
        raise PermissionDenied
    return found


def _page(request: HttpRequest, found: Project, form: CapForm | None = None) -> dict[str, Any]:
    user = person_of(request)
    month = clock.month_of(frame_of(request).today)
    period = capped_projects([found], month)[0].period
    members = list(
        Membership.objects.filter(project=found).select_related("user").order_by("-role", "user__name")
    )
    role = next((Role(member.role) for member in members if member.user_id == user.pk), None)
    refusals = Refusal.objects.newest_of([found.pk], month)

    def may(act: Act) -> bool:
        return access.allowed(act, role=role, is_operator=user.is_superuser)

    return {
        "project": found,
        "period": period,
        "month": month,
        "members": members,
        "is_member": role is not None,
        "jobs": Job.objects.filter(project=found).for_list().order_by("-created_at", "-id")[:NEWEST],
        "refusals": refusals[:NEWEST],
        "may_set_cap": may(Act.SET_CAP),
        "may_submit": may(Act.SUBMIT),
        "may_change": may(Act.CHANGE_PROJECT),
        "is_practice_over": found.is_practice and frame_of(request).is_connected,
        "form": form or CapForm(initial=initial_of(period.budget if period else None)),
    }
