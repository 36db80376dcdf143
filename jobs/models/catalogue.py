"""The catalogue: models, efforts and dated prices as rows, never constants."""

import datetime as dt
import json
import re
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models, transaction

from jobs.models.questions import Blank, Question
from jobs.pricing import Rates

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
# Within what time an answer is needed, as in the API (openai-python 3.54, `background_options`).
SOONEST = "soonest"
WINDOWS = {SOONEST: dt.timedelta(0), "2h": dt.timedelta(hours=2), "8h": dt.timedelta(hours=8)}
CATALOGUE = Path(__file__).resolve().parent.parent / "fixtures" / "catalogue.json"


class ModelSpecQuerySet(models.QuerySet["ModelSpec"]):
    """Models, read as phrases."""

    def named(self, name: str) -> "ModelSpecQuerySet":
        """The one with an id, as an address or a form gives it."""
        # PostgreSQL refuses a NUL even to look for it.
        return self.none() if "\x00" in name else self.filter(pk=name)

    def find(self, name: str) -> "ModelSpec | None":
        """Return the one with an id, as an address or a form gives it."""
        return None if "\x00" in name else _named().first(name=name)

    def choosable(self, day: dt.date) -> "ModelSpecQuerySet":
        """Those that can be sent on `day`: not shut down, and with a price in force."""
        alive = models.Q(shutdown_date=None) | models.Q(shutdown_date__gt=day)
        priced = Price.objects.filter(model=models.OuterRef("pk"), valid_from__lte=day)
        return self.filter(alive, models.Exists(priced)).order_by("rung", "id")

    def seed(self, path: Path = CATALOGUE) -> None:
        """Add the models and price rows of the catalogue that are missing; change none that exist."""
        entries = json.loads(path.read_text())["models"]
        specs, prices = [], []
        for entry in entries:
            told = {"prices", "successor", "note", "sources"}
            spec = ModelSpec(
                successor_id=entry["successor"], **{name: entry[name] for name in entry if name not in told}
            )
            specs.append(spec)
            prices += [Price(model=spec, **price) for price in entry["prices"]]
        with transaction.atomic():
            self.bulk_create(specs, ignore_conflicts=True)
            Price.objects.bulk_create(prices, ignore_conflicts=True)


class ModelSpec(models.Model):
    """A model that can be, or once could be, asked."""

    id = models.CharField(primary_key=True, max_length=80)
    name = models.CharField(max_length=80)
    family = models.CharField(max_length=40)
    rung = models.SmallIntegerField(help_text="Place on the ladder, cheapest first.")
    context_window = models.PositiveIntegerField()
    max_output_tokens = models.PositiveIntegerField()
    efforts = ArrayField(models.CharField(max_length=16), default=list)
    default_effort = models.CharField(max_length=16)
    undocumented_efforts = models.JSONField(
        default=dict, blank=True, help_text="Effort → what to say before it is used."
    )
    modes = ArrayField(models.CharField(max_length=16), default=list)
    mode_factors = models.JSONField(
        default=dict, blank=True, help_text="Mode → factor on the ceiling's output."
    )
    completion_windows = ArrayField(models.CharField(max_length=16), default=list, blank=True)
    capabilities = ArrayField(models.CharField(max_length=40), default=list, blank=True)
    snapshots = ArrayField(models.CharField(max_length=80), default=list, blank=True)
    shutdown_date = models.DateField(null=True, blank=True)
    successor = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True)
    successor_mode = models.CharField(max_length=16, null=True, blank=True)
    prior = models.JSONField(
        default=dict, blank=True, help_text="Effort → P10, P50, P90 of tokens and seconds."
    )
    image_rule = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        help_text="How it counts a picture: base and tile, or budget and multiplier.",
    )
    objects = ModelSpecQuerySet.as_manager()

    class Meta:
        ordering = ["rung", "id"]
        verbose_name = "model"

    def __str__(self) -> str:
        return self.name

    def is_off(self, day: dt.date) -> bool:
        return self.shutdown_date is not None and self.shutdown_date <= day

    def efforts_offered(self) -> list[str]:
        """Every effort that can be asked for, the undocumented ones last."""
        return [*self.efforts, *self.undocumented_efforts]

    def mode_factor(self, mode: str) -> Decimal:
        return Decimal(str(self.mode_factors.get(mode, "1")))

    def answers_to(self, name: str) -> bool:
        """Tell whether a response's `model` is this one or one of its dated snapshots."""
        dated = name.startswith(f"{self.id}-") and _DATE.fullmatch(name[len(self.id) + 1 :])
        return name == self.id or name in self.snapshots or bool(dated)

    def price_on(self, day: dt.date) -> "Price | None":
        """Return the price row in force on `day`."""
        price = _in_force().first(model=self.pk, day=day)
        if price is not None:
            price.model = self
        return price

    def living_successor(self, day: dt.date) -> "ModelSpec | None":
        """Follow successors until one that is not shut down on `day`."""
        seen, spec = {self.pk}, self.successor
        while spec is not None and spec.is_off(day):
            if spec.pk in seen:
                return None
            seen.add(spec.pk)
            spec = spec.successor
        return spec

    def heir(self, day: dt.date) -> "tuple[ModelSpec, str] | None":
        """Return what takes this model's place on `day`: a living model and its mode."""
        found = self.living_successor(day)
        if found is None:
            return None
        mode = self.successor_mode or "standard"
        return found, mode if mode in found.modes else found.modes[0]

    def usual(self, effort: str) -> Mapping[str, Sequence[float]]:
        """The catalogue's prior for an effort: tokens and seconds as [P10, P50, P90]."""
        found: Mapping[str, Sequence[float]] | None = self.prior.get(effort) or self.prior.get(
            self.default_effort
        )
        return found or {
            "reasoning": [500, 4000, 20000],
            "answer": [200, 800, 3000],
            "seconds": [20, 120, 600],
        }

    def usual_output(self, effort: str, mode: str = "standard") -> tuple[int, int, int]:
        """P10, P50 and P90 of output tokens by the prior, times the passes that a mode bills."""
        found, factor = self.usual(effort), self.mode_factor(mode)
        low, middle, high = (
            int(Decimal(str(thought + said)) * factor)
            for thought, said in zip(found["reasoning"], found["answer"], strict=True)
        )
        return low, middle, high


@lru_cache
def _named() -> Question[ModelSpec]:
    return Question(ModelSpec.objects.filter(pk=Blank("name")).order_by())


@lru_cache
def _in_force() -> "Question[Price]":
    rows = Price.objects.filter(model=Blank("model"), valid_from__lte=Blank("day"))
    return Question(rows.order_by("-valid_from")[:1])


def _multipliers(stored: Mapping[str, Any]) -> dict[str, Decimal]:
    return {name: Decimal(str(factor)) for name, factor in stored.items()}


def offered(taken: Collection[str], priced: Collection[str]) -> list[str]:
    """Return the completion windows that a model takes and that have a price, the soonest first."""
    return [SOONEST, *(name for name in WINDOWS if name in taken and name in priced and name != SOONEST)]


class PriceQuerySet(models.QuerySet["Price"]):
    """Price rows, read as phrases."""

    def in_force(self, day: dt.date | Blank) -> "PriceQuerySet":
        """The row of a day of each model that lives then, with the model."""
        alive = models.Q(model__shutdown_date=None) | models.Q(model__shutdown_date__gt=day)
        rows = self.filter(alive, valid_from__lte=day).select_related("model")
        return rows.order_by("model_id", "-valid_from").distinct("model_id")

    def windows_on(self, day: dt.date | Blank) -> "models.QuerySet[Price, Any]":
        """Of each model that lives on a day: id, the completion windows it takes, and those with a price."""
        return self.in_force(day).values_list("model", "model__completion_windows", "windows")


class Price(models.Model):
    """A dated price, USD per million tokens; succeeded by a later row, never edited."""

    model = models.ForeignKey(ModelSpec, on_delete=models.PROTECT)
    valid_from = models.DateField()
    input = models.DecimalField(max_digits=20, decimal_places=10)
    cached_input = models.DecimalField(max_digits=20, decimal_places=10, null=True, blank=True)
    cache_write_30m = models.DecimalField(max_digits=20, decimal_places=10, null=True, blank=True)
    cache_write_12h = models.DecimalField(max_digits=20, decimal_places=10, null=True, blank=True)
    output = models.DecimalField(max_digits=20, decimal_places=10)
    long_context_over = models.PositiveIntegerField(null=True, blank=True, help_text="Input tokens.")
    long_context_input = models.DecimalField(max_digits=10, decimal_places=4, default=1)
    long_context_output = models.DecimalField(max_digits=10, decimal_places=4, default=1)
    tiers = models.JSONField(default=dict, blank=True)
    windows = models.JSONField(default=dict, blank=True)
    region = models.DecimalField(max_digits=10, decimal_places=4, default=1)
    tool_fees = models.JSONField(default=dict, blank=True, help_text="USD per call.")
    source = models.CharField(max_length=300)
    objects = PriceQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "valid_from"], name="one_price_a_day")]
        ordering = ["model", "-valid_from"]

    def __str__(self) -> str:
        return f"{self.model_id} from {self.valid_from}"

    @property
    def windows_offered(self) -> list[str]:
        """The completion windows that its model takes and that have a price here, the soonest first."""
        return offered(self.model.completion_windows, self.windows)

    @property
    def rates(self) -> Rates:
        """The row as `pricing` reads it."""
        return Rates(
            input=self.input,
            cached_input=self.cached_input,
            cache_write_30m=self.cache_write_30m,
            cache_write_12h=self.cache_write_12h,
            output=self.output,
            long_context_over=self.long_context_over,
            long_context_input=Decimal(self.long_context_input),
            long_context_output=Decimal(self.long_context_output),
            tiers=_multipliers(self.tiers),
            windows=_multipliers(self.windows),
            region=Decimal(self.region),
            tool_fees=_multipliers(self.tool_fees),
        )
