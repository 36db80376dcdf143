"""Answers the calls a job stopped for: prices what is answered so far, saves it, and goes on."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from jobs import lifecycle
from jobs.access import Act
from jobs.forms import replies_in, submission_key_in
from jobs.lifecycle import Card, NotWaiting, Reply, SpecError
from jobs.models import Job, Status
from jobs.views import job_page
from jobs.views.frame import fragment, frame_of, person_of
from jobs.views.panel import Offer
from jobs.views.quote import REFUSALS, in_words, quote_of
from jobs.views.states import asked

GONE = "It was not waiting any more: this is where the job is now."


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def replies(request: HttpRequest, short_id: str) -> HttpResponse:
    """Go on with a reply to every call, or save those there are; what was typed is never lost."""
    job = job_page.allowed(request, short_id, Act.RESOLVE)
    # Whoever had to sign in again comes back with a GET.
    if request.method != "POST":
        return redirect(job)
    person = person_of(request)
    given, gone = replies_in(request.POST, lifecycle.cards(job, ()), project=job.project, by=person)
    try:
        if gone:
            raise SpecError(gone)
        if "save" in request.POST:
            lifecycle.save_replies(job, given, by=person)
            messages.success(request, "Saved. Whoever may answer finds it here.")
            return redirect(job)
        return redirect(
            lifecycle.answer(job, given, by=person, submission_key=submission_key_in(request.POST))
        )
    except NotWaiting:
        messages.info(request, GONE)
        return redirect(job)
    except REFUSALS as refusal:
        return _page(request, job, given, refusal)


@fragment
@sensitive_post_parameters()
@require_POST
def replies_price(request: HttpRequest, short_id: str) -> HttpResponse:
    """Price going on with what is answered so far, and say which calls still wait."""
    job = job_page.allowed(request, short_id, Act.RESOLVE)
    if job.status != Status.REQUIRES_ACTION or not hasattr(job, "prompt"):
        return HttpResponse(status=204)
    person = person_of(request)
    given, gone = replies_in(request.POST, lifecycle.cards(job, ()), project=job.project, by=person)
    cards = lifecycle.cards(job, given)
    wanted = lifecycle.reply_spec(job, given, by=person)
    unwritten = ("prompt", "replies", *_fields(cards))
    quote = quote_of(wanted, Offer.to(frame_of(request)), unwritten=unwritten, gone=gone)
    context = {"job": job, "quote": quote, **asked(job, cards, {})}
    return render(request, "_job_state_requires_action.html#news", context)


def _page(request: HttpRequest, job: Job, given: list[Reply], refusal: Exception) -> HttpResponse:
    cards = lifecycle.cards(job, given)
    errors = refusal.errors if isinstance(refusal, SpecError) else {}
    context: dict[str, Any] = {
        **asked(job, cards, errors),
        "refusal": in_words(refusal, told=_fields(cards)),
        "submission_key": submission_key_in(request.POST),
    }
    return render(request, "job.html", job_page.body(job, request) | context, status=422)


def _fields(cards: list[Card]) -> list[str]:
    return [card.field for card in cards]
