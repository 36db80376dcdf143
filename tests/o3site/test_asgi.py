import asyncio

import pytest
from asgiref.testing import ApplicationCommunicator
from pytest_django.fixtures import Settings

from o3site.asgi import Application


async def headers_of_health() -> dict[bytes, bytes]:
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
    web = ApplicationCommunicator(Application(), scope)
    await web.send_input({"type": "http.request"})
    start = await web.receive_output()
    assert start["status"] == 200
    await web.receive_output()
    await web.wait()
    return dict(start["headers"])


@pytest.mark.parametrize("is_https", [True, False])
def test_a_request_is_https_exactly_where_the_public_address_is(settings: Settings, is_https: bool) -> None:
    settings.IS_HTTPS = is_https
    settings.SECURE_HSTS_SECONDS = 60
    # Sent on what Django takes for https, and only on that.
    assert (b"Strict-Transport-Security" in asyncio.run(headers_of_health())) is is_https
