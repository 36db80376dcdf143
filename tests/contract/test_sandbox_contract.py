"""Holds every body of the sandbox against an unmodified cut of OpenAI's OpenAPI document."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.jobs.attachments.files import picture
from tests.sandbox_process import SandboxProcess

HERE = Path(__file__).parent
NAME = "openapi-responses.yaml"

# The document is of August 2026; these are the places where it is older or narrower than the API.
EXTRA_KEYS = {
    "billing": "returned by the API, in no document: who pays",
    "store": "returned by the API, missing from the document's Response",
    "background_options": "added with SDK 3.54, echoed when it was sent",
    "tool_usage": "added with SDK 3.54, when a tool was used that is billed by the call",
}
NULLABLE = {
    "usage": "null until the end, and on ends without usage (the SDK's type is Optional)",
}

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": ["number", "null"]}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
PNG = "data:image/png;base64," + base64.b64encode(picture()).decode()
MCP = {"type": "mcp", "server_label": "arxiv", "server_url": "https://mcp.arxiv-tools.org/sse"}
TOOL = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}


@pytest.fixture(scope="session")
def document() -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loaded: dict[str, Any] = yaml.load((HERE / NAME).read_text(), Loader=loader)
    return loaded


@pytest.fixture(scope="session")
def problems(document: dict[str, Any]) -> Any:
    """Return a function that lists what the named schema finds wrong with a body."""
    # OpenAPI 3.1 schemas are JSON Schema 2020-12: references resolve inside the document as they stand,
    # and discriminators only repeat what the branches of a oneOf already say.
    registry: Registry[Any] = Registry().with_resource("urn:api", DRAFT202012.create_resource(document))

    def find(name: str, body: Any) -> list[str]:
        schema = {"$ref": f"urn:api#/components/schemas/{name}"}
        errors = Draft202012Validator(schema, registry=registry).iter_errors(body)
        return [f"{error.json_path}: {error.message[:200]}" for error in errors]

    return find


def response_keys(document: dict[str, Any]) -> set[str]:
    schemas = document["components"]["schemas"]
    keys: set[str] = set()
    for part in schemas["Response"]["allOf"]:
        part = schemas[part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else part
        keys |= part["properties"].keys()
    return keys


def test_the_document_is_the_one_that_was_copied() -> None:
    digest, name = (HERE / "SHA256SUMS").read_text().split()
    assert name == NAME
    assert hashlib.sha256((HERE / NAME).read_bytes()).hexdigest() == digest


def test_a_response_that_lies_is_caught(problems: Any, sandbox: SandboxProcess) -> None:
    """The validator is not blind: it follows references, unions and allOf."""
    good = finished(sandbox, "Fine [[sandbox: seconds=0]]")
    for lie in (
        {"status": "running"},
        {"output": [{"type": "message", "role": "assistant"}]},
        {"error": {"code": "no_such_code", "message": "x"}},
        {"usage": {"input_tokens": 1}},
        {"service_tier": "first class"},
    ):
        assert problems("Response", good | lie), lie


CASES = {
    "queued": ("[[sandbox: seconds=600]]", {}, "queued"),
    "completed": ("[[sandbox: seconds=0]]", {}, "completed"),
    "all parameters": (
        "[[sandbox: seconds=0]]",
        {
            "instructions": "Be brief.",
            "max_output_tokens": 50_000,
            "max_tool_calls": 3,
            "metadata": {"nonce": "1"},
            "parallel_tool_calls": False,
            "prompt_cache_key": "k",
            "reasoning": {"effort": "low", "summary": "auto"},
            "safety_identifier": "u1",
            "service_tier": "default",
            "store": True,
            "text": {"format": {"type": "text"}, "verbosity": "low"},
            "tool_choice": "auto",
            "tools": [TOOL, {"type": "web_search"}],
            "truncation": "disabled",
            "background_options": {"completion_window": "2h"},
        },
        "completed",
    ),
    "incomplete": ("[[sandbox: seconds=0]]", {"max_output_tokens": 16}, "incomplete"),
    "filtered": ("[[sandbox: seconds=0 outcome=incomplete reason=content_filter]]", {}, "incomplete"),
    "failed": ("[[sandbox: seconds=0 outcome=failed code=rate_limit_exceeded]]", {}, "failed"),
    "failed with usage": ("[[sandbox: seconds=0 outcome=failed usage=full]]", {}, "failed"),
    "cancelled": ("[[sandbox: seconds=0 outcome=cancelled]]", {}, "cancelled"),
    "refusal": ("[[sandbox: seconds=0 outcome=refusal]]", {}, "completed"),
    "no usage": ("[[sandbox: seconds=0 usage=none]]", {}, "completed"),
    "a function call": ("[[sandbox: seconds=0 outcome=function_call]]", {"tools": [TOOL]}, "completed"),
    "calls and an approval": (
        "[[sandbox: seconds=0 calls=2 approvals=1]]",
        {"tools": [TOOL, MCP]},
        "completed",
    ),
    "searches": ("[[sandbox: seconds=0 searches=2]]", {"tools": [{"type": "web_search"}]}, "completed"),
    "a JSON result": (
        "[[sandbox: seconds=0]]",
        {"text": {"format": {"type": "json_schema", "name": "w", "schema": SCHEMA, "strict": True}}},
        "completed",
    ),
    "another tier": ("[[sandbox: seconds=0 tier=priority]]", {}, "completed"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_response_is_what_the_document_says(
    case: str, sandbox: SandboxProcess, problems: Any, document: dict[str, Any]
) -> None:
    directive, parameters, status = CASES[case]
    accepted = sandbox.create(f"The case {case} {directive}", **parameters)
    assert accepted.status == 200
    assert accepted.json["status"] == "queued"
    check_response(accepted.json, problems, document)
    if status != "queued":
        ended = sandbox.wait_for(accepted.json["id"])
        assert ended["status"] == status
        check_response(ended, problems, document)


def test_a_running_and_a_cancelled_response_are_too(
    sandbox: SandboxProcess, problems: Any, document: dict[str, Any]
) -> None:
    response_id = sandbox.create("Run a while [[sandbox: seconds=600]]").json["id"]
    check_response(sandbox.wait_for(response_id, "in_progress"), problems, document)
    cancelled = sandbox.call("POST", f"/responses/{response_id}/cancel").json
    assert cancelled["status"] == "cancelled"
    check_response(cancelled, problems, document)


def test_a_foreground_response_is_too(
    sandbox: SandboxProcess, problems: Any, document: dict[str, Any]
) -> None:
    answered = sandbox.create("Now [[sandbox: seconds=0.01]]", background=False)
    assert answered.json["status"] == "completed"
    check_response(answered.json, problems, document)


@pytest.mark.parametrize(
    ("parameters", "key"),
    [
        ({"model": "no-such-model"}, "sk-practice"),
        ({"max_output_tokens": 1}, "sk-practice"),
        ({"nonsense": 1}, "sk-practice"),
        ({}, "sk-bad"),
    ],
)
def test_errors_have_all_four_keys(
    parameters: dict[str, Any], key: str, sandbox: SandboxProcess, problems: Any
) -> None:
    body = {"model": "o3-pro", "input": "Refuse me", "background": True} | parameters
    refused = sandbox.call("POST", "/responses", body, key=key)
    assert refused.status >= 400
    assert problems("ErrorResponse", refused.json) == []


@pytest.mark.parametrize("word", ["429", "429_quota", "500", "503", "403", "404", "408", "409"])
def test_errors_on_demand_have_them_too(word: str, sandbox: SandboxProcess, problems: Any) -> None:
    refused = sandbox.create(f"No [[sandbox: http={word}]]")
    assert refused.status == int(word[:3])
    assert problems("ErrorResponse", refused.json) == []


def test_counts_models_and_costs_are_too(sandbox: SandboxProcess, problems: Any) -> None:
    counted = sandbox.call("POST", "/responses/input_tokens", {"model": "o3-pro", "input": "How long?"})
    assert problems("TokenCountsResource", counted.json) == []
    models = sandbox.call("GET", "/models").json
    assert problems("ListModelsResponse", models) == []
    assert problems("Model", sandbox.call("GET", "/models/o3-pro").json) == []
    finished(sandbox, "Pay me [[sandbox: seconds=0]]")
    costs = sandbox.call(
        "GET", "/organization/costs?start_time=1790000000&limit=180&group_by=line_item", key="sk-admin-1"
    )
    assert any(bucket["results"] for bucket in costs.json["data"])
    assert problems("UsageResponse", costs.json) == []


def test_input_items_are_too(sandbox: SandboxProcess, problems: Any) -> None:
    first = finished(sandbox, "Call [[sandbox: seconds=0 outcome=function_call]]", tools=[TOOL])
    call = next(item for item in first["output"] if item["type"] == "function_call")
    given = [
        {"role": "developer", "content": "Be kind."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "detail": "low", "image_url": PNG},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
            ],
        },
        {"role": "assistant", "content": "A picture."},
        {"type": "function_call_output", "call_id": call["call_id"], "output": "12 degrees"},
    ]
    second = sandbox.create("", input=given, previous_response_id=first["id"]).json
    listed = sandbox.call("GET", f"/responses/{second['id']}/input_items?order=asc").json
    assert [item["type"] for item in listed["data"]] == ["message"] * 3 + ["function_call_output"]
    assert problems("ResponseItemList", listed) == []


def finished(sandbox: SandboxProcess, prompt: str, **parameters: Any) -> dict[str, Any]:
    return sandbox.wait_for(sandbox.create(prompt, **parameters).json["id"])


def check_response(body: dict[str, Any], problems: Any, document: dict[str, Any]) -> None:
    unknown = body.keys() - response_keys(document) - EXTRA_KEYS.keys()
    assert not unknown
    known = {
        key: value
        for key, value in body.items()
        if key not in EXTRA_KEYS and not (key in NULLABLE and value is None)
    }
    assert problems("Response", known) == []
