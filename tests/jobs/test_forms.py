"""Forms: what a browser sends becomes what `lifecycle` takes, or a sentence beside its field."""

import json
import uuid
from typing import Any

import pytest
from django.http import QueryDict

from jobs.access import Role
from jobs.forms import CapForm, LinkForm, NewJobForm, PauseForm, ResolveForm
from jobs.forms.new_job import tool_fields
from jobs.models import Project, User
from tests.factories import a_person, a_project

pytestmark = pytest.mark.django_db

TYPED = {"prompt": "Why?", "project": "proofs", "model": "o3", "effort": "low", "max_output_tokens": "1000"}


@pytest.fixture
def mira() -> User:
    return a_person()


@pytest.fixture
def projects(mira: User) -> dict[str, Project]:
    return {"proofs": a_project(members={mira: Role.SUBMITTER})}


def read(projects: dict[str, Project], **changed: Any) -> NewJobForm:
    data = QueryDict(mutable=True)
    for name, value in {**TYPED, **changed}.items():
        data.setlist(name, value if isinstance(value, list) else [value])
    return NewJobForm(data, projects=projects)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("40000", 40_000),
        ("40,000", 40_000),
        (" 40 000 ", 40_000),
        ("40.000", 40_000),
        ("40’000", 40_000),
        ("1_000_000", 1_000_000),
        ("16", 16),
    ],
)
def test_tokens_are_read_with_any_separator(projects: dict[str, Project], text: str, tokens: int) -> None:
    form = read(projects, max_output_tokens=text)
    assert form.is_valid()
    assert form.cleaned_data["max_output_tokens"] == tokens


@pytest.mark.parametrize("text", ["", "1.5", "40,00", "4e4", "-1", "٤٠", "²", "9999999999", "40k", "4,000,"])
def test_what_is_no_whole_number_of_tokens_is_never_guessed(projects: dict[str, Project], text: str) -> None:
    form = read(projects, max_output_tokens=text)
    assert form.errors == {"max_output_tokens": ["Write a whole number of tokens, such as 40,000."]}


def test_a_valid_form_becomes_the_spec_as_typed(projects: dict[str, Project], mira: User) -> None:
    key = str(uuid.uuid4())
    form = read(
        projects,
        prompt="  Why?\r\nBecause ",
        tags=" a, b,,a ",
        accepts_undocumented="1",
        submission_key=key,
    )
    assert form.is_valid()
    spec = form.spec(mira, elsewhere=projects["proofs"])
    assert (spec.prompt, spec.tags, spec.mode) == ("  Why?\nBecause ", ("a", "b"), "standard")
    assert (spec.accepts_undocumented, spec.submission_key, spec.schema) == (True, key, None)
    assert (spec.project, spec.by) == (projects["proofs"], mira)


@pytest.mark.parametrize("key", ["", "not-a-uuid"])
def test_a_missing_submission_key_is_made_and_a_forged_one_refused(
    projects: dict[str, Project], key: str
) -> None:
    form = read(projects, submission_key=key)
    assert form.is_valid() is (key == "")
    if not key:
        assert uuid.UUID(form.cleaned_data["submission_key"])


def test_a_project_that_is_not_offered_is_no_choice(projects: dict[str, Project]) -> None:
    assert read(projects, project="other").errors == {"project": ["Choose a project."]}


def test_what_cannot_be_read_leaves_the_rest_of_a_spec(projects: dict[str, Project], mira: User) -> None:
    form = read(projects, project="other", max_output_tokens="many", schema="{", prompt="Why?")
    assert set(form.errors) == {"project", "max_output_tokens", "schema"}
    spec = form.spec(mira, elsewhere=projects["proofs"])
    assert (spec.project, spec.prompt, spec.max_output_tokens) == (projects["proofs"], "Why?", 0)
    assert spec.schema is not None


def test_a_field_that_could_not_be_read_says_only_that(projects: dict[str, Project]) -> None:
    form = read(projects, max_output_tokens="many")
    form.refuse({"max_output_tokens": "16 to 100,000 tokens.", "prompt": "Too long.", "elsewhere": "No."})
    assert form.errors["max_output_tokens"] == ["Write a whole number of tokens, such as 40,000."]
    assert form.errors["prompt"] == ["Too long."]
    assert form.non_field_errors() == ["No."]


def test_too_many_tags_are_refused(projects: dict[str, Project]) -> None:
    assert "tags" in read(projects, tags=",".join(map(str, range(21)))).errors


def test_a_nul_character_is_refused_before_it_reaches_the_database(projects: dict[str, Project]) -> None:
    assert set(read(projects, prompt="a\x00b", title="\x00").errors) == {"prompt", "title"}


def test_a_schema_is_read_as_json(projects: dict[str, Project], mira: User) -> None:
    form = read(projects, schema='{"type": "object"}', schema_name="facts")
    assert form.is_valid()
    assert form.spec(mira, elsewhere=projects["proofs"]).schema == {"type": "object"}


def test_a_schema_that_is_no_json_names_line_and_column(projects: dict[str, Project]) -> None:
    (message,) = read(projects, schema='{"a":\n 1,}').errors["schema"]
    assert message == "Not JSON: a comma stands before the closing brace on line 2, column 3."


def test_a_schema_of_null_is_not_taken_for_none(projects: dict[str, Project]) -> None:
    assert read(projects, schema="null").errors["schema"] == ["A schema is a JSON object."]


@pytest.mark.parametrize(
    ("pasted", "token"),
    [("abc", "abc"), (" abc\n", "abc"), ("http://localhost:8000/enter/#abc", "abc"), ("#abc", "abc")],
)
def test_a_link_is_its_secret_however_it_is_pasted(pasted: str, token: str) -> None:
    form = LinkForm({"token": pasted})
    assert form.is_valid()
    assert form.cleaned_data["token"] == token


def test_giving_up_on_a_job_needs_a_reason_and_adopting_one_an_id() -> None:
    assert ResolveForm({"decision": "wait"}).is_valid()
    assert ResolveForm({"decision": "resend"}).is_valid()
    for decision in ("lost", "paid"):
        assert "reason" in ResolveForm({"decision": decision}).errors
        assert ResolveForm({"decision": decision, "reason": "seen in the log"}).is_valid()
    assert "response_id" in ResolveForm({"decision": "adopt"}).errors
    assert "response_id" in ResolveForm({"decision": "adopt", "response_id": "resp/../1"}).errors
    assert ResolveForm({"decision": "adopt", "response_id": "resp_68a1"}).is_valid()
    assert "decision" in ResolveForm({"decision": "forget"}).errors


@pytest.mark.parametrize(("cap", "is_fine"), [("0", True), ("250.50", True), ("-1", False), ("NaN", False)])
def test_a_cap_is_an_amount_of_dollars_from_zero(cap: str, is_fine: bool) -> None:
    assert CapForm({"cap": cap}).is_valid() is is_fine


def test_a_pause_needs_no_reason() -> None:
    assert PauseForm({}).is_valid()
    assert not PauseForm({"reason": "x" * 201}).is_valid()


FUNCTION = {"type": "function", "name": "f", "strict": True, "parameters": {"type": "object"}}
SEARCH = {"type": "web_search"}
FILES = {"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]}
ARXIV = {
    "type": "mcp",
    "server_label": "arxiv",
    "server_url": "https://mcp.arxiv-tools.org/sse",
    "require_approval": "always",
}


@pytest.mark.parametrize(
    ("tools", "ticked"),
    [
        ([FUNCTION, SEARCH, FILES, ARXIV], ["web_search", "file_search", "mcp"]),
        ([{**SEARCH, "search_context_size": "low"}], []),
        ([{**ARXIV, "require_approval": "never"}, {**ARXIV, "server_label": "two"}, ARXIV], ["mcp"]),
        ([{**FILES, "vector_store_ids": ["has space"]}], []),
        ([], []),
    ],
)
def test_tools_survive_the_fields_they_are_shown_in(
    projects: dict[str, Project], mira: User, tools: list[Any], ticked: list[str]
) -> None:
    fields = tool_fields(tools, 7 if tools else None)
    assert fields["tool"] == ticked
    form = read(projects, **fields)
    assert form.is_valid()
    spec = form.spec(mira, elsewhere=projects["proofs"])
    assert sorted(map(str, spec.tools)) == sorted(map(str, tools))
    assert spec.max_tool_calls == (7 if [tool for tool in tools if tool != FUNCTION] else None)


def test_tools_that_cannot_be_read_say_so(projects: dict[str, Project]) -> None:
    form = read(projects, tools='[{"a": 1,}]', max_tool_calls="some")
    assert form.errors["tools"] == ["Not JSON: a comma stands before the closing brace on line 1, column 9."]
    assert form.errors["max_tool_calls"] == ["Write a whole number of calls, such as 3."]


def test_one_function_is_taken_without_a_list(projects: dict[str, Project], mira: User) -> None:
    form = read(projects, tools=json.dumps(FUNCTION))
    assert form.is_valid()
    assert form.spec(mira, elsewhere=projects["proofs"]).tools == (FUNCTION,)
