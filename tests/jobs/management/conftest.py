"""What the tests of commands share."""

from collections.abc import Iterator

import pytest

from tests.sandbox_process import SandboxProcess


@pytest.fixture(scope="package")
def sandbox() -> Iterator[SandboxProcess]:
    """Yield one sandbox for all of them."""
    with SandboxProcess() as process:
        yield process
