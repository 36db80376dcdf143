"""The way into the settings, and the catalogue of models and prices as it stands."""

from django.contrib import messages
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from jobs.models import ModelSpec, Price, Workspace
from jobs.views.frame import frame_of, operators_only, person_of


@require_safe
def settings(_: HttpRequest) -> HttpResponse:
    """Go to what everyone can set."""
    return redirect("profile")


@require_safe
def models(request: HttpRequest) -> HttpResponse:
    """List every model with its dated prices and where they come from."""
    prices = Prefetch("price_set", Price.objects.order_by("-valid_from"), to_attr="prices")
    found = ModelSpec.objects.select_related("successor").prefetch_related(prices).order_by("rung", "id")
    today = frame_of(request).today
    rows = [
        {
            "spec": spec,
            "is_off": spec.is_off(today),
            "prices": spec.prices,  # type: ignore[attr-defined]
            "now": next((price for price in spec.prices if price.valid_from <= today), None),  # type: ignore[attr-defined]
        }
        for spec in found
    ]
    rows.sort(key=lambda row: bool(row["is_off"]))
    return render(request, "models.html", {"rows": rows, "today": today})


@require_POST
@operators_only
def model_succeed(request: HttpRequest, model: str) -> HttpResponse:
    """Default to a model's successor wherever the model is the default."""
    spec = get_object_or_404(ModelSpec.objects.named(model))
    heir = Workspace.objects.let_inherit(spec, by=person_of(request))
    if heir is None:
        messages.error(request, f"The catalogue names nothing that takes the place of {spec.pk}.")
    else:
        messages.success(request, f"New jobs start from {heir.pk} now where they started from {spec.pk}.")
    back = request.headers.get("Referer", "")
    is_ours = url_has_allowed_host_and_scheme(back, {request.get_host()}, request.is_secure())
    return redirect(back if is_ours else "models")
