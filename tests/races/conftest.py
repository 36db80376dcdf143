"""Rows that are committed, a sandbox for all races, and the audit after each of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import transaction
from pytest_django.fixtures import Settings

from jobs import spend
from jobs.access import Role
from jobs.lifecycle import text
from jobs.models import Project, User
from tests.factories import a_project
from tests.fake_api import FakeApi
from tests.sandbox_process import SandboxProcess


@pytest.fixture(autouse=True)
def _own_files(settings: Settings, tmp_path: Path) -> None:
    """Give every test a journal and a stop file of its own."""
    settings.JOURNAL_DIR = tmp_path / "journal"
    settings.STOP_FILE = tmp_path / "stop"


@pytest.fixture(autouse=True)
def _rested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget that a test before has rendered for long."""
    monkeypatch.setattr(text, "_rests_until", 0.0)


@pytest.fixture(autouse=True)
def _books_agree(transactional_db: None) -> Iterator[None]:
    """Audit every total when the race is over."""
    yield
    with transaction.atomic():
        assert spend.audit() == []


@pytest.fixture
def person(transactional_db: None) -> User:
    """Someone who may do everything in the project."""
    return User.objects.create_user("mira@example.com", name="Mira")


@pytest.fixture
def project(person: User) -> Project:
    """A real project with a cap of 100 USD, on a connection that leads nowhere."""
    return a_project("real", is_practice=False, members={person: Role.MANAGER})


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """Put a fake API in place of the border."""
    return FakeApi().install(monkeypatch)


@pytest.fixture(scope="session")
def _one_sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess().start(speed=1000) as process:
        yield process


@pytest.fixture
def sandbox(_one_sandbox: SandboxProcess) -> SandboxProcess:
    """A sandbox that has seen nothing yet."""
    _one_sandbox.reset()
    return _one_sandbox
