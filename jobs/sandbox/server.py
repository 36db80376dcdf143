"""What every route shares: store, clock, faults and counters, and the gate each request passes."""

import asyncio
import hashlib
import json
import logging
import random
import secrets
import socket
import struct
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from aiohttp import web

from jobs.sandbox import azure, errors
from jobs.sandbox.errors import Refused
from jobs.sandbox.store import Store
from jobs.sandbox.webhooks import Sender

log = logging.getLogger("jobs.sandbox")

SERVER: web.AppKey["Server"] = web.AppKey("server")
LIMIT_REQUESTS, LIMIT_TOKENS = 10_000, 30_000_000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ConnectionCut(Exception):
    """The connection was aborted on purpose; there is nobody left to answer."""


@dataclass(slots=True)
class Faults:
    """Faults of the whole API, set at /sandbox/faults; delays in seconds."""

    down: bool = False
    http: str | None = None
    post_http: str | None = None
    get_http: str | None = None
    retry_after: str | None = None
    post_delay: float = 0.0
    get_delay: float = 0.0
    remaining_requests: int | None = None
    reset_requests: str = "6ms"


@dataclass(slots=True)
class Counters:
    """What came in since the start or the last reset; `gets_of` by response id."""

    posts: int = 0
    gets: int = 0
    cancels: int = 0
    deletes: int = 0
    counts: int = 0
    others: int = 0
    running: int = 0
    running_posts: int = 0
    max_concurrent: int = 0
    max_concurrent_posts: int = 0
    gets_of: Counter[str] = field(default_factory=Counter)
    cancels_of: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Server:
    """The sandbox's state; `speed` is virtual seconds per real second."""

    store: Store
    sender: Sender
    speed: float
    today: date | None = None
    faults: Faults = field(default_factory=Faults)
    counters: Counters = field(default_factory=Counters)
    # Not for secrets: it only varies durations.
    rng: random.Random = field(default_factory=random.SystemRandom)

    @property
    def shift(self) -> float:
        """Return how far the calendar stands from the real one, in seconds."""
        if self.today is None:
            return 0.0
        return float((self.today - datetime.now(UTC).date()).days * 86_400)

    def calendar_day(self) -> date:
        """Return the day that chooses prices and shutdowns."""
        return self.today or datetime.now(UTC).date()


def key_of(request: web.Request) -> str:
    """Return the bearer key, or Azure's key in a header of its own.

    Raises:
        Refused: 401 when it is missing, or begins with `sk-bad`.
    """
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if azure.is_asked(request) and "api-key" in request.headers:
        scheme, key = "bearer", request.headers["api-key"]
    key = key.strip()
    if scheme.lower() != "bearer" or not key or key.startswith("sk-bad"):
        raise errors.invalid_key()
    return key


def key_id(key: str) -> str:
    """Return the id under which the bill knows a key; it does not reveal the key."""
    return "key_" + hashlib.sha256(key.encode()).hexdigest()[:16]


def cut(request: web.Request) -> ConnectionCut:
    """Abort the connection with a reset; the caller raises what is returned."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        # Lingering for 0 s makes the kernel send RST where a plain close would send FIN.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return ConnectionCut()


async def body_of(request: web.Request) -> dict[str, Any]:
    """Read the JSON object of a request.

    Raises:
        Refused: 400 when it is none.
    """
    try:
        body = json.loads(await request.read() or b"{}")
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise errors.bad_request("We could not parse the JSON body of your request.")
    return body


def answer(value: Any, status: int = 200) -> web.Response:
    """Return a JSON response."""
    return web.Response(body=json.dumps(value).encode(), status=status, content_type="application/json")


@web.middleware
async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request pass: count it, apply the global faults, check the key, turn errors into bodies."""
    if not request.path.startswith(("/v1/", azure.ROOT)):
        return await _handled(request, handler)
    server = request.app[SERVER]
    counters, faults = server.counters, server.faults
    started = time.perf_counter()
    kind = _kind(request)
    setattr(counters, kind, getattr(counters, kind) + 1)
    is_post = kind == "posts"
    counters.running += 1
    counters.running_posts += is_post
    counters.max_concurrent = max(counters.max_concurrent, counters.running)
    counters.max_concurrent_posts = max(counters.max_concurrent_posts, counters.running_posts)
    try:
        if faults.down:
            raise cut(request)
        delay = faults.post_delay if is_post else faults.get_delay if kind == "gets" else 0.0
        if delay:
            await asyncio.sleep(delay)
        response = await _handled(request, handler, faults=faults, kind=kind)
    except ConnectionCut:
        return web.Response(status=499)  # goes nowhere: the transport is gone
    finally:
        counters.running -= 1
        counters.running_posts -= is_post
    headers = response.headers
    name = "apim-request-id" if azure.is_asked(request) else "x-request-id"
    headers[name] = "req_" + secrets.token_hex(16)
    headers["openai-processing-ms"] = str(int((time.perf_counter() - started) * 1000))
    headers["openai-version"] = "2020-10-01"
    headers["openai-organization"] = "org-practice"
    headers["x-ratelimit-limit-requests"] = str(LIMIT_REQUESTS)
    headers["x-ratelimit-limit-tokens"] = str(LIMIT_TOKENS)
    left = LIMIT_REQUESTS - 1 if faults.remaining_requests is None else faults.remaining_requests
    headers["x-ratelimit-remaining-requests"] = str(left)
    headers["x-ratelimit-remaining-tokens"] = str(LIMIT_TOKENS)
    headers["x-ratelimit-reset-requests"] = faults.reset_requests
    headers["x-ratelimit-reset-tokens"] = "0s"
    return response


def _kind(request: web.Request) -> str:
    path = request.path.removeprefix("/openai")
    if not path.startswith("/v1/responses"):
        return "others"
    if request.method == "GET":
        return "gets"
    if request.method == "DELETE":
        return "deletes"
    if path == "/v1/responses":
        return "posts"
    return "cancels" if path.endswith("/cancel") else "counts"


async def _handled(
    request: web.Request, handler: Handler, *, faults: Faults | None = None, kind: str = ""
) -> web.StreamResponse:
    try:
        if faults is not None:
            key_of(request)
            word = faults.http or {"posts": faults.post_http, "gets": faults.get_http}.get(kind)
            if word:
                raise errors.on_demand(word, model="unknown", code=None, retry_after=faults.retry_after)
        return await handler(request)
    except Refused as refused:
        return _refusal(request, refused)
    except web.HTTPNotFound:
        return _refusal(request, errors.unknown_url(request.method, request.path))
    except web.HTTPMethodNotAllowed:
        message = f"Not allowed to {request.method} on {request.path}."
        return _refusal(request, Refused(405, message, code="method_not_supported"))
    except web.HTTPRequestEntityTooLarge:
        return _refusal(request, Refused(413, "The request is too large."))
    except (ConnectionCut, web.HTTPException):
        raise
    except Exception as error:  # any bug here must look like one of the API's own
        # Neither message nor locals: both may hold a prompt.
        last = traceback.extract_tb(error.__traceback__)[-1]
        log.error("%s in %s line %s", type(error).__name__, last.name, last.lineno)
        return _refusal(request, errors.server_error())


def _refusal(request: web.Request, refused: Refused) -> web.Response:
    if refused.plain is not None:
        response = web.Response(text=refused.plain, status=refused.status, content_type="text/html")
    else:
        body = azure.error_of(refused) if azure.is_asked(request) else refused.body()
        response = answer(body, refused.status)
    response.headers.update(refused.headers)
    return response
