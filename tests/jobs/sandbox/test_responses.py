"""The routes of /v1/responses over HTTP."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from jsonschema import validate

from tests.sandbox_process import SandboxProcess

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": ["number", "null"]}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
MCP = {"type": "mcp", "server_label": "arxiv", "server_url": "https://mcp.arxiv-tools.org/sse"}
TOOL = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}

LOW = {"effort": "low"}
NOT_STRICT = "invalid_function_parameters"
MISSING = "missing_required_parameter"
WINDOW = "background_options.completion_window"


def text(**text_format: Any) -> dict[str, Any]:
    return {"text": {"format": text_format}}


def window(width: str) -> dict[str, Any]:
    return {"background_options": {"completion_window": width}}


def text_of(response: dict[str, Any]) -> str:
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part.get("text", "") for part in parts)


def test_a_background_response_runs_to_its_answer(sandbox: SandboxProcess) -> None:
    accepted = sandbox.create(
        "Why is the sky blue? [[sandbox: seconds=0.2]]", metadata={"nonce": "n1"}, max_output_tokens=90_000
    )
    assert accepted.status == 200
    queued = accepted.json
    assert (queued["status"], queued["output"], queued["usage"]) == ("queued", [], None)
    assert queued["metadata"] == {"nonce": "n1"}
    assert sandbox.call("GET", f"/responses/{queued['id']}").json["status"] in ("queued", "in_progress")
    ended = sandbox.wait_for(queued["id"])
    assert ended["status"] == "completed"
    assert ended["model"] == "o3-pro-2025-06-10"
    assert ended["service_tier"] == "default"
    assert "Why is the sky blue?" in text_of(ended)
    assert ended["completed_at"] >= ended["created_at"] == queued["created_at"]
    usage = ended["usage"]
    assert usage["output_tokens"] > usage["output_tokens_details"]["reasoning_tokens"] > 0
    again = sandbox.call("GET", f"/responses/{queued['id']}").json
    assert again == ended


def test_every_answer_carries_the_headers_clients_read(sandbox: SandboxProcess) -> None:
    for answer in (
        sandbox.create("Hello"),
        sandbox.create("Hello", model="nonsense"),
        sandbox.call("GET", "/models"),
    ):
        assert answer.headers["x-request-id"].startswith("req_")
        assert int(answer.headers["openai-processing-ms"]) >= 0
        for kind in ("limit", "remaining", "reset"):
            assert f"x-ratelimit-{kind}-requests" in answer.headers
            assert f"x-ratelimit-{kind}-tokens" in answer.headers


def test_a_foreground_response_is_held_until_it_ends(sandbox: SandboxProcess) -> None:
    answered = sandbox.create("Now [[sandbox: seconds=0.2]]", background=None).json
    assert answered["status"] == "completed"
    assert answered["background"] is False
    refused = sandbox.call("POST", f"/responses/{answered['id']}/cancel")
    assert refused.status == 400
    assert "synchronous" in refused.error["message"]


def test_a_response_that_is_not_stored_is_not_found(sandbox: SandboxProcess) -> None:
    answered = sandbox.create("Forget me [[sandbox: seconds=0]]", background=False, store=False).json
    assert sandbox.call("GET", f"/responses/{answered['id']}").status == 404


def test_cancelling_twice_is_as_good_as_once(sandbox: SandboxProcess) -> None:
    response_id = sandbox.create("Stop me [[sandbox: seconds=600]]").json["id"]
    first = sandbox.call("POST", f"/responses/{response_id}/cancel").json
    second = sandbox.call("POST", f"/responses/{response_id}/cancel").json
    assert first == second
    assert (first["status"], first["usage"], first["output"]) == ("cancelled", None, [])
    assert sandbox.wait_for(response_id) == first
    assert sandbox.log()["responses"][0]["cancels"] == 2


def test_a_cancel_that_comes_too_late_returns_the_answer(sandbox: SandboxProcess) -> None:
    response_id = sandbox.create("Quick [[sandbox: seconds=0]]").json["id"]
    assert sandbox.call("POST", f"/responses/{response_id}/cancel").json["status"] == "completed"


def test_a_cancel_may_be_ignored_or_overtaken(sandbox: SandboxProcess) -> None:
    ignored = sandbox.create("Go on [[sandbox: outcome=stuck cancel=ignored]]").json["id"]
    assert sandbox.call("POST", f"/responses/{ignored}/cancel").json["status"] in ("queued", "in_progress")
    overtaken = sandbox.create("Late [[sandbox: seconds=600 cancelled_then=completed after=0.2]]").json["id"]
    assert sandbox.call("POST", f"/responses/{overtaken}/cancel").json["status"] == "cancelled"
    assert sandbox.wait_for(overtaken, "completed")["usage"] is not None


def test_a_deleted_response_is_gone(sandbox: SandboxProcess) -> None:
    response_id = sandbox.create("Delete me [[sandbox: seconds=0]]").json["id"]
    assert sandbox.call("DELETE", f"/responses/{response_id}").json["deleted"] is True
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        gone = sandbox.call(method, f"/responses/{response_id}{path}")
        assert (gone.status, gone.error["type"]) == (404, "invalid_request_error")


def test_input_items_are_listed_in_pages(sandbox: SandboxProcess) -> None:
    given = [{"role": "user", "content": f"Part {number}"} for number in range(5)]
    response_id = sandbox.create("", input=given).json["id"]

    def page(query: str) -> dict[str, Any]:
        return sandbox.call("GET", f"/responses/{response_id}/input_items?{query}").json

    first = page("order=asc&limit=3")
    assert [item["content"][0]["text"] for item in first["data"]] == ["Part 0", "Part 1", "Part 2"]
    assert first["has_more"] is True
    second = page(f"order=asc&limit=3&after={first['last_id']}")
    assert [item["content"][0]["text"] for item in second["data"]] == ["Part 3", "Part 4"]
    assert second["has_more"] is False
    assert page("")["data"][0]["content"][0]["text"] == "Part 4"
    for query in ("limit=0", "limit=101", "limit=x", "after=msg_none"):
        assert sandbox.call("GET", f"/responses/{response_id}/input_items?{query}").status == 400


@pytest.mark.parametrize(
    ("parameters", "status", "param", "code"),
    [
        ({"model": "gpt-99"}, 404, "model", "model_not_found"),
        ({"model": "o4-mini"}, 404, "model", "model_not_found"),
        ({"model": None}, 400, "model", "missing_required_parameter"),
        ({"model": 3}, 400, "model", "invalid_type"),
        ({"input": None}, 400, "input", "missing_required_parameter"),
        ({"input": 3}, 400, "input", "invalid_type"),
        ({"input": [3]}, 400, "input[0]", "invalid_type"),
        ({"input": [{"content": "x"}]}, 400, "input[0].type", "missing_required_parameter"),
        ({"input": [{"role": "user", "content": 3}]}, 400, "input[0].content", "invalid_type"),
        ({"reasoning": {"effort": "xhigh"}}, 400, "reasoning.effort", "unsupported_value"),
        ({"reasoning": {"effort": "huge"}}, 400, "reasoning.effort", "invalid_value"),
        ({"reasoning": {"mode": "amateur"}}, 400, "reasoning.mode", "invalid_value"),
        ({"model": "gpt-5-pro", "reasoning": LOW}, 400, "reasoning.effort", "unsupported_value"),
        ({"nonsense": 1}, 400, "nonsense", "unknown_parameter"),
        ({"max_tokens": 100}, 400, "max_tokens", "unsupported_parameter"),
        ({"temperature": 0.5}, 400, "temperature", "unsupported_parameter"),
        ({"max_output_tokens": 15}, 400, "max_output_tokens", "integer_below_min_value"),
        ({"max_output_tokens": 100_001}, 400, "max_output_tokens", "integer_above_max_value"),
        ({"max_output_tokens": "100"}, 400, "max_output_tokens", "invalid_type"),
        ({"max_output_tokens": True}, 400, "max_output_tokens", "invalid_type"),
        ({"input": "word " * 200_000}, 400, "input", "context_length_exceeded"),
        ({"metadata": {str(n): "v" for n in range(17)}}, 400, "metadata", "object_above_max_properties"),
        ({"metadata": {"k" * 65: "v"}}, 400, "metadata", "string_above_max_length"),
        ({"metadata": {"k": "v" * 513}}, 400, "metadata.k", "string_above_max_length"),
        ({"metadata": {"k": 1}}, 400, "metadata.k", "invalid_type"),
        ({"store": False}, 400, "store", "unsupported_value"),
        ({"stream": True}, 400, "stream", "unsupported_value"),
        ({"service_tier": "gold"}, 400, "service_tier", "invalid_value"),
        ({"previous_response_id": "resp_no"}, 400, "previous_response_id", "previous_response_not_found"),
        (text(type="xml"), 400, "text.format.type", "invalid_value"),
        (text(type="json_schema", name="x"), 400, "text.format.schema", "missing_required_parameter"),
        (text(type="json_schema", name="a b", schema=SCHEMA), 400, "text.format.name", "invalid_value"),
        ({"tools": ["weather"]}, 400, "tools[0]", "invalid_type"),
        ({"tools": [{"type": "function"}]}, 400, "tools[0].name", "missing_required_parameter"),
        ({"tools": [TOOL | {"parameters": {"type": "object"}}]}, 400, "tools[0].parameters", NOT_STRICT),
        ({"tools": [{"type": "telepathy"}]}, 400, "tools[0].type", "invalid_value"),
        ({"tools": [{"type": "file_search"}]}, 400, "tools[0].vector_store_ids", MISSING),
        ({"tools": [MCP | {"server_url": ""}]}, 400, "tools[0].server_url", MISSING),
        ({"max_tool_calls": 0}, 400, "max_tool_calls", "integer_below_min_value"),
        (window("1h"), 400, WINDOW, "invalid_value"),
        (window("2h") | {"background": False}, 400, WINDOW, "unsupported_value"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_as_the_api_would(
    parameters: dict[str, Any], status: int, param: str, code: str, sandbox: SandboxProcess
) -> None:
    refused = sandbox.create("Refuse me", **parameters)
    assert (refused.status, refused.error["param"], refused.error["code"]) == (status, param, code)
    assert refused.error["type"] == "invalid_request_error"
    assert sandbox.log()["responses"] == []


def test_the_flat_effort_is_refused_in_the_words_of_the_api(sandbox: SandboxProcess) -> None:
    refused = sandbox.create("Think hard", reasoning_effort="high")
    assert refused.error["message"] == (
        "Unsupported parameter: 'reasoning_effort'. In the Responses API, this parameter has moved to "
        "'reasoning.effort'."
    )


def test_a_schema_that_is_not_strict_is_refused_in_the_words_of_the_api(sandbox: SandboxProcess) -> None:
    schema = {
        "type": "object",
        "properties": {"x": {"type": "object"}},
        "required": ["x"],
        "additionalProperties": False,
    }
    text = {"format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}}
    refused = sandbox.create("Answer", text=text)
    assert refused.error == {
        "type": "invalid_request_error",
        "code": "invalid_json_schema",
        "param": "text.format.schema",
        "message": "Invalid schema for response_format 'answer': In context=('properties', 'x'), "
        "'additionalProperties' is required to be supplied and to be false.",
    }
    text["format"]["strict"] = False
    assert sandbox.create("Answer", text=text).status == 200


@pytest.mark.parametrize("key", [None, "", "sk-bad-1"])
def test_without_a_right_key_nothing_goes(key: str | None, sandbox: SandboxProcess) -> None:
    refused = sandbox.call("POST", "/responses", {"model": "o3-pro", "input": "x"}, key=key)
    assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")
    if key:
        assert key not in refused.body.decode()


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_object_is_refused(body: bytes, sandbox: SandboxProcess) -> None:
    refused = sandbox.call("POST", "/responses", body)
    assert (refused.status, refused.error["type"]) == (400, "invalid_request_error")


def test_paths_and_methods_the_api_lacks_are_refused_in_its_shape(sandbox: SandboxProcess) -> None:
    assert sandbox.call("GET", "/chat").error["message"] == "Invalid URL (GET /v1/chat)"
    assert sandbox.call("PUT", "/responses", {}).error["code"] == "method_not_supported"


def test_json_answers_follow_their_schema(sandbox: SandboxProcess) -> None:
    text = {"format": {"type": "json_schema", "name": "w", "schema": SCHEMA, "strict": True}}
    ended = sandbox.wait_for(sandbox.create("Weather [[sandbox: seconds=0]]", text=text).json["id"])
    validate(json.loads(text_of(ended)), SCHEMA)
    loose = {"format": {"type": "json_object"}}
    ended = sandbox.wait_for(sandbox.create("JSON [[sandbox: seconds=0]]", text=loose).json["id"])
    assert isinstance(json.loads(text_of(ended)), dict)


def test_a_directive_can_fix_the_answer(sandbox: SandboxProcess) -> None:
    ended = sandbox.wait_for(sandbox.create('[[sandbox: seconds=0 answer="é = 1 ]] \\n2"]]').json["id"])
    assert text_of(ended) == "é = 1 ]] \n2"


def test_every_end_comes_on_demand(sandbox: SandboxProcess) -> None:
    def end(directive: str, **parameters: Any) -> dict[str, Any]:
        accepted = sandbox.create(f"End [[sandbox: seconds=0 {directive}]]", **parameters)
        return sandbox.wait_for(accepted.json["id"])

    failed = end("outcome=failed code=rate_limit_exceeded")
    assert (failed["status"], failed["error"]["code"], failed["usage"]) == (
        "failed",
        "rate_limit_exceeded",
        None,
    )
    cut = end("outcome=incomplete reason=max_output_tokens", max_output_tokens=20_000)
    assert cut["incomplete_details"] == {"reason": "max_output_tokens"}
    assert cut["usage"]["output_tokens"] == 20_000
    assert end("outcome=incomplete reason=content_filter")["incomplete_details"]["reason"] == "content_filter"
    refusal = end("outcome=refusal")
    assert refusal["status"] == "completed"
    assert refusal["output"][-1]["content"][0]["type"] == "refusal"
    assert end("outcome=cancelled")["status"] == "cancelled"
    assert end("usage=none")["usage"] is None
    assert end("tier=priority")["service_tier"] == "priority"
    usage = end("input=1000 cached=100 reasoning=640 answer_tokens=60")["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (1000, 700)
    assert usage["input_tokens_details"]["cached_tokens"] == 100


def test_a_natural_limit_ends_it_incomplete(sandbox: SandboxProcess) -> None:
    ended = sandbox.wait_for(sandbox.create("Short [[sandbox: seconds=0]]", max_output_tokens=64).json["id"])
    assert ended["status"] == "incomplete"
    assert ended["incomplete_details"] == {"reason": "max_output_tokens"}
    assert ended["usage"]["output_tokens"] == 64


def test_calls_must_be_answered_before_the_talk_goes_on(sandbox: SandboxProcess) -> None:
    asked = sandbox.create("Weather in Bonn? [[sandbox: seconds=0]]", tools=[TOOL], tool_choice="required")
    first = sandbox.wait_for(asked.json["id"])
    call = first["output"][-1]
    assert (call["type"], call["name"]) == ("function_call", "weather")
    validate(json.loads(call["arguments"]), SCHEMA)
    unanswered = sandbox.create("And now?", previous_response_id=first["id"])
    assert unanswered.status == 400
    assert unanswered.error["message"] == f"No tool output found for function call {call['call_id']}."
    stray = [{"type": "function_call_output", "call_id": "call_none", "output": "12"}]
    assert "No tool call found" in sandbox.create("", input=stray).error["message"]
    output = [{"type": "function_call_output", "call_id": call["call_id"], "output": "12"}]
    assert sandbox.create("", input=output, previous_response_id=first["id"]).status == 200
    assert sandbox.create("", input=[*call_items(call), *output]).status == 200


def test_several_calls_and_approvals_stop_one_response(sandbox: SandboxProcess) -> None:
    asked = sandbox.create("Find it [[sandbox: seconds=0 calls=2 approvals=1]]", tools=[TOOL, MCP])
    first = sandbox.wait_for(asked.json["id"])
    *_, one, two, approval = first["output"]
    assert (one["type"], two["type"], approval["type"]) == (
        "function_call", "function_call", "mcp_approval_request",
    )  # fmt: skip
    assert one["call_id"] != two["call_id"]
    assert approval["server_label"] == "arxiv"
    answers = [
        {"type": "function_call_output", "call_id": call["call_id"], "output": "1"} for call in (one, two)
    ]
    yes = {"type": "mcp_approval_response", "approval_request_id": approval["id"], "approve": True}
    lone = sandbox.create("", input=answers[:1], previous_response_id=first["id"])
    assert lone.error["message"] == f"No tool output found for function call {two['call_id']}."
    on = sandbox.create("", input=[*answers, yes], previous_response_id=first["id"])
    called = sandbox.wait_for(on.json["id"])["output"][1]
    assert (called["type"], called["approval_request_id"]) == ("mcp_call", approval["id"])


def test_a_stop_without_tools_makes_its_own_names(sandbox: SandboxProcess) -> None:
    ended = sandbox.wait_for(sandbox.create("Stop [[sandbox: seconds=0 approvals=1]]").json["id"])
    assert [item["type"] for item in ended["output"]] == ["reasoning", "mcp_approval_request"]
    assert ended["output"][1]["server_label"] == "practice"


def test_an_approval_of_nothing_is_refused(sandbox: SandboxProcess) -> None:
    for stray in ({"approval_request_id": "mcpr_none"}, {}):
        item = {"type": "mcp_approval_response", "approve": True, **stray}
        assert "No approval request found" in sandbox.create("", input=[item]).error["message"]


@pytest.mark.parametrize(
    ("tools", "limit", "searches"),
    [([], None, 0), ([TOOL], None, 0), ([{"type": "web_search"}], 2, 2), ([{"type": "web_search"}], None, 4)],
)
def test_searches_read_the_input_again_and_cost_a_fee(
    sandbox: SandboxProcess, tools: list[dict[str, Any]], limit: int | None, searches: int
) -> None:
    asked = sandbox.create(
        "Search [[sandbox: seconds=0 searches=4 input=100 reasoning=64 answer_tokens=0]]",
        tools=tools, max_tool_calls=limit,
    )  # fmt: skip
    ended = sandbox.wait_for(asked.json["id"])
    assert sum(item["type"] == "web_search_call" for item in ended["output"]) == searches
    assert ended["usage"]["input_tokens"] == 100 * (searches + 1)
    assert ended.get("tool_usage") == ({"web_search": {"num_requests": searches}} if searches else None)
    (logged,) = sandbox.log()["responses"]
    tokens = Decimal("0.002") * (searches + 1) + Decimal("0.00512")
    assert Decimal(logged["bill"]["amount"]) == tokens + searches * Decimal("0.01")


def call_items(call: dict[str, Any]) -> list[dict[str, Any]]:
    return [{key: call[key] for key in ("type", "call_id", "name", "arguments")}]


def test_the_count_is_the_number_that_is_billed(sandbox: SandboxProcess) -> None:
    first = sandbox.wait_for(sandbox.create("One [[sandbox: seconds=0]]").json["id"])
    inputs: list[dict[str, Any]] = [
        {"input": "Short"},
        {"input": "Ünïcode 🙂 " * 500, "instructions": "Be kind."},
        {"input": "Fixed [[sandbox: input=4321]]"},
        {"input": "Next", "previous_response_id": first["id"]},
        {
            "input": "Tools",
            "tools": [TOOL],
            "text": {"format": {"type": "json_schema", "name": "w", "schema": SCHEMA}},
        },
        {
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "See"},
                        {"type": "input_image", "detail": "low", "image_url": "https://example.com/a.png"},
                        {
                            "type": "input_file",
                            "filename": "a.pdf",
                            "file_data": "data:;base64," + "A" * 4000,
                        },
                        {"type": "input_file", "file_id": "file_1"},
                    ],
                }
            ]
        },
    ]
    for body in inputs:
        counted = sandbox.call("POST", "/responses/input_tokens", {"model": "o3-pro"} | body).json[
            "input_tokens"
        ]
        accepted = sandbox.create("", **body).json
        sandbox.call("POST", f"/responses/{accepted['id']}/cancel")  # so that the bill is due
        row = sandbox.log()["responses"][-1]
        assert (row["id"], row["bill"]["input_tokens"]) == (accepted["id"], counted)


@pytest.mark.parametrize("text", ["", "a", "word " * 1000, "🙂" * 300, "\n" * 50])
def test_the_count_stays_below_bytes_and_a_thousand_a_message(text: str, sandbox: SandboxProcess) -> None:
    body = {"model": "o3-pro", "input": [{"role": "user", "content": text}] * 3}
    counted = sandbox.call("POST", "/responses/input_tokens", body).json["input_tokens"]
    size = len(text.encode())
    assert 3 * math.ceil(size / 4) <= counted <= 3 * (size + 1000)


def test_a_count_takes_only_what_the_model_reads(sandbox: SandboxProcess) -> None:
    body = {"model": "o3-pro", "input": "x", "background": True}
    assert sandbox.call("POST", "/responses/input_tokens", body).error["code"] == "unknown_parameter"
    gone = sandbox.call("POST", "/responses/input_tokens", {"model": "o4-mini", "input": "x"})
    assert gone.status == 404


def test_twenty_posts_at_once_are_counted_as_twenty(sandbox: SandboxProcess) -> None:
    sandbox.faults(post_delay=0.4)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: sandbox.create("Same text"), range(20)))
    assert {answer.status for answer in answers} == {200}
    stats = sandbox.stats()
    assert stats["posts"] == stats["max_concurrent_posts"] == 20
    assert sandbox.log()["responses"][0]["posts"] == 20


def test_the_log_tells_what_was_polled(sandbox: SandboxProcess) -> None:
    response_id = sandbox.create("Poll me [[sandbox: seconds=600]]", metadata={"nonce": "n"}).json["id"]
    for _ in range(3):
        sandbox.call("GET", f"/responses/{response_id}")
    row = sandbox.log()["responses"][0]
    assert (row["id"], row["gets"], row["posts"], row["metadata"]) == (response_id, 3, 1, {"nonce": "n"})
    assert row["bill"] is None
    assert sandbox.stats()["gets"] == 3
