"""Calls as they are read from a response, and the items that answer them."""

import json
from typing import Any

import pytest

from jobs.lifecycle import calls
from jobs.lifecycle.calls import Call, Reply
from jobs.models import Attachment, Given

FUNCTION = {
    "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "run_sage", "arguments": "{}",
}  # fmt: skip
APPROVAL = {
    "type": "mcp_approval_request", "id": "mcpr_1", "name": "download", "arguments": "{}",
    "server_label": "arxiv",
}  # fmt: skip
SAGE, DOWNLOAD = calls.calls_in([FUNCTION, APPROVAL])
PLOT = Given(Attachment(digest="0" * 64), "plot.png")


def test_both_kinds_of_calls_are_read_with_the_id_their_answer_names() -> None:
    assert Call("function", "call_1", "run_sage", "{}") == SAGE
    assert Call("approval", "mcpr_1", "download", "{}", "arxiv") == DOWNLOAD


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"type": "message"},
        {"type": ["function_call"]},
        {**FUNCTION, "call_id": None},
        {**FUNCTION, "call_id": ""},
        {**FUNCTION, "call_id": "c" * 257},
        {**FUNCTION, "name": 3},
        {**APPROVAL, "id": {"a": 1}},
    ],
)
def test_what_cannot_be_answered_is_no_call(item: dict[str, Any]) -> None:
    assert calls.kept(item) is None
    assert calls.calls_in([item]) == []


def test_a_call_that_comes_twice_is_asked_once() -> None:
    assert calls.calls_in([FUNCTION, {**FUNCTION, "name": "other"}]) == [SAGE]


def test_only_what_is_needed_of_a_call_is_kept() -> None:
    assert calls.kept({**FUNCTION, "status": "completed", "arguments": ["no", "text"]}) == {
        "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "run_sage",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("call", "reply", "answers"),
    [
        (SAGE, Reply(key="call_1"), False),
        (SAGE, Reply(key="call_1", output=" \n"), False),
        (SAGE, Reply(key="call_1", output="42"), True),
        (SAGE, Reply(key="call_1", error="It crashed."), True),
        (SAGE, Reply(key="call_1", output="42", error="It crashed."), False),
        (SAGE, Reply(key="call_1", files=(PLOT,)), True),
        (SAGE, Reply(key="call_1", output="42", files=(PLOT,)), True),
        (SAGE, Reply(key="call_1", error="It crashed.", files=(PLOT,)), True),
        (SAGE, Reply(key="call_1", output="42", error="It crashed.", files=(PLOT,)), False),
        (SAGE, Reply(key="call_1", approve=True), False),
        (DOWNLOAD, Reply(key="mcpr_1", output="yes"), False),
        (DOWNLOAD, Reply(key="mcpr_1", approve=True), True),
        (DOWNLOAD, Reply(key="mcpr_1", approve=False), True),
    ],
)
def test_what_answers_which_call(call: Call, reply: Reply, answers: bool) -> None:
    assert reply.answers(call) is answers


def test_a_call_is_answered_by_the_item_of_its_kind() -> None:
    replies = [Reply(key="mcpr_1", approve=True), Reply(key="call_1", output='{"norm": 1}')]
    items = calls.items_for([SAGE, DOWNLOAD], replies)
    assert items == [
        {"type": "function_call_output", "call_id": "call_1", "output": '{"norm": 1}'},
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
    ]
    assert set(calls.replies_in(items, {})) == set(replies)
    assert calls.replies_in([{"role": "user", "content": "x"}], {}) == ()
    assert calls.keys_answered([*items, {"role": "user"}]) == {"call_1", "mcpr_1"}


def test_an_error_is_an_output_that_says_so() -> None:
    (item,) = calls.items_for([SAGE], [Reply(key="call_1", error=" Division by zéro ")])
    assert item["output"] == '{"error": "Division by zéro"}'


def test_a_file_is_an_output_and_may_come_with_an_error() -> None:
    (alone,) = calls.items_for([SAGE], [Reply(key="call_1", files=(PLOT,))])
    assert alone == {"type": "function_call_output", "call_id": "call_1", "output": ""}
    (error,) = calls.items_for([SAGE], [Reply(key="call_1", error="It crashed.", files=(PLOT,))])
    assert error["output"] == '{"error": "It crashed."}'
    assert calls.replies_in([alone], {"call_1": (PLOT,)}) == (Reply(key="call_1", files=(PLOT,)),)


def test_what_nobody_answered_is_said_and_never_left_open() -> None:
    items = calls.items_for([SAGE, DOWNLOAD], [])
    assert json.loads(items[0]["output"]) == {"error": "Not answered."}
    assert items[1]["approve"] is False


def test_a_refusal_names_what_is_missing() -> None:
    third = Call("function", "call_3", "look_up", "{}")
    given = [Reply(key="call_1", output="42"), Reply(key="call_3", output="a", error="b")]
    assert calls.problems([SAGE, DOWNLOAD, third], given) == {
        "call2": "Approve this call or refuse it.",
        "call3": "Send either an output or an error.",
        "replies": "1 of 3 answered. Still missing: download, look_up.",
    }
    assert calls.problems([SAGE], []) == {
        "call1": "Write what the function returned, or send an error instead.",
        "replies": "0 of 1 answered. Still missing: run_sage.",
    }
    assert calls.problems([SAGE], given[:1]) == {}


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(key="call_9", output="x"), "does not wait for"),
        (Reply(key="call_1", output="x" * 2_000_001), "at most 2,000,000 characters"),
        (Reply(key="call_1", error="a\x00b"), "NUL"),
        (Reply(key="call_1", output="a\ud800"), "surrogate"),
    ],
)
def test_what_cannot_be_kept_is_refused_as_a_whole(reply: Reply, says: str) -> None:
    assert says in calls.unusable([SAGE], [reply])
    assert list(calls.problems([SAGE], [reply])) == ["replies"]


def test_an_output_appears_in_no_repr() -> None:
    assert "canary" not in repr(Reply(key="k", output="canary", error="canary"))
    assert "canary" not in repr(Call("function", "k", "name", "canary"))
