"""Answers are rendered by one worker at a time; the others are for pumps and the beat."""

import pytest
from django.db import transaction

from jobs import lifecycle
from jobs.lifecycle import text
from jobs.models import Answer, Project, User
from tests.factories import a_spec
from tests.fake_api import FakeApi
from tests.races.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def test_while_one_worker_renders_another_ends_at_once(api: FakeApi, person: User, project: Project) -> None:
    job = lifecycle.submit(a_spec(project, person))
    api.run("send")
    api.put(job, "completed")
    api.run("poll")
    with transaction.atomic():
        assert text._may_render()
        assert at_once([lifecycle.render_due]) == [0]
    assert Answer.objects.get().html == ""
    assert sorted(map(str, at_once([lifecycle.render_due] * 3))) == ["0", "0", "1"]
