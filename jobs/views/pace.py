"""Places a job's time among those like it, in seconds and on a bar, and says when that is slow."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.models import IN_FLIGHT, Job
from jobs.views import words

ROOM = 16  # units of a bar's 100 that a mark's words take on a phone


@dataclass(frozen=True, slots=True)
class Mark:
    """A word under a bar of 100 units, and where it is tied to its place: start, middle or end."""

    at: float
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Pace:
    """Where a job stands among those like it: P10, P50, P90 in seconds, and places on a bar of 100."""

    low: float
    typical: float
    high: float
    taken: float
    is_slow: bool

    @property
    def words(self) -> str:
        """The usual time in words."""
        return words.usually(self.low, self.high)

    @property
    def whole(self) -> float:
        """The seconds of the whole bar: there is room after the usual time, and the job never leaves it."""
        return max(self.high * 1.4, self.taken * 1.05, 1.0)

    @property
    def low_at(self) -> float:
        return self.low / self.whole * 100

    @property
    def typical_at(self) -> float:
        return self.typical / self.whole * 100

    @property
    def high_at(self) -> float:
        return self.high / self.whole * 100

    @property
    def width(self) -> float:
        return self.high_at - self.low_at

    @property
    def now_at(self) -> float:
        return self.taken / self.whole * 100

    @property
    def marks(self) -> Sequence[Mark]:
        """What stands under the bar: the end of the usual time, and what else has room there."""
        wanted = [
            Mark(self.high_at, words.about(self.high), "middle"),
            Mark(100, words.about(self.whole), "end"),
            Mark(0, "0", "start"),
            Mark(self.low_at, words.about(self.low), "middle"),
            Mark(self.typical_at, f"{words.about(self.typical)} typical", "middle"),
        ]
        shown: list[Mark] = []
        for mark in wanted:
            if all(abs(mark.at - other.at) >= ROOM for other in shown):
                shown.append(mark)
        return sorted(shown, key=lambda mark: mark.at)


def pace_of(job: Job, now: dt.datetime) -> Pace:
    """Place a job among those of its model and effort, by the catalogue's usual times."""
    low, typical, high = (float(seconds) for seconds in job.model.usual(job.effort)["seconds"])
    taken = job.seconds_taken(now)
    return Pace(low, typical, high, taken, is_slow=job.status in IN_FLIGHT and taken > high)
