"""Fixing a schema: every mistake has its line, and mending one leaves the rest as it was typed."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import schemas
from jobs.schemas import Problem, Spot, fixed, line_of, parse, problems, scan

DRAWN = """{
  "type": "object",
  "properties": {
    "holds": { "type": "boolean" },
    "steps": {
      "type": "array",
      "items": {
        "type": "object",
        "properties": {
          "text": { "type": "string" },
          "valid": { "type": "boolean" }
        },
        "required": ["text", "valid"]
      }
    },
    "counterexample": { "type": "string" }
  },
  "required": ["holds", "steps"],
  "additionalProperties": false
}
"""


def lines(text: str) -> list[int]:
    root = scan(text)
    return [line_of(text, root, problem) for problem in problems(parse(text))]


def mended(text: str, only: int | None = None) -> str:
    found = problems(parse(text))
    return fixed(text, found if only is None else [found[only]])


def obj(properties: str, required: str, others: str = ', "additionalProperties": false') -> str:
    return f'{{"type": "object", "properties": {properties}{required}{others}}}'


def test_each_problem_is_marked_on_the_line_where_it_is_mended() -> None:
    found = problems(parse(DRAWN))
    by_line = dict(zip(lines(DRAWN), (one.path for one in found), strict=True))
    assert by_line == {7: "steps.items", 18: "counterexample"}


def test_mending_changes_nothing_but_what_is_wrong() -> None:
    expected = DRAWN.replace('["holds", "steps"]', '["holds", "steps", "counterexample"]').replace(
        '"required": ["text", "valid"]\n',
        '"required": ["text", "valid"],\n        "additionalProperties": false\n',
    )
    assert mended(DRAWN) == expected
    assert problems(parse(expected)) == []


def test_one_problem_is_mended_without_the_others() -> None:
    found = problems(parse(DRAWN))
    for number in range(2):
        assert problems(parse(mended(DRAWN, number))) == [one for one in found if one != found[number]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Nothing there yet: the list is made, and what stands on one line stays on it.
        (obj('{"a": {"type": "string"}}', ""), obj('{"a": {"type": "string"}}', "").replace(
            "false}", 'false, "required": ["a"]}')),
        (obj("{}", "", ""), obj("{}", "")),
        (obj("{}", "", ', "additionalProperties": {"type": "string"}'), obj("{}", "")),
        # A list without names, and one with a name too many, first, last and alone.
        (obj('{"a": {"type": "null"}}', ', "required": []'),
         obj('{"a": {"type": "null"}}', ', "required": ["a"]')),
        (obj('{"a": {"type": "null"}}', ', "required": ["x", "a", "y", "x"]'),
         obj('{"a": {"type": "null"}}', ', "required": ["a"]')),
        (obj("{}", ', "required": ["x"]'), obj("{}", ', "required": []')),
        # A keyword that only loosens, first, in the middle, last, alone and twice.
        (obj('{"a": {"default": 1, "type": "string", "maxLength": 2}}', ', "required": ["a"]'),
         obj('{"a": {"type": "string"}}', ', "required": ["a"]')),
        (obj('{"a": {"type": "string", "default": {"b": 1}, "minLength": 1, "enum": []}}',
             ', "required": ["a"]'),
         obj('{"a": {"type": "string", "enum": []}}', ', "required": ["a"]')),
        (obj('{"a": {"default": 1, "type": "string", "default": 2}}', ', "required": ["a"]'),
         obj('{"a": {"type": "string"}}', ', "required": ["a"]')),
        # The last member goes and another comes.
        (obj('{"a": {"type": "array", "items": {"properties": {}, "default": {}}}}', ', "required": ["a"]'),
         obj('{"a": {"type": "array", "items": {"properties": {}, "additionalProperties": false}}}',
             ', "required": ["a"]')),
        # A field may have the name of a keyword.
        (obj('{"default": {"type": "string"}}', ', "required": []'),
         obj('{"default": {"type": "string"}}', ', "required": ["default"]')),
        # Of two members of one name the last one counts.
        (obj("{}", "", ', "additionalProperties": false, "additionalProperties": true'),
         obj("{}", "", ', "additionalProperties": false, "additionalProperties": false')),
    ],
)  # fmt: skip
def test_every_kind_of_mending(text: str, expected: str) -> None:
    assert mended(text) == expected
    assert not [one for one in problems(parse(expected)) if one.fixable]


def test_what_nothing_fixes_stays_and_has_a_line() -> None:
    text = '{"type": "object",\n "properties": {"a":\n {"allOf": []}},\n "required": ["a"]}'
    assert [one.rule for one in problems(parse(mended(text)))] == ["keyword"]
    assert lines(text)[-1] == 3


def test_a_list_written_in_lines_gets_a_line_more() -> None:
    text = obj('{"a": {"type": "null"}, "b": {"type": "null"}}', ', "required": [\n  "a"\n]')
    assert '[\n  "a",\n  "b"\n]' in mended(text)


def test_a_schema_inside_another_value_is_mended_there() -> None:
    schema = obj('{"a": {"type": "null"}}', ', "required": []')
    text = f'[1, {{"parameters": {schema}}}]'
    below = [replace(one, at=(1, "parameters", *one.at)) for one in problems(parse(schema))]
    after = fixed(text, below)
    assert after == f'[1, {{"parameters": {mended(schema)}}}]'


def test_problems_of_one_schema_are_told_apart() -> None:
    text = obj('{"a": {"type": "null"}, "b": {"type": "null", "default": 1}}', "", "")
    keys = [problem.key for problem in problems(parse(text))]
    assert len(set(keys)) == len(keys) == 4


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
names = st.sampled_from(["a", "b", 'q"', "default", "required", "ä", "…"])
written = st.sampled_from([None, 0, 2, "\t"])


def found_at(spot: Spot, value: Any) -> list[tuple[Spot, Any]]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    below = [
        pair for (_name, one), each in zip(spot.items, inner, strict=True) for pair in found_at(one, each)
    ]
    return [(spot, value), *below]


@given(value=values, indent=written, ascii_only=st.booleans())
def test_every_value_is_found_where_it_stands(value: Any, indent: Any, ascii_only: bool) -> None:
    text = f" {json.dumps(value, indent=indent, ensure_ascii=ascii_only)}\n"
    for spot, expected in found_at(scan(text), value):
        assert json.loads(text[spot.value : spot.end]) == expected


def schemas_like_people_write() -> st.SearchStrategy[Any]:
    leaf = st.fixed_dictionaries(
        {"type": st.sampled_from(["string", "null"])}, optional={"default": values, "maxLength": st.just(3)}
    )

    def around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        fields = st.dictionaries(names, inner, max_size=3)
        thing = st.fixed_dictionaries(
            {"type": st.just("object"), "properties": fields},
            optional={
                "required": st.lists(names, max_size=4),
                "additionalProperties": st.sampled_from([True, False, {}]),
                "default": values,
            },
        )
        return thing | st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)})

    return st.recursive(leaf, around, max_leaves=6)


def without_mistakes(schema: Any) -> Any:
    """Return a schema as mending must leave it, made from the value and not from the text."""
    kept = {name: value for name, value in schema.items() if name not in schemas.strict.REMOVABLE}
    if "anyOf" in kept:
        kept["anyOf"] = [without_mistakes(choice) for choice in kept["anyOf"]]
    if "properties" in kept:
        kept["properties"] = {name: without_mistakes(one) for name, one in kept["properties"].items()}
        kept["additionalProperties"] = False
        wanted = [name for name in kept.get("required", []) if name in kept["properties"]]
        wanted += [name for name in kept["properties"] if name not in wanted]
        if wanted or "required" in kept:
            kept["required"] = wanted
    return kept


@settings(max_examples=60, deadline=None)
@given(fields=st.dictionaries(names, schemas_like_people_write(), max_size=3), indent=written)
def test_whatever_people_write_is_mended_as_if_the_value_had_been(fields: Any, indent: Any) -> None:
    schema = {"type": "object", "properties": fields}
    text = json.dumps(schema, indent=indent)
    after = parse(mended(text))
    assert after == without_mistakes(schema)
    assert not [one for one in problems(after) if one.fixable]


def test_a_problem_knows_no_place_unless_it_is_given_one() -> None:
    problem = Problem("", "Too large.", "size")
    assert line_of(DRAWN, scan(DRAWN), problem) == 1
