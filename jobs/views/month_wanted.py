"""Reads out of an address which month of which projects is asked for, of those that a person may see."""

import datetime as dt
import re
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlencode

from django.http import Http404, HttpRequest
from django.urls import reverse

from jobs import clock
from jobs.views.frame import SeenProject, frame_of

MONTHS = 24  # at most so many are offered


@dataclass(frozen=True)
class Wanted:
    """What the address asks for, of what a person may see: a month of one project, or of all of one side."""

    month: dt.date
    this_month: dt.date
    visible: list[SeenProject]
    project: SeenProject | None
    is_practice: bool

    @property
    def side(self) -> list[SeenProject]:
        """The projects one may choose from: real ones or practice ones, never both."""
        return [project for project in self.visible if project.is_practice == self.is_practice]

    @property
    def projects(self) -> list[SeenProject]:
        return [self.project] if self.project else self.side

    @property
    def has_other_side(self) -> bool:
        return len(self.side) < len(self.visible)

    @property
    def months(self) -> list[dt.date]:
        """The months there can be money in, newest first, and the one that is asked for."""
        first = min((project.created_at.date() for project in self.visible), default=self.this_month)
        found, month = {self.month}, self.this_month
        while month >= clock.month_of(first) and len(found) < MONTHS:
            found.add(month)
            month = clock.month_of(month - dt.timedelta(days=1))
        return sorted(found, reverse=True)

    @property
    def month_choices(self) -> list[tuple[str, str]]:
        return [(f"{month:%Y-%m}", f"{month:%B %Y}") for month in self.months]

    @property
    def chosen_month(self) -> str:
        return f"{self.month:%Y-%m}"

    @property
    def project_choices(self) -> list[tuple[str, str]]:
        """Those that are not archived, and the one that is asked for."""
        chosen = [one for one in self.side if one.archived_at is None or one == self.project]
        return [(one.slug, one.name) for one in chosen]

    @property
    def chosen_project(self) -> str:
        return self.project.slug if self.project else ""

    @property
    def as_csv(self) -> str:
        return self.address(format="csv")

    @property
    def as_focus(self) -> str:
        return self.address(format="focus")

    def address(self, **more: str) -> str:
        """Return the query string of the same, or of a part of it."""
        return urlencode(self._own | more)

    @cached_property
    def rows(self) -> str:
        """The address of its ledger rows, to which `&name=value` may be added."""
        return self.rows_in(self.month)

    @cached_property
    def rows_before(self) -> str:
        """The same of the month before."""
        return self.rows_in(clock.month_of(self.month - dt.timedelta(days=1)))

    def rows_in(self, month: dt.date) -> str:
        """Return the same of another month, named by its first day."""
        return f"{reverse('ledger')}?{self.address(month=f'{month:%Y-%m}')}"

    @cached_property
    def _own(self) -> dict[str, str]:
        own = {"month": f"{self.month:%Y-%m}"}
        if self.project:
            own["project"] = self.project.slug
        elif self.is_practice and self.has_other_side:
            own["side"] = "practice"
        return own


def wanted_of(request: HttpRequest) -> Wanted:
    """Read ?month=YYYY-MM and ?project=SLUG or ?side=practice. Raises Http404 for what one may not see."""
    this_month = clock.month_of(frame_of(request).today)
    visible = frame_of(request).visible
    slug = request.GET.get("project", "")
    project = next((one for one in visible if one.slug == slug), None)
    if slug and project is None:
        raise Http404
    is_practice = project.is_practice if project else request.GET.get("side") == "practice"
    # Who sees nothing real is shown practice.
    is_practice = is_practice or not any(not one.is_practice for one in visible)
    return Wanted(_month(request.GET.get("month", ""), this_month), this_month, visible, project, is_practice)


def _month(asked: str, this_month: dt.date) -> dt.date:
    """Return the first day of the month asked for, this one's when none is; a month to come is a 404."""
    if not asked:
        return this_month
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", asked, re.ASCII) or asked < "2000":
        raise Http404
    month = dt.date.fromisoformat(f"{asked}-01")
    if month > this_month:
        raise Http404
    return month
