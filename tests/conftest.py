"""A PostgreSQL for the whole run, and the order that lets browser tests share a run with the others."""

import gc
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from pytest_django.fixtures import Settings
from pytest_django.plugin import DjangoDbBlocker

from o3site import localpg
from tests import catalogue

LAST_WILL = 'read -r _; kill -s QUIT "$1"; sleep 1; rm -rf "$2"'
LONGEST = (
    "test_thread.py", "test_bad_ends.py", "test_month.py", "test_action.py", "test_people.py",
    "test_readable.py", "test_settings_pages.py", "test_answer.py",
)  # fmt: skip
FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


@pytest.fixture(scope="session")
def postgres() -> Iterator[dict[str, str]]:
    """Run a bundled PostgreSQL for this session only; return how to reach it, in the words of DATABASES."""
    home = Path(tempfile.mkdtemp(prefix="ponder-pg-"))
    home.chmod(0o711)  # under root the server runs as another user and must pass through
    localpg.start(home / "var", FAST)
    postmaster = (home / "var" / "postgres" / "data" / "postmaster.pid").read_text().split()[0]
    # A run that is killed reaches no teardown: what reads this pipe then ends the server.
    with subprocess.Popen(
        ["/bin/sh", "-c", LAST_WILL, "guard", postmaster, home], stdin=subprocess.PIPE, start_new_session=True
    ) as guard:
        yield localpg.parameters(home / "var")
        guard.kill()
    localpg.stop(home / "var")
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    postgres: dict[str, str], django_db_modify_db_settings_xdist_suffix: None
) -> None:
    """Put the test database into this session's own server."""
    reach = {key: value for key, value in postgres.items() if key != "NAME"}
    settings.DATABASES["default"].update(reach)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Put the catalogue into the fresh database once: nearly every test starts from it."""
    with django_db_blocker.unblock():
        catalogue.keep()


def pytest_xdist_auto_num_workers() -> int:
    """Run in two processes, in up to four where there are as many cores: each has a database of its own."""
    return min(max(os.process_cpu_count() or 2, 2), 4)


def pytest_collection_finish() -> None:
    """Keep what was collected, which stays to the end, out of the collector's rounds, and make these rare."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that commit after the others, and browser tests last, also under random order.

    A test that commits empties the database, the catalogue too. Playwright leaves a running event loop
    in the main thread, in which Django refuses to use the ORM. The longest of its tests begin, so that
    no process has one left when the other is done.
    """
    commit = {item.path for item in items if "transactional_db" in getattr(item, "fixturenames", ())}
    items.sort(
        key=lambda item: (
            "browser" in item.path.relative_to(Path(__file__).parent).parts,
            item.path in commit,
            item.path.name not in LONGEST,
        )
    )


@pytest.fixture(scope="session")
def browser_loop() -> Iterator[None]:
    """Allow the ORM beside Playwright's event loop, from the first browser test to the end of the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield


@pytest.fixture
def run_folder(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Have the files by which processes tell each other how it goes in a folder of this test's own."""
    folder = tmp_path_factory.mktemp("run")
    for name in ("BEAT", "OUTAGE", "PRACTICE", "STOP"):
        setattr(settings, f"{name}_FILE", folder / name.lower())
    return folder
