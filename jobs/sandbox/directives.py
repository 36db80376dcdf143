"""Reads `[[sandbox: key=value ...]]` out of prompts: what a test asks this response to do."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from jobs.sandbox.errors import Refused, bad_request

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_OPENING = "[[sandbox:"
_DIRECTIVE = re.compile(rf"\[\[sandbox:((?:{_QUOTED}|[^\"\]]|\](?!\]))*)\]\]", re.DOTALL)
_PAIR = re.compile(rf"(?<!\S)([a-z_]+)=({_QUOTED}|[^\s\"]+)", re.DOTALL)

MAX_TRIES = 50  # openings looked at in one text
MAX_LENGTH = 100_000  # characters of one directive

OUTCOMES = (
    "completed",
    "incomplete",
    "refusal",
    "failed",
    "cancelled",
    "stuck",
    "function_call",
)
REASONS = ("max_output_tokens", "content_filter", "max_messages", "steered")
HTTP_ANSWERS = (
    "307",
    "400",
    "401",
    "403",
    "403_plain",
    "404",
    "404_plain",
    "405",
    "408",
    "409",
    "429",
    "429_quota",
    "500",
    "502",
    "503",
)
FAULTS = ("reset_before", "reset_after", "garbage", "hang")


@dataclass(frozen=True, slots=True)
class Directives:
    """Hold what the prompt asked for; None or False means: as the sandbox pleases. Times in seconds."""

    seconds: float | None = None
    outcome: str | None = None
    reason: str | None = None
    code: str | None = None
    usage: str | None = None
    reasoning: int | None = None
    answer_tokens: int | None = None
    input: int | None = None
    cached: int | None = None
    status: str | None = None
    missing: float = 0.0
    late_usage: float = 0.0
    tier: str | None = None
    cancelled_then: str | None = None
    after: float = 2.0
    cancel: str | None = None
    http: str | None = None
    retry_after: str | None = None
    times: int | None = None
    fault: str | None = None
    hang: float = 600.0
    answer: str | None = None
    calls: int | None = None
    approvals: int = 0
    searches: int = 0
    webhook: str | None = None
    window: str | None = None

    def on_post(self, number: int) -> "Directives":
        """Return what holds for the number-th POST (from 1) of the same text.

        From `times` on the faults and the ends are spent and the request is an ordinary one.
        """
        if self.times is None or number <= self.times:
            return self
        return replace(
            self,
            http=None,
            fault=None,
            outcome=None,
            reason=None,
            code=None,
            usage=None,
            status=None,
            missing=0.0,
        )


_CHOICES: dict[str, tuple[str, ...]] = {
    "outcome": OUTCOMES,
    "reason": REASONS,
    "usage": ("none", "full"),
    "http": HTTP_ANSWERS,
    "fault": FAULTS,
    "cancelled_then": ("completed",),
    "cancel": ("ignored",),
    "window": ("refused",),
    "tier": ("default", "flex", "priority", "scale"),
}
_NUMBERS = ("seconds", "missing", "late_usage", "after", "hang")
_COUNTS = (
    "reasoning", "answer_tokens", "input", "cached", "times", "calls", "approvals", "searches",
)  # fmt: skip
_WORDS = ("code", "status", "retry_after", "answer", "webhook")


def read(texts: Iterable[str]) -> Directives:
    """Read every directive of a request; of the same key the last one wins.

    Raises:
        Refused: a 400 that names the key, so that a misspelt directive is noticed.
    """
    found: dict[str, Any] = {}
    for text in texts:
        for match in _found(text):
            if rest := _PAIR.sub("", match.group(1)).split():
                raise _wrong(rest[0][:40])
            for key, raw in _PAIR.findall(match.group(1)):
                found[key] = _value(key, raw)
    return Directives(**found)


def strip(text: str) -> str:
    """Return the text without its directives."""
    for match in reversed(list(_found(text))):
        text = text[: match.start()] + text[match.end() :]
    return text


def check_webhook_fault(value: str) -> str:
    """Return a webhook fault (`drop`, `duplicate`, `reorder`, `delay:N`, joined by commas) unchanged.

    Raises:
        ValueError: a part is none of these.
    """
    for part in value.split(","):
        name, _, seconds = part.partition(":")
        if name == "delay":
            float(seconds)
        elif part not in ("drop", "duplicate", "reorder"):
            raise ValueError(f"{part!r} is no webhook fault")
    return value


def _found(text: str) -> Iterator[re.Match[str]]:
    """Yield the directives; a prompt is a stranger's, so tries and length are bounded."""
    start = 0
    for _ in range(MAX_TRIES):
        start = text.find(_OPENING, start)
        if start < 0:
            return
        match = _DIRECTIVE.match(text, start, start + MAX_LENGTH)
        if match:
            yield match
        start = match.end() if match else start + len(_OPENING)


def _value(key: str, raw: str) -> Any:
    try:
        text = str(json.loads(raw, strict=False)) if raw.startswith('"') else raw
        if key in _NUMBERS:
            return _not_negative(float(text))
        if key in _COUNTS:
            return _not_negative(int(text))
        if key == "webhook":
            return check_webhook_fault(text)
    except ValueError:
        raise _wrong(key) from None
    if key in _CHOICES:
        if text not in _CHOICES[key]:
            raise _wrong(key)
        return text
    if key in _WORDS:
        return text
    raise bad_request(f"Unknown sandbox directive: '{key}'.", param="input", code="invalid_directive")


def _not_negative[N: (int, float)](number: N) -> N:
    if not 0 <= number < 1e9:
        raise ValueError("out of range")
    return number


def _wrong(key: str) -> Refused:
    return bad_request(
        f"Invalid value of the sandbox directive '{key}'.", param="input", code="invalid_directive"
    )
