"""What every browser test needs: Debian's chromium and static files under their plain names."""

import os
import shutil
from pathlib import Path

import pytest
from pytest_django.fixtures import SettingsWrapper

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


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
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": ["--no-sandbox"]}


@pytest.fixture(autouse=True)
def _plain_static_names(settings: SettingsWrapper) -> None:
    """Serve static files unhashed: the live server runs without collectstatic's manifest."""
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
