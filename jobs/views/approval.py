"""Decides about jobs that wait for approval: lets one go, refuses it, or has a cheaper model try first."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from jobs import lifecycle
from jobs.access import Act
from jobs.forms import DecisionForm, submission_key_in
from jobs.models import Job, Status
from jobs.templatetags import ui
from jobs.views import job_page, ways
from jobs.views.frame import frame_of, person_of
from jobs.views.quote import REFUSALS, in_words

DECIDED = "Someone was faster: this is where the job is now."


def asked_for(request: HttpRequest, job: Job) -> HttpResponse:
    """Lead to a job that was asked for, or to where more budget for it is."""
    if request.POST.get("ask") == "budget" and job.status == Status.AWAITING_APPROVAL:
        return redirect(f"/budget/more/?job={job.short_id}")
    return redirect(job)


@require_POST
def job_approve(request: HttpRequest, short_id: str) -> HttpResponse:
    """Let a job go that waits for approval."""
    found = job_page.allowed(request, short_id, Act.APPROVE)
    form = DecisionForm(request.POST)
    if not form.is_valid():
        messages.error(request, f"{form.said} Nothing was decided.")
        return redirect(found)
    try:
        job = lifecycle.approve(
            found.pk,
            by=person_of(request),
            note=form.cleaned_data["note"],
            seen=form.cleaned_data["ceiling"],
        )
    except lifecycle.NotAwaiting:
        messages.info(request, DECIDED)
    except lifecycle.PromptGone:
        messages.error(request, "What it asked is no longer stored. Nothing was sent.")
    except REFUSALS as refusal:
        is_own = found.submitted_by_id == person_of(request).pk
        messages.error(request, f"{in_words(refusal, is_own=is_own)} Nothing was sent.")
    else:
        messages.success(request, f"Approved, up to {ui.ceiling(job.worst_case)}. It is sent now.")
    return redirect(found)


@require_POST
def job_reject(request: HttpRequest, short_id: str) -> HttpResponse:
    """Refuse a job that waits for approval, with a reason."""
    found = job_page.allowed(request, short_id, Act.APPROVE)
    form = DecisionForm(request.POST, needs_note=True)
    if not form.is_valid():
        messages.error(request, f"{form.said} Nothing was decided.")
        return redirect(found)
    try:
        lifecycle.reject(found.pk, by=person_of(request), note=form.cleaned_data["note"])
    except lifecycle.NotAwaiting:
        messages.info(request, DECIDED)
    else:
        messages.success(request, f"Rejected. {found.submitted_by} sees why, and it costs nothing.")
    return redirect(found)


@require_POST
def job_cheaper(request: HttpRequest, short_id: str) -> HttpResponse:
    """Run the same on a cheaper model first, as a job of one's own; the dear one goes on waiting."""
    found = job_page.allowed(request, short_id, Act.APPROVE)
    way = ways.way_first(found, frame_of(request).today) if hasattr(found, "prompt") else None
    if way is None:
        messages.info(request, "No cheaper model can do it any more. Nothing was sent.")
        return redirect(found)
    wanted = way.spec(found, by=person_of(request), submission_key=submission_key_in(request.POST))
    try:
        return redirect(lifecycle.run_cheaper(found.pk, wanted))
    except lifecycle.NotAwaiting:
        messages.info(request, DECIDED)
    except REFUSALS as refusal:
        messages.error(request, f"{in_words(refusal)} Nothing was sent.")
    return redirect(found)
