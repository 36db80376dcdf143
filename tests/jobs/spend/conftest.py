"""A project, someone in it, and jobs that money can be moved for."""

import dataclasses
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.db import transaction
from django.db.models.functions import Now

from jobs import spend
from jobs.models import ApiToken, Attempt, Connection, Job, ModelSpec, Project, User, Workspace
from tests.factories import a_project

type MakeAttempt = Callable[..., Attempt]


@pytest.fixture
def person(db: None) -> User:
    """Someone who submits."""
    return User.objects.create_user("mira@example.com", name="Mira")


@pytest.fixture
def project(db: None) -> Project:
    """A real project with a cap of 10 USD."""
    return a_project("real", cap="10", is_practice=False)


@dataclasses.dataclass
class Factory:
    """Makes attempts whose worst case is what the test says, without submitting anything."""

    person: User

    def __call__(
        self,
        project: Project,
        worst_case: str = "1",
        *,
        by: User | None = None,
        token: ApiToken | None = None,
        tags: tuple[str, ...] = (),
        job: Job | None = None,
        model: str = "gpt-6-sol",
        effort: str = "low",
    ) -> Attempt:
        spec = job.model if job else ModelSpec.objects.get(pk=model)
        price = spec.price_on(Workspace.objects.the().today())
        assert price is not None
        made = job or Job.objects.create(
            project=project,
            submitted_by=by or self.person,
            token=token,
            model=spec,
            effort=effort,
            max_output_tokens=1_000,
            input_bound=1_000,
            worst_case=Decimal(worst_case),
            tags=list(tags),
            fingerprint="f",
            next_action_at=Now(),
        )
        number = Attempt.objects.filter(job=made).count() + 1
        state = "planned" if number == 1 else "ended"
        connection = Connection.objects.get(pk=project.connection_id)
        return Attempt.objects.create(
            job=made,
            number=number,
            state=state,
            connection=connection,
            price=price,
            worst_case=Decimal(worst_case),
        )


@pytest.fixture
def attempt_of(person: User) -> MakeAttempt:
    """Make an attempt of a project with a worst case in USD."""
    return Factory(person)


@pytest.fixture
def admitted(attempt_of: MakeAttempt) -> MakeAttempt:
    """Make an attempt and admit it."""

    def admitted(*args: object, **kwargs: object) -> Attempt:
        with transaction.atomic():
            attempt = attempt_of(*args, **kwargs)
            spend.admit(attempt.job, attempt)
        return attempt

    return admitted


def findings() -> list[str]:
    """Audit, and return what differs."""
    with transaction.atomic():
        return [finding.what for finding in spend.audit()]
