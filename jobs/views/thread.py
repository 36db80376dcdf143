"""Asks on from a job that has ended: prices what is typed under its answer, and sends it."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from jobs import lifecycle
from jobs.access import Act
from jobs.forms import follow_up_in, limit_in, submission_key_in, text_in, why_in
from jobs.lifecycle import JobSpec, SpecError
from jobs.models import Job
from jobs.views import job_page
from jobs.views.approval import asked_for
from jobs.views.attachments import chips_of
from jobs.views.frame import fragment, frame_of, person_of
from jobs.views.panel import Offer
from jobs.views.quote import REFUSALS, as_offered, in_words, quote_of


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def follow_up(request: HttpRequest, short_id: str) -> HttpResponse:
    """Send a follow-up, or ask for its approval; what was typed stays until it is accepted."""
    job = job_page.allowed(request, short_id, Act.SUBMIT)
    # Whoever had to sign in again comes back with a GET.
    if request.method != "POST" or not _may_follow(request, job):
        return redirect(job)
    offer = Offer.to(frame_of(request))
    wanted, gone = _wanted(request, job, offer)
    if "price" in request.POST or "fit" in request.POST:
        return _page(request, job, wanted, _priced(wanted, gone, offer))
    try:
        if gone:
            raise SpecError(gone)
        if "ask" not in request.POST:
            return redirect(lifecycle.submit(wanted))
        return asked_for(request, lifecycle.ask(wanted, why=why_in(request.POST)))
    except REFUSALS as refusal:
        refused = {"refusal": in_words(refusal), **_priced(wanted, gone, offer)}
        return _page(request, job, wanted, refused, status=422)


@fragment
@sensitive_post_parameters()
@require_POST
def follow_up_price(request: HttpRequest, short_id: str) -> HttpResponse:
    """Price what is typed so far, from our own rows alone."""
    job = job_page.allowed(request, short_id, Act.SUBMIT)
    if not _may_follow(request, job):
        return HttpResponse(status=204)
    offer = Offer.to(frame_of(request))
    wanted, gone = _wanted(request, job, offer)
    context = {"job": job, "follow_why": why_in(request.POST), **_priced(wanted, gone, offer)}
    return render(request, "_job_follow.html#price", context)


def _may_follow(request: HttpRequest, job: Job) -> bool:
    return job_page.may_follow(job, job_page.acts_open(job, person_of(request)))


def _wanted(request: HttpRequest, job: Job, offer: Offer) -> tuple[JobSpec, dict[str, str]]:
    """Read what is asked, and what of it is gone."""
    wanted, gone = follow_up_in(request.POST, job, by=person_of(request))
    return as_offered(wanted, job, lambda: offer), gone


def _priced(wanted: JobSpec, gone: dict[str, str], offer: Offer) -> dict[str, Any]:
    return {"quote": quote_of(wanted, offer, unwritten=("prompt",), gone=gone)}


def _page(
    request: HttpRequest, job: Job, wanted: JobSpec, more: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    typed = {
        "follow_text": text_in(request.POST, "prompt"),
        "follow_limit": limit_in(request.POST),
        "follow_why": why_in(request.POST),
        "chips": chips_of(wanted.attachments, job.model),
        "submission_key": submission_key_in(request.POST),
    }
    return render(request, "job.html", job_page.body(job, request) | typed | more, status=status)
