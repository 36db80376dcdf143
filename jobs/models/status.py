"""The statuses of a job, and which of them are in flight, final or not finished."""

from django.db import models


class Status(models.TextChoices):
    """Where a job is; queued to cancelled are the API's own words."""

    AWAITING_APPROVAL = "awaiting_approval", "Needs approval"  # a person must agree first; nothing is held
    WAITING = "waiting", "Waiting"  # admitted, to be sent as soon as possible
    SENDING = "sending", "Sending"  # a pump has claimed it and may have bytes on the wire
    UNCONFIRMED = "unconfirmed", "Unconfirmed"  # sent perhaps; the hold stays until someone knows
    QUEUED = "queued", "Queued"
    IN_PROGRESS = "in_progress", "Running"
    REQUIRES_ACTION = (
        "requires_action",
        "Needs action",
    )  # ended upstream with calls to answer; money is settled
    COMPLETED = "completed", "Completed"
    INCOMPLETE = "incomplete", "Incomplete"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


IN_FLIGHT = (Status.QUEUED, Status.IN_PROGRESS)
FINAL = (Status.COMPLETED, Status.INCOMPLETE, Status.FAILED, Status.CANCELLED)
# Nothing to ask the other side about: not sent, or nobody knows.
UNASKABLE = (Status.WAITING, Status.SENDING, Status.UNCONFIRMED, Status.AWAITING_APPROVAL)
UNFINISHED = tuple(status for status in Status if status not in FINAL)
