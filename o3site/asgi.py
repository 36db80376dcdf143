"""The ASGI application that the web server runs."""

import os
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import Any

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from o3site import collector

type Receive = Callable[[], Awaitable[Mapping[str, Any]]]

CLOSED_HEADERS = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"2")]
# A request's whole body: a job's attachments (50 MB) or the prompt of a context window, with their form.
# Django reads it all to a file before it looks at who asks.
MOST_BYTES = 64 * 1024**2
TOO_LARGE = b"Too large: at most 64 MB in one request."


class Application(ASGIHandler):
    """Django's handler, with every request in one thread, and https where PONDER_URL is.

    Our pages are sync views. Django's async chain would send each middleware's two halves into the thread
    and back, which costs several times what a page does.
    """

    _is_open = False

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Receive,
        send: Callable[[Mapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Serve one request.

        The proxy that ends TLS speaks plain http to us, and headers that say otherwise could be a client's.
        A body above the limit is not read: at once where its length is announced, else once it is reached.
        """
        if not self._is_open:
            self._is_open = not settings.CLOSED_FILE.exists()
        if not self._is_open:
            await send({"type": "http.response.start", "status": 503, "headers": CLOSED_HEADERS})
            await send({"type": "http.response.body", "body": b"Ponder is starting.\n"})
            return
        announced = dict(scope.get("headers", ())).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > MOST_BYTES:
            await send(
                {
                    "type": "http.response.start",
                    "status": 413,
                    "headers": [(b"content-type", b"text/plain"), (b"connection", b"close")],
                }
            )
            await send({"type": "http.response.body", "body": TOO_LARGE})
            return
        scope = {**scope, "scheme": "https"} if settings.IS_HTTPS else scope
        await super().__call__(scope, _limited(receive), send)

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: ARG002 (Django's signature)
        """Build the chain of middleware for a thread, whatever was asked for."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a request in the thread that is its own, database connection included."""
        return await sync_to_async(self.get_response, thread_sensitive=True)(request)


def _limited(receive: Receive) -> Receive:
    """Return a `receive` that ends the request as a client does who goes away, once too much has come."""
    left = MOST_BYTES

    async def limited() -> Mapping[str, Any]:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return limited


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "o3site.settings")
django.setup(set_prefix=False)
application = Application()
import_module(settings.ROOT_URLCONF)  # which load every page
collector.settle()
