"""A valid instance of any strict schema."""

import ipaddress
import re
import uuid
from datetime import date, datetime, time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from jobs.sandbox import strict
from jobs.sandbox.instance import Unfillable, fill


def strict_object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


NODE = strict_object(value={"type": "integer"}, next={"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]})
TREE = strict_object(name={"type": "string"}, children={"type": "array", "items": {"$ref": "#"}})
EXPRESSION = {
    "anyOf": [
        strict_object(
            op={"type": "string", "enum": ["+", "-"]}, left={"$ref": "#/$defs/e"}, right={"$ref": "#/$defs/e"}
        ),
        strict_object(literal={"type": "number"}),
    ]
}

SCHEMAS: dict[str, dict[str, Any]] = {
    "every type": strict_object(
        text={"type": "string"},
        count={"type": "integer"},
        share={"type": "number"},
        is_true={"type": "boolean"},
        nothing={"type": "null"},
        items={"type": "array", "items": {"type": "string"}},
        inner=strict_object(deep=strict_object(deeper={"type": "string"})),
    ),
    "no properties": strict_object(),
    "enum": strict_object(level={"type": "string", "enum": ["low", "high"]}, one={"enum": [3, None]}),
    "enum of one type": strict_object(x={"type": "integer", "enum": ["a", 2, True]}),
    "const": strict_object(kind={"const": "fixed"}),
    "optional by union": strict_object(
        a={"type": ["string", "null"]}, b={"anyOf": [{"type": "integer"}, {"type": "null"}]}
    ),
    "union of objects": strict_object(
        shape={"anyOf": [strict_object(r={"type": "number"}), strict_object(a={"type": "number"})]}
    ),
    "bounds": strict_object(
        a={"type": "integer", "minimum": 5, "maximum": 5},
        b={"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7},
        c={"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001},
        d={"type": "number", "maximum": -3.5},
        e={"type": "integer", "maximum": -100},
        f={"type": "number", "minimum": 1e6},
        g={"type": "number", "minimum": 2.5, "maximum": 2.5},
    ),
    "multiples": strict_object(
        a={"type": "number", "multipleOf": 0.01, "minimum": 0.07, "maximum": 0.5},
        b={"type": "integer", "multipleOf": 7, "minimum": 50},
        c={"type": "integer", "multipleOf": 1.5, "minimum": 1},
        d={"type": "number", "multipleOf": 0.1, "exclusiveMaximum": 0},
    ),
    "arrays": strict_object(
        few={"type": "array", "items": {"type": "integer"}, "minItems": 4},
        most={"type": "array", "items": {"type": "integer"}, "maxItems": 1},
        none={"type": "array", "items": {"type": "integer"}, "maxItems": 0},
        nested={"type": "array", "items": {"type": "array", "items": {"type": "boolean"}}, "minItems": 2},
    ),
    "patterns": strict_object(
        code={"type": "string", "pattern": "^[A-Z]{3}-\\d{4}$"},
        word={"type": "string", "pattern": "^(red|green)?[^a-f]+x*$"},
        phone={"type": "string", "pattern": "^\\+?[0-9]{1,3}( [0-9]{2,4}){2,}$"},
        handle={"type": "string", "pattern": "^@[a-zA-Z0-9_]+$"},
        loose={"type": "string", "pattern": "abc"},
    ),
    "references": {
        **strict_object(first={"$ref": "#/$defs/point"}, again={"$ref": "#/$defs/point"}),
        "$defs": {"point": strict_object(x={"type": "number"}, y={"type": "number"})},
    },
    "a linked list": {**strict_object(head={"$ref": "#/$defs/node"}), "$defs": {"node": NODE}},
    "a tree through the root": TREE,
    "an expression that must end": {**strict_object(e={"$ref": "#/$defs/e"}), "$defs": {"e": EXPRESSION}},
    "two that call each other": {
        **strict_object(a={"$ref": "#/$defs/a"}),
        "$defs": {
            "a": strict_object(b={"anyOf": [{"$ref": "#/$defs/b"}, {"type": "null"}]}),
            "b": strict_object(all={"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 1}),
        },
    },
}
SCHEMAS["formats"] = strict_object(
    **{
        name.replace("-", "_"): {"type": "string", "format": name}
        for name in ("date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
    }
)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_instance_is_valid(name: str) -> None:
    schema = SCHEMAS[name]
    assert strict.problem(schema) is None
    for hint in ("", "the price of tea", "ünïcode 🙂"):
        value = fill(schema, hint)
        assert [error.message for error in Draft202012Validator(schema).iter_errors(value)] == []


def test_formats_are_what_they_say() -> None:
    value = fill(SCHEMAS["formats"])
    datetime.fromisoformat(value["date_time"])
    date.fromisoformat(value["date"])
    time.fromisoformat(value["time"])
    assert re.fullmatch(r"P(\d+D)?(T\d+H)?", value["duration"])
    assert re.fullmatch(r"[^@ ]+@[^@ ]+\.\w+", value["email"])
    assert re.fullmatch(r"[a-z0-9.-]+", value["hostname"])
    ipaddress.IPv4Address(value["ipv4"])
    ipaddress.IPv6Address(value["ipv6"])
    uuid.UUID(value["uuid"])


def test_recursion_ends_as_early_as_it_can() -> None:
    linked: dict[str, Any] = fill(SCHEMAS["a linked list"])
    assert linked["head"]["next"] is None
    assert fill(TREE)["children"] == []


def test_the_hint_is_mentioned_and_the_result_repeats() -> None:
    schema = strict_object(title={"type": "string"})
    assert "the price of tea" in fill(schema, "the price of tea")["title"]
    assert fill(schema, "x") == fill(schema, "x")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (strict_object(x={"$ref": "#/$defs/none"}), "leads nowhere"),
        (strict_object(x={"$ref": "https://example.com/s"}), "outside the schema"),
        (strict_object(self={"$ref": "#"}), "no end"),
        (strict_object(x={"type": "integer", "minimum": 5, "maximum": 4}), "within the bounds"),
        (strict_object(x={"type": "integer", "exclusiveMinimum": 4, "exclusiveMaximum": 5}), "within"),
        (strict_object(x={"type": "array", "items": {"type": "null"}, "minItems": 10**9}), "minItems"),
        (strict_object(x={"type": "string", "minLength": 10**9}), "minLength"),
        (strict_object(x={"type": "string", "pattern": "(?!a)a"}), "pattern"),
        (strict_object(x={"type": "string", "enum": [1]}), "enum"),
    ],
)
def test_what_has_no_instance_is_said(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(Unfillable, match=words):
        fill(schema)
    assert words in (strict.problem(schema) or "")


def test_schemas_that_are_not_strict_are_filled_as_well() -> None:
    schema = {
        "properties": {
            "a": {"type": "string", "minLength": 200},
            "b": {"allOf": [{"type": "object", "properties": {"c": {"type": "integer"}}, "required": ["c"]}]},
            "d": {"oneOf": [{"type": "boolean"}, {"type": "string", "maxLength": 3}]},
            "me": {"$ref": "#"},
            "any": True,
        },
        "required": ["a", "b", "extra"],
    }
    value = fill(schema)
    assert [error.message for error in Draft202012Validator(schema).iter_errors(value)] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"type": "array"}, "got 'type: \"array\"'"),
        ({"anyOf": [{"type": "object"}]}, "must be a JSON Schema of"),
        ({"additionalProperties": True}, "'additionalProperties' is required to be supplied and to be false"),
        ({"required": []}, "Missing 'x'"),
        ({"properties": {"x": {"type": "string", "default": "a"}}}, "'default' is not permitted"),
        ({"properties": {"x": {"allOf": []}}}, "'allOf' is not permitted"),
        ({"properties": {"x": {"description": "?"}}}, "must have a 'type' key"),
        ({"properties": {"x": {"type": "array"}}}, "missing items"),
        ({"properties": {"x": 3}}, "must be an object"),
        ({"$defs": {"d": {"type": "object"}}}, "In context=('$defs', 'd')"),
    ],
)
def test_schemas_outside_the_strict_subset_are_refused(change: dict[str, Any], words: str) -> None:
    schema = strict_object(x={"type": "string"}) | change
    assert words in (strict.problem(schema) or "")


@pytest.mark.parametrize(
    "change",
    [
        {"properties": ["x"]},
        {"properties": {"x": {"type": "integer", "minimum": 1, "multipleOf": "x"}}},
        {"properties": {"x": {"anyOf": 3}}},
        {"required": 3},
    ],
)
def test_a_malformed_schema_is_refused_not_stumbled_over(change: dict[str, Any]) -> None:
    assert strict.problem(strict_object(x={"type": "string"}) | change) is not None


def test_deep_and_wide_schemas_are_refused() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(strict.MAX_DEPTH):
        deep = strict_object(x=deep)
    assert "levels of nesting" in (strict.problem(deep) or "")
    wide = strict_object(**{f"p{number}": {"type": "null"} for number in range(strict.MAX_PROPERTIES + 1)})
    assert "Too many properties" in (strict.problem(wide) or "")


LEAVES = st.one_of(
    st.builds(
        lambda low, size, step: {
            "type": "integer",
            "minimum": low,
            "maximum": low + size + step,
            "multipleOf": step,
        },
        st.integers(-50, 50),
        st.integers(0, 30),
        st.integers(1, 5),
    ),
    st.builds(
        lambda low, size: {"type": "number", "minimum": low, "exclusiveMaximum": low + size},
        st.integers(-50, 50),
        st.sampled_from([0.001, 0.5, 3]),
    ),
    st.sampled_from([{"type": "string"}, {"type": "boolean"}, {"type": "null"}, {"enum": ["a", None, 4]}]),
)
SHAPES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("abcd"), inner, max_size=3).map(lambda found: strict_object(**found)),
        st.builds(
            lambda item, least, more: {
                "type": "array",
                "items": item,
                "minItems": least,
                "maxItems": least + more,
            },
            inner,
            st.integers(0, 3),
            st.integers(0, 2),
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda branches: {"anyOf": branches}),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(SHAPES, st.text(max_size=8))
def test_any_combination_is_valid(shape: dict[str, Any], hint: str) -> None:
    schema = strict_object(root=shape)
    value = fill(schema, hint)
    assert [error.message for error in Draft202012Validator(schema).iter_errors(value)] == []
