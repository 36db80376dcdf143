"""Names single jobs of a month: the costliest, the oldest that hold money, those judged and those refused."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from jobs.models import Job, LedgerEntry, Refusal, Verdict, VerdictValue
from jobs.models.questions import Among, Blank, Question, Statement, ask_in_turn
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

    @property
    def per_right(self) -> Decimal | None:
        """USD for each right answer, the wrong ones paid with it."""
        return self.cost / self.right if self.right else None


class _Read(NamedTuple):
    """What the database is asked for at once."""

    dearest: list[tuple[Any, ...]]
    refused: list[Refusal]
    judged: list[tuple[Any, ...]]


class Rows:
    """Single jobs of a month of some projects."""

    def __init__(self, month: Month, zone: ZoneInfo) -> None:
        """Look at a month; verdicts belong to the month in which they were given, in `zone`."""
        self._month, self._zone = month, zone

    @cached_property
    def costliest(self) -> Sequence[Job]:
        """The jobs that cost most in the month, with `in_month`, USD."""
        # A job that was charged twice stands twice among the charges.
        ids = list({job for job, _ in self._read.dearest})
        rows = _costs().ask(ids=ids, month=self._month.first) if ids else []
        return sorted(rows, key=lambda job: -job.in_month)[:SHOWN]  # type: ignore[attr-defined]

    @cached_property
    def oldest(self) -> Sequence[Job]:
        """The jobs that have held money of this month for longest, with `held`, USD."""
        if not self._month.held:
            return []
        return _oldest().ask(projects=self._month.ids, month=self._month.first)

    @property
    def refusals(self) -> Sequence[Refusal]:
        """The newest refusals."""
        return self._read.refused

    @cached_property
    def refused(self) -> int:
        """How many refusals there were, counting at most MOST_REFUSED."""
        if len(self.refusals) < SHOWN:
            return len(self.refusals)
        ((number,),) = _how_many_refused().ask(projects=self._month.ids, month=self._month.first)
        return int(number)

    @property
    def has_more_refused(self) -> bool:
        return self.refused >= MOST_REFUSED

    @cached_property
    def judged(self) -> Judged | None:
        """What the answers cost that were judged in the month; None where nobody judged any."""
        found = self._read.judged
        if not found:
            return None
        right = sum(number for value, number, _ in found if value == VerdictValue.RIGHT)
        return Judged(sum(number for _, number, _ in found), right, sum((cost for *_, cost in found), ZERO))

    @cached_property
    def _read(self) -> _Read:
        month = self._month.first
        after = (month + dt.timedelta(days=32)).replace(day=1)
        since, until = (dt.datetime.combine(day, dt.time(), self._zone) for day in (month, after))
        values = {"projects": self._month.ids, "month": month, "since": since, "until": until}
        return _Read(*ask_in_turn([_dearest(), _refused(), _judged()], **values))


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
    rows = Verdict.objects.filter(
        Among("job__project", Blank("projects")),
        at__gte=Blank("since"),
        at__lt=Blank("until"),
        value__in=[VerdictValue.RIGHT, VerdictValue.WRONG],
    )
    newest = rows.order_by("-at").values_list("value", "job__cost")[:MOST_JUDGED]
    return Statement("SELECT value, count(*), sum(cost) FROM ({}) newest(value, cost) GROUP BY value", newest)
