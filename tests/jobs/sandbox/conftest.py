"""Sandbox processes for the tests of the sandbox."""

from collections.abc import Iterator

import pytest

from tests.sandbox_process import SandboxProcess

TODAY = "2026-11-30"  # a day on which o3-pro still answers


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess().start(today=TODAY) as process:
        yield process


@pytest.fixture
def sandbox(shared_sandbox: SandboxProcess) -> SandboxProcess:
    """Return the process all tests share, with nothing in it."""
    shared_sandbox.reset()
    return shared_sandbox


@pytest.fixture
def own_sandbox() -> Iterator[SandboxProcess]:
    """Yield a sandbox of this test's own, not yet started."""
    process = SandboxProcess()
    yield process
    process.close()
