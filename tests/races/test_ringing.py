"""What falls due while a pump ends is not left lying: either the pump sees it, or it is rung for."""

import threading

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now
from django_q.models import OrmQ

from jobs import lifecycle
from jobs.lifecycle import pump
from jobs.lifecycle.doorbell import ring_unless_pumped
from jobs.models import Job, Project, PumpLease, Status, User
from tests.factories import a_spec

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_pump_that_ends_meanwhile_sees_what_was_made_due_without_a_ring(
    project: Project, person: User
) -> None:
    job = lifecycle.submit(a_spec(project, person))
    OrmQ.objects.all().delete()
    is_made_due, is_ending = threading.Event(), threading.Event()

    def announce() -> None:
        try:
            with transaction.atomic():
                Job.objects.filter(pk=job.pk).update(status=Status.IN_PROGRESS, next_action_at=Now())
                ring_unless_pumped("poll")
                is_made_due.set()
                assert is_ending.wait(30)
        finally:
            connection.close()

    thread = threading.Thread(target=announce)
    with pump._lease("poll") as lease:
        assert lease is not None
        thread.start()
        assert is_made_due.wait(30)
        threading.Timer(0.2, is_ending.set).start()
    thread.join()
    (message,) = OrmQ.objects.all()
    assert message.func() == "jobs.tasks.poll_due"
    assert PumpLease.objects.get(kind="poll", instance=settings.INSTANCE).holder is None
