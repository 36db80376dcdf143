"""Counts what stands under each tab of a list of jobs, and sums up what it cost."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from django.utils import timezone

from jobs.forms.job_filter import FLIGHT, TABS, Wanted
from jobs.models import FINAL, UNFINISHED, DailySpend, Job
from jobs.models.job_queries import JobQuerySet, Order
from jobs.views.frame import Frame

MOST_COUNTED = 1_000  # beyond it a number says nothing more, and takes its time
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
    """The figures of one person's list.

    `found` are the jobs with what is looked for, None for too many; `whole` are all of the list, if they are
    at hand.
    """

    def __init__(
        self, frame: Frame, wanted: Wanted, found: Sequence[int] | None, *, whole: Sequence[Job] | None
    ) -> None:
        self._frame = frame
        self._wanted = wanted
        self._found = found
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
        aside = self._practice_aside
        if self._whole is not None:
            return sum((job.cost for job in self._whole if job.project_id not in aside), Decimal(0))
        rows = self._wanted.rows(self._in_sight()).exclude(project__in=aside)
        return rows.cost()

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
        rows = DailySpend.objects.filter(spent_on__in=days, project__in=self._ids)
        rows = rows.exclude(project__in=self._practice_aside)
        asked = {**wanted.filters, "by": wanted.person} if "by" in wanted.filters else wanted.filters
        rows = rows.filter(**{column: asked[name] for name, column in ROLLED_UP.items() if name in asked})
        return rows.by_day()

    def _shown(self, tab: str) -> str:
        count = self._counts.get(tab)
        if count is None:
            return ""
        return f"{MOST_COUNTED:,}+" if count > MOST_COUNTED else f"{count:,}"

    @cached_property
    def _counts(self) -> dict[str, int]:
        """How many stand under each tab, or more than are counted; nothing where nobody can tell."""
        if self._wanted.search and self._found is None:
            return {}
        rows = self._wanted.filtered(self._in_sight())
        groups = {status.value: [status] for status in FINAL} | {FLIGHT: UNFINISHED}
        counts = dict(zip(groups, rows.counts([*groups.values()], MOST_COUNTED + 1), strict=True))
        # What is looked for is found wherever it stands; else what has not ended has its cards.
        all_of_it = sum(counts.values()) - (0 if self._wanted.search else counts[FLIGHT])
        return {"": all_of_it, **counts}

    def _in_sight(self) -> JobQuerySet:
        """What the person can see and has what is looked for.

        The projects are given by their ids: the indexes that begin with them then count without reading rows.
        """
        is_all = self._frame.user.is_superuser
        rows = Job.objects.all() if is_all else Job.objects.filter(project__in=self._ids)
        return rows if self._found is None else rows.filter(pk__in=self._found)

    @property
    def _ids(self) -> list[int]:
        # Nobody's project where there is none: a question that cannot be answered would not be asked.
        return [project.pk for project in self._frame.visible] or [0]

    @property
    def _practice_aside(self) -> list[int]:
        """Projects whose money stays out of a sum: practice, unless there is nothing else in it."""
        practice = [project.pk for project in self._frame.visible if project.is_practice]
        is_alone = "project" in self._wanted.filters or len(practice) == len(self._frame.visible)
        return [] if is_alone else practice
