"""Which tools a job may be given, what they can cost, and what is sent of them."""

from decimal import Decimal
from typing import Any

import pytest

from jobs import lifecycle
from jobs.lifecycle import tools
from jobs.models import Connection, Kind, ModelSpec, Price, Project, User
from tests.factories import a_spec
from tests.fake_api import FakeApi
from tests.jobs.lifecycle.conftest import Submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

NAMED = {
    "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"],
    "additionalProperties": False,
}  # fmt: skip
LOOK_UP = {"type": "function", "name": "look_up", "parameters": NAMED}
SEARCH = {"type": "web_search"}
FILES = {"type": "file_search", "vector_store_ids": ["vs_1"]}
ARXIV = {"type": "mcp", "server_label": "arxiv", "server_url": "https://mcp.arxiv-tools.org/sse"}


def problems(project: Project, person: User, *given: Any, limit: int | None = None) -> dict[str, str]:
    spec = a_spec(project, person, model="gpt-6-sol", mode="standard", tools=given, max_tool_calls=limit)
    return lifecycle.problems_of(spec)


@pytest.mark.parametrize(
    "tool",
    [
        LOOK_UP,
        {**LOOK_UP, "strict": True, "description": "Looks it up."},
        {**LOOK_UP, "strict": False, "parameters": {"type": "object"}},
    ],
)
def test_a_function_is_taken(project: Project, person: User, tool: dict[str, Any]) -> None:
    assert problems(project, person, tool) == {}


@pytest.mark.parametrize(
    "tool",
    [
        SEARCH,
        {**SEARCH, "search_context_size": "low", "filters": {"allowed_domains": ["arxiv.org"]}},
        FILES,
        {**FILES, "max_num_results": 50},
        ARXIV,
        {**ARXIV, "allowed_tools": ["download"], "require_approval": "never", "server_description": "Papers"},
    ],
)
def test_a_tool_of_the_api_is_taken_with_a_limit_of_calls(
    project: Project, person: User, tool: dict[str, Any]
) -> None:
    assert problems(project, person, tool, limit=3) == {}
    for limit in (None, 0, 101):
        assert list(problems(project, person, tool, limit=limit)) == ["max_tool_calls"]


@pytest.mark.parametrize(
    ("tool", "says"),
    [
        ("look_up", "Tool 1: a tool is a JSON object."),
        ({"type": "code_interpreter"}, 'Tool 1: the type is "function", "web_search", "file_search", "mcp"'),
        ({"type": ["function"]}, "Tool 1: the type is"),
        ({"type": "function", "function": LOOK_UP}, 'Tool 1: write "name" and "parameters" beside "type"'),
        ({"type": "function", "name": "a", "input_schema": {}}, 'is called "parameters" here'),
        ({**LOOK_UP, "defer_loading": True}, 'Tool 1 (look_up): "defer_loading" is no field of a function.'),
        ({**LOOK_UP, "name": "look up"}, "a name has 1 to 64 letters, digits, - or _."),
        ({**LOOK_UP, "name": None}, "Tool 1: a name has"),
        ({**LOOK_UP, "description": 3}, "the description is a text."),
        ({**LOOK_UP, "strict": "yes"}, '"strict" is true or false.'),
        ({"type": "function", "name": "a"}, '"parameters" is the JSON schema of its arguments.'),
        ({**LOOK_UP, "parameters": {"type": "array"}}, "The outermost level must be an object."),
        ({**LOOK_UP, "strict": False, "parameters": {}}, 'set "type": "object" in "parameters".'),
        ({**LOOK_UP, "description": "a\x00"}, "none of them NUL"),
        ({**LOOK_UP, "description": "x" * 1_000_001}, "at most 1,000,000 characters"),
    ],
)  # fmt: skip
def test_a_tool_that_is_not_as_the_api_takes_it_says_why(
    project: Project, person: User, tool: Any, says: str
) -> None:
    found = problems(project, person, tool)
    assert list(found) == ["tools"]
    assert says in found["tools"]


@pytest.mark.parametrize(
    ("tool", "says"),
    [
        ({**SEARCH, "search_context_size": "huge"}, '"search_context_size" is low, medium or high.'),
        ({**SEARCH, "filters": []}, '"filters" is a JSON object.'),
        ({**SEARCH, "external_web_access": True}, '"external_web_access" is not supported for web search.'),
        ({"type": "file_search"}, '"vector_store_ids" lists the vector stores to search.'),
        ({**FILES, "vector_store_ids": [3]}, '"vector_store_ids" lists the vector stores to search.'),
        ({**FILES, "max_num_results": 51}, '"max_num_results" is 1 to 50.'),
        ({**FILES, "max_num_results": True}, '"max_num_results" is 1 to 50.'),
        ({**ARXIV, "server_label": "a b"}, '"server_label" has 1 to 64'),
        ({**ARXIV, "server_url": "http://mcp.arxiv-tools.org"}, '"server_url" is an https:// address'),
        ({**ARXIV, "server_url": "https://me@mcp.arxiv-tools.org"}, "without a user name"),
        ({**ARXIV, "server_url": "https://[broken"}, '"server_url" is an https:// address'),
        ({**ARXIV, "server_url": None}, '"server_url" is an https:// address'),
        ({**ARXIV, "server_description": 3}, '"server_description" is a text.'),
        ({**ARXIV, "allowed_tools": []}, '"allowed_tools" lists the names of tools.'),
        ({**ARXIV, "require_approval": {"never": {}}}, '"require_approval" is always or never.'),
        ({**ARXIV, "connector_id": "connector_gmail"}, '"connector_id" is not supported for MCP.'),
        ({**ARXIV, "authorization": "secret"}, 'leave out "authorization": no secrets are kept for tools.'),
        ({**ARXIV, "headers": {"X-Key": "secret"}}, 'leave out "headers": no secrets are kept for tools.'),
    ],
)  # fmt: skip
def test_a_tool_of_the_api_that_cannot_be_had_as_asked_says_why(
    project: Project, person: User, tool: Any, says: str
) -> None:
    found = problems(project, person, tool, limit=3)
    assert list(found) == ["tools"]
    assert says in found["tools"]
    assert '"secret"' not in found["tools"]


def test_several_wrong_tools_are_counted_and_names_are_unique(project: Project, person: User) -> None:
    assert "And 1 more." in problems(project, person, "a", "b")["tools"]
    assert problems(project, person, LOOK_UP, LOOK_UP) == {
        "tools": "Tool 2 (look_up): the name is taken by another tool."
    }


def test_a_job_has_no_more_tools_than_can_be_looked_through(project: Project, person: User) -> None:
    tools = [{**LOOK_UP, "name": f"f{number}"} for number in range(129)]
    assert problems(project, person, *tools[:128]) == {}
    assert problems(project, person, *tools) == {"tools": "At most 128 tools a job."}


def test_a_limit_of_calls_needs_something_to_call(project: Project, person: User) -> None:
    assert list(problems(project, person, limit=3)) == ["max_tool_calls"]
    assert list(problems(project, person, LOOK_UP, limit=3)) == ["max_tool_calls"]


def test_a_model_has_the_tools_of_its_row(project: Project, person: User) -> None:
    ModelSpec.objects.filter(pk="gpt-6-sol").update(capabilities=["background"])
    assert "gpt-6-sol calls no functions." in problems(project, person, LOOK_UP)["tools"]
    assert "gpt-6-sol has no web search." in problems(project, person, SEARCH, limit=1)["tools"]


def test_a_tool_whose_fee_nobody_has_established_cannot_be_chosen(project: Project, person: User) -> None:
    Price.objects.filter(model="gpt-6-sol").update(tool_fees={"file_search": "0.0025"})
    assert "has no fee for web search yet" in problems(project, person, SEARCH, limit=1)["tools"]
    assert "has no fee for MCP yet" in problems(project, person, ARXIV, limit=1)["tools"]
    assert problems(project, person, FILES, limit=1) == {}


@pytest.mark.parametrize("kind", [Kind.AZURE, Kind.COMPATIBLE])
def test_fees_are_those_of_openai_and_hold_nowhere_else(project: Project, person: User, kind: Kind) -> None:
    Connection.objects.update(kind=kind)
    project.connection.refresh_from_db()
    assert "is not known, so it cannot be bounded" in problems(project, person, SEARCH, limit=1)["tools"]
    assert problems(project, person, LOOK_UP) == {}


def test_the_ceiling_reads_the_whole_context_again_after_every_call(
    project: Project, person: User, submit: Submit
) -> None:
    window = ModelSpec.objects.get(pk="gpt-6-sol").context_window
    job = submit(tools=(SEARCH, FILES), max_tool_calls=3)
    price = Price.objects.filter(model="gpt-6-sol").latest("valid_from")
    assert job.input_bound == 4 * window
    # Above 272,000 tokens all input costs twice and output half as much again; three of the dearer searches.
    dearest = price.rates.dearest_input * 2
    tokens = (job.input_bound * dearest + 20_000 * price.output * Decimal("1.5")) / 1_000_000
    assert job.worst_case == tokens + 3 * Decimal("0.01")
    assert lifecycle.worst_case(job, price, max_output_tokens=20_000) == job.worst_case


def test_without_a_limit_of_calls_there_is_no_ceiling(project: Project, person: User) -> None:
    wanted = a_spec(project, person, model="gpt-6-sol", mode="standard", tools=(SEARCH,))
    assert lifecycle.ceiling_of(wanted) is None


def test_functions_count_as_input(project: Project, person: User) -> None:
    bounds = []
    for given in ((), (LOOK_UP,)):
        wanted = a_spec(project, person, model="gpt-6-sol", mode="standard", tools=given)
        ceiling = lifecycle.ceiling_of(wanted)
        assert ceiling is not None
        bounds.append(ceiling.input_bound)
    assert bounds[1] - bounds[0] > 1_000
    assert bounds[1] - bounds[0] < 1_300


def test_tools_are_sent_with_what_the_api_would_else_choose(api: FakeApi, submit: Submit) -> None:
    submit(tools=(LOOK_UP, SEARCH, ARXIV), max_tool_calls=2)
    api.run("send")
    assert api.posts[0]["tools"] == [
        {**LOOK_UP, "strict": True}, SEARCH, {**ARXIV, "require_approval": "always"},
    ]  # fmt: skip
    assert api.posts[0]["max_tool_calls"] == 2


def test_functions_alone_are_sent_without_a_limit_of_calls(api: FakeApi, submit: Submit) -> None:
    submit(tools=({**LOOK_UP, "strict": False, "parameters": {"type": "object"}},))
    api.run("send")
    assert api.posts[0]["tools"][0]["strict"] is False
    assert "max_tool_calls" not in api.posts[0]


def test_the_exact_count_gives_nothing_back_where_tools_make_it_read_again(
    api: FakeApi, submit: Submit
) -> None:
    job = submit(tools=(SEARCH,), max_tool_calls=1)
    api.input_tokens = 40
    api.run("send")
    assert job.ledgerentry_set.count() == 1, "only its hold"


def test_jobs_with_other_tools_are_other_jobs(project: Project, person: User) -> None:
    def fingerprint(**wanted: Any) -> str:
        return a_spec(project, person, **wanted).fingerprint

    plain = fingerprint()
    assert fingerprint(tools=(LOOK_UP,)) == fingerprint(tools=({**LOOK_UP, "strict": True},)) != plain
    assert fingerprint(tools=(SEARCH,), max_tool_calls=1) != fingerprint(tools=(SEARCH,), max_tool_calls=2)


@pytest.mark.parametrize(
    ("given", "label", "host"),
    [
        ([LOOK_UP, ARXIV], "arxiv", "mcp.arxiv-tools.org"),
        ([ARXIV], "other", ""),
        (None, "arxiv", ""),
        ([{"type": "mcp", "server_label": "arxiv"}], "arxiv", ""),
    ],
)
def test_the_host_of_an_mcp_server_is_where_the_arguments_go(given: Any, label: str, host: str) -> None:
    assert tools.host_of(given, label) == host


@pytest.mark.parametrize(
    ("tool", "parameters"),
    [
        (LOOK_UP, NAMED),
        ({**LOOK_UP, "strict": False}, None),
        ({**LOOK_UP, "parameters": "all"}, None),
        (SEARCH, None),
        ("web_search", None),
    ],
)
def test_the_strict_rules_hold_for_the_parameters_of_strict_functions(tool: Any, parameters: Any) -> None:
    assert tools.parameters_of(tool) == parameters
