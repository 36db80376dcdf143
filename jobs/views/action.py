"""Answers the calls a job stopped for: prices what is answered so far, saves it, goes on or asks to."""

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from jobs import lifecycle
from jobs.access import Act
from jobs.forms import replies_in, submission_key_in, why_in
from jobs.lifecycle import Card, NotWaiting, Reply, SpecError
from jobs.models import Job, Status
from jobs.views import job_page
from jobs.views.approval import asked_for
from jobs.views.frame import fragment, frame_of, person_of
from jobs.views.panel import Offer
from jobs.views.quote import REFUSALS, Quote, in_words, quote_of
from jobs.views.states import asked

GONE = "It was not waiting any more: this is where the job is now."


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def replies(request: HttpRequest, short_id: str) -> HttpResponse:
    """Go on with a reply to every call, ask for it, or save what there is; nothing typed is lost."""
    job = job_page.allowed(request, short_id, Act.RESOLVE)
    # Whoever had to sign in again comes back with a GET.
    if request.method != "POST":
        return redirect(job)
    person, key, why = person_of(request), submission_key_in(request.POST), why_in(request.POST)
    given, gone = replies_in(request.POST, lifecycle.cards(job, ()), project=job.project, by=person)
    if "price" in request.POST and _is_open(job):
        return _page(request, job, given, gone)
    try:
        if gone:
            raise SpecError(gone)
        if "save" in request.POST:
            lifecycle.save_replies(job, given, by=person, why=why)
            messages.success(request, "Saved. Whoever may answer finds it here.")
            return redirect(job)
        if "ask" not in request.POST:
            return redirect(lifecycle.answer(job, given, by=person, submission_key=key))
        asked = lifecycle.ask_to_answer(job, given, by=person, why=why, submission_key=key)
        return asked_for(request, asked)
    except NotWaiting:
        messages.info(request, GONE)
        return redirect(job)
    except REFUSALS as refusal:
        return _page(request, job, given, gone, refusal)


@fragment
@sensitive_post_parameters()
@require_POST
def replies_price(request: HttpRequest, short_id: str) -> HttpResponse:
    """Price going on with what is answered so far, and say which calls still wait."""
    job = job_page.allowed(request, short_id, Act.RESOLVE)
    if not _is_open(job):
        return HttpResponse(status=204)
    given, gone = replies_in(
        request.POST, lifecycle.cards(job, ()), project=job.project, by=person_of(request)
    )
    cards = lifecycle.cards(job, given)
    quote = _quote(request, job, cards, gone)
    context = {"job": job, "quote": quote, **asked(job, cards, {}, why=why_in(request.POST))}
    return render(request, "_job_state_requires_action.html#news", context)


def _is_open(job: Job) -> bool:
    return job.status == Status.REQUIRES_ACTION and hasattr(job, "prompt")


def _quote(request: HttpRequest, job: Job, cards: list[Card], gone: Mapping[str, str]) -> Quote:
    """Price going on; what is wrong with a reply is told at its card, and only when it is sent."""
    wanted = lifecycle.reply_spec(job, [card.reply for card in cards], by=person_of(request))
    unwritten = ("prompt", "replies", *_fields(cards))
    return quote_of(wanted, Offer.to(frame_of(request)), unwritten=unwritten, gone=gone)


def _page(
    request: HttpRequest,
    job: Job,
    given: list[Reply],
    gone: Mapping[str, str],
    refusal: Exception | None = None,
) -> HttpResponse:
    """Show what was typed again, with its price, and why it was refused, if it was."""
    cards = lifecycle.cards(job, given)
    errors = refusal.errors if isinstance(refusal, SpecError) else {}
    context: dict[str, Any] = {
        **asked(job, cards, errors, why=why_in(request.POST)),
        "may_answer": True,
        "submission_key": submission_key_in(request.POST),
    }
    if refusal is not None:
        context["refusal"] = in_words(refusal, told=_fields(cards))
    if _is_open(job):
        context["quote"] = _quote(request, job, cards, gone)
    status = 200 if refusal is None else 422
    return render(request, "job.html", job_page.body(job, request) | context, status=status)


def _fields(cards: list[Card]) -> list[str]:
    return [card.field for card in cards]
