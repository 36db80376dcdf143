"""The catalogue: models can be corrected; a price is succeeded by a later one, never edited."""

from decimal import Decimal, InvalidOperation
from typing import Any, override

from django.contrib import admin
from django.http import HttpRequest

from jobs.admin.base import Kept, exact
from jobs.admin.people import ModelForm
from jobs.models import ModelSpec, Price


class ModelSpecForm(ModelForm):
    """A model whose JSON columns the rest of the product can read."""

    class Meta:
        model = ModelSpec
        fields = "__all__"

    def clean(self) -> dict[str, Any]:
        """Refuse what would break the pages or the ceilings that read it."""
        super().clean()
        found = self.cleaned_data
        if found.get("efforts") and found.get("default_effort") not in found["efforts"]:
            self.add_error("default_effort", "One of its efforts.")
        if not isinstance(found.get("undocumented_efforts", {}), dict):
            self.add_error("undocumented_efforts", "An object: effort → what to say before it is used.")
        if not _are_factors(found.get("mode_factors", {}), least=1):
            self.add_error("mode_factors", "An object: mode → a number from 1 on.")
        if not _is_prior(found.get("prior", {})):
            self.add_error(
                "prior", "An object: effort → reasoning, answer and seconds, each as [P10, P50, P90]."
            )
        return found


class PriceForm(ModelForm):
    """A price that succeeds the ones there are."""

    class Meta:
        model = Price
        fields = "__all__"

    def clean(self) -> dict[str, Any]:
        """Refuse a price in the past of another, and one that could lower a ceiling below the truth."""
        super().clean()
        found = self.cleaned_data
        model, valid_from = found.get("model"), found.get("valid_from")
        if model and valid_from:
            latest = model.price_set.order_by("-valid_from").first()
            if latest and valid_from <= latest.valid_from:
                self.add_error("valid_from", f"Later than the price it succeeds, of {latest.valid_from}.")
        for name, value in list(found.items()):  # an error takes its field out
            if name in RATES and value is not None and value < 0:
                self.add_error(name, "Not negative.")
            if name in FACTORS and not _are_factors(value, least=0):
                self.add_error(name, "An object: name → a number, not negative.")
        return found


RATES = (
    "input",
    "cached_input",
    "cache_write_30m",
    "cache_write_12h",
    "output",
    "long_context_input",
    "long_context_output",
    "region",
)
FACTORS = ("tiers", "windows", "tool_fees")


@admin.register(ModelSpec)
class ModelSpecAdmin(Kept):
    """Models: added and corrected, never deleted, since old jobs name them."""

    form = ModelSpecForm
    list_display = (
        "id",
        "name",
        "family",
        "rung",
        "default_effort",
        "max_output_tokens",
        "shutdown_date",
        "successor",
    )
    list_filter = ("family",)
    list_select_related = ("successor",)
    search_fields = ("id", "name")
    search_help_text = "Part of a name."

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Keep the name it is asked by: under another it would be a second model."""
        return ("id",) if obj is not None else ()


@admin.register(Price)
class PriceAdmin(Kept):
    """Dated prices, USD per million tokens."""

    form = PriceForm
    list_display = ("model", "valid_from", "input_rate", "cached_rate", "output_rate", "source")
    list_filter = ("model",)
    list_select_related = ("model",)
    date_hierarchy = "valid_from"
    ordering = ("model", "-valid_from")

    @override
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A price that was charged stays as it was: add a later one."""
        return False

    @admin.display(description="input", ordering="input")
    def input_rate(self, price: Price) -> str:
        """USD per million tokens."""
        return exact(price.input)

    @admin.display(description="cached input", ordering="cached_input")
    def cached_rate(self, price: Price) -> str:
        """USD per million tokens."""
        return exact(price.cached_input)

    @admin.display(description="output", ordering="output")
    def output_rate(self, price: Price) -> str:
        """USD per million tokens."""
        return exact(price.output)


def _are_factors(value: Any, *, least: int) -> bool:
    try:
        return all(Decimal(str(factor)) >= least for factor in value.values())
    except (AttributeError, InvalidOperation):
        return False


def _is_prior(prior: Any) -> bool:
    try:
        ranges = [usual[name] for usual in prior.values() for name in ("reasoning", "answer", "seconds")]
        return all(len(numbers) == 3 and 0 <= numbers[0] <= numbers[1] <= numbers[2] for numbers in ranges)
    except (AttributeError, KeyError, TypeError):
        return False
