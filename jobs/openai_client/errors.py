"""Say of every failure at the border what it means for the job and its money."""

import email.utils
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import sdk

if TYPE_CHECKING:
    import openai

MESSAGE_LIMIT = 500  # characters
RETRY_AFTER_LIMIT = 3600.0  # seconds
REST_LIMIT = 60.0  # seconds that an answer which took the last request of a limit lets a connection rest

# The account or the key, whatever status they come with (billing_hard_limit_reached comes as a 400).
_BLOCKING = frozenset(
    {
        "account_deactivated",
        "billing_hard_limit_reached",
        "billing_not_active",
        "credit_balance_exhausted",
        "insufficient_quota",
        "invalid_api_key",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
    }
)
_MODEL_CODES = frozenset({"model_not_found", "DeploymentNotFound"})
# 'Missing scopes: model.request' speaks of the key, not of a model.
_NAMES_MODEL = re.compile(r"\bmodel\b(?![.\w])|\bdeployment\b", re.IGNORECASE)
# OpenAI's and Azure's 404 for a path that does not exist: the base URL is wrong.
_WRONG_ADDRESS = re.compile(r"^(invalid url|resource not found)", re.IGNORECASE)
# The response a request goes on from, or a call in it, is not known (any more): all of it can be sent again.
THREAD_FORGOTTEN = "previous_response_not_found"
_FORGOTTEN = re.compile(r"^(previous response\b|no tool (call|output) found for )", re.IGNORECASE)
# A completion window that the model does not take.
WINDOW_REFUSED = "completion_window_refused"
_WINDOW = re.compile(r"\bbackground_options\b|\bcompletion[_ ]window\b", re.IGNORECASE)
# One request above a limit per minute: no waiting helps, though the code is rate_limit_exceeded.
_NEVER_FITS = re.compile(r"^request too large", re.IGNORECASE)

_WORD = re.compile(r"[\w.\-]{1,64}")
_BYTES_LIKE = re.compile(r"[A-Za-z0-9+/]{64,}")  # no word and no id is as long
_KEY_LIKE = re.compile(r"\b(?:sk|sess)-[\w*.\-]+")
_LIMITS = ("ratelimit", "rate-limit")
_RETRY_AFTER_WORDS = re.compile(r"retry after (\d{1,9}) seconds?\b", re.IGNORECASE)
_RESET = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_RESET_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SECRET = 8  # characters a key has at least
_ECHO = 16  # characters of the prompt in a row count as an echo of it
_HIDDEN = "[…]"
_LABELS = frozenset({"type", "role", "detail", "status"})  # input item fields that hold words of the API


class BorderError(Exception):
    """What the API or the way to it answered instead of a Response.

    `message` has at most 500 characters and holds neither the key nor the prompt. `retry_after` is in
    seconds (0 to 3600), None where the API gave no hint. `status` is HTTP's, 0 where none was answered.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int = 0,
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.message = message
        self.code = code
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after


class Retryable(BorderError):
    """A create that was surely not accepted, or a read that may be asked again."""


class NotSent(Retryable):
    """A create given back before its POST began, for the session ended: the API had no part in it."""


class Blocked(BorderError):
    """The connection does not work, for this job or any other: a person has to act."""


class Rejected(BorderError):
    """This job was refused and will never work; nothing is billed."""


class OutcomeUnknown(BorderError):
    """A create that may have been accepted: never send it again without a decision."""


class NotFound(BorderError):
    """The API does not know this response id (reads only)."""


def classify(exc: Exception, *, sending: bool) -> BorderError:
    """Translate an exception of the SDK, or a timeout, into the one border error it means.

    `sending` says that a create was under way: what is ambiguous is then OutcomeUnknown. A read may be
    asked again, so the same failure of a read is Retryable, and only a read can be NotFound.
    """
    sdk.load()
    if isinstance(exc, BorderError):
        return exc
    if isinstance(exc, sdk.openai.APIStatusError):
        return _of_status(exc, sending=sending)
    ambiguous = OutcomeUnknown if sending else Retryable
    cause = exc.__cause__ if isinstance(exc, sdk.openai.APIConnectionError) else exc
    if isinstance(cause, sdk.httpx2.ConnectError):
        # Only this one's text is kept: it is the resolver's, the socket's or TLS's own.
        return Retryable(f"The API could not be reached: {cause}"[:MESSAGE_LIMIT], code="connect_error")
    if isinstance(cause, sdk.httpx2.ConnectTimeout):
        return Retryable("The API could not be reached in time.", code="connect_timeout")
    if isinstance(cause, sdk.httpx2.PoolTimeout):
        return Retryable("No connection was free in time.", code="pool_timeout")
    if isinstance(cause, TimeoutError | sdk.httpx2.TimeoutException):
        return ambiguous("The API did not answer in time.", code="timeout")
    if isinstance(cause, sdk.httpx2.TransportError):
        return ambiguous("The connection broke before the answer was complete.", code="connection_lost")
    return ambiguous(f"The exchange failed ({type(cause).__name__}).", code="unexpected")


def request_id_of(headers: Mapping[str, str]) -> str:
    """Return the id under which the API (or Azure's gateway) logged a request, '' if it gave none."""
    return (headers.get("x-request-id") or headers.get("apim-request-id") or "")[:100]


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that retry-after-ms or Retry-After (seconds or an HTTP date) asks to wait."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _clamp(milliseconds / 1000)
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None:
        return _clamp(seconds)
    date = email.utils.parsedate_tz(value)
    if date is None:
        return None
    try:
        return _clamp(email.utils.mktime_tz(date) - time.time())
    except (OverflowError, ValueError):
        return None


def rest_of(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until requests are left again, where an answer took the last one; at most 60.

    A limit per day may have hours to go, and is refused with Retry-After when it is met.
    """
    if _number(headers.get("x-ratelimit-remaining-requests")) != 0:
        return None
    seconds = _wait_of(headers.get("x-ratelimit-reset-requests", ""))
    return None if seconds is None else min(seconds, REST_LIMIT)


def _of_status(exc: "openai.APIStatusError", *, sending: bool) -> BorderError:
    status, headers = exc.status_code, exc.response.headers
    ambiguous = OutcomeUnknown if sending else Retryable
    error = _error_body(exc)
    code, kind, param, text = (_text(error, name) for name in ("code", "type", "param", "message"))
    retry_after = retry_after_of(headers)
    if sending and status in (400, 404) and (param == "previous_response_id" or _FORGOTTEN.search(text)):
        code, status = THREAD_FORGOTTEN, 400
    if sending and status == 400 and (_WINDOW.search(param) or _WINDOW.search(text)):
        code = WINDOW_REFUSED
    if status == 429 and retry_after is None:
        retry_after = _reset_of(headers, text)
    if sending and code == "DeploymentNotFound":
        text = f"There is no deployment named {_asked_of(exc)}. {text}"

    def build(cls: type[BorderError], message: str = "") -> BorderError:
        return cls(
            message or _scrub(text, exc) or f"The API answered {status} without an OpenAI error body.",
            code=next((word for word in (code, kind) if _WORD.fullmatch(word)), f"http_{status}"),
            status=status,
            request_id=request_id_of(headers),
            retry_after=retry_after,
        )

    if 300 <= status < 400:
        return build(Blocked, f"The address answered {status}, a redirect; redirects are never followed.")
    if status == 503 and retry_after is not None:
        return build(Retryable)
    if not 400 <= status < 500 or status in (408, 409):
        return build(ambiguous)
    if code in _BLOCKING or kind in _BLOCKING or status in (401, 402, 405, 407):
        return build(Blocked)
    if status == 429:
        return build(Rejected if sending and _NEVER_FITS.search(text) else Retryable)
    if status not in (403, 404):
        return build(Rejected)
    if error is None or _WRONG_ADDRESS.search(text):
        return build(Blocked)
    if sending and (code in _MODEL_CODES or param == "model" or _NAMES_MODEL.search(text)):
        return build(Rejected)
    if status == 403:
        return build(Blocked)
    return build(Rejected if sending else NotFound)


def _error_body(exc: "openai.APIStatusError") -> dict[str, Any] | None:
    # `exc.body` is the inner error or, without one, the whole body: it cannot tell them apart.
    try:
        error = json.loads(exc.response.content)["error"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return error if isinstance(error, dict) and (error.get("message") or error.get("code")) else None


def _text(error: dict[str, Any] | None, name: str) -> str:
    value = (error or {}).get(name)
    return str(value) if isinstance(value, str | int) else ""


def _scrub(text: str, exc: "openai.APIStatusError") -> str:
    """Take out of an upstream message whatever it repeats of our key and our prompt."""
    key = exc.request.headers.get("authorization", "").removeprefix("Bearer ")
    sent = _prompt(exc.request.content)
    # The key of a local server may be a plain word, which is no secret.
    for part in [key, *sent] if len(key) >= _SECRET else sent:
        text = text.replace(part, _HIDDEN)
    # Bytes of a file are looked for beyond the limit, where they would be cut too short to be known as such.
    text = _KEY_LIKE.sub(_HIDDEN, text)[: 2 * MESSAGE_LIMIT]
    for part in _BYTES_LIKE.findall(text):
        if part.encode() in exc.request.content:
            text = text.replace(part, _HIDDEN)
    text = text[:MESSAGE_LIMIT]
    # What is left may repeat a part of it, cut short or between escapes; 0.3 ms a character and MB sent.
    haystack, kept, at = "\n".join(sent), "", 0
    while at < len(text):
        size = _ECHO
        if len(text) - at < size or text[at : at + size] not in haystack:
            kept += text[at]
            at += 1
            continue
        while at + size < len(text) and text[at : at + size + 1] in haystack:
            size += 1
        kept += _HIDDEN
        at += size
    # NUL and lone surrogates, which a database refuses, are not printable either.
    return "".join(char if char.isprintable() else " " for char in kept)


def _prompt(content: bytes) -> list[str]:
    body = json.loads(content) if content else {}
    parts = {part for name in ("instructions", "input") for part in _strings(body.get(name))}
    # Of a schema or a tool only what is long enough to be someone's words: 'object' must stay readable.
    parts |= {part for name in ("text", "tools") for part in _strings(body.get(name)) if len(part) >= _ECHO}
    # Longest first, so that no shorter part breaks up a longer one; 1 to 3 characters say nothing.
    return sorted((part for part in parts if len(part) > 3), key=len, reverse=True)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str) and not value.startswith("data:"):  # a file's bytes say nothing to a reader
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in _LABELS:
                yield from _strings(item)


def _reset_of(headers: Mapping[str, str], message: str) -> float | None:
    """Return the longest wait of the headers that say when a limit is reset, else the one in the message."""
    # Azure has both ways of writing them (github.com/openai/openai-python/issues/937).
    names = [f"x-{limit}-reset-{of}" for limit in _LIMITS for of in ("requests", "tokens")]
    waits = [_wait_of(headers.get(name, "")) for name in names]
    said = _RETRY_AFTER_WORDS.search(message)
    in_words = _clamp(float(said[1])) if said else None
    return max((wait for wait in waits if wait is not None), default=in_words)


def _asked_of(exc: "openai.APIStatusError") -> str:
    """Return the model that a refused create named."""
    return repr(str(json.loads(exc.request.content).get("model")))


def _wait_of(text: str) -> float | None:
    """Return the seconds of a reset: '6m0s' or '120ms' at OpenAI, a bare number at Azure."""
    seconds = _number(text)
    if seconds is None and (parts := _RESET.findall(text)):
        seconds = sum(float(number) * _RESET_SECONDS[unit] for number, unit in parts)
    return None if seconds is None else _clamp(seconds)


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _clamp(seconds: float) -> float:
    return min(max(seconds, 0.0), RETRY_AFTER_LIMIT)
