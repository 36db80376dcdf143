"""Validates an answer's text against the schema it was asked to follow; the answer itself is never changed.

It runs where a job is settled, so it never raises, its time is bounded whatever people and models wrote,
and what it returns can be stored as jsonb.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import create
from referencing import Registry

from jobs.schemas import messages, patterns
from jobs.schemas.formats import FORMATS
from jobs.schemas.reading import UNSTORABLE, SchemaTextError, read

LIMIT = 4_000_000  # characters of an answer that is parsed at all
MAX_ERRORS = 100
MAX_CHECKS = 150_000  # keywords applied, about 2 s; recursive anyOf would need 2 ** depth
MAX_STEPS = 20_000_000  # of matching patterns, about 1 s in all

KEYWORDS = {
    "$ref", "type", "enum", "const", "properties", "required", "additionalProperties", "items", "anyOf",
    "minItems", "maxItems", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    "minLength", "maxLength", "pattern", "format",
}  # fmt: skip
DEFINITIONS = ("$defs", "definitions")


@dataclass(frozen=True, slots=True)
class Validation:
    """An answer as JSON (None if it is none) and what in it does not fit: path, message, rule."""

    parsed: object
    errors: list[dict[str, str]] = field(default_factory=list)


def validate(schema: dict[str, Any], text: str) -> Validation:
    """Parse an answer and return it with at most 100 errors, each {"path": JSON pointer, "message", "rule"}.

    A pattern that could take long is passed over: OpenAI holds the model to it while it writes. NUL and
    halves of characters in the parsed answer become U+FFFD.
    """
    if len(text) > LIMIT:
        return Validation(None, [_error("", f"The answer is longer than {LIMIT:,} characters.", "json")])
    try:
        parsed = _storable(read(text))
    except SchemaTextError as problem:
        return Validation(None, [_error("", str(problem), "json")])
    errors: list[dict[str, str]] = []
    try:
        for found in islice(_errors(schema, parsed), MAX_ERRORS):
            errors.append(_described(found))
    except _TooLongError:
        errors.append(_error("", "The answer is too large to be checked to its end.", "size"))
    except Exception:
        # A schema that jsonschema stumbles over must not keep a job from being settled.
        errors.append(_error("", "The schema could not be applied.", "schema"))
    return Validation(parsed, errors)


class _TooLongError(Exception):
    """The work allowed for one answer is used up."""


class _Work:
    """The work that one validation may still do."""

    def __init__(self) -> None:
        self.checks, self.steps = MAX_CHECKS, MAX_STEPS

    def counted(self, keyword: Callable[..., Any]) -> Callable[..., Iterator[ValidationError]]:
        """Make a keyword's function pay for each use."""

        def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
            self.checks -= 1
            if self.checks < 0:
                raise _TooLongError
            yield from keyword(validator, value, instance, schema) or ()

        return check

    def pattern(self, _validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if not isinstance(value, str) or not isinstance(instance, str):
            return
        steps = patterns.steps(value, len(instance))
        if steps > self.steps:
            return
        self.steps -= steps
        if not patterns.matches(value, instance):
            yield ValidationError("pattern")


def _errors(schema: dict[str, Any], parsed: object) -> Iterator[ValidationError]:
    work = _Work()
    known = {name: Draft202012Validator.VALIDATORS[name] for name in KEYWORDS} | {"pattern": work.pattern}
    validator = create(
        meta_schema={},
        validators={name: work.counted(keyword) for name, keyword in known.items()},
        type_checker=Draft202012Validator.TYPE_CHECKER,
    )
    # An empty registry: the default one would fetch a $ref from the network.
    checker = validator(_known(schema), registry=Registry(), format_checker=FORMATS)
    for error in checker.iter_errors(parsed):
        yield from _precise(error)


def _known(schema: Any) -> Any:
    """Copy a schema with only the keywords of strict mode: "$schema" would switch to other rules."""
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if name in KEYWORDS}
    for name in ("properties", *DEFINITIONS):
        if isinstance(schema.get(name), dict):
            kept[name] = {key: _known(value) for key, value in schema[name].items()}
    for name in ("items", "additionalProperties"):
        if name in kept:
            kept[name] = _known(kept[name])
    if isinstance(kept.get("anyOf"), list):
        kept["anyOf"] = [_known(choice) for choice in kept["anyOf"]]
    return kept


def _precise(error: ValidationError) -> Iterator[ValidationError]:
    """Replace 'fits no choice' by what is wrong in the one choice that was meant, where there is only one."""
    if error.validator == "anyOf" and error.context:
        choices: dict[object, list[ValidationError]] = {}
        for inner in error.context:
            choices.setdefault(inner.relative_schema_path[0], []).append(inner)
        meant = [
            found
            for found in choices.values()
            if not any(inner.validator == "type" and not inner.relative_path for inner in found)
        ]
        if len(meant) == 1:
            for inner in meant[0]:
                yield from _precise(inner)
            return
    yield error


def _described(error: ValidationError) -> dict[str, str]:
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in error.absolute_path)
    return _error("".join(f"/{step}" for step in steps), messages.of(error), str(error.validator))


def _error(path: str, message: str, rule: str) -> dict[str, str]:
    return {"path": path, "message": message, "rule": rule}


def _storable(value: object) -> object:
    if isinstance(value, str):
        return UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_storable(part) for part in value]
    if isinstance(value, dict):
        return {UNSTORABLE.sub("\ufffd", name): _storable(part) for name, part in value.items()}
    return value
