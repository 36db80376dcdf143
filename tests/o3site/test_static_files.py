from collections.abc import Callable
from pathlib import Path

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from pytest_django.fixtures import Settings

from o3site.static import StaticFiles


@pytest.fixture
def ask(settings: Settings, tmp_path: Path) -> Callable[..., HttpResponse]:
    """Ask the middleware for one of its files or for a page."""
    (tmp_path / "app.css").write_text("0123456789")
    settings.STATIC_ROOT = tmp_path
    settings.WHITENOISE_AUTOREFRESH = False
    middleware = StaticFiles(lambda request: HttpResponse("page"))

    def run(path: str, method: str = "GET", **headers: str) -> HttpResponse:
        found: HttpResponse = middleware(RequestFactory().generic(method, path, headers=headers))
        return found

    return run


def test_a_file_is_sent_whole_and_nothing_else_is_touched(ask: Callable[..., HttpResponse]) -> None:
    found = ask("/static/app.css")
    assert (found.status_code, found.content) == (200, b"0123456789")
    assert not found.streaming
    assert found.headers["Content-Type"] == 'text/css; charset="utf-8"'
    assert found.headers["Content-Length"] == "10"
    assert ask("/static/none.css").content == b"page"
    assert ask("/").content == b"page"


def test_a_file_that_the_browser_has_is_not_sent_again(ask: Callable[..., HttpResponse]) -> None:
    etag = ask("/static/app.css").headers["ETag"]
    again = ask("/static/app.css", **{"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")


def test_head_parts_and_other_methods_are_answered_as_http_wants(ask: Callable[..., HttpResponse]) -> None:
    head = ask("/static/app.css", "HEAD")
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", "10")
    part = ask("/static/app.css", Range="bytes=2-4")
    assert (part.status_code, part.content) == (206, b"234")
    assert ask("/static/app.css", "POST").status_code == 405
