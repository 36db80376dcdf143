"""Reads what is booked here for the sends of an account, by day of their end in UTC."""

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.contrib.postgres.aggregates import BoolOr
from django.db.models import OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from jobs import pricing
from jobs.models import DECLARED, Attempt, AttemptState, Basis, EntryKind, LedgerEntry
from jobs.pricing import Usage
from jobs.reconcile.accounts import Part
from jobs.reconcile.matching import Send, Standing, Sums, Tokens

ZERO = Decimal(0)
_SPENT = Q(ledgerentry__kind__in=[EntryKind.CHARGE, EntryKind.ADJUST])
_HELD = Q(ledgerentry__kind__in=[EntryKind.HOLD, EntryKind.RELEASE])


@dataclass(slots=True)
class Ours:
    """What is booked for one model in one part of an account."""

    booked: dict[dt.date, Sums] = field(default_factory=dict)
    silent: list[Send] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Span:
    """Days in UTC, both included, and by how much the days here are shifted (`PONDER_TODAY`)."""

    since: dt.date
    until: dt.date
    shift: dt.timedelta = dt.timedelta(0)

    def moments(self) -> tuple[dt.datetime, dt.datetime]:
        """Return the first moment of it and the first one after it, by the database's clock."""
        first, after = self.since, self.until + dt.timedelta(days=1)
        begin, end = (dt.datetime.combine(day, dt.time(), dt.UTC) for day in (first, after))
        return begin - self.shift, end - self.shift


def read(part: Part, span: Span) -> tuple[dict[str, Ours], Decimal]:
    """Return what is booked in a part of an account by model, and for calls of tools, USD."""
    found: dict[str, Ours] = defaultdict(Ours)
    fees = ZERO
    for row in _rows(_ended(part, span)).iterator(chunk_size=2_000):
        send = _send(row, span.shift)
        if send is None:
            continue
        ours = found[row["job__model"]]
        if send.standing != Standing.USED:
            ours.silent.append(send)
        elif send.ended_on is not None:
            fees += send.fee
            before = ours.booked.get(send.ended_on, Sums())
            ours.booked[send.ended_on] = Sums(
                before.cost + send.cost, before.tokens.plus(send.tokens), before.sends + 1
            )
    for row in _rows(_open(part, span)):
        if send := _send(row, span.shift):
            found[row["job__model"]].silent.append(send)
    return dict(found), fees


def sends_on(part: Part, model: str, day: dt.date, shift: dt.timedelta) -> list[Send]:
    """Return the sends of a model that ended on a day and whose usage is known, without fees of tools."""
    rows = _rows(_ended(part, Span(day, day, shift)).filter(job__model=model))
    sends = [_send(row, shift) for row in rows]
    return [send for send in sends if send is not None and send.standing == Standing.USED]


def _ended(part: Part, span: Span) -> QuerySet[Attempt]:
    begin, end = span.moments()
    seen = Q(end_seen_at__gte=begin, end_seen_at__lt=end)
    unseen = Q(end_seen_at=None, ended_at__gte=begin, ended_at__lt=end)
    return Attempt.objects.filter(seen | unseen, connection__in=part.ids, sent_at__isnull=False)


def _open(part: Part, span: Span) -> QuerySet[Attempt]:
    """Those that may be billed though no end of theirs is known."""
    states = [AttemptState.SENDING, AttemptState.KNOWN, AttemptState.UNCONFIRMED]
    _, end = span.moments()
    return Attempt.objects.filter(
        connection__in=part.ids, state__in=states, end_seen_at=None, sent_at__isnull=False, sent_at__lt=end
    )


def _rows(attempts: QuerySet[Attempt]) -> "QuerySet[Attempt, dict[str, Any]]":
    total = {
        name: Coalesce(Sum(f"ledgerentry__{name}", filter=_SPENT), 0)
        for name in ("input_tokens", "cached_tokens", "output_tokens")
    }
    # What any send of the job was counted to: an answer that was lost took its own count with it.
    counted = Attempt.objects.filter(job=OuterRef("job"), input_tokens__isnull=False).order_by("-number")
    booked = attempts.order_by().annotate(
        counted=Subquery(counted.values("input_tokens")[:1]),
        used_input=total["input_tokens"],
        used_cached=total["cached_tokens"],
        used_output=total["output_tokens"],
        spent=Coalesce(Sum("ledgerentry__amount", filter=_SPENT), ZERO),
        held=Coalesce(Sum("ledgerentry__amount", filter=_HELD), ZERO),
        is_used=BoolOr(Q(ledgerentry__basis=Basis.USAGE), default=False),
        is_bound=BoolOr(Q(ledgerentry__basis=Basis.BOUND), default=False),
        is_estimated=BoolOr(Q(ledgerentry__basis=Basis.ESTIMATE), default=False),
        is_charged=BoolOr(_SPENT, default=False),
    )
    found: QuerySet[Attempt, dict[str, Any]] = booked.values(
        *(
            "pk",
            "job__model",
            "job__max_tool_calls",
            "state",
            "error_code",
            "sent_at",
            "end_seen_at",
            "ended_at",
        ),
        *("worst_case", "counted", "used_input", "used_cached", "used_output", "spent", "held"),
        *("is_used", "is_bound", "is_estimated", "is_charged"),
    )
    return found


def _send(row: dict[str, Any], shift: dt.timedelta) -> Send | None:
    """Return a row as a send; None for one that was surely never accepted."""
    if row["state"] == AttemptState.ENDED and not row["is_charged"] and row["error_code"] not in DECLARED:
        return None
    fee = _fee(row)
    ended_at = row["end_seen_at"] or row["ended_at"]
    tokens = Tokens(row["used_input"] - row["used_cached"], row["used_cached"], row["used_output"])
    return Send(
        pk=row["pk"],
        sent_on=(row["sent_at"] + shift).astimezone(dt.UTC).date(),
        ended_at=(ended_at + shift).astimezone(dt.UTC) if ended_at else None,
        standing=_standing(row, tokens),
        cost=row["spent"] - fee,
        fee=fee,
        tokens=tokens,
        ceiling=row["worst_case"],
        known_input=row["counted"] or 0,
        is_open=row["held"] != ZERO,
    )


def _standing(row: dict[str, Any], tokens: Tokens) -> Standing:
    if row["is_used"] or any(tokens):
        return Standing.USED
    if row["is_estimated"]:
        return Standing.ESTIMATED
    if row["is_bound"]:
        return Standing.BOUND
    if row["is_charged"]:
        return Standing.FREE
    return Standing.RUNNING if row["state"] == AttemptState.KNOWN else Standing.UNHEARD


def _fee(row: dict[str, Any]) -> Decimal:
    """Return what calls of tools are part of a charge, USD: what is beyond the price of its tokens."""
    if not row["job__max_tool_calls"]:
        return ZERO
    charges = LedgerEntry.objects.filter(attempt=row["pk"], basis=Basis.USAGE, price__isnull=False)
    rows = list(charges.select_related("price", "attempt__job").order_by("pk"))
    usage = Usage.reported(rows[-1].attempt.usage) if rows and rows[-1].attempt else None
    if usage is None:
        return ZERO
    last = rows[-1]
    attempt, price = last.attempt, last.price
    assert attempt is not None
    assert price is not None
    tokens = pricing.charge(
        price.rates, usage, service_tier=attempt.service_tier or None, window=attempt.job.window
    ).total
    return max(sum((row.amount for row in rows), ZERO) - tokens, ZERO)
