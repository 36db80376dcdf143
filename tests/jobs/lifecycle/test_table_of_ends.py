"""Every end × its usage × the moment of a cancel: what job, ledger, page and clock then say."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from jobs import lifecycle
from jobs.models import Attempt, BudgetPeriod, Event, Job, LedgerEntry, Status, User
from tests.fake_api import USAGE, FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look_up", "arguments": "{}"}
ENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "completed": ("completed", {}),
    "incomplete": ("incomplete", {}),
    "failed, retryable": ("failed", {"error": {"code": "server_error", "message": "Oh."}}),
    "failed, policy": ("failed", {"error": {"code": "invalid_prompt", "message": "Not that."}}),
    "cancelled": ("cancelled", {}),
    "requires_action": ("completed", {"output": [CALL]}),
}


@dataclass(frozen=True)
class Row:
    """What one end with one kind of usage comes to, when nobody cancels."""

    end: str
    usage: str  # present, null, or late: null at first, present when asked again
    status: str
    ledger: str  # the rows after the hold, with what each charge rests on
    wait: int | None  # seconds to the next look
    last: str  # of the timeline
    sentence: str  # of its page
    why: str


TABLE = [
    Row(
        "completed", "present", "completed", "release charge:usage", None, "completed",
        "The lemma is true.",
        "the usage is booked, and nothing more is asked",
    ),
    Row(
        "completed", "null", "completed", "", 15, "completed",
        "Its usage is still missing.",
        "the answer is there; the hold stays while usage is asked for",
    ),
    Row(
        "completed", "late", "completed", "release charge:usage", None, "completed",
        "The lemma is true.",
        "usage that comes late is booked like any other",
    ),
    Row(
        "incomplete", "present", "incomplete", "release charge:usage", None, "incomplete",
        "It stopped in mid-answer at 20,000 tokens",
        "a part of an answer costs what it used",
    ),
    Row(
        "incomplete", "null", "incomplete", "", 15, "incomplete",
        "Its usage is still missing.",
        "as for completed",
    ),
    Row(
        "incomplete", "late", "incomplete", "release charge:usage", None, "incomplete",
        "It stopped in mid-answer at 20,000 tokens",
        "as for completed",
    ),
    Row(
        "failed, retryable", "present", "waiting", "release charge:usage hold", 5, "tried_again",
        "Attempt 2 has its own hold and goes out in a few seconds.",
        "the failure is paid for, and another attempt holds its own ceiling",
    ),
    Row(
        "failed, retryable", "null", "waiting", "release charge:none hold", 5, "tried_again",
        "Attempt 2 has its own hold and goes out in a few seconds.",
        "nothing was reported: booked as 0, listed for reconciliation",
    ),
    Row(
        "failed, retryable", "late", "waiting", "release charge:none hold", 0, "tried_again",
        "Attempt 2 has its own hold and goes out in a few seconds.",
        "nobody asks a failed response again",
    ),
    Row(
        "failed, policy", "present", "failed", "release charge:usage", None, "failed",
        "The practice API stopped this job over its usage policy",
        "trying again would fail again",
    ),
    Row(
        "failed, policy", "null", "failed", "release charge:none", None, "failed",
        "The practice API stopped this job over its usage policy",
        "nothing was reported",
    ),
    Row(
        "failed, policy", "late", "failed", "release charge:none", None, "failed",
        "The practice API stopped this job over its usage policy",
        "nobody asks a failed response again",
    ),
    Row(
        "cancelled", "present", "cancelled", "release charge:usage", 60, "cancelled",
        "It was running there for 0s. $0.02 was charged.",
        "watched for an hour: it may yet complete",
    ),
    Row(
        "cancelled", "null", "cancelled", "release charge:estimate", 60, "cancelled",
        "An estimate: the time it ran at the model’s usual speed",
        "time run × usual speed stands in for the usage",
    ),
    Row(
        "cancelled", "late", "cancelled", "release charge:estimate adjust:usage", 60, "cancelled",
        "It was running there for 0s. $0.02 was charged.",
        "the watch sees the usage, and the estimate gives way to it",
    ),
    Row(
        "requires_action", "present", "requires_action", "release charge:usage", None, "completed",
        "The model stopped to ask you for one thing",
        "money is settled though a person has to answer",
    ),
    Row(
        "requires_action", "null", "requires_action", "", 15, "completed",
        "The model stopped to ask you for one thing",
        "usage is asked for as for completed",
    ),
    Row(
        "requires_action", "late", "requires_action", "release charge:usage", None, "completed",
        "The model stopped to ask you for one thing",
        "as for completed",
    ),
]  # fmt: skip
MOMENTS = ["never", "before sending", "while sending", "in flight", "after the end"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.end}, usage {row.usage}: {row.why}")
def test_an_end_comes_to(row: Row, moment: str, api: FakeApi, submit: Submit, person: User) -> None:
    job = submit()
    if moment == "before sending":
        lifecycle.cancel(job.pk)
    elif moment == "while sending":
        api.while_sending = lambda: lifecycle.cancel(job.pk)
    api.run("send")
    if moment == "in flight":
        lifecycle.cancel(job.pk)
    if moment != "before sending":
        word, body = ENDS[row.end]
        api.put(job, word, **body, usage=USAGE if row.usage == "present" else None)
        api.run("poll")
        if row.usage == "late":
            api.put(job, word, **body)
            api.run("poll")
    refused = False
    if moment == "after the end":
        try:
            lifecycle.cancel(job.pk)
        except lifecycle.NotCancellable:
            refused = True

    status, ledger, wait, timeline = row.status, row.ledger.split(), row.wait, ["submitted", "accepted"]
    sentence = row.sentence
    is_tried_again = row.status == "waiting"
    if moment == "before sending":  # nothing left the house, whatever it would have come to
        status, ledger, wait, timeline = "cancelled", ["release"], None, ["submitted"]
        sentence = "It was never sent. Nothing was charged."
        timeline += ["cancel_requested", "cancelled"]
    elif moment == "never":
        timeline += [row.last]
    elif moment == "after the end":
        # Only the attempt to come can be cancelled, and it costs nothing; an end stays as it is.
        assert refused != is_tried_again
        timeline += [row.last]
        if is_tried_again:
            status, wait, sentence = "cancelled", None, "Attempt 2 was never sent."
            ledger += ["release"]
            timeline += ["cancel_requested", "cancelled"]
    else:
        # Upstream was asked to stop, and its word decides; what was to be stopped is not tried again.
        assert api.cancels == ["resp_1"]
        timeline.insert(1 if moment == "while sending" else 2, "cancel_requested")
        timeline += ["failed" if is_tried_again else row.last]
        if is_tried_again:
            status, wait = "failed", None
            sentence = "The practice API failed while it worked on this job"
            ledger.remove("hold")

    job.refresh_from_db()
    assert job.status == status
    assert [written(entry) for entry in LedgerEntry.objects.order_by("pk")] == ["hold", *ledger]
    assert list(Event.objects.filter(job=job).values_list("kind", flat=True)) == timeline
    assert seconds_to_next_look(job) == (None if wait is None else pytest.approx(wait, abs=1.5))
    period = BudgetPeriod.objects.get()
    holds = 1 + ledger.count("hold") - ledger.count("release")
    assert period.held == holds * job.worst_case
    assert period.spent == job.cost == pytest.approx(cost(job, ledger), abs=Decimal("0.01"))
    assert (job.finished_at is None) == (status == "waiting")
    assert job.claim_token is None
    assert sentence in sentences_of(job, person)


def sentences_of(job: Job, person: User) -> str:
    """Return what a job's page says of its state, without tags, spaces made single."""
    client = Client()
    client.force_login(person)
    page = client.get(f"{job.get_absolute_url()}live/").content.decode()
    said = page[page.index('<div class="stack">') : page.index("<aside")]
    return " ".join(re.sub(r"<[^>]*>", " ", said).split()).replace(" .", ".")


def written(entry: LedgerEntry) -> str:
    return f"{entry.kind}:{entry.basis}" if entry.basis else entry.kind


def seconds_to_next_look(job: Job) -> float | None:
    return None if job.next_action_at is None else (job.next_action_at - timezone.now()).total_seconds()


def cost(job: Job, ledger: list[str]) -> Decimal:
    """USD of what was booked; an estimate of a job cancelled at once is next to its input's price."""
    price = Attempt.objects.filter(job=job)[0].price
    if any(entry.endswith(":usage") for entry in ledger):
        return (1_000 * price.input + 2_000 * price.output) / 1_000_000
    return Decimal(0)


def test_the_table_has_every_end_with_every_kind_of_usage() -> None:
    assert {(row.end, row.usage) for row in TABLE} == {
        (end, usage) for end in ENDS for usage in ("present", "null", "late")
    }
    assert {row.status for row in TABLE} <= set(Status.values)
