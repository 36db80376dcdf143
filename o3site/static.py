"""Serve static files from the event loop, so that they cost a request neither a thread nor a stream."""

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]  # WhiteNoise is untyped
    """WhiteNoise for both kinds of server.

    Its own middleware (6.12) is sync only: under ASGI it would hold a thread for as long as an async view
    runs, and its streamed files make Django warn. Ours are small and asked for once: they are sent whole.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer with the file of this address if there is one, else with what comes next."""
        path = request.path_info
        found = self.find_file(path) if self.autorefresh else self.files.get(path)
        if not found:
            return self.get_response(request)  # type: ignore[no-any-return]
        return self._later(found, request) if self._is_async else self.serve(found, request)

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        """Return the whole file, or 304, 405 or a part of it as the request's headers want."""
        answer = static_file.get_response(request.method, request.META)
        content = b""
        if answer.file is not None:
            with answer.file:
                content = answer.file.read()
        response = HttpResponse(content, status=int(answer.status))
        del response.headers["Content-Type"]
        for name, value in answer.headers:
            response.headers[name] = value
        return response

    async def _later(self, static_file: Any, request: HttpRequest) -> HttpResponse:
        return self.serve(static_file, request)
