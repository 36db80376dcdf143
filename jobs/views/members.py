"""Who belongs to a project and with which role; and, for operators, everyone who has an account."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from jobs import notify
from jobs.access import Act
from jobs.forms import InviteForm, InviteToWorkspaceForm, RoleForm
from jobs.forms.people import ROLES
from jobs.models import Invitation, LastManager, Membership, Project, User
from jobs.views.frame import operators_only, person_of
from jobs.views.join import link_of
from jobs.views.projects import find

PAGE = 100  # people on a page
LAST_MANAGER = "{} is the last manager of this project. Make someone else a manager first."


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def members(request: HttpRequest, slug: str) -> HttpResponse:
    """Show who is in a project and who is invited; a POST invites someone and shows the link this once."""
    project = find(request, slug, Act.CHANGE_MEMBERS)
    form = InviteForm(request.POST if request.method == "POST" else None, project=project)
    context = {
        "project": project,
        "may_change": True,
        "members": Membership.objects.filter(project=project)
        .select_related("user")
        .order_by("-role", "user__name"),
        "roles": ROLES,
    }
    return _invite(request, "project_members.html", form, context, project=project)


@require_POST
def member_role(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Give a member another role."""
    project = find(request, slug, Act.CHANGE_MEMBERS)
    person, form = _member(project, pk), RoleForm(request.POST)
    if form.is_valid():
        role = form.cleaned_data["role"]
        try:
            project.change_role(person, role, by=person_of(request))
        except LastManager:
            messages.error(request, LAST_MANAGER.format(person))
        else:
            messages.success(request, f"{person} is {role.name.lower()} now.")
    return redirect("members", slug)


@require_POST
def member_remove(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """End someone's membership."""
    project = find(request, slug, Act.CHANGE_MEMBERS)
    person = _member(project, pk)
    try:
        project.remove(person, by=person_of(request))
    except LastManager:
        messages.error(request, LAST_MANAGER.format(person))
    else:
        messages.success(request, f"{person} is not in {project} any more. Their jobs stay.")
    return redirect("members", slug)


@require_POST
def leave(request: HttpRequest, slug: str) -> HttpResponse:
    """End one's own membership."""
    project, person = find(request, slug), person_of(request)
    try:
        project.remove(person, by=person)
    except LastManager:
        messages.error(
            request, "You are the last manager of this project. Make someone else a manager first."
        )
        return redirect(project)
    except Membership.DoesNotExist:
        raise Http404 from None
    messages.success(request, f"You left {project}. Your jobs stay there.")
    return redirect("projects")


@require_POST
def invitation_withdraw(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """End an invitation to a project before it is used."""
    project = find(request, slug, Act.CHANGE_MEMBERS)
    Invitation.objects.withdraw(pk, project=project, by=person_of(request))
    return redirect("members", slug)


@never_cache
@operators_only
@require_http_methods(["GET", "HEAD", "POST"])
def people(request: HttpRequest) -> HttpResponse:
    """List everyone with an account; a POST invites someone and shows the link this once."""
    asked, after = (request.GET.get(name, "").replace("\0", "") for name in ("q", "after"))
    found = list(User.objects.matching(asked).filter(email__gt=after)[: PAGE + 1])
    form = InviteToWorkspaceForm(request.POST if request.method == "POST" else None)
    context = {
        "people": found[:PAGE],
        "asked": asked,
        "after": found[PAGE - 1].email if len(found) > PAGE else "",
    }
    return _invite(request, "people.html", form, context, project=None)


@require_POST
@operators_only
def person_deactivate(request: HttpRequest, pk: int) -> HttpResponse:
    """Shut someone out; nobody shuts themselves out, so that an operator is left."""
    person, actor = get_object_or_404(User, pk=pk), person_of(request)
    if person == actor:
        messages.error(request, "You cannot deactivate yourself. Another operator can.")
    else:
        person.deactivate(by=actor)
        messages.success(request, f"{person} cannot sign in any more. Their jobs go on and stay.")
    return redirect("people")


@require_POST
@operators_only
def person_reactivate(request: HttpRequest, pk: int) -> HttpResponse:
    """Let someone in again."""
    person = get_object_or_404(User, pk=pk)
    person.reactivate(by=person_of(request))
    messages.success(request, f"{person} can sign in again.")
    return redirect("people")


@require_POST
@operators_only
def account_withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    """End an invitation to no project before it is used."""
    Invitation.objects.withdraw(pk, project=None, by=person_of(request))
    return redirect("people")


def _invite(
    request: HttpRequest,
    template: str,
    form: InviteForm,
    context: dict[str, Any],
    *,
    project: Project | None,
) -> HttpResponse:
    """Show a page with its form; invite whom a valid form names, and show the link in this answer only."""
    status = 422 if form.is_bound else 200
    if form.is_valid():
        made, token = form.invite(by=person_of(request))
        link = link_of(request, token)
        context |= {"made": made, "link": link, "is_mailed": notify.mail_invitation(made, link)}
        form, status = type(form)(project=project), 200
    pending = Invitation.objects.pending().filter(project=project).select_related("invited_by")
    context |= {"form": form, "invitations": pending.order_by("-created_at")}
    return render(request, template, context, status=status)


def _member(project: Project, pk: int) -> User:
    return get_object_or_404(Membership.objects.select_related("user"), project=project, user=pk).user
