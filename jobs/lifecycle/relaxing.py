"""Lets polls be rare where webhooks announce every end, and brings them back once one was not announced."""

import datetime as dt
import random
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now

from jobs.lifecycle.doorbell import ring
from jobs.models import IN_FLIGHT, Attempt, AttemptState, Connection, WebhookDelivery

SHORTEST, LONGEST = 2.0, 20.0  # seconds between usual polls
# Polls are rare while within this time an end was announced and none was not (decision 0015).
LATELY = dt.timedelta(minutes=10)
# An event that comes later than this after what it tells proves nothing: a poll would have been there before.
TIMELY = dt.timedelta(seconds=10)
# How long after a poll has found an end its event may come.
PATIENCE = dt.timedelta(seconds=30)
LEAST, MOST = 60.0, 120.0  # seconds between polls that are a safety net only


def interval(age: float, *, stretch: float = 1.0) -> float:
    """Return the seconds until the next poll of a response of this age: 1 % of it, 2 to 20 s, ± 10 %."""
    base = min(max(age * 0.01, SHORTEST), LONGEST) * max(stretch, 1.0)
    return base * random.uniform(0.9, 1.1)  # noqa: S311 - jitter


def rare_interval(age: float, *, stretch: float = 1.0) -> float:
    """Return the seconds until the next poll of a response whose end a webhook is expected to tell.

    60 to 120 s also while the fleet's budget stretches other polls, unless a usual one is rarer still.
    """
    return max(random.uniform(LEAST, MOST), interval(age, stretch=stretch))  # noqa: S311 - jitter


def relaxed() -> set[int]:
    """Return the connections whose polls are rare."""
    return set(Connection.objects.filter(relaxed_at__isnull=False).values_list("pk", flat=True))


def announced() -> Exists:
    """Whether an event of an attempt's response has come already."""
    same = WebhookDelivery.objects.filter(
        connection=OuterRef("connection"), response_id=OuterRef("response_id")
    )
    return Exists(same.exclude(response_id=""))


def mind_webhooks() -> None:
    """Judge each connection's webhooks by the last minutes, and make its polls rare or usual accordingly."""
    judged: Any = Connection.objects.annotate(is_heard=_heard(), is_missed=_missed())
    for found in judged.order_by("pk").values("pk", "relaxed_at", "is_heard", "is_missed"):
        is_trusted = found["is_heard"] and not found["is_missed"]
        if is_trusted and found["relaxed_at"] is None:
            Connection.objects.filter(pk=found["pk"], relaxed_at=None).update(relaxed_at=Now())
        elif found["relaxed_at"] is not None and not is_trusted:
            _tighten(found["pk"])


def _heard() -> Exists:
    """Whether an end of a connection's jobs was announced lately, and in time."""
    told = WebhookDelivery.objects.filter(connection=OuterRef("pk"), attempt__isnull=False)
    return Exists(told.filter(received_at__gt=Now() - LATELY, received_at__lte=F("event_at") + TIMELY))


def _missed() -> Exists:
    """Whether an end of a connection's jobs was seen lately and not announced, though there was time."""
    told = WebhookDelivery.objects.filter(
        connection=OuterRef("connection"),
        response_id=OuterRef("response_id"),
        received_at__lte=OuterRef("end_seen_at") + PATIENCE,
    )
    ended = Attempt.objects.filter(
        connection=OuterRef("pk"),
        end_seen_at__gt=Now() - LATELY - PATIENCE,
        end_seen_at__lt=Now() - PATIENCE,
    )
    # Those without a word for their end were given up here.
    return Exists(ended.exclude(end_status="").filter(~Exists(told.exclude(response_id=""))))


def _tighten(connection_id: int) -> None:
    """Poll the jobs of a connection as usual again, also those that were put off for long."""
    with transaction.atomic():
        calmed = Connection.objects.filter(pk=connection_id, relaxed_at__isnull=False).update(relaxed_at=None)
        if not calmed:
            return
        with connection.cursor() as cursor:
            # One under a claim is put off by its pump, which reads the connection anew. None is waited for:
            # with the connection in hand that could be a deadlock with whoever writes down a send.
            cursor.execute(
                """
                WITH usual AS (
                  SELECT j.id, statement_timestamp() AS at, least(greatest(
                    extract(epoch FROM statement_timestamp() - j.sent_at) * 0.01, %s), %s) AS wait
                  FROM jobs_job j
                  WHERE j.status = ANY (%s) AND j.claim_token IS NULL AND j.next_action_at IS NOT NULL
                    AND EXISTS (SELECT FROM jobs_attempt a WHERE a.job_id = j.id AND a.connection_id = %s
                                AND a.state = %s AND a.end_seen_at IS NULL)
                  FOR NO KEY UPDATE OF j SKIP LOCKED
                )
                UPDATE jobs_job j SET next_action_at = usual.at + random() * usual.wait * interval '1 second'
                FROM usual
                WHERE j.id = usual.id AND j.next_action_at > usual.at + 1.1 * usual.wait * interval '1 second'
                """,
                [SHORTEST, LONGEST, [str(one) for one in IN_FLIGHT], connection_id, AttemptState.KNOWN],
            )
        ring("poll")
