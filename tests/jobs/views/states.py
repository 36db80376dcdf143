"""Makes jobs that stand where a page must show them, with the ledger rows that belong there."""

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from jobs import lifecycle, spend
from jobs.models import FINAL, Answer, Attempt, AttemptState, Basis, Event, Job, Project, Status, User
from jobs.pricing import Usage, charge
from tests.factories import a_spec

USAGE = {
    "input_tokens": 2_000,
    "input_tokens_details": {"cached_tokens": 500},
    "output_tokens": 9_000,
    "output_tokens_details": {"reasoning_tokens": 8_000},
    "total_tokens": 11_000,
}

SAGE = {
    "type": "function_call",
    "call_id": "call_1",
    "name": "run_sage",
    "arguments": '{"code": "A = 1\\nA", "n": 3}',
}
DOWNLOAD = {
    "type": "mcp_approval_request",
    "id": "mcpr_1",
    "name": "download_paper",
    "arguments": '{"id": "2406.01877v2", "format": "pdf"}',
    "server_label": "arxiv",
}
ARXIV = {"type": "mcp", "server_label": "arxiv", "server_url": "https://mcp.arxiv-tools.org/sse"}

# Statuses in which nothing is known at the other side yet.
_UNSENT = {Status.WAITING: "planned", Status.SENDING: "sending", Status.UNCONFIRMED: "unconfirmed"}
# Statuses that a job leaves by its clock.
_CLOCKED = {Status.WAITING, Status.QUEUED, Status.IN_PROGRESS}
# Statuses in which the money is settled.
_SETTLED = {*FINAL, Status.REQUIRES_ACTION}


def a_job(
    project: Project,
    by: User,
    status: Status = Status.WAITING,
    *,
    answer: dict[str, Any] | None = None,
    attempt: dict[str, Any] | None = None,
    basis: Basis = Basis.USAGE,
    cost: Decimal | None = None,
    events: Iterable[tuple[str, str]] = (),
    spec: dict[str, Any] | None = None,
    **fields: Any,
) -> Job:
    """Make a job in a status; a settled one is charged its usage, or `cost` USD on `basis`."""
    job = lifecycle.submit(a_spec(project, by, **(spec or {})))
    first = Attempt.objects.select_related("price").get(job=job)
    now = timezone.now()
    if status in _SETTLED:
        usage = Usage.from_wire({"usage": USAGE}) if basis == Basis.USAGE else None
        if usage is not None and cost is None:
            cost = charge(first.price.rates, usage, service_tier="default", window=job.window).total
        with transaction.atomic():
            spend.settle(first, cost=cost, basis=basis, usage=usage, price=first.price, reason="test")
    state = AttemptState.ENDED if status in _SETTLED else AttemptState(_UNSENT.get(status, "known"))
    known = state in (AttemptState.KNOWN, AttemptState.ENDED)
    about: dict[str, Any] = {
        "state": state,
        "sent_at": None if status == Status.WAITING else now,
        "response_id": f"resp_{job.short_id}" if known else "",
        "request_id": "req_1" if known else "",
        "usage": USAGE if status in _SETTLED and basis == Basis.USAGE else None,
        "end_status": status if status in FINAL else "",
        **(attempt or {}),
    }
    Attempt.objects.filter(pk=first.pk).update(**about)
    Job.objects.filter(pk=job.pk).update(
        **{
            "status": status,
            "sent_at": now if known else None,
            "finished_at": now if status in _SETTLED else None,
            # A clock that no pump reaches: what has none is stuck, and the audit says so.
            "next_action_at": now + dt.timedelta(hours=1) if status in _CLOCKED else None,
            **fields,
        }
    )
    for kind, note in events:
        Event.objects.create(job=job, attempt=first, kind=kind, note=note)
    if answer is not None:
        Answer.objects.create(job=job, attempt=first, **{"text": "", **answer})
    return Job.objects.get(pk=job.pk)
