"""What people make of a job, beside it: the verdict on its answer, notes and tags."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from jobs import lifecycle
from jobs.access import Act
from jobs.forms.remarks import TagsForm
from jobs.lifecycle import NothingToJudge, SpecError
from jobs.models import Job, VerdictValue
from jobs.views import job_page
from jobs.views.answer import remarks_on
from jobs.views.frame import fragment, person_of


@fragment
@require_POST
def job_verdict(request: HttpRequest, short_id: str) -> HttpResponse:
    """Say whether an answer is right, or take that back."""
    job = job_page.allowed(request, short_id, Act.JUDGE)
    value = request.POST.get("value", "")
    try:
        verdict = VerdictValue(value) if value in VerdictValue else None
        lifecycle.judge(job.pk, verdict, by=person_of(request))
    except NothingToJudge:
        return _shown(request, job, {"verdict": "There is no answer to judge."})
    return _shown(request, job)


@fragment
@require_POST
def job_note(request: HttpRequest, short_id: str) -> HttpResponse:
    """Write a note beside a job."""
    job = job_page.allowed(request, short_id, Act.JUDGE)
    text = request.POST.get("note", "").replace("\r\n", "\n")
    try:
        lifecycle.add_note(job.pk, text, by=person_of(request))
    except SpecError as refused:
        return _shown(request, job, refused.errors, typed=text)
    return _shown(request, job)


@fragment
@require_POST
def job_note_remove(request: HttpRequest, short_id: str, pk: int) -> HttpResponse:
    """Remove a note of one's own."""
    job = job_page.allowed(request, short_id, Act.JUDGE)
    lifecycle.remove_note(job.pk, pk, by=person_of(request))
    return _shown(request, job)


@fragment
@require_POST
def job_tags(request: HttpRequest, short_id: str) -> HttpResponse:
    """Give a job other tags."""
    job = job_page.allowed(request, short_id, Act.TAG)
    form = TagsForm(request.POST)
    if not form.is_valid():
        return _shown(request, job, {"tags": " ".join(map(str, form.errors["tags"]))})
    try:
        lifecycle.retag(job.pk, form.cleaned_data["tags"], by=person_of(request))
    except SpecError as refused:
        return _shown(request, job, refused.errors)
    return _shown(request, job)


def _shown(
    request: HttpRequest, job: Job, problems: dict[str, str] | None = None, **more: Any
) -> HttpResponse:
    """Answer with the cards as they are now; without htmx with the page."""
    if not request.headers.get("HX-Request"):
        if problems:
            context = job_page.body(job, request) | {"problems": problems, **more}
            return render(request, "job.html", context, status=422)
        return redirect(job)
    person = person_of(request)
    now = job_page.find(person, job.short_id)
    acts = job_page.acts_open(now, person)
    context = remarks_on(now, job_page.answer_of(now), by=person, acts=acts)
    context |= {"job": now, "problems": problems or {}, **more}
    return render(request, "_job_remarks.html", context, status=422 if problems else 200)
