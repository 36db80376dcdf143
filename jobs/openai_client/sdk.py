"""Import the openai SDK and its HTTP library once, late, and silent."""

import inspect
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2
    import openai

# The two modules are here once `load` has run.
__all__ = ["create_parameters", "httpx2", "load", "openai"]

# What `responses.create` takes by name; any other key of a body travels as extra_body.
create_parameters: frozenset[str] = frozenset()

_lock = threading.Lock()


def load() -> None:
    """Import the SDK into this process; every later call returns at once.

    It costs about 1 s and 40 MB, so a cluster calls it before it forks and no web process ever does.
    Opens no socket and starts no thread: clients are made after the fork.
    """
    global create_parameters, httpx2, openai
    with _lock:
        if create_parameters:
            return
        # OPENAI_LOG makes the import install a root handler; OPENAI_CUSTOM_HEADERS adds headers, even
        # an Authorization that replaces the connection's key, to every request of every connection.
        for name in ("OPENAI_LOG", "OPENAI_CUSTOM_HEADERS"):
            os.environ.pop(name, None)
        import encodings.idna  # noqa: F401  the first request would import it, and the next two

        import anyio._backends._asyncio  # noqa: F401
        import httpcore2  # noqa: F401
        import httpx2

        with _hidden("aiohttp"):
            import openai
        from openai.resources.models import AsyncModels  # noqa: F401  lazy in the SDK, as the next one is
        from openai.resources.responses import AsyncResponses

        # At INFO httpx2 writes a line with the whole URL for every poll; below it come headers.
        for name in ("openai", "httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)
        own = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
        create_parameters = frozenset(inspect.signature(AsyncResponses.create).parameters) - own


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Make a module look absent, unless it is loaded already.

    The SDK imports aiohttp where it finds it (the sandbox is made of it), for a transport that nobody asks
    for: 6 MB and half a second.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # what import takes for 'there is none'
    try:
        yield
    finally:
        del sys.modules[name]
