"""Join the addresses of the site: health, admin, and the product's own."""

from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from django.views.decorators.http import require_safe


@login_not_required
@require_safe
def healthz(_: HttpRequest) -> JsonResponse:
    """Say that the web process answers."""
    return JsonResponse({"ok": True})


handler403 = "jobs.views.errors.forbidden"

urlpatterns = [
    path("healthz", healthz),
    path("admin/", admin.site.urls),
    path("", include("jobs.urls")),
]
