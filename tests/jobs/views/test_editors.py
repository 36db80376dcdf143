"""The JSON editors of the new-job page: what is wrong with a schema or tools, and what a click mends."""

import json
import re
import time
import tracemalloc
from typing import Any

import pytest
from django.test import Client

from jobs.models import Job, ModelSpec, Project, User
from jobs.schemas import parse, problems
from jobs.views.editors import ALL, SHOWN, schema_check, tools_check
from tests.jobs.views.test_new_job import typed

pytestmark = pytest.mark.django_db

LOOSE = """{
  "type": "object",
  "properties": {
    "a": {"type": "object", "properties": {}}
  },
  "required": ["a"]
}"""
LOOK_UP = {"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
def signed_in(client: Client, mira: User, project: Project) -> Client:
    client.force_login(mira)
    return client


def checked(client: Client, name: str, text: str, **more: str) -> str:
    answer = client.post(f"/jobs/check/{name}/", typed(**{name: text, "model": "gpt-6-sol", **more}))
    assert answer.status_code == 200
    return answer.content.decode()


def said(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def mended(html: str) -> Any:
    found = re.search(r"<textarea hidden[^>]*>\n(.*?)</textarea>", html, re.DOTALL)
    assert found
    return parse(found[1].replace("&quot;", '"'))


def test_nothing_written_is_nothing_wrong(signed_in: Client) -> None:
    for name in ("schema", "tools"):
        assert said(checked(signed_in, name, "  ")) == ""


def test_text_that_is_no_json_is_told_its_place_and_marked(signed_in: Client) -> None:
    for name in ("schema", "tools"):
        html = checked(signed_in, name, '{"a": 1\r\n "b": 2}')
        assert "Not JSON: a comma is missing on line 2, column 2." in html
        assert 'data-marks="2"' in html
        assert "Fix" not in html


def test_each_problem_has_its_line_its_words_and_its_button(signed_in: Client) -> None:
    html = checked(signed_in, "schema", LOOSE)
    assert "2 problems. OpenAI would refuse this schema. Fix both" in said(html)
    assert re.findall(r">Line (\d+)<", html) == ["1", "4"]
    assert 'data-marks="1 4"' in html
    assert "<code>a</code> lists fields but allows others." in html
    assert "Add <code>&quot;additionalProperties&quot;: false</code>." in html
    assert 'hx-target="#schema-said"' in html


def test_what_nothing_fixes_has_no_button(signed_in: Client) -> None:
    schema = {"type": "object", "properties": {"a": {"allOf": []}}, "required": ["a"]}
    html = checked(signed_in, "schema", json.dumps({**schema, "additionalProperties": False}))
    assert "1 problem." in said(html)
    assert "<code>allOf</code> is not supported. Nothing fixes this by itself." in html
    assert "fix_schema" not in html


def test_one_or_all_are_mended_and_looked_at_again(signed_in: Client) -> None:
    first = problems(parse(LOOSE))[0]
    html = checked(signed_in, "schema", LOOSE, fix_schema=first.key)
    assert mended(html)["additionalProperties"] is False
    assert "1 problem." in said(html)
    html = checked(signed_in, "schema", LOOSE, fix_schema=ALL)
    assert problems(mended(html)) == []
    assert "Fits the strict rules." in html
    assert "<textarea hidden" not in checked(signed_in, "schema", LOOSE, fix_schema="gone")


def test_many_problems_are_counted_and_the_first_listed(signed_in: Client) -> None:
    fields = {f"f{number}": {"type": "string"} for number in range(SHOWN + 4)}
    html = checked(signed_in, "schema", json.dumps({"type": "object", "properties": fields}))
    assert f"{SHOWN + 5} problems." in said(html)
    assert f"Fix all {SHOWN + 5}" in said(html)
    assert "And 5 more." in html


def test_hostile_names_stay_text(signed_in: Client) -> None:
    evil = "<img src=x onerror=alert(1)>"
    schema = {"type": "object", "properties": {evil: {"type": "string", "default": 1}}}
    for name, text in (("schema", json.dumps(schema)), ("tools", json.dumps([{**LOOK_UP, "name": evil}]))):
        html = checked(signed_in, name, text)
        assert "problem" in html
        assert "<img" not in html
        assert "<img" not in checked(signed_in, name, f"<img{text}")


def test_a_field_called_like_a_word_of_the_sentence_is_named_once() -> None:
    row = schema_check(
        '{"type":"object","properties":{"is":{}},"required":["is"],"additionalProperties":false}'
    ).rows[0]
    assert row.words == "<code>is</code> has no type."
    row = schema_check(LOOSE.replace('"a"', '"lists"')).rows[1]
    assert row.words.startswith("<code>lists</code> lists fields but")


def test_functions_are_checked_as_the_schema_and_mended_in_their_place(signed_in: Client) -> None:
    text = json.dumps([{**LOOK_UP, "name": "first"}, LOOK_UP], indent=1)
    html = checked(signed_in, "tools", text)
    assert "2 problems. These tools would be refused. Fix both" in said(html)
    second = re.findall(r'value="(1 [^"]*)"', html)[0].replace("&quot;", '"')
    tools = mended(checked(signed_in, "tools", text, fix_tools=second))
    assert ["additionalProperties" in tool["parameters"] for tool in tools] == [False, True]
    html = checked(signed_in, "tools", text, fix_tools=ALL)
    assert all(tool["parameters"]["additionalProperties"] is False for tool in mended(html))
    assert "Fit the rules." in html


def test_one_function_needs_no_list(signed_in: Client) -> None:
    alone = mended(checked(signed_in, "tools", json.dumps(LOOK_UP), fix_tools=ALL))
    assert alone["parameters"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("tool", "sentence"),
    [
        ({"type": "function", "name": "no name", "parameters": {}}, "a name has 1 to 64 letters"),
        ({"type": "function", "name": "f", "input_schema": {}}, "is called &quot;parameters&quot; here"),
        ({"type": "function", "name": "f", "strict": False, "parameters": {}}, "set &quot;type&quot;"),
        ({"type": "computer"}, "nothing else"),
        (3, "a tool is a JSON object"),
        ({"type": "file_search"}, "lists the vector stores"),
    ],
)
def test_what_else_is_wrong_with_a_tool_is_said_on_its_line(
    signed_in: Client, tool: Any, sentence: str
) -> None:
    good = {**LOOK_UP, "parameters": {**LOOK_UP["parameters"], "additionalProperties": False}}  # type: ignore[dict-item]
    html = checked(signed_in, "tools", f"[{json.dumps(good)},\n{json.dumps(tool)}]")
    assert sentence in html
    assert 'data-marks="2"' in html


def test_tools_are_held_against_the_chosen_model(signed_in: Client) -> None:
    text = json.dumps({"type": "web_search"})
    assert "Fit the rules." in checked(signed_in, "tools", text)
    ModelSpec.objects.filter(pk="gpt-6-sol").update(capabilities=["functions"])
    assert "gpt-6-sol has no web search." in checked(signed_in, "tools", text)
    # While no model can be chosen only the schemas are looked at.
    assert "Fit the rules." in checked(signed_in, "tools", text, model="nothing")


def test_without_script_the_buttons_mend_on_the_whole_page(signed_in: Client) -> None:
    found = signed_in.post("/jobs/new/", typed(schema=LOOSE, schema_name="facts", fix_schema=ALL))
    assert found.status_code == 200
    assert "Fits the strict rules." in found.content.decode()
    tools = json.dumps([LOOK_UP])
    found = signed_in.post("/jobs/new/", typed(tools=tools, model="gpt-6-sol", fix_tools=ALL))
    assert "Fit the rules." in found.content.decode()
    assert "additionalProperties&quot;: false" in found.content.decode()
    assert not Job.objects.exists()


def test_looking_needs_no_rows(project: Project, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert schema_check(LOOSE).rows
        assert tools_check(json.dumps(LOOK_UP), None, None).rows


def test_a_name_of_a_megabyte_makes_neither_a_long_search_nor_a_long_page() -> None:
    fields = {f"f{number}": {"type": "thing"} for number in range(200)}
    schema = {"type": "object", "properties": {"n" * 900_000: {"type": "object", "properties": fields}}}
    began = time.process_time()
    found = schema_check(json.dumps(schema))
    # It was minutes, and 6 MB of keys.
    assert time.process_time() - began < 10
    assert sum(len(row.words) + len(row.key) for row in found.shown) < 5_000


def test_many_fields_below_a_long_name_take_no_memory_of_their_own() -> None:
    fields = {f"f{number}": {"type": "string"} for number in range(20_000)}
    schema = {"type": "object", "properties": {"n" * 500_000: {"type": "object", "properties": fields}}}
    tracemalloc.start()
    try:
        problems(schema)
        # Paths of 500 kB each were 10 GB.
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_no_more_tools_are_looked_through_than_a_job_may_have(signed_in: Client) -> None:
    html = checked(signed_in, "tools", json.dumps([LOOK_UP] * 129), fix_tools=ALL)
    assert "At most 128 tools a job." in said(html)
    assert "<textarea hidden" not in html
