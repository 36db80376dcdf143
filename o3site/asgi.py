"""The ASGI application that the web server runs."""

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler


class Application(ASGIHandler):
    """Django's handler, to which every request is https where PONDER_URL is.

    The proxy that ends TLS speaks plain http to us, and headers that say otherwise could be a client's.
    """

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[Mapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Serve one request."""
        await super().__call__({**scope, "scheme": "https"} if settings.IS_HTTPS else scope, receive, send)


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "o3site.settings")
django.setup(set_prefix=False)
application = Application()
