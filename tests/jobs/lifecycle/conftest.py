"""A submitter, a project and an API of the test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from pytest_django.fixtures import Settings

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.lifecycle import Decision, text
from jobs.models import Job, Project, User
from jobs.openai_client import OutcomeUnknown
from tests.factories import a_project, a_spec
from tests.fake_api import FakeApi
from tests.sandbox_process import SandboxProcess

type Submit = Callable[..., Job]


@pytest.fixture(autouse=True)
def _own_files(settings: Settings, tmp_path: Path) -> None:
    """Give every test a journal and a stop file of its own."""
    settings.JOURNAL_DIR = tmp_path / "journal"
    settings.STOP_FILE = tmp_path / "stop"


@pytest.fixture(autouse=True)
def _rested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget that a test before has rendered for long."""
    monkeypatch.setattr(text, "_rests_until", 0.0)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """Put a fake API in place of the border."""
    return FakeApi().install(monkeypatch)


@pytest.fixture
def person(db: None) -> User:
    """Someone who may do everything in the project; without a password, whose hash would take its time."""
    return User.objects.create_user("mira@example.com", name="Mira")


@pytest.fixture
def project(person: User) -> Project:
    """A project with a cap of 100 USD."""
    return a_project(members={person: Role.MANAGER})


@pytest.fixture
def submit(person: User, project: Project) -> Submit:
    """Submit a job by the person, to a model that is sold on every day the suite is run as of."""

    def submit(*, to: Project = project, by: User = person, **wanted: Any) -> Job:
        return lifecycle.submit(a_spec(to, by, **{"model": "gpt-6-sol", "mode": "standard", **wanted}))

    return submit


@pytest.fixture
def resent(api: FakeApi, submit: Submit) -> Job:
    """A job whose first send is unconfirmed and whose second one waits."""
    job = submit()
    api.replies.append(OutcomeUnknown("The connection broke.", code="connection_lost"))
    api.run("send")
    return lifecycle.resolve(job.pk, Decision.RESEND)


@pytest.fixture
def books_agree(db: None) -> Iterator[None]:
    """Audit every total when the test is over."""
    yield
    with transaction.atomic():
        assert spend.audit() == []


@pytest.fixture(scope="session")
def _one_sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess().start(speed=1000) as process:
        yield process


@pytest.fixture
def sandbox(_one_sandbox: SandboxProcess) -> SandboxProcess:
    """A sandbox that has seen nothing yet."""
    _one_sandbox.reset()
    return _one_sandbox


@pytest.fixture
def wired(person: User, sandbox: SandboxProcess) -> Project:
    """A project whose connection leads to the sandbox."""
    return a_project(cap="5000", base_url=sandbox.base_url, members={person: Role.MANAGER})
