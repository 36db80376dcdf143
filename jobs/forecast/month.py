"""Says where a month's spend will end, from its days so far: likely, a range, and when a cap is reached."""

import datetime as dt
import math
from calendar import monthrange
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property, lru_cache
from itertools import dropwhile, islice
from statistics import NormalDist

from jobs import clock

ZERO = Decimal(0)
CENT = Decimal("0.01")
WINDOW = dt.timedelta(days=70)  # days that are looked at, with today
ACTIVE = 5  # days with spend among them, below which it is too early to tell
CHECKED_ON = 10  # the day of a month whose forecast is compared with how the month ended

# What follows is the model, chosen on made-up teams (tests/jobs/forecast/teams.py), not fitted to any.
_HALF_LIFE = 21  # days after which a day counts half
_ALIKE = 2.0  # days' worth of the belief that working days are alike, and days of a weekend
_USUAL = 0.5  # days' worth of the belief that a weekend is as any day
_QUIETEST = 0.02  # of an average day, the least that a weekday is taken for
_GROWTH = 0.01  # of the level a day: how fast spend usually grows or shrinks, one standard deviation
_WIDER = 1.3  # variance is seen in few days, of which the dearest have not come yet
_SHIFT = 0.1  # of the rest: what a team changes its ways in a month, one standard deviation
_MOST_ALIKE = 0.6  # correlation of a day with the next that is believed
_ONE_IN_TEN = NormalDist().inv_cdf(0.9)


type _Days = tuple[tuple[int, float], ...]  # weekday and USD


@dataclass(frozen=True, slots=True)
class Ahead:
    """A day to come: its own USD, and the month's until its evening, each with a range of 8 in 10."""

    on: dt.date
    likely: Decimal
    low: Decimal
    high: Decimal
    so_far: Decimal
    so_far_low: Decimal
    so_far_high: Decimal


@dataclass(frozen=True)
class Outlook:
    """How a month will likely end, USD: 8 in 10 end from `low` to `high`; `committed` is spent and held."""

    likely: Decimal
    low: Decimal
    high: Decimal
    committed: Decimal
    today: dt.date
    _sure: float = field(repr=False)  # spent, and what is expected of what is held
    _pace: "_Pace" = field(compare=False, repr=False)
    _gone: float = field(repr=False)

    @cached_property
    def ahead(self) -> tuple[Ahead, ...]:
        """The days to come."""
        found = []
        days = _days_to_come(self._pace, self.today, self._gone)
        for day, rest in islice(days, 1, None):
            own = _Rest(self._pace)
            own.add(day.weekday(), (day - self.today).days)
            figures = (own.mean, *own.range, *(self._sure + part for part in (rest.mean, *rest.range)))
            found.append(Ahead(day, *map(_usd, figures)))
        return tuple(found)

    def reaches(self, room: Decimal) -> dt.date | None:
        """Return the day on which it likely has used up `room` USD of a cap; None if not in this month."""
        if self.committed >= room:
            return self.today
        if self.likely < room:
            return None
        days = _days_to_come(self._pace, self.today, self._gone)
        return next(day for day, rest in days if _usd(self._sure + rest.mean) >= room)


@dataclass(frozen=True, slots=True)
class Kept:
    """What was forecast for a month on its tenth day, and how it ended, USD."""

    month: dt.date
    low: Decimal
    high: Decimal
    ended: Decimal

    @property
    def is_within(self) -> bool:
        return self.low <= self.ended <= self.high


def outlook(
    spent: Mapping[dt.date, Decimal],
    today: dt.date,
    *,
    held: Decimal = ZERO,
    share: Decimal = Decimal(1),
    gone: float = 1.0,
) -> Outlook | None:
    """Return how the month of `today` will likely end; None while it is too early to tell.

    `spent` is USD by day, and a day that is not there cost nothing; of what is `held`, `share` (0 to 1) is
    expected to be charged; `gone` is the part of today that is over.
    """
    first = clock.month_of(today)
    so_far = sum((spent.get(day, ZERO) for day in _each(first, today)), ZERO)
    days = _looked_at(spent, today if gone >= 1 else today - dt.timedelta(days=1))
    if sum(cost > 0 for _, cost in days) < ACTIVE:
        return None
    pace = _pace_of(days)
    sure = float(so_far + held * share)
    *_, (_, rest) = _days_to_come(pace, today, gone)  # the last has all of them
    likely, low, high = (_usd(sure + part) for part in (rest.mean, *rest.range))
    return Outlook(likely, low, high, so_far + held, today, sure, pace, gone)


def kept(spent: Mapping[dt.date, Decimal], months: Iterable[dt.date]) -> list[Kept]:
    """Return what was forecast on the tenth of past months, as far as it could be told, and how they ended.

    It is made anew from what was charged for those days; what was still held then is not known any more.
    """
    ended: dict[dt.date, Decimal] = {}
    for day, cost in spent.items():
        month = clock.month_of(day)
        ended[month] = ended.get(month, ZERO) + cost
    found = []
    for month in months:
        told = outlook(spent, month.replace(day=CHECKED_ON))
        if told is not None:
            found.append(Kept(month, told.low, told.high, ended.get(month, ZERO)))
    return found


def _days_to_come(pace: "_Pace", today: dt.date, gone: float) -> Iterator[tuple[dt.date, "_Rest"]]:
    """Yield today and each day of the month after it, with all that is to come until its evening."""
    rest = _Rest(pace)
    for lead in range(monthrange(today.year, today.month)[1] - today.day + 1):
        day = today + dt.timedelta(days=lead)
        rest.add(day.weekday(), lead, 1.0 if lead else max(1 - gone, 0.0))
        yield day, rest


def _looked_at(spent: Mapping[dt.date, Decimal], last: dt.date) -> "_Days":
    """Return weekday and USD of each day until the last, from the first on that cost something."""
    window = last - WINDOW
    known = [(day.weekday(), float(spent.get(day, ZERO))) for day in _each(window, last)]
    if any(cost > 0 and day < window for day, cost in spent.items()):
        return tuple(known)
    return tuple(dropwhile(lambda day: day[1] <= 0, known))


def _each(first: dt.date, last: dt.date) -> Iterable[dt.date]:
    """Yield the days from one to another by their numbers: a page looks at two thousand."""
    return map(dt.date.fromordinal, range(first.toordinal(), last.toordinal() + 1))


@lru_cache(250)
def _pace_of(days: "_Days") -> "_Pace":
    """Days until yesterday hardly change, and a page asks for those of every project and of past months."""
    return _Pace(days)


class _Pace:
    """A run rate with weekdays and growth, found by weighted least squares, and how sure it is.

    Each day is its weekday's part of a level that grows by the same USD a day; that growth is small is
    believed before any day is seen. A quiet weekday varies less than a busy one.
    """

    def __init__(self, days: Sequence[tuple[int, float]]) -> None:
        size = len(days)
        weights = [math.exp2((at + 1 - size) / _HALF_LIFE) for at in range(size)]
        total = sum(weights)
        level = sum(weight * usd for weight, (_, usd) in zip(weights, days, strict=True)) / total
        self.parts = _weekdays(days, weights, level)
        # The sums of the least squares, with days counted back from the last.
        s0 = s1 = s2 = t0 = t1 = 0.0
        for at, ((weekday, usd), weight) in enumerate(zip(days, weights, strict=True), 1 - size):
            part = self.parts[weekday]
            s0 += weight * part
            s1 += weight * part * at
            s2 += weight * part * at * at
            t0 += weight * usd
            t1 += weight * usd * at
        self.variance = (level * _USUAL) ** 2
        # What is believed of growth counts against the variance, which is known once growth is.
        for _ in range(3):
            believed = s2 + self.variance / (_GROWTH * level) ** 2
            scale = s0 * believed - s1 * s1
            self.level = (believed * t0 - s1 * t1) / scale
            self.growth = (s0 * t1 - s1 * t0) / scale
            off = [
                (usd - self.usual(weekday, at)) / math.sqrt(self.parts[weekday])
                for at, (weekday, usd) in enumerate(days, 1 - size)
            ]
            seen = sum(weight * one * one for weight, one in zip(weights, off, strict=True)) / total
            self.variance = seen * size / max(size - 3, 1)
        self.doubt = (believed / scale, -s1 / scale, s0 / scale)
        following = sum(
            weight * one * before for weight, one, before in zip(weights[1:], off[1:], off[:-1], strict=True)
        )
        alike = min(max(following / (seen * total), 0.0), _MOST_ALIKE) if seen else 0.0
        self.variance *= _WIDER * (1 + alike) / (1 - alike)

    def usual(self, weekday: int, lead: int) -> float:
        """Return the USD expected of a day so many days after the last one that is known."""
        return self.parts[weekday] * (self.level + self.growth * lead)


class _Rest:
    """Days to come together."""

    def __init__(self, pace: _Pace) -> None:
        self._pace = pace
        self.mean = self._level = self._growth = self._noise = 0.0

    def add(self, weekday: int, lead: int, part: float = 1.0) -> None:
        """Add a part of a day."""
        size = part * self._pace.parts[weekday]
        self.mean += max(part * self._pace.usual(weekday, lead), 0.0)
        self._level += size
        self._growth += size * lead
        self._noise += size

    @property
    def range(self) -> tuple[float, float]:
        """From what one in ten costs less than to what one in ten costs more than: of a log-normal."""
        if self.mean <= 0:
            return self.mean, self.mean
        level, both, growth = self._pace.doubt
        doubt = level * self._level**2 + 2 * both * self._level * self._growth + growth * self._growth**2
        relative = self._pace.variance * (self._noise + doubt) / self.mean**2 + _SHIFT**2
        width = math.sqrt(math.log1p(relative))
        middle = self.mean * math.exp(-(width**2) / 2)
        return middle * math.exp(-_ONE_IN_TEN * width), middle * math.exp(_ONE_IN_TEN * width)


def _weekdays(days: Sequence[tuple[int, float]], weights: Sequence[float], level: float) -> list[float]:
    """Return what part of the level each weekday is, near to that of its kind while few were seen."""
    seen, usd = [0.0] * 7, [0.0] * 7
    for (weekday, cost), weight in zip(days, weights, strict=True):
        seen[weekday] += weight
        usd[weekday] += weight * cost
    found = [0.0] * 7
    for kind in (range(5), range(5, 7)):
        alike = (sum(usd[day] for day in kind) + _USUAL * level) / (sum(seen[day] for day in kind) + _USUAL)
        for day in kind:
            found[day] = max((usd[day] + _ALIKE * alike) / (seen[day] + _ALIKE) / level, _QUIETEST)
    return found


def _usd(amount: float) -> Decimal:
    return Decimal(amount).quantize(CENT)
