"""Comparing prices with a published list: shown first, written when told to, and never edited."""

import datetime as dt
import io
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    Tier,
    TieredPrices,
)
from pytest_django.fixtures import Settings

from jobs.management import published
from jobs.management.commands import refresh_prices
from jobs.models import ModelSpec, Price

pytestmark = pytest.mark.django_db

TODAY = dt.date(2026, 11, 23)


@pytest.fixture(autouse=True)
def today(settings: Settings, db: None) -> None:
    settings.PONDER_TODAY = TODAY
    if not ModelSpec.objects.exists():  # emptied by a test that commits
        ModelSpec.objects.seed()


def run(*words: str) -> tuple[str, str]:
    """Return what was printed, and why it failed."""
    out = io.StringIO()
    try:
        call_command("refresh_prices", *words, stdout=out)
    except CommandError as error:
        return out.getvalue(), str(error)
    return out.getvalue(), ""


def publish(
    monkeypatch: pytest.MonkeyPatch, prices: ModelPrice | list[ConditionalPrice], *variants: PriceVariant
) -> None:
    model = ModelInfo(
        id="gpt-6-sol",
        match=ClauseEquals(equals="gpt-6-sol"),
        prices=prices,
        price_variants=list(variants) or None,
    )
    monkeypatch.setattr(refresh_prices, "known", lambda: {"gpt-6-sol": model})


def a_price(**changed: Any) -> ModelPrice:
    """Return what the catalogue has for gpt-6-sol, in the words of genai-prices."""
    long = {"input": "2", "cache_read": "0.2", "cache_write": "2.5", "output": "10"}
    times = {"output": Decimal("1.5")}
    given = {
        f"{name}_mtok": TieredPrices(
            base=Decimal(base), tiers=[Tier(start=272_000, price=Decimal(base) * times.get(name, 2))]
        )
        for name, base in long.items()
    }
    return ModelPrice(**{**given, "web_searches_kcount": Decimal(10), **changed})


def later(price: ModelPrice, day: dt.date) -> ConditionalPrice:
    return ConditionalPrice(constraint=StartDateConstraint(start_date=day), prices=price)


def rows() -> list[tuple[dt.date, Decimal, Decimal]]:
    found = Price.objects.filter(model="gpt-6-sol").order_by("valid_from")
    return [(row.valid_from, row.input, row.output) for row in found]


def test_the_shipped_catalogue_is_what_is_published() -> None:
    assert run() == (f"Every price is the one that {published.SOURCE} records.\n", "")


def test_what_differs_is_shown_and_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, a_price(output_mtok=Decimal(8), cache_read_mtok=None))
    before = rows()
    said, why = run("gpt-6-sol")
    assert [line.split() for line in said.splitlines()] == [
        ["gpt-6-sol", "from", "2026-11-23", "output", "10", "→", "8"],
        ["gpt-6-sol", "from", "2026-11-23", "long", "context", "output", "1.5", "→", "1"],
    ]
    assert why == "Nothing was written. --write adds a successor for each row above."
    assert rows() == before


def test_a_successor_takes_over_what_is_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, a_price(input_mtok=Decimal(3), web_searches_kcount=Decimal(20)))
    before = Price.objects.filter(model="gpt-6-sol").latest("valid_from")
    said, why = run("--write", "gpt-6-sol")
    assert ("gpt-6-sol: a successor from 2026-11-23 is added." in said, why) == (True, "")
    after = Price.objects.filter(model="gpt-6-sol").latest("valid_from")
    assert (after.valid_from, after.input) == (TODAY, 3)
    # A surcharge that is left out is no surcharge that has ended: ceilings would be too low.
    assert after.long_context_over == before.long_context_over is not None
    assert after.tool_fees == {**before.tool_fees, "web_search": "0.02"}
    assert (after.windows, after.tiers, after.cache_write_12h) == (
        before.windows,
        before.tiers,
        before.cache_write_12h,
    )
    assert after.source == f"OpenAI pricing page as recorded by {published.SOURCE}"
    before.refresh_from_db()
    assert before.input == 2
    assert run("gpt-6-sol")[1] == ""


def at_tier(tier: str, begins: dt.date, **rates: int | str) -> PriceVariant:
    prices = ModelPrice(**{f"{name}_mtok": Decimal(rate) for name, rate in rates.items()})
    constraint = StartDateConstraint(start_date=begins)
    return PriceVariant(when={"service_tier": tier}, prices=prices, constraint=constraint)


def test_a_tier_costs_what_its_dearest_rate_is_times_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Price.objects.filter(model="gpt-6-sol").latest("valid_from")
    flex = at_tier("flex", TODAY, input=1, cache_read="0.1", cache_write="1.25", output=6)
    soon = at_tier("priority", TODAY + dt.timedelta(days=1), input=9, output=45)
    publish(monkeypatch, a_price(), flex, soon)
    said, _ = run("--write", "gpt-6-sol")
    assert said.split("\n")[0].split()[3:] == ["tiers", "flex", "0.5", "→", "flex", "0.6"]
    after = Price.objects.filter(model="gpt-6-sol").latest("valid_from")
    assert after.tiers == {**before.tiers, "flex": "0.6"}
    assert run("gpt-6-sol")[1] == ""


def shown_of_flex(monkeypatch: pytest.MonkeyPatch, price: ModelPrice, **rates: Any) -> list[str]:
    """Return what is said to be other than the 0.5 of the row, of a tier with these rates."""
    publish(monkeypatch, price, at_tier("flex", TODAY, **rates))
    lines = [line.split()[3:] for line in run("gpt-6-sol")[0].splitlines()]
    return next((line for line in lines if line[0] == "tiers"), [])


def test_a_rate_that_a_tier_does_not_record_costs_no_less_there(monkeypatch: pytest.MonkeyPatch) -> None:
    none_off = ["tiers", "flex", "0.5", "→", "flex", "1"]
    assert shown_of_flex(monkeypatch, a_price(), input=1, output=6) == none_off
    assert shown_of_flex(monkeypatch, a_price(), input=1, output=30)[-1] == "3"
    # What the default does not have either, no tier has.
    only = a_price(cache_read_mtok=None, cache_write_mtok=None)
    assert shown_of_flex(monkeypatch, only, input=1, output=6)[-1] == "0.6"


@pytest.mark.parametrize(("cached", "times"), [("0", "0.6"), ("0.1", "")])
def test_what_costs_nothing_by_default_has_no_number_of_times(
    monkeypatch: pytest.MonkeyPatch, cached: str, times: str
) -> None:
    free = a_price(cache_read_mtok=Decimal(0), cache_write_mtok=None)
    said = shown_of_flex(monkeypatch, free, input=1, cache_read=cached, output=6)
    assert "".join(said[-1:]) == times
    nothing = ModelPrice(input_mtok=Decimal(0), output_mtok=Decimal(0))
    assert shown_of_flex(monkeypatch, nothing, input=0, output=0) == []


def test_a_price_that_begins_later_succeeds_then(monkeypatch: pytest.MonkeyPatch) -> None:
    begins = dt.date(2026, 12, 1)
    dearer = a_price(
        output_mtok=TieredPrices(base=Decimal(20), tiers=[Tier(start=272_000, price=Decimal(30))])
    )
    publish(monkeypatch, [ConditionalPrice(prices=a_price()), later(dearer, begins)])
    said, _ = run("--write", "gpt-6-sol")
    assert "a successor from 2026-12-01 is added" in said
    assert rows()[-1] == (begins, 2, 20)
    assert run("gpt-6-sol")[1] == ""


def test_a_row_of_today_is_not_edited(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, a_price(input_mtok=Decimal(3)))
    run("--write", "gpt-6-sol")
    publish(monkeypatch, a_price(input_mtok=Decimal(4)))
    said, _ = run("--write", "gpt-6-sol")
    assert "has a row from 2026-11-23 already, and rows are never edited" in said
    assert rows()[-1][1] == 3


def test_what_is_unknown_is_listed_and_what_is_off_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, a_price())
    said, why = run()
    assert "Not in genai-prices" in said
    assert "gpt-6-astra" in said
    assert "o4-mini" not in said
    assert why == ""


def test_a_model_without_a_price_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, a_price())
    Price.objects.filter(model="gpt-6-sol").delete()
    assert run("--write", "gpt-6-sol")[1] == ""
    assert rows() == []


def test_a_model_that_is_not_in_the_catalogue_is_said() -> None:
    assert run("gpt-9") == ("", "There is no model 'gpt-9' in the catalogue.")
    assert not ModelSpec.objects.filter(pk="gpt-9").exists()
