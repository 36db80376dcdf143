"""One sandbox process for the contract tests."""

from collections.abc import Iterator

import pytest

from tests.sandbox_process import SandboxProcess


@pytest.fixture(scope="session")
def sandbox() -> Iterator[SandboxProcess]:
    """Run a sandbox on a day on which o3-pro still answers."""
    with SandboxProcess().start(today="2026-11-30") as process:
        yield process
