"""The ASGI application that the web server runs."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "o3site.settings")
django_application = get_asgi_application()

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope  # noqa: E402
from django.conf import settings  # noqa: E402


async def application(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Serve one request, as https where PONDER_URL is: no header that a client could set decides that."""
    if settings.IS_HTTPS and scope["type"] == "http":
        scope = {**scope, "scheme": "https"}
    await django_application(scope, receive, send)
