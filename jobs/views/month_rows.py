"""Names single jobs of a month: the costliest, the oldest that hold money, those judged and those refused."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo

from jobs.models import Job, LedgerEntry, Refusal, Verdict, VerdictValue
from jobs.models.questions import Among, Asked, Asking, Blank, Question, Statement
from jobs.views.month import ZERO, Month

SHOWN = 5
MOST_REFUSED = 1_000  # refusals that are counted
MOST_JUDGED = 2_000  # newest verdicts of a month that are looked at: a few milliseconds


@dataclass(frozen=True, slots=True)
class Judged:
    """Answers that someone judged: how many, how many were right, and what all of them cost, USD."""

    answers: int
    right: int
    cost: Decimal
    of_right: Decimal  # what the right ones cost, USD

    @property
    def wrong(self) -> int:
        return self.answers - self.right

    @property
    def of_wrong(self) -> Decimal:
        """What the wrong ones cost, USD."""
        return self.cost - self.of_right

    @property
    def is_cut(self) -> bool:
        """Whether there may be older ones that nobody has looked at."""
        return self.answers >= MOST_JUDGED

    @property
    def per_right(self) -> Decimal | None:
        """USD for each right answer, the wrong ones paid with it."""
        return self.cost / self.right if self.right else None


class Rows:
    """Single jobs of a month of some projects."""

    def __init__(self, month: Month, zone: ZoneInfo) -> None:
        """Look at a month; verdicts belong to the month in which they were given, in `zone`."""
        self._month, self._zone = month, zone
        self.costliest: Sequence[Job] = []  # with `in_month`, USD
        self.oldest: Sequence[Job] = []  # of those that hold money of the month; with `held`, USD
        self.refusals: Sequence[Refusal] = []  # the newest
        self.refused = 0  # how many there were, counting at most MOST_REFUSED
        self.judged: Judged | None = None

    def asking(self) -> Asking:
        """Read the rows; what the month holds is read in the same step."""
        first = self._month.first
        since, until = moments_of(first, self._zone)
        about = {"projects": self._month.ids, "month": first}
        dearest, self.refusals, judged = yield [
            Asked(_dearest(), about),
            Asked(_refused(), about),
            Asked(_judged(), about | {"since": since, "until": until}),
        ]
        self.judged = _judged_in(judged)
        # A job that was charged twice stands twice among the charges.
        ids = list({job for job, _ in dearest})
        is_holding, are_more = bool(self._month.held), len(self.refusals) == SHOWN
        costliest, *more = yield [
            Asked(_costs(), about | {"ids": ids}),
            *[Asked(_oldest(), about)] * is_holding,
            *[Asked(_how_many_refused(), about)] * are_more,
        ]
        self.oldest = more.pop(0) if is_holding else []
        self.refused = more.pop(0)[0][0] if are_more else len(self.refusals)
        self.costliest = sorted(costliest, key=lambda job: -job.in_month)[:SHOWN]

    @property
    def has_more_refused(self) -> bool:
        return self.refused >= MOST_REFUSED


def moments_of(month: dt.date, zone: ZoneInfo) -> tuple[dt.datetime, dt.datetime]:
    """Return when a month, named by its first day, begins in a zone, and when the next one does."""
    after = (month + dt.timedelta(days=32)).replace(day=1)
    return dt.datetime.combine(month, dt.time(), zone), dt.datetime.combine(after, dt.time(), zone)


def judged_of(projects: Sequence[int], since: dt.datetime, until: dt.datetime) -> Judged | None:
    """Return the answers of some projects that were judged in a time; None where nobody judged any."""
    return _judged_in(_judged().ask(projects=list(projects), since=since, until=until))


def _judged_in(found: Sequence[tuple[str, int, Decimal]]) -> Judged | None:
    """Return the answers that were judged, by verdict, number and cost; None where nobody judged any."""
    if not found:
        return None
    right, of_right = next(((n, cost) for value, n, cost in found if value == VerdictValue.RIGHT), (0, ZERO))
    whole = sum((cost for *_, cost in found), ZERO)
    return Judged(sum(number for _, number, _ in found), right, whole, of_right)


@lru_cache
def _dearest() -> Statement:
    return LedgerEntry.objects.dearest_of(Blank("projects"), Blank("month"), most=2 * SHOWN)


@lru_cache
def _costs() -> Question[Job]:
    found = Job.objects.filter(Among("pk", Blank("ids")))
    return Question(found.for_figures().with_spent_in(Blank("month")))


@lru_cache
def _oldest() -> Question[Job]:
    rows = Job.objects.filter(Among("project", Blank("projects"))).unfinished().for_figures()
    return Question(rows.holding_in(Blank("month"))[:SHOWN])


@lru_cache
def _refused() -> Question[Refusal]:
    return Question(Refusal.objects.newest_of(Blank("projects"), Blank("month"))[:SHOWN])


@lru_cache
def _how_many_refused() -> Statement:
    rows = Refusal.objects.filter(Among("project", Blank("projects")), month=Blank("month"))
    return Statement("SELECT count(*) FROM ({}) counted", rows.values("pk")[:MOST_REFUSED])


@lru_cache
def _judged() -> Statement:
    rows = Verdict.objects.judged(Blank("projects"), since=Blank("since"), until=Blank("until"))
    newest = rows.values_list("value", "job__cost")[:MOST_JUDGED]
    return Statement("SELECT value, count(*), sum(cost) FROM ({}) newest(value, cost) GROUP BY value", newest)
