"""Keeps what stands over every page up to date: a connection's pause comes and goes without a reload."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from jobs.views.frame import fragment, frame_of


@require_safe
@fragment
def live(request: HttpRequest) -> HttpResponse:
    """Answer a page that shows a pause: 304 while it lasts, or what stands there now."""
    frame = frame_of(request)
    if request.headers.get("HX-PTag") == frame.pauses_now():
        return HttpResponse(status=304)
    answer = render(request, "_notices.html#standing")
    answer["HX-PTag"] = frame.pauses
    return answer
