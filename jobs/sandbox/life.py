"""Decides at acceptance how a response will run and end, and computes its state from the time.

Nothing here waits, so a restart changes nothing.
"""

import json
import math
import random
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from jobs.sandbox import answers, tokens
from jobs.sandbox.ask import Ask
from jobs.sandbox.directives import Directives
from jobs.sandbox.instance import Unfillable, fill

# Medians by effort; seconds on the virtual clock.
MEDIAN_SECONDS = {
    "none": 10.0,
    "minimal": 10.0,
    "low": 40.0,
    "medium": 120.0,
    "high": 360.0,
    "xhigh": 720.0,
    "max": 720.0,
}
MEDIAN_REASONING = {
    "none": 0,
    "minimal": 200,
    "low": 1_500,
    "medium": 5_000,
    "high": 15_000,
    "xhigh": 30_000,
    "max": 45_000,
}
SIGMA = 0.5
# Pro mode costs the same rates but more tokens; the factor is the sandbox's own.
PRO_FACTOR = 1.2
QUEUE_SHARE, QUEUE_SECONDS = 0.02, 1.0
REASONING_STEP = 64  # the API reports reasoning in multiples of 64

MESSAGES = {
    "server_error": "An error occurred while processing your request. You can retry your request.",
    "rate_limit_exceeded": "Rate limit reached while the response was generated.",
    "invalid_prompt": "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens spent; reasoning is part of output, cached part of input."""

    input: int
    cached: int
    output: int
    reasoning: int

    def body(self) -> dict[str, Any]:
        """Return the `usage` object of a response."""
        return {
            "input_tokens": self.input,
            "input_tokens_details": {"cached_tokens": self.cached, "cache_write_tokens": 0},
            "output_tokens": self.output,
            "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": self.input + self.output,
        }

    def share(self, done: float) -> "Usage":
        """Return what was spent when that share (0 to 1) of the output was made."""
        return replace(self, output=int(self.output * done), reasoning=int(self.reasoning * done))


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything decided at acceptance; `seconds` are real ones from acceptance to the end."""

    seconds: float
    queue_seconds: float
    status: str
    model: str
    service_tier: str
    output: list[dict[str, Any]]
    usage: Usage
    shows_usage: bool
    usage_after_cancel: bool
    error: dict[str, str] | None = None
    incomplete_reason: str | None = None
    is_stuck: bool = False
    cancels_itself: bool = False
    status_word: str | None = None
    missing: float = 0.0
    late_usage: float = 0.0
    then_completes_after: float | None = None
    ignores_cancel: bool = False
    webhook_fault: str | None = None
    searches: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `to_dict` returned."""
        return cls(**(values | {"usage": Usage(**values["usage"])}))


@dataclass(frozen=True, slots=True)
class State:
    """What a response shows at one moment; equal states have equal bodies."""

    status: str
    has_output: bool = False
    usage: Usage | None = None
    completed_at: float | None = None

    @property
    def is_end(self) -> bool:
        """Tell whether this is one of the four ends."""
        return self.status in ("completed", "incomplete", "failed", "cancelled")


def plan(
    ask: Ask,
    wishes: Directives,
    *,
    response_id: str,
    input_tokens: int,
    speed: float,
    rng: random.Random,
) -> Plan:
    """Draw duration, outcome and usage of one response.

    An outcome named by a directive is not held to max_output_tokens: a test may want a charge above
    every bound.
    """
    reasoning = wishes.reasoning if wishes.reasoning is not None else _draw_reasoning(ask, rng)
    stops = ask.must_call or bool(wishes.calls or wishes.approvals)
    outcome = wishes.outcome or ("function_call" if stops else "completed")
    searches = min(wishes.searches, ask.tool_limit)
    text = wishes.answer if wishes.answer is not None else ""
    if outcome in ("completed", "incomplete", "stuck", "cancelled") and wishes.answer is None:
        text = _answer(ask)
    if outcome == "refusal":
        text = answers.REFUSAL
    answer_tokens = wishes.answer_tokens if wishes.answer_tokens is not None else tokens.of_text(text)
    reason = None
    if outcome == "incomplete":
        reason = wishes.reason or "max_output_tokens"
        text = text[: len(text) // 2]
        if wishes.answer_tokens is None:
            answer_tokens = tokens.of_text(text)
        if reason == "max_output_tokens" and wishes.reasoning is None:
            answer_tokens = min(answer_tokens, ask.limit)
            reasoning = ask.limit - answer_tokens
    elif wishes.outcome is None and reasoning + answer_tokens > ask.limit:
        outcome, reason = "incomplete", "max_output_tokens"
        reasoning = min(reasoning, ask.limit)
        answer_tokens = ask.limit - reasoning
        text = text.encode()[: answer_tokens * 4].decode(errors="ignore")
    usage = Usage(
        # After every search the whole context is read again.
        input=input_tokens * (searches + 1),
        cached=min(wishes.cached or 0, input_tokens),
        output=reasoning + answer_tokens,
        reasoning=reasoning,
    )
    seconds = wishes.seconds
    if seconds is None:
        seconds = _draw(MEDIAN_SECONDS[ask.effort], rng) / speed
        queue = min(QUEUE_SHARE * seconds, QUEUE_SECONDS / speed)
    else:
        queue = min(QUEUE_SHARE * seconds, QUEUE_SECONDS)
    return Plan(
        seconds=seconds,
        queue_seconds=queue,
        status=outcome if outcome in ("incomplete", "failed") else "completed",
        model=ask.model.snapshot,
        service_tier=wishes.tier or ask.tier,
        output=_output(ask, outcome, text, response_id, wishes=wishes, searches=searches),
        usage=usage,
        shows_usage=wishes.usage == "full" if outcome == "failed" else wishes.usage != "none",
        usage_after_cancel=wishes.usage == "full",
        error=_error(wishes.code) if outcome == "failed" else None,
        incomplete_reason=reason,
        is_stuck=outcome == "stuck",
        cancels_itself=outcome == "cancelled",
        status_word=wishes.status,
        missing=wishes.missing,
        late_usage=wishes.late_usage,
        then_completes_after=wishes.after if wishes.cancelled_then else None,
        ignores_cancel=wishes.cancel == "ignored",
        webhook_fault=wishes.webhook,
        searches=searches,
    )


def state(plan: Plan, *, accepted_at: float, cancelled_at: float | None, now: float) -> State:
    """Return what the response shows at `now` (all three in Unix seconds)."""
    ends_at = None if plan.is_stuck else accepted_at + plan.seconds
    if cancelled_at is None and plan.cancels_itself and ends_at is not None and now >= ends_at:
        cancelled_at = ends_at
    if cancelled_at is not None:
        if plan.then_completes_after is not None and now >= cancelled_at + plan.then_completes_after:
            return _end(plan, cancelled_at + plan.then_completes_after, now)
        spent = plan.usage.share(done(plan, accepted_at=accepted_at, at=cancelled_at))
        return State("cancelled", usage=spent if plan.usage_after_cancel else None)
    if ends_at is not None and now >= ends_at:
        return _end(plan, ends_at, now)
    if now < accepted_at + plan.queue_seconds:
        return State("queued")
    return State(plan.status_word or "in_progress")


def done(plan: Plan, *, accepted_at: float, at: float) -> float:
    """Return the share (0 to 1) of the output that was made at that moment."""
    working = plan.seconds - plan.queue_seconds
    if working <= 0:
        return 1.0
    return min(1.0, max(0.0, (at - accepted_at - plan.queue_seconds) / working))


def _end(plan: Plan, ended_at: float, now: float) -> State:
    is_shown = plan.shows_usage and now >= ended_at + plan.late_usage
    return State(
        plan.status,
        has_output=plan.status != "failed",
        usage=plan.usage if is_shown else None,
        completed_at=ended_at if plan.status == "completed" else None,
    )


def _draw(median: float, rng: random.Random) -> float:
    return rng.lognormvariate(math.log(median), SIGMA)


def _draw_reasoning(ask: Ask, rng: random.Random) -> int:
    median = MEDIAN_REASONING[ask.effort] * ask.model.thirst * (PRO_FACTOR if ask.is_pro else 1.0)
    if not median:
        return 0
    return max(1, round(_draw(median, rng) / REASONING_STEP)) * REASONING_STEP


def _answer(ask: Ask) -> str:
    if ask.text_format.get("type", "text") == "text":
        return answers.essay(ask.prompt)
    return answers.structured(ask.text_format, ask.prompt)


def _error(code: str | None) -> dict[str, str]:
    code = code or "server_error"
    return {"code": code, "message": MESSAGES.get(code, f"The response failed with {code}.")}


def _output(
    ask: Ask, outcome: str, text: str, response_id: str, *, wishes: Directives, searches: int
) -> list[dict[str, Any]]:
    if outcome == "failed":
        return []
    tail = response_id.removeprefix("resp_")
    items: list[dict[str, Any]] = [{"id": f"rs_{tail}", "type": "reasoning", "summary": []}]
    items += [_search(ask, f"ws_{tail}{number:02}") for number in range(searches)]
    items += [
        _approved(item, f"mcp_{tail}{number:02}")
        for number, item in enumerate(ask.items)
        if item["type"] == "mcp_approval_response" and item.get("approve")
    ]
    if outcome == "function_call":
        calls = wishes.calls if wishes.calls is not None else int(not wishes.approvals)
        items += [_call(ask, tail, number) for number in range(calls)]
        return items + [_approval(ask, f"mcpr_{tail}{number:02}") for number in range(wishes.approvals)]
    if not text and outcome == "incomplete":
        return items
    part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    if outcome == "refusal":
        part = {"type": "refusal", "refusal": text}
    items.append(
        {
            "id": f"msg_{tail}",
            "type": "message",
            "role": "assistant",
            "status": "incomplete" if outcome == "incomplete" else "completed",
            "content": [part],
        }
    )
    return items


def _call(ask: Ask, tail: str, number: int) -> dict[str, Any]:
    named = ask.body.get("tool_choice")
    wanted = named.get("name") if isinstance(named, dict) else None
    tools = [tool for tool in ask.functions if wanted in (None, tool["name"])]
    tool: dict[str, Any] = tools[number % len(tools)] if tools else {"name": "look_up", "parameters": None}
    try:
        arguments = fill(tool.get("parameters") or {"type": "object"}, answers.first_words(ask.prompt, 5))
    except Unfillable:
        arguments = {}
    return {
        "id": f"fc_{tail}{number:02}",
        "type": "function_call",
        "call_id": f"call_{tail[:24]}{number:02}",
        "name": tool["name"],
        "arguments": json.dumps(arguments),
        "status": "completed",
    }


def _approval(ask: Ask, item_id: str) -> dict[str, Any]:
    servers = ask.mcp_servers
    return {
        "id": item_id,
        "type": "mcp_approval_request",
        "server_label": servers[0]["server_label"] if servers else "practice",
        "name": "look_up",
        "arguments": json.dumps({"words": answers.first_words(ask.prompt, 5)}),
    }


def _approved(item: dict[str, Any], item_id: str) -> dict[str, Any]:
    """Return the call that an approval let pass; what it found is made up."""
    return {
        "id": item_id,
        "type": "mcp_call",
        "server_label": "practice",
        "name": "look_up",
        "arguments": "{}",
        "output": "The practice server found nothing.",
        "error": None,
        "status": "completed",
        "approval_request_id": item["approval_request_id"],
    }


def _search(ask: Ask, item_id: str) -> dict[str, Any]:
    return {
        "id": item_id,
        "type": "web_search_call",
        "status": "completed",
        "action": {"type": "search", "query": answers.first_words(ask.prompt, 5)},
    }
