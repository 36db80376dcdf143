"""Notices how much of each cap is used or likely will be, and has people and chats told."""

import datetime as dt

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from jobs import clock, forecast, notify
from jobs.lifecycle.doorbell import ring_for
from jobs.models import Alert, Budget, Delivery, Workspace

MOST_AT_ONCE = 50
MOST_TRIES = 6
FIRST_WAIT = dt.timedelta(minutes=2)  # longer than a try takes; doubled after each


def mind_alerts() -> None:
    """Raise what this month's money calls for, and ring for every alert that is due: the watchdog's part."""
    month = clock.month_of(Workspace.objects.the().today())
    with transaction.atomic():
        Alert.objects.raise_for(month)
    for pk in Alert.objects.due().values_list("pk", flat=True)[:MOST_AT_ONCE]:
        ring_for("deliver_alert", pk)


def mind_forecasts() -> None:
    """Raise what the likely end of this month calls for: once an hour, for it is read from half a year."""
    month = clock.month_of(Workspace.objects.the().today())
    periods = [one for one in Budget.objects.standing().periods_in(month) if one.pk is not None]
    ends = forecast.month_ends(periods).items()
    with transaction.atomic():
        Alert.objects.raise_for(month, {budget: end.likely for budget, end in ends if end is not None})


def deliver_alert(alert_id: int) -> None:
    """Tell people by mail and the chat what is still to be told of an alert; later again what failed.

    Of two at once one does it.
    """
    claimed = Alert.objects.due().filter(pk=alert_id).order_by()
    if not claimed.update(tries=F("tries") + 1, next_try_at=Now() + FIRST_WAIT):
        return
    alert = Alert.objects.with_budget().get(pk=alert_id)
    is_last = alert.tries >= MOST_TRIES
    # Each way is noted as soon as it is done: whoever goes on after a kill tells nobody twice.
    if alert.mail == Delivery.PENDING:
        alert.mail = _state(notify.mail_alert(alert) if settings.IS_MAIL_SENT else None, is_last=is_last)
        alert.save(update_fields=["mail"])
    if alert.chat == Delivery.PENDING:
        told, alert.chat_error = notify.post_alert(alert)
        alert.chat = _state(told, is_last=is_last)
        alert.save(update_fields=["chat", "chat_error"])
    is_open = Delivery.PENDING in (alert.mail, alert.chat)
    wait = FIRST_WAIT * 2 ** (alert.tries - 1)
    Alert.objects.filter(pk=alert_id).update(next_try_at=Now() + wait if is_open else None)


def _state(told: bool | None, *, is_last: bool) -> Delivery:
    """Return what became of a way; None stands for nobody to be told that way."""
    if told is None:
        return Delivery.NONE
    if told:
        return Delivery.SENT
    return Delivery.FAILED if is_last else Delivery.PENDING
