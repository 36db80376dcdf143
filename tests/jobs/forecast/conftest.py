"""A project and someone in it."""

import pytest

from jobs.access import Role
from jobs.models import Project, User
from tests.factories import a_person, a_project


@pytest.fixture
def mira(db: None) -> User:
    return a_person()


@pytest.fixture
def project(mira: User) -> Project:
    return a_project(members={mira: Role.SUBMITTER})
