"""Counts what stands under each tab of a list of jobs, and sums up what it cost."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache

from django.db.models import Func
from django.utils import timezone

from jobs.forms.job_filter import FLIGHT, TABS, Wanted
from jobs.models import FINAL, UNFINISHED, DailySpend, Job
from jobs.models.job_queries import JobQuerySet, Order
from jobs.models.questions import AlsoAmong, Among, Blank, Question, Statement
from jobs.views.frame import Frame

MOST_COUNTED = 1_000  # beyond it a number says nothing more, and takes its time
# Jobs with a tag have to be read, wherever they stand: so many once for all tabs, rather than once for each.
MOST_LOOKED_AT = 10_000
QUESTIONS = 500  # kept of each kind, one for every combination of filters that was asked for lately
# Filters that the rollups know as well, and what they call them.
ROLLED_UP = {"project": "project__slug", "by": "user", "model": "model", "effort": "effort"}


@dataclass(frozen=True, slots=True)
class Tab:
    """A link to the jobs of one status, with how many they are; empty where that is not known."""

    name: str
    query: str
    is_here: bool
    count: str


class Tally:
    """The figures of one person's list; `whole` are all jobs of the list, if they are at hand."""

    def __init__(self, frame: Frame, wanted: Wanted, *, whole: Sequence[Job] | None) -> None:
        self._frame = frame
        self._wanted = wanted
        self._whole = whole

    @property
    def tabs(self) -> list[Tab]:
        """The status tabs, each with the query that opens it."""
        here = self._wanted.status
        return [
            Tab(name, self._wanted.address(status=key), key == here, self._shown(key))
            for key, name in TABS.items()
        ]

    @property
    def total(self) -> str:
        """How many jobs the list has, as it is said; empty where nobody counted."""
        return self._shown(self._wanted.status)

    @property
    def is_one(self) -> bool:
        return self.total == "1"

    @cached_property
    def cost(self) -> Decimal | None:
        """What they cost, USD; None for none and for more than are counted. Practice never adds to real."""
        if not 0 < self._counts.get(self._wanted.status, 0) <= MOST_COUNTED:
            return None
        aside = practice_aside(self._frame, self._wanted)
        if self._whole is not None:
            return sum((job.cost for job in self._whole if job.project_id not in aside), Decimal(0))
        question = _cost(self._wanted.shape, most=MOST_COUNTED, is_split=bool(aside))
        ((cost,),) = question.ask(**self._wanted.blanks, projects=self._ids, aside=aside)
        return Decimal(cost)

    def by_day(self, days: Sequence[dt.date]) -> dict[dt.date, tuple[Decimal, int]]:
        """Return what was charged on each day, USD, and how often, where the filters let the rollups tell."""
        wanted = self._wanted
        # The rollups' days are the workspace's.
        is_same_zone = self._frame.workspace.zone.key == timezone.get_current_timezone_name()
        known = ROLLED_UP.keys() | {"since", "until"}
        if wanted.status or wanted.search or not (wanted.filters.keys() <= known and is_same_zone):
            return {}
        if wanted.order is not Order.NEWEST or not days:
            return {}
        aside = set(practice_aside(self._frame, wanted))
        counted = [pk for pk in self._ids if pk not in aside]
        sums = _by_day(wanted.shape).ask(**wanted.blanks, days=list(days), projects=counted)
        return {day: (total, charged) for day, total, charged in sums}

    def _shown(self, tab: str) -> str:
        count = self._counts.get(tab)
        if count is None:
            return ""
        return f"{MOST_COUNTED:,}+" if count > MOST_COUNTED else f"{count:,}"

    @cached_property
    def _counts(self) -> dict[str, int]:
        """How many stand under each tab, or more than are counted; nothing where nobody can tell."""
        wanted = self._wanted
        if wanted.search and wanted.found is None:
            return {}
        groups = {status.value: [status] for status in FINAL} | {FLIGHT: [*UNFINISHED]}
        counts = self._counted(groups)
        # What is looked for is found wherever it stands; else what has not ended has its cards.
        return {"": sum(counts.values()) - (0 if wanted.search else counts[FLIGHT]), **counts}

    def _counted(self, groups: Mapping[str, Sequence[str]]) -> dict[str, int]:
        """Return how many are in each group of statuses, or more than are counted."""
        shape, blanks = self._wanted.shape, {**self._wanted.blanks, "projects": self._ids}
        if "tag" in self._wanted.filters:
            found = dict(_looked_at(shape, most=MOST_LOOKED_AT + 1).ask(**blanks))
            if sum(found.values()) <= MOST_LOOKED_AT:
                return {group: sum(found.get(one, 0) for one in own) for group, own in groups.items()}
        joined = [",".join(own) for own in groups.values()]
        numbers = _counts(shape, most=MOST_COUNTED + 1).ask(**blanks, groups=joined)
        return {group: count for group, (count,) in zip(groups, numbers, strict=True)}

    @cached_property
    def _ids(self) -> list[int]:
        return [project.pk for project in self._frame.visible]


def practice_aside(frame: Frame, wanted: Wanted) -> list[int]:
    """Return the projects whose money stays out of sums and files: practice, unless nothing else is in it."""
    practice = [project.pk for project in frame.visible if project.is_practice]
    is_alone = "project" in wanted.filters or len(practice) == len(frame.visible)
    return [] if is_alone else practice


def _in_sight(wanted: Wanted) -> JobQuerySet:
    """Return what the person can see and has what is looked for.

    The projects are given by their ids: the indexes that begin with them then count without reading rows.
    """
    rows = Job.objects.all()
    if not wanted.user.is_superuser:
        rows = rows.filter(_own(wanted))
    return rows if wanted.found is None else rows.filter(Among("pk", wanted.found))


def _own(wanted: Wanted) -> Func:
    is_of_one = any(name == "by" for name, _ in wanted.meant)
    return (AlsoAmong if is_of_one else Among)("project", Blank("projects"))


@lru_cache(QUESTIONS)
def _looked_at(shape: Wanted, *, most: int) -> Statement:
    return shape.filtered(_in_sight(shape)).numbers_at_once(most)


@lru_cache(QUESTIONS)
def _counts(shape: Wanted, *, most: int) -> Statement:
    return shape.filtered(_in_sight(shape)).numbers(most)


@lru_cache(QUESTIONS)
def _cost(shape: Wanted, *, most: int, is_split: bool) -> Statement:
    """Ask what the jobs of a list cost, all of them or all but those of some projects."""
    rows = shape.rows(_in_sight(shape))
    return (rows.exclude(Among("project", Blank("aside"))) if is_split else rows).cost(most)


@lru_cache(QUESTIONS)
def _by_day(shape: Wanted) -> Question[tuple[dt.date, Decimal, int]]:
    """Ask what was charged on some days in some projects, by the filters that the rollups know."""
    rows = DailySpend.objects.filter(Among("spent_on", Blank("days")), _own(shape))
    known = {ROLLED_UP[name]: value for name, value in shape.meant if name in ROLLED_UP}
    return Question(rows.filter(**known).by_day())
