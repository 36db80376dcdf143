"""Reads the list of jobs: cards in flight, a page of history, what stands under each tab, the version tag."""

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property, lru_cache
from itertools import groupby
from typing import Any

from django.db.models import CharField, F, Value
from django.utils import timezone

from jobs.forms.job_filter import FLIGHT, ME, Wanted, written
from jobs.models import IN_FLIGHT, UNFINISHED, Job, JobText, ModelSpec, Project, Status, User
from jobs.models.job_queries import Order, Place
from jobs.models.questions import AS_JOINED, Among, Anyone, Blank, Question, Statement
from jobs.views import news
from jobs.views.frame import Frame, held_up, pauses_of
from jobs.views.job_rows import Card, Day, Row
from jobs.views.job_tally import Tally

PAGE = 30
MOST_CARDS = 12
# Jobs with the words that are looked for, up to which all of them are looked at. With more of them in a
# million, a page of the newest is found quickly one by one.
MOST_FOUND = 10_000
MOST_PEOPLE = 300  # to choose from
ORDERS = {Order.NEWEST: "Newest first", Order.COSTLIEST: "Costliest first", Order.LONGEST: "Longest first"}
INDEXED = {
    "project",
    "by",
    "token",
    "model",
    "effort",
    "tag",
}  # filters that an index of the jobs begins with
SHOWN_FILTERS = {"project", "model", "by"}  # the others are folded away
# Statuses in which something happens by itself, so that the clock changes what the page shows.
MOVING = (Status.WAITING, Status.SENDING, *IN_FLIGHT)
REDRAW = 30  # seconds after which bars and 'Slow' are drawn anew though no version has changed
QUESTIONS = 500  # kept of each kind, one for every combination of filters that was asked for lately
PAUSED = "paused"  # stands for a status where the tag is made of connections too

# What the version tag is made of: id, version, status, created_at; of a connection when it was paused.
type Seen = tuple[int, int, str, dt.datetime]


class JobList:
    """One person's list as one address asks for it."""

    def __init__(self, frame: Frame, wanted: Wanted) -> None:
        self.frame = frame
        self.wanted = replace(wanted, found=_found(wanted)) if wanted.search else wanted
        self.now = timezone.now()

    @cached_property
    def tally(self) -> Tally:
        """How many there are and what they cost."""
        is_whole = len(self._page) <= PAGE and not self.wanted.after
        return Tally(self.frame, self.wanted, whole=self._page if is_whole else None)

    @property
    def flight_query(self) -> str:
        return self.wanted.address(status=FLIGHT)

    @property
    def has_cards(self) -> bool:
        """Cards stand over the newest page of everything; the tab of what is in flight lists it instead."""
        return _has_cards(self.wanted)

    @cached_property
    def cards(self) -> list[Card]:
        return [Card(job, self.catalogue[job.model_id], self.now) for job in self._flight[:MOST_CARDS]]

    @property
    def has_more_cards(self) -> bool:
        return len(self._flight) > MOST_CARDS

    @cached_property
    def days(self) -> list[Day]:
        """The page's rows by day; in another order than the newest first all of them as they come."""
        rows = [Row(job, self.now) for job in self._page[:PAGE]]
        if not self.is_by_day:
            return [Day(None, rows)]
        grouped = groupby(rows, key=lambda row: timezone.localdate(row.job.created_at))
        found = [(day, list(own)) for day, own in grouped]
        sums = self.tally.by_day([day for day, _ in found])
        return [Day(day, own, *sums.get(day, (None, 0))) for day, own in found]

    @property
    def today(self) -> dt.date:
        return timezone.localdate(self.now)

    @property
    def is_by_day(self) -> bool:
        return self.wanted.order is Order.NEWEST

    @property
    def is_empty(self) -> bool:
        return not self._page

    @property
    def orders(self) -> list[tuple[str, str]]:
        """What the list can be ordered by, with its name."""
        return [(order.value, name) for order, name in ORDERS.items()]

    @property
    def has_more_filters(self) -> bool:
        """Whether one of the filters holds that are folded away."""
        return not self.wanted.filters.keys() <= SHOWN_FILTERS or self.wanted.order is not Order.NEWEST

    @property
    def order_name(self) -> str:
        return ORDERS[self.wanted.order]

    @property
    def older(self) -> str:
        """The query of the next page; empty on the last."""
        if len(self._page) <= PAGE:
            return ""
        return self.wanted.address(after=written(self._place_of(self._page[PAGE - 1])))

    @property
    def first(self) -> str:
        return self.wanted.address()

    @property
    def here(self) -> str:
        after = self.wanted.after
        return self.wanted.address(after=written(after) if after else "")

    @cached_property
    def catalogue(self) -> dict[str, ModelSpec]:
        """Every model by its id, to filter by and to tell what is usual."""
        return {spec.pk: spec for spec in _catalogue().ask()}

    @property
    def models(self) -> list[tuple[str, str]]:
        return [(name, name) for name in self.catalogue]

    @property
    def projects(self) -> list[tuple[str, str]]:
        return [(project.slug, project.name) for project in self.frame.visible]

    @property
    def efforts(self) -> list[tuple[str, str]]:
        """Every effort that a model has, as they turn up."""
        found = dict.fromkeys(effort for spec in self.catalogue.values() for effort in spec.efforts)
        return [(effort, effort) for effort in found]

    @cached_property
    def people(self) -> list[tuple[str, str]]:
        """Whose jobs one can ask for, by id and name: one's own, and those of everyone in one's projects."""
        person = self.frame.user
        projects = [project.pk for project in self.frame.visible]
        named = _people(is_superuser=person.is_superuser).ask(person=person.pk, projects=projects)
        return [(ME, "Me"), *((str(pk), name or email) for pk, name, email in named)]

    @cached_property
    def poll(self) -> int:
        """Seconds until the page asks again; 0 when nothing on it can change by itself."""
        # What is looked for stays as it was found.
        if self.wanted.search or not any(status in UNFINISHED for _, _, status, _ in self._seen):
            return 0
        return news.wait(_age(self._seen, self.now))

    def batches(self, most: int) -> Iterator[list[Job]]:
        """Yield every job of the list from its first page on, at most so many at a time."""
        after, rows = None, self.wanted.rows(self.wanted.visible())
        while True:
            keys = list(rows.page(most, self.wanted.order, after=after).values_list("pk", flat=True))
            found = Job.objects.filter(pk__in=keys).for_list().with_usage()
            batch = sorted(found.annotate(project_slug=F("project__slug")), key=self._place_of, reverse=True)
            if batch:
                yield batch
            if len(keys) < most:
                return
            after = self._place_of(batch[-1])

    @property
    def tag(self) -> str:
        """The version of what is shown."""
        return _tag(self._seen, self.frame.pauses, self.now)

    def tag_now(self) -> str:
        """Return the version of what would be shown, in one query, without reading it."""
        question = _versions(self.wanted.shape, most=PAGE + 1, with_pauses=True)
        found = question.ask(**self.wanted.blanks)
        shown = [one for one in found if one[2] != PAUSED]
        return _tag(shown, pauses_of((pk, at) for pk, _, status, at in found if status == PAUSED), self.now)

    @cached_property
    def _seen(self) -> list[Seen]:
        question = _versions(self.wanted.shape, most=PAGE + 1, with_pauses=False)
        return [(pk, version, status, at) for pk, version, status, at in question.ask(**self.wanted.blanks)]

    @cached_property
    def _read(self) -> list[Job]:
        """Every job that is shown, with all that is shown of it, in order."""
        if not self._seen:
            return []
        person = self.frame.user
        question = _shown(is_superuser=person.is_superuser, with_hits=bool(self.wanted.search))
        ids = [pk for pk, *_ in self._seen]
        rows = question.ask(ids=ids, words=self.wanted.search, person=person.pk)
        return sorted(rows, key=self._place_of, reverse=True)

    def _place_of(self, job: Job) -> Place:
        if self.wanted.order is Order.COSTLIEST:
            return Place(job.cost, job.pk)
        if self.wanted.order is Order.LONGEST:
            took = job.finished_at - job.sent_at if job.finished_at and job.sent_at else dt.timedelta(0)
            return Place(took, job.pk)
        return Place(job.created_at, job.pk)

    @property
    def _flight(self) -> list[Job]:
        return [job for job in self._read if not job.is_final] if self.has_cards else []

    @cached_property
    def _page(self) -> list[Job]:
        return [job for job in self._read if job.is_final] if self.has_cards else self._read


def _has_cards(wanted: Wanted) -> bool:
    return not (wanted.status or wanted.search or wanted.after) and wanted.order is Order.NEWEST


def _found(wanted: Wanted) -> list[int] | None:
    """Return the jobs with what is looked for; None for more than are looked at."""
    found = JobText.objects.some_matching(str(wanted.search), MOST_FOUND + 1)
    return found if len(found) <= MOST_FOUND else None


@lru_cache(QUESTIONS)
def _versions(shape: Wanted, *, most: int, with_pauses: bool) -> Statement:
    """Ask for the page and the cards, and for pauses, by what the version tag is made of."""
    parts: list[Any] = [_page(shape, most)]
    if _has_cards(shape):
        flight = shape.filtered(shape.visible()).unfinished()
        parts.append(flight.page(MOST_CARDS + 1, Order.NEWEST).versions())
    if with_pauses:
        paused = held_up(shape.user).order_by()
        none, word = Value(0), Value(PAUSED, CharField())
        parts.append(paused.values_list("connection", none, word, "connection__paused_at"))
    return Statement(" UNION ALL ".join(["({})"] * len(parts)), *parts)


def _page(wanted: Wanted, most: int) -> Any:
    # What has an index of its own in this order is read from there; else project by project.
    names = INDEXED.intersection(name for name, _ in wanted.meant)
    has_index = names or (wanted.status and wanted.order is not Order.NEWEST)
    if wanted.user.is_superuser or wanted.search or has_index:
        rows = wanted.rows(wanted.visible())
        # The index of tags and that of tokens know no order.
        if not wanted.search and (len(names) > 1 or names & {"tag", "token"}):
            return rows.versions_of_few(most, wanted.order, after=wanted.after)
        return rows.page(most, wanted.order, after=wanted.after).versions()
    own = Project.objects.visible_to(wanted.user)
    return wanted.rows(Job.objects.all()).versions_of_each(own, most, wanted.order, after=wanted.after)


@lru_cache
def _shown(*, is_superuser: bool, with_hits: bool) -> Question[Job]:
    rows = Job.objects.filter(Among("pk", Blank("ids"))).for_cards(Anyone(is_superuser)).with_usage()
    return Question(rows.with_hits(Blank("words")) if with_hits else rows, hint=AS_JOINED)


@lru_cache
def _catalogue() -> Question[ModelSpec]:
    return Question(ModelSpec.objects.only("prior", "default_effort", "efforts"))


@lru_cache
def _people(*, is_superuser: bool) -> Question[tuple[int, str, str]]:
    """Ask for those in some projects, or for everyone, but for whoever asks."""
    found = User.objects.exclude(pk=Blank("person"))
    if not is_superuser:
        found = found.filter(Among("membership__project", Blank("projects"))).distinct()
    return Question(found.order_by("name", "email").values_list("pk", "name", "email")[:MOST_PEOPLE])


def _age(shown: Iterable[Seen], now: dt.datetime) -> float:
    """Return the seconds since the newest job that moves by itself was made; infinity without one."""
    moving = [created_at for _, _, status, created_at in shown if status in MOVING]
    return max((now - max(moving)).total_seconds(), 0.0) if moving else float("inf")


def _tag(shown: Iterable[Seen], pauses: str, now: dt.datetime) -> str:
    shown = list(shown)
    age = _age(shown, now)
    beat = "" if age == float("inf") else str(int(age // REDRAW))
    versions = sorted((pk, version) for pk, version, _, _ in shown)
    return hashlib.sha256(f"{versions}{pauses}{beat}".encode()).hexdigest()[:20]
