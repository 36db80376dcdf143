"""The rules of spending: who may spend how much, and who approves what is above the limit of a job."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from jobs import access, clock, forecast
from jobs.access import Act, Role
from jobs.forms import CapForm, ChatForm, MemberCapForm
from jobs.forms.caps import initial_of, lift
from jobs.models import Alert, Budget, BudgetPeriod, Chat, Membership, Project, Scope, User
from jobs.models.trail import trail_of_kind
from jobs.templatetags import ui
from jobs.views.frame import frame_of, operators_only, person_of
from jobs.views.month import capped_projects

PAGE = 100  # projects, or people with a cap, on a page
NEWEST = 20  # changes


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for the money of one project, who approves there, and whether the reader may change it."""

    project: Project
    period: BudgetPeriod | None
    approvers: list[str]
    may_change: bool


@require_safe
def rules(request: HttpRequest) -> HttpResponse:
    """Show the cap, the limit per job and the approvers of every project a person may see."""
    return render(request, "rules.html", _page(request))


@require_POST
@operators_only
def workspace_cap(request: HttpRequest) -> HttpResponse:
    """Set the cap of the whole workspace."""
    form = CapForm(request.POST)
    if not form.is_valid():
        return render(request, "rules.html", _page(request, form), status=422)
    budget = form.keep(by=person_of(request))
    messages.success(request, f"The workspace’s cap is {ui.money(budget.cap)} a month now.")
    return redirect("rules")


@sensitive_post_parameters()
@require_POST
@operators_only
def workspace_chat(request: HttpRequest) -> HttpResponse:
    """Set where the alerts of the workspace's cap are posted."""
    form = ChatForm(request.POST)
    if not form.is_valid():
        return render(request, "rules.html", _page(request, chat_form=form), status=422)
    form.keep(project=None, by=person_of(request))
    messages.success(request, "Saved.")
    return redirect("rules")


@operators_only
@require_http_methods(["GET", "HEAD", "POST"])
def member_caps(request: HttpRequest) -> HttpResponse:
    """List the people with a cap of their own; a POST sets one."""
    form = MemberCapForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        budget = form.keep_for(by=person_of(request))
        messages.success(request, f"The cap of {budget.user} is {ui.money(budget.cap)} a month now.")
        return redirect("member_caps")
    after = request.GET.get("after", "").replace("\0", "")
    rows = Budget.objects.of_members().filter(user__email__gt=after)[: PAGE + 1]
    periods = rows.periods_in(clock.month_of(frame_of(request).today))
    ends = forecast.month_ends(periods[:PAGE])
    context = {
        "form": form,
        "periods": [(period, ends[period.budget_id]) for period in periods[:PAGE]],
        "after": _email(periods[PAGE - 1].budget.user) if len(periods) > PAGE else "",
    }
    return render(request, "rules_members.html", context, status=422 if form.is_bound else 200)


@require_POST
@operators_only
def cap_lift(request: HttpRequest, pk: int) -> HttpResponse:
    """Refuse nothing more by a cap; the cap of a project stays, for without one nothing could be sent."""
    found = get_object_or_404(Budget.objects.select_related("user", "token"), pk=pk)
    if found.scope == Scope.PROJECT:
        raise Http404
    if lift(found, by=person_of(request)):
        messages.success(request, f"The {found} is lifted. It goes on counting.")
    return redirect("rules" if found.scope == Scope.WORKSPACE else "member_caps")


def _page(
    request: HttpRequest, form: CapForm | None = None, chat_form: ChatForm | None = None
) -> dict[str, Any]:
    user, month = person_of(request), clock.month_of(frame_of(request).today)
    after = request.GET.get("after", "").replace("\0", "")
    seen = Project.objects.visible_to(user).filter(archived_at=None, slug__gt=after)
    found = list(seen.select_related("connection").order_by("slug")[: PAGE + 1])
    context: dict[str, Any] = {
        "rules": _rules(found[:PAGE], user, month),
        "after": found[PAGE - 1].slug if len(found) > PAGE else "",
        "month": month,
    }
    own = next(iter(Budget.objects.own_of(user.pk).periods_in(month)), None)
    if own is not None:
        context |= {"own": own, "own_end": forecast.month_ends([own])[own.budget_id]}
    if user.is_superuser:
        budgets = Budget.objects.in_sight([], with_workspace=True)
        workspace = next(iter(budgets.periods_in(month)), None)
        context |= {
            "workspace": workspace,
            "form": form or CapForm(initial=initial_of(workspace.budget if workspace else None)),
            "chat": Chat.objects.of(None),
            "chat_url": reverse("workspace_chat"),
            "chat_form": chat_form or ChatForm(),
            "alerts": Alert.objects.with_budget()[:NEWEST],
            "trail": trail_of_kind(Budget)[:NEWEST],
        }
    return context


def _rules(projects: list[Project], user: User, month: Any) -> list[Rule]:
    approving = Membership.objects.that_may(Act.APPROVE).filter(project__in=projects).select_related("user")
    approvers: dict[int, list[str]] = {}
    mine: dict[int, Role] = {}
    for membership in approving.order_by("user__name", "user__email"):
        approvers.setdefault(membership.project_id, []).append(str(membership.user))
        if membership.user_id == user.pk:
            mine[membership.project_id] = Role(membership.role)
    return [
        Rule(
            one.project,
            one.period,
            approvers.get(one.project.pk, []),
            access.allowed(Act.SET_CAP, role=mine.get(one.project.pk), is_operator=user.is_superuser),
        )
        for one in capped_projects(projects, month)
    ]


def _email(user: User | None) -> str:
    return user.email if user else ""
