"""The page on which a job is written and priced, and the one POST that sends it."""

import dataclasses
import datetime as dt
import json
import uuid
from typing import Any

from django.db.models import Q
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from jobs import lifecycle, spend
from jobs.forms import NewJobForm
from jobs.forms.new_job import tool_fields
from jobs.lifecycle import JobSpec
from jobs.models import UNFINISHED, Job
from jobs.views.advice import advice_on, long_input
from jobs.views.approval import asked_for
from jobs.views.attachments import ATTACHING, chips_of
from jobs.views.editors import schema_check, tools_check
from jobs.views.frame import fragment, frame_of, person_of
from jobs.views.panel import NO_CAP, Offer, Panel, settled, too_little
from jobs.views.starts import STARTS

ASKED_LATELY = dt.timedelta(hours=24)
# The buttons that change or price what is typed, and send nothing.
LOOKS = {"price", "use_tokens", "use_model", "fix_schema", "fix_tools"}


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
            "form": form,
            "panel": panel,
            "advice": advice_on(panel),
            "long_input": long_input(panel),
            "earlier": earlier,
            "earlier_took": earlier.seconds_taken(timezone.now()) if earlier else None,
            "earlier_when": _when(earlier) if earlier else "",
            "is_other_model": request.POST.get("efforts_of") != wanted.model,
            "is_other_effort": request.POST.get("undocumented_for", "") != panel.undocumented,
            "are_other_tools": request.POST.get("tools_of") != panel.tools_of,
        },
    )


def _first_page(request: HttpRequest, offer: Offer) -> HttpResponse:
    parent = _parent(request, request.GET.get("from", ""))
    wanted = _first_wanted(request, offer, parent)
    form = NewJobForm(initial=_initial(wanted), projects=offer.projects)
    return _page(request, form, Panel(offer, wanted), parent=parent, is_fresh=True)


def _send(request: HttpRequest, offer: Offer) -> HttpResponse:
    parent = _parent(request, request.POST.get("from", ""))
    data = _clicked(request.POST, offer)
    form = NewJobForm(data, projects=offer.projects)
    form.is_valid()
    # Read now: a refusal takes the field it names out of what was read.
    wanted = form.spec(person_of(request), elsewhere=offer.first_project, rerun_of=parent)
    panel = Panel(offer, settled(wanted, offer))
    if LOOKS & request.POST.keys():
        # A second look at the price is no refusal, so it shows no errors.
        again = NewJobForm(initial=data.dict() | {"tool": data.getlist("tool")}, projects=offer.projects)
        return _page(request, again, panel, parent=parent)
    job = _submitted(form, wanted, is_asked="ask" in request.POST)
    return asked_for(request, job) if job else _page(request, form, panel, parent=parent, status=422)


def _clicked(typed: QueryDict, offer: Offer) -> QueryDict:
    """Return what was typed with what a button on the page changes in it, if one was pressed."""
    data = typed.copy()
    if typed.get("use_tokens"):
        data["max_output_tokens"] = str(typed["use_tokens"])
    if typed.get("use_model"):
        model, _, mode = str(typed["use_model"]).partition(" ")
        data["model"], data["mode"] = model, mode
    if "fix_schema" in typed:
        data["schema"] = schema_check(str(typed.get("schema", "")), str(typed["fix_schema"])).text
    if "fix_tools" in typed:
        price = offer.prices.get(str(typed.get("model", "")))
        project = offer.projects.get(str(typed.get("project", "")))
        data["tools"] = tools_check(str(typed.get("tools", "")), price, project, str(typed["fix_tools"])).text
    return data


def _submitted(form: NewJobForm, wanted: JobSpec, *, is_asked: bool) -> Job | None:
    """Submit a job, or ask for its approval; else let the form say everything that is in the way at once."""
    if not form.is_valid():
        form.refuse(lifecycle.problems_of(wanted, may_ask=is_asked))
        return None
    try:
        return lifecycle.ask(wanted, why=form.cleaned_data["why"]) if is_asked else lifecycle.submit(wanted)
    except lifecycle.SpecError as refused:
        form.refuse(refused.errors)
    except spend.BudgetRefused as refused:
        form.add_error(None, too_little(refused.ceiling, refused.left, refused.budget))
    except spend.NoCap:
        form.add_error("project", NO_CAP)
    return None


def _page(
    request: HttpRequest,
    form: NewJobForm,
    panel: Panel,
    *,
    parent: Job | None,
    status: int = 200,
    is_fresh: bool = False,
) -> HttpResponse:
    wanted = panel.wanted
    context = {
        "form": form,
        "panel": panel,
        "advice": advice_on(panel),
        "long_input": long_input(panel),
        "offer": panel.offer,
        "parent": parent,
        "chips": chips_of(wanted.attachments, panel.spec),
        "schema_check": schema_check(form["schema"].value() or ""),
        "tools_check": tools_check(form["tools"].value() or "", panel.price, wanted.project),
        "attaching": ATTACHING,
        "is_fresh": is_fresh,
    }
    return render(request, "new.html", context, status=status)


def _first_wanted(request: HttpRequest, offer: Offer, parent: Job | None) -> JobSpec:
    """Return what the page starts from: an earlier job, a start of ours, or the project's default."""
    asked = parent.project.slug if parent else request.GET.get("project", "")
    project = offer.projects.get(asked) or offer.first_project
    by = person_of(request)
    if parent is not None:
        again = lifecycle.asked(parent, by=by, project=project)
        if project.pk != parent.project_id:
            again = dataclasses.replace(again, previous=None, replies=())  # a thread stays in its project
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
        **tool_fields(wanted.tools, wanted.max_tool_calls),
    }


def _parent(request: HttpRequest, short_id: str) -> Job | None:
    """Return the job to run again, if one is named. Raises Http404 for one that the person may not see, or
    whose prompt is no longer kept.
    """
    if not short_id:
        return None
    found = Job.objects.visible_to(person_of(request)).named(short_id)
    kept = found.filter(prompt__isnull=False).select_related("project", "prompt", "model__successor")
    return get_object_or_404(kept)


def _asked_lately(request: HttpRequest, wanted: JobSpec) -> Job | None:
    """Return the newest visible job that asked the same, in the last day or not finished yet."""
    if not wanted.prompt.strip():
        return None
    lately = Q(created_at__gt=timezone.now() - ASKED_LATELY) | Q(status__in=UNFINISHED)
    same = Job.objects.visible_to(person_of(request)).filter(lately, fingerprint=wanted.fingerprint)
    return same.select_related("submitted_by").order_by("-created_at", "-id").first()


def _when(earlier: Job) -> str:
    """Return the day of a job that has ended, and how long ago one was asked that has not."""
    if earlier.is_final:
        is_today = timezone.localdate(earlier.created_at) == timezone.localdate()
        return "today" if is_today else "yesterday"
    minutes = int((timezone.now() - earlier.created_at).total_seconds() // 60)
    for unit, length in (("day", 1_440), ("hour", 60), ("minute", 1)):
        if minutes >= length:
            count = minutes // length
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
