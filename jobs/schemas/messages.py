"""Says in one plain sentence what in an answer does not fit its schema."""

from typing import Any

from jsonschema.exceptions import ValidationError

LONGEST = 60  # characters of an answer that a sentence quotes

KINDS = {
    "object": "an object",
    "array": "a list",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}
NAMED_FORMATS = {
    "date": "a date",
    "time": "a time with its zone",
    "date-time": "a date and time with its zone",
    "duration": "a duration such as PT15M",
    "email": "an e-mail address",
    "hostname": "a host name",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
    "uuid": "a UUID",
}


# What follows the quoted value, and for counts what follows the number.
COMPARED = {
    "const": "is not",
    "minimum": "is less than",
    "maximum": "is more than",
    "exclusiveMinimum": "is not more than",
    "exclusiveMaximum": "is not less than",
    "multipleOf": "is not a multiple of",
}
COUNTED = {
    "minItems": "entries; the least is",
    "maxItems": "entries; the most is",
    "minLength": "characters; the least is",
    "maxLength": "characters; the most is",
}
FIXED = {
    "enum": "is not one of the allowed values",
    "anyOf": "fits none of the allowed choices",
    "pattern": "does not match the pattern",
}


def of(error: ValidationError) -> str:
    """Return what is wrong; at most a few words of the answer are quoted."""
    rule = str(error.validator)
    value: Any = error.instance
    expected: Any = error.validator_value
    if rule == "type":
        kinds = expected if isinstance(expected, list) else [expected]
        return f"{_shown(value)} is not {' or '.join(KINDS.get(kind, str(kind)) for kind in kinds)}."
    if rule == "format":
        return f"{_shown(value)} is not {NAMED_FORMATS.get(expected, expected)}."
    if rule == "required":
        return _missing(expected, error.message)
    if rule == "additionalProperties":
        return _unknown_fields(value, error.schema)
    if rule in COMPARED:
        return f"{_shown(value)} {COMPARED[rule]} {_shown(expected)}."
    if rule in COUNTED:
        return f"{len(value):,} {COUNTED[rule]} {_shown(expected)}."
    return f"{_shown(value)} {FIXED.get(rule, f'does not fit {rule}')}."


def _missing(required: list[str], message: str) -> str:
    # jsonschema makes one error for each missing name and keeps the name only in its own message.
    absent = [name for name in required if message.startswith(f"{name!r} ")]
    return f"{_shown(absent[0])} is missing." if absent else "A field is missing."


def _unknown_fields(value: dict[str, Any], schema: Any) -> str:
    known = schema.get("properties", {})
    extra = [_shown(name) for name in value if name not in known]
    more = f" and {len(extra) - 3} more" if len(extra) > 3 else ""
    return f"{', '.join(extra[:3])}{more}: not in the schema."


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "The object"
    if isinstance(value, list):
        return "The list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = value if isinstance(value, str) else repr(value)
    return (text[:LONGEST] + "…" if len(text) > LONGEST else text) or "The empty text"
