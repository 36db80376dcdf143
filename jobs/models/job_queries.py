"""Questions about many jobs: who may see them, what is due, and what a list shows of them."""

import datetime as dt
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.search import SearchHeadline
from django.db import models
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Concat, Left, Now

from jobs.access import Act
from jobs.models.attempt import Attempt, AttemptState
from jobs.models.connections import Connection, ConnectionQuerySet, sources_here
from jobs.models.list_indexes import TOOK
from jobs.models.money import ZERO, EntryKind, LedgerEntry
from jobs.models.people import name_of
from jobs.models.projects import Membership, Project, Someone
from jobs.models.questions import BY_INDEX, Among, Blank, Statement
from jobs.models.search import LANGUAGE, asked_for
from jobs.models.status import FINAL, UNASKABLE, UNFINISHED, Status

if TYPE_CHECKING:
    from jobs.models.job import Job

# What stands around a hit: signs that no keyboard has. A text that has them is marked in the wrong place.
HIT = ("\x02", "\x03")
SHOWN_FROM = 8_000  # characters of a prompt and of an answer among which hits are shown: it takes its time
MOST_AHEAD = 1_000  # jobs in line beyond which the exact place says nothing more


# Of a job's own columns, those that a list shows, and those that put it in order.
_LISTED = (
    "short_id", "project", "submitted_by", "model", "effort", "mode", "max_output_tokens", "tags", "status",
    "cancel_requested_at", "created_at", "sent_at", "finished_at", "worst_case", "cost", "error_code",
    "incomplete_reason",
)  # fmt: skip

FEW = 1_000  # jobs that are rather sorted than looked for in an order
_VERSION = ("id", "version", "status", "created_at")


class Order(StrEnum):
    """What a list begins with; equals are told apart by id."""

    NEWEST = "newest"
    COSTLIEST = "costliest"
    LONGEST = "longest"


_VALUE: dict[Order, Any] = {
    Order.NEWEST: models.F("created_at"),
    Order.COSTLIEST: models.F("cost"),
    Order.LONGEST: TOOK,
}


class Place(NamedTuple):
    """Where a job stands in an order: the value it is ordered by, and its id."""

    value: Any  # a moment, USD or a span of time; or a blank, as the id
    pk: Any


class JobQuerySet(models.QuerySet["Job"]):
    """Jobs, read as phrases."""

    def visible_to(self, user: Someone) -> "JobQuerySet":
        """Those of the projects a person may see."""
        if user.is_authenticated and user.is_superuser:
            return self.all()
        return self.filter(project__in=Membership.objects.that_see(user))

    def named(self, short_id: str) -> "JobQuerySet":
        """The one with a short id, as an address or a form gives it."""
        # PostgreSQL refuses a NUL even to look for it.
        return self.none() if "\x00" in short_id else self.filter(short_id=short_id)

    def real(self) -> "JobQuerySet":
        """Those that cost real money."""
        return self.filter(project__connection__is_practice=False)

    def unfinished(self) -> "JobQuerySet":
        """Those that are not final."""
        return self.filter(status__in=UNFINISHED)

    def final(self) -> "JobQuerySet":
        return self.filter(status__in=FINAL)

    def to_send(self, within: dt.timedelta | Blank = dt.timedelta(0)) -> "JobQuerySet":
        """Those due to be sent from here within a time, whose connection may be sent to."""
        # Another installation may have the key that this one lacks.
        return self._to_send(Connection.objects.open_here(within), within)

    def to_send_anywhere(self, within: dt.timedelta | Blank = dt.timedelta(0)) -> "JobQuerySet":
        """Those due to be sent within a time, whichever installation has the key."""
        return self._to_send(Connection.objects.open(within), within)

    def _to_send(self, through: ConnectionQuerySet, within: dt.timedelta | Blank) -> "JobQuerySet":
        return self.filter(
            status=Status.WAITING, next_action_at__lte=Now() + within, project__connection__in=through
        )

    def to_poll(self, within: dt.timedelta | Blank = dt.timedelta(0)) -> "JobQuerySet":
        """Those due to be asked for from here within a time: in flight, or final and still watched."""
        elsewhere = Attempt.objects.filter(job=models.OuterRef("pk"), state=AttemptState.KNOWN).exclude(
            connection__key_source__in=sources_here()
        )
        return self.to_poll_anywhere(within).exclude(models.Exists(elsewhere))

    def to_poll_anywhere(self, within: dt.timedelta | Blank = dt.timedelta(0)) -> "JobQuerySet":
        """Those due to be asked for within a time, whichever installation has the key."""
        return self.filter(next_action_at__lte=Now() + within).exclude(status__in=UNASKABLE)

    def to_reap(self, within: dt.timedelta | Blank = dt.timedelta(0)) -> "JobQuerySet":
        """Those whose send has outlived its lease: nobody is sending them any more."""
        return self.filter(attempt__state=AttemptState.SENDING, attempt__lease_expires_at__lte=Now() + within)

    def thread_of(self, job: "Job") -> "JobQuerySet":
        """The jobs of the thread that a job belongs to, with all its branches, oldest first."""
        return self.thread_from(job.root_id or job.pk)

    def thread_from(self, first: int | Blank) -> "JobQuerySet":
        """The jobs of the thread that began with a job, with all its branches, oldest first."""
        return self.filter(models.Q(pk=first) | models.Q(root=first)).order_by("created_at", "pk")

    def chain_to(self, job: "Job") -> list["Job"]:
        """Return what a job builds on and itself, first to last; one query."""
        thread = {one.pk: one for one in self.thread_of(job)}
        chain, link = [], thread.get(job.pk)
        while link is not None:
            chain.append(link)
            link = thread.get(link.previous_id or 0)
        return chain[::-1]

    def with_place(self) -> "JobQuerySet":
        """With a waiting job's place: how many of its project are before it, and the slots in use there.

        `ahead` stops at MOST_AHEAD; both are None for a job that does not wait, for which nothing is counted.
        """
        before = self.model.objects.filter(
            status=Status.WAITING,
            cancel_requested_at=None,
            project=models.OuterRef("project"),
            next_action_at__lt=models.OuterRef("next_action_at"),
        )
        counted = ArraySubquery(before.order_by().values("pk")[:MOST_AHEAD])
        open_now = Attempt.objects.open().filter(connection=models.OuterRef("project__connection"))
        slots = models.Subquery(
            open_now.order_by().values("connection").annotate(count=models.Count("pk")).values("count")
        )
        number = models.IntegerField()
        ahead = models.Func(counted, function="cardinality", output_field=number)
        waits = models.Q(status=Status.WAITING)
        return self.annotate(
            ahead=models.Case(models.When(waits, then=ahead), output_field=number),
            slots_in_use=models.Case(models.When(waits, then=Coalesce(slots, 0)), output_field=number),
        )

    def in_order(self, order: Order, *, after: Place | None = None) -> "JobQuerySet":
        """In an order, which an index has ready; with `after` from there on, however deep that is."""
        rows = self.alias(place=_VALUE[order]).order_by(models.F("place").desc(), "-pk")
        if after is None:
            return rows
        # The range is what the index can use; the exclusion only trims its first value.
        return rows.filter(place__lte=after.value).exclude(place=after.value, pk__gte=after.pk)

    def page(self, most: int, order: Order, *, after: Place | None = None) -> "JobQuerySet":
        """The first `most` in an order, from a place on."""
        return self.in_order(order, after=after)[:most]

    def versions(self) -> models.QuerySet["Job", Any]:
        """Each by id, version, status and when it was made: what tells one look of a list from the next."""
        return self.values_list(*_VERSION)

    def versions_of_each(
        self, projects: models.QuerySet[Project], most: int, order: Order, *, after: Place | None = None
    ) -> Statement:
        """The versions of the first `most` of some projects, each found in its project's own index.

        Asked for all of them at once, the database would read everybody's jobs in that order, hoping to meet
        some of theirs.
        """
        own = self.filter(project=RawSQL("own.id", ())).page(most, order, after=after)
        columns = ", ".join(f"found.{name}" for name in _VERSION)
        return Statement(
            f"SELECT {columns} FROM ({{}}) own, LATERAL ({{}}) found({', '.join(_VERSION)}, place)"  # noqa: S608
            f" ORDER BY found.place DESC, found.id DESC LIMIT {most}",
            projects.order_by().values("id"),
            own.values_list(*_VERSION, _VALUE[order]),
        )

    def versions_of_few(self, most: int, order: Order, *, after: Place | None = None) -> Statement:
        """The versions of the first `most` of jobs that may be few, the last far down in the order.

        Few are rather read together and sorted: in their order the database would look through all jobs.
        """
        rest = self.in_order(order, after=after)
        columns = ", ".join(_VERSION)
        few = self.model.objects.filter(pk__in=RawSQL("SELECT id FROM found", ()))
        return Statement(
            "WITH found AS MATERIALIZED ({}), number AS MATERIALIZED (SELECT count(*) FROM found),"  # noqa: S608
            f" few AS MATERIALIZED (SELECT * FROM ({{}}) one({columns}, place)"
            f" WHERE (TABLE number) BETWEEN 1 AND {FEW})"
            f" (SELECT * FROM ({{}}) page WHERE (TABLE number) > {FEW})"
            f" UNION ALL (SELECT {columns} FROM few ORDER BY place DESC, id DESC LIMIT {most})",
            rest.order_by().values("id")[: FEW + 1],
            few.values_list(*_VERSION, _VALUE[order]),
            rest[:most].versions(),
            hint=BY_INDEX,
        )

    def cost(self, most: int) -> Statement:
        """What they cost together so far, USD; they are at most so many.

        Indexes that know the filters, but not what a job costs, find them first.
        """
        found = self.model.objects.filter(pk__in=RawSQL("SELECT id FROM found", ()))
        return Statement(
            "WITH found AS MATERIALIZED ({}) SELECT coalesce(sum(cost), 0) FROM ({}) summed",
            self.order_by().values("id")[:most],
            found.values("cost"),
            hint=BY_INDEX,
        )

    def charged_of_held(self, projects: models.QuerySet[Project], most: int) -> Statement:
        """Of each of some projects: id, what its newest answered jobs cost, and their ceilings, USD."""
        answered = [Status.COMPLETED.value, Status.INCOMPLETE.value]
        own = self.filter(project=RawSQL("own.id", ()), status__in=answered)
        return Statement(
            "SELECT own.id, sum(found.cost), sum(found.worst_case)"
            " FROM ({}) own, LATERAL ({}) found(cost, worst_case) GROUP BY own.id",
            projects.order_by().values("id"),
            own.in_order(Order.NEWEST).values_list("cost", "worst_case")[:most],
        )

    def number(self, most: int) -> Statement:
        """How many they are, counting at most `most`."""
        return Statement("SELECT count(*) FROM ({}) counted", self.order_by().values("pk")[:most])

    def numbers(self, most: int) -> Statement:
        """How many are in each of `groups` of statuses, counting at most `most` of each.

        A group is written as its statuses with commas between them.
        """
        # The groups stay open, so that the question is written once and not for each of them.
        is_in_group = RawSQL("status = ANY (string_to_array(tab.statuses, ','))", (), models.BooleanField())
        return Statement(
            "SELECT (SELECT count(*) FROM ({}) few) FROM unnest({}::text[])"
            " WITH ORDINALITY tab(statuses, place) ORDER BY place",
            self.filter(is_in_group).order_by().values("pk")[:most],
            Blank("groups"),
            hint=BY_INDEX,
        )

    def numbers_at_once(self, most: int) -> Statement:
        """How many are in each status, looking at `most` of them: for what is read anew for every group."""
        return Statement(
            "SELECT status, count(*) FROM ({}) looked GROUP BY status",
            self.order_by().values("status")[:most],
            hint=BY_INDEX,
        )

    def asked_with(self, schema_name: str) -> "JobQuerySet":
        """Those that asked for a structured result by a schema of this name."""
        return self.filter(prompt__schema_name=schema_name).exclude(prompt__schema_name="")

    def that_waited(
        self, projects: Blank, month: Blank, *, since: Blank, until: Blank
    ) -> "models.QuerySet[Job, tuple[int, str, Decimal, int]]":
        """Project, model, USD and number of the jobs of a month (its first day) whose answer could wait.

        They are looked for among those that were submitted `since` a moment and before `until`.
        """
        about = self.filter(created_at__gte=since, created_at__lt=until)
        of_month = LedgerEntry.objects.filter(job=models.OuterRef("pk"), kind=EntryKind.HOLD, month=month)
        waited = about.filter(
            ~models.Q(window="soonest"), models.Exists(of_month), Among("project", projects)
        )
        rows = waited.order_by()
        return rows.values_list("project", "model").annotate(models.Sum("cost"), models.Count("pk"))

    def for_list(self) -> "JobQuerySet":
        """What a row of a list shows, also of other records, read beside it: no rows of theirs are made."""
        return self.only(*_LISTED).annotate(
            title=models.F("prompt__title"),
            schema_name=models.F("prompt__schema_name"),
            project_name=models.F("project__name"),
            person=name_of("submitted_by"),
            canceller=name_of("cancel_requested_by"),
        )

    def for_figures(self) -> "JobQuerySet":
        """What stands beside a figure: the job's name, model and person."""
        shown = self.only("short_id", "model", "effort", "created_at")
        return shown.annotate(title=models.F("prompt__title"), person=name_of("submitted_by"))

    def for_cards(self, user: Someone) -> "JobQuerySet":
        """With what a card of a job in flight shows someone besides: its paused connection, why it asks, and
        whether the decision may be theirs.
        """
        paused = models.Q(project__connection__paused_at__isnull=False)
        name = models.When(paused, then="project__connection__name")
        may: Any = models.Value(True)
        if not (user.is_authenticated and user.is_superuser):
            approving = Membership.objects.that_may(Act.APPROVE).filter(project=models.OuterRef("project"))
            may = models.Exists(approving.filter(user=user.pk))
        awaiting = models.When(status=Status.AWAITING_APPROVAL, project__archived_at=None, then=may)
        return self.for_list().annotate(
            paused_connection=models.Case(name),
            asked_because=models.F("approval__reason"),
            job_limit=models.F("project__job_limit"),
            may_approve=models.Case(awaiting, default=False, output_field=models.BooleanField()),
        )

    def with_hits(self, words: str | Blank) -> "JobQuerySet":
        """With `title_hit` and `hit`: title, and text around what was looked for, which HIT surrounds."""
        query, begin, end = asked_for(words), *HIT
        marks: dict[str, Any] = {"config": LANGUAGE, "start_sel": begin, "stop_sel": end}
        text = Concat(Left("prompt__text", SHOWN_FROM), models.Value(" … "), Left("answer__text", SHOWN_FROM))
        return self.annotate(
            title_hit=SearchHeadline("prompt__title", query, highlight_all=True, **marks),
            hit=SearchHeadline(text, query, max_fragments=2, max_words=16, min_words=6, **marks),
        )

    def with_spent_in(self, month: dt.date | Blank) -> "JobQuerySet":
        """With `in_month`, USD that a month was charged for each."""
        return self.annotate(in_month=_ledger_sum(month, EntryKind.CHARGE, EntryKind.ADJUST))

    def holding_in(self, month: dt.date | Blank) -> "JobQuerySet":
        """Those that hold money of a month, with `held`, USD, the oldest first."""
        rows = self.annotate(held=_ledger_sum(month, EntryKind.HOLD, EntryKind.RELEASE))
        return rows.filter(held__gt=0).order_by("created_at", "pk")

    def with_usage(self) -> "JobQuerySet":
        """With `usage`, as the API reports it, of the last attempt that has any."""
        known = Attempt.objects.filter(job=models.OuterRef("pk"), usage__isnull=False)
        return self.annotate(usage=models.Subquery(known.order_by("-number").values("usage")[:1]))


def _ledger_sum(month: dt.date | Blank, *kinds: EntryKind) -> Coalesce:
    """USD of a job's rows of some kinds in a month."""
    rows = LedgerEntry.objects.filter(job=models.OuterRef("pk"), month=month, kind__in=kinds)
    total = rows.order_by().values("job").annotate(total=models.Sum("amount")).values("total")
    return Coalesce(models.Subquery(total), models.Value(ZERO), output_field=models.DecimalField())
