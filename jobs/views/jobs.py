"""The start page and the list of jobs, with the fragment that keeps it up to date."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from jobs.forms.job_filter import Wanted
from jobs.models import Job
from jobs.views.first_steps import first_steps
from jobs.views.frame import fragment, frame_of, person_of
from jobs.views.job_list import JobList
from jobs.views.starts import STARTS


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Go to the jobs; welcome whoever can see none yet."""
    person = person_of(request)
    if Job.objects.visible_to(person).exists():
        return redirect("jobs")
    steps = first_steps(frame_of(request)) if person.is_superuser else []
    done = sum(step.is_done for step in steps)
    return render(request, "welcome.html", {"starts": STARTS, "steps": steps, "done": done})


@require_safe
def jobs(request: HttpRequest) -> HttpResponse:
    """List what is in flight and what has ended, as the address asks for it."""
    found = JobList(frame_of(request), Wanted.of(request.GET, person_of(request)))
    return render(request, "jobs.html", {"list": found})


@require_safe
@fragment
def live(request: HttpRequest) -> HttpResponse:
    """Answer a page that asks for news: 304 before anything is rendered, or what changed."""
    found = JobList(frame_of(request), Wanted.of(request.GET, person_of(request)))
    if request.headers.get("HX-PTag") == found.tag_now():
        return HttpResponse(status=304)
    answer = render(request, "jobs.html#live", {"list": found})
    answer["HX-PTag"] = found.tag
    return answer
