"""Says what a person may not do and who could change that."""

from urllib.parse import quote

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from jobs.access import Role
from jobs.models import Membership, Project, User


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403 with the project's managers, where it is about a project that the person may see."""
    project = _project(request)
    managers: list[User] = []
    if project is not None:
        rows = Membership.objects.filter(project=project, role=Role.MANAGER, user__is_active=True)
        managers = [row.user for row in rows.select_related("user").order_by("user__name")]
    context = {
        "said": str(exception),
        "project": project,
        "managers": managers,
        "ask": _mail_to(managers, f"Access to {project}") if managers else "",
    }
    return render(request, "403.html", context, status=403)


def _project(request: HttpRequest) -> Project | None:
    asked = request.resolver_match.kwargs if request.resolver_match else {}
    # A refusal may come from a middleware that runs before anyone is known.
    found = Project.objects.visible_to(getattr(request, "user", AnonymousUser()))
    if "slug" in asked:
        return found.filter(slug=asked["slug"]).first()
    if "short_id" in asked:
        return found.filter(job__short_id=asked["short_id"]).first()
    return None


def _mail_to(people: list[User], subject: str) -> str:
    return f"mailto:{','.join(quote(person.email, safe='@') for person in people)}?subject={quote(subject)}"
