"""Advises on the new-job page where less would do: a smaller model, or a shorter input."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from jobs import clock, forecast, pricing
from jobs.lifecycle.tools import built_in
from jobs.models import ModelSpec, Price
from jobs.pricing import Usage
from jobs.templatetags import ui
from jobs.views.panel import Panel

DEAR = Decimal("0.50")  # USD a job likely costs at most, below which a smaller model is not worth a thought
TIMES_CHEAPER = 4  # from here on a smaller model is
HIGH = ("high", "xhigh", "max")  # the API's words for the efforts that pay for hard questions only
SHORT = 200  # characters of a question that needs no reading
VOLUME = 50  # jobs of a project in a month
LONG_INPUT = 150_000  # tokens


@dataclass(frozen=True, slots=True)
class Smaller:
    """A model and mode that costs a fraction, and what the job would likely cost on it (USD)."""

    price: Price
    mode: str
    likely: forecast.Likely

    @property
    def name(self) -> str:
        return _named(self.price.model, self.mode)

    @property
    def about(self) -> Decimal:
        """The middle of what it likely costs."""
        return (self.likely.low + self.likely.high) / 2


@dataclass(frozen=True, slots=True)
class Tip:
    """One piece of advice: what is known, in a few words, and the rest of the sentence."""

    finding: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to think of before a job is sent; `smaller` is what a click would choose."""

    tips: tuple[Tip, ...] = ()
    smaller: Smaller | None = None


def advice_on(panel: Panel) -> Advice:
    """Return the advice on a job that is being written; one query where the model is a dear one."""
    smaller = smaller_than(panel)
    if smaller is None or panel.spec is None:
        return Advice()
    tips = tuple(_tips(panel, panel.spec, smaller))
    return Advice(tips, smaller) if tips else Advice()


def smaller_than(panel: Panel) -> Smaller | None:
    """Return the next smaller model of the family, else of the project, that costs a fraction; None for none.

    Of a model in another mode than standard it is the same in standard mode.
    """
    chosen = panel.spec
    if chosen is None or panel.likely is None or panel.likely.high < DEAR:
        return None
    if panel.wanted.mode != "standard" and "standard" in chosen.modes:
        cards = [panel.standard] if panel.standard else []
    else:
        able = _needed(panel) & set(chosen.capabilities)
        below = [
            card
            for card in panel.cards
            if card.spec.rung < chosen.rung and able <= set(card.spec.capabilities)
        ]
        cards = sorted(below, key=lambda card: (card.spec.family == chosen.family, card.spec.rung))
    prices = panel.offer.prices
    fitting = [
        Smaller(prices[card.spec.pk], "standard", card.likely)
        for card in cards
        if card.likely and card.likely.high * TIMES_CHEAPER <= panel.likely.high
    ]
    return fitting[-1] if fitting else None


def long_input(panel: Panel) -> str:
    """Say what reading alone costs, where it is much; '' where it is not."""
    tokens = panel.input_guess
    if tokens <= LONG_INPUT or panel.price is None:
        return ""
    used = Usage(input_tokens=tokens)
    cost = pricing.charge(panel.price.rates, used, service_tier="default", window="soonest").total
    return f"This is {round(tokens, -3):,} tokens of input, {ui.money(cost)} before it starts thinking."


def _tips(panel: Panel, chosen: ModelSpec, smaller: Smaller) -> Iterator[Tip]:
    wanted = panel.wanted
    known = forecast.experience(
        wanted.project,
        chosen,
        smaller=smaller.price,
        smaller_mode=smaller.mode,
        since=clock.month_of(panel.offer.today),
    )
    if wanted.effort in HIGH:
        if known.judged >= forecast.ENOUGH:
            if known.right * 2 >= known.judged:
                share = round(known.right / known.judged * 100)
                yield Tip(f"{smaller.name} was enough in {share}% of {known.judged:,} jobs like this.")
        elif len(wanted.prompt.strip()) < SHORT and not wanted.attachments and not wanted.previous:
            own = f"{_named(chosen, wanted.mode)} {wanted.effort}"
            yield Tip(f"Short question for {own}.", f"{smaller.name} is often enough.")
    # The rollups do not tell modes apart, so what one mode was used for cannot be said.
    if known.sent >= VOLUME and known.instead < known.cost and smaller.price.model != chosen:
        went = f"{known.sent:,} jobs of this project went to {chosen.pk} this month"
        yield Tip(
            f"{went}, for {ui.money(known.cost)}.",
            f"The same tokens on {smaller.name} would have cost {ui.money(known.instead)}.",
        )


def _needed(panel: Panel) -> set[str]:
    """Return the capabilities that the job makes use of."""
    wanted = panel.wanted
    needed = {"vision" if given.attachment.is_image else "pdf" for given in wanted.attachments}
    if wanted.schema is not None:
        needed.add("structured")
    if any(isinstance(tool, dict) and tool.get("type") == "function" for tool in wanted.tools):
        needed.add("functions")
    return needed | set(built_in(wanted.tools))


def _named(spec: ModelSpec, mode: str) -> str:
    return spec.pk if mode == "standard" else f"{spec.pk} {mode}"
