"""The page on which a job is written and priced, and the one POST that sends it."""

import dataclasses
import datetime as dt
import json
import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from jobs import lifecycle, spend
from jobs.forms import NewJobForm
from jobs.lifecycle import JobSpec
from jobs.models import Job, Project, User
from jobs.views.attachments import chips_of
from jobs.views.frame import fragment, frame_of, person_of
from jobs.views.panel import NO_CAP, Offer, Panel, settled, too_little
from jobs.views.starts import STARTS

ASKED_LATELY = dt.timedelta(hours=24)


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def new_job(request: HttpRequest) -> HttpResponse:
    """Write a job and send it; everything typed stays until it is accepted."""
    offer = Offer.to(frame_of(request))
    if not offer.projects or not offer.prices:
        return render(request, "new.html", {"offer": offer})
    return _send(request, offer) if request.method == "POST" else _first_page(request, offer)


@fragment
@sensitive_post_parameters()
@require_POST
def estimate(request: HttpRequest) -> HttpResponse:
    """Price what is typed so far: fragments for the page, from our own rows alone."""
    offer = Offer.to(frame_of(request))
    if not offer.projects or not offer.prices:
        return HttpResponse(status=204)
    form = NewJobForm(request.POST, projects=offer.projects)
    form.is_valid()
    wanted = settled(form.spec(person_of(request), elsewhere=offer.first_project), offer)
    panel, earlier = Panel(offer, wanted), _asked_lately(request, wanted)
    return render(
        request,
        "new.html#estimate",
        {
            "panel": panel,
            "earlier": earlier,
            "earlier_took": earlier.seconds_taken(timezone.now()) if earlier else None,
            "is_other_model": request.POST.get("efforts_of") != wanted.model,
            "is_other_effort": request.POST.get("undocumented_for", "") != panel.undocumented,
        },
    )


def _first_page(request: HttpRequest, offer: Offer) -> HttpResponse:
    parent = _parent(request, request.GET.get("from", ""))
    wanted = _first_wanted(request, offer, parent)
    form = NewJobForm(initial=_initial(wanted), projects=offer.projects)
    return _page(request, form, Panel(offer, wanted), parent=parent)


def _send(request: HttpRequest, offer: Offer) -> HttpResponse:
    parent = _parent(request, request.POST.get("from", ""))
    data = request.POST.copy()
    if request.POST.get("use_tokens"):
        data["max_output_tokens"] = request.POST["use_tokens"]
    form = NewJobForm(data, projects=offer.projects)
    form.is_valid()
    # Read now: a refusal takes the field it names out of what was read.
    wanted = form.spec(person_of(request), elsewhere=offer.first_project, rerun_of=parent)
    panel = Panel(offer, settled(wanted, offer))
    if "price" in request.POST or "use_tokens" in request.POST:
        # A second look at the price is no refusal, so it shows no errors.
        again = NewJobForm(initial=data.dict(), projects=offer.projects)
        return _page(request, again, panel, parent=parent)
    job = _submitted(form, wanted)
    return redirect(job) if job else _page(request, form, panel, parent=parent, status=422)


def _submitted(form: NewJobForm, wanted: JobSpec) -> Job | None:
    """Submit a job; where it cannot be, let the form say everything that is in the way at once."""
    if not form.is_valid():
        form.refuse(lifecycle.problems_of(wanted))
        return None
    try:
        return lifecycle.submit(wanted)
    except lifecycle.SpecError as refused:
        form.refuse(refused.errors)
    except spend.BudgetRefused as refused:
        form.add_error(None, too_little(refused.ceiling, refused.left, refused.budget))
    except spend.NoCap:
        form.add_error("project", NO_CAP)
    return None


def _page(
    request: HttpRequest, form: NewJobForm, panel: Panel, *, parent: Job | None, status: int = 200
) -> HttpResponse:
    chips = chips_of(panel.wanted.attachments, panel.spec)
    context = {"form": form, "panel": panel, "offer": panel.offer, "parent": parent, "chips": chips}
    return render(request, "new.html", context, status=status)


def _first_wanted(request: HttpRequest, offer: Offer, parent: Job | None) -> JobSpec:
    """Return what the page starts from: an earlier job, a start of ours, or the project's default."""
    asked = parent.project.slug if parent else request.GET.get("project", "")
    project = offer.projects.get(asked) or offer.first_project
    by = person_of(request)
    if parent is not None:
        again = _again(parent, project=project, by=by)
        wanted = lifecycle.successor_spec(again, parent.model, offer.today)
        return settled(_as_linked(request, wanted), offer)
    start = STARTS.get(request.GET.get("start", ""))
    choice = project.default_choice(offer.today, offer.workspace)
    wanted = JobSpec(
        project=project,
        by=by,
        prompt=start.prompt if start else "",
        schema_name=start.schema_name if start else "",
        schema=start.schema if start else None,
        model=choice.spec.pk if choice else "",
        mode=choice.mode if choice else "standard",
        effort=choice.effort if choice else "",
        max_output_tokens=choice.max_output_tokens if choice else project.default_max_output_tokens,
    )
    return settled(wanted, offer)


def _again(parent: Job, *, project: Project, by: User) -> JobSpec:
    """Return what an earlier job asked, as someone's own."""
    wanted = JobSpec(
        project=project,
        by=by,
        prompt=parent.prompt.text,
        instructions=parent.prompt.instructions,
        schema_name=parent.prompt.schema_name,
        schema=parent.prompt.schema,
        tags=tuple(parent.tags),
        attachments=lifecycle.given_with(parent),
        model=parent.model_id,
        mode=parent.mode,
        effort=parent.effort,
        max_output_tokens=parent.max_output_tokens,
    )
    # A title that was made from the prompt is made again, also from a changed one.
    title = "" if parent.prompt.title == wanted.shown_title else parent.prompt.title
    return dataclasses.replace(wanted, title=title)


def _as_linked(request: HttpRequest, wanted: JobSpec) -> JobSpec:
    """Return a spec with the effort and output limit (tokens) that a link to this page may carry."""
    limit = request.GET.get("max_output_tokens", "")
    if limit.isascii() and limit.isdigit() and len(limit) < 10:
        wanted = dataclasses.replace(wanted, max_output_tokens=int(limit))
    return dataclasses.replace(wanted, effort=request.GET.get("effort") or wanted.effort)


def _initial(wanted: JobSpec) -> dict[str, Any]:
    """Return a spec as the form's fields hold it."""
    return {
        "prompt": wanted.prompt,
        "title": wanted.title,
        "tags": ", ".join(wanted.tags),
        "instructions": wanted.instructions,
        "schema_name": wanted.schema_name,
        "schema": "" if wanted.schema is None else json.dumps(wanted.schema, indent=2, ensure_ascii=False),
        "max_output_tokens": f"{wanted.max_output_tokens:,}",
        "submission_key": str(uuid.uuid4()),
    }


def _parent(request: HttpRequest, short_id: str) -> Job | None:
    """Return the job to run again, if one is named. Raises Http404 for one the person may not see."""
    if not short_id:
        return None
    found = Job.objects.visible_to(person_of(request)).named(short_id)
    return get_object_or_404(found.select_related("project", "prompt", "model__successor"))


def _asked_lately(request: HttpRequest, wanted: JobSpec) -> Job | None:
    """Return the newest job of the last day that asked the same, of those the person can see."""
    if not wanted.prompt.strip():
        return None
    same = Job.objects.visible_to(person_of(request)).filter(
        fingerprint=wanted.fingerprint, created_at__gt=timezone.now() - ASKED_LATELY
    )
    return same.select_related("submitted_by").order_by("-created_at", "-id").first()
