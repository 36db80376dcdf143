"""Checks the parameters of a request one by one, refusing in OpenAI's words and codes."""

import re
from datetime import date
from typing import Any

from jobs.sandbox import prices, strict
from jobs.sandbox.catalogue import Model
from jobs.sandbox.errors import Refused, bad_request

KNOWN = frozenset(
    {
        "access_programs", "background", "background_options", "context_management", "conversation", "image",
        "include", "input", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model",
        "moderation", "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key",
        "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier",
        "store", "stream", "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs",
        "top_p", "truncation", "user",
    }
)  # fmt: skip
# input_tokens takes what the model reads, and refuses what only steers the response.
COUNTABLE = frozenset(
    {
        "conversation", "input", "instructions", "model", "parallel_tool_calls", "personality",
        "previous_response_id", "reasoning", "text", "tool_choice", "tools", "truncation",
    }
)  # fmt: skip
_MOVED = {
    "reasoning_effort": "reasoning.effort",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "messages": "input",
}
UNSUPPORTED_BY_REASONING = ("temperature", "top_p", "top_logprobs")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
TIERS = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
_TYPES: dict[str, tuple[type, str]] = {
    "background": (bool, "a boolean"),
    "store": (bool, "a boolean"),
    "stream": (bool, "a boolean"),
    "parallel_tool_calls": (bool, "a boolean"),
    "max_output_tokens": (int, "an integer"),
    "max_tool_calls": (int, "an integer"),
    "metadata": (dict, "an object"),
    "reasoning": (dict, "an object"),
    "text": (dict, "an object"),
    "background_options": (dict, "an object"),
    "tools": (list, "an array"),
    "model": (str, "a string"),
    "instructions": (str, "a string"),
    "previous_response_id": (str, "a string"),
}
MIN_OUTPUT = 16
# The tools it pretends to have, and what each needs.
_TOOLS = {
    "function": ("name",),
    "web_search": (),
    "file_search": ("vector_store_ids",),
    "mcp": ("server_label", "server_url"),
}
MAX_PAIRS, MAX_KEY, MAX_VALUE = 16, 64, 512
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_names_and_types(body: dict[str, Any], known: frozenset[str]) -> None:
    """Refuse parameters the API does not know, has moved, or takes in another type."""
    for key, value in body.items():
        if key in _MOVED:
            # Verbatim message of the API for a Chat Completions parameter at the wrong place.
            raise bad_request(
                f"Unsupported parameter: '{key}'. In the Responses API, this parameter has moved to "
                f"'{_MOVED[key]}'.",
                param=key,
                code="unsupported_parameter",
            )
        if key not in known:
            raise bad_request(f"Unknown parameter: '{key}'.", param=key, code="unknown_parameter")
        if value is None or key not in _TYPES:
            continue
        kind, words = _TYPES[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise invalid_type(key, words, value)


def invalid_type(param: str, expected: str, value: Any) -> Refused:
    """Return the 400 for a value of the wrong JSON type."""
    names = {str: "a string", bool: "a boolean", int: "an integer", float: "a decimal number"}
    names |= {list: "an array", dict: "an object", type(None): "null"}
    got = names.get(type(value), "something else")
    return bad_request(
        f"Invalid type for '{param}': expected {expected}, but got {got} instead.",
        param=param,
        code="invalid_type",
    )


def check_output_limit(limit: int | None, model: Model) -> None:
    """Refuse a max_output_tokens below 16 or above the model's own limit."""
    if limit is not None and limit < MIN_OUTPUT:
        raise bad_request(
            f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {MIN_OUTPUT}, "
            f"but got {limit} instead.",
            param="max_output_tokens",
            code="integer_below_min_value",
        )
    if limit is not None and limit > model.max_output:
        raise bad_request(
            f"Invalid 'max_output_tokens': integer above maximum value. Expected a value <= "
            f"{model.max_output}, but got {limit} instead.",
            param="max_output_tokens",
            code="integer_above_max_value",
        )


def check_tool_limit(limit: int | None) -> None:
    """Refuse a max_tool_calls below 1."""
    if limit is not None and limit < 1:
        raise bad_request(
            f"Invalid 'max_tool_calls': integer below minimum value. Expected a value >= 1, but got {limit} "
            "instead.",
            param="max_tool_calls",
            code="integer_below_min_value",
        )


def check_metadata(metadata: dict[str, Any]) -> None:
    """Refuse more than 16 pairs, keys above 64 and values above 512 characters."""
    if len(metadata) > MAX_PAIRS:
        raise bad_request(
            f"Invalid 'metadata': too many properties. Expected an object with at most {MAX_PAIRS} "
            f"properties, but got an object with {len(metadata)} properties instead.",
            param="metadata",
            code="object_above_max_properties",
        )
    for key, value in metadata.items():
        if len(key) > MAX_KEY:
            raise bad_request(
                "Invalid property name in 'metadata': string too long. Expected a string with maximum "
                f"length {MAX_KEY}, but got a string with length {len(key)} instead.",
                param="metadata",
                code="string_above_max_length",
            )
        if not isinstance(value, str):
            raise invalid_type(f"metadata.{key}", "a string", value)
        if len(value) > MAX_VALUE:
            raise bad_request(
                f"Invalid 'metadata.{key}': string too long. Expected a string with maximum length "
                f"{MAX_VALUE}, but got a string with length {len(value)} instead.",
                param=f"metadata.{key}",
                code="string_above_max_length",
            )


def reasoning_of(reasoning: dict[str, Any], model: Model, name: str) -> tuple[str, bool]:
    """Return the effort, or the model's default one, and whether the mode is pro."""
    effort = reasoning.get("effort") or model.default_effort
    if effort not in EFFORTS:
        raise bad_request(
            f"Invalid value: '{effort}'. Supported values are: {_listed(EFFORTS)}.",
            param="reasoning.effort",
            code="invalid_value",
        )
    if effort not in model.efforts:
        raise bad_request(
            f"Unsupported value: '{effort}' is not supported with the '{name}' model. "
            f"Supported values are: {_listed(model.efforts)}.",
            param="reasoning.effort",
            code="unsupported_value",
        )
    mode = reasoning.get("mode") or "standard"
    if mode not in ("standard", "pro"):
        raise bad_request(
            f"Invalid value: '{mode}'. Supported values are: 'standard' and 'pro'.",
            param="reasoning.mode",
            code="invalid_value",
        )
    return effort, mode == "pro"


def tier_of(asked: Any, model: Model, today: date) -> str:
    """Return the service tier that will be reported and charged."""
    if asked is None:
        return "default"
    if asked not in TIERS:
        raise bad_request(
            f"Invalid value: '{asked}'. Supported values are: {_listed(TIERS)}.",
            param="service_tier",
            code="invalid_value",
        )
    price = prices.price_of(model.id, today)
    # A tier the model does not sell is served, and charged, as the default one.
    if asked in ("priority", "fast") and price.priority:
        return "priority"
    return "flex" if asked == "flex" and price.flex else "default"


def window_of(options: dict[str, Any], *, background: bool) -> str:
    """Return the completion window; a discounted one needs a background request."""
    window = options.get("completion_window") or "soonest"
    if window not in prices.WINDOW_FACTORS:
        raise bad_request(
            f"Invalid value: '{window}'. Supported values are: {_listed(tuple(prices.WINDOW_FACTORS))}.",
            param="background_options.completion_window",
            code="invalid_value",
        )
    if window != "soonest" and not background:
        raise bad_request(
            "'background_options.completion_window' requires 'background' to be true.",
            param="background_options.completion_window",
            code="unsupported_value",
        )
    return str(window)


def check_format(text_format: Any) -> None:
    """Refuse a text.format that is malformed, or whose schema no answer could follow."""
    if text_format is None:
        return
    kind = text_format.get("type") if isinstance(text_format, dict) else None
    if kind in ("text", "json_object"):
        return
    if kind != "json_schema":
        raise bad_request(
            f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'.",
            param="text.format.type",
            code="invalid_value",
        )
    for key in ("name", "schema"):
        if not text_format.get(key):
            raise bad_request(
                f"Missing required parameter: 'text.format.{key}'.",
                param=f"text.format.{key}",
                code="missing_required_parameter",
            )
    name = text_format["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise bad_request(
            "Invalid 'text.format.name': string does not match pattern. Expected a string that matches the "
            "pattern '^[a-zA-Z0-9_-]+$'.",
            param="text.format.name",
            code="invalid_value",
        )
    if text_format.get("strict"):
        problem = strict.problem(text_format["schema"])
    else:
        problem = strict.unfillable(text_format["schema"])
    if problem:
        raise bad_request(
            f"Invalid schema for response_format '{name}': {problem}",
            param="text.format.schema",
            code="invalid_json_schema",
        )


def check_tools(tools: list[Any]) -> None:
    """Refuse tools without what their type needs, and strict functions with a schema that is not strict."""
    for number, tool in enumerate(tools):
        where = f"tools[{number}]"
        if not isinstance(tool, dict):
            raise invalid_type(where, "an object", tool)
        for key in ("type", *_TOOLS.get(str(tool.get("type")), ())):
            if not tool.get(key):
                raise bad_request(
                    f"Missing required parameter: '{where}.{key}'.",
                    param=f"{where}.{key}",
                    code="missing_required_parameter",
                )
        if tool["type"] not in _TOOLS:
            raise bad_request(
                f"Invalid value: '{tool['type']}'. Supported values are: {_listed(tuple(_TOOLS))}.",
                param=f"{where}.type",
                code="invalid_value",
            )
        parameters = tool.get("parameters")
        if tool["type"] == "function" and tool.get("strict") and parameters is not None:
            problem = strict.problem(parameters)
            if problem:
                raise bad_request(
                    f"Invalid schema for function '{tool['name']}': {problem}",
                    param=f"{where}.parameters",
                    code="invalid_function_parameters",
                )


def _listed(values: tuple[str, ...]) -> str:
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 3:
        return " and ".join(quoted)
    return ", ".join(quoted[:-1]) + f", and {quoted[-1]}"
