"""What a list shows of one job: a card while it is in flight, a row in the history."""

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from jobs.lifecycle import usual_seconds
from jobs.models import Job, ModelSpec, Status
from jobs.models.job_queries import HIT
from jobs.pricing import Usage
from jobs.views.frame import swatch_of
from jobs.views.words import Why, usually, why

BAR_END = 0.7  # the usual range ends at this part of a card's bar
_BEGIN, _END = HIT
_MARKED = re.compile(f"{_BEGIN}([^{_BEGIN}{_END}]*){_END}")


@dataclass(frozen=True, slots=True)
class Card:
    """A job in flight: where it stands, and how its time compares to the usual (P10, P50, P90)."""

    job: Job
    spec: ModelSpec
    now: dt.datetime

    @property
    def seconds(self) -> float:
        return self.job.seconds_taken(self.now)

    @property
    def is_running(self) -> bool:
        return self.job.is_in_flight

    @property
    def usual(self) -> tuple[float, float]:
        return usual_seconds(self.spec, self.job.effort)

    @property
    def is_slow(self) -> bool:
        return self.is_running and self.seconds > self.usual[1]

    @property
    def shown_status(self) -> str:
        return "slow" if self.is_slow else self.job.status

    @property
    def hint(self) -> str:
        """What to know about it beside the status."""
        reason = why(self.job)
        if reason is not None:
            return reason.text
        if self.job.status == Status.WAITING:
            paused = getattr(self.job, "paused_connection", None)
            return f"{paused} is paused; it waits" if paused else "To be sent next"
        return f"Usually {usually(*self.usual)}" + (". Still running." if self.is_slow else "")

    @property
    def bar(self) -> dict[str, float]:
        """The bar in percent: the usual range, its middle, the time taken; a job over the scale fills it."""
        low, high = self.usual
        scale = max(high / BAR_END, 1.0)
        start = low / scale * 100
        taken = min(self.seconds / scale * 100, 100.0) if self.is_running else 0.0
        middle = float(self.spec.usual(self.job.effort)["seconds"][1]) / scale * 100
        return {"start": start, "width": high / scale * 100 - start, "middle": middle, "taken": taken}


@dataclass(frozen=True, slots=True)
class Row:
    """A job in the history."""

    job: Job
    now: dt.datetime

    @property
    def swatch(self) -> int:
        return swatch_of(self.job.project_id)

    @property
    def why(self) -> Why | None:
        return why(self.job)

    @property
    def took(self) -> float | None:
        """Seconds from being sent until the end; None for what was never sent."""
        return self.job.seconds_taken(self.now) if self.job.sent_at and self.job.is_final else None

    @property
    def usage(self) -> Usage | None:
        """What its last attempt with a known usage used."""
        return Usage.reported(getattr(self.job, "usage", None))

    @property
    def title(self) -> list[tuple[str, bool]]:
        """Its title in parts, each with whether it was looked for."""
        shown: Any = getattr(self.job, "title_hit", None)
        return parts_of(shown) if shown else [(getattr(self.job, "title", ""), False)]

    @property
    def hit(self) -> list[tuple[str, bool]]:
        """Its text around what was looked for, in such parts; empty if that is not near its beginning."""
        found = parts_of(getattr(self.job, "hit", None) or "")
        return found if any(is_hit for _, is_hit in found) else []


@dataclass(frozen=True, slots=True)
class Day:
    """The rows of one day, in the page's zone, and what was charged for all of that day's, if that is known.

    `cost` is in USD, `charged` how many charges that were. Without a day these are rows in another order.
    """

    on: dt.date | None
    rows: list[Row]
    cost: Decimal | None = None
    charged: int = 0


def parts_of(text: str) -> list[tuple[str, bool]]:
    """Cut a text at its hits: each part with whether it is one; signs that mark nothing are left out."""

    def parts() -> Iterator[tuple[str, bool]]:
        for number, part in enumerate(_MARKED.split(text)):
            yield part.replace(_BEGIN, "").replace(_END, ""), number % 2 == 1

    return [(part, is_hit) for part, is_hit in parts() if part]
