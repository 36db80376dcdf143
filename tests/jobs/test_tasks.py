"""What Django-Q2's workers are asked to run exists, and is safe to run with nothing to do, twice or late."""

from collections.abc import Callable

import pytest
from django.utils.module_loading import import_string
from django_q.models import OrmQ, Schedule

from jobs import lifecycle, tasks
from tests.fake_api import FakeApi

pytestmark = pytest.mark.django_db


def test_every_message_names_a_task() -> None:
    for kind in ("send", "poll", "render"):
        lifecycle.ring(kind)
    lifecycle.install_watchdog()
    asked = [message.task["func"] for message in OrmQ.objects.order_by("pk")]
    asked += Schedule.objects.order_by("minutes").values_list("func", flat=True)
    found = [import_string(name) for name in asked]
    assert found == [tasks.send_due, tasks.poll_due, tasks.render_due, tasks.watchdog, tasks.sweep]


def test_every_message_about_a_row_names_a_task_that_takes_its_id() -> None:
    lifecycle.ring_for("test_connection", 999_999)
    lifecycle.ring_for("mail_sign_in_link", 0)
    lifecycle.ring_for("mail_job_end", 0)
    for message in OrmQ.objects.order_by("pk"):
        # There is no such row any more: a message may be late.
        import_string(message.task["func"])(*message.task["args"])


@pytest.mark.parametrize(
    "task", [tasks.send_due, tasks.poll_due, tasks.render_due, tasks.watchdog, tasks.sweep]
)
def test_a_task_with_nothing_to_do_does_nothing_twice(
    task: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = FakeApi().install(monkeypatch)
    task()
    task()
    assert (api.posts, api.gets, api.clock) == ([], [], 0)
    assert not OrmQ.objects.exists()
