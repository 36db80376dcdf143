"""Finds out why a bill and our charges differ: tokens day by day first, then what they cost. Knows no rows.

What is booked and what is billed of one model in one part of an account are compared by days in UTC. Every
dollar of both sides lands in exactly one difference (or in what agrees), so that the differences always add
up to the whole, and what has no cause is seen as such.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import Enum
from functools import reduce
from itertools import accumulate, combinations, pairwise
from typing import NamedTuple

from jobs.models import Cause
from jobs.pricing import quantise

ZERO = Decimal(0)
LAG = 3  # days within which a bill is complete, or a response is billed that ended
_EVER = dt.datetime.min.replace(tzinfo=dt.UTC)
_NOISE = Decimal("1E-9")  # what a float on the wire adds to a line, USD


class Tokens(NamedTuple):
    """Input that was not read from the cache, input that was, and output."""

    input: int = 0
    cached: int = 0
    output: int = 0

    def plus(self, other: "Tokens", times: int = 1) -> "Tokens":
        return Tokens(*(a + times * b for a, b in zip(self, other, strict=True)))

    def covers(self, other: "Tokens") -> bool:
        return all(a >= b for a, b in zip(self, other, strict=True))

    @property
    def folded(self) -> "Tokens":
        """All input as one kind."""
        return Tokens(self.input + self.cached, 0, self.output)

    @property
    def surplus(self) -> "Tokens":
        return Tokens(*(max(count, 0) for count in self))

    @property
    def deficit(self) -> "Tokens":
        return Tokens(*(max(-count, 0) for count in self))


NO_TOKENS = Tokens()


class Standing(Enum):
    """What we know of what a send used; those without usage in the order in which they explain a bill."""

    USED = "used"
    ESTIMATED = "estimate"
    BOUND = "bound"
    UNHEARD = "unheard"  # sent perhaps, and nobody has seen a response
    FREE = "none"
    RUNNING = "running"


_CAUSES = {
    Standing.ESTIMATED: Cause.NO_USAGE,
    Standing.BOUND: Cause.NO_USAGE,
    Standing.FREE: Cause.NO_USAGE,
    Standing.UNHEARD: Cause.TWIN,
    Standing.RUNNING: Cause.LATE,
}


_ORDER = {standing: place for place, standing in enumerate(Standing)}
_MOST_TRIED = 12  # sends of which every combination is looked at: 4,096


@dataclass(frozen=True, slots=True)
class Send:
    """One attempt as booked here: USD of its tokens and of calls of tools, and from when it can be billed."""

    pk: int
    sent_on: dt.date
    ended_at: dt.datetime | None
    standing: Standing
    cost: Decimal
    tokens: Tokens = NO_TOKENS
    fee: Decimal = ZERO
    ceiling: Decimal = ZERO
    known_input: int = 0  # input tokens counted before it was sent; 0 where nobody did
    is_open: bool = False  # it holds money still, so nothing can be booked for it

    @property
    def ended_on(self) -> dt.date | None:
        return self.ended_at.date() if self.ended_at else None


@dataclass(slots=True)
class Billed:
    """One model's lines of a day: tokens and USD by kind, and how finely amounts are given."""

    tokens: Tokens = NO_TOKENS
    amounts: list[Decimal] = field(default_factory=lambda: [ZERO, ZERO, ZERO])
    tolerance: Decimal = ZERO
    is_counted: bool = True  # whether every line says its tokens

    def add(self, kind: int, quantity: int | None, amount: Decimal, places: int) -> None:
        """Add a line; half of its last place is rounding."""
        counts = list(self.tokens)
        counts[kind] += quantity or 0
        self.tokens = Tokens(*counts)
        self.is_counted = self.is_counted and quantity is not None
        self.amounts[kind] += amount
        self.tolerance += max(Decimal(5).scaleb(-places - 1), _NOISE)

    @property
    def amount(self) -> Decimal:
        return sum(self.amounts, ZERO)


@dataclass(frozen=True, slots=True)
class Sums:
    """What is booked on a day for the sends of a model whose usage is known."""

    cost: Decimal = ZERO
    tokens: Tokens = NO_TOKENS
    sends: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """One send that a difference is about, what its tokens should cost (USD, None if that is open), and those
    of its tokens that are not booked.
    """

    send: Send
    should_be: Decimal | None = None
    tokens: Tokens = NO_TOKENS


@dataclass(frozen=True, slots=True)
class Difference:
    """What was billed and what is booked for one cause, USD; `day` is None where days are added up."""

    cause: Cause
    day: dt.date | None
    billed: Decimal
    booked: Decimal
    jobs: int = 0
    parts: Sequence[Part] = ()
    note: str = ""


@dataclass(slots=True)
class Books:
    """Both sides of one model: the bill by day, what is booked by day, and the sends that tell no usage.

    `sends_on` reads the sends of a day whose usage is known; it is asked only for days that differ. `rates`
    are USD a token by kind, for kinds that the bill of a day does not have.
    """

    bill: Mapping[dt.date, Billed]
    booked: Mapping[dt.date, Sums]
    silent: Sequence[Send]
    sends_on: Callable[[dt.date], Sequence[Send]]
    rates: tuple[Decimal, Decimal, Decimal]
    is_ours: bool  # whether anything of this model was ever sent there from here


@dataclass(slots=True)
class _Day:
    """A day as it stands while sends are moved to the day on which they were billed."""

    billed: Billed
    tokens: Tokens
    cost: Decimal
    sends: int
    moved_in: list[Send] = field(default_factory=list)
    moved_out: set[int] = field(default_factory=set)

    @property
    def open(self) -> Tokens:
        """Tokens billed beyond what is booked."""
        return self.billed.tokens.plus(self.tokens, -1)

    def take(self, send: Send, times: int) -> None:
        self.tokens = self.tokens.plus(send.tokens, times)
        self.cost += times * send.cost
        self.sends += times


def compare(books: Books, *, since: dt.date, today: dt.date) -> list[Difference]:
    """Return what agrees and what differs from the day `since` on; earlier days only help to explain it."""
    if not books.is_ours:
        return _outside(books, since)
    if not any(billed.tokens.cached for billed in books.bill.values()):
        books = _without_cached(books)
    found: list[Difference] = []
    days = {day: _day(books, day) for day in sorted(books.bill.keys() | books.booked.keys())}
    found += _late(books, days, today)
    silent = [send for send in books.silent if send.standing != Standing.USED]
    given: set[int] = set()
    for day in sorted(days):
        found += _of_day(books, day, days[day], silent, given)
    found += _unbilled([send for send in silent if send.pk not in given], today)
    return _added_up([one for one in found if one.day is None or one.day >= since])


def by_amount(
    day: dt.date | None, billed: Decimal, booked: Decimal, tolerance: Decimal, jobs: int = 0
) -> Difference:
    """Compare USD alone, where a bill does not say how many tokens they are for."""
    if billed == booked:
        return Difference(Cause.MATCHED, day, billed, booked, jobs)
    if abs(billed - booked) <= tolerance:
        return Difference(Cause.ROUNDING, day, billed, booked, jobs)
    note = "The bill does not say for how many tokens."
    return Difference(Cause.UNEXPLAINED, day, billed, booked, jobs, note=note)


def _outside(books: Books, since: dt.date) -> list[Difference]:
    days = [day for day in books.bill if day >= since]
    billed = sum((books.bill[day].amount for day in days), ZERO)
    if not billed:
        return []
    first, last = min(days), max(days)
    when = f"on {first:%-d %b}" if first == last else f"from {first:%-d %b} to {last:%-d %b}"
    return [
        Difference(
            Cause.OUTSIDE, None, quantise(billed), ZERO, note=f"Billed {when}; nothing was sent from here."
        )
    ]


def _day(books: Books, day: dt.date) -> _Day:
    billed, booked = books.bill.get(day, Billed()), books.booked.get(day, Sums())
    return _Day(billed, booked.tokens, booked.cost, booked.sends)


def _without_cached(books: Books) -> Books:
    """Return books for a bill that does not tell what was cached: it has it among the input."""
    return replace(
        books,
        booked={day: replace(sums, tokens=sums.tokens.folded) for day, sums in books.booked.items()},
        sends_on=lambda day: [replace(send, tokens=send.tokens.folded) for send in books.sends_on(day)],
    )


def _late(books: Books, days: dict[dt.date, _Day], today: dt.date) -> list[Difference]:
    """Move sends whose tokens a day lacks to the day that has them, or out of what can be billed yet."""
    found: dict[tuple[dt.date, dt.date | None], list[Send]] = defaultdict(list)
    for day in sorted(days):
        here = days[day]
        if not any(here.open.deficit) or not here.billed.is_counted:
            continue
        for send in _missing(books.sends_on(day), here.open.deficit):
            there = _where_billed(send, day, days)
            if there is None and day < today - dt.timedelta(days=LAG):
                continue
            here.take(send, -1)
            here.moved_out.add(send.pk)
            if there is not None:
                days[there].take(send, 1)
                days[there].moved_in.append(send)
            found[day, there].append(send)
    return [_moved(sends, day, there) for (day, there), sends in found.items()]


def _missing(sends: Iterable[Send], deficit: Tokens) -> list[Send]:
    """Return the sends of a day that its bill lacks: those that make up the lack, else all that fit it."""
    fit = [send for send in sends if any(send.tokens) and deficit.covers(send.tokens)]
    # Those that ended last are the likeliest to count on the next day.
    fit.sort(key=lambda one: one.ended_at or _EVER, reverse=True)
    for size, tokens in enumerate(accumulate((send.tokens for send in fit), Tokens.plus), 1):
        if tokens == deficit:
            return fit[:size]
    for size in range(1, len(fit) if len(fit) <= _MOST_TRIED else 1):
        for some in combinations(fit, size):
            if reduce(Tokens.plus, (send.tokens for send in some)) == deficit:
                return list(some)
    found, left = [], deficit
    for send in fit:
        if left.covers(send.tokens):
            found.append(send)
            left = left.plus(send.tokens, -1)
    return found


def _where_billed(send: Send, day: dt.date, days: Mapping[dt.date, _Day]) -> dt.date | None:
    last = (send.ended_on or day) + dt.timedelta(days=LAG)
    fits = [other for other in days if send.sent_on <= other <= last and other != day]
    near = sorted(fits, key=lambda other: (abs(other - day), other))
    return next((other for other in near if days[other].open.surplus.covers(send.tokens)), None)


def _moved(sends: Sequence[Send], day: dt.date, there: dt.date | None) -> Difference:
    cost = sum((send.cost for send in sends), ZERO)
    parts = tuple(Part(send) for send in sends)
    if there is None:
        return Difference(Cause.LATE, day, ZERO, cost, len(sends), parts, "Not billed yet.")
    note = f"Ended on {day:%-d %b}, billed on {there:%-d %b}."
    return Difference(Cause.LATE, there, cost, cost, len(sends), parts, note)


def _of_day(
    books: Books, day: dt.date, here: _Day, silent: Sequence[Send], given: set[int]
) -> list[Difference]:
    """Split what a day was billed: its surplus of tokens, its lack of them, and the price of the rest."""
    if not here.billed.is_counted:
        return [by_amount(day, quantise(here.billed.amount), here.cost, here.billed.tolerance, here.sends)]
    rates = [
        here.billed.amounts[kind] / count if (count := here.billed.tokens[kind]) else books.rates[kind]
        for kind in range(3)
    ]
    surplus, deficit = here.open.surplus, here.open.deficit
    more = quantise(_value(surplus, rates))
    less = min(quantise(_value(deficit, rates)), here.cost) if here.billed.amount else here.cost
    found = list(_given(more, surplus, silent, given, day))
    rest = more - sum((one.billed for one in found), ZERO)
    if rest > here.billed.tolerance:
        note = f"{_counted(surplus)} more were billed than any job here can have used."
        found.append(Difference(Cause.UNEXPLAINED, day, rest, ZERO, note=note))
        rest = ZERO
    if less:
        note = f"{_counted(deficit)} that are booked were not billed."
        found.append(Difference(Cause.UNEXPLAINED, day, ZERO, less, note=note))
    moved = sum((send.cost for send in here.moved_in), ZERO)  # named as late already
    billed = quantise(here.billed.amount) - more + rest - moved
    booked = here.cost - less - moved
    found.append(_at_price(books, day, here, billed, booked))
    return found


def _at_price(books: Books, day: dt.date, here: _Day, billed: Decimal, booked: Decimal) -> Difference:
    """Say whether tokens that agree cost what they should."""
    jobs = here.sends - len(here.moved_in) if here.billed.amount else 0
    if billed == booked:
        return Difference(Cause.MATCHED, day, billed, booked, jobs)
    if abs(billed - booked) <= here.billed.tolerance:
        return Difference(Cause.ROUNDING, day, billed, booked, jobs)
    sends = [send for send in books.sends_on(day) if send.pk not in here.moved_out] + here.moved_in
    total = sum((send.cost for send in sends), ZERO)
    if not total:
        return Difference(Cause.UNEXPLAINED, day, billed, booked, jobs, note="Nothing is booked for it.")
    factor = (total + billed - booked) / total
    shares = _shares(total + billed - booked, [send.cost for send in sends])
    parts = tuple(Part(send, share) for send, share in zip(sends, shares, strict=True))
    note = f"The same tokens cost {factor:.4g} times what the price row here says."
    return Difference(Cause.PRICE, day, billed, booked, len(sends), parts, note)


def _given(
    more: Decimal, surplus: Tokens, silent: Sequence[Send], given: set[int], day: dt.date
) -> Iterable[Difference]:
    """Give tokens nobody has booked to the sends that can have used them, each at most its ceiling."""
    able = [send for send in silent if send.pk not in given and _can_be_of(send, day) and send.ceiling]
    likeliest = _likeliest(able, surplus, more) if more else []
    if not likeliest:
        return
    given |= {send.pk for send in likeliest}
    ceilings = [send.ceiling for send in likeliest]
    taken = min(more, sum(ceilings, ZERO))
    tokens = Tokens(*(int(count * taken / more) for count in surplus))
    counts = zip(*(_whole_shares(count, ceilings) for count in tokens), strict=True)
    parts = [
        Part(send, None if send.is_open or send.standing == Standing.RUNNING else amount, Tokens(*count))
        for send, amount, count in zip(likeliest, _shares(taken, ceilings), counts, strict=True)
    ]
    shares = dict(zip((send.pk for send in likeliest), _shares(taken, ceilings), strict=True))
    for cause in dict.fromkeys(_CAUSES[send.standing] for send in likeliest):
        mine = [part for part in parts if _CAUSES[part.send.standing] == cause]
        billed = sum((shares[part.send.pk] for part in mine), ZERO)
        booked = sum((part.send.cost for part in mine), ZERO)
        if billed != booked:
            yield Difference(cause, day, billed, booked, len(mine), tuple(mine), _note(cause, mine))
        else:
            yield Difference(Cause.MATCHED, day, billed, booked, len(mine))


def _likeliest(able: Sequence[Send], surplus: Tokens, more: Decimal) -> list[Send]:
    """Return the sends that fit a surplus best: those whose inputs make it up, else the likelier kinds."""
    read = surplus.input + surplus.cached
    ranked = sorted(able, key=lambda send: (_ORDER[send.standing], send.pk))
    if read and len(ranked) <= _MOST_TRIED:
        known = [send for send in ranked if send.known_input]
        for size in range(1, len(known) + 1):
            for some in combinations(known, size):
                if sum(send.known_input for send in some) == read and _room(some) >= more:
                    return list(some)
    found: list[Send] = []
    for standing in Standing:
        if _room(found) >= more:
            break
        found += [send for send in ranked if send.standing == standing]
    return found


def _room(sends: Iterable[Send]) -> Decimal:
    return sum((send.ceiling for send in sends), ZERO)


def _can_be_of(send: Send, day: dt.date) -> bool:
    last = send.ended_on + dt.timedelta(days=LAG) if send.ended_on else day
    return send.sent_on <= day <= last


def _note(cause: Cause, parts: Sequence[Part]) -> str:
    tokens = Tokens()
    for part in parts:
        tokens = tokens.plus(part.tokens)
    if cause == Cause.LATE:
        return f"{_counted(tokens)} were billed of what has not been read here yet."
    said = f"{_counted(tokens)} were billed that no response here has told of."
    if any(part.should_be is None for part in parts):
        return f"{said} Decide about the unconfirmed send first."
    return said


def _unbilled(sends: Iterable[Send], today: dt.date) -> Iterable[Difference]:
    """What was booked without usage and not billed: late at first, too much from then on."""
    for send in sends:
        day = send.ended_on
        if not send.cost or day is None:
            continue
        if day >= today - dt.timedelta(days=LAG):
            yield Difference(Cause.LATE, day, ZERO, send.cost, 1, (Part(send),), "Not billed yet.")
        else:
            note = "Nothing was billed for what is booked without usage."
            yield Difference(Cause.NO_USAGE, day, ZERO, send.cost, 1, (Part(send, ZERO),), note)


def _added_up(found: Sequence[Difference]) -> list[Difference]:
    """Add up over days what needs nobody's look."""
    kept = [one for one in found if one.cause not in (Cause.MATCHED, Cause.ROUNDING)]
    for cause in (Cause.MATCHED, Cause.ROUNDING):
        alike = [one for one in found if one.cause == cause]
        billed, booked = (sum((getattr(one, side) for one in alike), ZERO) for side in ("billed", "booked"))
        jobs = sum(one.jobs for one in alike)
        if billed or booked or jobs:
            kept.append(Difference(cause, None, billed, booked, jobs))
    return kept


def _value(tokens: Tokens, rates: Sequence[Decimal]) -> Decimal:
    return sum((count * rate for count, rate in zip(tokens, rates, strict=True)), ZERO)


def _shares(amount: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """Split USD by weights; the shares add up to the last digit."""
    total, running, edges = sum(weights, ZERO), ZERO, [ZERO]
    for weight in weights:
        running += weight
        edges.append(quantise(amount * running / total))
    return [after - before for before, after in pairwise(edges)]


def _whole_shares(count: int, weights: Sequence[Decimal]) -> list[int]:
    total, running, edges = sum(weights, ZERO), ZERO, [0]
    for weight in weights:
        running += weight
        edges.append(int(count * running / total))
    return [after - before for before, after in pairwise(edges)]


def _counted(tokens: Tokens) -> str:
    return f"{tokens.input + tokens.cached:,} input and {tokens.output:,} output tokens"
