"""Fills the frame every page stands in: jobs in flight, projects, the month, and what must be known first."""

import datetime as dt
import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache, wraps
from typing import Any, NamedTuple, cast

from django.contrib.auth.decorators import login_not_required
from django.db.models import DecimalField, FilteredRelation, Q, Subquery, Value
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from jobs import VERSION, clock
from jobs.models import Budget, Connection, Job, Project, Scope, User, Workspace, month_end_of
from jobs.models.projects import ProjectQuerySet, Someone
from jobs.models.questions import AS_JOINED, Anyone, Asked, Asking, Blank, Question, Statement
from jobs.views import news
from jobs.views.words import paused_because

SWATCHES = 5  # the colours of the project palette
MOST_COUNTED = 999  # beyond this many jobs in flight the exact number says nothing more
RETIRING_WITHIN = dt.timedelta(days=14)
ZERO = Decimal(0)
# So many projects stand in the side bar: those with most spent this month.
MOST_BESIDE = 12

type View = Callable[..., HttpResponse]


class SeenProject(NamedTuple):
    """What pages show of a project a person can see: read for every page, so no row is made of it.

    `spent`, `cap` and `granted` are USD of this month's period, None where it has none; `whole` is what the
    workspace's cap allows, for operators.
    """

    pk: int
    name: str
    slug: str
    created_at: dt.datetime
    archived_at: dt.datetime | None
    connection_id: int
    is_practice: bool
    connection_name: str
    paused_at: dt.datetime | None
    paused_reason: str
    paused_by_id: int | None
    is_paused_with_all: bool
    default_model: str | None
    shutdown_date: dt.date | None
    successor: str | None
    spent: Decimal | None
    cap: Decimal | None
    granted: Decimal | None
    whole: Decimal | None

    @property
    def swatch(self) -> int:
        return swatch_of(self.pk)

    def get_absolute_url(self) -> str:
        return f"/projects/{self.slug}/"


class Retiring(NamedTuple):
    """A default model that is switched off soon."""

    id: str
    shutdown_date: dt.date
    successor: str | None


@dataclass(frozen=True, slots=True)
class Month:
    """This month's meter: USD spent of the caps with their grants, practice or real but never both.

    `cap` is the workspace's for operators, where it has one; `forecast` is what real money likely comes to,
    as it was told within the hour.
    """

    label: str
    spent: Decimal
    cap: Decimal | None
    forecast: Decimal | None = None

    @property
    def percent(self) -> Decimal | None:
        return self.spent / self.cap * 100 if self.cap else None

    @property
    def is_over(self) -> bool:
        """Whether it likely comes to more than the caps allow."""
        return self.forecast is not None and self.cap is not None and self.forecast > self.cap


@dataclass(frozen=True, slots=True)
class Paused:
    """A paused connection, or everything; `url` is where an operator resumes it."""

    name: str
    reason: str
    url: str
    link: str = "See the connection"


class Frame:
    """What the frame shows a person, asked for only when a page shows it."""

    def __init__(self, user: User) -> None:
        self.user = user

    @cached_property
    def workspace(self) -> Workspace:
        """The installation, with its default model and that one's successor."""
        return next(iter(_workspace().ask()), None) or Workspace.objects.the()

    @cached_property
    def today(self) -> dt.date:
        return self.workspace.today()

    @cached_property
    def in_flight(self) -> int:
        """How many jobs the person can see that are not final; counting stops at MOST_COUNTED."""
        ((number,),) = self._asked_in_flight.ask()
        return int(number)

    def asking(self) -> Asking:
        """Read how many are in flight, for a page that asks for other things at the same time."""
        (((self.in_flight,),),) = yield [self._asked_in_flight]

    @property
    def _asked_in_flight(self) -> Asked:
        return Asked(_in_flight(is_superuser=self.user.is_superuser), {"person": self.user.pk})

    @cached_property
    def projects(self) -> list[SeenProject]:
        """Those in the side bar, by name."""
        most = heapq.nlargest(MOST_BESIDE, self._seen, key=lambda project: project.spent or ZERO)
        return sorted(most, key=lambda project: project.name.casefold())

    @property
    def more_projects(self) -> int:
        """How many projects are not in the side bar."""
        return len(self._seen) - len(self.projects)

    @cached_property
    def practice(self) -> bool:
        """Whether all the person can see is practice."""
        return bool(self._seen) and all(project.is_practice for project in self._seen)

    @cached_property
    def is_connected(self) -> bool:
        """Whether real money can be spent through any connection."""
        return Connection.objects.filter(is_practice=False).exists()

    @property
    def version(self) -> str:
        return VERSION

    @cached_property
    def month(self) -> Month | None:
        """The month of the real projects; of the practice ones only where there is nothing else."""
        # As on the budget page, one in the archive counts if it cost something.
        side = [project for project in self.visible if project.is_practice == self.practice]
        counted = [project for project in side if project.archived_at is None or project.spent]
        if not self._seen or not counted:
            return None
        caps = [project.cap + (project.granted or ZERO) for project in counted if project.cap is not None]
        spent = sum((project.spent or ZERO for project in counted), ZERO)
        forecast, whole = self._forecast, None if self.practice else counted[0].whole
        return Month(
            label=f"{self.today:%b}",
            spent=spent,
            cap=whole if whole is not None else sum(caps, ZERO) if caps else None,
            # What has been charged since may have overtaken it.
            forecast=forecast if forecast is not None and forecast >= spent else None,
        )

    @property
    def _forecast(self) -> Decimal | None:
        """What the real projects likely come to, if told of today and of those the person sees now."""
        if self.practice or self.user.month_end is None:
            return None
        real = [project.pk for project in self.visible if not project.is_practice]
        return self.user.month_end if self.user.month_end_of == month_end_of(self.today, real) else None

    @cached_property
    def paused(self) -> list[Paused]:
        """What is paused: everything, where the switch for all has left none open, and single connections."""
        url = reverse("connections") if self.user.is_superuser else ""
        found, first = self._paused, []
        switched = [one for one in found if one.is_paused_with_all]
        if switched and all(project.paused_at is not None for project in self._seen):
            found = [one for one in found if not one.is_paused_with_all]
            first = [Paused("Everything", paused_because(switched[0]), url, "See the connections")]
        return first + [Paused(one.name, paused_because(one), url) for one in found]

    @property
    def pauses(self) -> str:
        """What tells the pauses that are shown from others."""
        return pauses_of((found.pk, found.paused_at) for found in self._paused)

    @property
    def poll(self) -> int:
        """Seconds until a page that shows a pause asks whether it still holds."""
        return news.SLOWEST

    def pauses_now(self) -> str:
        """Return what `pauses` would be, in one query, without reading the rest of the frame."""
        return pauses_of(_pauses(is_superuser=self.user.is_superuser).ask(person=self.user.pk))

    @cached_property
    def retiring(self) -> list[Retiring]:
        """Default models that end soon: for operators, who choose the next."""
        if not self.user.is_superuser:
            return []
        spec = self.workspace.default_model
        defaults = {
            project.default_model: (project.shutdown_date, project.successor) for project in self._seen
        }
        if spec is not None:
            defaults[spec.pk] = spec.shutdown_date, str(spec.successor) if spec.successor else None
        last = self.today + RETIRING_WITHIN
        return [
            Retiring(name, ends_on, successor)
            for name, (ends_on, successor) in defaults.items()
            if name and ends_on and self.today < ends_on <= last
        ]

    @cached_property
    def _paused(self) -> list[Connection]:
        paused = {project.connection_id: project for project in self._seen if project.paused_at is not None}
        return [
            Connection(
                pk=pk,
                name=project.connection_name,
                paused_at=project.paused_at,
                paused_reason=project.paused_reason,
                paused_by_id=project.paused_by_id,
                is_paused_with_all=project.is_paused_with_all,
            )
            for pk, project in paused.items()
        ]

    @cached_property
    def _seen(self) -> list[SeenProject]:
        return [project for project in self.visible if project.archived_at is None]

    @cached_property
    def visible(self) -> list[SeenProject]:
        """Every project the person can see, also archived ones, with what the frame shows of it."""
        question = _visible(is_superuser=self.user.is_superuser)
        found = question.ask(person=self.user.pk, month=clock.month_of(self.today))
        return [SeenProject(*row) for row in found]

    def seen_with(self, project: Project) -> list[int]:
        """The projects on the side of this one, real or practice, that the person sees, by id."""
        return [one.pk for one in self.visible if one.is_practice == project.is_practice]


def frame(request: HttpRequest) -> dict[str, Any]:
    """Give templates the frame of whoever is signed in; it asks the database only for what is shown."""
    return {"frame": frame_of(request)} if _person(request) else {}


def frame_of(request: HttpRequest) -> Frame:
    """Return the frame of a signed-in request: one for the view and the template together."""
    found: Frame | None = getattr(request, "ponder_frame", None)
    if found is None:
        person = _person(request)
        if person is None:
            raise Http404
        found = Frame(person)
        request.ponder_frame = found  # type: ignore[attr-defined]
    return found


def person_of(request: HttpRequest) -> User:
    """Return who is signed in; every page but the sign-in pages has someone."""
    return frame_of(request).user


def swatch_of(project_id: int) -> int:
    """Return a project's colour, 1 to 5: the same on every page."""
    return (project_id - 1) % SWATCHES + 1


def fragment[V: View](view: V) -> V:
    """Reload the page when a fragment is asked for after the session has ended: no sign-in form inside it."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if _person(request) is None:
            return HttpResponse(status=204, headers={"HX-Refresh": "true"})
        return view(request, *args, **kwargs)

    return cast(V, login_not_required(guarded))


def operators_only[V: View](view: V) -> V:
    """Answer 404 to everyone but operators: for others the page does not exist."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not person_of(request).is_superuser:
            raise Http404
        return view(request, *args, **kwargs)

    return cast(V, guarded)


def pauses_of(found: Iterable[tuple[int, dt.datetime | None]]) -> str:
    """Return what tells these pauses, each a connection's id and when it began, from others."""
    since = {pk: paused_at for pk, paused_at in found if paused_at is not None}
    return ",".join(f"{pk}.{since[pk].timestamp():.0f}" for pk in sorted(since))


def held_up(user: Someone) -> ProjectQuerySet:
    """Return the projects a person can see whose connection is paused."""
    seen = Project.objects.visible_to(user)
    return seen.filter(archived_at=None, connection__paused_at__isnull=False)


@lru_cache
def _workspace() -> Question[Workspace]:
    return Question(Workspace.objects.select_related("default_model__successor"))


@lru_cache
def _in_flight(*, is_superuser: bool) -> Statement:
    return Job.objects.visible_to(Anyone(is_superuser)).unfinished().number(MOST_COUNTED)


@lru_cache
def _pauses(*, is_superuser: bool) -> Question[tuple[int, dt.datetime | None]]:
    return Question(held_up(Anyone(is_superuser)).values_list("connection", "connection__paused_at"))


@lru_cache
def _visible(*, is_superuser: bool) -> Question[tuple[Any, ...]]:
    """Ask for the columns of SeenProject."""
    # The period of a project's own budget, which is one at most, is this month's sum, kept at settlement.
    of_month = Q(budget__budgetperiod__month=Blank("month"))
    period = FilteredRelation("budget__budgetperiod", condition=of_month)
    # One row, read once.
    whole = Budget.objects.standing().filter(scope=Scope.WORKSPACE).room_in(Blank("month"))
    found = (
        Project.objects.visible_to(Anyone(is_superuser))
        .annotate(period=period)
        .values_list(
            "pk",
            "name",
            "slug",
            "created_at",
            "archived_at",
            "connection_id",
            "connection__is_practice",
            "connection__name",
            "connection__paused_at",
            "connection__paused_reason",
            "connection__paused_by",
            "connection__is_paused_with_all",
            "default_model",
            "default_model__shutdown_date",
            "default_model__successor__name",
            "period__spent",
            # A period without rows stands at its cap.
            Coalesce("period__cap", "budget__cap"),
            "period__granted",
            Subquery(whole) if is_superuser else Value(None, DecimalField()),
        )
    )
    return Question(found, hint=AS_JOINED)


def _person(request: HttpRequest) -> User | None:
    user = getattr(request, "user", None)
    return user if isinstance(user, User) and user.is_authenticated else None
