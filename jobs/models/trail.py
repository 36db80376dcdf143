"""Writes down who changed what, in the log of changes that the console shows too; never secrets."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import models

if TYPE_CHECKING:
    from jobs.models.people import User


def note(actor: "User", row: models.Model, message: str, *, is_new: bool = False) -> None:
    """Add a line about a row to the trail, in the caller's transaction; `message` holds no secret."""
    flag = ADDITION if is_new else CHANGE
    LogEntry.objects.log_actions(actor.pk, [row], flag, change_message=message, single_object=True)


def trail_of(row: models.Model) -> models.QuerySet[LogEntry]:
    """Return the trail of a row, newest first, with whoever acted."""
    kind = ContentType.objects.get_for_model(row)
    return (
        LogEntry.objects.filter(content_type=kind, object_id=str(row.pk))
        .select_related("user")
        .order_by("-action_time", "-pk")
    )


def trail_of_kind(record: type[models.Model]) -> models.QuerySet[LogEntry]:
    """Return the trail of all rows of a record, newest first, with whoever acted."""
    kind = ContentType.objects.get_for_model(record)
    return LogEntry.objects.filter(content_type=kind).select_related("user").order_by("-action_time", "-pk")


def changes(before: dict[str, Any], after: dict[str, Any], labels: dict[str, str]) -> str:
    """Say in one line what differs: 'Name: Proofs → Lemmas; Limit per job: none → $5.00'."""
    said = [
        f"{label}: {_shown(before[name])} → {_shown(after[name])}"
        for name, label in labels.items()
        if before[name] != after[name]
    ]
    return "; ".join(said)


def _shown(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value) or "all"
    return "none" if value is None or value == "" else str(value)
