"""Makes up what teams spend day by day: weekdays, growth, and four kinds of chance."""

import datetime as dt
import math
import random
from collections.abc import Callable
from decimal import Decimal

FIRST = dt.date(2026, 1, 1)
DAYS = 181  # six whole months
MONTHS = [dt.date(2026, month, 1) for month in range(1, 7)]


def a_team(draw: random.Random, chance: str = "spread") -> dict[dt.date, Decimal]:
    """Return USD by day of half a year: 1 to 150 a working day, -10 to +40 % a month, quiet weekends."""
    level, growth = math.exp(draw.uniform(0, 5)), draw.uniform(-0.1, 0.4) / 30
    weekend, shape = draw.uniform(0.05, 0.5), [draw.uniform(0.8, 1.2) for _ in range(5)]
    luck = CHANCES[chance](draw)
    spent = {}
    for number in range(DAYS):
        day = FIRST + dt.timedelta(days=number)
        usual = shape[day.weekday()] if day.weekday() < 5 else weekend
        amount = level * math.exp(growth * number) * usual * luck(usual)
        spent[day] = Decimal(amount).quantize(Decimal("0.01"))
    return spent


type Luck = Callable[[float], float]


def _spread(draw: random.Random) -> Luck:
    """Each day by itself, some much dearer than others."""
    noise = draw.uniform(0.2, 0.7)
    return lambda _: math.exp(draw.gauss(0, noise) - noise**2 / 2)


def _few_jobs(draw: random.Random) -> Luck:
    """A handful of jobs a day, each with its own cost."""

    def luck(usual: float) -> float:
        number, left = 0, math.exp(-6 * usual)
        product = draw.random()
        while product > left:
            number, product = number + 1, product * draw.random()
        return sum(draw.lognormvariate(-0.32, 0.8) for _ in range(number)) / (6 * usual)

    return luck


def _in_spells(draw: random.Random) -> Luck:
    """Busy weeks and slack ones: a day is like the day before."""
    noise, mood = draw.uniform(0.1, 0.3), [0.0]

    def luck(_: float) -> float:
        mood[0] = 0.7 * mood[0] + draw.gauss(0, noise)
        return math.exp(mood[0])

    return luck


def _with_gaps(draw: random.Random) -> Luck:
    """One day in four nothing at all."""
    noise = draw.uniform(0.2, 0.7)
    return lambda _: 0.0 if draw.random() < 0.25 else math.exp(draw.gauss(0, noise))


CHANCES: dict[str, Callable[[random.Random], Luck]] = {
    "spread": _spread,
    "few jobs": _few_jobs,
    "in spells": _in_spells,
    "with gaps": _with_gaps,
}
