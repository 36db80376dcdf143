"""Says how the installation does: to health checks, to Prometheus, and to operators on a page."""

import secrets

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from jobs import health
from jobs.health.samples import scrape


@login_not_required
@require_safe
@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    """Say that the web process answers; whoever may act on any job is told how all else does."""
    if not _may_see(request):
        return JsonResponse({"ok": True})
    panel = health.status()
    signs = [
        {"name": sign.name, "figure": sign.figure, "detail": sign.detail, "alarm": sign.word or None}
        for sign in panel.tiles
    ]
    return JsonResponse({"ok": True, "alarms": panel.needs, "signs": signs})


@login_not_required
@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer a scrape, of somebody who may act on any job or who has the token; never with a redirect."""
    token = settings.PONDER_METRICS_TOKEN
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if not _may_see(request):
        if not token:
            raise Http404
        is_right = secrets.compare_digest(given.encode(), token.encode())
        if scheme.lower() != "bearer" or not is_right:
            return HttpResponse(status=401, headers={"WWW-Authenticate": 'Bearer realm="Ponder"'})
    text, content_type = scrape(request.headers.get("Accept", ""))
    return HttpResponse(text, content_type=content_type)


@require_safe
def status(request: HttpRequest) -> HttpResponse:
    """Show how everything stands, what needs someone first."""
    if not _may_see(request):
        raise Http404
    panel = health.status()
    signs = sorted(panel.tiles, key=lambda sign: not sign.word)
    return render(request, "status.html", {"panel": panel, "signs": signs})


def _may_see(request: HttpRequest) -> bool:
    return request.user.has_perm("jobs.operate")
