"""What has to hold when a drill is over, asked of the database and of the practice API's own books."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Count, Q, Sum

from jobs import spend
from jobs.models import FINAL, Attempt, AttemptState, Basis, EntryKind, Job, LedgerEntry, Status

ZERO = Decimal(0)
SPENT = (EntryKind.CHARGE, EntryKind.ADJUST)
HELD = (EntryKind.HOLD, EntryKind.RELEASE)
# A person has the next word about these.
BY_PERSON = (Status.UNCONFIRMED, Status.REQUIRES_ACTION, Status.AWAITING_APPROVAL)


@dataclass(frozen=True, slots=True)
class Invariant:
    """One sentence that has to be true, how many were looked at, and what breaks it."""

    sentence: str
    looked_at: int
    broken: list[str]


@dataclass(frozen=True, slots=True)
class Charged:
    """What one response was charged here, on which basis, and what it was billed there; USD."""

    response_id: str
    basis: str
    charged: Decimal
    billed: Decimal


def invariants(log: Mapping[str, Any], submitted: Collection[str]) -> list[Invariant]:
    """Return every invariant; `log` is the practice API's, `submitted` the jobs that were acknowledged."""
    with transaction.atomic():
        accepted = {str(row["id"]): row for row in log["responses"]}
        return [
            _both_ways(accepted),
            _known_upstream(accepted),
            _one_acceptance(accepted),
            _booked_once(),
            _nothing_lost(submitted),
            _no_hold_left(),
            _usage_is_the_bill(accepted),
            _all_ended(),
            Invariant("The audit is clean", 1, [f"{one.what}: {one.found}" for one in spend.audit()]),
        ]


def charges(log: Mapping[str, Any]) -> list[Charged]:
    """Return what was charged on another basis than usage, each beside its bill."""
    bills = {str(row["id"]): _billed(row) for row in log["responses"]}
    by_usage = LedgerEntry.objects.filter(kind__in=SPENT, basis=Basis.USAGE).values("attempt")
    other = LedgerEntry.objects.filter(kind__in=SPENT).exclude(attempt__in=by_usage)
    rows = other.values_list("attempt", "basis").annotate(total=Sum("amount")).order_by("attempt")
    ids = dict(Attempt.objects.values_list("pk", "response_id"))
    return [Charged(ids[pk], basis, total, bills.get(ids[pk], ZERO)) for pk, basis, total in rows]


def ends() -> dict[str, int]:
    """Return how many jobs are in each status."""
    return dict(Counter(Job.objects.order_by("status").values_list("status", flat=True)))


def is_quiet() -> bool:
    """Tell whether nothing more happens by itself: every job final or a person's, no money in question."""
    moving = Job.objects.exclude(status__in=[*FINAL, *BY_PERSON])
    return not moving.exists() and not _pending().exists()


def _pending() -> Any:
    """Attempts of final jobs that still hold money: their usage is being asked for, or nobody decides."""
    held = Sum("ledgerentry__amount", filter=Q(ledgerentry__kind__in=HELD))
    final = Attempt.objects.filter(job__status__in=[*FINAL, Status.REQUIRES_ACTION])
    return final.annotate(held=held).exclude(held=0)


def _billed(row: Mapping[str, Any]) -> Decimal:
    return Decimal(str(row["bill"]["amount"])) if row["bill"] else ZERO


def _both_ways(accepted: Mapping[str, Mapping[str, Any]]) -> Invariant:
    known = set(Attempt.objects.exclude(response_id="").values_list("response_id", flat=True))
    unsure = Attempt.objects.filter(state=AttemptState.UNCONFIRMED).values_list("nonce", flat=True)
    nonces = {str(nonce) for nonce in unsure}
    lost = [
        one
        for one, row in accepted.items()
        if one not in known and row["metadata"].get("ponder_attempt") not in nonces
    ]
    return Invariant(
        "Every response accepted upstream is known here or carries the nonce of an unconfirmed send",
        len(accepted),
        lost,
    )


def _known_upstream(accepted: Collection[str]) -> Invariant:
    known = list(Attempt.objects.exclude(response_id="").values_list("response_id", flat=True))
    return Invariant(
        "Every response known here was accepted upstream",
        len(known),
        [one for one in known if one not in accepted],
    )


def _one_acceptance(accepted: Mapping[str, Mapping[str, Any]]) -> Invariant:
    sent = Counter(str(row["metadata"].get("ponder_attempt")) for row in accepted.values())
    return Invariant(
        "No send was accepted twice", len(sent), [one for one, times in sent.items() if times > 1]
    )


def _booked_once() -> Invariant:
    rows = LedgerEntry.objects.filter(kind=EntryKind.CHARGE).values("attempt").annotate(times=Count("pk"))
    return Invariant(
        "Nothing is booked twice",
        rows.count(),
        [f"attempt {row['attempt']}: {row['times']} charges" for row in rows.filter(times__gt=1)],
    )


def _nothing_lost(submitted: Collection[str]) -> Invariant:
    found = set(Job.objects.values_list("short_id", flat=True))
    return Invariant(
        "Every job that was acknowledged is there", len(submitted), sorted(set(submitted) - found)
    )


def _no_hold_left() -> Invariant:
    final = Job.objects.filter(status__in=FINAL).count()
    broken = [f"attempt {row.pk} of job {row.job_id} holds {row.held:f}" for row in _pending()]
    return Invariant("No final job holds money", final, broken)


def _usage_is_the_bill(accepted: Mapping[str, Mapping[str, Any]]) -> Invariant:
    spent = Sum("ledgerentry__amount", filter=Q(ledgerentry__kind__in=SPENT))
    by_usage = LedgerEntry.objects.filter(kind__in=SPENT, basis=Basis.USAGE).values("attempt")
    rows = Attempt.objects.filter(pk__in=by_usage).annotate(spent=spent).values_list("response_id", "spent")
    broken = [
        f"{response_id}: charged {spent:f}, billed {_billed(accepted[response_id]):f}"
        for response_id, spent in rows
        if response_id in accepted and spent != _billed(accepted[response_id])
    ]
    return Invariant("Charges of basis usage are the bill, to the last digit", len(rows), broken)


def _all_ended() -> Invariant:
    return Invariant(
        "Every job is final or explained, with a person's word to come", Job.objects.count(), [*_moving()]
    )


def _moving() -> Iterator[str]:
    for job in Job.objects.exclude(status__in=[*FINAL, *BY_PERSON]):
        yield f"{job.short_id} is {job.status}"
    unconfirmed = Job.objects.filter(status=Status.UNCONFIRMED)
    for job in unconfirmed.exclude(attempt__state=AttemptState.UNCONFIRMED, attempt__error_code__gt=""):
        yield f"{job.short_id} is unconfirmed and does not say why"
