"""The sandbox as Azure's v1 endpoint: its paths, keys, deployments and errors, and the calls it forgets."""

import contextlib
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox_process import Answer, SandboxProcess

SOON = "[[sandbox: seconds=0]]"
TOOL = {
    "type": "function",
    "name": "weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}

type Ask = Callable[..., Answer]


@pytest.fixture
def ask(sandbox: SandboxProcess) -> Ask:
    """POST a background response as to Azure."""

    def ask(prompt: str = SOON, **more: Any) -> Answer:
        keys = {name: more.pop(name) for name in ("key", "api_key") if name in more}
        body = {"model": "deployment-o3-pro", "background": True, "input": prompt} | more
        return sandbox.call("POST", "/responses", body, at=sandbox.azure_url, **keys)

    return ask


def get(sandbox: SandboxProcess, path: str) -> Answer:
    return sandbox.call("GET", path, at=sandbox.azure_url)


@pytest.mark.parametrize("keys", [{"key": "token"}, {"key": None, "api_key": "0123"}])
def test_either_kind_of_key_is_taken(ask: Ask, keys: dict[str, Any]) -> None:
    found = ask(**keys)
    assert (found.status, found.json["status"]) == (200, "queued")
    assert "apim-request-id" in found.headers
    assert "x-request-id" not in found.headers


@pytest.mark.parametrize("keys", [{"key": None}, {"key": None, "api_key": "sk-bad"}])
def test_a_refused_key_is_azures_401(ask: Ask, keys: dict[str, Any]) -> None:
    found = ask(**keys)
    assert found.status == 401
    assert found.error["code"] == "401"
    assert found.error["message"].startswith("Access denied due to invalid subscription key")


@pytest.mark.parametrize("name", ["deployment-o3-pro", "o3-pro"])
def test_a_response_names_its_deployment(ask: Ask, sandbox: SandboxProcess, name: str) -> None:
    response_id = ask(model=name).json["id"]
    found = get(sandbox, f"/responses/{response_id}").json
    assert found["model"] == name
    (billed,) = sandbox.log()["responses"]
    assert billed["bill"]["output_tokens"] > 0


@pytest.mark.parametrize("name", ["deployment-o9", "think-hard"])
def test_a_deployment_that_is_not_there_is_a_404(ask: Ask, name: str) -> None:
    found = ask(model=name)
    assert (found.status, found.error["code"]) == (404, "DeploymentNotFound")


def test_there_is_no_count_and_nothing_beside_the_v1_paths(sandbox: SandboxProcess) -> None:
    body = {"model": "o3-pro", "input": "x"}
    for method, path in (("POST", "/responses/input_tokens"), ("GET", "/organization/costs")):
        found = sandbox.call(method, path, body, at=sandbox.azure_url)
        assert (found.status, found.error) == (404, {"code": "404", "message": "Resource not found"})
    assert get(sandbox, "/models").json["object"] == "list"


def test_a_limit_says_in_words_and_headers_how_long_to_wait(ask: Ask) -> None:
    found = ask("[[sandbox: http=429 retry_after=21]]")
    assert (found.status, found.error["code"], found.headers["Retry-After"]) == (429, "429", "21")
    assert "Please retry after 21 seconds." in found.error["message"]


def test_the_filter_of_content_is_a_400_with_an_inner_error(ask: Ask) -> None:
    found = ask("[[sandbox: http=400 code=content_filter]]")
    assert (found.status, found.error["code"], found.error["param"]) == (400, "content_filter", "prompt")
    assert found.error["innererror"]["code"] == "ResponsibleAIPolicyViolation"
    assert ask("[[sandbox: http=400 code=x]]").error["code"] == "x"


def test_the_calls_of_a_background_response_are_forgotten(ask: Ask, sandbox: SandboxProcess) -> None:
    first = ask("[[sandbox: seconds=0 calls=1]]", tools=[TOOL]).json["id"]
    (call,) = [one for one in get(sandbox, f"/responses/{first}").json["output"] if "call_id" in one]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "12 degrees"}
    refused = ask(input=[output], previous_response_id=first)
    assert refused.status == 400
    assert refused.error["message"] == (
        f"No tool call found for function call output with call_id {call['call_id']}."
    )
    again = {name: call[name] for name in ("type", "call_id", "name", "arguments")}
    assert ask(input=[{"role": "user", "content": SOON}, again, output]).status == 200
    # OpenAI knows them.
    body = {"model": "o3-pro", "background": True, "input": [output], "previous_response_id": first}
    assert sandbox.call("POST", "/responses", body).status == 200


def test_a_file_in_the_output_of_a_call_is_refused(ask: Ask) -> None:
    call = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"}
    parts = [{"type": "input_text", "text": "12 degrees"}]
    refused = ask(input=[call, {"type": "function_call_output", "call_id": "call_1", "output": parts}])
    assert (refused.status, refused.error["param"]) == (400, "input[1].output")


def test_no_webhook_tells_of_an_end(own_sandbox: SandboxProcess) -> None:
    with own_sandbox.start(webhook_url="http://127.0.0.1:9/", webhook_secret="whsec_c2VjcmV0") as sandbox:
        body = {"model": "o3-pro", "background": True, "input": "[[sandbox: seconds=600]]"}
        ids = {
            at: sandbox.call("POST", "/responses", body, at=at).json["id"]
            for at in (sandbox.azure_url, sandbox.base_url)
        }
        for at, response_id in ids.items():
            sandbox.call("POST", f"/responses/{response_id}/cancel", at=at)
        with contextlib.closing(sqlite3.connect(sandbox.data)) as file:
            told = {response_id for (response_id,) in file.execute("SELECT response_id FROM event")}
    assert told == {ids[sandbox.base_url]}
