"""One reconciliation is under way at a time, whoever asks at the same moment."""

import pytest
from pytest_django.fixtures import Settings

from jobs import reconcile
from jobs.models import Reconciliation
from tests.factories import a_project
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def test_who_asks_at_once_asks_for_one(settings: Settings) -> None:
    settings.OPENAI_ADMIN_KEY = "sk-admin-real"
    a_project(is_practice=False, base_url="https://api.openai.com/v1")
    found = at_once([lambda: reconcile.ask(is_practice=False)] * 8)
    assert [one for one in found if isinstance(one, Exception)] == []
    assert Reconciliation.objects.count() == 1
