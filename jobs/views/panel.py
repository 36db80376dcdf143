"""Works out the new-job page's panel: models, likely cost, ceiling, and what is left of the caps."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from jobs import clock, forecast, lifecycle, pricing
from jobs.lifecycle import JobSpec, usual_seconds
from jobs.lifecycle.spec import MIN_OUTPUT_TOKENS, Ceiling
from jobs.lifecycle.tools import BUILT_IN, withheld
from jobs.models import AskedBecause, Budget, BudgetPeriod, ModelSpec, Price, Project, Scope, Workspace
from jobs.models.catalogue import SOONEST
from jobs.templatetags import ui
from jobs.views.asking import approvers_of
from jobs.views.frame import Frame, swatch_of
from jobs.views.words import usually

NO_CAP = "This project has no monthly cap yet, so nothing can be sent. A manager sets one on its page."
WINDOW_WORDS = {SOONEST: "As soon as possible", "2h": "Within 2 hours", "8h": "Within 8 hours"}
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a person may choose from on a day: their projects by slug, and today's price of each model."""

    today: dt.date
    projects: dict[str, Project]
    prices: dict[str, Price]
    workspace: Workspace

    @classmethod
    def to(cls, person: Frame) -> "Offer":
        """Read it in two queries, and one for the workspace."""
        today = person.today
        projects = (
            Project.objects.open_to(person.user)
            .select_related("connection", "default_model__successor")
            .with_allowed_names()
        )
        in_order = sorted(Price.objects.in_force(today), key=lambda price: (price.model.rung, price.model_id))
        return cls(
            today,
            {project.slug: project for project in projects},
            {price.model_id: price for price in in_order},
            person.workspace,
        )

    @property
    def first_project(self) -> Project:
        """Where a job belongs until another project is chosen."""
        return next(iter(self.projects.values()))

    def beside(self, project: Project) -> list[int]:
        """The person's other projects, by id, on the side of this one: real or practice."""
        side = (one for one in self.projects.values() if one.is_practice == project.is_practice)
        return [one.pk for one in side if one.pk != project.pk]

    def models_of(self, project: Project) -> dict[str, Price]:
        """Today's prices of the models that a project uses, cheapest rung first."""
        allowed: list[str] = getattr(project, "allowed_names", [])
        return {name: price for name, price in self.prices.items() if not allowed or name in allowed}


@dataclass(frozen=True, slots=True)
class Card:
    """A model to choose: what the job would likely cost on it (USD) and how long it usually takes."""

    spec: ModelSpec
    likely: forecast.Likely | None
    usual: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class WindowChoice:
    """Within what time an answer may be needed, and what waiting so long likely saves (USD)."""

    name: str
    words: str
    saves: tuple[Decimal, Decimal] | None
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """A tool that the API runs itself: USD for 1,000 calls, and why it cannot be had, if it cannot."""

    name: str
    fee: Decimal
    withheld: str


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why the job cannot be sent as it stands, and the output limit with which it could, if there is one.

    `asks` is what an approver can get out of the way: the limit or a budget.
    """

    message: str
    fitting: int | None = None
    asks: AskedBecause | None = None


@dataclass(frozen=True)
class Panel:
    """The panel for a job that is being written; asks the database only for what is shown."""

    offer: Offer
    wanted: JobSpec

    @cached_property
    def price(self) -> Price | None:
        """Today's price of the chosen model; None while no model that can be sent is chosen."""
        return self.offer.models_of(self.wanted.project).get(self.wanted.model)

    @property
    def spec(self) -> ModelSpec | None:
        return self.price.model if self.price else None

    @cached_property
    def input_bound(self) -> int:
        """The most input tokens it can be charged for."""
        if self._ceiling is None:
            return self.wanted.input_bound(self.spec) if self.spec else 0
        return self._ceiling.input_bound

    @cached_property
    def ceiling(self) -> Decimal | None:
        """The most it can cost, USD."""
        return self._ceiling.worst_case if self._ceiling else None

    @cached_property
    def likely(self) -> forecast.Likely | None:
        """The likely cost of the chosen model, USD."""
        if self.price is None or self.wanted.max_output_tokens < 1:
            return None
        return forecast.likely_cost(
            self.wanted.project,
            self.price.model,
            self.price,
            effort=self.wanted.effort,
            input_tokens=self.input_guess,
            max_output_tokens=self.wanted.max_output_tokens,
            mode=self.wanted.mode,
            window=self.wanted.window,
            others=self.offer.beside(self.wanted.project),
        )

    @cached_property
    def windows(self) -> list[WindowChoice]:
        """The completion windows of the chosen model, where there is a choice, and what each likely saves."""
        if self.price is None:
            return []
        names = lifecycle.windows_of(self.price, self.wanted.project.connection)
        return [
            WindowChoice(name, WINDOW_WORDS[name], self._saved_by(name), name == self.wanted.window)
            for name in names
            if len(names) > 1
        ]

    def _saved_by(self, window: str) -> tuple[Decimal, Decimal] | None:
        """Return what waiting likely saves, USD; None where it saves nothing."""
        if self.price is None or self.likely is None or window == SOONEST:
            return None
        without, chosen, waiting = (
            self.price.rates.multiplier(None, name) for name in (SOONEST, self.wanted.window, window)
        )
        part = (without - waiting) / chosen
        return self.likely.low * part, self.likely.high * part

    @cached_property
    def cards(self) -> list[Card]:
        """Every model the project uses; the likely cost of those not chosen rests on their usual use."""
        found = []
        for name, price in self.offer.models_of(self.wanted.project).items():
            spec, is_chosen = price.model, name == self.wanted.model
            effort = (
                self.wanted.effort if self.wanted.effort in spec.efforts_offered() else spec.default_effort
            )
            likely = self.likely if is_chosen else self._usual_cost(price, effort)
            found.append(Card(spec, likely, usually(*usual_seconds(spec, effort)), is_chosen))
        return found

    @property
    def standard(self) -> Card | None:
        """The chosen model in standard mode."""
        if self.price is None:
            return None
        spec, effort = self.price.model, self.wanted.effort
        likely = self._usual_cost(self.price, effort)
        return Card(spec, likely, usually(*usual_seconds(spec, effort)), is_chosen=False)

    @property
    def tools(self) -> list[ToolChoice]:
        """The tools of the API, as the model has them through the project's connection."""
        if self.price is None:
            return []
        kind = self.wanted.project.connection.kind
        fees = self.price.rates.tool_fees
        return [
            ToolChoice(
                name,
                fees.get(name, ZERO) * 1_000,
                withheld(name, spec=self.price.model, price=self.price, kind=kind),
            )
            for name in BUILT_IN
        ]

    @property
    def tools_of(self) -> str:
        """What the tools on offer depend on."""
        return f"{self.wanted.model} {self.wanted.project.connection_id}"

    @property
    def tools_said(self) -> str:
        """The tools given, by name."""
        names = (
            tool.get("name") or tool.get("server_label") or BUILT_IN.get(str(tool.get("type")), "")
            for tool in self.wanted.tools
            if isinstance(tool, dict)
        )
        return ", ".join(str(name)[:40] for name in names if name)

    @property
    def main_cards(self) -> list[Card]:
        """The project's default, what follows it, and the two cheapest: most choices are among these."""
        default = self.wanted.project.default_model or self.offer.workspace.default_model
        shown = {card.spec.pk for card in self.cards[:2]}
        if default is not None:
            shown |= {default.pk, str(default.successor_id)}
        return [card for card in self.cards if card.spec.pk in shown]

    @property
    def more_cards(self) -> list[Card]:
        main = {card.spec.pk for card in self.main_cards}
        return [card for card in self.cards if card.spec.pk not in main]

    @property
    def is_more_chosen(self) -> bool:
        return any(card.is_chosen for card in self.more_cards)

    @property
    def efforts(self) -> list[str]:
        """The efforts of the chosen model that the project uses, undocumented ones last."""
        allowed = self.wanted.project.allowed_efforts
        offered = self.spec.efforts_offered() if self.spec else []
        return [effort for effort in offered if not allowed or effort in allowed]

    @property
    def modes(self) -> list[str]:
        """The chosen model's modes, where there is a choice."""
        return self.spec.modes if self.spec and len(self.spec.modes) > 1 else []

    @property
    def undocumented(self) -> str:
        """What to say before the chosen effort is sent, if OpenAI documents it nowhere."""
        found = self.spec.undocumented_efforts.get(self.wanted.effort, "") if self.spec else ""
        return str(found)

    @property
    def swatch(self) -> int:
        return swatch_of(self.wanted.project.pk)

    @cached_property
    def tightest(self) -> BudgetPeriod | None:
        """This month's hard cap with the least left of those that the job counts in."""
        hard = [period for period in self._periods if period.budget.is_hard]
        return min(hard or self._periods, key=lambda period: period.left, default=None)

    @property
    def left(self) -> Decimal:
        return max(self.tightest.left, ZERO) if self.tightest else ZERO

    @property
    def cap(self) -> Decimal:
        """USD that may be spent this month under the tightest cap."""
        return self.tightest.room if self.tightest else ZERO

    @property
    def over_soft(self) -> Decimal:
        """USD by which the job may go over a soft cap that admits it all the same."""
        soft = [period.left for period in self._periods if not period.budget.is_hard]
        return max((self.ceiling or ZERO) - min(soft), ZERO) if soft else ZERO

    @property
    def left_at_worst(self) -> Decimal:
        """USD left if it costs the most."""
        return max(self.left - (self.ceiling or ZERO), ZERO)

    @cached_property
    def obstacle(self) -> Obstacle | None:
        """What money or the output limit has against the job; None when it fits."""
        if self.price is None or self.ceiling is None:
            return None
        most = self.price.model.max_output_tokens
        if not MIN_OUTPUT_TOKENS <= self.wanted.max_output_tokens <= most:
            return Obstacle(
                f"The output limit is {MIN_OUTPUT_TOKENS} to {most:,} tokens for {self.price.model_id}.", most
            )
        if self.tightest is None or not self._has_cap:
            return Obstacle(NO_CAP)
        limit = self.wanted.project.job_limit
        over = ""
        if limit is not None and self.ceiling > limit:
            over = f"Over the {ui.money(limit)} limit per job of this project."
        if self.tightest.budget.is_hard and self.tightest.missing(self.ceiling):
            missing = too_little(self.ceiling, self.tightest.left, self.tightest.budget)
            return Obstacle(f"{missing} {over}".strip(), self._fitting(), AskedBecause.BUDGET)
        return Obstacle(over, self._fitting(), AskedBecause.LIMIT) if over else None

    @cached_property
    def approvers(self) -> str:
        """Who may let it go where something that can be asked for is in its way: Ana or Tomás."""
        return approvers_of(self.wanted.project.pk)

    @cached_property
    def instead(self) -> JobSpec | None:
        """The job in standard mode or on the next smaller model, where it would fit so; None else."""
        if self.obstacle is None or self.obstacle.asks is None or self.spec is None:
            return None
        used = self.offer.models_of(self.wanted.project)
        return lifecycle.instead(self.wanted, used, self._room, self.offer.today)

    @property
    def instead_said(self) -> str:
        """Where that runs: on o3, in standard mode, or both; empty where there is none."""
        other = self.instead
        if other is None:
            return ""
        on = f"on {other.model}" if other.model != self.wanted.model else ""
        mode = f"in {other.mode} mode" if other.mode != self.wanted.mode else ""
        return f"{on} {mode}".strip()

    @cached_property
    def _room(self) -> Decimal:
        """USD that the job may cost: the limit per job, or what the hard caps leave."""
        limits = [period.left for period in self._periods if period.budget.is_hard]
        if self.wanted.project.job_limit is not None:
            limits.append(self.wanted.project.job_limit)
        return max(min(limits, default=ZERO), ZERO)

    @property
    def meter(self) -> dict[str, Decimal]:
        """The cap's bar in percent: spent, held, and this job's ceiling after them."""
        period = self.tightest
        if period is None or period.room <= 0:
            return {}
        return {
            "spent": period.spent_percent,
            "held": period.held_percent,
            "before": period.spent_percent + period.held_percent,
            "this": period.percent_of_room(self.ceiling or ZERO),
        }

    @property
    def likely_bar(self) -> dict[str, Decimal]:
        """The likely range as a part of the ceiling, in percent."""
        if not self.ceiling or self.likely is None:
            return {}
        low = self.likely.low / self.ceiling * 100
        return {"low": low, "width": max(self.likely.high / self.ceiling * 100 - low, Decimal(1))}

    @cached_property
    def _periods(self) -> list[BudgetPeriod]:
        budgets = Budget.objects.applying_to(self.wanted.project, self.wanted.by.pk, None)
        return budgets.standing().select_related("project").periods_in(clock.month_of(self.offer.today))

    @property
    def _has_cap(self) -> bool:
        return any(period.budget.scope == Scope.PROJECT for period in self._periods)

    def _fitting(self) -> int | None:
        if self.price is None:
            return None
        return pricing.fitting_output(
            self.price.rates,
            room=self._room,
            input_tokens=self.input_bound,
            maximum=self.wanted.max_output_tokens,
            window=self.wanted.window,
            mode_factor=self.price.model.mode_factor(self.wanted.mode),
            tool_calls=self._ceiling.tool_calls if self._ceiling else None,
        )

    @cached_property
    def _ceiling(self) -> Ceiling | None:
        return lifecycle.ceiling_at(self.wanted, self.price.model, self.price) if self.price else None

    @cached_property
    def input_guess(self) -> int:
        """The input tokens it will likely have."""
        typed = forecast.guess_input_tokens(self.wanted.prompt + self.wanted.instructions)
        files = sum(given.attachment.tokens_about(self.spec) for given in self.wanted.files)
        carried = forecast.guess_carried(self.wanted.previous) if self.wanted.previous else 0
        return typed + files + carried

    def _usual_cost(self, price: Price, effort: str) -> forecast.Likely | None:
        spec = price.model
        mode = "standard" if "standard" in spec.modes else spec.modes[0]
        limit = min(self.wanted.max_output_tokens, spec.max_output_tokens)
        if limit < 1:
            return None
        least, _, most = spec.usual_output(effort, mode)
        low, high = pricing.likely(
            rates=price.rates,
            input_tokens=self.input_guess,
            output_low=least,
            output_high=most,
            max_output_tokens=limit,
            window=self.wanted.window if self.wanted.window in price.windows_offered else SOONEST,
            mode_factor=spec.mode_factor(mode),
        )
        return forecast.Likely(low, high, 0)


def settled(wanted: JobSpec, offer: Offer) -> JobSpec:
    """Return `wanted` with an effort, a mode and a completion window that its model has."""
    price = offer.prices.get(wanted.model)
    return lifecycle.settled(wanted, price) if price else wanted


def too_little(ceiling: Decimal, left: Decimal, budget: Budget, *, is_own: bool = True) -> str:
    """Say what a ceiling lacks, USD, and whose cap is in the way; a member's is the reader's if `is_own`."""
    whose = {
        Scope.PROJECT: f"in {budget.project}",
        Scope.MEMBER: "of your own cap" if is_own else f"of the {budget}",
        Scope.TOKEN: "of this token’s cap",
    }.get(Scope(budget.scope), "in the whole workspace")
    rest = f"{ui.money(left)} is left" if left > 0 else "nothing is left"
    missing = ui.ceiling(ceiling - left)
    return f"This could cost {ui.ceiling(ceiling)} and {rest} this month {whose}: {missing} too little."
