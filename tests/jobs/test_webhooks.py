"""The door for events: who is believed, what is answered, and that nothing else is kept."""

import base64
import datetime as dt
import json
import logging
import time

import pytest
import time_machine
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings
from standardwebhooks import Webhook

from jobs.models import Connection, DeliveryState, KeySource, Kind, Secret, WebhookDelivery
from tests.hooks import SECRET, deliver, event, signed, with_secret

pytestmark = pytest.mark.django_db

OTHER = "whsec_" + base64.b64encode(b"another secret of the tests.....").decode()
# From the specification of Standard Webhooks: its libraries share it.
VECTOR = {
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "timestamp": "1614265330",
    "body": '{"test": 2432232314}',
    "signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


@pytest.fixture
def connection() -> Connection:
    return with_secret(Connection.objects.create(name="OpenAI", base_url="https://api.openai.com/v1"))


def one() -> WebhookDelivery:
    return WebhookDelivery.objects.get()


def test_the_specifications_own_vector_is_believed(connection: Connection) -> None:
    with_secret(connection, current=VECTOR["secret"])
    headers = {
        "webhook-id": VECTOR["id"],
        "webhook-timestamp": VECTOR["timestamp"],
        "webhook-signature": VECTOR["signature"],
    }
    with time_machine.travel(int(VECTOR["timestamp"])):
        assert deliver(connection, VECTOR["body"].encode(), headers).status_code == 204
    assert (one().webhook_id, one().event_type, one().state) == (VECTOR["id"], "unknown", DeliveryState.DONE)


def test_what_the_librarys_own_hand_signs_is_believed(connection: Connection) -> None:
    body, now = event(), dt.datetime.now(dt.UTC)
    signature = Webhook(SECRET).sign("wh_9", now, body.decode())
    headers = {
        "webhook-id": "wh_9",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
    assert deliver(connection, body, headers).status_code == 204


def test_a_delivery_is_kept_without_its_body(connection: Connection) -> None:
    body = json.dumps({**json.loads(event("resp_7", at=1_700_000_000)), "extra": "words"}).encode()
    assert deliver(connection, body, webhook_id="wh_7").status_code == 204
    found = one()
    assert (found.webhook_id, found.event_type, found.response_id) == ("wh_7", "response.completed", "resp_7")
    assert found.event_at is not None
    assert found.event_at.timestamp() == 1_700_000_000
    assert found.lag is not None
    assert "words" not in str(WebhookDelivery.objects.values().get())


def test_the_signature_is_of_the_very_bytes(connection: Connection) -> None:
    body = event()
    spaced = json.dumps(json.loads(body), indent=1).encode()
    assert deliver(connection, spaced, signed(body)).status_code == 400
    assert (
        deliver(connection, b" " + body + b"\r\n", headers=signed(b" " + body + b"\r\n")).status_code == 204
    )


def test_one_of_several_signatures_is_enough(connection: Connection) -> None:
    body = event()
    headers = signed(body)
    headers["webhook-signature"] = (
        f"v1a,AAAA {signed(body, secret=OTHER)['webhook-signature']} " + headers["webhook-signature"]
    )
    assert deliver(connection, body, headers).status_code == 204


def test_during_a_rotation_both_secrets_count(connection: Connection) -> None:
    with_secret(connection, previous=OTHER)
    assert deliver(connection, webhook_id="wh_1").status_code == 204
    assert deliver(connection, webhook_id="wh_2", secret=OTHER).status_code == 204
    with_secret(connection)
    assert deliver(connection, webhook_id="wh_3", secret=OTHER).status_code == 400


def test_a_current_secret_that_cannot_be_read_leaves_the_one_before_it(connection: Connection) -> None:
    with_secret(connection, previous=OTHER)
    Connection.objects.update(webhook_secret=Secret("from another installation"))
    assert deliver(connection, secret=OTHER).status_code == 204
    assert deliver(connection, webhook_id="wh_2").status_code == 400


def test_the_environments_connection_takes_the_environments_secret(
    connection: Connection, settings: Settings
) -> None:
    Connection.objects.update(key_source=KeySource.ENVIRONMENT)
    assert deliver(connection, webhook_id="wh_1").status_code == 204
    settings.OPENAI_WEBHOOK_SECRETS = (OTHER,)
    assert deliver(connection, webhook_id="wh_2").status_code == 400
    assert deliver(connection, webhook_id="wh_3", secret=OTHER).status_code == 204
    settings.OPENAI_WEBHOOK_SECRETS = (SECRET, OTHER)
    assert deliver(connection, webhook_id="wh_4").status_code == 204
    assert deliver(connection, webhook_id="wh_5", secret=OTHER).status_code == 204


def test_a_paused_connection_still_takes_deliveries(connection: Connection) -> None:
    Connection.objects.update(paused_at="2026-11-20T10:00Z", paused_reason="by hand")
    assert deliver(connection).status_code == 204


@pytest.mark.parametrize("minutes", [-4.9, 4.9])
def test_five_minutes_off_are_tolerated(minutes: float, connection: Connection) -> None:
    assert deliver(connection, at=time.time() + minutes * 60).status_code == 204


UNSIGNED = {
    "nothing": {},
    "no id": {"webhook-id": ""},
    "no time": {"webhook-timestamp": ""},
    "no signature": {"webhook-signature": ""},
    "another id": {"webhook-id": "wh_2"},
    "another time": {"webhook-timestamp": str(int(time.time()) - 1)},
    "a time that is none": {"webhook-timestamp": "now"},
    "a time that is no number": {"webhook-timestamp": "nan"},
    "a signature without a version": {"webhook-signature": "garbage"},
    "a signature that is not base64": {"webhook-signature": "v1,*"},
    "another version": {"webhook-signature": "v2,AAAA"},
    "too many commas": {"webhook-signature": "v1,AAAA,AAAA"},
}


@pytest.mark.parametrize("what", UNSIGNED)
def test_what_is_not_signed_is_refused_and_counted(
    what: str,
    connection: Connection,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: began)  # it counts by the hour, which may end just now
    body = event("resp_secret")
    headers = {**signed(body), **UNSIGNED[what]} if UNSIGNED[what] else {}
    with caplog.at_level(logging.INFO):
        answers = [deliver(connection, body, headers).status_code for _ in range(3)]
    assert answers == [400, 400, 400]
    found = one()
    assert (found.state, found.repeats, found.webhook_id) == (DeliveryState.REFUSED, 2, "")
    assert found.note
    # Once, without anything that came.
    (record,) = (record for record in caplog.records if record.name.startswith("jobs"))
    assert found.note in record.getMessage()
    assert "resp_secret" not in caplog.text
    assert SECRET[6:] not in caplog.text


@pytest.mark.parametrize("minutes", [-5.2, 5.2])
def test_what_is_signed_for_another_time_is_refused(minutes: float, connection: Connection) -> None:
    assert deliver(connection, at=time.time() + minutes * 60).status_code == 400
    assert one().note == ("Message timestamp too old" if minutes < 0 else "Message timestamp too new")


def test_without_a_secret_nothing_is_believed(connection: Connection) -> None:
    Connection.objects.update(webhook_secret=Secret(""))
    assert deliver(connection).status_code == 400
    assert one().note == "No secret is set"


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b"7", b"\xff\xfe", b"[" * 60_000],
    ids=["empty", "no json", "a list", "a number", "no text", "deep"],
)
def test_what_is_signed_and_no_event_is_refused(body: bytes, connection: Connection) -> None:
    assert deliver(connection, body).status_code == 400
    assert one().state == DeliveryState.REFUSED


def test_a_webhook_id_that_cannot_be_kept_is_refused(connection: Connection) -> None:
    assert deliver(connection, webhook_id="w" * 256).status_code == 400
    assert deliver(connection, webhook_id="w" * 255).status_code == 204


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ({"type": "batch.completed", "data": {"id": "batch_1"}}, ("batch.completed", "")),
        ({"type": "response.brand_new", "data": {"id": "resp_1"}}, ("response.brand_new", "resp_1")),
        ({"type": "response.completed", "data": {"id": "../models"}}, ("response.completed", "")),
        ({"type": "response.completed", "data": {"id": "r" * 300}}, ("response.completed", "")),
        ({"type": "response.completed", "data": {"id": 7}}, ("response.completed", "")),
        ({"type": "response.completed", "data": "resp_1"}, ("response.completed", "")),
        ({"type": "response.\x00", "data": {"id": "resp_1"}}, ("unknown", "")),
        ({"type": ["response.completed"]}, ("unknown", "")),
        ({"type": "x" * 200}, ("unknown", "")),
        ({"created_at": 1e300}, ("unknown", "")),
        ({"created_at": "soon"}, ("unknown", "")),
        ({}, ("unknown", "")),
    ],
)
def test_unknown_events_are_kept_and_answered(
    told: dict[str, object], kept: tuple[str, str], connection: Connection
) -> None:
    assert deliver(connection, json.dumps(told).encode()).status_code == 204
    assert (one().event_type, one().response_id) == kept
    assert one().event_at is None


def test_a_doubled_delivery_is_answered_and_does_nothing(connection: Connection) -> None:
    assert [deliver(connection).status_code for _ in range(3)] == [204, 204, 204]
    assert one().repeats == 2


def test_two_connections_may_get_the_same_id(connection: Connection) -> None:
    other = with_secret(Connection.objects.create(name="Other", base_url="https://api.openai.com/v1"))
    assert [deliver(one).status_code for one in (connection, other)] == [204, 204]
    assert WebhookDelivery.objects.filter(repeats=0).count() == 2


def test_a_large_body_is_refused_unread(connection: Connection) -> None:
    body = b'{"a": "' + b"x" * 65_536 + b'"}'
    assert deliver(connection, body).status_code == 413
    assert not WebhookDelivery.objects.exists()
    padded = event() + b" " * (65_536 - len(event()))
    assert deliver(connection, padded).status_code == 204


@pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options"])
def test_other_methods_are_not_allowed(method: str, connection: Connection) -> None:
    answer = getattr(Client(), method)(f"/webhooks/openai/{connection.webhook_slug}/")
    assert answer.status_code == 405


def test_without_the_slash_it_is_the_same_address_and_no_redirect(connection: Connection) -> None:
    body = event()
    answer = Client().post(
        f"/webhooks/openai/{connection.webhook_slug}",
        body,
        content_type="application/json",
        headers=signed(body),
    )
    assert answer.status_code == 204


@pytest.mark.parametrize("path", ["nobody", "nobody/", "a.b/", "a/b", ""])
def test_an_unknown_address_is_not_found_and_not_redirected(path: str, connection: Connection) -> None:
    body = event()
    answer = Client().post(
        f"/webhooks/openai/{path}", body, content_type="application/json", headers=signed(body)
    )
    assert answer.status_code == 404


def test_azure_has_no_webhooks(connection: Connection) -> None:
    Connection.objects.update(kind=Kind.AZURE)
    assert deliver(connection).status_code == 404
    assert not WebhookDelivery.objects.exists()


def test_a_delivery_costs_few_queries(
    connection: Connection, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(5):
        deliver(connection)
