"""Names the admin console and sends whoever wants in through the product's own sign-in."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache

from jobs.admin.operations import regrouped
from jobs.health import panel


@never_cache
@login_not_required
def sign_in(request: HttpRequest) -> HttpResponseBase:
    """Send a visitor to the one sign-in there is, staff on their way, and refuse anyone else."""
    target = request.GET.get(REDIRECT_FIELD_NAME, "")
    if not url_has_allowed_host_and_scheme(
        target, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        target = reverse("admin:index")
    if not request.user.is_authenticated:
        return redirect_to_login(target)
    if not admin.site.has_permission(request):
        raise PermissionDenied("The admin console is for operators.")
    return HttpResponseRedirect(target)


def index(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
    """Show the records under the operations panel, which is for whoever may act on any job."""
    may_see = request.user.has_perm("jobs.operate")
    shown = {"panel": panel()} if may_see else {}
    return AdminSite.index(admin.site, request, {**(extra_context or {}), **shown})


def app_list(request: HttpRequest, app_label: str | None = None) -> list[dict[str, Any]]:
    """Return the records that a person may see, on the first page by what they are about."""
    apps = AdminSite.get_app_list(admin.site, request, app_label)
    return apps if app_label else list(regrouped(apps))


admin.site.site_header = admin.site.site_title = "Ponder"
admin.site.index_title = "Operations"
admin.site.index_template = "admin/operations.html"
admin.site.enable_nav_sidebar = False
admin.site.index = index  # type: ignore[method-assign]
admin.site.get_app_list = app_list  # type: ignore[method-assign]
# Its own form would be a second way in, without the throttle of the first.
admin.site.login = sign_in  # type: ignore[method-assign,assignment]
