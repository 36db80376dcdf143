import asyncio
from pathlib import Path
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from pytest_django.fixtures import Settings

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
