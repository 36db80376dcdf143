"""Refuses JSON schemas outside the strict subset, with the messages OpenAI gives."""

from typing import Any

from jobs.sandbox.instance import Unfillable, fill

MAX_PROPERTIES = 5000
MAX_DEPTH = 10
_FORBIDDEN = (
    "allOf",
    "oneOf",
    "not",
    "dependentRequired",
    "dependentSchemas",
    "if",
    "then",
    "else",
    "patternProperties",
    "default",
)

# What walking a schema raises when a keyword holds the wrong kind of value, or nests too deep.
_MALFORMED = (TypeError, AttributeError, ValueError, KeyError, RecursionError)


class _Wrong(Exception):
    pass


def problem(schema: Any) -> str | None:
    """Say what keeps the schema out of the strict subset, in OpenAI's words, or None.

    Rules: structured-outputs guide (root object, all properties required, no additional ones, ten
    levels, 5,000 properties).
    """
    if not isinstance(schema, dict):
        return "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'."
    if "anyOf" in schema or schema.get("type", "object" if "$ref" in schema else None) != "object":
        kind = schema.get("type", "None")
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
    try:
        count = _check(schema, (), 1)
        for key in ("$defs", "definitions"):
            for name, definition in (schema.get(key) or {}).items():
                count += _check(definition, (key, name), 1)
    except _Wrong as wrong:
        return str(wrong)
    except _MALFORMED:
        return "schema is not a valid JSON Schema."
    if count > MAX_PROPERTIES:
        return f"Too many properties: {count} exceeds the limit of {MAX_PROPERTIES}."
    return unfillable(schema)


def unfillable(schema: Any) -> str | None:
    """Say why no answer could match the schema, or None; the only check for schemas that are not strict."""
    if not isinstance(schema, dict):
        return "schema must be an object."
    try:
        fill(schema)
    except Unfillable as reason:
        return f"{reason}."
    except _MALFORMED:
        return "schema is not a valid JSON Schema."
    return None


def _check(schema: Any, path: tuple[str, ...], depth: int) -> int:
    where = f"In context={path!r}, "
    if not isinstance(schema, dict):
        raise _Wrong(f"{where}schema must be an object.")
    if depth > MAX_DEPTH:
        raise _Wrong(f"{depth} levels of nesting exceeds limit of {MAX_DEPTH}.")
    for word in _FORBIDDEN:
        if word in schema:
            raise _Wrong(f"{where}'{word}' is not permitted.")
    if not {"type", "anyOf", "$ref", "enum", "const"} & schema.keys():
        raise _Wrong(f"{where}schema must have a 'type' key.")
    count = 0
    properties = schema.get("properties") or {}
    if schema.get("type") == "object" or properties:
        if schema.get("additionalProperties") is not False:
            raise _Wrong(f"{where}'additionalProperties' is required to be supplied and to be false.")
        missing = [name for name in properties if name not in (schema.get("required") or [])]
        if missing:
            raise _Wrong(
                f"{where}'required' is required to be supplied and to be an array including every key in "
                f"properties. Missing '{missing[0]}'."
            )
    for name, child in properties.items():
        count += 1 + _check(child, (*path, "properties", name), depth + 1)
    if schema.get("type") == "array" and "items" not in schema:
        raise _Wrong(f"{where}array schema missing items.")
    if "items" in schema:
        count += _check(schema["items"], (*path, "items"), depth + 1)
    for number, branch in enumerate(schema.get("anyOf") or []):
        count += _check(branch, (*path, "anyOf", str(number)), depth)
    return count
