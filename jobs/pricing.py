"""Turn tokens and a dated price row into USD: what was used, the most it can be, what is likely."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

ZERO = Decimal(0)
ONE = Decimal(1)
MILLION = Decimal(1_000_000)
STEP = Decimal("1E-10")  # the ledger's numeric(20, 10)
CENT = Decimal("0.01")

# UTF-8 bytes bound the tokens of a text (byte-level BPE never makes more tokens than bytes); this much is
# added for the wrapping of each message and the rendering of each tool, which we do not see.
OVERHEAD_TOKENS = 1_000

# An upstream number above this is garbage: no context window comes near, and numeric(20, 10) must hold it.
PLAUSIBLE = 10**9

# The response says 'priority' where the request said 'fast'.
TIER_ALIASES = {"fast": "priority"}

# A web search item is also a page opened or searched within; only the search itself is billed.
FREE_WEB_ACTIONS = {"open_page", "find_in_page"}
COUNTED_TOOLS = ("web_search", "file_search")

EDGES_PER_DECADE = 8


@dataclass(frozen=True, slots=True)
class Rates:
    """One dated price row: USD per million tokens, multipliers, and tool fees in USD per call.

    `cached_input` and `cache_write_30m` cost `input` where they are None, `cache_write_12h` then costs as the
    30-minute write. An input of more than `long_context_over` tokens reprices the whole request: all input
    rates by `long_context_input`, output by `long_context_output`. `tiers` (service tier), `windows`
    (completion window) and `region` multiply token rates only, never tool fees; a window's discount exists
    at the default tier only.
    """

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write_30m: Decimal | None = None
    cache_write_12h: Decimal | None = None
    long_context_over: int | None = None
    long_context_input: Decimal = ONE
    long_context_output: Decimal = ONE
    tiers: Mapping[str, Decimal] = field(default_factory=dict)
    windows: Mapping[str, Decimal] = field(default_factory=dict)
    region: Decimal = ONE
    tool_fees: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def dearest_input(self) -> Decimal:
        """Give the highest rate an input token can meet, before multipliers, USD per million."""
        others = (self.cached_input, self.cache_write_30m, self.cache_write_12h)
        return max(self.input, *(_or(rate, self.input) for rate in others))

    def tier(self, name: object) -> tuple[Decimal, bool]:
        """Give a service tier's multiplier, and whether the tier is known here.

        None is the default tier. An unknown one costs as the dearest known: a guess must not be cheap.
        """
        known = {"default": ONE, **self.tiers}
        if name is None:
            return known["default"], True
        if isinstance(name, str):
            for key in (name, TIER_ALIASES.get(name)):
                if key in known:
                    return known[key], True
        return max(known.values()), False

    def multiplier(self, service_tier: object, window: str) -> Decimal:
        """Multiply tier, window and region: the factor on every token rate but for long context."""
        factor = self.tier(service_tier)[0] * self.region
        if service_tier in (None, "default"):
            factor *= self.windows.get(window, ONE)
        return factor


@dataclass(frozen=True, slots=True)
class Usage:
    """What one response used, in tokens and billable tool calls; the parts never exceed their wholes."""

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_30m_tokens: int = 0
    cache_write_12h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    tool_calls: Mapping[str, int] = field(default_factory=dict)

    @property
    def answer_tokens(self) -> int:
        """Give the output tokens that were not reasoning."""
        return self.output_tokens - self.reasoning_tokens

    @property
    def plain_input_tokens(self) -> int:
        """Give the input tokens that were neither read from nor written to the cache."""
        writes = self.cache_write_30m_tokens + self.cache_write_12h_tokens
        return self.input_tokens - self.cached_tokens - writes

    @classmethod
    def reported(cls, usage: object) -> Usage | None:
        """Read what a body had under `usage`, where that alone is kept; None when it cannot be priced."""
        return cls.from_wire({"usage": usage})

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Usage | None:
        """Read a Response body's `usage` and `tool_usage`; None when they cannot be priced.

        A number that is negative, implausible or not an integer counts as absent. A missing input or output
        count is taken from `total_tokens`; without that there is no usage, because a response priced at half
        of what it used would look settled. Cache writes without a retention are the 30-minute kind, which
        is what a request gets that names none (openai-python 3.54, `prompt_cache_options.ttl`).
        """
        usage = _mapping(body.get("usage"))
        total = _count(usage.get("total_tokens"))
        input_tokens = _count(usage.get("input_tokens"))
        output_tokens = _count(usage.get("output_tokens"))
        if total is not None:
            if input_tokens is None and output_tokens is not None:
                input_tokens = _count(total - output_tokens)
            elif output_tokens is None and input_tokens is not None:
                output_tokens = _count(total - input_tokens)
        if input_tokens is None or output_tokens is None:
            return None

        details = _mapping(usage.get("input_tokens_details"))
        by_retention = _mapping(details.get("cache_write_tokens_details"))
        written = _count(details.get("cache_write_tokens")) or 0
        written_12h = _count(by_retention.get("ttl_12h_tokens")) or 0
        written_30m = max(_count(by_retention.get("ttl_30m_tokens")) or 0, written - written_12h)
        reasoning = _count(_mapping(usage.get("output_tokens_details")).get("reasoning_tokens")) or 0

        # Contradictory parts are cut dearest last, so that the cut never makes the sum cheaper than need be.
        cache_12h = min(written_12h, input_tokens)
        cache_30m = min(written_30m, input_tokens - cache_12h)
        cached = min(_count(details.get("cached_tokens")) or 0, input_tokens - cache_12h - cache_30m)
        return cls(
            input_tokens=input_tokens,
            cached_tokens=cached,
            cache_write_30m_tokens=cache_30m,
            cache_write_12h_tokens=cache_12h,
            output_tokens=output_tokens,
            reasoning_tokens=min(reasoning, output_tokens),
            tool_calls=_tool_calls(body),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One line of a charge: `rate` is USD per million tokens, or per call, after all multipliers."""

    label: str
    quantity: int
    unit: Literal["token", "call"]
    rate: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Charge:
    """What a response costs, USD; the parts' amounts add up to the total exactly."""

    total: Decimal
    parts: tuple[Part, ...]
    unknown_tier: bool = False


def charge(rates: Rates, usage: Usage, *, service_tier: object, window: str) -> Charge:
    """Price a usage at the response's own service tier (None is the default) and the job's window.

    A tier the row does not know is priced at the dearest known one and flagged. A tool without a fee in the
    row costs nothing. Parts that used nothing are left out.
    """
    factor = rates.multiplier(service_tier, window)
    long_input, long_output = _long_context(rates, usage.input_tokens)
    input_factor, output_factor = factor * long_input, factor * long_output

    cached = _or(rates.cached_input, rates.input)
    write_30m = _or(rates.cache_write_30m, rates.input)
    write_12h = _or(rates.cache_write_12h, write_30m)
    tokens = (
        ("input", usage.plain_input_tokens, rates.input * input_factor),
        ("cached input", usage.cached_tokens, cached * input_factor),
        ("cache write", usage.cache_write_30m_tokens, write_30m * input_factor),
        ("cache write, 12 h", usage.cache_write_12h_tokens, write_12h * input_factor),
        ("reasoning", usage.reasoning_tokens, rates.output * output_factor),
        ("answer", usage.answer_tokens, rates.output * output_factor),
    )
    lines: list[tuple[str, int, Literal["token", "call"], Decimal, Decimal]] = [
        (label, count, "token", rate, count * rate / MILLION) for label, count, rate in tokens
    ]
    for tool, calls in sorted(usage.tool_calls.items()):
        fee = rates.tool_fees.get(tool, ZERO)
        lines.append((tool.replace("_", " "), calls, "call", fee, calls * fee))

    # Rounding the running sum, not each part, makes the parts add up to the rounded total to the last digit.
    exact = booked = ZERO
    parts = []
    for label, quantity, unit, rate, amount in lines:
        if quantity == 0:
            continue
        exact += amount
        rounded = quantise(exact)
        parts.append(Part(label, quantity, unit, rate, rounded - booked))
        booked = rounded
    return Charge(total=quantise(booked), parts=tuple(parts), unknown_tier=not rates.tier(service_tier)[1])


def worst_case(
    rates: Rates,
    *,
    input_tokens: int,
    max_output_tokens: int,
    service_tier: str = "default",
    window: str = "soonest",
    mode_factor: Decimal = ONE,
    tool_calls: Mapping[str, int] | None = None,
) -> Decimal:
    """Give the ceiling, USD: no usage within these bounds at this tier and window is charged more.

    All input at the dearest input rate, all output as allowed, long context as soon as the input's bound
    reaches it, and every tool call that may be made. `mode_factor` multiplies the tokens of a mode that
    bills several passes: neither the input's bound nor `max_output_tokens` is known to bound their sum.
    """
    fixed, per_token = _ceiling_terms(rates, input_tokens, service_tier, window, mode_factor, tool_calls)
    return (fixed + max_output_tokens * per_token).quantize(STEP, rounding=ROUND_CEILING)


def fitting_output(
    rates: Rates,
    *,
    room: Decimal,
    input_tokens: int,
    maximum: int,
    minimum: int = 16,
    service_tier: str = "default",
    window: str = "soonest",
    mode_factor: Decimal = ONE,
    tool_calls: Mapping[str, int] | None = None,
) -> int | None:
    """Give the largest readable max_output_tokens up to `maximum` whose worst case fits `room` USD.

    Rounded down to thousands from 2,000 and to hundreds from 200; None when not even `minimum` fits (16 is
    the API's own least).
    """
    fixed, per_token = _ceiling_terms(rates, input_tokens, service_tier, window, mode_factor, tool_calls)
    left = room.quantize(STEP, rounding=ROUND_FLOOR) - fixed
    if left < 0:
        return None
    most = min(maximum, int(left // per_token)) if per_token else maximum
    if most < minimum:
        return None
    grain = 1_000 if most >= 2_000 else 100 if most >= 200 else 1
    return max(most - most % grain, minimum)


def input_bound(
    *,
    texts: Iterable[str],
    messages: int,
    tools: int,
    context_window: int,
    max_tool_calls: int = 0,
    earlier: int = 0,
    files: int = 0,
) -> int:
    """Bound a request's input tokens without a tokenizer or the network.

    UTF-8 bytes and 1,000 tokens a message and tool, at most the context window; a schema counts as a text
    and a tool; `earlier` tokens are what a thread brings along, `files` what attachments can cost. With
    built-in tools the model reads its context again after every call: the window times `max_tool_calls` + 1.
    """
    if max_tool_calls:
        return context_window * (max_tool_calls + 1)
    # A lone surrogate, which JSON can carry, is three bytes and must not raise.
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return min(size + OVERHEAD_TOKENS * (messages + tools) + earlier + files, context_window)


def estimate_cancelled(
    rates: Rates,
    *,
    elapsed_seconds: float | Decimal,
    tokens_per_second: float | Decimal,
    input_tokens: int,
    max_output_tokens: int,
    bound: Decimal,
    service_tier: object = "default",
    window: str = "soonest",
    mode_factor: Decimal = ONE,
) -> Decimal:
    """Estimate what a job cancelled without usage had cost by then, USD, at most `bound`."""
    written = Decimal(str(elapsed_seconds)) * Decimal(str(tokens_per_second))
    output_tokens = int(max(min(written, max_output_tokens * mode_factor), ZERO))
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    return min(charge(rates, usage, service_tier=service_tier, window=window).total, quantise(bound))


def likely(
    *,
    rates: Rates,
    input_tokens: int,
    output_low: int,
    output_high: int,
    max_output_tokens: int,
    service_tier: str = "default",
    window: str = "soonest",
    mode_factor: Decimal = ONE,
) -> tuple[Decimal, Decimal]:
    """Price a likely range of output tokens, USD (low, high), within the limit and the worst case."""
    limit = int(max_output_tokens * mode_factor)
    low, high = (
        charge(
            rates,
            Usage(input_tokens=input_tokens, output_tokens=min(tokens, limit)),
            service_tier=service_tier,
            window=window,
        ).total
        for tokens in sorted((output_low, output_high))
    )
    return low, high


def of_tokens(rates: Rates, *, input_tokens: int, cached_tokens: int, output_tokens: int) -> Decimal:
    """Price the tokens of many short requests together, USD: no request of them counts as long context."""
    plain = (input_tokens - cached_tokens) * rates.input
    cached = cached_tokens * _or(rates.cached_input, rates.input)
    return quantise((plain + cached + output_tokens * rates.output) / MILLION)


def quantise(amount: Decimal) -> Decimal:
    """Round to the ledger's ten places, half to even."""
    return amount.quantize(STEP, rounding=ROUND_HALF_EVEN)


def ceil_cent(amount: Decimal) -> Decimal:
    """Round up to the cent, as ceilings are shown."""
    return amount.quantize(CENT, rounding=ROUND_CEILING)


# Upper edges of the daily rollup's cost buckets, USD 0.0001 to 1,000. Stored counts depend on them: they may
# never change. Below the first edge (free jobs too) is bucket 0; from the last edge on is the last bucket.
BUCKET_EDGES: tuple[Decimal, ...] = tuple(
    quantise(Decimal(10) ** (Decimal(step) / EDGES_PER_DECADE))
    for step in range(-4 * EDGES_PER_DECADE, 3 * EDGES_PER_DECADE + 1)
)
BUCKETS = len(BUCKET_EDGES) + 1


def bucket(amount: Decimal) -> int:
    """Give the number of the cost bucket an amount in USD falls into, 0 to BUCKETS - 1."""
    return bisect_right(BUCKET_EDGES, amount)


def median(buckets: Sequence[int]) -> Decimal | None:
    """Read the median cost, USD, from jobs per bucket: the middle of its bucket; None without jobs.

    Of an even number of jobs the lower middle one counts.
    """
    return middle(quantile_bucket(buckets, Decimal("0.5")))


def quantile_bucket(buckets: Sequence[int], part: Decimal) -> int | None:
    """Give the bucket that the cheapest `part` (0 to 1) of all jobs ends in; None without jobs."""
    rank = max(ONE, (sum(buckets) * part).to_integral_value(ROUND_CEILING))
    seen = 0
    for number, jobs in enumerate(buckets):
        seen += jobs
        if seen >= rank:
            return number
    return None


def middle(number: int | None) -> Decimal | None:
    """Give the geometric middle of a bucket, USD: 0 of the first, the last edge of the last, None of none."""
    if number is None:
        return None
    if number == 0:
        return quantise(ZERO)
    low, high = BUCKET_EDGES[number - 1], BUCKET_EDGES[min(number, len(BUCKET_EDGES) - 1)]
    return quantise((low * high).sqrt())


def _ceiling_terms(
    rates: Rates,
    input_tokens: int,
    service_tier: str,
    window: str,
    mode_factor: Decimal,
    tool_calls: Mapping[str, int] | None,
) -> tuple[Decimal, Decimal]:
    """Give the ceiling's fixed part (USD) and its price of one allowed output token (USD), unrounded."""
    factor = rates.multiplier(service_tier, window)
    # A usage below the threshold is within the bound too, so a multiplier under 1 must not lower the ceiling.
    long_input, long_output = (max(ONE, value) for value in _long_context(rates, input_tokens))
    calls = (tool_calls or {}).items()
    tools = sum((number * rates.tool_fees.get(tool, ZERO) for tool, number in calls), ZERO)
    fixed = input_tokens * rates.dearest_input * factor * long_input * mode_factor / MILLION + tools
    return fixed, rates.output * factor * long_output * mode_factor / MILLION


def _long_context(rates: Rates, input_tokens: int) -> tuple[Decimal, Decimal]:
    if rates.long_context_over is None or input_tokens <= rates.long_context_over:
        return ONE, ONE
    return rates.long_context_input, rates.long_context_output


def _or(rate: Decimal | None, instead: Decimal) -> Decimal:
    return instead if rate is None else rate


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(value: Any) -> int | None:
    # bool is an int to Python and must not become one token.
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= PLAUSIBLE:
        return value
    return None


def _tool_calls(body: Mapping[str, Any]) -> dict[str, int]:
    """Count billable built-in tool calls: as reported, else the response's own call items."""
    reported = _mapping(body.get("tool_usage"))
    output = body.get("output")
    items = [item for item in output if isinstance(item, Mapping)] if isinstance(output, list) else []
    calls = {}
    for tool in COUNTED_TOOLS:
        number = _count(_mapping(reported.get(tool)).get("num_requests"))
        if number is None:
            number = sum(
                item.get("type") == f"{tool}_call"
                and _mapping(item.get("action")).get("type") not in FREE_WEB_ACTIONS
                for item in items
            )
        if number:
            calls[tool] = number
    return calls
