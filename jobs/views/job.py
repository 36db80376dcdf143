"""One job's pages, and what a person may do to it."""

from django.contrib import messages
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from jobs import lifecycle, spend
from jobs.access import Act
from jobs.forms import ResolveForm, submission_key_in
from jobs.lifecycle import Decision
from jobs.lifecycle.unconfirmed import NotAdoptable
from jobs.models import Attempt, Event, RawResponse
from jobs.templatetags import ui
from jobs.views import job_page, ways
from jobs.views.frame import fragment, frame_of, person_of
from jobs.views.quote import REFUSALS, in_words
from jobs.views.states import stop_of
from jobs.views.timeline import lines_of


@require_safe
def job(request: HttpRequest, short_id: str) -> HttpResponse:
    """Show a job: its answer, or where it is and what can be done."""
    found = job_page.find(person_of(request), short_id)
    return render(request, "job.html", job_page.body(found, request))


@require_safe
@fragment
def job_live(request: HttpRequest, short_id: str) -> HttpResponse:
    """Answer a page that asks for news: 304 before anything is rendered, or what changed."""
    now = timezone.now()
    tag = job_page.tag_of(job_page.find_for_news(person_of(request), short_id), now)
    if request.headers.get("HX-PTag") == tag:
        return HttpResponse(status=304, headers={"HX-PTag": tag})
    context = job_page.body(job_page.find(person_of(request), short_id), request)
    response = render(request, "job.html#live", context)
    response["HX-PTag"] = context["tag"]
    return response


@require_safe
def job_prompt(request: HttpRequest, short_id: str) -> HttpResponse:
    """Show what a job asks."""
    found = job_page.find(person_of(request), short_id)
    context = job_page.head(found, request, tab="prompt/")
    schema = getattr(context["prompt"], "schema", None)
    files = job_page.files_of(found)
    return render(
        request,
        "job_prompt.html",
        {
            **context,
            "schema_json": "" if schema is None else job_page.pretty(schema),
            "attachments": files.get("", []),
            "replies": [(card, files.get(card.call.key, [])) for card in job_page.replies_of(found)],
        },
    )


@require_safe
def job_activity(request: HttpRequest, short_id: str) -> HttpResponse:
    """Show all that happened to a job, with every send."""
    found = job_page.find(person_of(request), short_id)
    context = job_page.head(found, request, tab="activity/")
    events = list(Event.objects.filter(job=found).select_related("actor"))
    return render(
        request,
        "job_activity.html",
        {
            **context,
            "timeline": lines_of(found, events, context["api"], context["now"]),
            "attempts": Attempt.objects.filter(job=found).select_related("connection").order_by("number"),
        },
    )


@require_safe
def job_raw(request: HttpRequest, short_id: str) -> HttpResponse:
    """Show the responses as they came."""
    found = job_page.find(person_of(request), short_id)
    responses = RawResponse.objects.filter(attempt__job=found).select_related("attempt")
    shown = [
        {"number": raw.attempt.number, "read_at": raw.read_at, "json": job_page.pretty(raw.body)}
        for raw in responses.order_by("attempt__number")
    ]
    return render(request, "job_raw.html", {**job_page.head(found, request, tab="raw/"), "responses": shown})


@require_POST
def job_cancel(request: HttpRequest, short_id: str) -> HttpResponse:
    """Cancel a job, or ask upstream to."""
    found = job_page.allowed(request, short_id, Act.CANCEL)
    try:
        after = lifecycle.cancel(found.pk, by=person_of(request))
    except lifecycle.NotCancellable:
        messages.info(request, "There was nothing left to cancel: this is where the job is now.")
    else:
        messages.success(
            request, "Cancelled. It cost nothing." if after.is_final and not after.cost else "Asked to stop."
        )
    return redirect(found)


@require_safe
@fragment
def job_stop(request: HttpRequest, short_id: str) -> HttpResponse:
    """Say what a cancel comes to at this moment."""
    found = job_page.allowed(request, short_id, Act.CANCEL)
    context = job_page.head(found, request, tab="")
    attempt = Attempt.objects.filter(job=found).select_related("price").order_by("-number").first()
    if found.is_in_flight and attempt is not None:
        context["stop"] = stop_of(found, attempt, spend.held_for(attempt), context["now"])
    return render(request, "_job_stop.html", context)


@require_POST
def job_again(request: HttpRequest, short_id: str) -> HttpResponse:
    """Run a job again the way that was chosen, with its settings but for what that way changes.

    A way over the limit per job waits for an approver.
    """
    found = job_page.allowed(request, short_id, Act.RERUN)
    way = ways.way_of(found, request.POST.get("way", ""), frame_of(request).today)
    if way is None:
        messages.info(request, "That way is not open any more. Nothing was sent.")
        return redirect(found)
    wanted = way.spec(found, by=person_of(request), submission_key=submission_key_in(request.POST))
    try:
        return redirect(lifecycle.ask(wanted) if way.problem else lifecycle.submit(wanted))
    except REFUSALS as refusal:
        messages.error(request, f"{in_words(refusal)} Nothing was sent.")
    return redirect(found)


@require_http_methods(["GET", "HEAD", "POST"])
def job_rerun(request: HttpRequest, short_id: str) -> HttpResponse:
    """Go to a new job that starts from this one's prompt and settings."""
    found = job_page.allowed(request, short_id, Act.RERUN)
    return redirect(f"/jobs/new/?from={found.short_id}")


@require_POST
def job_resolve(request: HttpRequest, short_id: str) -> HttpResponse:
    """Carry out a decision about a job of which nobody knows whether it was accepted."""
    found = job_page.allowed(request, short_id, Act.RESOLVE)
    form = ResolveForm(request.POST)
    if not form.is_valid():
        return render(request, "job.html", job_page.body(found, request, form), status=422)
    if form.cleaned_data["decision"] == ResolveForm.WAIT:
        messages.info(request, "Still waiting. Nothing was sent and nothing was spent.")
        return redirect(found)
    try:
        lifecycle.resolve(
            found.pk,
            Decision(form.cleaned_data["decision"]),
            by=person_of(request),
            reason=form.cleaned_data["reason"],
            response_id=form.cleaned_data["response_id"],
        )
    except (NotAdoptable, IntegrityError):
        messages.error(request, "That response id belongs to another job. Nothing was changed.")
    except lifecycle.NotUnconfirmed:
        messages.info(request, "Someone or something else was faster: this is where the job is now.")
    except spend.BudgetRefused as refused:
        messages.error(
            request,
            f"Sending again needs {ui.ceiling(refused.ceiling)} more, and the {refused.budget} has no room "
            "for it. Nothing was sent.",
        )
    except lifecycle.OverJobLimit as refused:
        messages.error(
            request,
            f"Sending again needs {ui.ceiling(refused.ceiling)}; a job of this project may cost "
            f"{ui.money(refused.limit)}. Nothing was sent.",
        )
    except spend.NoCap:
        messages.error(request, "The project has no cap any more, so nothing can be held. Nothing was sent.")
    except lifecycle.PromptGone:
        messages.error(request, "What it asked is no longer stored. Nothing was sent.")
    return redirect(found)


@require_POST
def job_finish(request: HttpRequest, short_id: str) -> HttpResponse:
    """End a job that waits for answers to its calls."""
    found = job_page.allowed(request, short_id, Act.RESOLVE)
    try:
        if not lifecycle.finish_without_answering(found.pk, by=person_of(request)):
            messages.info(request, "It was not waiting any more: this is where the job is now.")
    except lifecycle.SpecError as refused:
        messages.info(request, in_words(refused))
    return redirect(found)
