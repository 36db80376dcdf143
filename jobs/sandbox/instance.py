"""Makes a valid instance of any strict JSON schema, ending every recursion as early as possible."""

import hashlib
import importlib
import math
import re
from fractions import Fraction
from typing import Any

_HUGE = 10**6  # the height of a schema that has no finite instance
# A schema is a stranger's: it must not make this process build gigabytes.
MAX_ITEMS = 1000
MAX_LENGTH = 100_000

_FORMATS = {
    "date-time": "2026-11-22T09:30:00Z",
    "date": "2026-11-22",
    "time": "09:30:00Z",
    "duration": "P1DT2H",
    "email": "ada@example.com",
    "hostname": "sandbox.example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "6f1ed002-ab5e-4a52-9f1e-0d7c5b6a9e01",
    "uri": "https://example.com/",
}


class Unfillable(Exception):
    """The schema has no finite instance, or none that this module can find."""


def fill(schema: dict[str, Any], hint: str = "") -> Any:
    """Return a JSON value that the schema accepts; its strings mention the hint.

    The same schema and hint give the same value.

    Raises:
        Unfillable: a reference leads nowhere, the recursion has no end, or the bounds contradict.
    """
    return _Filler(schema, hint).fill(schema, name="answer", open_refs=frozenset({"#"}), is_lean=False)


class _Filler:
    def __init__(self, root: dict[str, Any], hint: str) -> None:
        self.root = root
        self.hint = hint
        self.heights: dict[str, int] = {}
        self._settle_heights()

    def fill(self, schema: Any, *, name: str, open_refs: frozenset[str], is_lean: bool) -> Any:
        if schema is True or schema == {}:
            return self._words(name)
        if not isinstance(schema, dict):
            raise Unfillable("a schema is neither an object nor true")
        if "$ref" in schema:
            ref = schema["$ref"]
            if self.heights[ref] >= _HUGE:
                raise Unfillable("the recursion of a schema has no end")
            return self.fill(
                self._resolve(ref),
                name=name,
                open_refs=open_refs | {ref},
                is_lean=is_lean or ref in open_refs,
            )
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._choice(schema, name)
        for union in ("anyOf", "oneOf"):
            if schema.get(union):
                branch = self._branch(schema[union], is_lean=is_lean, open_refs=open_refs)
                return self.fill(branch, name=name, open_refs=open_refs, is_lean=is_lean)
        if schema.get("allOf"):
            return self.fill(_merged(schema), name=name, open_refs=open_refs, is_lean=is_lean)
        match _first_type(schema):
            case "object":
                return self._object(schema, open_refs=open_refs, is_lean=is_lean)
            case "array":
                return self._array(schema, name=name, open_refs=open_refs, is_lean=is_lean)
            case "string":
                return self._string(schema, name)
            case "integer" | "number" as kind:
                return _number(schema, self._seed(name), is_integer=kind == "integer")
            case "boolean":
                return self._seed(name) % 2 == 0
            case _:
                return None

    def _object(self, schema: dict[str, Any], *, open_refs: frozenset[str], is_lean: bool) -> dict[str, Any]:
        required = schema.get("required") or []
        value = {
            key: self.fill(child, name=key, open_refs=open_refs, is_lean=is_lean)
            for key, child in (schema.get("properties") or {}).items()
            # An optional property may hold the recursion, so lean objects do without it.
            if key in required or not (is_lean or self._height(child) >= _HUGE)
        }
        for key in required:
            value.setdefault(key, self._words(key))
        return value

    def _array(
        self, schema: dict[str, Any], *, name: str, open_refs: frozenset[str], is_lean: bool
    ) -> list[Any]:
        least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        if least > most or least > MAX_ITEMS:
            raise Unfillable("minItems is out of bounds")
        item = schema.get("items", True)
        is_turning_back = isinstance(item, dict) and item.get("$ref") in open_refs
        is_short = is_lean or is_turning_back or self._height(item) >= _HUGE
        wanted = least if is_short else min(max(least, 2), most)
        return [
            self.fill(item, name=f"{name} {number + 1}", open_refs=open_refs, is_lean=is_lean)
            for number in range(int(wanted))
        ]

    def _string(self, schema: dict[str, Any], name: str) -> str:
        if "pattern" in schema:
            return _matching(schema["pattern"], schema.get("minLength", 0))
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        if schema.get("minLength", 0) > MAX_LENGTH:
            raise Unfillable("minLength is out of bounds")
        text = self._words(name).ljust(schema.get("minLength", 0), ".")
        return text[: schema.get("maxLength", len(text))]

    def _choice(self, schema: dict[str, Any], name: str) -> Any:
        allowed = [value for value in schema["enum"] if _is_of_type(value, schema.get("type"))]
        if not allowed:
            raise Unfillable("an enum has no value of its type")
        real = [value for value in allowed if value is not None] or allowed
        return real[self._seed(name) % len(real)]

    def _branch(self, branches: list[Any], *, is_lean: bool, open_refs: frozenset[str]) -> Any:
        lowest = min(branches, key=self._height)
        if self._height(lowest) >= _HUGE:
            raise Unfillable("the recursion of a schema has no end")
        if is_lean or any(isinstance(b, dict) and b.get("$ref") in open_refs for b in branches):
            return lowest
        # The first branch is usually the interesting one of `T or null`.
        return next(branch for branch in branches if self._height(branch) < _HUGE)

    def _words(self, name: str) -> str:
        subject = name.replace("_", " ")
        return f"A practice {subject} about {self.hint}" if self.hint else f"A practice {subject}"

    def _seed(self, name: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.hint}|{name}".encode(errors="replace")).digest()[:4])

    def _resolve(self, ref: Any) -> Any:
        if not isinstance(ref, str) or not ref.startswith("#"):
            raise Unfillable("a reference points outside the schema")
        node: Any = self.root
        for part in ref[1:].split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and key.isdigit() and int(key) < len(node):
                node = node[int(key)]
            elif isinstance(node, dict) and key in node:
                node = node[key]
            else:
                raise Unfillable("a reference leads nowhere")
        return node

    def _settle_heights(self) -> None:
        """Find the least depth of an instance of every reference, by repeating until nothing changes."""
        refs = _refs(self.root)
        self.heights = dict.fromkeys(refs, _HUGE)
        for _ in range(len(refs) + 1):
            settled = {ref: self._height(self._resolve(ref)) for ref in refs}
            if settled == self.heights:
                return
            self.heights = settled

    def _height(self, schema: Any) -> int:
        if not isinstance(schema, dict):
            return 1
        if "$ref" in schema:
            return min(_HUGE, 1 + self.heights.get(schema["$ref"], _HUGE))
        for union in ("anyOf", "oneOf"):
            if schema.get(union):
                return min(self._height(branch) for branch in schema[union])
        if schema.get("allOf"):
            return max(self._height(part) for part in schema["allOf"])
        if "const" in schema or "enum" in schema:
            return 1
        below = 0
        if _first_type(schema) == "object":
            required = schema.get("required") or []
            children = schema.get("properties") or {}
            below = max((self._height(children[key]) for key in required if key in children), default=0)
        elif _first_type(schema) == "array" and schema.get("minItems", 0) > 0:
            below = self._height(schema.get("items", True))
        return min(_HUGE, 1 + below)


def _refs(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(_refs(child) for child in node.values()))
    if isinstance(node, list):
        return set().union(*(_refs(child) for child in node))
    return set()


def _first_type(schema: dict[str, Any]) -> str | None:
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((one for one in kind if one != "null"), "null")
    if kind is None:
        return "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _merged(schema: dict[str, Any]) -> dict[str, Any]:
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        for key, value in part.items():
            if key == "properties":
                merged[key] = merged.get(key, {}) | value
            elif key == "required":
                merged[key] = [*merged.get(key, []), *value]
            else:
                merged[key] = value
    return merged


def _is_of_type(value: Any, kind: Any) -> bool:
    if kind is None:
        return True
    if isinstance(kind, list):
        return any(_is_of_type(value, one) for one in kind)
    if isinstance(value, bool):
        return bool(kind == "boolean")
    python: dict[str, Any] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "null": type(None),
        "object": dict,
        "array": list,
    }
    return kind in python and isinstance(value, python[kind])


def _number(schema: dict[str, Any], seed: int, *, is_integer: bool) -> int | float:
    """Choose a multiple of the step within the bounds, counted in exact fractions."""
    step = Fraction(str(schema.get("multipleOf", 1 if is_integer else 0.25)))
    if is_integer:
        step = Fraction(step.numerator)  # the least common multiple with 1
    low = _bound(schema, "minimum", "exclusiveMinimum", max)
    high = _bound(schema, "maximum", "exclusiveMaximum", min)
    if "multipleOf" not in schema and not is_integer and low is not None and high is not None:
        step = min(step, (high[0] - low[0]) / 4) or step  # a narrow interval needs a finer step
    first = None if low is None else _steps(low, step, upward=True)
    last = None if high is None else _steps(high, step, upward=False)
    if first is not None and last is not None and first > last:
        raise Unfillable("no number lies within the bounds")
    pick = 1 + seed % 20
    low_end = first if first is not None else min(pick, last) if last is not None else pick
    count = low_end + pick if last is None else min(low_end + pick, last)
    # Validators divide floats: 0.07 / 0.01 is not 7, so a count is taken whose quotient is whole.
    while count > low_end and not (float(count * step) / float(step)).is_integer():
        count -= 1
    value = count * step
    return int(value) if value.denominator == 1 else float(value)


def _bound(
    schema: dict[str, Any], inclusive: str, exclusive: str, tighter: Any
) -> tuple[Fraction, bool] | None:
    bounds = [
        (Fraction(str(schema[key])), key == exclusive)
        for key in (inclusive, exclusive)
        if isinstance(schema.get(key), int | float)
    ]
    if not bounds:
        return None
    edge = tighter(bound[0] for bound in bounds)
    return edge, any(is_open for value, is_open in bounds if value == edge)


def _steps(bound: tuple[Fraction, bool], step: Fraction, *, upward: bool) -> int:
    edge, is_open = bound
    count = math.ceil(edge / step) if upward else math.floor(edge / step)
    if is_open and count * step == edge:
        count += 1 if upward else -1
    return count


def _matching(pattern: str, least: int) -> str:
    """Build a string that the regular expression accepts, by walking its parse tree."""
    try:
        # The parser behind `re` has no public name; the result is checked with `re` itself below.
        tree = importlib.import_module("re._parser").parse(pattern)
        for extra in range(0, 40):
            text = _spell(tree, extra)
            if len(text) >= least and re.search(pattern, text):
                return text
    except (re.error, KeyError, IndexError, ValueError, OverflowError):
        pass
    raise Unfillable("no string was found for a pattern")


def _spell(tree: Any, extra: int) -> str:
    groups: dict[int, str] = {}
    return "".join(_spell_one(str(op), value, extra, groups) for op, value in tree)


def _spell_one(op: str, value: Any, extra: int, groups: dict[int, str]) -> str:
    def spell(tree: Any) -> str:
        return "".join(_spell_one(str(inner), argument, extra, groups) for inner, argument in tree)

    match op:
        case "LITERAL":
            return chr(value)
        case "NOT_LITERAL":
            return "a" if value != ord("a") else "b"
        case "ANY":
            return "a"
        case "IN":
            return _from_set(value)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, inner = value
            return spell(inner) * int(min(least + extra, most))
        case "SUBPATTERN":
            number, _, _, inner = value
            text = spell(inner)
            if number is not None:
                groups[number] = text
            return text
        case "ATOMIC_GROUP":
            return spell(value)
        case "BRANCH":
            return spell(value[1][0])
        case "GROUPREF":
            return groups[value]
        case _:  # anchors and look-arounds add no characters
            return ""


_CATEGORIES = {"CATEGORY_DIGIT": "7", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}


def _from_set(members: Any) -> str:
    kinds = [(str(op), value) for op, value in members]
    if kinds[0][0] == "NEGATE":
        pattern = re.compile("[^" + "".join(_set_text(op, value) for op, value in kinds[1:]) + "]")
        return next(char for char in map(chr, range(97, 0x2FFF)) if pattern.fullmatch(char))
    op, value = kinds[0]
    if op == "LITERAL":
        return chr(value)
    if op == "RANGE":
        return chr(value[0])
    name = str(value)
    if name in _CATEGORIES:
        return _CATEGORIES[name]
    return "-" if name != "CATEGORY_NOT_SPACE" else "a"


def _set_text(op: str, value: Any) -> str:
    if op == "LITERAL":
        return re.escape(chr(value))
    if op == "RANGE":
        return f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}"
    shorthand = {"DIGIT": r"\d", "WORD": r"\w", "SPACE": r"\s", "NOT_DIGIT": r"\D", "NOT_WORD": r"\W"}
    return shorthand.get(str(value).removeprefix("CATEGORY_"), r"\S")
