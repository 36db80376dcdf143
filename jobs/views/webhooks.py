"""Webhooks for operators: a connection's secret, and the log of what was delivered."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from jobs import lifecycle
from jobs.forms import ConnectionForm, DeliveryFilter, WebhookSecretForm
from jobs.models import Connection, WebhookDelivery
from jobs.views.connections import Row
from jobs.views.delivery_rows import DeliveryLog, Webhook
from jobs.views.frame import operators_only, person_of


@sensitive_post_parameters("webhook_secret")
@require_POST
@operators_only
def secret(request: HttpRequest, pk: int) -> HttpResponse:
    """Set or rotate the webhook secret of a connection."""
    found, form = get_object_or_404(Connection, pk=pk), WebhookSecretForm(request.POST)
    if form.is_valid():
        lifecycle.set_webhook_secret(found.pk, form.cleaned_data["webhook_secret"], by=person_of(request))
        messages.success(request, f"The webhook secret of {found} is kept.")
        return redirect(f"{reverse('connection', args=[pk])}#webhook")
    shown = {"form": ConnectionForm(instance=found), "row": Row(found), "webhook": Webhook(found, form)}
    return render(request, "connection.html", shown, status=422)


@require_POST
@operators_only
def drop_previous(request: HttpRequest, pk: int) -> HttpResponse:
    """Let only the current secret of a connection count."""
    found = get_object_or_404(Connection, pk=pk)
    if lifecycle.drop_previous_webhook_secret(found.pk, by=person_of(request)):
        messages.success(request, f"Only the current webhook secret of {found} counts now.")
    return redirect(f"{reverse('connection', args=[pk])}#webhook")


@require_safe
@operators_only
def deliveries(request: HttpRequest) -> HttpResponse:
    """Show what was delivered, the newest first."""
    return render(request, "deliveries.html", {"log": DeliveryLog(DeliveryFilter(request.GET))})


@require_POST
@operators_only
def again(request: HttpRequest, pk: int) -> HttpResponse:
    """Handle a delivery again."""
    found = get_object_or_404(WebhookDelivery, pk=pk)
    if lifecycle.handle_again(found.pk, by=person_of(request)):
        messages.success(request, f"{found.response_id} is being handled again.")
    return redirect(f"{reverse('deliveries')}?{request.GET.urlencode()}")
