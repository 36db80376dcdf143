"""The sandbox's own prices and arithmetic."""

from datetime import date
from decimal import Decimal

import pytest
from genai_prices import data as genai

from jobs.sandbox import bill, catalogue, prices
from jobs.sandbox.life import Usage

DAY = date(2026, 11, 30)


@pytest.mark.parametrize(
    ("model", "usage", "tier", "window", "amount"),
    [
        ("o3-pro", Usage(1_000, 0, 16_000, 15_000), "default", "soonest", "1.30"),
        # No cached price is published: cached input costs the full rate.
        ("o3-pro", Usage(1_000, 500, 0, 0), "default", "soonest", "0.02"),
        ("o3", Usage(1_000_000, 400_000, 100_000, 0), "default", "soonest", "2.20"),
        ("o3", Usage(1_000, 0, 1_000, 0), "priority", "soonest", "0.0175"),
        ("o3", Usage(1_000, 0, 1_000, 0), "flex", "soonest", "0.005"),
        ("o3-pro", Usage(0, 0, 1_000, 0), "priority", "soonest", "0.16"),
        ("gpt-5.6-sol", Usage(1_000_000, 0, 1_000, 0), "default", "soonest", "8.03"),
        ("gpt-5.6-sol", Usage(1_000, 0, 1_000, 0), "default", "2h", "0.0168"),
        ("gpt-5.6-sol", Usage(1_000, 0, 1_000, 0), "default", "8h", "0.0144"),
        ("o3-pro", Usage(0, 0, 0, 0), "default", "soonest", "0"),
    ],
)
def test_a_usage_costs(model: str, usage: Usage, tier: str, window: str, amount: str) -> None:
    assert bill.total(bill.lines(model, usage, tier=tier, window=window, day=DAY)) == Decimal(amount)


def test_the_day_chooses_the_price() -> None:
    usage = Usage(0, 0, 1_000_000, 0)
    amounts = [
        bill.total(bill.lines("gpt-5.6-sol", usage, tier="default", window="soonest", day=day))
        for day in (date(2026, 8, 20), date(2026, 8, 21))
    ]
    assert amounts == [Decimal(30), Decimal(20)]


def test_every_model_has_a_price_and_nothing_is_priced_before_it_existed() -> None:
    for model in catalogue.MODELS:
        assert prices.price_of(model.id, DAY).output > 0
    with pytest.raises(LookupError):
        prices.price_of("o3-pro-2025-06-10", DAY)
    with pytest.raises(LookupError):
        prices.price_of("o3", date(2020, 1, 1))


def test_the_prices_are_the_published_ones() -> None:
    known = {
        model.id: model
        for provider in genai.providers
        if provider.id == "openai"
        for model in provider.models
    }
    for model in catalogue.MODELS:
        price = prices.price_of(model.id, DAY)
        found = known[model.id].prices
        published = found[-1].prices if isinstance(found, list) else found
        for ours, theirs in (
            (price.input, published.input_mtok),
            (price.cached_input, published.cache_read_mtok),
            (price.output, published.output_mtok),
        ):
            assert ours == getattr(theirs, "base", theirs), model.id
        tiers = getattr(published.input_mtok, "tiers", [])
        assert [tier.price for tier in tiers] == [price.input * price.long_input] * len(tiers), model.id
        assert bool(tiers) == (price.long_input > 1), model.id


def test_costs_are_grouped_by_day_and_line() -> None:
    lines = [{"line_item": "o3-pro, output_tokens", "quantity": 10, "amount": "0.10"}]
    rows = [
        {"at": at, "project_id": project, "api_key_id": "key_1", "lines": lines}
        for at, project in ((86_400 * 10 + 5, "a"), (86_400 * 11 - 1, "b"), (86_400 * 12, "a"))
    ]
    days = bill.buckets(rows, start=86_400 * 10, end=86_400 * 13, group_by=frozenset())
    sums = [[found["amount"]["value"] for found in day["results"]] for day in days]
    assert sums == [[0.2], [], [0.1]]
    by_project = bill.buckets(rows, start=86_400 * 10, end=86_400 * 11, group_by=frozenset({"project_id"}))
    assert [(found["project_id"], found["line_item"]) for found in by_project[0]["results"]] == [
        ("a", None),
        ("b", None),
    ]
