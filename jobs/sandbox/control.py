"""The routes under /sandbox: what tests set and what they assert against; no key is needed."""

import dataclasses
import json
import time
from decimal import Decimal
from typing import Any

from aiohttp import web

from jobs.sandbox import bill, errors
from jobs.sandbox.directives import HTTP_ANSWERS
from jobs.sandbox.server import SERVER, Counters, Faults, answer, body_of

_SWITCHES = frozenset(field.name for field in dataclasses.fields(Faults))


async def healthz(_request: web.Request) -> web.StreamResponse:
    """Say that the process serves."""
    return answer({"ok": True})


async def set_faults(request: web.Request) -> web.StreamResponse:
    """Change the global faults that are named, leave the others, and return all of them."""
    try:
        body = await body_of(request)
        for name in body.keys() - _SWITCHES:
            raise errors.bad_request(f"Unknown fault: '{name}'.", param=name, code="unknown_parameter")
        for name in ("http", "post_http", "get_http"):
            if body.get(name) is not None:
                body[name] = str(body[name])
                if body[name] not in HTTP_ANSWERS:
                    raise errors.bad_request(f"Invalid '{name}'.", param=name, code="invalid_value")
        if body.get("retry_after") is not None:
            body["retry_after"] = str(body["retry_after"])
    except errors.Refused as refused:
        return answer(refused.body(), refused.status)
    server = request.app[SERVER]
    server.faults = dataclasses.replace(server.faults, **body)
    return answer(dataclasses.asdict(server.faults))


async def reset(request: web.Request) -> web.StreamResponse:
    """Forget every response, bill, event, counter and fault."""
    server = request.app[SERVER]
    server.store.reset()
    server.faults, server.counters = Faults(), Counters()
    return answer({"ok": True})


async def change_bill(request: web.Request) -> web.StreamResponse:
    """Let the bill of a response differ (`factor`, `days` later, `places` to round to), or `add` a line.

    A factor multiplies amounts, as a change of price does; what is added was used by someone else.
    """
    store = request.app[SERVER].store
    try:
        body = await body_of(request)
        if add := body.get("add"):
            line = bill.Line(str(add["line_item"]), int(add["quantity"]), Decimal(str(add["amount"])))
            store.add_bill(
                line, at=time.time(), project_id=str(add["project_id"]), api_key_id=str(add["api_key_id"])
            )
            return answer({"ok": True})
        places = body.get("places")
        found = store.change_bill(
            str(body["response_id"]),
            factor=Decimal(str(body.get("factor", 1))),
            seconds=bill.DAY * float(body.get("days", 0)),
            places=None if places is None else int(places),
        )
    except errors.Refused as refused:
        return answer(refused.body(), refused.status)
    except (KeyError, TypeError, ValueError, ArithmeticError):
        wrong = errors.bad_request("No such change of a bill.")
        return answer(wrong.body(), wrong.status)
    return answer({"ok": found})


async def stats(request: web.Request) -> web.StreamResponse:
    """Return the counters since the start or the last reset."""
    counters = request.app[SERVER].counters
    hidden = ("gets_of", "cancels_of", "running", "running_posts")
    return answer(
        {
            field.name: getattr(counters, field.name)
            for field in dataclasses.fields(counters)
            if field.name not in hidden
        }
    )


async def log(request: web.Request) -> web.StreamResponse:
    """Return every accepted response with its counts and bill, and every POST; no prompts."""
    server, now = request.app[SERVER], time.time()
    responses, posts = server.store.log(now)
    return answer(
        {
            "responses": [
                {
                    "id": row["id"],
                    "created_at": row["accepted_at"],
                    "cancelled_at": row["cancelled_at"],
                    "deleted_at": row["deleted_at"],
                    "metadata": json.loads(row["request"]).get("metadata") or {},
                    "files": json.loads(row["request"]).get("sandbox_files") or [],
                    "status": _status(request, row["id"], now),
                    "posts": row["posts"],
                    "gets": server.counters.gets_of[row["id"]],
                    "cancels": server.counters.cancels_of[row["id"]],
                    "bill": _bill(row) if row["is_billed"] else None,
                }
                for row in responses
            ],
            "posts": [
                {
                    "at": row["at"],
                    "result": row["result"],
                    "response_id": row["response_id"],
                    "metadata": json.loads(row["metadata"]),
                }
                for row in posts
            ],
        }
    )


def _status(request: web.Request, response_id: str, now: float) -> str | None:
    record = request.app[SERVER].store.get(response_id)
    return record.state(now).status if record else None


def _bill(row: Any) -> dict[str, Any]:
    names = ("amount", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
    return {name: row[name] for name in names}
