"""JSON answers as a tree, as rows, and with what does not fit: all of it hostile input, digit for digit."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.rendering import results
from jobs.rendering.results import Number, Problem, Table, problems_of, spots, tables, tree
from jobs.rendering.results.tree import LONGEST, MOST_NODES
from tests.jobs.test_rendering import Page

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "agreements": {"type": "array", "items": {"$ref": "#/$defs/agreement"}},
        "note": {"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 5}]},
    },
    "$defs": {
        "agreement": {
            "type": "object",
            "properties": {
                "on": {"type": "string", "format": "date"},
                "law": {"enum": ["SE", "NO"]},
                "next": {"$ref": "#/$defs/agreement"},
                "a/b~c": {"minimum": 3},
            },
        }
    },
}


def problem(path: str, message: str = "It is wrong.", rule: str = "format", asked: str = "date") -> Problem:
    return Problem(path, message, rule, asked)


def written(value: Any) -> Any:
    """Return a value as it is read from an answer."""
    return results.read(json.dumps(value))


# ---- values ----


def test_numbers_keep_their_digits_and_fields_their_order() -> None:
    text = '{"b": 1.10, "a": [1e400, 12345678901234567890123, -0], "c": {"d": null, "e": []}, "f": {}}'
    value = results.read(text)
    assert list(value) == ["b", "a", "c", "f"]
    assert value["a"] == ["1e400", "12345678901234567890123", "-0"]
    assert "".join(results.pretty(value).split()) == "".join(text.split())
    assert json.loads(results.pretty(value)) == json.loads(text)


@pytest.mark.parametrize("text", ["", "{", "nope", "[" * 100_000])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        results.read(text)


def test_halves_of_characters_are_replaced_so_that_a_page_can_be_encoded() -> None:
    value = results.read('{"\\ud800": ["\\udfff a", 1, true]}')
    assert value == {"\ufffd": ["\ufffd a", "1", True]}
    assert isinstance(value["\ufffd"][1], Number)
    results.pretty(value).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON)
def test_any_json_is_written_as_it_was_read(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert json.loads(results.pretty(results.read(text))) == value


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        ("/items/2", "/items/2"),
        ("/a b", "/a%20b"),
        ('/"<x>', "/%22%3Cx%3E"),
        ("/a~1b", "/a~1b"),
        ("/é", "/%C3%A9"),
    ],
)
def test_a_pointer_becomes_an_id_that_a_fragment_finds(pointer: str, expected: str) -> None:
    assert results.anchor(pointer) == expected


# ---- what does not fit ----


@pytest.mark.parametrize(
    ("path", "rule", "must"),
    [
        ("/agreements/6/on", "format", "format: date"),
        ("/agreements/6/law", "enum", 'enum: ["SE", "NO"]'),
        ("/agreements/0/next/next/on", "format", "format: date"),
        ("/agreements/0/a~1b~0c", "minimum", "minimum: 3"),
        ("/note", "maxLength", "maxLength: 5"),
        ("/agreements/6", "type", "type: object"),
        ("/agreements/6", "required", ""),
        ("/nowhere/6", "format", ""),
        ("", "properties", ""),
        ("", "json", ""),
    ],
)
def test_a_problem_says_what_the_schema_asks_for_there(path: str, rule: str, must: str) -> None:
    [found] = problems_of([{"path": path, "message": "m", "rule": rule}], SCHEMA)
    assert (found.path, found.must) == (path, must)
    assert found.is_about_the_calendar == (must == "format: date")


@pytest.mark.parametrize(
    "schema",
    [
        None,
        7,
        {"$ref": "#"},
        {"$ref": 7},
        {"$ref": "#/x"},
        {"anyOf": [{"$ref": "#"}] * 20},
        {"properties": 1},
    ],
)
def test_no_schema_leads_the_search_astray(schema: Any) -> None:
    [found] = problems_of([{"path": "/a/b", "message": "m", "rule": "type"}], schema)
    assert found.must == ""


def test_an_error_without_a_rule_and_one_that_asks_for_much_are_said_without_it() -> None:
    long = {"enum": ["x" * 100]}
    assert [one.must for one in problems_of([{"message": "m"}, {"path": "", "rule": "enum"}], long)] == [
        "",
        "",
    ]


# ---- tables ----


def test_lists_of_flat_objects_are_found_the_longest_first() -> None:
    value = {
        "a": [{"x": 1}],
        "deep": {"er": {"b": [{"x": 1}, {"y": ["p", "q"]}]}},
        "c": [1],
        "d": [{"x": {}}],
        "e": [],
    }
    assert [spot.path for spot in spots(written(value))] == ["/deep/er/b", "/a"]
    assert spots(written([{"x": 1}]))[0].path == ""
    assert spots(written({"a/b": [{"x": 1}]}))[0].path == "/a~1b"
    assert spots({"a": [{}]}) == spots("text") == spots([]) == []


def shown(table: Table, most: int = 100) -> list[list[str]]:
    return [[cell.shown for cell, _ in row.cells] for row in table.rows(most)]


def a_table(rows: list[dict[str, Any]], **options: Any) -> Table:
    return Table(spots(written({"rows": rows}))[0], **options)


def test_a_table_has_every_column_that_a_row_brings() -> None:
    table = a_table([{"a": 1, "b": True}, {"c": None, "a": "<b>"}, {"d": ["p", 2]}])
    assert table.columns == ["a", "b", "c", "d"]
    assert shown(table) == [["1", "true", "", ""], ["<b>", "", "null", ""], ["", "", "", "p, 2"]]


def test_large_numbers_are_grouped_and_years_are_not() -> None:
    numbers = [2024, 12345, -1234567.5, 0.12345, 1e30]
    assert shown(a_table([{"a": number} for number in numbers])) == [
        ["2024"], ["12,345"], ["-1,234,567.5"], ["0.12345"], ["1e+30"],
    ]  # fmt: skip


def test_rows_are_sorted_as_numbers_or_words_with_gaps_last() -> None:
    rows: list[dict[str, Any]] = [{"n": 10, "w": "b"}, {"n": 9, "w": "A"}, {"w": None}, {"n": 1e3, "w": "C"}]
    down = a_table(rows, sort="n", down=True)
    assert [row.number for row in down.rows(10)] == [4, 1, 2, 3]
    assert [row.number for row in a_table(rows, sort="n").rows(10)] == [2, 1, 4, 3]
    assert [row.number for row in a_table(rows, sort="w").rows(10)] == [2, 1, 4, 3]
    assert a_table(rows, sort="nowhere").sort == ""
    assert (down.is_numeric("n"), down.is_numeric("w")) == (True, False)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999999999", "1" * 5000])
def test_no_number_upsets_the_order(number: str) -> None:
    spot = spots(results.read(f'[{{"a": {number}}}, {{"a": 2}}, {{"a": "x"}}, {{"a": true}}]'))[0]
    assert len(Table(spot, sort="a").rows(10)) == 4


def test_a_row_carries_what_does_not_fit_in_it() -> None:
    rows = [{"a": 1, "b": 2}] * 12
    wrong = [
        problem("/rows/6/b"),
        problem("/rows/6"),
        problem("/rows/60/a"),
        problem("/rows"),
        problem("/other/6"),
    ]
    table = a_table(rows, problems=wrong)
    seventh = table.rows(100)[6]
    assert (seventh.number, seventh.path, len(seventh.problems)) == (7, "/rows/6", 2)
    assert [is_bad for _, is_bad in seventh.cells] == [False, True]
    assert [table.index_of(one) for one in wrong] == [6, 6, None, None, None]


def test_a_row_that_does_not_fit_is_never_left_out() -> None:
    table = a_table([{"a": 1}] * 50, problems=[problem("/rows/40/a")])
    assert [row.number for row in table.rows(3)] == [1, 2, 3, 41]


def test_a_long_cell_is_cut_on_the_page_only() -> None:
    cell = results.cell_of("x" * 5_000)
    assert len(cell.shown) == 2_001
    assert len(cell.text) == 5_000


def test_many_answers_become_rows_of_one_table() -> None:
    listed = written({"rows": [{"a": 1}, {"a": 2}], "n": 2})
    assert results.rows_of(listed) == [("/rows/0", {"a": "1"}), ("/rows/1", {"a": "2"})]
    flat = written({"a": {"b": {"c": 1}, "d": []}, "e": {}, "f": [{"g": {}}]})
    assert results.rows_of(flat) == [("", {"a.b.c": "1", "a.d": [], "e": {}, "f": [{"g": {}}]})]
    assert results.rows_of("text") == [("", {"value": "text"})]
    assert results.cell_of([{"g": {}}]).text.replace(" ", "") == '[{"g":{}}]'


# ---- tree ----


def drawn(value: Any, problems: list[Problem] | None = None) -> tuple[Page, str, int]:
    html, left_out = tree(written(value), problems or [], alert="<svg></svg>")
    return Page(html), html, left_out


def test_fields_below_a_long_name_stay_in_their_object() -> None:
    many = {f"f{number}": number for number in range(20_000)}
    deep: Any = many
    for _ in range(90):
        deep = {"level": deep}
    for value in ({"n" * 200_000: many}, deep):
        row = tables.flattened(written(value))
        # As dotted names they were 4 GB.
        assert sum(map(len, row)) < 300_000
    assert tables.flattened({"a": {"b": {"c": "1"}}}) == {"a.b.c": "1"}


def test_rows_with_fields_of_their_own_make_no_file_of_billions_of_cells() -> None:
    rows = [{f"c{place}_{number}": "x" for number in range(20)} for place in range(20_000)]
    columns = tables.columns_in_file(rows)
    assert columns[:2] == ["c0_0", "c0_1"]
    assert len(columns) * len(rows) <= 60 * len(rows)
    assert len(tables.columns_in_file(rows[:100])) == 2_000


def test_every_value_has_an_address_of_its_own() -> None:
    page, _, _ = drawn({"items": [{"a b": 1}, "x"], "n": None})
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert ids == ["/items", "/items/0", "/items/0/a%20b", "/items/1", "/n"]
    assert [link["href"] for link in page.all("a")] == ["#/items/0/a%20b", "#/items/1", "#/n"]


def test_the_first_levels_are_open_and_the_way_to_a_problem() -> None:
    value = {"rows": [{"a": {"b": 1}}] * 6, "few": [[1], [2]]}
    page, _, _ = drawn(value, [problem("/rows/4/a/b")])
    is_open = {one["id"]: "open" in one for one in page.all("details")}
    assert [place for place, opened in is_open.items() if opened] == [
        "/rows", "/rows/0", "/rows/4", "/rows/4/a", "/few", "/few/0", "/few/1",
    ]  # fmt: skip
    assert "It is wrong. Must match format: date." in page.text


def test_values_look_like_what_they_are() -> None:
    page, html, _ = drawn({"t": "a\n<b>", "n": 1.10, "w": [True, None, {}, []], "s": "x" * 9_000, "": 1})
    assert '<span class="vs">&quot;a\\n&lt;b&gt;&quot;</span>' in html
    assert '<span class="vn">1.1</span>' in html
    assert "…" in page.text
    assert f"{9_000 - LONGEST:,} more characters" in page.text
    assert page.text.count("{}") == page.text.count("[]") == 1
    assert drawn("alone")[0].tags[0] == ("div", {"class": "lf"})


def test_a_folded_object_shows_how_it_begins() -> None:
    page, _, _ = drawn([{"a": "Northvale AB", "b": "Kestrel", "c": "x"}, {"n": 1}, ["x"], {"a": "y" * 99}])
    assert all(words in page.text for words in ("Northvale AB, Kestrel", "1 field", "1 item", "y" * 59 + "…"))


def test_a_tree_stops_at_two_thousand_values_and_says_how_many_are_left() -> None:
    page, _, left_out = drawn([[1, 2, 3]] * 1_000 + [{"late": 7}], [problem("/1000/late")])
    shown = [attributes for _, attributes in page.tags if "id" in attributes]
    assert MOST_NODES <= len(shown) <= MOST_NODES + 4
    assert left_out == 4_002 - len(shown)
    assert shown[-1]["id"] == "/1000/late"  # what does not fit is never left out


@settings(deadline=None)
@given(JSON)
def test_no_json_breaks_out_of_the_tree(value: Any) -> None:
    page, _, _ = drawn(value)
    assert page.open == []
    assert {tag for tag, _ in page.tags} <= {"details", "summary", "div", "span", "a", "svg", "code"}
    for _, attributes in page.tags:
        assert set(attributes) <= {"id", "class", "href", "open"}
        assert " " not in (attributes.get("id") or "")
