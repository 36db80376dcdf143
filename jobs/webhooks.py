"""The door for what an API announces: checks who says it over the raw body, and keeps it for the workers."""

import datetime as dt
import json
import re
from functools import lru_cache
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from standardwebhooks import Webhook, WebhookVerificationError

from jobs import lifecycle
from jobs.lifecycle import Announcement
from jobs.models import Connection
from jobs.models.questions import Blank, Question

MOST_BYTES = 64 * 1024  # an event is 200 bytes
SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")
WEBHOOK_ID = re.compile(r"[!-~]{1,255}")
EVENT_TYPE = re.compile(r"[\w.:-]{1,80}", re.ASCII)
RESPONSE_ID = re.compile(r"[\w-]{1,255}", re.ASCII)  # it becomes a part of an address


class Refused(Exception):
    """The delivery is not taken; its words are ours alone."""


@csrf_exempt
@login_not_required
@require_POST
def openai(request: HttpRequest, slug: str) -> HttpResponse:
    """Take a delivery: 204 once it is stored, also again; 400 if it is not signed as it must be.

    OpenAI repeats whatever is not answered with 2xx within seconds, and follows no redirect (webhooks guide).
    """
    connection = next(iter(_at_slug().ask(slug=slug)), None)
    if connection is None or not connection.takes_webhooks:
        return HttpResponse(status=404)
    body = request.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        return HttpResponse(status=413)
    headers = {name: request.headers.get(name, "") for name in SIGNED}
    try:
        _verify(body, headers, connection.reveal_webhook_secrets())
        news = _read(body, headers["webhook-id"])
    except Refused as refused:
        lifecycle.refuse(connection.pk, str(refused))
        return HttpResponse(status=400)
    lifecycle.receive(connection.pk, news)
    return HttpResponse(status=204)


@lru_cache
def _at_slug() -> Question[Connection]:
    return Question(Connection.objects.filter(webhook_slug=Blank("slug")))


def _verify(body: bytes, headers: dict[str, str], secrets: list[str]) -> None:
    """Check that one of the secrets signed exactly these bytes within five minutes. Raises Refused."""
    reason = "No secret is set"
    for secret in secrets:
        try:
            Webhook(secret).verify(body, headers, json_parse=False)
        except WebhookVerificationError as error:
            reason = str(error)  # one of five sentences of the library
        except ValueError:  # neither text nor base64
            reason = "Invalid signature or body"
        else:
            return
    raise Refused(reason)


def _read(body: bytes, webhook_id: str) -> Announcement:
    """Read a signed event. Raises Refused where it is none."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict) or not WEBHOOK_ID.fullmatch(webhook_id):
        raise Refused("Not an event")
    kind, data = event.get("type"), event.get("data")
    kind = kind if isinstance(kind, str) and EVENT_TYPE.fullmatch(kind) else "unknown"
    found = data.get("id") if kind.startswith("response.") and isinstance(data, dict) else None
    return Announcement(
        webhook_id=webhook_id,
        event_type=kind,
        response_id=found if isinstance(found, str) and RESPONSE_ID.fullmatch(found) else "",
        event_at=_moment(event.get("created_at")),
    )


def _moment(seconds: Any) -> dt.datetime | None:
    try:
        return dt.datetime.fromtimestamp(float(seconds), dt.UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
