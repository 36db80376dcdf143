"""The routes about the account: the models it can call and what it was charged."""

import calendar
import time
from typing import Any

from aiohttp import web

from jobs.sandbox import bill, catalogue, errors
from jobs.sandbox.ask import model_called
from jobs.sandbox.catalogue import Model
from jobs.sandbox.server import SERVER, answer, key_of

GROUPS = ("project_id", "line_item", "api_key_id", "user_id", "api_source")
MAX_BUCKETS = 180


async def list_models(request: web.Request) -> web.StreamResponse:
    """List the models that can be called on this day; one past its shutdown is not there any more."""
    today = request.app[SERVER].calendar_day()
    return answer({"object": "list", "data": [_model(name, model) for name, model in catalogue.names(today)]})


async def retrieve_model(request: web.Request) -> web.StreamResponse:
    """Return one model with its shutdown date."""
    name = request.match_info["model"]
    return answer(_model(name, model_called(name, request.app[SERVER].calendar_day())))


async def costs(request: web.Request) -> web.StreamResponse:
    """Return daily costs from the sandbox's own bill, in USD; needs a key that begins with `sk-admin`."""
    if not key_of(request).startswith("sk-admin"):
        raise errors.not_an_admin_key()
    server = request.app[SERVER]
    query = request.query
    now = time.time() + server.shift
    start = _whole(query.get("page") or query.get("start_time"), "start_time") // bill.DAY * bill.DAY
    end = _whole(query.get("end_time") or str(int(now) + 1), "end_time")
    limit = _whole(query.get("limit", "7"), "limit")
    if not 1 <= limit <= MAX_BUCKETS:
        raise errors.bad_request(
            f"Invalid 'limit': expected an integer between 1 and {MAX_BUCKETS}.",
            param="limit",
            code="invalid_value",
        )
    groups = frozenset(_listed(query, "group_by"))
    for group in groups - set(GROUPS):
        raise errors.bad_request(
            f"Invalid value: '{group}'. Supported values are: {', '.join(GROUPS)}.",
            param="group_by",
            code="invalid_value",
        )
    stop = min(end, start + limit * bill.DAY)
    projects, keys = _listed(query, "project_ids"), _listed(query, "api_key_ids")
    rows = [
        row | {"at": row["at"] + server.shift}
        for row in server.store.billed(now=time.time())
        if (not projects or row["project_id"] in projects) and (not keys or row["api_key_id"] in keys)
    ]
    data = bill.buckets(
        [row for row in rows if start <= row["at"] < end], start=start, end=stop, group_by=groups
    )
    has_more = start + len(data) * bill.DAY < end
    return answer(
        {
            "object": "page",
            "data": data,
            "has_more": has_more,
            "next_page": str(start + len(data) * bill.DAY) if has_more else None,
        }
    )


def _model(name: str, model: Model) -> dict[str, Any]:
    dated = model.snapshot.removeprefix(model.id).strip("-") or "2026-09-01"
    return {
        "id": name,
        "object": "model",
        "created": calendar.timegm(time.strptime(dated, "%Y-%m-%d")),
        "owned_by": "system",
        "shutdown_date": model.shutdown_on.isoformat() if model.shutdown_on else None,
    }


def _whole(text: str | None, param: str) -> int:
    if text is None or not text.isascii() or not text.isdigit():
        raise errors.bad_request(
            f"Invalid '{param}': expected an integer.", param=param, code="invalid_value"
        )
    return int(text)


def _listed(query: Any, name: str) -> list[str]:
    # Clients write arrays as name=a&name=b, as name[]=a, or joined by commas.
    values = query.getall(name, []) + query.getall(f"{name}[]", [])
    return [part for value in values for part in value.split(",") if part]
