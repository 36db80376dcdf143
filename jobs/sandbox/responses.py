"""The routes under /v1/responses: accept, retrieve, cancel, delete, list input, count input."""

import asyncio
import secrets
import time
from datetime import date
from typing import Any

from aiohttp import web

from jobs.sandbox import ask as asks
from jobs.sandbox import azure, bill, bodies, directives, errors, files, life, tokens
from jobs.sandbox.ask import Ask
from jobs.sandbox.directives import Directives
from jobs.sandbox.server import SERVER, Server, answer, body_of, cut, key_id, key_of
from jobs.sandbox.store import Billed, Event, Record
from jobs.sandbox.webhooks import delay_of

QUEUED = life.State("queued")
POLL_FOREGROUND = 0.25  # seconds between two looks of a held foreground request


async def create(request: web.Request) -> web.StreamResponse:
    """Accept a response: commit, then answer; or refuse, reset, mangle or hang as a directive says."""
    server = request.app[SERVER]
    body = await body_of(request)
    is_azure, deployment = azure.is_asked(request), body.get("model")
    digest = asks.prompt_hash(body)
    wishes = directives.read(asks.texts(body)).on_post(server.store.posts_of(digest) + 1)

    def refused(result: str) -> None:
        server.store.note_refusal(
            at=time.time(), prompt_hash=digest, result=result, metadata=body.get("metadata")
        )

    if wishes.fault == "reset_before":
        refused("reset_before")
        raise cut(request)
    try:
        if wishes.http:
            raise errors.on_demand(
                wishes.http,
                model=str(body.get("model")),
                code=wishes.code,
                retry_after=wishes.retry_after,
            )
        if is_azure:
            body = azure.model_of(body)
            azure.check_outputs(body)
        ask = asks.check(body, server.calendar_day())
        if wishes.window == "refused" and ask.window != "soonest":
            raise errors.bad_request(
                f"Unsupported value: '{ask.window}' is not supported with the '{ask.model.id}' model.",
                param="background_options.completion_window",
                code="unsupported_value",
            )
        chain = _chain(server, body, ask.items, forgets_calls=is_azure)
        count = _input_tokens(ask.items, body, chain, wishes)
        if count > ask.model.context_window:
            if body.get("truncation") != "auto":
                raise errors.bad_request(
                    "Your input exceeds the context window of this model. Please adjust your input and try "
                    "again.",
                    param="input",
                    code="context_length_exceeded",
                )
            count = ask.model.context_window
    except errors.Refused as error:
        refused(str(error.status))
        raise
    record = _accept(server, request, ask, wishes, count, digest, deployment if is_azure else None)
    return await _answer_post(request, record, wishes, is_background=ask.background)


async def retrieve(request: web.Request) -> web.StreamResponse:
    """Return a response as it is now."""
    server = request.app[SERVER]
    response_id = request.match_info["id"]
    server.counters.gets_of[response_id] += 1
    record = _find(server, response_id)
    return _shown(record, time.time())


async def cancel(request: web.Request) -> web.StreamResponse:
    """Cancel a background response; one that has ended is returned as it is, so twice is as good as once."""
    server = request.app[SERVER]
    response_id = request.match_info["id"]
    server.counters.cancels_of[response_id] += 1
    record = _find(server, response_id)
    if not record.request.get("background"):
        raise errors.bad_request("Cannot cancel a synchronous response.")
    now = time.time()
    if record.cancelled_at is None and not record.state(now).is_end and not record.plan.ignores_cancel:
        _cancel(server, record, now)
    return _shown(record, now)


async def delete(request: web.Request) -> web.StreamResponse:
    """Delete a response; it is not found afterwards, and stays on the bill."""
    server = request.app[SERVER]
    record = _find(server, request.match_info["id"])
    server.store.delete(record, at=time.time())
    return answer({"id": record.id, "object": "response", "deleted": True})


async def input_items(request: web.Request) -> web.StreamResponse:
    """List the input items of a response, newest first unless `order=asc`."""
    server = request.app[SERVER]
    record = _find(server, request.match_info["id"])
    items = server.store.items(record.id)
    if request.query.get("order", "desc") != "asc":
        items.reverse()
    limit = request.query.get("limit", "20")
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= 100:
        raise errors.bad_request(
            "Invalid 'limit': expected an integer between 1 and 100.", param="limit", code="invalid_value"
        )
    after = request.query.get("after")
    if after is not None:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise errors.bad_request(
                f"Item with id '{after}' not found.", param="after", code="invalid_value"
            )
        items = items[ids.index(after) + 1 :]
    page = items[: int(limit)]
    return answer(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else "",
            "last_id": page[-1]["id"] if page else "",
            "has_more": len(items) > len(page),
        }
    )


async def count_input(request: web.Request) -> web.StreamResponse:
    """Count the input tokens of a request: the number its response would be billed for."""
    server = request.app[SERVER]
    body = await body_of(request)
    items = asks.check_countable(body, server.calendar_day())
    wishes = directives.read(asks.texts(body))
    count = _input_tokens(items, body, _chain(server, body, items), wishes)
    return answer({"object": "response.input_tokens", "input_tokens": count})


async def no_count(request: web.Request) -> web.StreamResponse:
    """Refuse to count, where nothing says that it can be done."""
    raise errors.unknown_url(request.method, request.path)


def _find(server: Server, response_id: str) -> Record:
    record = server.store.get(response_id)
    if (
        record is None
        or record.request.get("store") is False
        or time.time() < record.accepted_at + record.plan.missing
    ):
        raise errors.unknown_response(response_id)
    return record


def _shown(record: Record, now: float) -> web.Response:
    body = bodies.response(record, record.state(now))
    return web.Response(body=body, content_type="application/json")


def _input_tokens(items: list[dict[str, Any]], body: dict[str, Any], chain: int, wishes: Directives) -> int:
    if wishes.input is not None:
        return wishes.input
    return tokens.of_request(items, body, chain)


def _chain(
    server: Server, body: dict[str, Any], items: list[dict[str, Any]], *, forgets_calls: bool = False
) -> int:
    """Return the tokens of the earlier turns, having checked that calls and their outputs match.

    Azure forgets the calls of a background response though it shows them
    (github.com/microsoft/agent-framework/issues/7538).
    """
    previous_id = body.get("previous_response_id")
    previous = server.store.get(previous_id) if previous_id else None
    if previous_id and (previous is None or previous.request.get("store") is False):
        raise errors.bad_request(
            f"Previous response with id '{previous_id}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    earlier = previous.plan.output if previous else []
    calls = [item["call_id"] for item in [*earlier, *items] if item.get("type") == "function_call"]
    outputs = [item.get("call_id") for item in items if item.get("type") == "function_call_output"]
    asked = [item["id"] for item in [*earlier, *items] if item.get("type") == "mcp_approval_request"]
    for item in items:
        if item.get("type") == "mcp_approval_response" and item.get("approval_request_id") not in asked:
            raise errors.bad_request(
                f"No approval request found with id {item.get('approval_request_id')}.", param="input"
            )
    if forgets_calls and previous and previous.request.get("background"):
        calls = [item["call_id"] for item in items if item.get("type") == "function_call"]
    for call in calls:
        if call not in outputs:
            raise errors.bad_request(f"No tool output found for function call {call}.", param="input")
    for call in outputs:
        if call not in calls:
            raise errors.bad_request(
                f"No tool call found for function call output with call_id {call}.", param="input"
            )
    if previous is None:
        return 0
    # Reasoning is not carried into the next turn.
    usage = previous.plan.usage
    return usage.input + usage.output - usage.reasoning


def _accept(
    server: Server,
    request: web.Request,
    ask: Ask,
    wishes: Directives,
    count: int,
    digest: str,
    deployment: str | None,
) -> Record:
    now = time.time()
    tail = secrets.token_hex(24)
    plan = life.plan(
        ask, wishes, response_id=f"resp_{tail}", input_tokens=count, speed=server.speed, rng=server.rng
    )
    record = Record(
        id=f"resp_{tail}",
        accepted_at=now,
        cancelled_at=None,
        prompt_hash=digest,
        # The effort is not always in the body; a poll must not look the model up again.
        request={key: value for key, value in ask.body.items() if key != "input"}
        | {"sandbox_effort": ask.effort, "sandbox_files": files.listed(ask.items)}
        | ({"sandbox_deployment": deployment} if deployment else {}),
        plan=plan,
    )
    items = [
        item if "id" in item else {"id": f"{_prefix(item)}_{tail}{number:02}", **item}
        for number, item in enumerate(map(files.without_bytes, ask.items))
    ]
    day = server.calendar_day()
    is_free = plan.status == "failed" and not plan.shows_usage
    usage = life.Usage(input=0, cached=0, output=0, reasoning=0) if is_free else plan.usage
    billed = Billed(
        project_id=request.headers.get("OpenAI-Project") or "proj_practice",
        api_key_id=key_id(key_of(request)),
        model=ask.model.id,
        service_tier=plan.service_tier,
        completion_window=ask.window,
        day=day.isoformat(),
        usage=usage,
        lines=bill.lines(
            ask.model.id,
            usage,
            tier=plan.service_tier,
            window=ask.window,
            day=day,
            searches=0 if is_free else plan.searches,
        ),
        counts_from=None if plan.is_stuck else now + plan.seconds,
    )
    events: list[Event] = []
    if ask.background and not plan.is_stuck:
        ends_at = now + plan.seconds
        if plan.cancels_itself:
            events.append(_event(server, record, "cancelled", ends_at))
            ends_at += plan.then_completes_after or 0.0
        if not plan.cancels_itself or plan.then_completes_after is not None:
            events.append(_event(server, record, plan.status, ends_at))
    # Azure sends no webhooks.
    is_told = server.sender.url and not deployment
    server.store.accept(record, items, billed, events if is_told else [])
    server.sender.wake()
    return record


def _cancel(server: Server, record: Record, now: float) -> None:
    plan, old = record.plan, server.store.bill_of(record.id)
    usage = plan.usage.share(life.done(plan, accepted_at=record.accepted_at, at=now))
    counts_from = now
    events = [_event(server, record, "cancelled", now)]
    if plan.then_completes_after is not None:
        usage, counts_from = plan.usage, now + plan.then_completes_after
        events.append(_event(server, record, plan.status, counts_from))
    billed = Billed(
        project_id=old.project_id,
        api_key_id=old.api_key_id,
        model=old.model,
        service_tier=old.service_tier,
        completion_window=old.completion_window,
        day=old.day,
        usage=usage,
        lines=bill.lines(
            old.model,
            usage,
            tier=old.service_tier,
            window=old.completion_window,
            day=date.fromisoformat(old.day),
            searches=plan.searches,
        ),
        counts_from=counts_from,
    )
    is_told = server.sender.url and "sandbox_deployment" not in record.request
    server.store.cancel(record, at=now, billed=billed, events=events if is_told else [])
    server.sender.wake()


def _event(server: Server, record: Record, status: str, at: float) -> Event:
    fault = record.plan.webhook_fault
    return Event(
        id="evt_" + secrets.token_hex(16),
        webhook_id="wh_" + secrets.token_hex(16),
        response_id=record.id,
        type=f"response.{status}",
        created_at=at,
        due_at=at + delay_of(fault or server.sender.fault),
        fault=fault,
    )


def _prefix(item: dict[str, Any]) -> str:
    prefixes = {
        "message": "msg",
        "function_call": "fc",
        "function_call_output": "fco",
        "mcp_approval_response": "mcpa",
    }
    return prefixes.get(item["type"], "item")


async def _answer_post(
    request: web.Request, record: Record, wishes: Directives, *, is_background: bool
) -> web.StreamResponse:
    match wishes.fault:
        case "reset_after":
            raise cut(request)
        case "garbage":
            return web.Response(body=b'<!doctype html>\n{"id": ', content_type="text/html")
        case "hang":
            await asyncio.sleep(wishes.hang)
    if is_background:
        return web.Response(body=bodies.response(record, QUEUED), content_type="application/json")
    while not record.state(time.time()).is_end:
        left = record.accepted_at + record.plan.seconds - time.time()
        await asyncio.sleep(max(left, 0.0) or POLL_FOREGROUND)
    return _shown(record, time.time())
