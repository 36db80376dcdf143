"""The border: real wire JSON through the real SDK, from a server that can break every way one can."""

import asyncio
import base64
import contextlib
import email.utils
import json
import logging
import os
import re
import ssl
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import httpx2
import openai
import pytest

from jobs import openai_client
from jobs.openai_client import (
    THREAD_FORGOTTEN,
    Blocked,
    BorderError,
    Endpoint,
    NotFound,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Rejected,
    Retryable,
    Session,
    classify,
    endpoint,
    errors,
    guard,
    session,
)

KEY = "sk-canary-0123456789abcdef"
PROMPT = "Why do canaries sing in coal mines at dawn?"
BODY: dict[str, Any] = {
    "model": "o3-pro",
    "input": [{"role": "user", "content": [{"type": "input_text", "text": PROMPT}]}],
    "reasoning": {"effort": "high"},
    "background": True,
    "store": True,
    "service_tier": "default",
    "max_output_tokens": 1000,
    "metadata": {"nonce": "n1"},
}
QUEUED = {"id": "resp_1", "object": "response", "status": "queued", "output": [], "usage": None}


def wire_error(message: str = "No.", **fields: Any) -> dict[str, Any]:
    """Return an error body in OpenAI's shape."""
    return {
        "error": {"type": "invalid_request_error", "param": None, "code": None, "message": message} | fields
    }


@dataclass
class Reply:
    """What the server does with one request."""

    body: Any = field(default_factory=lambda: QUEUED)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None  # the Content-Length to claim
    fault: str = ""  # abort, hang or drip, instead of the end of the body


class Wire:
    """A raw HTTP/1.1 server on a thread of its own, which keeps what reached it."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.replies: dict[str, Reply | Callable[[], Reply]] = {}
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.connections = 0
        self.refuses = False  # to read anything at all
        self.slow_uplink: threading.Event | None = None  # what comes after a head is read only once it is set
        self.active = self.peak = 0
        self.arrived = threading.Condition()
        self.release = threading.Event()
        self.release.set()
        self.hold = 0  # answer GETs only once so many are active
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._held = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="wire"))
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def posts(self, path: str = "/v1/responses") -> list[dict[str, Any]]:
        """Return the bodies that were posted to a path."""
        return [json.loads(body) for method, at, _, body in self.requests if (method, at) == ("POST", path)]

    def wait_for(self, count: int) -> None:
        """Wait until so many requests have arrived in full."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, 10)

    def wait_for_connections(self, count: int) -> None:
        """Wait until so many connections have been opened."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: self.connections >= count, 10)

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with self.arrived:
            self.connections += 1
            self.arrived.notify_all()
        try:
            # ConnectionError: the client went away, which some tests make it do.
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while not self.refuses:
                    await self._answer(reader, writer)
            writer.transport.abort()
        except asyncio.CancelledError:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        headers = {
            name.lower(): value for name, value in re.findall(r"^([\w-]+): (.*?)\r?$", head, re.MULTILINE)
        }
        if self.slow_uplink is not None:
            await asyncio.to_thread(self.slow_uplink.wait, 10)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        with self.arrived:
            self.requests.append((method, path, headers, body))
            self.arrived.notify_all()
        self.active += 1
        self.peak = max(self.peak, self.active)
        if method == "GET" and self.hold:
            if self.active >= self.hold:
                self._held.set()
            await self._held.wait()
        reply = self.replies.get(path, Reply())
        if callable(reply):
            reply = reply()
        if reply.fault == "hang":
            await asyncio.Event().wait()
        await asyncio.to_thread(self.release.wait)
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        lines = {"content-type": "application/json", "x-request-id": "req_1"} | reply.headers
        lines["content-length"] = str(len(content) if reply.length is None else reply.length)
        self.active -= 1
        if reply.fault == "abort" and not content:
            raise ConnectionAbortedError
        writer.write(f"HTTP/1.1 {reply.status} X\r\n".encode())
        writer.write("".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode() + b"\r\n")
        writer.write(content)
        await writer.drain()
        while reply.fault == "drip":
            writer.write(b" ")
            await asyncio.sleep(0.02)
        if reply.fault == "abort":
            raise ConnectionAbortedError


@pytest.fixture(scope="module", autouse=True)
def one_tls_context() -> Iterator[None]:
    """Share what takes 50 ms to make among a hundred sessions."""
    openai_client.load()
    context = endpoint.tls_context()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "tls_context", lambda: context)
        patch.setattr(endpoint, "tls_context", lambda: context)
        yield


@pytest.fixture
def wire() -> Iterator[Wire]:
    server = Wire()
    yield server
    server.release.set()
    server.close()


@pytest.fixture
def at(wire: Wire) -> Endpoint:
    return Endpoint("openai", wire.url, KEY)


def send(at: Endpoint, body: dict[str, Any] = BODY, **options: Any) -> Outcome[int]:
    """Send one body through a session of its own; return its only outcome."""
    with Session[int](concurrency=4) as pump:
        pump.create(1, at, body, **({"count": False} | options))
        (outcome,) = pump.outcomes(10)
    return outcome


def read(at: Endpoint, act: str = "retrieve") -> Outcome[int]:
    """Retrieve or cancel resp_1 through a session of its own; return its only outcome."""
    with Session[int](concurrency=4) as pump:
        getattr(pump, act)(1, at, "resp_1")
        (outcome,) = pump.outcomes(10)
    return outcome


def secrets_in(error: BaseException) -> list[str]:
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
    return [secret for secret in (KEY, PROMPT) if secret in shown]


# The SDK is loaded late and quietly


def test_importing_the_module_does_not_import_openai_and_loading_it_touches_no_logging() -> None:
    script = """
import logging, os, sys
from jobs import openai_client
assert not {"openai", "httpx2"} & set(sys.modules)
openai_client.load()
assert {"openai", "httpx2"} <= set(sys.modules)
assert "aiohttp" not in sys.modules
assert not logging.getLogger().handlers
assert not logging.getLogger("openai._base_client").isEnabledFor(logging.INFO)
assert not logging.getLogger("httpx2").isEnabledFor(logging.INFO)
assert not logging.getLogger("httpcore2.http11").isEnabledFor(logging.DEBUG)
assert "OPENAI_CUSTOM_HEADERS" not in os.environ
"""
    environment = os.environ | {"OPENAI_LOG": "debug", "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer other"}
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], env=environment, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_hidden_module_looks_absent_meanwhile_unless_it_is_loaded() -> None:
    with pytest.raises(ImportError), openai_client.sdk._hidden("this"):
        import_module("this")
    assert "this" not in sys.modules
    with openai_client.sdk._hidden("json"):
        assert import_module("json") is json


def test_loading_twice_changes_nothing() -> None:
    openai_client.load()
    before = openai_client.sdk.create_parameters
    openai_client.load()
    assert openai_client.sdk.create_parameters is before
    assert {"model", "input", "background", "store"} <= before
    assert not {"self", "timeout", "extra_body"} & before


# What an exception means


def raised(answer: Any, *, sending: bool, key: str = KEY, prompt: Any = PROMPT) -> Exception:
    """Return what the real SDK raises when the transport gives this answer, an exception or a response."""

    def respond(request: httpx2.Request) -> httpx2.Response:
        if isinstance(answer, Exception):
            raise answer
        status, content, headers = answer
        if isinstance(content, dict | list):
            content = json.dumps(content).encode()
        return httpx2.Response(status, content=content, headers={"x-request-id": "req_1"} | headers)

    http = httpx2.Client(transport=httpx2.MockTransport(respond), follow_redirects=False)
    with openai.OpenAI(api_key=key, base_url="http://api/v1", max_retries=0, http_client=http) as client:
        try:
            if sending:
                client.responses.create(model="o3-pro", input=prompt)
            else:
                client.responses.retrieve("resp_1")
        except Exception as exc:
            return exc
    raise AssertionError("the SDK took it for an answer")


def api(
    status: int, message: str = "No.", *, headers: dict[str, str] | None = None, **fields: Any
) -> tuple[Any, ...]:
    """Return an answer with an error body in OpenAI's shape."""
    return status, wire_error(message, **fields), headers or {}


NO_BODY = b"<html>nginx</html>"
# what a create of it means, what a read of it means → why, the answer, the code
CASES: dict[tuple[type[BorderError], type[BorderError]], list[tuple[str, Any, str]]] = {
    (Retryable, Retryable): [
        ("DNS, refused or TLS: no byte left", httpx2.ConnectError("refused"), "connect_error"),
        ("no connection, no byte", httpx2.ConnectTimeout("x"), "connect_timeout"),
        ("no free connection, no byte", httpx2.PoolTimeout("x"), "pool_timeout"),
        ("rate limit", api(429, code="rate_limit_exceeded"), "rate_limit_exceeded"),
        ("ramping up", api(429, type="rate_limit_error", code="slow_down"), "slow_down"),
        ("a proxy's rate limit", (429, NO_BODY, {}), "http_429"),
        ("overloaded, says when to come back", api(503, code="o", headers={"retry-after": "7"}), "o"),
    ],
    (OutcomeUnknown, Retryable): [
        ("the request was out", httpx2.ReadTimeout("x"), "timeout"),
        ("a part of the request may be out", httpx2.WriteTimeout("x"), "timeout"),
        ("reset while waiting", httpx2.ReadError("x"), "connection_lost"),
        ("reset while writing", httpx2.WriteError("x"), "connection_lost"),
        ("closed or garbled", httpx2.RemoteProtocolError("x"), "connection_lost"),
        ("an accident of the SDK's", RuntimeError("x"), "unexpected"),
        ("not an answer to what we asked", (101, b"", {}), "http_101"),
        ("a proxy's word: perhaps accepted", api(408, code="late"), "late"),
        ("a conflict with what is perhaps ours", api(409, code="busy"), "busy"),
        ("broke down, perhaps after accepting", api(500, code="server_error"), "server_error"),
        ("a proxy gave up waiting", (502, NO_BODY, {}), "http_502"),
        ("overloaded, perhaps after accepting", api(503, code="o"), "o"),
        ("no Retry-After", api(503, code="o", headers={"x-ratelimit-reset-requests": "1s"}), "o"),
    ],
    (Blocked, Blocked): [
        ("it would replay the body elsewhere", (307, b"", {"location": "http://b/"}), "http_307"),
        ("any redirect, also a moved page", (301, b"", {"location": "/x"}), "http_301"),
        ("refused key", api(401, code="invalid_api_key"), "invalid_api_key"),
        ("refused key, no body", (401, NO_BODY, {}), "http_401"),
        ("no money, as other makes say it", api(402, type=None), "http_402"),
        ("Azure: a refused key", (401, {"error": {"code": "401", "message": "Access denied"}}, {}), "401"),
        (
            "Azure: no role",
            (401, {"error": {"code": "PermissionDenied", "message": "x"}}, {}),
            "PermissionDenied",
        ),
        ("Azure: a token", (401, {"statusCode": 401, "message": "Access token is missing"}, {}), "http_401"),
        ("wrong method: wrong address", (405, NO_BODY, {}), "http_405"),
        ("wrong method, in OpenAI's words", api(405, code="no"), "no"),
        ("a proxy wants a password", (407, NO_BODY, {}), "http_407"),
        ("quota, by its type", api(429, type="insufficient_quota"), "insufficient_quota"),
        ("quota, by its code", api(429, code="insufficient_quota"), "insufficient_quota"),
        ("no credit", api(429, code="credit_balance_exhausted"), "credit_balance_exhausted"),
        ("a cap", api(429, code="organization_spend_limit_exceeded"), "organization_spend_limit_exceeded"),
        ("a cap", api(429, code="project_spend_limit_exceeded"), "project_spend_limit_exceeded"),
        ("a cap", api(429, code="organization_usage_limit_exceeded"), "organization_usage_limit_exceeded"),
        (
            "a cap that comes as a 400",
            api(400, code="billing_hard_limit_reached"),
            "billing_hard_limit_reached",
        ),
        ("a wall in front of the API", (403, NO_BODY, {}), "http_403"),
        ("a scope, not a model", api(403, "Missing scopes: model.request", code="x"), "x"),
        ("no such path, no such API", (404, {"detail": "Not Found"}, {}), "http_404"),
        ("an error that is a mere string", (404, {"error": "Not Found"}, {}), "http_404"),
        ("an error that says nothing", (404, {"error": {"type": "x"}}, {}), "http_404"),
        ("a body that is a list", (404, ["error"], {}), "http_404"),
        ("OpenAI on a wrong base URL", api(404, "Invalid URL (POST /v1/v1/responses)", code="u"), "u"),
        ("Azure on it", (404, {"error": {"code": "404", "message": "Resource not found"}}, {}), "404"),
    ],
    (Rejected, Rejected): [
        ("content refused", api(400, code="unsupported_value"), "unsupported_value"),
        (
            "Azure's filter of content",
            (400, {"error": {"code": "content_filter", "message": "Filtered", "param": "prompt"}}, {}),
            "content_filter",
        ),
        ("content refused by a server of another make", (422, {"detail": "x"}, {}), "http_422"),
        ("too large for a proxy", (413, NO_BODY, {}), "http_413"),
        ("a code that is no word is not repeated", api(400, code="a b\n"), "invalid_request_error"),
        ("codes of another make are numbers", api(400, code=400), "400"),
        ("fields of odd types", api(400, code=[1], type={"a": 1}), "http_400"),
    ],
    (Rejected, Blocked): [
        ("the model is not ours", api(403, "Project p has no access to model o3-pro", code="x"), "x"),
    ],
    (Rejected, Retryable): [
        ("one prompt above a limit per minute never fits", api(429, "Request too large for", code="x"), "x"),
    ],
    (Rejected, NotFound): [
        ("the model is gone", api(404, code="model_not_found"), "model_not_found"),
        (
            "Azure's deployment is gone",
            (404, {"error": {"code": "DeploymentNotFound", "message": "It does not exist."}}, {}),
            "DeploymentNotFound",
        ),
        ("the model, by its parameter", api(404, param="model", code="gone"), "gone"),
        ("the model, by the text", api(404, "The model `o9` does not exist", code="gone"), "gone"),
        ("another thing the job names is gone", api(404, "No file", code="gone"), "gone"),
    ],
}


NOT_FOUND = "Previous response with id 'resp_1' not found."


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(api(400, NOT_FOUND, code=THREAD_FORGOTTEN), id="by its code"),
        pytest.param(api(404, NOT_FOUND), id="as a 404"),
        pytest.param(api(400, "No.", param="previous_response_id", code="x"), id="by its parameter"),
        pytest.param(api(404, "No model.", param="previous_response_id"), id="whatever the text says"),
        pytest.param(api(400, "No tool output found for function call call_1."), id="an open call"),
        pytest.param(api(400, "No tool call found for function call output."), id="a call Azure has lost"),
    ],
)
def test_a_create_whose_thread_is_not_known_was_surely_not_accepted(answer: Any) -> None:
    error = classify(raised(answer, sending=True), sending=True)
    assert (type(error), error.code) == (Rejected, THREAD_FORGOTTEN)


@pytest.mark.parametrize(
    ("answer", "sending"),
    [
        (api(400, "The previous response is odd.", code="x"), True),
        (api(409, NOT_FOUND, code="x"), True),
        (api(404, NOT_FOUND, code="x"), False),
    ],
)
def test_nothing_else_is_taken_for_a_thread_that_is_not_known(answer: Any, sending: bool) -> None:
    assert classify(raised(answer, sending=sending), sending=sending).code == "x"


@pytest.mark.parametrize(
    ("sent", "was_read", "why", "answer", "code"),
    [
        pytest.param(sent, was_read, *row, id=f"{sent.__name__}-{row[0]}")
        for (sent, was_read), rows in CASES.items()
        for row in rows
    ],
)
def test_each_failure_means_one_thing(
    sent: type[BorderError], was_read: type[BorderError], why: str, answer: Any, code: str
) -> None:
    for sending, expected in ((True, sent), (False, was_read)):
        error = classify(raised(answer, sending=sending), sending=sending)
        assert (type(error), error.code) == (expected, code), why
        assert error.message
        assert len(error.message) <= 500
        assert error.request_id == ("" if isinstance(answer, Exception) else "req_1")
        assert secrets_in(error) == []


def test_our_own_time_limit_is_a_timeout() -> None:
    assert type(classify(TimeoutError(), sending=True)) is OutcomeUnknown
    assert type(classify(TimeoutError(), sending=False)) is Retryable


def test_a_border_error_is_itself() -> None:
    error = Rejected("No.", code="x")
    assert classify(error, sending=True) is error
    assert str(error) == "x: No."


def test_what_the_socket_says_is_kept_for_the_operator() -> None:
    error = classify(raised(httpx2.ConnectError("[SSL] self-signed certificate"), sending=True), sending=True)
    assert "self-signed certificate" in error.message


NOW = 1_800_000_000.0


def http_date(seconds: float) -> str:
    """Return a moment so many seconds from NOW as HTTP writes it."""
    return email.utils.formatdate(NOW + seconds, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "999999"}, 3600),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": http_date(100)}, 100),
        ({"retry-after": http_date(-100)}, 0),
        ({"retry-after": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, None),
        ({"retry-after-ms": "1500", "retry-after": "60"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "60"}, 60),
        ({"x-ratelimit-reset-requests": "120ms", "x-ratelimit-reset-tokens": "6m1s"}, 361),
        ({"x-ratelimit-reset-requests": "1h0m0s", "x-ratelimit-reset-tokens": "?"}, 3600),
        ({"x-ratelimit-reset-tokens": "2d"}, 3600),
        ({"x-ratelimit-reset-requests": "27"}, 27),
        ({"x-rate-limit-reset-tokens": "55", "x-ratelimit-reset-requests": "-1"}, 55),
        ({"x-ratelimit-reset-tokens": "6m1s", "retry-after": "2"}, 2),
    ],
)
def test_the_wait_a_rate_limit_asks_for(
    headers: dict[str, str], expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    exc = raised(api(429, headers=headers), sending=True)
    monkeypatch.setattr(errors.time, "time", lambda: NOW)
    assert classify(exc, sending=True).retry_after == expected


@pytest.mark.parametrize(
    ("message", "headers", "expected"),
    [
        ("Your requests have exceeded the token rate limit. Please retry after 45 seconds.", {}, 45),
        ("Please retry after 86400 seconds.", {}, 3600),
        ("Please retry after 45 seconds.", {"retry-after": "2"}, 2),
        ("Please retry after 45 seconds.", {"x-ratelimit-reset-tokens": "7"}, 7),
        ("Please retry after lunch.", {}, None),
    ],
)
def test_azure_may_say_in_words_how_long_to_wait(
    message: str, headers: dict[str, str], expected: float | None
) -> None:
    exc = raised((429, {"error": {"code": "429", "message": message}}, headers), sending=True)
    error = classify(exc, sending=True)
    assert isinstance(error, Retryable)
    assert (error.code, error.retry_after) == ("429", expected)


def test_a_deployment_that_is_not_there_is_named() -> None:
    body = {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}
    error = classify(raised((404, body, {}), sending=True), sending=True)
    assert error.message == "There is no deployment named 'o3-pro'. The API deployment does not exist."


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"x-ratelimit-remaining-requests": "-1", "x-ratelimit-reset-requests": "0"}, None),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "20s"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20s"}, 20),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "27"}, 27),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6h"}, 60),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "soon"}, None),
        ({"x-ratelimit-remaining-requests": "0"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-requests": "20s"}, None),
    ],
)
def test_an_answer_that_took_the_last_request_says_for_how_long(
    wire: Wire, at: Endpoint, headers: dict[str, str], expected: float | None
) -> None:
    wire.replies["/v1/responses"] = wire.replies["/v1/responses/resp_1"] = Reply(headers=headers)
    assert [send(at).rest, read(at).rest] == [expected, expected]


@pytest.mark.parametrize("status", [302, 404, 405, 500])
def test_an_error_keeps_the_status_it_came_with(status: int) -> None:
    assert classify(raised(api(status), sending=False), sending=False).status == status
    assert classify(TimeoutError(), sending=False).status == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"param": "background_options.completion_window", "code": "unsupported_value"},
        {"param": "background_options", "code": "unknown_parameter"},
        {"message": "The completion window '2h' is not supported with this model."},
    ],
)
def test_a_refused_completion_window_is_called_so(fields: dict[str, str]) -> None:
    body = wire_error(**fields)
    error = classify(raised((400, body, {}), sending=True), sending=True)
    assert (type(error), error.code) == (Rejected, "completion_window_refused")
    other = classify(
        raised((400, wire_error("Your context window is full."), {}), sending=True), sending=True
    )
    assert other.code != "completion_window_refused"


def test_azures_request_id_is_used_when_there_is_no_other() -> None:
    assert errors.request_id_of({"apim-request-id": "a" * 200}) == "a" * 100


LONG = "The quick brown fox jumps over the lazy dog near the river bank tonight."


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"Incorrect API key provided: {KEY}.", "Incorrect API key provided: […]."),
        ("Incorrect API key provided: sk-proj-ab**********wxyz. Go.", "Incorrect API key provided: […] Go."),
        (f"Cannot read '{LONG}'", "Cannot read '[…]'"),
        ("Cannot read 'quick brown fox jumps over'", "Cannot read '[…]'"),
        ("Input ends …bank tonight.", "Input ends …bank tonight."),  # below 16 characters in a row
        ("Invalid type input_text of a user", "Invalid type input_text of a user"),  # the API's words
        ("No NUL \x00 or \ud800.", "No NUL   or  ."),
        ("x" * 3000, "x" * 500),
    ],
)
def test_an_upstream_message_shows_neither_key_nor_prompt(message: str, shown: str) -> None:
    prompt = [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": LONG},
                {"type": "input_image", "detail": "low", "image_url": "data:image/png;base64,AAAA"},
            ],
        },
        {"role": "user", "content": "no"},  # too short to say anything
    ]
    exc = raised((400, wire_error(message), {}), sending=True, prompt=prompt)
    assert classify(exc, sending=True).message == shown


def test_an_upstream_message_shows_nothing_of_a_files_bytes() -> None:
    encoded, other = base64.b64encode(bytes(range(200))).decode(), "0123456789abcdef" * 5
    prompt = [{"role": "user", "content": [{"type": "input_image", "image_url": f"data:x;base64,{encoded}"}]}]
    message = f"Cannot decode data:x;base64,{encoded[:120]}... See {other}."
    exc = raised((400, wire_error(message), {}), sending=True, prompt=prompt)
    assert classify(exc, sending=True).message == f"Cannot decode data:x;base64,[…]... See {other}."


def test_a_placeholder_for_a_key_is_a_word_like_any_other() -> None:
    exc = raised((400, wire_error("effort none"), {}), sending=True, key="none")
    assert classify(exc, sending=True).message == "effort none"


# Sending


def test_a_body_goes_out_once_as_it_is_and_comes_back_as_a_plain_dict(wire: Wire) -> None:
    body = BODY | {"a_field_of_tomorrow": {"x": 1}, "timeout": "a field too"}
    outcome = send(Endpoint("openai", wire.url, KEY, organization="org_1", project="proj_1"), body)
    assert wire.posts() == [body]
    ((method, path, headers, _),) = wire.requests
    assert (method, path) == ("POST", "/v1/responses")
    assert headers["authorization"] == f"Bearer {KEY}"
    assert (headers["openai-organization"], headers["openai-project"]) == ("org_1", "proj_1")
    assert headers["x-stainless-retry-count"] == "0"
    assert (outcome.key, outcome.act, outcome.body, outcome.error) == (1, "create", QUEUED, None)
    assert (json.loads(outcome.raw), outcome.request_id, outcome.input_tokens) == (QUEUED, "req_1", None)
    assert 0 < outcome.elapsed < 10


def test_azure_is_spoken_to_at_its_v1_address(wire: Wire) -> None:
    outcome = send(Endpoint("azure", f"http://127.0.0.1:{wire.port}/openai/v1/", KEY))
    assert outcome.error is None
    assert [path for _, path, _, _ in wire.requests] == ["/openai/v1/responses"]


def test_the_environment_adds_nothing(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "of-the-environment")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    assert send(Endpoint("compatible", wire.url, "")).error is None
    ((_, _, headers, _),) = wire.requests
    assert "of-the-environment" not in str(headers)
    assert headers["authorization"] == "Bearer none"
    assert "openai-organization" not in headers


COUNT = "/v1/responses/input_tokens"


def test_the_exact_count_is_asked_for_the_same_input_before_sending(wire: Wire, at: Endpoint) -> None:
    wire.replies[COUNT] = Reply({"object": "response.input_tokens", "input_tokens": 42})
    outcome = send(at, count=True, bound=42)
    assert (outcome.error, outcome.input_tokens) == (None, 42)
    assert wire.posts(COUNT) == [{name: BODY[name] for name in ("model", "input", "reasoning")}]
    assert [path for _, path, _, _ in wire.requests] == [COUNT, "/v1/responses"]


def test_an_input_above_its_bound_is_not_sent(wire: Wire, at: Endpoint) -> None:
    wire.replies[COUNT] = Reply({"input_tokens": 43})
    outcome = send(at, count=True, bound=42)
    assert isinstance(outcome.error, Rejected)
    assert (outcome.error.code, outcome.input_tokens) == ("input_over_bound", 43)
    assert wire.posts() == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply(wire_error(), status=404),
        Reply(wire_error(type="insufficient_quota"), status=429),
        Reply(status=500),
        Reply(b"no json"),
        Reply({"input_tokens": True}),
        Reply({"input_tokens": -1}),
        Reply({"input_tokens": "5"}),
    ],
)
def test_a_count_that_fails_is_ignored(wire: Wire, at: Endpoint, reply: Reply) -> None:
    wire.replies[COUNT] = reply
    outcome = send(at, count=True, bound=0)
    assert (outcome.error, outcome.input_tokens) == (None, None)
    assert len(wire.posts(COUNT)) == len(wire.posts()) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"", fault="abort"),
        Reply(b"{", length=100, fault="abort"),
        Reply(fault="hang"),
        Reply(b"{", length=10**6, fault="drip"),
    ],
)
def test_a_count_that_breaks_or_takes_too_long_keeps_nothing_from_being_sent(
    wire: Wire, at: Endpoint, reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "READ_LIMIT", 0.3)
    wire.replies[COUNT] = reply
    outcome = send(at, count=True, bound=0)
    assert (outcome.error, outcome.input_tokens) == (None, None)
    assert len(wire.posts(COUNT)) == len(wire.posts()) == 1


def test_a_body_too_large_to_be_counted_in_time_is_sent_all_the_same(
    wire: Wire, at: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "READ_LIMIT", 0.3)
    wire.slow_uplink = threading.Event()
    body = BODY | {"input": "x" * 10_000_000}
    with Session[int](concurrency=4) as pump:
        pump.create(1, at, body)
        wire.wait_for_connections(2)  # the count was given up and the POST begun
        wire.slow_uplink.set()
        (outcome,) = pump.outcomes(10)
    assert (outcome.error, outcome.input_tokens) == (None, None)
    assert (wire.posts(COUNT), wire.posts()) == ([], [body])


@pytest.mark.parametrize("is_guarded", [False, True])
def test_where_a_count_finds_nobody_nothing_that_costs_money_is_sent(
    is_guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A guard would refuse the address as a private one before it found nobody there.
    monkeypatch.setattr(guard, "is_public", lambda _: True)
    at = Endpoint("openai", "http://127.0.0.1:1/v1", KEY, is_guarded=is_guarded)
    monkeypatch.delattr(Session, "_exchange")  # what posts
    outcome = send(at, count=True)
    assert isinstance(outcome.error, Retryable)
    assert (outcome.error.code, outcome.error.status) == ("connect_error", 0)
    assert secrets_in(outcome.error) == []


def test_a_count_that_finds_the_key_refused_sends_nothing(wire: Wire, at: Endpoint) -> None:
    wire.replies[COUNT] = Reply(wire_error(code="invalid_api_key"), status=401)
    outcome = send(at, count=True)
    assert isinstance(outcome.error, Blocked)
    assert outcome.error.code == "invalid_api_key"
    assert wire.posts() == []


BROKEN = [
    ("reset after the request was read", Reply(b"", fault="abort"), OutcomeUnknown, "connection_lost"),
    ("half a body", Reply(b'{"id": "resp', length=100, fault="abort"), OutcomeUnknown, "connection_lost"),
    ("silence", Reply(fault="hang"), OutcomeUnknown, "timeout"),
    ("a body that drips for ever", Reply(b"{", length=10**6, fault="drip"), OutcomeUnknown, "timeout"),
    ("no JSON", Reply(b"<html>"), OutcomeUnknown, "garbage"),
    ("no object", Reply([]), OutcomeUnknown, "garbage"),
    ("no id", Reply({"object": "response"}), OutcomeUnknown, "garbage"),
    ("an id that is none", Reply(QUEUED | {"id": 5}), OutcomeUnknown, "garbage"),
    ("an empty id", Reply(QUEUED | {"id": ""}), OutcomeUnknown, "garbage"),
    ("an id that no column holds", Reply(QUEUED | {"id": "r" * 256}), OutcomeUnknown, "garbage"),
    ("an id in letters of no id", Reply(QUEUED | {"id": "résp"}), OutcomeUnknown, "garbage"),
    ("an id over two lines", Reply(QUEUED | {"id": "a\nb"}), OutcomeUnknown, "garbage"),
    ("another object", Reply(QUEUED | {"object": "list"}), OutcomeUnknown, "garbage"),
    ("an error with status 200", Reply(wire_error()), OutcomeUnknown, "garbage"),
    ("endless nesting", Reply(b"[" * 100_000), OutcomeUnknown, "garbage"),
    ("bytes that are no text", Reply(b'{"id": "\xff"}'), OutcomeUnknown, "garbage"),
    ("no content", Reply(b"", status=204), OutcomeUnknown, "garbage"),
    ("server error", Reply(wire_error(code="server_error"), status=500), OutcomeUnknown, "server_error"),
    ("conflict", Reply(wire_error(code="busy"), status=409), OutcomeUnknown, "busy"),
    ("rate limit", Reply(wire_error(code="slow_down"), status=429), Retryable, "slow_down"),
    (
        "told to retry at once",
        Reply(
            wire_error(code="slow_down"), status=429, headers={"x-should-retry": "true", "retry-after": "0"}
        ),
        Retryable,
        "slow_down",
    ),
    ("refused", Reply(wire_error(f"Bad {PROMPT} {KEY}"), status=400), Rejected, "invalid_request_error"),
    ("refused key", Reply(wire_error(f"Bad {KEY}"), status=401), Blocked, "invalid_request_error"),
]


@pytest.mark.parametrize(("why", "reply", "kind", "code"), BROKEN)
def test_a_create_that_breaks_reaches_the_server_exactly_once(
    wire: Wire,
    at: Endpoint,
    why: str,
    reply: Reply,
    kind: type[BorderError],
    code: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    if code == "timeout":
        monkeypatch.setattr(session, "SEND_LIMIT", 0.3)
    wire.replies["/v1/responses"] = reply
    outcome = send(at)
    assert outcome.error is not None
    assert (type(outcome.error), outcome.error.code) == (kind, code), why
    assert len(wire.posts()) == wire.connections == 1
    assert (outcome.body, outcome.raw) == (None, b"")
    assert secrets_in(outcome.error) == []
    assert outcome.error.__traceback__ is outcome.error.__context__ is None
    assert KEY not in caplog.text + repr(outcome)
    assert PROMPT not in caplog.text + repr(outcome)


def test_a_connection_that_is_reset_before_the_request_is_read_may_have_delivered_it(
    wire: Wire, at: Endpoint
) -> None:
    wire.refuses = True
    assert isinstance(send(at).error, OutcomeUnknown)
    assert wire.connections == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(wire: Wire, at: Endpoint, status: int) -> None:
    reply = Reply(b"", status=status, headers={"location": f"{wire.url}/elsewhere"})
    wire.replies["/v1/responses"] = wire.replies["/v1/responses/resp_1"] = reply
    for outcome in (send(at), read(at)):
        assert isinstance(outcome.error, Blocked)
        assert outcome.error.code == f"http_{status}"
    assert [path for _, path, _, _ in wire.requests] == ["/v1/responses", "/v1/responses/resp_1"]


def test_nobody_listening_and_no_tls_are_surely_not_sent(wire: Wire) -> None:
    wire.refuses = True  # a server without TLS says nothing to a ClientHello
    for url in ("http://127.0.0.1:1/v1", wire.url.replace("http:", "https:")):
        error = send(Endpoint("openai", url, KEY)).error
        assert isinstance(error, Retryable)
        assert error.code == "connect_error"


BAD_ENDPOINTS = [
    Endpoint("openai", "", KEY),
    Endpoint("openai", "ftp://api/v1", KEY),
    Endpoint("openai", "http:///v1", KEY),
    Endpoint("openai", "http://user:pw@api/v1", KEY),
    Endpoint("openai", f"http://{'a' * 64}.example/v1", KEY),
    Endpoint("openai", "http://api:port/v1", KEY),
    Endpoint("openai", "http://api/v1", KEY + "\n"),
    Endpoint("openai", "http://api/v1", KEY + "é"),
    Endpoint("openai", "http://api/v1", KEY, organization="a\rb"),
    Endpoint("openai", "http://api/v1", KEY, project=" p"),
]


@pytest.mark.parametrize("bad", BAD_ENDPOINTS)
def test_an_endpoint_that_cannot_work_blocks_its_connection(bad: Endpoint) -> None:
    for outcome in (send(bad), read(bad), read(bad, "cancel")):
        assert isinstance(outcome.error, Blocked)
        assert outcome.error.code == "bad_endpoint"
        assert secrets_in(outcome.error) == []
    assert KEY not in repr(bad)


@pytest.mark.parametrize("input_", ["\ud800", float("nan"), object()])
def test_a_body_that_is_no_json_is_never_begun(wire: Wire, at: Endpoint, input_: Any) -> None:
    error = send(at, BODY | {"input": input_}).error
    assert isinstance(error, Rejected)
    assert (error.code, error.__context__) == ("unsendable", None)
    assert wire.requests == []


def test_an_answer_is_storable_in_postgresql(wire: Wire, at: Endpoint) -> None:
    wire.replies["/v1/responses"] = Reply(rb'{"id": "resp_1", "a\u0000": [{"b": "x\u0000\ud800y"}, 1, null]}')
    assert send(at).body == {"id": "resp_1", "a\ufffd": [{"b": "x\ufffd?y"}, 1, None]}


@pytest.mark.parametrize(
    ("literal", "kept"),
    [
        ("NaN", None),
        ("-Infinity", None),
        ("1e999", None),
        ("-1.5e400", None),
        ("1e308", 1e308),
        ("0.25", 0.25),
        ("-7", -7),
        pytest.param("9" * 4_000, int("9" * 4_000), id="4,000 digits"),
        pytest.param("9" * 5_000, None, id="5,000 digits"),
    ],
)
def test_a_number_that_cannot_be_stored_does_not_cost_the_answer_that_is_paid_for(
    wire: Wire, at: Endpoint, literal: str, kept: float | None
) -> None:
    reply = Reply(b'{"id": "resp_1", "deep": [{"x": %s}]}' % literal.encode())
    wire.replies["/v1/responses"] = wire.replies["/v1/responses/resp_1"] = reply
    for outcome in (send(at), read(at)):
        assert outcome.error is None
        assert outcome.body == {"id": "resp_1", "deep": [{"x": kept}]}


# Reading


def test_a_response_is_retrieved_and_cancelled(wire: Wire, at: Endpoint) -> None:
    wire.replies["/v1/responses/resp_1"] = Reply(QUEUED | {"status": "completed"})
    wire.replies["/v1/responses/resp_1/cancel"] = Reply(QUEUED | {"status": "cancelled"})
    got, cancelled = read(at), read(at, "cancel")
    assert (got.act, got.body, got.error) == ("retrieve", QUEUED | {"status": "completed"}, None)
    assert (cancelled.act, cancelled.body) == ("cancel", QUEUED | {"status": "cancelled"})
    assert [request[:2] for request in wire.requests] == [
        ("GET", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
    ]


@pytest.mark.parametrize("act", ["retrieve", "cancel"])
@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (Reply(wire_error("No response resp_1.", code="gone"), status=404), NotFound, "gone"),
        (Reply(b"nginx", status=404), Blocked, "http_404"),
        (Reply(b"no json"), Retryable, "garbage"),
        (Reply(fault="hang"), Retryable, "timeout"),
        (Reply(b"", fault="abort"), Retryable, "connection_lost"),
        (Reply(status=500), Retryable, "http_500"),
    ],
)
def test_a_read_that_breaks_is_asked_once_and_is_no_ambiguity(
    wire: Wire,
    at: Endpoint,
    act: str,
    reply: Reply,
    kind: type[BorderError],
    code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "READ_LIMIT", 0.3 if code == "timeout" else 10)
    path = "/v1/responses/resp_1"
    wire.replies[path] = wire.replies[path + "/cancel"] = reply
    outcome = read(at, act)
    assert outcome.error is not None
    assert (type(outcome.error), outcome.error.code) == (kind, code)
    assert len(wire.requests) == 1


def test_no_more_requests_are_out_at_once_than_the_session_allows(wire: Wire, at: Endpoint) -> None:
    wire.hold = 50  # nothing is answered before 50 are there
    with Session[int](concurrency=50) as pump:
        for key in range(200):
            pump.retrieve(key, at, "resp_1")
        got: list[Outcome[int]] = []
        while pump.in_progress:
            got += pump.outcomes(10)
    assert sorted(outcome.key for outcome in got) == list(range(200))
    assert {outcome.error for outcome in got} == {None}
    assert wire.peak == wire.connections == 50


# The session's life


def test_the_answer_is_put_on_record_while_the_caller_is_busy(wire: Wire, at: Endpoint) -> None:
    recorded = threading.Event()
    calls: list[tuple[int, str, str, str]] = []

    def record(key: int, response_id: str, request_id: str) -> None:
        calls.append((key, response_id, request_id, threading.current_thread().name))
        recorded.set()

    with Session[int](concurrency=4, on_created=record) as pump:
        pump.create(7, at, BODY, count=False)
        assert recorded.wait(10)  # and nobody asked for outcomes
        assert (pump.in_progress, pump.sending) == (1, 1)
        pump.retrieve(8, at, "resp_1")
        assert (pump.in_progress, pump.sending) == (2, 1)
    assert calls == [(7, "resp_1", "req_1", "openai-session")]


def test_a_record_that_fails_does_not_lose_the_answer(
    wire: Wire, at: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(key: int, response_id: str, request_id: str) -> None:
        raise OSError(f"{KEY} {PROMPT}")

    with Session[int](concurrency=4, on_created=fail) as pump:
        pump.create(7, at, BODY, count=False)
        (outcome,) = pump.outcomes(10)
    assert (outcome.body, outcome.error) == (QUEUED, None)
    assert [record.getMessage() for record in caplog.records] == [
        "A new response could not be put on record (OSError)."
    ]


def test_a_refused_create_is_not_put_on_record(wire: Wire, at: Endpoint) -> None:
    wire.replies["/v1/responses"] = Reply(wire_error(), status=400)
    calls: list[Any] = []
    with Session[int](concurrency=4, on_created=lambda *call: calls.append(call)) as pump:
        pump.create(7, at, BODY, count=False)
        assert isinstance(pump.outcomes(10)[0].error, Rejected)
    assert calls == []


def test_waiting_for_outcomes_ends_with_its_time() -> None:
    with Session[int](concurrency=1) as pump:
        began = time.monotonic()
        assert pump.outcomes(0.05) == []
        assert 0.05 <= time.monotonic() - began < 5
        assert pump.outcomes(0) == []


def test_reads_are_abandoned_and_creates_go_on(wire: Wire, at: Endpoint) -> None:
    wire.replies["/v1/responses/resp_1"] = Reply(fault="hang")
    wire.release.clear()
    with Session[int](concurrency=2) as pump:
        pump.retrieve(1, at, "resp_1")
        pump.create(2, at, BODY, count=False)
        pump.cancel(3, at, "resp_1")  # waits for a slot
        wire.wait_for(2)
        pump.abandon_reads()
        assert (pump.in_progress, pump.sending) == (1, 1)
        wire.release.set()
        (outcome,) = pump.outcomes(10)
        assert (outcome.key, outcome.error) == (2, None)
        assert pump.outcomes(0.05) == []
    assert len(wire.requests) == 2


def test_leaving_waits_for_posts_and_gives_back_what_was_not_begun(wire: Wire, at: Endpoint) -> None:
    wire.replies["/v1/responses/resp_1"] = Reply(fault="hang")
    wire.replies[COUNT] = Reply(fault="hang")
    wire.release.clear()
    before = set(threading.enumerate())
    with Session[int](concurrency=3) as pump:
        pump.retrieve(1, at, "resp_1")
        pump.create(2, at, BODY, count=False)
        pump.create(3, at, BODY)  # in its count
        pump.create(4, at, BODY)  # waits for a slot
        wire.wait_for(3)
        threading.Timer(0.1, wire.release.set).start()
    for thread in set(threading.enumerate()) - before:
        if not thread.name.startswith("wire"):
            thread.join(5)
            assert not thread.is_alive()
    outcomes = {outcome.key: outcome for outcome in pump.outcomes(0)}
    assert sorted(outcomes) == [2, 3, 4]
    assert outcomes[2].body == QUEUED
    for key in (3, 4):
        assert isinstance(error := outcomes[key].error, NotSent)
        assert error.code == "not_sent"
    assert outcomes[4].elapsed == 0
    assert (len(wire.posts()), pump.in_progress) == (1, 0)


def test_leaving_waits_for_a_post_only_so_long(
    wire: Wire, at: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "EXIT_LIMIT", 0.1)
    wire.replies["/v1/responses"] = Reply(fault="hang")
    with Session[int](concurrency=3) as pump:
        pump.create(1, at, BODY, count=False)
        wire.wait_for(1)
    (outcome,) = pump.outcomes(0)
    assert isinstance(outcome.error, OutcomeUnknown)
    assert outcome.error.code == "abandoned"


def test_a_resolver_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "CONNECT_LIMIT", 0.1)
    release, asked = threading.Event(), threading.Event()

    def resolve() -> None:
        asked.set()
        release.wait(10)

    with Session[int](concurrency=1) as pump:
        pump._loop.call_soon_threadsafe(pump._loop.run_in_executor, None, resolve)
        assert asked.wait(10)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    release.set()


# Models


def test_models_are_listed_with_their_last_day(wire: Wire, at: Endpoint) -> None:
    rows = [
        {"id": "o3-pro", "object": "model", "shutdown_date": "2026-12-11"},
        {"id": "gpt-6.1-sol", "object": "model", "shutdown_date": None},
        {"id": "local", "shutdown_date": 5},
        {"id": None},
        "what",
    ]
    wire.replies["/v1/models"] = Reply({"object": "list", "data": rows})
    assert openai_client.models(at) == [
        {"id": "o3-pro", "shutdown_date": "2026-12-11"},
        {"id": "gpt-6.1-sol", "shutdown_date": None},
        {"id": "local", "shutdown_date": None},
    ]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(wire_error(f"Incorrect API key provided: {KEY}"), status=401), Blocked),
        (Reply(b"<html>", status=404), Blocked),
        (Reply(b"<html>"), Retryable),
        (Reply({"data": {}}), Retryable),
        (Reply(fault="hang"), Retryable),
    ],
)
def test_models_that_cannot_be_listed_raise_a_border_error(
    wire: Wire, at: Endpoint, reply: Reply, kind: type[BorderError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "READ_LIMIT", 0.3)
    wire.replies["/v1/models"] = reply
    with pytest.raises(BorderError) as caught:
        openai_client.models(at)
    assert type(caught.value) is kind
    assert caught.value.__context__ is None
    assert secrets_in(caught.value) == []
    assert len(wire.requests) == 1
