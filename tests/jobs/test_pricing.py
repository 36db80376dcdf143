"""The arithmetic of money: no charge above its ceiling, parts that add up, garbage never settles as free."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import pricing
from jobs.pricing import Charge, Rates, Usage

D = Decimal

O3_PRO = Rates(input=D(20), output=D(80), tool_fees={"web_search": D("0.01"), "file_search": D("0.0025")})
SOL = Rates(
    input=D(4),
    output=D(20),
    cached_input=D("0.4"),
    cache_write_30m=D(5),
    cache_write_12h=D(10),
    long_context_over=272_000,
    long_context_input=D(2),
    long_context_output=D("1.5"),
    tiers={"default": D(1), "flex": D("0.5"), "priority": D(2)},
    windows={"soonest": D(1), "2h": D("0.7"), "8h": D("0.6")},
    tool_fees={"web_search": D("0.01"), "file_search": D("0.0025")},
)


def price(rates: Rates, usage: Usage, service_tier: object = "default", window: str = "soonest") -> Charge:
    return pricing.charge(rates, usage, service_tier=service_tier, window=window)


def amounts(charge: Charge) -> dict[str, Decimal]:
    return {part.label: part.amount for part in charge.parts}


# --- Charges -------------------------------------------------------------------------------------------


def test_reasoning_is_part_of_the_output_and_paid_once() -> None:
    charge = price(O3_PRO, Usage(input_tokens=1_000, output_tokens=20_500, reasoning_tokens=20_000))
    assert amounts(charge) == {"input": D("0.02"), "reasoning": D("1.6"), "answer": D("0.04")}
    assert charge.total == D("1.66")


def test_every_kind_of_input_token_has_its_own_rate() -> None:
    usage = Usage(
        input_tokens=10_000,
        cached_tokens=4_000,
        cache_write_30m_tokens=2_000,
        cache_write_12h_tokens=1_000,
        output_tokens=500,
    )
    assert amounts(price(SOL, usage)) == {
        "input": D("0.012"),
        "cached input": D("0.0016"),
        "cache write": D("0.01"),
        "cache write, 12 h": D("0.01"),
        "answer": D("0.01"),
    }


def test_without_a_cached_price_cached_tokens_cost_as_much_as_any() -> None:
    usage = Usage(
        input_tokens=9_000, cached_tokens=3_000, cache_write_30m_tokens=3_000, cache_write_12h_tokens=3_000
    )
    assert price(O3_PRO, usage).total == price(O3_PRO, Usage(input_tokens=9_000)).total


def test_a_12_hour_write_without_a_price_costs_no_less_than_the_30_minute_one() -> None:
    rates = replace(SOL, cache_write_12h=None)
    usage = Usage(input_tokens=1_000_000, cache_write_12h_tokens=1_000_000)
    assert price(replace(rates, long_context_over=None), usage).total == D(5)


@pytest.mark.parametrize(
    ("input_tokens", "total"),
    [
        pytest.param(272_000, D("1.288"), id="at the threshold nothing changes"),
        pytest.param(272_001, D("2.476008"), id="above it the whole request does, output too"),
    ],
)
def test_long_context_reprices_the_whole_request(input_tokens: int, total: Decimal) -> None:
    charge = price(SOL, Usage(input_tokens=input_tokens, output_tokens=10_000))
    assert charge.total == total


@pytest.mark.parametrize(
    ("service_tier", "window", "factor"),
    [
        ("default", "soonest", "1"),
        (None, "soonest", "1"),
        ("flex", "soonest", "0.5"),
        ("priority", "soonest", "2"),
        pytest.param("fast", "soonest", "2", id="fast is the request's word for priority"),
        ("default", "2h", "0.7"),
        (None, "8h", "0.6"),
        pytest.param("priority", "8h", "2", id="windows need standard processing"),
        pytest.param("default", "4h", "1", id="a window without a price gives no discount"),
    ],
)
def test_tier_and_window_multiply_token_rates(service_tier: object, window: str, factor: str) -> None:
    charge = price(SOL, Usage(input_tokens=1_000, output_tokens=1_000), service_tier, window)
    assert charge.total == D("0.024") * D(factor)
    assert charge.parts[0].rate == 4 * D(factor)
    assert not charge.unknown_tier


@pytest.mark.parametrize("service_tier", ["ultrafast", "auto", "", 7, ["flex"], {"tier": "flex"}, True])
def test_an_unknown_tier_costs_as_the_dearest_known_and_says_so(service_tier: object) -> None:
    usage = Usage(input_tokens=1_000, output_tokens=1_000)
    charge = price(SOL, usage, service_tier)
    assert charge.total == price(SOL, usage, "priority").total
    assert charge.unknown_tier


def test_where_only_discounts_are_known_an_unknown_tier_costs_the_default() -> None:
    usage = Usage(output_tokens=1_000)
    charge = price(replace(SOL, tiers={"flex": D("0.5")}), usage, "turbo")
    assert charge.total == price(SOL, usage).total
    assert charge.unknown_tier


def test_tool_fees_know_no_tier_window_or_region() -> None:
    usage = Usage(tool_calls={"web_search": 3, "file_search": 2, "unpriced": 9})
    charge = price(replace(SOL, region=D("1.1")), usage, "default", "8h")
    assert amounts(charge) == {"file search": D("0.005"), "unpriced": D(0), "web search": D("0.03")}
    assert {part.unit for part in charge.parts} == {"call"}
    assert charge.total == D("0.035")


def test_the_region_multiplies_token_rates() -> None:
    assert price(replace(SOL, region=D("1.1")), Usage(output_tokens=1_000)).total == D("0.022")


def test_a_usage_of_nothing_costs_nothing_and_has_no_parts() -> None:
    assert price(SOL, Usage()) == Charge(total=D(0), parts=())


# --- What the wire says --------------------------------------------------------------------------------

WHOLE = {
    "usage": {
        "input_tokens": 1_000,
        "input_tokens_details": {
            "cached_tokens": 300,
            "cache_write_tokens": 250,
            "cache_write_tokens_details": {"ttl_30m_tokens": 200, "ttl_12h_tokens": 50},
        },
        "output_tokens": 700,
        "output_tokens_details": {"reasoning_tokens": 600},
        "total_tokens": 1_700,
    },
    "tool_usage": {"web_search": {"num_requests": 4}},
    "output": [
        {"type": "web_search_call", "action": {"type": "search"}},
        {"type": "file_search_call"},
        {"type": "message"},
        "garbage",
    ],
}


def test_usage_is_read_from_a_response_body() -> None:
    usage = Usage.from_wire(WHOLE)
    assert usage == Usage(
        input_tokens=1_000,
        cached_tokens=300,
        cache_write_30m_tokens=200,
        cache_write_12h_tokens=50,
        output_tokens=700,
        reasoning_tokens=600,
        tool_calls={"web_search": 4, "file_search": 1},
    )
    assert usage.answer_tokens == 100
    assert usage.plain_input_tokens == 450


@pytest.mark.parametrize(
    "usage",
    [
        pytest.param(None, id="null until the end, and often after a cancel"),
        pytest.param([], id="not an object"),
        pytest.param({}, id="no numbers"),
        pytest.param({"input_tokens": 5}, id="half a usage must not settle as cheap"),
        pytest.param({"output_tokens": 5}, id="the other half"),
        pytest.param({"input_tokens": "5", "output_tokens": 5}, id="a string"),
        pytest.param({"input_tokens": True, "output_tokens": 5}, id="a bool"),
        pytest.param({"input_tokens": -1, "output_tokens": 5}, id="negative"),
        pytest.param({"input_tokens": 5.0, "output_tokens": 5}, id="a float"),
        pytest.param({"input_tokens": 10**30, "output_tokens": 5}, id="more than the ledger can hold"),
        pytest.param({"total_tokens": 50}, id="only the sum"),
        pytest.param({"input_tokens": 60, "total_tokens": 50}, id="a sum below its part"),
    ],
)
def test_what_cannot_be_priced_is_no_usage(usage: Any) -> None:
    assert Usage.from_wire({"usage": usage}) is None


def test_a_body_without_usage_has_none() -> None:
    assert Usage.from_wire({}) is None


@pytest.mark.parametrize("present", ["input_tokens", "output_tokens"])
def test_a_missing_half_is_what_remains_of_the_total(present: str) -> None:
    usage = Usage.from_wire({"usage": {present: 30, "total_tokens": 100}})
    assert usage is not None
    assert {usage.input_tokens, usage.output_tokens} == {30, 70}
    assert getattr(usage, present) == 30


def test_parts_are_cut_to_their_whole_the_cheapest_first() -> None:
    details = {
        "cached_tokens": 900,
        "cache_write_tokens": 80,
        "cache_write_tokens_details": {"ttl_12h_tokens": 60},
    }
    usage = Usage.from_wire(
        {
            "usage": {
                "input_tokens": 100,
                "input_tokens_details": details,
                "output_tokens": 10,
                "output_tokens_details": {"reasoning_tokens": 11},
            }
        }
    )
    assert usage == Usage(
        input_tokens=100,
        cached_tokens=20,
        cache_write_30m_tokens=20,
        cache_write_12h_tokens=60,
        output_tokens=10,
        reasoning_tokens=10,
    )


def test_cache_writes_without_a_retention_are_the_30_minute_kind() -> None:
    details = {"cache_write_tokens": 40}
    usage = Usage.from_wire(
        {"usage": {"input_tokens": 100, "input_tokens_details": details, "output_tokens": 1}}
    )
    assert usage is not None
    assert (usage.cache_write_30m_tokens, usage.cache_write_12h_tokens) == (40, 0)


def test_without_a_report_only_searches_are_counted_not_pages_opened() -> None:
    actions = [{"type": "search"}, {"type": "open_page"}, {"type": "find_in_page"}, None]
    body = {
        "usage": {"input_tokens": 1, "output_tokens": 1},
        "output": [{"type": "web_search_call", "action": action} for action in actions],
    }
    usage = Usage.from_wire(body)
    assert usage is not None
    assert usage.tool_calls == {"web_search": 2}


def test_a_reported_zero_beats_the_count_of_items() -> None:
    body = {
        "usage": {"input_tokens": 1, "output_tokens": 1},
        "tool_usage": {"web_search": {"num_requests": 0}},
        "output": [{"type": "web_search_call", "action": {"type": "search"}}],
    }
    usage = Usage.from_wire(body)
    assert usage is not None
    assert usage.tool_calls == {}


NUMBERS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-5),
    st.integers(0, 2_000_000),
    st.floats(),
    st.text(max_size=3),
)
JSON = st.recursive(
    NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "usage": JSON
        | st.fixed_dictionaries(
            {},
            optional={
                "input_tokens": NUMBERS,
                "output_tokens": NUMBERS,
                "total_tokens": NUMBERS,
                "input_tokens_details": JSON
                | st.fixed_dictionaries(
                    {},
                    optional={
                        "cached_tokens": NUMBERS,
                        "cache_write_tokens": NUMBERS,
                        "cache_write_tokens_details": JSON
                        | st.fixed_dictionaries(
                            {}, optional={"ttl_30m_tokens": NUMBERS, "ttl_12h_tokens": NUMBERS}
                        ),
                    },
                ),
                "output_tokens_details": JSON | st.fixed_dictionaries({"reasoning_tokens": NUMBERS}),
            },
        ),
        "tool_usage": JSON
        | st.fixed_dictionaries({"web_search": st.fixed_dictionaries({"num_requests": NUMBERS})}),
        "output": JSON
        | st.lists(
            st.fixed_dictionaries({"type": JSON | st.just("web_search_call"), "action": JSON}), max_size=3
        ),
        "service_tier": JSON,
    },
)


@given(body=BODIES)
@settings(deadline=None)
def test_no_body_however_mad_breaks_the_reading_or_pays_us(body: dict[str, Any]) -> None:
    usage = Usage.from_wire(body)
    if usage is None:
        return
    counts = (
        usage.plain_input_tokens,
        usage.cached_tokens,
        usage.cache_write_30m_tokens,
        usage.cache_write_12h_tokens,
        usage.reasoning_tokens,
        usage.answer_tokens,
        *usage.tool_calls.values(),
    )
    assert all(count >= 0 for count in counts)
    charge = price(SOL, usage, body.get("service_tier"))
    assert all(part.amount >= 0 for part in charge.parts)
    assert charge.total < D(10) ** 10


# --- Ceilings ------------------------------------------------------------------------------------------


def money(least: str, most: str) -> st.SearchStrategy[Decimal]:
    return st.decimals(least, most, places=4, allow_nan=False)


RATES = st.builds(
    Rates,
    input=money("0", "200"),
    output=money("0", "700"),
    cached_input=st.none() | money("0", "250"),
    cache_write_30m=st.none() | money("0", "250"),
    cache_write_12h=st.none() | money("0", "250"),
    long_context_over=st.none() | st.integers(0, 300_000),
    long_context_input=money("0.5", "3"),
    long_context_output=money("0.5", "3"),
    tiers=st.dictionaries(st.sampled_from(["default", "flex", "priority", "ultrafast"]), money("0.1", "6")),
    windows=st.dictionaries(st.sampled_from(["soonest", "2h", "8h"]), money("0.1", "1")),
    region=money("1", "1.5"),
    tool_fees=st.dictionaries(st.sampled_from(["web_search", "file_search"]), money("0", "1")),
)
TIERS = st.sampled_from(["default", "flex", "priority", "fast", "ultrafast", "never heard of"])
WINDOWS = st.sampled_from(["soonest", "2h", "8h", "unheard"])
FACTORS = st.sampled_from([D(1), D("1.5"), D(6)])


@given(
    data=st.data(),
    rates=RATES,
    bound=st.integers(0, 1_050_000),
    max_output_tokens=st.integers(16, 128_000),
    tool_calls=st.dictionaries(st.sampled_from(["web_search", "file_search"]), st.integers(0, 20)),
    service_tier=TIERS,
    window=WINDOWS,
    mode_factor=FACTORS,
)
@settings(deadline=None, max_examples=300)
def test_no_usage_within_the_bounds_is_charged_above_the_worst_case(
    data: st.DataObject,
    rates: Rates,
    bound: int,
    max_output_tokens: int,
    tool_calls: dict[str, int],
    service_tier: str,
    window: str,
    mode_factor: Decimal,
) -> None:
    def upto(most: int) -> int:
        # Trouble lives at the ends.
        return data.draw(st.sampled_from([0, most]) | st.integers(0, most))

    input_tokens = upto(bound)
    cached = upto(input_tokens)
    cache_30m = upto(input_tokens - cached)
    output_tokens = upto(int(max_output_tokens * mode_factor))
    usage = Usage(
        input_tokens=input_tokens,
        cached_tokens=cached,
        cache_write_30m_tokens=cache_30m,
        cache_write_12h_tokens=upto(input_tokens - cached - cache_30m),
        output_tokens=output_tokens,
        reasoning_tokens=upto(output_tokens),
        tool_calls={tool: upto(most) for tool, most in tool_calls.items()},
    )
    charge = price(rates, usage, service_tier, window)
    ceiling = pricing.worst_case(
        rates,
        input_tokens=bound,
        max_output_tokens=max_output_tokens,
        service_tier=service_tier,
        window=window,
        mode_factor=mode_factor,
        tool_calls=tool_calls,
    )
    assert charge.total <= ceiling
    assert sum((part.amount for part in charge.parts), D(0)) == charge.total
    assert all(part.amount >= 0 for part in charge.parts)
    assert charge.total.as_tuple().exponent == ceiling.as_tuple().exponent == -10


@pytest.mark.parametrize(
    ("rates", "knobs", "ceiling"),
    [
        pytest.param(O3_PRO, {}, "8.2", id="o3-pro at its whole output limit"),
        pytest.param(SOL, {}, "2.1", id="input at the dearest write, not the plain rate"),
        pytest.param(SOL, {"input_tokens": 300_000}, "9", id="long context, for output too"),
        pytest.param(SOL, {"service_tier": "priority"}, "4.2", id="the tier"),
        pytest.param(SOL, {"window": "8h"}, "1.26", id="the window"),
        pytest.param(SOL, {"mode_factor": D(6)}, "12.6", id="a mode of several passes, on all tokens"),
        pytest.param(SOL, {"tool_calls": {"web_search": 5, "unpriced": 9}}, "2.15", id="tools"),
        pytest.param(SOL, {"window": "8h", "tool_calls": {"web_search": 5}}, "1.31", id="tools in full"),
        pytest.param(replace(SOL, region=D("1.1")), {}, "2.31", id="the region"),
    ],
)
def test_the_worst_case_is_every_bound_at_once(rates: Rates, knobs: dict[str, Any], ceiling: str) -> None:
    asked = {"input_tokens": 10_000, "max_output_tokens": 100_000} | knobs
    assert pricing.worst_case(rates, **asked) == D(ceiling)


def test_a_ceiling_is_rounded_up_not_to_the_nearest() -> None:
    rates = replace(O3_PRO, input=D("0.00001"), output=D(0))
    assert pricing.worst_case(rates, input_tokens=1, max_output_tokens=16) == D("0.0000000001")


def test_a_long_context_that_costs_less_does_not_lower_the_ceiling() -> None:
    # The input may turn out short.
    rates = replace(SOL, long_context_input=D("0.5"), long_context_output=D("0.5"))
    short = price(rates, Usage(input_tokens=272_000, cache_write_12h_tokens=272_000, output_tokens=1_000))
    assert pricing.worst_case(rates, input_tokens=272_001, max_output_tokens=1_000) >= short.total


# --- Bounds of the input -------------------------------------------------------------------------------


def test_bytes_messages_and_tools_bound_the_input() -> None:
    bound = pricing.input_bound(texts=["abc", "äö€"], messages=2, tools=1, context_window=200_000)
    assert bound == 3 + 7 + 3_000


def test_the_context_window_bounds_it_too() -> None:
    assert pricing.input_bound(texts=["a" * 900], messages=1, tools=0, context_window=1_500) == 1_500


def test_what_a_thread_brings_along_is_input_up_to_the_window() -> None:
    bounds = [
        pricing.input_bound(texts=["abc"], messages=1, tools=0, context_window=200_000, earlier=earlier)
        for earlier in (0, 5_000, 200_000)
    ]
    assert bounds == [1_003, 6_003, 200_000]


def test_a_lone_surrogate_is_counted_not_raised() -> None:
    assert pricing.input_bound(texts=["\ud800"], messages=0, tools=0, context_window=100) == 3


def test_each_built_in_tool_call_may_read_the_whole_window_again() -> None:
    bound = pricing.input_bound(texts=["a"], messages=1, tools=1, context_window=200_000, max_tool_calls=3)
    assert bound == 800_000


# --- What would fit ------------------------------------------------------------------------------------


@given(
    rates=RATES,
    room=st.decimals("-1", "50", places=10, allow_nan=False),
    input_tokens=st.integers(0, 400_000),
    maximum=st.integers(16, 128_000),
    service_tier=TIERS,
    window=WINDOWS,
    mode_factor=FACTORS,
)
@settings(deadline=None, max_examples=300)
def test_what_fits_fits_and_nothing_rounder_would(
    rates: Rates,
    room: Decimal,
    input_tokens: int,
    maximum: int,
    service_tier: str,
    window: str,
    mode_factor: Decimal,
) -> None:
    def ceiling(max_output_tokens: int) -> Decimal:
        return pricing.worst_case(
            rates,
            input_tokens=input_tokens,
            max_output_tokens=max_output_tokens,
            service_tier=service_tier,
            window=window,
            mode_factor=mode_factor,
        )

    fit = pricing.fitting_output(
        rates,
        room=room,
        input_tokens=input_tokens,
        maximum=maximum,
        service_tier=service_tier,
        window=window,
        mode_factor=mode_factor,
    )
    if fit is None:
        assert ceiling(16) > room
        return
    assert 16 <= fit <= maximum
    assert ceiling(fit) <= room
    grain = 1_000 if fit >= 2_000 else 100 if fit >= 200 else 1
    assert fit + grain > maximum or ceiling(fit + grain) > room


@pytest.mark.parametrize(
    ("room", "knobs", "fit"),
    [
        pytest.param("3.456", {}, 43_000, id="thousands"),
        pytest.param("0.1", {}, 1_200, id="hundreds"),
        pytest.param("0.01", {}, 125, id="to the token"),
        pytest.param("0.00128", {}, 16, id="the least the API takes"),
        pytest.param("0.00127", {}, None, id="less than that"),
        pytest.param("1000", {}, 100_000, id="no more than the model can write"),
        pytest.param("3.456", {"input_tokens": 172_800}, None, id="the input alone takes it all"),
        pytest.param("3.456", {"input_tokens": 200_000}, None, id="the input alone is too much"),
        pytest.param("0.24", {"minimum": 2_500}, 3_000, id="above a minimum"),
        pytest.param("0.232", {"minimum": 2_500}, 2_500, id="rounding does not go below the minimum"),
        pytest.param("0.45", {"tool_calls": {"web_search": 5}}, 5_000, id="tools come off first"),
    ],
)
def test_the_output_that_fits_is_a_readable_number(room: str, knobs: dict[str, Any], fit: int | None) -> None:
    asked = {"input_tokens": 0, "maximum": 100_000} | knobs
    assert pricing.fitting_output(O3_PRO, room=D(room), **asked) == fit


def test_output_that_costs_nothing_always_fits() -> None:
    rates = replace(O3_PRO, output=D(0))
    assert pricing.fitting_output(rates, room=D(0), input_tokens=0, maximum=9_000) == 9_000


def test_room_finer_than_the_ledger_is_not_filled_beyond_it() -> None:
    rates = replace(O3_PRO, output=D("0.00001"))
    room = D("0.00000000055")
    fit = pricing.fitting_output(rates, room=room, input_tokens=0, maximum=9_000)
    assert fit == 50
    assert pricing.worst_case(rates, input_tokens=0, max_output_tokens=fit) <= room


# --- Estimates -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elapsed", "knobs", "cost"),
    [
        pytest.param(0, {}, "0.02", id="the input is paid at once"),
        pytest.param(-5, {}, "0.02", id="clocks that disagree"),
        pytest.param(100, {}, "0.42", id="50 tokens a second"),
        pytest.param(D("100.5"), {}, "0.422", id="a fraction of a second"),
        pytest.param(10_000, {}, "0.82", id="at most the output limit"),
        pytest.param(10_000, {"bound": D("0.5")}, "0.5", id="at most the bound"),
        pytest.param(10_000, {"mode_factor": D(6), "bound": D(9)}, "4.82", id="a mode that may go beyond it"),
    ],
)
def test_a_cancelled_job_is_estimated_by_its_time(
    elapsed: float | Decimal, knobs: dict[str, Any], cost: str
) -> None:
    asked: dict[str, Any] = {"bound": D(9), "input_tokens": 1_000, "max_output_tokens": 10_000} | knobs
    estimate = pricing.estimate_cancelled(O3_PRO, elapsed_seconds=elapsed, tokens_per_second=50, **asked)
    assert estimate == D(cost)


def test_an_estimate_knows_tier_and_window() -> None:
    estimate = pricing.estimate_cancelled(
        SOL,
        elapsed_seconds=10,
        tokens_per_second=100,
        input_tokens=0,
        max_output_tokens=5_000,
        bound=D(1),
        window="2h",
    )
    assert estimate == D("0.014")


def test_the_likely_range_lies_within_the_limit() -> None:
    low, high = pricing.likely(
        rates=O3_PRO, input_tokens=1_000, output_low=5_000, output_high=90_000, max_output_tokens=30_000
    )
    assert (low, high) == (D("0.42"), D("2.42"))


@given(
    rates=RATES,
    input_tokens=st.integers(0, 400_000),
    quantiles=st.tuples(st.integers(0, 200_000), st.integers(0, 200_000)),
    max_output_tokens=st.integers(16, 128_000),
    service_tier=TIERS,
    window=WINDOWS,
    mode_factor=FACTORS,
)
@settings(deadline=None)
def test_the_likely_range_never_passes_the_worst_case(
    rates: Rates,
    input_tokens: int,
    quantiles: tuple[int, int],
    max_output_tokens: int,
    service_tier: str,
    window: str,
    mode_factor: Decimal,
) -> None:
    low, high = pricing.likely(
        rates=rates,
        input_tokens=input_tokens,
        output_low=quantiles[0],
        output_high=quantiles[1],
        max_output_tokens=max_output_tokens,
        service_tier=service_tier,
        window=window,
        mode_factor=mode_factor,
    )
    ceiling = pricing.worst_case(
        rates,
        input_tokens=input_tokens,
        max_output_tokens=max_output_tokens,
        service_tier=service_tier,
        window=window,
        mode_factor=mode_factor,
    )
    assert 0 <= low <= high <= ceiling


# --- Rounding and buckets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "cents"), [("3.2501", "3.26"), ("3.25", "3.25"), ("0.0000000001", "0.01")]
)
def test_ceilings_are_shown_rounded_up_to_the_cent(amount: str, cents: str) -> None:
    assert str(pricing.ceil_cent(D(amount))) == cents


def test_amounts_have_the_ledgers_ten_places() -> None:
    assert str(pricing.quantise(D("1.00000000005"))) == "1.0000000000"
    assert str(pricing.quantise(D("1.00000000015"))) == "1.0000000002"


def test_the_bucket_edges_stay_where_they_are() -> None:
    # Stored rollups are read by these numbers.
    assert pricing.BUCKETS == 58
    assert pricing.BUCKET_EDGES[0] == D("0.0001")
    assert pricing.BUCKET_EDGES[32] == 1
    assert pricing.BUCKET_EDGES[33] == D("1.3335214322")
    assert pricing.BUCKET_EDGES[-1] == 1_000
    assert list(pricing.BUCKET_EDGES) == sorted(set(pricing.BUCKET_EDGES))


@pytest.mark.parametrize(
    ("amount", "number"),
    [
        ("-1", 0),
        ("0", 0),
        ("0.00009", 0),
        ("0.0001", 1),
        ("1", 33),
        ("999.99", 56),
        ("1000", 57),
        ("1E9", 57),
    ],
)
def test_each_amount_has_one_bucket(amount: str, number: int) -> None:
    assert pricing.bucket(D(amount)) == number


def counted(*costs: str) -> list[int]:
    buckets = [0] * pricing.BUCKETS
    for cost in costs:
        buckets[pricing.bucket(D(cost))] += 1
    return buckets


def test_the_median_is_the_geometric_middle_of_its_bucket() -> None:
    # Between 1 and 10^(1/8): 10^(1/16).
    assert pricing.median(counted("0.01", "1.1", "50")) == D("1.1547819847")


def test_of_two_middles_the_lower_counts() -> None:
    assert pricing.median(counted("1.1", "50")) == pricing.median(counted("1.1"))


def test_free_jobs_have_a_median_of_nothing() -> None:
    assert pricing.median(counted("0", "0", "5")) == 0


def test_beyond_the_last_edge_the_median_is_that_edge() -> None:
    assert pricing.median(counted("5000")) == 1_000


def test_a_part_of_the_jobs_costs_no_more_than_the_bucket_it_ends_in() -> None:
    buckets = counted(*["1.1"] * 19, "50")
    assert pricing.quantile_bucket(buckets, D("0.95")) == pricing.bucket(D("1.1"))
    assert pricing.quantile_bucket(buckets, D("0.96")) == pricing.bucket(D(50))
    assert pricing.quantile_bucket(buckets, D(0)) == pricing.bucket(D("1.1"))


def test_no_jobs_have_no_median() -> None:
    assert pricing.median([0] * pricing.BUCKETS) is None
    assert pricing.median([]) is None


@given(costs=st.lists(st.decimals("0.0001", "999", places=4, allow_nan=False), min_size=1, max_size=30))
@settings(deadline=None)
def test_the_read_median_is_within_a_bucket_of_the_true_one(costs: list[Decimal]) -> None:
    median = pricing.median(counted(*map(str, costs)))
    assert median is not None
    true = sorted(costs)[(len(costs) - 1) // 2]
    assert pricing.bucket(median) == pricing.bucket(true)


def test_tokens_of_many_short_jobs_are_priced_without_long_context() -> None:
    rates = Rates(
        input=Decimal(2),
        cached_input=Decimal("0.5"),
        output=Decimal(8),
        long_context_over=1_000,
        long_context_input=Decimal(2),
        long_context_output=Decimal(2),
    )
    tokens = {"input_tokens": 1_000_000, "cached_tokens": 400_000, "output_tokens": 2_000_000}
    assert pricing.of_tokens(rates, **tokens) == Decimal("17.4")
    # Where no price of cached input is published they cost as much as any.
    plain = replace(rates, cached_input=None)
    assert pricing.of_tokens(plain, **tokens) == Decimal(18)
