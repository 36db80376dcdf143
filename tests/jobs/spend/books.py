"""The books as they should be: money kept in plain Python, to hold what the product keeps against."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from jobs.models import Basis, Scope
from jobs.pricing import BUCKETS, bucket

ZERO = Decimal(0)
TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")

type Key = tuple[object, ...]
type Sums = tuple[object, ...]  # USD, charges, tokens of each kind; then charges by cost, where they are kept
type Whose = tuple[int, int, int | None]  # project, person, token


@dataclass(eq=False)
class Work:
    """A job, and what its money is shared out by."""

    pk: int
    whose: Whose
    is_practice: bool
    model: str
    effort: str
    tags: frozenset[str]


@dataclass(eq=False)
class Send:
    """One send: what is held for it and what it has cost, USD, in the month and on the day of its hold."""

    pk: int
    work: Work
    worst: Decimal
    day: dt.date
    held: Decimal
    state: str = "planned"  # or unconfirmed, known, ended
    cost: Decimal = ZERO
    basis: str = ""  # what the last charge or adjustment rests on; none was booked while it is empty
    is_by_usage: bool = False
    is_counted: bool = False
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOKENS, 0))
    keys: set[str] = field(default_factory=set)  # of bills that were booked for it

    @property
    def month(self) -> dt.date:
        return self.day.replace(day=1)

    def charge(self, cost: Decimal, basis: Basis, tokens: Mapping[str, int]) -> None:
        """Usage is stronger than what stands in for it, and a bill than all but another usage."""
        if self.is_by_usage and basis != Basis.USAGE:
            return
        is_other_usage = basis == Basis.USAGE and dict(tokens) != self.tokens
        if self.basis == Basis.BILL and not is_other_usage:
            return
        if basis == Basis.USAGE:
            self.is_by_usage, self.tokens = True, dict(tokens)
        self.cost, self.basis = cost, basis
        self.is_counted = self.is_counted or basis != Basis.NONE

    def bill(self, cost: Decimal, more: Mapping[str, int], key: str) -> None:
        self.cost, self.basis, self.is_counted = cost, Basis.BILL, True
        self.tokens = {name: self.tokens[name] + more[name] for name in TOKENS}
        self.keys.add(key)


@dataclass(eq=False)
class Cap:
    """A budget with the months it has opened: cap and what was granted in each, USD."""

    pk: int
    scope: Scope
    target: int | None
    cap: Decimal
    is_hard: bool = True
    is_lifted: bool = False
    caps: dict[dt.date, Decimal] = field(default_factory=dict)
    granted: dict[dt.date, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    @property
    def refuses(self) -> bool:
        return self.is_hard and not self.is_lifted

    def counts(self, work: Work) -> bool:
        project, person, token = work.whose
        if self.scope == Scope.PROJECT:
            return self.target == project
        # Nothing of practice is in anyone's totals.
        own = {Scope.WORKSPACE: None, Scope.MEMBER: person, Scope.TOKEN: token or -1}
        return not work.is_practice and self.target == own[self.scope]

    def open(self, month: dt.date) -> None:
        self.caps.setdefault(month, self.cap)

    def room(self, month: dt.date) -> Decimal:
        return self.caps.get(month, self.cap) + self.granted[month]


class Books:
    """All sends and budgets, and every total that they come to."""

    def __init__(self) -> None:
        self.sends: list[Send] = []
        self.caps: list[Cap] = []  # in the order of their ids

    def of(self, work: Work) -> list[Send]:
        return [send for send in self.sends if send.work is work]

    def applying(self, work: Work) -> list[Cap]:
        return [cap for cap in self.caps if cap.counts(work)]

    def moved(self, cap: Cap, month: dt.date) -> tuple[Decimal, Decimal]:
        """Return what is spent and held in a month of what a budget counts."""
        mine = [send for send in self.sends if send.month == month and cap.counts(send.work)]
        return sum((send.cost for send in mine), ZERO), sum((send.held for send in mine), ZERO)

    def left(self, cap: Cap, month: dt.date) -> Decimal:
        return cap.room(month) - sum(self.moved(cap, month))

    def refusing(self, work: Work, worst: Decimal, month: dt.date) -> tuple[Cap, Decimal] | None:
        """Return the first cap without room for a ceiling, and what is missing; None where it fits."""
        for cap in self.applying(work):
            if cap.refuses and worst > self.left(cap, month):
                return cap, worst - self.left(cap, month)
        return None

    def periods(self) -> dict[Key, Sums]:
        """Return cap, granted, spent and held by budget and month."""
        return {
            (cap.pk, month): (cap.caps[month], cap.granted[month], *self.moved(cap, month))
            for cap in self.caps
            for month in cap.caps
        }

    def daily(self) -> dict[Key, Sums]:
        """Return the sums of each day by project, model, effort, person and token."""
        return _summed(
            ((send.day, send.work.whose[0], send.work.model, send.work.effort, *send.work.whose[1:]), send)
            for send in self._booked()
        )

    def monthly(self) -> dict[Key, Sums]:
        """Return the sums of each month and project: by day, by model and effort, by person and token."""
        by_day = (((*_place(send), send.day, None, "", None, None), send) for send in self._booked())
        by_model = (
            ((*_place(send), None, send.work.model, send.work.effort, None, None), send)
            for send in self._booked()
        )
        by_person = (((*_place(send), None, None, "", *send.work.whose[1:]), send) for send in self._booked())
        # Only those by model have charges by cost.
        small = {key: (*sums[:-1], None) for key, sums in _summed([*by_day, *by_person]).items()}
        return small | _summed(by_model)

    def tags(self, *, by_day: bool) -> dict[Key, Sums]:
        """Return USD and charges of each tag, by day, project and person, or by month and project."""
        found = _summed(
            ((send.day, *send.work.whose[:2], tag) if by_day else (*_place(send), tag), send)
            for send in self._booked()
            for tag in send.work.tags
        )
        # A tag that was taken from its last job leaves nothing.
        return {key: sums[:2] for key, sums in found.items()}

    def _booked(self) -> Iterator[Send]:
        return (send for send in self.sends if send.basis)


def _place(send: Send) -> tuple[dt.date, int]:
    return send.month, send.work.whose[0]


def _summed(sends: Iterable[tuple[Key, Send]]) -> dict[Key, Sums]:
    by_key: dict[Key, list[Send]] = defaultdict(list)
    for key, send in sends:
        by_key[key].append(send)
    return {key: _sums(mine) for key, mine in by_key.items()}


def _sums(sends: list[Send]) -> Sums:
    counted = [send for send in sends if send.is_counted]
    buckets = [0] * BUCKETS
    for send in counted:
        buckets[bucket(send.cost)] += 1
    tokens = (sum(send.tokens[name] for send in sends) for name in TOKENS)
    return sum((send.cost for send in sends), ZERO), len(counted), *tokens, buckets
