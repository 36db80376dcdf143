"""What every browser test needs: Debian's chromium, and one cluster and one sandbox for all of them."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from playwright.sync_api import Browser, Page, expect
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer
from pytest_django.plugin import DjangoDbBlocker

from jobs.models import User
from jobs.views import news
from tests.browser.installation import Installation, assert_books_are_right
from tests.browser.watch import Watch
from tests.cluster_process import ClusterProcess
from tests.factories import a_person
from tests.sandbox_process import SandboxProcess

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 20_000  # milliseconds for what a page must come to show; a busy machine is slow

type Browse = Callable[..., Page]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lives here; without a chromium skip it, except where a run must be complete."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")
            if not CHROMIUM and os.environ.get("CI") != "true":
                item.add_marker(pytest.mark.skip(reason="needs chromium: apt install chromium"))


@pytest.fixture(scope="session")
def browser_type_launch_args(
    browser_type_launch_args: dict[str, object], browser_loop: None
) -> dict[str, object]:
    """Start the machine's own chromium; none at all is a failure here, not a skip."""
    if not CHROMIUM:
        pytest.fail("chromium is not installed")
    expect.set_options(timeout=PATIENCE)
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": ["--no-sandbox"]}


@pytest.fixture(scope="session", autouse=True)
def _static_root() -> None:
    """Make the folder that the live server's middleware looks for as soon as it starts."""
    django_settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)


@pytest.fixture(autouse=True)
def _plain_static_names(settings: Settings) -> None:
    """Serve static files unhashed: the live server runs without collectstatic's manifest."""
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }


@pytest.fixture(autouse=True)
def _quick_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages ask for news every second: a story would wait for little else."""
    monkeypatch.setattr(news, "INTERVALS", ())
    monkeypatch.setattr(news, "SLOWEST", 1)


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[SandboxProcess]:
    """Run one sandbox for all stories; only `seconds=` of a prompt takes real time."""
    with SandboxProcess().start(speed=1000) as process:
        yield process


@pytest.fixture(scope="session")
def shared_cluster(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, browser_loop: None
) -> Iterator[ClusterProcess]:
    """Run one cluster for all stories: it takes longer to start than most of them to tell."""
    with django_db_blocker.unblock():
        # What people connect here is the sandbox, which is on this machine.
        process = ClusterProcess({"PONDER_ALLOW_PRIVATE_ADDRESSES": "1"}).start()
    with process:
        yield process


@pytest.fixture
def ponder(
    transactional_db: None,
    live_server: LiveServer,
    shared_sandbox: SandboxProcess,
    shared_cluster: ClusterProcess,
) -> Iterator[Installation]:
    """A fresh installation; in the end its books must be right, and it rests before the rows go."""
    django_settings.STOP_FILE.unlink(missing_ok=True)
    found = Installation(live_server.url, shared_sandbox, shared_cluster)
    yield found
    # A flush beside a pump's transaction would be a deadlock.
    found.fall_asleep()
    shared_sandbox.reset()
    assert_books_are_right()


@pytest.fixture
def watches() -> Iterator[list[Watch]]:
    """The watches over every page a test opens; none may have seen anything."""
    found: list[Watch] = []
    yield found
    assert [problem for watch in found for problem in watch.problems] == []


@pytest.fixture
def browse(browser: Browser, live_server: LiveServer, watches: list[Watch]) -> Iterator[Browse]:
    """Open pages as someone: `browse(person)`, or nobody; each has cookies of its own."""
    contexts = []

    def open_as(person: User | None = None, **options: Any) -> Page:
        wanted = {"viewport": {"width": 1440, "height": 900}, "base_url": live_server.url, **options}
        context = browser.new_context(**wanted)
        contexts.append(context)
        if person is not None:
            client = Client()
            client.force_login(person)
            cookie = client.cookies[django_settings.SESSION_COOKIE_NAME].value
            context.add_cookies(
                [{"name": django_settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}]
            )
        page = context.new_page()
        watches.append(Watch(page, live_server.url))
        return page

    yield open_as
    for context in contexts:
        context.close()


@pytest.fixture
def mira(transactional_db: None) -> User:
    return a_person()
