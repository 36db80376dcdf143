"""Carry many requests at once on a thread of their own, for the length of one pump."""

import asyncio
import contextlib
import itertools
import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from . import sdk
from .endpoint import CONNECT_LIMIT, READ_LIMIT, Endpoint, connect, parse, time_limit, tls_context
from .errors import (
    Blocked,
    BorderError,
    NotSent,
    OutcomeUnknown,
    Rejected,
    Retryable,
    classify,
    request_id_of,
    rest_of,
)
from .tokens import Tokens

if TYPE_CHECKING:
    import openai

SEND_LIMIT = 60.0  # seconds for a whole POST: the SDK's timeouts start anew with every read
EXIT_LIMIT = 65.0  # seconds an exit waits for POSTs in progress
ID_LIMIT = 255  # characters of a response id
# Seconds for which one thread may keep the interpreter: with Python's own 5 ms whoever writes ends down waits
# that long for the session after each of its statements, and a fifth fewer are written.
SWITCH_INTERVAL = 0.0005

# What POST /responses/input_tokens takes; the rest of a body does not change the count.
_COUNTED = frozenset(
    {
        "conversation",
        "input",
        "instructions",
        "model",
        "parallel_tool_calls",
        "personality",
        "previous_response_id",
        "reasoning",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    }
)

type Act = Literal["create", "retrieve", "cancel"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome[K]:
    """How one act ended: `body` is the Response as the API wrote it, or `error` says why there is none."""

    key: K
    act: Act
    body: dict[str, Any] | None = field(default=None, repr=False)
    raw: bytes = field(default=b"", repr=False)
    request_id: str = ""
    input_tokens: int | None = None  # the exact count taken before a create
    error: BorderError | None = None
    elapsed: float = 0.0  # seconds of the request itself, without the wait for a free slot
    rest: float | None = None  # seconds that a rate limit leaves no more requests after this one


@dataclass(slots=True, eq=False)
class _Task[K]:
    number: int
    key: K
    act: Act
    endpoint: Endpoint
    work: Callable[["_Task[K]"], Awaitable[Outcome[K]]]
    began: float = 0.0  # monotonic seconds; 0 while it waits for a slot
    is_posting: bool = False  # from here on bytes of a create may have left
    input_tokens: int | None = None


class _Answer(Protocol):
    """What is used of the SDK's raw response."""

    @property
    def content(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


class Session[K]:
    """Send and read for one pump: `create`, `retrieve` and `cancel` return at once, `outcomes` collects.

    Use it as a context manager from one thread of a process that has forked. `on_created(key,
    response_id, request_id)` runs on the session's thread as soon as an answer is parsed; whatever it
    raises is logged and the answer kept. Leaving waits up to 65 s for POSTs in progress, drops reads,
    and gives creates that have not begun their POST back as NotSent; collect what
    is left with `outcomes(0)`.
    """

    def __init__(self, *, concurrency: int, on_created: Callable[[K, str, str], None] | None = None) -> None:
        self._on_created = on_created
        self._numbers = itertools.count()
        self._open: dict[int, Act] = {}  # touched by the caller's thread only
        self._done: queue.SimpleQueue[tuple[int, Outcome[K]]] = queue.SimpleQueue()
        self._running: dict[asyncio.Task[Outcome[K]], _Task[K]] = {}  # and the rest by the session's only
        self._clients: dict[Endpoint, openai.AsyncOpenAI] = {}
        self._tokens: dict[tuple[str, ...], Tokens] = {}  # by the command that gives them
        self._uncounted: set[Endpoint] = set()
        self._slots = asyncio.Semaphore(concurrency)
        self._stop = asyncio.Event()

    def __enter__(self) -> Self:
        sdk.load()
        self._tls = tls_context()
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL)
        self._loop = asyncio.new_event_loop()
        # A daemon: a worker that is told twice to stop must not be held up by a POST.
        self._thread = threading.Thread(target=self._run, name="openai-session", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget_reads()
        # Reads are broken off with the rest, in one sweep: a slot that comes free must start no POST now.
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        sys.setswitchinterval(self._switch_interval)

    def create(
        self,
        key: K,
        endpoint: Endpoint,
        body: dict[str, Any],
        *,
        count: bool = True,
        bound: int | None = None,
    ) -> None:
        """Send a body once, as it is, within 60 s. Never repeats it.

        With `count`, first ask for the exact number of input tokens (10 s); above `bound` tokens nothing
        is sent and the error is Rejected with code `input_over_bound`. A count that fails, or takes longer,
        is ignored, unless it shows that the key is refused or nobody is there: then nothing is sent either.
        """

        async def send(task: _Task[K]) -> Outcome[K]:
            return await self._create(task, body, count=count, bound=bound)

        self._begin(_Task(next(self._numbers), key, "create", endpoint, send))

    def retrieve(self, key: K, endpoint: Endpoint, response_id: str) -> None:
        """Read a response within 10 s."""

        async def read(task: _Task[K]) -> Outcome[K]:
            raw = self._client(endpoint).responses.with_raw_response
            return await self._exchange(
                task, lambda: raw.retrieve(response_id, timeout=time_limit(READ_LIMIT)), READ_LIMIT
            )

        self._begin(_Task(next(self._numbers), key, "retrieve", endpoint, read))

    def cancel(self, key: K, endpoint: Endpoint, response_id: str) -> None:
        """Ask within 10 s for a response to be cancelled; the body's status is what became of it."""

        async def ask(task: _Task[K]) -> Outcome[K]:
            raw = self._client(endpoint).responses.with_raw_response
            return await self._exchange(
                task, lambda: raw.cancel(response_id, timeout=time_limit(READ_LIMIT)), READ_LIMIT
            )

        self._begin(_Task(next(self._numbers), key, "cancel", endpoint, ask))

    def outcomes(self, timeout: float) -> list[Outcome[K]]:
        """Return all outcomes that are ready; wait up to `timeout` seconds for the first."""
        deadline = time.monotonic() + timeout
        ready: list[Outcome[K]] = []
        while True:
            wait = 0.0 if ready else max(0.0, deadline - time.monotonic())
            try:
                number, outcome = self._done.get(timeout=wait)
            except queue.Empty:
                return ready
            if self._open.pop(number, None):  # an abandoned read may still come in
                ready.append(outcome)

    def abandon_reads(self) -> None:
        """Break off every retrieve and cancel and forget their outcomes; creates go on."""
        self._forget_reads()
        self._loop.call_soon_threadsafe(self._break_off, lambda task: task.act != "create")

    @property
    def in_progress(self) -> int:
        """Acts begun whose outcome has not been collected yet."""
        return len(self._open)

    @property
    def sending(self) -> int:
        """Creates begun whose outcome has not been collected yet."""
        return sum(act == "create" for act in self._open.values())

    def _begin(self, task: _Task[K]) -> None:
        self._loop.call_soon_threadsafe(self._start, task)
        self._open[task.number] = task.act

    def _forget_reads(self) -> None:
        self._open = {number: act for number, act in self._open.items() if act == "create"}

    # From here on everything runs on the session's thread.

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        await self._stop.wait()
        self._break_off(lambda task: not task.is_posting)
        await self._ended(EXIT_LIMIT)
        self._break_off(lambda _: True)
        await self._ended(None)
        for client in self._clients.values():
            await client.close()
        for tokens in self._tokens.values():
            await tokens.close()
        # Threads of the resolver: one that hangs in a dead DNS must not hold the worker up.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._loop.shutdown_default_executor(), CONNECT_LIMIT)

    def _start(self, task: _Task[K]) -> None:
        running = self._loop.create_task(self._work(task))
        self._running[running] = task
        running.add_done_callback(self._end)

    async def _work(self, task: _Task[K]) -> Outcome[K]:
        try:
            if tokens := self._tokens_of(task.endpoint):
                # Before the time limit of any request, and before a byte of a create. And before a slot, or
                # a command that hangs would keep all other connections waiting.
                await tokens.get()
            async with self._slots:
                task.began = time.monotonic()
                return await task.work(task)
        except Exception as exc:
            error = classify(exc, sending=task.is_posting)
        return _outcome(task, error=error)

    def _end(self, running: asyncio.Task[Outcome[K]]) -> None:
        task = self._running.pop(running)
        if not running.cancelled():
            outcome = running.result()
        elif task.is_posting:
            error: BorderError = OutcomeUnknown("The answer was not awaited.", code="abandoned")
            outcome = _outcome(task, error=error)
        else:
            outcome = _outcome(task, error=NotSent("Nothing was sent.", code="not_sent"))
        self._done.put((task.number, outcome))

    async def _ended(self, limit: float | None) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=limit)

    def _break_off(self, is_meant: Callable[[_Task[K]], bool]) -> None:
        for running, task in self._running.items():
            if is_meant(task):
                running.cancel()

    async def _create(
        self, task: _Task[K], body: dict[str, Any], *, count: bool, bound: int | None
    ) -> Outcome[K]:
        client = self._client(task.endpoint)
        try:
            json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as exc:
            # The SDK would fail on it in the same way, but then no longer surely before the first byte.
            raise Rejected(
                f"The body is no JSON in UTF-8 ({type(exc).__name__}).", code="unsendable"
            ) from None
        if count:
            task.input_tokens = await self._count(task.endpoint, body)
        if task.input_tokens is not None and bound is not None and task.input_tokens > bound:
            message = f"The input has {task.input_tokens} tokens, more than the {bound} that were held."
            raise Rejected(message, code="input_over_bound")
        named = {name: value for name, value in body.items() if name in sdk.create_parameters}
        extra = {name: value for name, value in body.items() if name not in sdk.create_parameters}
        raw = client.responses.with_raw_response
        task.began, task.is_posting = time.monotonic(), True
        outcome = await self._exchange(
            task,
            lambda: raw.create(**named, extra_body=extra or None, timeout=time_limit(SEND_LIMIT)),
            SEND_LIMIT,
        )
        if self._on_created and outcome.body:
            try:
                self._on_created(task.key, outcome.body["id"], outcome.request_id)
            except Exception as exc:
                logger.error("A new response could not be put on record (%s).", type(exc).__name__)
        return outcome

    async def _count(self, endpoint: Endpoint, body: dict[str, Any]) -> int | None:
        if endpoint in self._uncounted:
            return None
        count = self._client(endpoint).responses.input_tokens.with_raw_response.count
        fields = {name: value for name, value in body.items() if name in _COUNTED}
        try:
            async with asyncio.timeout(READ_LIMIT):
                answer = await self._signed_in(
                    endpoint, lambda: count(**fields, timeout=time_limit(READ_LIMIT))
                )
        except (sdk.openai.AuthenticationError, Blocked):
            raise
        except Exception as exc:
            if isinstance(exc.__cause__, (sdk.httpx2.ConnectError, sdk.httpx2.ConnectTimeout)):
                raise
            is_absent = isinstance(exc, sdk.openai.APIStatusError) and exc.status_code in (404, 405, 501)
            if is_absent and endpoint.kind != "openai":
                # It has no such count; asking once more for each job would only use up its limits.
                self._uncounted.add(endpoint)
            # A timeout proves nothing: a body of 30 MB takes longer than this on a slow uplink.
            return None
        tokens = (parse(answer.content) or {}).get("input_tokens")
        return tokens if type(tokens) is int and tokens >= 0 else None

    async def _signed_in(self, endpoint: Endpoint, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Ask once, and again with a new token where a token is refused: then nothing was accepted."""
        try:
            return await ask()
        except sdk.openai.AuthenticationError as exc:
            refused = exc.request.headers.get("authorization", "").removeprefix("Bearer ")
            tokens = self._tokens_of(endpoint)
            if tokens is None or not await tokens.renew(refused):
                raise
        return await ask()

    async def _exchange(
        self, task: _Task[K], ask: Callable[[], Awaitable[_Answer]], limit: float
    ) -> Outcome[K]:
        async with asyncio.timeout(limit):
            answer = await self._signed_in(task.endpoint, ask)
        body, request_id = parse(answer.content), request_id_of(answer.headers)
        if body is None or not _is_response(body):
            ambiguous = OutcomeUnknown if task.is_posting else Retryable
            raise ambiguous("The answer is no Response with an id.", code="garbage", request_id=request_id)
        return _outcome(
            task, body=body, raw=answer.content, request_id=request_id, rest=rest_of(answer.headers)
        )

    def _client(self, endpoint: Endpoint) -> "openai.AsyncOpenAI":
        if endpoint not in self._clients:
            self._clients[endpoint] = connect(endpoint, self._tls, self._tokens_of(endpoint))
        return self._clients[endpoint]

    def _tokens_of(self, endpoint: Endpoint) -> Tokens | None:
        command = endpoint.token_command
        return self._tokens.setdefault(command, Tokens(command)) if command else None


def _outcome[K](
    task: _Task[K],
    *,
    body: dict[str, Any] | None = None,
    raw: bytes = b"",
    request_id: str = "",
    rest: float | None = None,
    error: BorderError | None = None,
) -> Outcome[K]:
    if error is not None:
        # Its frames hold the key and the prompt.
        error.with_traceback(None)
        error.__context__ = None
        request_id = error.request_id
    elapsed = time.monotonic() - task.began if task.began else 0.0
    return Outcome(task.key, task.act, body, raw, request_id, task.input_tokens, error, elapsed, rest)


def _is_response(body: dict[str, Any]) -> bool:
    response_id = body.get("id")
    return (
        body.get("object", "response") == "response"
        and isinstance(response_id, str)
        and 0 < len(response_id) <= ID_LIMIT
        and response_id.isascii()
        and response_id.isprintable()
    )
