"""More than a cap allows: whoever needs it asks, and whoever may set the cap grants it or says no."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from jobs import clock, lifecycle, pricing
from jobs.forms import DecisionForm
from jobs.forms.more_budget import BudgetRequestForm, GrantForm
from jobs.models import Approval, Budget, BudgetRequest, Job, Project
from jobs.models.requests import last_day, may_decide, open_budgets
from jobs.templatetags import ui
from jobs.views.frame import frame_of, person_of

MOST = 50  # requests that are shown
BAD_UNTIL = "Another month has begun. Choose a day of this one."
DECIDED = "Someone has decided about it meanwhile."


@require_http_methods(["GET", "HEAD", "POST"])
def more(request: HttpRequest) -> HttpResponse:
    """Ask for more under a cap, of ?job= if that waits for it; and decide about what others ask."""
    job = _job(request)
    form = _form(request, job)
    if form.is_valid():
        form.keep(by=person_of(request), job=job)
        messages.success(request, "Asked. You are told what is decided.")
        return redirect(job or "more_budget")
    return render(
        request, "more_budget.html", _page(request, form, job), status=422 if form.is_bound else 200
    )


@require_POST
def request_grant(request: HttpRequest, pk: int) -> HttpResponse:
    """Let more be spent until a day of this month."""
    asked = _to_decide(request, pk)
    form = GrantForm(request.POST, today=frame_of(request).today)
    if not form.is_valid():
        said = " ".join(str(error) for errors in form.errors.values() for error in errors)
        messages.error(request, f"{said} Nothing was granted.")
        return redirect("more_budget")
    try:
        made = form.keep(asked.pk, by=person_of(request))
    except lifecycle.AlreadyDecided:
        messages.info(request, DECIDED)
    except lifecycle.BadUntil:
        messages.error(request, f"{BAD_UNTIL} Nothing was granted.")
    else:
        messages.success(
            request,
            f"Granted: {ui.money(made.amount)} more under the {made.budget} until {made.until:%-d %B}. "
            "Jobs that waited for it go on by themselves as far as it reaches.",
        )
    return redirect("more_budget")


@require_POST
def request_refuse(request: HttpRequest, pk: int) -> HttpResponse:
    """Say no, and why."""
    asked = _to_decide(request, pk)
    form = DecisionForm(request.POST, needs_note=True)
    if not form.is_valid():
        messages.error(request, f"{form.said} Nothing was decided.")
        return redirect("more_budget")
    try:
        lifecycle.refuse_budget(asked.pk, by=person_of(request), note=form.cleaned_data["note"])
    except lifecycle.AlreadyDecided:
        messages.info(request, DECIDED)
    else:
        messages.success(request, f"Refused. {asked.asked_by} sees why.")
    return redirect("more_budget")


def _to_decide(request: HttpRequest, pk: int) -> BudgetRequest:
    """Return a request that the person may decide about; any other does not exist for them."""
    found = get_object_or_404(BudgetRequest.objects.with_all(), pk=pk)
    if not may_decide(found.budget, person_of(request)):
        raise Http404
    return found


def _job(request: HttpRequest) -> Job | None:
    """Return the job that waits for room, if one of the person's own is named."""
    short_id = request.POST.get("job") or request.GET.get("job", "")
    if not short_id:
        return None
    own = Job.objects.visible_to(person_of(request)).named(short_id).filter(submitted_by=person_of(request))
    return get_object_or_404(own.filter(status="awaiting_approval").select_related("project__connection"))


def _form(request: HttpRequest, job: Job | None) -> BudgetRequestForm:
    person, today = person_of(request), frame_of(request).today
    projects = list(Project.objects.open_to(person).select_related("connection"))
    budgets = list(open_budgets(person, projects))
    if request.method == "POST":
        return BudgetRequestForm(request.POST, budgets=budgets, today=today)
    initial: dict[str, Any] = {"until": last_day(today)}
    asked = Approval.objects.filter(pk=job.pk).select_related("budget").first() if job else None
    if job is not None and asked is not None and asked.budget is not None:
        rows = Budget.objects.filter(pk=asked.budget.pk)
        (period,) = rows.periods_in(clock.month_of(today))
        amount = pricing.ceil_cent(period.missing(job.worst_case) or job.worst_case)
        initial |= {"budget": str(asked.budget.pk), "amount": amount, "why": asked.why}
    return BudgetRequestForm(initial=initial, budgets=budgets, today=today)


def _page(request: HttpRequest, form: BudgetRequestForm, job: Job | None) -> dict[str, Any]:
    person, today = person_of(request), frame_of(request).today
    waiting = list(BudgetRequest.objects.to_decide(person).with_all()[:MOST])
    mine = BudgetRequest.objects.filter(asked_by=person).with_all().order_by("-asked_at", "-pk")
    end = last_day(today)
    return {
        "form": form,
        "job": job,
        "waiting": [(one, one.until if today <= one.until <= end else end) for one in waiting],
        "mine": mine[:MOST],
        "today": today,
        "end": end,
    }
