"""Reads and checks the body of POST /v1/responses: an Ask, or a refusal in OpenAI's words."""

import hashlib
from dataclasses import dataclass
from datetime import date
from typing import Any

from jobs.sandbox import catalogue, files
from jobs.sandbox.catalogue import Model
from jobs.sandbox.directives import strip
from jobs.sandbox.errors import bad_request, model_gone, unknown_model
from jobs.sandbox.parameters import (
    COUNTABLE,
    KNOWN,
    UNSUPPORTED_BY_REASONING,
    check_format,
    check_metadata,
    check_names_and_types,
    check_output_limit,
    check_tool_limit,
    check_tools,
    invalid_type,
    reasoning_of,
    tier_of,
    window_of,
)

_WITH_STATUS = ("function_call", "function_call_output")
USUAL_TOOL_CALLS = 20  # where a request names no limit; the sandbox's own


@dataclass(frozen=True, slots=True)
class Ask:
    """A checked request; `items` are its input items without ids, `prompt` its text without directives."""

    body: dict[str, Any]
    model: Model
    items: list[dict[str, Any]]
    prompt: str
    effort: str
    is_pro: bool
    background: bool
    store: bool
    tier: str
    window: str

    @property
    def limit(self) -> int:
        """Return the most output tokens this response may spend."""
        asked = self.body.get("max_output_tokens")
        return min(asked, self.model.max_output) if asked else self.model.max_output

    @property
    def text_format(self) -> dict[str, Any]:
        """Return `text.format`, or an empty one for plain text."""
        return (self.body.get("text") or {}).get("format") or {}

    @property
    def functions(self) -> list[dict[str, Any]]:
        """Return the function tools of the request."""
        return [tool for tool in self.body.get("tools") or [] if tool.get("type") == "function"]

    @property
    def mcp_servers(self) -> list[dict[str, Any]]:
        """Return the MCP tools of the request."""
        return [tool for tool in self.body.get("tools") or [] if tool.get("type") == "mcp"]

    @property
    def tool_limit(self) -> int:
        """Return how often the tools that run by themselves may run; 0 without such tools."""
        if all(tool.get("type") == "function" for tool in self.body.get("tools") or []):
            return 0
        return self.body.get("max_tool_calls") or USUAL_TOOL_CALLS

    @property
    def must_call(self) -> bool:
        """Tell whether tool_choice leaves the model nothing but a function call."""
        choice = self.body.get("tool_choice")
        named = isinstance(choice, dict) and choice.get("type") == "function"
        return bool(self.functions) and (named or choice == "required")


def texts(body: dict[str, Any]) -> list[str]:
    """Return the texts people wrote: instructions and user, system and developer messages.

    Earlier answers of the model are left out: they may quote a directive.
    """
    found = [body["instructions"]] if isinstance(body.get("instructions"), str) else []
    given = body.get("input")
    if isinstance(given, str):
        return [*found, given]
    for item in given if isinstance(given, list) else []:
        if not isinstance(item, dict) or item.get("role") not in ("user", "system", "developer"):
            continue
        content = item.get("content")
        if isinstance(content, str):
            found.append(content)
        for part in content if isinstance(content, list) else []:
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                found.append(part["text"])
    return found


def prompt_hash(body: dict[str, Any]) -> str:
    """Return a digest of the texts people wrote; what counts as 'the same prompt'."""
    return hashlib.sha256("\n".join(texts(body)).encode(errors="replace")).hexdigest()


def items_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the input as a list of items, strings turned into messages of parts.

    Raises:
        Refused: the input is neither text nor a list of items.
    """
    given = body.get("input")
    if given is None:
        return []
    if isinstance(given, str):
        return [_message("user", given)]
    if not isinstance(given, list):
        raise invalid_type("input", "a string or an array of input items", given)
    items = []
    for number, item in enumerate(given):
        where = f"input[{number}]"
        if not isinstance(item, dict):
            raise invalid_type(where, "an object", item)
        if "role" in item and item.get("type", "message") == "message":
            content = item.get("content")
            if isinstance(content, str):
                items.append(_message(item["role"], content))
            elif isinstance(content, list) and all(isinstance(part, dict) for part in content):
                items.append({**item, "type": "message", "status": "completed"})
            else:
                raise invalid_type(f"{where}.content", "a string or an array of content parts", content)
        elif isinstance(item.get("type"), str):
            items.append({**item, "status": "completed"} if item["type"] in _WITH_STATUS else item)
        else:
            raise bad_request(
                f"Missing required parameter: '{where}.type'.",
                param=f"{where}.type",
                code="missing_required_parameter",
            )
    return items


def check(body: dict[str, Any], today: date) -> Ask:
    """Check a request as the API would on that day, apart from the chain and the context window.

    Raises:
        Refused: the first thing that is wrong, with its parameter and code.
    """
    check_names_and_types(body, KNOWN)
    name = body.get("model")
    if not name:
        raise bad_request(
            "Missing required parameter: 'model'.", param="model", code="missing_required_parameter"
        )
    model = model_called(name, today)
    for key in UNSUPPORTED_BY_REASONING:
        if body.get(key) is not None:
            raise bad_request(
                f"Unsupported parameter: '{key}' is not supported with this model.",
                param=key,
                code="unsupported_parameter",
            )
    if not any(body.get(key) for key in ("input", "prompt", "previous_response_id", "conversation")):
        raise bad_request(
            "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation' must be provided.",
            param="input",
            code="missing_required_parameter",
        )
    check_output_limit(body.get("max_output_tokens"), model)
    check_metadata(body.get("metadata") or {})
    effort, is_pro = reasoning_of(body.get("reasoning") or {}, model, name)
    background, store = bool(body.get("background")), body.get("store") is not False
    if background and not store:
        raise bad_request(
            "Background mode requires 'store' to be true.", param="store", code="unsupported_value"
        )
    if body.get("stream"):
        raise bad_request(
            f"Unsupported value: 'stream' does not support true with the '{name}' model. "
            "Supported values are: false.",
            param="stream",
            code="unsupported_value",
        )
    check_format((body.get("text") or {}).get("format"))
    check_tools(body.get("tools") or [])
    check_tool_limit(body.get("max_tool_calls"))
    return Ask(
        body=body,
        model=model,
        items=files.check(items_of(body)),
        prompt="\n".join(strip(text) for text in texts(body)).strip(),
        effort=effort,
        is_pro=is_pro,
        background=background,
        store=store,
        tier=tier_of(body.get("service_tier"), model, today),
        window=window_of(body.get("background_options") or {}, background=background),
    )


def model_called(name: str, today: date) -> Model:
    """Return the model of that name.

    Raises:
        Refused: 404, there is none or its day has passed.
    """
    model = catalogue.find(name)
    if model is None:
        raise unknown_model(name)
    if model.is_gone(today):
        raise model_gone(name)
    return model


def check_countable(body: dict[str, Any], today: date) -> list[dict[str, Any]]:
    """Check a body of POST /v1/responses/input_tokens and return its items."""
    check_names_and_types(body, COUNTABLE)
    if body.get("model"):
        model_called(body["model"], today)
    check_tools(body.get("tools") or [])
    return files.check(items_of(body))


def _message(role: str, text: str) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "input_text", "text": text}
    if role == "assistant":
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "status": "completed", "role": role, "content": [part]}
