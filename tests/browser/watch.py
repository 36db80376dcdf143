"""Watches what a page does behind a reader's back: console, dialogs, other origins, failed requests."""

from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Dialog, Page, Request, Response

# What Chromium says of every refused document (of anything else `_response` tells), and of a field
# with autofocus where a story was quicker than the first frame and already typed elsewhere.
HARMLESS = (
    "Failed to load resource: the server responded",
    "Autofocus processing was blocked because a document already has a focused element",
)


class Watch:
    """Notes what no page of ours may do; only a document itself may be refused (403, 404, 422)."""

    def __init__(self, page: Page, url: str) -> None:
        self._origin = urlsplit(url).netloc
        self.problems: list[str] = []
        self.requests: list[Request] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"script error: {error}"))
        page.on("dialog", self._dialog)
        page.on("request", self._request)
        page.on("response", self._response)

    def polls(self) -> int:
        """Return how often the page has asked for news so far."""
        return sum(request.url.partition("?")[0].endswith("/live/") for request in self.requests)

    def _console(self, message: ConsoleMessage) -> None:
        if not message.text.startswith(HARMLESS):
            self.problems.append(f"console {message.type}: {message.text}")

    def _dialog(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        self.requests.append(request)
        parts = urlsplit(request.url)
        if parts.scheme != "data" and parts.netloc != self._origin:
            self.problems.append(f"foreign request: {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.problems.append(f"{response.status}: {response.url}")
