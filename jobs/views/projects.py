"""Projects: the list, one project's page and its monthly cap."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from jobs import access, clock, pricing, spend
from jobs.access import Act, Role
from jobs.forms import CapForm
from jobs.models import Job, Membership, Project, Refusal
from jobs.templatetags import ui
from jobs.views.frame import frame_of, person_of
from jobs.views.month import capped_projects

NEWEST = 20


@require_safe
def projects(request: HttpRequest) -> HttpResponse:
    """List the projects a person may see, with this month's money."""
    month = clock.month_of(frame_of(request).today)
    found = list(Project.objects.visible_to(person_of(request)).select_related("connection"))
    return render(request, "projects.html", {"caps": capped_projects(found, month), "month": month})


@require_safe
def project(request: HttpRequest, slug: str) -> HttpResponse:
    """Show one project: its money this month, its cap, its people and its newest jobs."""
    return render(request, "project.html", _page(request, _find(request, slug)))


@require_POST
def project_cap(request: HttpRequest, slug: str) -> HttpResponse:
    """Set the cap of a project from this month on."""
    found = _find(request, slug)
    if not found.may(person_of(request), Act.SET_CAP):
        raise PermissionDenied
    form = CapForm(request.POST)
    if not form.is_valid():
        return render(request, "project.html", _page(request, found, form), status=422)
    cap = form.cleaned_data["cap"]
    spend.set_cap(cap, project=found)
    messages.success(request, f"The cap is {ui.money(cap)} a month now.")
    return redirect(found)


def _find(request: HttpRequest, slug: str) -> Project:
    """Return a project the person may see; a foreign or unknown one is a 404."""
    rows = Project.objects.visible_to(person_of(request)).select_related("connection", "default_model")
    return get_object_or_404(rows, slug=slug)


def _page(request: HttpRequest, found: Project, form: CapForm | None = None) -> dict[str, Any]:
    user = person_of(request)
    month = clock.month_of(frame_of(request).today)
    period = capped_projects([found], month)[0].period
    members = list(Membership.objects.filter(project=found).select_related("user").order_by("-role", "user"))
    role = next((Role(member.role) for member in members if member.user_id == user.pk), None)
    refusals = Refusal.objects.filter(project=found, month=month).select_related(
        "user", "budget__project", "budget__user", "budget__token"
    )
    return {
        "project": found,
        "period": period,
        "month": month,
        "members": members,
        "allowed_models": list(found.allowed_models.all()),
        "jobs": Job.objects.filter(project=found).for_list().order_by("-created_at", "-id")[:NEWEST],
        "refusals": refusals[:NEWEST],
        "may_set_cap": access.allowed(Act.SET_CAP, role=role, is_operator=user.is_superuser),
        "may_submit": access.allowed(Act.SUBMIT, role=role, is_operator=user.is_superuser),
        "form": form or CapForm(initial={"cap": pricing.ceil_cent(period.cap) if period else None}),
    }
