"""What machines know of each other: who works here, who was stopped, who is gone."""

import datetime as dt

import pytest
from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone

from jobs import VERSION, health, lifecycle
from jobs.models import Installation
from o3site import beat, farewell

pytestmark = pytest.mark.django_db


def silent() -> list[str]:
    return [sign.word for sign in health.status().tiles if sign.topic == "installation"]


@pytest.mark.usefixtures("run_folder")
def test_a_worker_that_answers_says_where_it_runs() -> None:
    beat.stamp()
    Installation.objects.update(beat_at=Now() - dt.timedelta(hours=1), host="old", version="old")
    beat.stamp()
    found = Installation.objects.get()
    assert (found.instance, found.version, found.stopped_at) == (settings.INSTANCE, VERSION, None)
    assert found.host != "old"
    assert timezone.now() - found.beat_at < dt.timedelta(seconds=10)
    assert str(found).startswith(found.host)


def test_silence_is_an_alarm_unless_it_was_asked_for() -> None:
    lifecycle.note_beat()
    assert silent() == [""]
    Installation.objects.update(beat_at=Now() - dt.timedelta(seconds=61))
    assert silent() == ["Silent"]
    farewell.note_stop()
    assert silent() == []
    lifecycle.note_beat()
    assert silent() == [""]


def test_what_is_silent_for_a_week_is_forgotten() -> None:
    lifecycle.note_beat()
    Installation.objects.create(
        instance="gone", host="gone", version="1", beat_at=timezone.now() - dt.timedelta(days=8)
    )
    assert lifecycle.forget_silent() == 1
    assert Installation.objects.get().instance == settings.INSTANCE
