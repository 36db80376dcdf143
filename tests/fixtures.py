"""Fixtures for whole stories: a sandbox, a cluster and a web server as real processes.

A test module asks for them with `pytest_plugins = ["tests.fixtures"]`.
"""

from collections.abc import Iterator

import pytest

from tests.cluster_process import ClusterProcess, environment
from tests.sandbox_process import SandboxProcess
from tests.whole import Whole


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    """Run a sandbox of this test's own, as fast as it can; `seconds=` of a prompt stay real."""
    with SandboxProcess().start(speed=1000) as process:
        yield process


@pytest.fixture
def cluster(transactional_db: None) -> Iterator[ClusterProcess]:
    """Run a real cluster on the test database; it is gone before the database is emptied."""
    with ClusterProcess() as process:
        yield process


@pytest.fixture
def web(transactional_db: None) -> Iterator[Whole]:
    """Run the real web server on the test database, by the product's own command.

    It makes what a first start makes: an operator without a password, a practice connection and project.
    """
    with Whole(words=["--only", "web"], environment=environment("shell")) as whole:
        yield whole
