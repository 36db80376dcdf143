"""What tests of pages need: someone signed in who may submit, and static files under their plain names."""

from typing import Any

import pytest
from django.test import Client

from jobs.access import Role
from jobs.models import Project, User
from tests.factories import a_person, a_project


@pytest.fixture(autouse=True)
def plain_asset_names(settings: Any) -> None:
    settings.WHITENOISE_AUTOREFRESH = True
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }


@pytest.fixture
def mira() -> User:
    return a_person()


@pytest.fixture
def project(mira: User) -> Project:
    return a_project(members={mira: Role.SUBMITTER})


@pytest.fixture
def signed_in(mira: User) -> Client:
    client = Client()
    client.force_login(mira)
    return client
