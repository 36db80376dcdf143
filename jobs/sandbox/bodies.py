"""Writes the JSON of a Response, field for field as the API does."""

import json
from typing import Any

from jobs.sandbox.life import State
from jobs.sandbox.store import Record


def response(record: Record, state: State) -> bytes:
    """Return the body of one response in one state; kept until the state changes."""
    if record.body_of != state:
        record.body = json.dumps(_response(record, state)).encode()
        record.body_of = state
    return record.body


def _response(record: Record, state: State) -> dict[str, Any]:
    asked, plan = record.request, record.plan
    reasoning = asked.get("reasoning") or {}
    body: dict[str, Any] = {
        "id": record.id,
        "object": "response",
        "created_at": int(record.accepted_at),
        "status": state.status,
        "background": bool(asked.get("background")),
        "billing": {"payer": "developer"},
        "completed_at": None if state.completed_at is None else int(state.completed_at),
        "error": plan.error if state.status == "failed" else None,
        "incomplete_details": ({"reason": plan.incomplete_reason} if state.status == "incomplete" else None),
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "max_tool_calls": asked.get("max_tool_calls"),
        "metadata": asked.get("metadata") or {},
        "model": asked.get("sandbox_deployment") or plan.model,
        "output": plan.output if state.has_output else [],
        "parallel_tool_calls": asked.get("parallel_tool_calls") is not False,
        "previous_response_id": asked.get("previous_response_id"),
        "prompt_cache_key": asked.get("prompt_cache_key"),
        "reasoning": {
            "effort": asked["sandbox_effort"],
            "mode": reasoning.get("mode") or "standard",
            "summary": reasoning.get("summary"),
        },
        "safety_identifier": asked.get("safety_identifier"),
        "service_tier": plan.service_tier if state.is_end else asked.get("service_tier") or "auto",
        "store": asked.get("store") is not False,
        "temperature": 1.0,
        "text": {"verbosity": "medium"} | (asked.get("text") or {}),
        "tool_choice": asked.get("tool_choice") or "auto",
        "tools": asked.get("tools") or [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": asked.get("truncation") or "disabled",
        "usage": state.usage.body() if state.usage else None,
    }
    if asked.get("background_options"):
        body["background_options"] = asked["background_options"]
    if state.usage and plan.searches:
        body["tool_usage"] = {"web_search": {"num_requests": plan.searches}}
    body["text"].setdefault("format", {"type": "text"})
    return body
