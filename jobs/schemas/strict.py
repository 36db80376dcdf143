"""Says what in a JSON schema OpenAI's strict mode would refuse, before a job is sent with it.

The rules are those of OpenAI's guide to structured outputs. Where it leaves room (how levels are counted),
the milder reading holds: OpenAI refuses before it charges, but a schema refused here cannot be sent at all.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from urllib.parse import unquote

from jobs.schemas.reading import UNSTORABLE, walk

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
TYPES = {"string", "number", "boolean", "integer", "object", "array", "null"}
FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
NUMBERS = {"multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"}
COUNTS = {"minItems", "maxItems"}
REFUSED = {
    "allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies",
    "patternProperties", "propertyNames", "unevaluatedProperties", "unevaluatedItems", "prefixItems",
    "contains", "minContains", "maxContains", "$dynamicRef", "$recursiveRef",
}  # fmt: skip
# Leaving these out only loosens a schema.
REMOVABLE = {"default", "minLength", "maxLength", "minProperties", "maxProperties", "uniqueItems"}

MAX_NESTING = 10
MAX_PROPERTIES = 5_000
MAX_CHARACTERS = 120_000  # of all names and all enum and const values
MAX_ENUM_VALUES = 1_000
LARGE_ENUM = 250  # values, from which on MAX_ENUM_CHARACTERS holds
MAX_ENUM_CHARACTERS = 15_000
MAX_PROBLEMS = 100
MAX_LEVELS = 60  # of schemas inside schemas that are looked at; objects may nest only 10 deep

type Steps = tuple[str | int, ...]  # from the outermost value inwards: names of members, places in lists


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that strict mode refuses: where, what in one sentence, and whether a button can mend it.

    `at` leads to the schema it is about, and `keyword` is the member of that one; `name` is the field that
    `required` lacks or has too much.
    """

    path: str
    message: str
    rule: str
    fixable: bool = False
    at: Steps = ()
    keyword: str = ""
    name: str = ""

    @property
    def key(self) -> str:
        """What tells it from the other problems of its schema; short, however long its names are."""
        told = json.dumps([self.rule, self.keyword, self.name, *self.at])
        return hashlib.sha256(told.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Place:
    """A schema inside the schema: its value, its path in words, how many schemas and objects surround it."""

    schema: object
    path: str = ""
    level: int = 0
    nesting: int = 0
    at: Steps = ()

    @property
    def named(self) -> str:
        return self.path or "The schema"

    @property
    def lower(self) -> str:
        return self.path or "the schema"

    def problem(
        self, rule: str, message: str, *, keyword: str = "", name: str = "", fixable: bool = False
    ) -> Problem:
        return Problem(self.path, message, rule, fixable, self.at, keyword, name)

    def inside(self, schema: object, step: str, *at: str | int, nests: bool = False) -> "_Place":
        path = f"{self.path}.{step}" if self.path and not step.startswith(" ") else f"{self.path}{step}"
        # Cut here: 40,000 fields below one name of half a megabyte would be paths of 20 GB.
        return _Place(schema, _short(path.strip()), self.level + 1, self.nesting + nests, (*self.at, *at))


def name_ok(name: object) -> bool:
    """Tell whether OpenAI takes this name for a schema."""
    return isinstance(name, str) and NAME.fullmatch(name) is not None


def problems(schema: object) -> list[Problem]:
    """Return what OpenAI's strict mode refuses in a schema, at most 100; never raise on a JSON value."""
    return list(islice(_all(schema), MAX_PROBLEMS))


def _all(schema: object) -> Iterator[Problem]:
    if not isinstance(schema, dict):
        yield Problem("", "The schema must be a JSON object.", "root")
        return
    yield from _of_root(schema)
    yield from _of_values(schema)
    sizes = _Sizes()
    rest = [_Place(schema)]
    while rest:
        place = rest.pop()
        if not isinstance(place.schema, dict):
            yield place.problem("schema", f"{place.named} must be a JSON object with a type.")
            continue
        if place.nesting > MAX_NESTING or place.level > MAX_LEVELS:
            yield place.problem(
                "nesting", f"{place.named} lies more than {MAX_NESTING} levels deep, OpenAI’s limit."
            )
            continue
        sizes.add(place.schema)
        yield from _of_one(place, schema)
        rest += reversed(list(_below(place)))
    yield from sizes.problems()


def _of_root(schema: dict[object, object]) -> Iterator[Problem]:
    if "anyOf" in schema:
        yield Problem(
            "",
            "The outermost level cannot be anyOf. Put the choice into a property of an object.",
            "root",
            keyword="anyOf",
        )
    elif schema.get("type") != "object":
        yield Problem(
            "", 'The outermost level must be an object. Set "type": "object".', "root", keyword="type"
        )


def _of_values(schema: object) -> Iterator[Problem]:
    for value, _depth in walk(schema):
        if isinstance(value, str) and UNSTORABLE.search(value):
            yield Problem("", "The schema holds NUL or half a character, which cannot be stored.", "text")
            return
        if isinstance(value, float) and not math.isfinite(value):
            yield Problem("", "The schema holds a number that JSON cannot write.", "number")
            return


def _of_one(place: _Place, root: dict[object, object]) -> Iterator[Problem]:
    schema = place.schema
    assert isinstance(schema, dict)
    if "$ref" in schema:
        yield from _of_reference(place, schema, root)
        return
    yield from _of_keywords(place, schema)
    types = schema.get("type")
    kinds = types if isinstance(types, list) else [types]
    if "type" in schema and not (kinds and all(isinstance(kind, str) and kind in TYPES for kind in kinds)):
        yield place.problem("type", f"{place.named} has a type that does not exist.", keyword="type")
    elif place.path and not schema.keys() & (REFUSED | {"type", "anyOf", "enum", "const"}):
        yield place.problem("type", f"{place.named} has no type.")
    if "object" in kinds or "properties" in schema:
        yield from _of_object(place, schema)
    if "array" in kinds and not isinstance(schema.get("items"), dict):
        yield place.problem(
            "items", f"{place.named} is a list that does not say of what. Add items.", keyword="items"
        )
    if "anyOf" in schema and not (isinstance(schema["anyOf"], list) and schema["anyOf"]):
        yield place.problem("anyOf", f"anyOf in {place.lower} must be a list of schemas.", keyword="anyOf")


def _of_object(place: _Place, schema: dict[object, object]) -> Iterator[Problem]:
    if schema.get("additionalProperties") is not False:
        yield place.problem(
            "additionalProperties",
            f'{place.named} lists fields but allows others. Add "additionalProperties": false.',
            keyword="additionalProperties",
            fixable=True,
        )
    fields = schema.get("properties", {})
    if not isinstance(fields, dict):
        yield place.problem(
            "properties", f"properties of {place.lower} must be a JSON object.", keyword="properties"
        )
        return
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        yield place.problem(
            "required", f"required of {place.lower} must be a list of names.", keyword="required"
        )
        return
    named = set(required)
    for name in fields:
        if name not in named:
            field = place.inside(None, str(name))
            yield Problem(
                field.path,
                f"{field.named} is missing from required. To make it optional, allow null.",
                "required",
                fixable=True,
                at=place.at,
                keyword="required",
                name=str(name),
            )
    for name in sorted(named - fields.keys()):
        yield place.problem(
            "required",
            f"{place.named} requires {_short(name)}, which is not among its fields.",
            keyword="required",
            name=name,
            fixable=True,
        )


def _of_keywords(place: _Place, schema: dict[object, object]) -> Iterator[Problem]:
    for name, value in schema.items():
        keyword = str(name)
        if keyword in REFUSED:
            yield place.problem(
                "keyword", f"{keyword} is not supported. Nothing fixes this by itself.", keyword=keyword
            )
        elif keyword in REMOVABLE:
            yield place.problem(
                "keyword",
                f"{keyword} in {place.lower} is not supported. Remove it.",
                keyword=keyword,
                fixable=True,
            )
        elif keyword == "format" and not (isinstance(value, str) and value in FORMATS):
            yield place.problem(
                "format", f"{place.named} has a format that OpenAI does not know.", keyword=keyword
            )
        elif keyword == "pattern" and not isinstance(value, str):
            yield place.problem("pattern", f"pattern in {place.lower} must be text.", keyword=keyword)
        elif keyword in NUMBERS and not _is_number(value):
            yield place.problem("number", f"{keyword} in {place.lower} must be a number.", keyword=keyword)
        elif keyword in COUNTS and not (isinstance(value, int) and _is_number(value) and value >= 0):
            yield place.problem(
                "number", f"{keyword} in {place.lower} must be a whole number.", keyword=keyword
            )
        elif keyword == "enum" and not (isinstance(value, list) and value):
            yield place.problem("enum", f"enum in {place.lower} must be a list of values.", keyword=keyword)
        elif keyword in {"$defs", "definitions"} and not isinstance(value, dict):
            yield place.problem(
                "definitions", f"{keyword} in {place.lower} must be a JSON object.", keyword=keyword
            )


def _of_reference(
    place: _Place, schema: dict[object, object], root: dict[object, object]
) -> Iterator[Problem]:
    if schema.keys() - {"$ref", "$defs", "definitions"}:
        yield place.problem("reference", f"$ref in {place.lower} must stand alone.", keyword="$ref")
    seen: set[str] = set()
    target: object = schema
    while isinstance(target, dict) and "$ref" in target:
        reference = target["$ref"]
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            yield place.problem(
                "reference",
                f'$ref in {place.lower} must point into this schema, as "#/$defs/name".',
                keyword="$ref",
            )
            return
        if reference in seen:
            yield place.problem(
                "reference", f"$ref in {place.lower} leads only back to itself.", keyword="$ref"
            )
            return
        seen.add(reference)
        target = _pointed_at(root, reference)
        if not isinstance(target, dict):
            yield place.problem(
                "reference",
                f"$ref in {place.lower} points to {_short(reference)}, which is not there.",
                keyword="$ref",
            )


def _pointed_at(root: object, reference: str) -> object:
    """Return what a reference such as #/$defs/step points at, or None."""
    found = root
    for step in reference.split("/")[1:]:
        step = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict):
            found = found.get(step)
        elif isinstance(found, list) and step.isdecimal() and len(step) < 6 and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found


def _below(place: _Place) -> Iterator[_Place]:
    """Return the schemas directly inside a schema."""
    schema = place.schema
    assert isinstance(schema, dict)
    fields = schema.get("properties")
    if isinstance(fields, dict):
        for name, field in fields.items():
            yield place.inside(field, str(name), "properties", str(name), nests=True)
    if isinstance(schema.get("items"), dict):
        yield place.inside(schema["items"], "items", "items")
    choices = schema.get("anyOf")
    for number, choice in enumerate(choices if isinstance(choices, list) else []):
        yield place.inside(choice, f" (choice {number + 1})", "anyOf", number)
    for keyword in ("$defs", "definitions"):
        definitions = schema.get(keyword)
        if isinstance(definitions, dict):
            for name, definition in definitions.items():
                # A definition nests where it is used, not where it stands.
                at = (*place.at, keyword, str(name))
                yield _Place(definition, _short(f"{keyword}.{name}"), place.level + 1, at=at)


class _Sizes:
    """What OpenAI counts over the whole schema."""

    def __init__(self) -> None:
        self.properties = self.characters = self.enum_values = 0
        self.has_large_enum = False

    def add(self, schema: dict[object, object]) -> None:
        for keyword in ("properties", "$defs", "definitions"):
            names = schema.get(keyword)
            if isinstance(names, dict):
                self.properties += len(names) if keyword == "properties" else 0
                self.characters += sum(len(str(name)) for name in names)
        values = schema.get("enum")
        if isinstance(values, list):
            texts = [value for value in values if isinstance(value, str)]
            size = sum(map(len, texts))
            self.enum_values += len(values)
            self.characters += size
            self.has_large_enum |= len(values) > LARGE_ENUM and size > MAX_ENUM_CHARACTERS
        if isinstance(schema.get("const"), str):
            self.characters += len(str(schema["const"]))

    def problems(self) -> Iterator[Problem]:
        for counted, limit, what in (
            (self.properties, MAX_PROPERTIES, "fields"),
            (self.enum_values, MAX_ENUM_VALUES, "enum values"),
            (self.characters, MAX_CHARACTERS, "characters in names and values"),
        ):
            if counted > limit:
                yield Problem("", f"The schema has {counted:,} {what}; OpenAI takes {limit:,}.", "size")
        if self.has_large_enum:
            yield Problem(
                "",
                f"An enum of more than {LARGE_ENUM} values has more than {MAX_ENUM_CHARACTERS:,} characters.",
                "size",
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(text: str) -> str:
    """Cut a name that somebody made long; its end tells most."""
    return text if len(text) <= 80 else f"…{text[-79:]}"
