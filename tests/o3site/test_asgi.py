import asyncio
from pathlib import Path
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from pytest_django.fixtures import Settings

from o3site import asgi
from o3site.asgi import Application


async def ask_for_health(application: Application | None = None) -> dict[str, Any]:
    """Ask for /healthz as a proxy does that has ended TLS and says nothing about it."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/healthz",
        "raw_path": b"/healthz",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    web = ApplicationCommunicator(application or Application(), scope)
    await web.send_input({"type": "http.request"})
    start = await web.receive_output()
    await web.receive_output()
    await web.wait()
    return dict(start)


@pytest.mark.parametrize("is_https", [True, False])
def test_a_request_is_https_exactly_where_the_public_address_is(settings: Settings, is_https: bool) -> None:
    settings.IS_HTTPS = is_https
    settings.SECURE_HSTS_SECONDS = 60
    # Sent on what Django takes for https, and only on that.
    answer = asyncio.run(ask_for_health())
    assert answer["status"] == 200
    assert (b"Strict-Transport-Security" in dict(answer["headers"])) is is_https


def test_it_stays_closed_until_the_records_are_what_it_knows(settings: Settings, tmp_path: Path) -> None:
    settings.CLOSED_FILE = tmp_path / "closed"
    settings.CLOSED_FILE.touch()
    application = Application()
    assert asyncio.run(ask_for_health(application))["status"] == 503
    settings.CLOSED_FILE.unlink()
    assert asyncio.run(ask_for_health(application))["status"] == 200
    # Once open, it serves whatever another start does.
    settings.CLOSED_FILE.touch()
    assert asyncio.run(ask_for_health(application))["status"] == 200


def sending(*chunks: bytes, announced: int | None = None) -> list[dict[str, Any]]:
    """Send a body in chunks; return what comes back, and how many messages were left unread."""
    length = [] if announced is None else [(b"content-length", str(announced).encode())]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/healthz",
        "raw_path": b"/healthz",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), *length],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    coming = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    coming.append({"type": "http.request"})
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not coming:
            await asyncio.Event().wait()  # the client stays
        return coming.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Application()(scope, receive, send))
    return [*sent, {"left": len(coming)}]


def test_a_body_that_is_announced_as_too_large_is_not_read() -> None:
    start, body, rest = sending(b"x", announced=64 * 1024**2 + 1)
    assert (start["status"], rest["left"]) == (413, 2)
    assert b"at most 64 MB" in body["body"]


def test_a_body_that_turns_out_too_large_is_read_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "MOST_BYTES", 10)
    assert sending(b"x" * 6, b"x" * 6, b"x" * 6, b"x") == [{"left": 3}]


@pytest.mark.parametrize("announced", [None, 10])
def test_a_body_within_the_limit_is_read(announced: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "MOST_BYTES", 10)
    assert sending(b"x" * 5, b"x" * 5, announced=announced)[0]["status"] == 200
