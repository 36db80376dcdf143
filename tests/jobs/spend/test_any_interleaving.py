"""Any order of admissions, ends, corrections, caps, grants and months keeps the books to the last digit."""

import datetime as dt
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from django.db import transaction
from django.db.models.functions import Now
from hypothesis import HealthCheck, Phase, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pytest_django.fixtures import Settings

from jobs import lifecycle, spend
from jobs.models import (
    ApiToken,
    Attempt,
    Basis,
    Budget,
    BudgetPeriod,
    Job,
    Project,
    Scope,
    Status,
    User,
)
from jobs.models.requests import last_day
from jobs.pricing import Usage
from tests.factories import a_person, a_project
from tests.jobs.spend.books import TOKENS, ZERO, Books, Cap, Send, Work
from tests.jobs.spend.conftest import Factory
from tests.jobs.spend.kept import Rows, assert_right, read

pytestmark = pytest.mark.django_db

BEGIN = dt.date(2026, 11, 30)
# A longer search is a matter of these, another one of the seed. What is drawn depends on more than that: on
# what other tests have loaded. Where something that `MEETS` names has not come about, the next seed goes on.
EXAMPLES, STEPS = 60, 20
SEED, MOST_SEEDS = 6, 5

USD = st.sampled_from([Decimal(text) for text in ("1", "2", "3.5")])
CAPS = st.sampled_from([Decimal(text) for text in ("0", "3", "6", "9")])
# Nothing, a part with ten digits, all of it to the last digit, and an overrun.
PARTS = st.sampled_from([Decimal(text) for text in ("0", "0.0333333333", "0.5", "1", "1.75")])
TAGS = st.frozensets(st.sampled_from("ab"))
USAGES = st.sampled_from(
    [dict(zip(TOKENS, numbers, strict=True)) for numbers in ((100, 0, 50, 20), (300, 30, 70, 70))]
)
# Project, person, whether by a token, ceiling, tags, model, effort.
JOBS = st.tuples(
    st.sampled_from([0, 0, 0, 1, 2, 3]),
    st.integers(0, 1),
    st.booleans(),
    USD,
    TAGS,
    st.sampled_from(["gpt-6-sol", "o3"]),
    st.sampled_from(["low", "high"]),
)
ANY = st.integers(0, 11)
DAYS = st.sampled_from([1, 2, 3, 31])
SELDOM = st.sampled_from([False, False, False, True])
MOSTLY = SELDOM.map(lambda is_so: not is_so)
SCOPES = st.sampled_from([Scope.PROJECT, Scope.PROJECT, Scope.WORKSPACE, Scope.MEMBER, Scope.TOKEN])
# A response that has ended costs any part of its ceiling, one without usage always the same.
BASES = st.sampled_from([*[Basis.USAGE] * 3, Basis.NONE, Basis.ESTIMATE, Basis.BOUND, None])
PART_OF = {Basis.NONE: Decimal(0), Basis.ESTIMATE: Decimal("0.25"), Basis.BOUND: Decimal(1)}
# What comes about, some of it often, in all examples together.
MEETS = (
    "admitted",
    "refused by project",
    "refused by workspace",
    "filled a cap",
    "overruns",
    "settled after its month",
    "billed more",
    "billed less",
    "cap below what is committed",
    "cap made in mid-month",
    "cap made while another month is open",
    "grant ended",
)
STATES = {"planned": Status.WAITING, "unconfirmed": Status.UNCONFIRMED}


@dataclass(frozen=True)
class Team:
    """Who and what there is before anything happens."""

    projects: list[Project]  # two real ones, one of practice, one real without a cap
    people: list[User]
    token: ApiToken
    operator: User
    settings: Settings


@pytest.fixture
def team(settings: Settings) -> Team:
    settings.PONDER_TODAY = BEGIN
    people = [a_person(f"{name}@example.com") for name in ("mira", "jo")]
    projects = [
        a_project("one", cap="9", is_practice=False),
        a_project("two", cap="6", is_practice=False),
        a_project("practice", cap="6"),
        a_project("late", cap=None, is_practice=False),
    ]
    token = ApiToken.objects.create(
        name="nightly", project=projects[0], user=people[0], prefix="p", digest="d"
    )
    operator = a_person("ops@example.com", is_superuser=True)
    return Team(projects, people, token, operator, settings)


class AnyInterleaving(RuleBasedStateMachine):
    """Moves money as the product does, keeps the same books in plain Python, and compares them each time."""

    team: ClassVar[Team]
    met: ClassVar[Counter[str]]  # what has come about in all examples together

    def __init__(self) -> None:
        super().__init__()
        self.savepoint = transaction.savepoint_create()
        self.team.settings.PONDER_TODAY = BEGIN
        self.books = Books()
        self.ledger: Rows = []
        self.grants: list[tuple[Cap, Decimal, dt.date]] = []
        self.bills = 0
        for budget in Budget.objects.order_by("pk"):
            made = Cap(budget.pk, Scope.PROJECT, budget.project_id, budget.cap)
            made.open(self.month)
            self.books.caps.append(made)

    def teardown(self) -> None:
        try:
            assert spend.audit() == []
        finally:
            transaction.savepoint_rollback(self.savepoint)

    @property
    def today(self) -> dt.date:
        day: dt.date = self.team.settings.PONDER_TODAY
        return day

    @property
    def month(self) -> dt.date:
        return self.today.replace(day=1)

    @initialize(workspace=st.none() | CAPS, jobs=st.lists(JOBS, min_size=1, max_size=3), days=DAYS)
    def begin(self, workspace: Decimal | None, jobs: list[Any], days: int) -> None:
        """Some jobs wait already, perhaps since last month."""
        if workspace:
            self.set_cap(Scope.WORKSPACE, None, workspace, is_hard=True)
        for job in jobs:
            self.admit(job)
        if days < 3:
            self.go_on(days)

    @rule(job=JOBS)
    def admit(self, job: Any) -> None:
        """A job is submitted."""
        project, person, is_by_token, worst, tags, model, effort = job
        team = self.team
        token = team.token if is_by_token and (project, person) == (0, 0) else None
        place, by = team.projects[project], team.people[person]
        work = Work(0, (place.pk, by.pk, token.pk if token else None), place.is_practice, model, effort, tags)

        def make() -> Attempt:
            made = Factory(by)(place, str(worst), token=token, tags=tuple(tags), model=model, effort=effort)
            work.pk = made.job_id
            return made

        self.hold(make, work, worst)

    @precondition(lambda self: self.idle)
    @rule(which=ANY, worst=USD)
    def send_again(self, which: int, worst: Decimal) -> None:
        """A job whose send has failed, or is unconfirmed, goes out once more."""
        work = one_of(self.idle, which).work
        self.hold(lambda: self.another(work, worst), work, worst)
        self.stand(work)

    @precondition(lambda self: self.waiting)
    @rule(which=ANY, worst=USD)
    def hold_anew(self, which: int, worst: Decimal) -> None:
        """The price has changed while a job waited: what was held is given back, and the new ceiling held."""
        send = one_of(self.waiting, which)
        with transaction.atomic():
            self.note(send, "ended")
            spend.settle(self.attempt(send), cost=None, reason="its price changed")
            send.held = ZERO
            self.hold(lambda: self.another(send.work, worst), send.work, worst)
        self.stand(send.work)

    @precondition(lambda self: self.waiting)
    @rule(which=ANY, part=st.none() | PARTS)
    def send(self, which: int, part: Decimal | None) -> None:
        """Its input is counted, and what it cannot cost is given back; or nobody knows what became of it."""
        send = one_of(self.waiting, which)
        if part is None:
            self.note(send, "unconfirmed")
        else:
            with transaction.atomic():
                spend.release_part(self.attempt(send), to=send.worst * part, reason="counted")
            send.held = min(send.held, exactly(send.worst * part))
            self.note(send, "known")
        self.stand(send.work)

    @precondition(lambda self: self.books.sends)
    @rule(which=ANY, basis=BASES, part=PARTS, usage=USAGES)
    def settle(self, which: int, basis: Basis | None, part: Decimal, usage: dict[str, int]) -> None:
        """A response has ended, is read again, is given up, or turns up late; without a basis it is lost."""
        send = one_of(self.books.sends, which)
        if basis is None:
            cost = None
        else:
            cost = exactly(send.worst * PART_OF.get(basis, part))
            self.met["overruns"] += cost > send.held + send.cost
        self.met["settled after its month"] += bool(send.held) and send.month < self.month
        tokens = Usage(**usage) if basis == Basis.USAGE else None
        with transaction.atomic():
            spend.settle(self.attempt(send), cost=cost, basis=basis or Basis.NONE, usage=tokens)
            if basis == Basis.USAGE:
                self.end_rest(send)
        send.held = ZERO
        if basis is not None and cost is not None:
            send.charge(cost, basis, usage)
        # What was cancelled is watched for some time longer.
        self.note(send, "known" if basis == Basis.ESTIMATE else "ended")
        self.stand(send.work)

    @precondition(lambda self: self.books.sends)
    @rule(which=ANY)
    def cancel(self, which: int) -> None:
        """Someone cancels a job that waits; no other is about to be sent."""
        send = one_of(self.waiting or self.books.sends, which)
        planned = self.planned(send.work)
        try:
            lifecycle.cancel(send.work.pk, by=self.team.people[0])
        except lifecycle.NotCancellable:
            assert planned is None
            return
        assert planned is not None
        planned.held, planned.state = ZERO, "ended"

    @precondition(lambda self: self.books.sends)
    @rule(which=ANY, part=PARTS, more=USAGES, is_stale=SELDOM, is_repeated=SELDOM)
    def bill(
        self, which: int, part: Decimal, more: dict[str, int], is_stale: bool, is_repeated: bool
    ) -> None:
        """The API billed something else than was booked, more or less."""
        send = one_of([send for send in self.books.sends if not send.held] or self.books.sends, which)
        self.bills += not is_repeated
        key, to = f"{send.pk}:{self.bills}", exactly(send.worst * part)
        was = send.cost + 1 if is_stale else send.cost
        is_done = key in send.keys
        try:
            with transaction.atomic():
                moved = spend.adjust(
                    self.attempt(send),
                    was=was,
                    to=to,
                    tokens=more,
                    reason="the bill",
                    actor=self.team.operator,
                    key=key,
                )
        except spend.NotAdjustable:
            assert not is_done
            assert send.held or is_stale
            return
        assert is_done or not (send.held or is_stale)
        assert moved == (ZERO if is_done else to - send.cost)
        if not is_done:
            self.met["billed more"] += to > send.cost
            self.met["billed less"] += to < send.cost
            send.bill(to, more, key)

    @precondition(lambda self: self.books.sends)
    @rule(which=ANY, tags=TAGS)
    def retag(self, which: int, tags: frozenset[str]) -> None:
        """Someone gives its job other tags, and what it has cost goes with them."""
        send = one_of(self.books.sends, which)
        with transaction.atomic():
            spend.retag(send.work.pk, tags)
        send.work.tags = tags

    @precondition(lambda self: self.books.sends)
    @rule(which=ANY, scope=SCOPES, amount=CAPS, is_hard=MOSTLY, is_lifted=SELDOM)
    def change_cap(self, which: int, scope: Scope, amount: Decimal, is_hard: bool, is_lifted: bool) -> None:
        """A cap that a send counts in is set or lifted: then it refuses nothing, and goes on counting."""
        work = one_of(self.books.sends, which).work
        cap = next((cap for cap in self.books.applying(work) if cap.scope == scope), None)
        if is_lifted and cap and scope != Scope.PROJECT:
            assert spend.lift_cap(Budget.objects.get(pk=cap.pk)) == (not cap.is_lifted)
            cap.is_lifted = True
            return
        project, person, _ = work.whose
        if which == 0:
            # The one without a cap, to which nothing could be submitted.
            project = self.team.projects[-1].pk
        self.set_cap(scope, {Scope.PROJECT: project, Scope.MEMBER: person}.get(scope), amount, is_hard)

    def set_cap(self, scope: Scope, pk: int | None, amount: Decimal, is_hard: bool) -> None:
        """A cap is set for the first time, raised, lowered below what is committed, or made soft."""
        of_all = {Scope.PROJECT: self.team.projects, Scope.MEMBER: self.team.people}
        target: Any = next((one for one in of_all.get(scope, ()) if one.pk == pk), None)
        if scope == Scope.TOKEN:
            target = self.team.token
        name = {Scope.PROJECT: "project", Scope.MEMBER: "user", Scope.TOKEN: "token"}.get(scope)
        whose: dict[str, Any] = {name: target} if name else {}
        made = spend.set_cap(amount, is_hard=is_hard, **whose)
        cap = next((cap for cap in self.books.caps if cap.pk == made.pk), None)
        if cap is None:
            cap = Cap(made.pk, scope, target and target.pk, amount)
            # A month that is over can still move while a send of it is open.
            for send in self.books.sends:
                if cap.counts(send.work) and send.state != "ended":
                    cap.open(send.month)
            self.met["cap made while another month is open"] += len(cap.caps) > 1
            self.met["cap made in mid-month"] += self.books.moved(cap, self.month) != (ZERO, ZERO)
            self.books.caps.append(cap)
        cap.cap, cap.is_hard, cap.is_lifted = amount, is_hard, False
        cap.caps[self.month] = amount
        self.met["cap below what is committed"] += is_hard and self.books.left(cap, self.month) < 0

    @rule(which=ANY, amount=USD, days=st.integers(0, 3))
    def grant(self, which: int, amount: Decimal, days: int) -> None:
        """More may be spent under a cap until a day of this month."""
        cap = one_of(self.books.caps, which)
        budget, by = Budget.objects.get(pk=cap.pk), self.team.operator
        until = min(self.today + dt.timedelta(days=days), last_day(self.today))
        asked = lifecycle.ask_for_budget(budget, amount, until=until, why="a deadline", by=by)
        lifecycle.grant_budget(asked.pk, amount, until=until, by=by)
        cap.open(self.month)
        cap.granted[self.month] += amount
        self.grants.append((cap, amount, until))

    @rule(days=DAYS)
    def go_on(self, days: int) -> None:
        """Days pass; grants whose time is over end, those that end with their month by themselves."""
        self.team.settings.PONDER_TODAY += dt.timedelta(days=days)
        lifecycle.mind_grants()
        assert spend.audit() == []
        for one in [one for one in self.grants if one[2] < self.today]:
            self.grants.remove(one)
            cap, amount, until = one
            if until < last_day(until):
                self.met["grant ended"] += 1
                cap.granted[until.replace(day=1)] -= amount

    @invariant()
    def every_total_is_what_it_should_be(self) -> None:
        kept = read()
        assert kept.ledger[: len(self.ledger)] == self.ledger, "what is in the ledger never changes"
        self.ledger = kept.ledger
        assert_right(kept, self.books)

    def hold(self, make: Callable[[], Attempt], work: Work, worst: Decimal) -> None:
        """Admit what `make` makes, just where every cap has room for it."""
        wanted = self.books.refusing(work, worst, self.month)
        is_capped = any(cap.scope == Scope.PROJECT for cap in self.books.applying(work))
        try:
            with transaction.atomic():
                attempt = make()
                spend.admit(attempt.job, attempt)
        except spend.NoCap:
            assert not is_capped
            return
        except spend.BudgetRefused as error:
            self.met[f"refused by {error.budget.scope}"] += 1
            found = error.budget.pk, error.shortfall
            assert is_capped
            assert wanted is not None
            assert found == (wanted[0].pk, wanted[1])
            return
        assert is_capped
        assert wanted is None
        send = Send(attempt.pk, work, worst, self.today, held=worst)
        self.books.sends.append(send)
        for cap in self.books.applying(work):
            cap.open(self.month)
            self.met["filled a cap"] += cap.refuses and self.books.left(cap, self.month) == 0
            # The promise itself, whatever was kept beside it.
            assert not cap.refuses or BudgetPeriod.objects.get(budget=cap.pk, month=self.month).left >= 0
        self.met["admitted"] += 1

    def end_rest(self, send: Send) -> None:
        """Give back what is held for the other sends of a job that has its answer."""
        for other in self.books.of(send.work):
            if other is not send and other.state in STATES:
                spend.settle(self.attempt(other), cost=None, reason="another attempt of the job ended")
                other.held = ZERO
                self.note(other, "ended")

    def another(self, work: Work, worst: Decimal) -> Attempt:
        """Make the next send of a job, not held for yet."""
        job = Job.objects.select_related("project__connection").get(pk=work.pk)
        made = Factory(job.submitted_by)(job.project, str(worst), job=job)
        Attempt.objects.filter(pk=made.pk).update(state="planned")
        return made

    def attempt(self, send: Send) -> Attempt:
        return Attempt.objects.get(pk=send.pk)

    @property
    def waiting(self) -> list[Send]:
        return [send for send in self.books.sends if send.state == "planned"]

    @property
    def idle(self) -> list[Send]:
        """Sends of jobs of which none is about to be sent."""
        return [send for send in self.books.sends if self.planned(send.work) is None]

    def planned(self, work: Work) -> Send | None:
        return next((send for send in self.books.of(work) if send.state == "planned"), None)

    def note(self, send: Send, state: str) -> None:
        send.state = state
        Attempt.objects.filter(pk=send.pk).update(state=state)

    def stand(self, work: Work) -> None:
        """Leave a job as its sends are."""
        states = {send.state for send in self.books.of(work)}
        status = next((STATES[state] for state in STATES if state in states), Status.COMPLETED)
        due = Now() if status == Status.WAITING else None
        Job.objects.filter(pk=work.pk).update(status=status, next_action_at=due, cancel_requested_at=None)


def exactly(usd: Decimal) -> Decimal:
    """Round to the ledger's ten places."""
    return usd.quantize(Decimal("1E-10"))


def one_of(found: list[Any], which: int) -> Any:
    return found[which % len(found)]


def test_any_interleaving_keeps_the_books(team: Team) -> None:
    AnyInterleaving.team, AnyInterleaving.met = team, Counter()
    settings = hypothesis_settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        # Not what lines a failure has in common: that takes as long as all the rest.
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    for number in range(SEED, SEED + MOST_SEEDS):
        run_state_machine_as_test(seed(number)(AnyInterleaving), settings=settings)
        if all(AnyInterleaving.met[name] for name in MEETS):
            break
    # It has been where something can go wrong.
    assert {name for name in MEETS if not AnyInterleaving.met[name]} == set()
