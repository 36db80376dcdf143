"""Schemas: read with the place of a mistake, held against the strict rules, and applied to answers."""

import contextlib
import copy
import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.schemas import SchemaTextError, name_ok, parse, patterns, problems, strict, validate
from jobs.schemas.answers import LIMIT, MAX_ERRORS
from tests.timing import timed


def thing(**fields: Any) -> dict[str, Any]:
    """Return a strict object schema with these fields."""
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
STEPS = thing(
    holds={"type": "boolean"},
    steps={"type": "array", "items": thing(text=TEXT, kind={"type": "string", "enum": ["a", "b"]})},
    counterexample={"anyOf": [TEXT, {"type": "null"}]},
)
TREE = {
    **thing(root={"$ref": "#/$defs/node"}),
    "$defs": {"node": thing(name=TEXT, children={"type": "array", "items": {"$ref": "#/$defs/node"}})},
}
AGREEMENTS = thing(
    agreements={
        "type": "array",
        "items": thing(
            party=TEXT,
            effective_on={"type": "string", "format": "date"},
            fee={"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}]},
        ),
    }
)


# ---- reading ----


def test_a_schema_is_read() -> None:
    assert parse(json.dumps(STEPS)) == STEPS


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"a": 1\n  "b": 2}', "Not JSON: a comma is missing on line 2, column 3."),
        ('{"a" 1}', "Not JSON: a colon is missing on line 1, column 6."),
        ("{'a': 1}", "Not JSON: a name in double quotes is missing on line 1, column 2."),
        ('{"a": 1,}', "Not JSON: a comma stands before the closing brace on line 1, column 8."),
        ("[1,]", "Not JSON: a comma stands before the closing bracket on line 1, column 3."),
        ("", "Not JSON: a value is missing on line 1, column 1."),
        ('{"a": "b', "Not JSON: a text is not closed on line 1, column 7."),
        ("{} {}", "Not JSON: something follows after the end on line 1, column 4."),
        ('"a\nb"', "Not JSON: a line break or tab stands inside a text on line 1, column 3."),
        (r'"\x"', "Not JSON: a backslash is followed by a wrong character on line 1, column 2."),
        ("\ufeff{}", "Not JSON: it begins with a byte order mark on line 1, column 1."),
        ("NaN", "Not JSON: NaN is not a number in JSON."),
        ("[-Infinity]", "Not JSON: -Infinity is not a number in JSON."),
        ("1e999", "Not JSON: a number is too large."),
        ("1" * 5_000, "Not JSON: a number has more than 4,000 digits."),
        ("[" * 200 + "]" * 200, "Not JSON: it is nested too deeply."),
        ("[" * 200_000, "Not JSON: it is nested too deeply."),
        (r'"\u0000"', "Not JSON: it holds NUL or half a character, which cannot be stored."),
        (r'{"\ud800": 1}', "Not JSON: it holds NUL or half a character, which cannot be stored."),
        ('"' + "a" * 1_000_000 + '"', "Not JSON: it is longer than 1,000,000 characters."),
    ],
)
def test_a_text_that_is_no_json_says_why_and_where(text: str, sentence: str) -> None:
    with pytest.raises(SchemaTextError) as caught:
        parse(text)
    assert str(caught.value) == sentence
    assert (caught.value.line > 0) == (" on line " in sentence)


@settings(deadline=None)
@given(st.text(st.characters(codec=None)))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(SchemaTextError):
        parse(text)


# ---- strict rules ----

REFUSED = " is not supported. Nothing fixes this by itself."
OPEN = ' lists fields but allows others. Add "additionalProperties": false.'
NOT_AN_OBJECT = 'The outermost level must be an object. Set "type": "object".'
CLOSED = {"type": "object", "additionalProperties": False}


def sentences(schema: object) -> list[str]:
    return [problem.message for problem in problems(schema)]


@pytest.mark.parametrize("schema", [STEPS, TREE, AGREEMENTS, thing(), {**STEPS, "$schema": "x"}])
def test_a_schema_that_fits_has_no_problems(schema: dict[str, Any]) -> None:
    assert problems(schema) == []


def test_the_two_common_problems_are_named_and_can_be_fixed() -> None:
    schema = copy.deepcopy(STEPS)
    del schema["properties"]["steps"]["items"]["additionalProperties"]
    schema["required"] = ["holds", "steps"]
    found = problems(schema)
    assert [(problem.path, problem.message, problem.fixable) for problem in found] == [
        (
            "counterexample",
            "counterexample is missing from required. To make it optional, allow null.",
            True,
        ),
        (
            "steps.items",
            f"steps.items{OPEN}",
            True,
        ),
    ]


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ({"allOf": [TEXT]}, f"allOf{REFUSED}"),
        ({**TEXT, "not": TEXT}, f"not{REFUSED}"),
        ({**TEXT, "if": {}}, f"if{REFUSED}"),
        ({**TEXT, "default": ""}, "default in x is not supported. Remove it."),
        ({**TEXT, "minLength": 1}, "minLength in x is not supported. Remove it."),
        ({**TEXT, "maxLength": 1}, "maxLength in x is not supported. Remove it."),
        ({**thing(), "patternProperties": {}}, f"patternProperties{REFUSED}"),
        ({**thing(), "dependentRequired": {}}, f"dependentRequired{REFUSED}"),
        ({**thing(), "additionalProperties": TEXT}, f"x{OPEN}"),
        ({"type": "array"}, "x is a list that does not say of what. Add items."),
        ({"type": "array", "items": [TEXT]}, "x is a list that does not say of what. Add items."),
        ({"type": "array", "items": TEXT, "minItems": "1"}, "minItems in x must be a whole number."),
        ({"type": "text"}, "x has a type that does not exist."),
        ({"type": []}, "x has a type that does not exist."),
        ({}, "x has no type."),
        (True, "x must be a JSON object with a type."),
        ({**TEXT, "format": "uri"}, "x has a format that OpenAI does not know."),
        ({**TEXT, "pattern": 1}, "pattern in x must be text."),
        ({**TEXT, "enum": []}, "enum in x must be a list of values."),
        ({"type": "number", "minimum": "0"}, "minimum in x must be a number."),
        ({"type": "number", "minimum": True}, "minimum in x must be a number."),
        ({"anyOf": []}, "anyOf in x must be a list of schemas."),
        ({"anyOf": [TEXT, 1]}, "x (choice 2) must be a JSON object with a type."),
        ({**CLOSED, "properties": []}, "properties of x must be a JSON object."),
        ({**CLOSED, "required": "a"}, "required of x must be a list of names."),
        ({**thing(), "required": ["a"]}, "x requires a, which is not among its fields."),
        ({**TEXT, "$defs": 1}, "$defs in x must be a JSON object."),
        ({"$ref": "https://a.example/s"}, '$ref in x must point into this schema, as "#/$defs/name".'),
        ({"$ref": "#node"}, '$ref in x must point into this schema, as "#/$defs/name".'),
        ({"$ref": "#/$defs/none"}, "$ref in x points to #/$defs/none, which is not there."),
        ({"$ref": "#/required/7"}, "$ref in x points to #/required/7, which is not there."),
        ({"$ref": "#/properties/x"}, "$ref in x leads only back to itself."),
        ({"$ref": "#", "description": "d"}, "$ref in x must stand alone."),
        ({"type": "null", "title": "\x00"}, "The schema holds NUL or half a character, which cannot be stored."),  # noqa: E501
        ({"type": "number", "const": float("inf")}, "The schema holds a number that JSON cannot write."),
    ],
)  # fmt: skip
def test_what_openai_would_refuse_is_said_in_one_sentence(field: object, sentence: str) -> None:
    assert sentences(thing(x=field)) == [sentence]


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        (None, "The schema must be a JSON object."),
        ([], "The schema must be a JSON object."),
        ({}, NOT_AN_OBJECT),
        (TEXT, NOT_AN_OBJECT),
        ({"anyOf": [STEPS]}, "The outermost level cannot be anyOf. "
            "Put the choice into a property of an object."),
        ({"$ref": "#/$defs/a", "$defs": {"a": thing()}}, NOT_AN_OBJECT),
    ],
)  # fmt: skip
def test_the_outermost_level_is_an_object(schema: object, sentence: str) -> None:
    assert sentence in sentences(schema)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = TEXT
    for _ in range(levels):
        schema = thing(x=schema)
    return schema


def test_objects_nest_ten_levels_deep_and_no_more() -> None:
    assert problems(nested(10)) == []
    assert [problem.rule for problem in problems(nested(11))] == ["nesting"]
    assert [problem.rule for problem in problems(nested(90))] == ["nesting"]


def test_the_sizes_of_a_schema_are_limited() -> None:
    def enum(count: int, size: int) -> dict[str, Any]:
        return {"type": "string", "enum": [f"{number:0{size}}" for number in range(count)]}

    assert problems(thing(**{f"f{number}": TEXT for number in range(5_000)})) == []
    assert sentences(thing(**{f"f{number}": TEXT for number in range(5_001)})) == [
        "The schema has 5,001 fields; OpenAI takes 5,000."
    ]
    assert problems(thing(a=enum(500, 4), b=enum(500, 4))) == []
    assert sentences(thing(a=enum(500, 4), b=enum(501, 4))) == [
        "The schema has 1,001 enum values; OpenAI takes 1,000."
    ]
    assert problems(thing(a=enum(250, 100))) == []
    assert sentences(thing(a=enum(251, 100))) == [
        "An enum of more than 250 values has more than 15,000 characters."
    ]
    assert sentences(thing(a={"type": "string", "const": "x" * 120_000})) == [
        "The schema has 120,001 characters in names and values; OpenAI takes 120,000."
    ]


def test_no_more_problems_are_listed_than_a_person_can_read() -> None:
    assert len(problems(thing(**{f"f{number}": {} for number in range(500)}))) == strict.MAX_PROBLEMS


KEYWORDS = st.sampled_from(
    [
        *strict.REFUSED, *strict.REMOVABLE, *strict.NUMBERS, *strict.COUNTS,
        "type", "properties", "required", "additionalProperties", "items", "anyOf", "$ref", "$defs", "enum",
        "const", "format", "pattern", "a",
    ]
)  # fmt: skip
WORDS = st.sampled_from(["object", "array", "string", "#", "#/$defs/a", "#/properties/a", "#/a/0", "a"])
SCHEMAS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYWORDS | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=30,
)


@settings(deadline=None)
@given(SCHEMAS)
def test_any_json_value_can_be_checked(value: object) -> None:
    for problem in problems(value):
        assert problem.message.endswith(".")
        assert problem.rule


@pytest.mark.parametrize("name", ["a", "lemma_check-2", "A" * 64])
def test_a_name_for_openai_has_letters_digits_and_two_signs(name: str) -> None:
    assert name_ok(name)


@pytest.mark.parametrize("name", ["", "a b", "é", "A" * 65, "a\n", None, 1])
def test_other_names_are_refused(name: object) -> None:
    assert not name_ok(name)


# ---- answers ----


def test_an_answer_that_fits_is_parsed_without_errors() -> None:
    answer = {"root": {"name": "a", "children": [{"name": "b", "children": []}]}}
    checked = validate(TREE, json.dumps(answer))
    assert (checked.parsed, checked.errors) == (answer, [])


def test_an_answer_is_kept_as_it_came_and_its_errors_say_where_and_what() -> None:
    answer = {
        "agreements": [
            {"party": "A", "effective_on": "2024-02-30", "fee": -1},
            {"party": 1, "fee": None, "x/~": 0},
        ]
    }
    checked = validate(AGREEMENTS, json.dumps(answer))
    assert checked.parsed == answer
    assert sorted(checked.errors, key=lambda error: (error["path"], error["rule"])) == [
        {
            "path": "/agreements/0/effective_on",
            "message": "2024-02-30 is not a date.",
            "rule": "format",
        },
        {"path": "/agreements/0/fee", "message": "-1 is less than 0.", "rule": "minimum"},
        {"path": "/agreements/1", "message": "x/~: not in the schema.", "rule": "additionalProperties"},
        {"path": "/agreements/1", "message": "effective_on is missing.", "rule": "required"},
        {"path": "/agreements/1/party", "message": "1 is not text.", "rule": "type"},
    ]


def test_a_path_is_a_json_pointer() -> None:
    assert validate(thing(**{"a/b~c": TEXT}), '{"a/b~c": 1}').errors[0]["path"] == "/a~1b~0c"


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ({"type": ["string", "null"]}, 1, "1 is not text or null."),
        ({"type": "integer"}, 1.5, "1.5 is not a whole number."),
        ({"type": "string"}, {"a": 1}, "The object is not text."),
        ({"type": "string"}, [], "The list is not text."),
        ({"type": "string"}, None, "null is not text."),
        ({"type": "number"}, True, "true is not a number."),
        ({"type": "number"}, "", "The empty text is not a number."),
        ({"type": "number"}, "x" * 100, "x" * 60 + "… is not a number."),
        ({"enum": ["a"]}, "b", "b is not one of the allowed values."),
        ({"const": "a"}, "b", "b is not a."),
        ({"type": "integer", "maximum": 3}, 4, "4 is more than 3."),
        ({"type": "integer", "exclusiveMaximum": 3}, 3, "3 is not less than 3."),
        ({"type": "integer", "exclusiveMinimum": 3}, 3, "3 is not more than 3."),
        ({"type": "integer", "multipleOf": 2}, 3, "3 is not a multiple of 2."),
        ({"type": "array", "items": TEXT, "minItems": 2}, [], "0 entries; the least is 2."),
        ({"type": "array", "items": TEXT, "maxItems": 1}, ["a", "b"], "2 entries; the most is 1."),
        ({"anyOf": [TEXT, {"type": "null"}]}, 1, "1 fits none of the allowed choices."),
        ({"anyOf": [thing(a=TEXT), thing(b=TEXT)]}, {}, "The object fits none of the allowed choices."),
        ({"anyOf": [thing(a=TEXT), {"type": "null"}]}, {}, "a is missing."),
        ({"type": "string", "pattern": "^[A-Z]{2}\\d{4}$"}, "AB12", "AB12 does not match the pattern."),
        (thing(), {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}, "a, b, c and 2 more: not in the schema."),
    ],
)
def test_each_rule_has_its_words(field: dict[str, Any], value: object, sentence: str) -> None:
    checked = validate(thing(x=field), json.dumps({"x": value}))
    assert [error["message"] for error in checked.errors] == [sentence]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date", ["2024-02-29"], ["2023-02-29", "2024-2-9", "20240229", ""]),
        ("time", ["23:59:60Z", "10:00:00.5+02:00"], ["24:00:00Z", "10:00", "10:00:00"]),
        ("date-time", ["2024-02-29T10:00:00Z"], ["2024-02-30T10:00:00Z", "2024-02-29 10:00:00Z"]),
        ("duration", ["P3D", "PT1.5S", "P1Y2M3DT4H", "P2W"], ["P", "PT", "3D", "P1S"]),
        ("email", ["a@b.example"], ["a", "a@", "a b@c"]),
        ("hostname", ["a-b.example"], ["-a.example", "a_b", "a..b", "a" * 64]),
        ("ipv4", ["127.0.0.1"], ["127.0.0.256", "1.2.3"]),
        ("ipv6", ["::1"], ["::g", "127.0.0.1"]),
        ("uuid", ["123e4567-e89b-12d3-a456-426614174000"], ["123e4567e89b12d3a456426614174000"]),
    ],
)
def test_a_format_holds_the_calendar_too(name: str, good: list[str], bad: list[str]) -> None:
    schema = thing(x={"type": "string", "format": name})
    for value in good:
        assert validate(schema, json.dumps({"x": value})).errors == []
    for value in bad:
        assert [error["rule"] for error in validate(schema, json.dumps({"x": value})).errors] == ["format"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"holds": tr', "Not JSON: a value is missing on line 1, column 11."),
        ('{"a": Infinity}', "Not JSON: Infinity is not a number in JSON."),
        ("[" * 100_000, "Not JSON: it is nested too deeply."),
        ("9" * 5_000, "Not JSON: a number has more than 4,000 digits."),
        (" " * (LIMIT + 1), "The answer is longer than 4,000,000 characters."),
    ],
)
def test_an_answer_that_is_no_json_has_one_error(text: str, sentence: str) -> None:
    checked = validate(STEPS, text)
    assert checked.parsed is None
    assert checked.errors == [{"path": "", "message": sentence, "rule": "json"}]


def test_the_last_of_two_equal_names_counts_and_large_numbers_stay_exact() -> None:
    checked = validate(thing(a={"type": "integer"}), '{"a": 1, "a": ' + "9" * 300 + "}")
    assert checked.parsed == {"a": int("9" * 300)}
    assert checked.errors == []


def test_what_a_database_cannot_keep_is_replaced() -> None:
    checked = validate(thing(a=TEXT), r'{"a": "x\u0000y\ud800", "\u0000": 1}')
    assert checked.parsed == {"a": "x\ufffdy\ufffd", "\ufffd": 1}
    json.dumps(checked.parsed, ensure_ascii=False).encode()


def test_no_more_than_a_hundred_errors_are_kept() -> None:
    schema = thing(a={"type": "array", "items": TEXT})
    assert len(validate(schema, json.dumps({"a": [1] * 1_000})).errors) == MAX_ERRORS


def test_a_schema_that_cannot_be_applied_is_an_error_and_no_exception() -> None:
    endless = {**thing(x={"$ref": "#/$defs/a"}), "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}
    for schema in (endless, {"$ref": "#/$defs/none"}, {"required": 5}, {"items": {"minimum": "x"}}):
        for text in ('{"x": 1}', "[1]"):
            assert validate(schema, text).parsed is not None
    assert validate(endless, '{"x": 1}').errors == [
        {"path": "", "message": "The schema could not be applied.", "rule": "schema"}
    ]


def test_a_reference_to_another_host_is_never_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_nothing(*_: object, **__: object) -> None:
        raise AssertionError("a request")

    monkeypatch.setattr("urllib.request.urlopen", open_nothing)
    monkeypatch.setattr("socket.socket.connect", open_nothing)
    for schema in (
        {"$ref": "http://a.example/s"},
        {"$schema": "http://a.example/s", "$ref": "http://a.example/s#/x"},
    ):
        assert validate(schema, "1").errors[0]["rule"] == "schema"


def test_other_rules_than_the_strict_ones_are_not_applied() -> None:
    old = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "not": {},
        "patternProperties": {"(a+)+$": {}},
    }
    assert validate(old, json.dumps({"a" * 50 + "!": 1})).errors == []


@settings(deadline=None)
@given(
    SCHEMAS.filter(lambda value: isinstance(value, dict)),
    st.text(st.characters(codec=None)) | SCHEMAS.map(json.dumps),
)
def test_any_schema_and_any_text_give_a_result(schema: Any, text: str) -> None:
    for error in validate(schema, text).errors:
        assert set(error) == {"path", "message", "rule"}
        assert len(error["message"]) < 400


# ---- the time it takes ----


def seconds(schema: dict[str, Any], answer: object) -> tuple[float, list[dict[str, str]]]:
    text = json.dumps(answer)
    took, found = timed(lambda: validate(schema, text))
    return took, found.errors


@pytest.mark.parametrize(
    "pattern",
    [
        "^(a+)+$", "(a|a)*b", "(a|aa)+$", "a*a*a*a*a*a*b", "(a?){50}a{50}", "((a?){20}){20}b",
        r"(a*)\1*b", "(?=a*a*b)a", "^(.*a){20}$",
    ],
)  # fmt: skip
def test_a_hostile_pattern_is_passed_over(pattern: str) -> None:
    took, errors = seconds(thing(x={"type": "string", "pattern": pattern}), {"x": "a" * 5_000 + "!"})
    assert took < 1
    assert errors == []


@pytest.mark.parametrize("pattern", ["(", "a" * 600, "(" * 400 + ")" * 400, "\\p{L}"])
def test_a_pattern_that_cannot_be_read_is_passed_over(pattern: str) -> None:
    assert validate(thing(x={"type": "string", "pattern": pattern}), '{"x": "b"}').errors == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^(\d{1,3}\.){3}\d{1,3}$", "127.0.0.x"),
        ("^[a-z0-9-]+$", "A" * 300),
        ("^(draft|final)$", "other"),
        (r"^[^@]+@[^@]+$", "nobody"),
        ("^(?i:ab)c*?$", "abd"),
    ],
)
def test_a_usual_pattern_is_applied(pattern: str, text: str) -> None:
    errors = validate(thing(x={"type": "string", "pattern": pattern}), json.dumps({"x": text})).errors
    assert [error["rule"] for error in errors] == ["pattern"]


def test_the_bound_of_a_pattern_is_never_below_what_it_takes() -> None:
    """The dearest patterns that are still applied must not take longer than their budget allows."""
    for pattern in ("(a|a)*b", "a*a*a*b", "(ab?){3}c", "(a?){10}(a){10}", "(a{1,9}){2}b", "^(a{0,20}){2}$"):
        length = 1
        while patterns.steps(pattern, length * 2) <= 20_000_000 and length < 4_000:
            length *= 2
        took, _ = timed(partial(patterns.matches, pattern, "a" * length + "!"))
        assert took < 1, pattern


def test_all_patterns_of_an_answer_share_one_budget() -> None:
    schema = thing(x={"type": "array", "items": {"type": "string", "pattern": "^a+a+$"}})
    took, _errors = seconds(schema, {"x": ["a" * 200 + "!"] * 2_000})
    assert took < 3


def test_recursion_that_doubles_at_each_level_ends() -> None:
    schema = {
        **thing(x={"$ref": "#/$defs/a"}),
        "$defs": {
            "a": {"anyOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/b"}, {"type": "null"}]},
            "b": thing(x={"$ref": "#/$defs/a"}),
        },
    }
    assert problems(schema) == []
    answer: object = 5
    for _ in range(60):
        answer = {"x": answer}
    took, errors = seconds(schema, answer)
    assert took < 5
    assert errors == [
        {"path": "", "message": "The answer is too large to be checked to its end.", "rule": "size"}
    ]


def test_a_large_answer_is_checked_in_time() -> None:
    rows = [{"party": "A", "effective_on": "2024-02-29", "fee": 1}] * 10_000
    took, errors = seconds(AGREEMENTS, {"agreements": rows})
    assert took < 6
    assert errors == []
