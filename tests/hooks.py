"""Deliveries as OpenAI sends them, signed by hand: not by the library that checks them."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from django.http import HttpResponse
from django.test import Client

from jobs.models import Connection, Secret

KEY = b"a webhook secret of the tests..."
SECRET = "whsec_" + base64.b64encode(KEY).decode()


def with_secret(connection: Connection, *, previous: str = "", current: str = SECRET) -> Connection:
    """Give a connection its webhook secret."""
    connection.webhook_secret, connection.previous_webhook_secret = Secret.of(current), Secret.of(previous)
    connection.save(update_fields=["webhook_secret", "previous_webhook_secret"])
    return connection


def event(response_id: str = "resp_1", *, kind: str = "response.completed", at: float | None = None) -> bytes:
    """Return the body of an event, as OpenAI documents it."""
    told = {
        "object": "event",
        "id": "evt_1",
        "type": kind,
        "created_at": int(time.time() if at is None else at),
        "data": {"id": response_id},
    }
    return json.dumps(told).encode()


def signed(
    body: bytes, *, webhook_id: str = "wh_1", at: float | None = None, secret: str = SECRET
) -> dict[str, str]:
    """Return the headers of a delivery: HMAC-SHA256 of id, time and the raw body (Standard Webhooks)."""
    stamp = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{webhook_id}.{stamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def deliver(
    connection: Connection, body: bytes | None = None, headers: dict[str, str] | None = None, **signing: Any
) -> HttpResponse:
    """Post a delivery to a connection's address, as a stranger without a session."""
    body = event() if body is None else body
    address = f"/webhooks/openai/{connection.webhook_slug}/"
    headers = signed(body, **signing) if headers is None else headers
    return Client(enforce_csrf_checks=True).post(  # type: ignore[return-value]
        address, body, content_type="application/json", headers=headers
    )
