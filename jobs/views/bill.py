"""Reads a job's ledger rows as a bill: what is held, what was charged for what, and on what that rests."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from jobs import pricing
from jobs.models import Attempt, Basis, EntryKind, Job, LedgerEntry, Price
from jobs.models.catalogue import SOONEST
from jobs.pricing import Part, Usage

ZERO = Decimal(0)
HUNDRED = Decimal(100)
# The model palette: one hue, deepest for what costs most.
SHADES = {"reasoning": 3, "answer": 2}

BASIS_WORDS = {
    Basis.BOUND: "The ceiling was booked, because the usage is not known.",
    Basis.ESTIMATE: "An estimate: the time it ran at the model’s usual speed, because no usage was reported.",
    Basis.BILL: "What OpenAI’s bill says, booked by hand after a reconciliation.",
    Basis.NONE: "Nothing was charged, because no usage was reported.",
}


@dataclass(frozen=True, slots=True)
class Share:
    """One part of a charge, with its place in a bar of 100 units."""

    part: Part
    shade: int
    start: Decimal
    width: Decimal


@dataclass(frozen=True, slots=True)
class Charged:
    """What one attempt was charged, USD; the shares and `rest` add up to `amount`.

    `rest` is what was adjusted by hand, and the fees of tools whose calls are not known any more. `saved` is
    what it cost less because its answer could wait.
    """

    attempt: Attempt
    amount: Decimal
    hold: Decimal
    basis: str
    reason: str
    price: Price | None
    shares: Sequence[Share]
    rest: Decimal
    saved: Decimal = ZERO

    @property
    def basis_words(self) -> str:
        """Say on what the charge rests, '' when that is the response's usage."""
        return BASIS_WORDS.get(Basis(self.basis), "") if self.basis else ""

    @property
    def is_overrun(self) -> bool:
        return self.amount > self.hold


@dataclass(frozen=True, slots=True)
class Bill:
    """A job's money, USD."""

    charged: Decimal
    held: Decimal
    lines: Sequence[Charged]

    @property
    def most(self) -> Decimal:
        """What the attempts made so far can come to."""
        return self.charged + self.held

    @property
    def last(self) -> Charged | None:
        return self.lines[-1] if self.lines else None


def held_by(rows: Iterable[LedgerEntry], attempt: Attempt) -> Decimal:
    """Return what is still held for an attempt, USD."""
    return _total(rows, attempt, EntryKind.HOLD, EntryKind.RELEASE)


def bill_of(
    job: Job,
    attempts: Iterable[Attempt],
    rows: Sequence[LedgerEntry],
    bodies: Mapping[int, Mapping[str, Any]] | None = None,
) -> Bill:
    """Make the bill of a job from its attempts and all its ledger rows, oldest first.

    `bodies` are the raw responses by attempt, which say what tools were called; without them the fees of
    tools are not named.
    """
    lines = [
        line
        for attempt in attempts
        if (line := _charged(job, attempt, rows, (bodies or {}).get(attempt.pk, {}))) is not None
    ]
    held = sum((row.amount for row in rows if row.kind in (EntryKind.HOLD, EntryKind.RELEASE)), ZERO)
    charged = sum((row.amount for row in rows if row.kind in (EntryKind.CHARGE, EntryKind.ADJUST)), ZERO)
    return Bill(charged=charged, held=held, lines=lines)


def _charged(
    job: Job, attempt: Attempt, rows: Sequence[LedgerEntry], body: Mapping[str, Any]
) -> Charged | None:
    spent = [
        row
        for row in rows
        if row.attempt_id == attempt.pk and row.kind in (EntryKind.CHARGE, EntryKind.ADJUST)
    ]
    if not spent:
        return None
    amount = sum((row.amount for row in spent), ZERO)
    last = spent[-1]
    shares = _shares(job, attempt, last, body)
    return Charged(
        attempt=attempt,
        amount=amount,
        hold=_total(rows, attempt, EntryKind.HOLD),
        basis=last.basis,
        reason=last.reason,
        price=last.price,
        shares=shares,
        rest=amount - sum((share.part.amount for share in shares), ZERO) if shares else ZERO,
        saved=_saved(job, attempt, last),
    )


def _saved(job: Job, attempt: Attempt, row: LedgerEntry) -> Decimal:
    """Return what a charge that rests on usage would have cost more as soon as possible, USD."""
    usage = Usage.reported(attempt.usage) if job.window != SOONEST and row.basis == Basis.USAGE else None
    if usage is None or row.price is None:
        return ZERO
    at_once, waited = (
        pricing.charge(row.price.rates, usage, service_tier=attempt.service_tier or None, window=window).total
        for window in (SOONEST, job.window)
    )
    return at_once - waited


def _shares(job: Job, attempt: Attempt, row: LedgerEntry, body: Mapping[str, Any]) -> list[Share]:
    """Split a charge that rests on usage by the price row it rests on."""
    usage = Usage.from_wire({**body, "usage": attempt.usage}) if attempt.usage else None
    if row.basis != Basis.USAGE or row.price is None or usage is None:
        return []
    charge = pricing.charge(
        row.price.rates, usage, service_tier=attempt.service_tier or None, window=job.window
    )
    # Dearest first, so that the bar reads from the left.
    parts = sorted(charge.parts, key=lambda part: part.amount, reverse=True)
    shares, start = [], ZERO
    for part in parts:
        width = part.amount * HUNDRED / charge.total if charge.total else ZERO
        shares.append(Share(part, SHADES.get(part.label, 1), start, width))
        start += width
    return shares


def _total(rows: Iterable[LedgerEntry], attempt: Attempt, *kinds: EntryKind) -> Decimal:
    return sum((row.amount for row in rows if row.attempt_id == attempt.pk and row.kind in kinds), ZERO)
