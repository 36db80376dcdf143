"""Signed events: when they come, how often, and in which order."""

import base64
import hashlib
import hmac
import json
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.jobs.sandbox.conftest import TODAY
from tests.sandbox_process import SandboxProcess

KEY = b"a key of the tests, 32 bytes long"
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@dataclass(frozen=True)
class Delivery:
    """One POST at the receiver."""

    webhook_id: str
    timestamp: int
    signature: str
    body: bytes
    at: float

    @property
    def type(self) -> str:
        return str(json.loads(self.body)["type"])

    @property
    def response_id(self) -> str:
        return str(json.loads(self.body)["data"]["id"])

    @property
    def is_signed(self) -> bool:
        content = f"{self.webhook_id}.{self.timestamp}.".encode() + self.body
        wanted = base64.b64encode(hmac.digest(KEY, content, hashlib.sha256)).decode()
        return hmac.compare_digest(self.signature, f"v1,{wanted}")


class Receiver:
    """An endpoint that answers with the statuses it is given, then with 200."""

    def __init__(self) -> None:
        self.deliveries: queue.Queue[Delivery] = queue.Queue()
        self.answers: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.deliveries.put(
                    Delivery(
                        self.headers["webhook-id"],
                        int(self.headers["webhook-timestamp"]),
                        self.headers["webhook-signature"],
                        body,
                        time.time(),
                    )
                )
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhooks/openai/x/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next(self, within: float = 10) -> Delivery:
        return self.deliveries.get(timeout=within)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture(scope="module")
def sending_process(receiver: Receiver) -> Iterator[SandboxProcess]:
    with SandboxProcess().start(today=TODAY, webhook_url=receiver.url, webhook_secret=SECRET) as process:
        yield process


@pytest.fixture
def sending(sending_process: SandboxProcess, receiver: Receiver) -> SandboxProcess:
    """Return a sandbox that sends to the receiver, with nothing on its way."""
    sending_process.reset()
    receiver.answers = []
    while not receiver.deliveries.empty():
        receiver.next()
    return sending_process


@pytest.mark.parametrize("outcome", ["completed", "failed", "incomplete", "cancelled"])
def test_every_end_of_a_background_response_is_announced(
    outcome: str, sending: SandboxProcess, receiver: Receiver
) -> None:
    response_id = sending.create(f"Tell me [[sandbox: seconds=0.1 outcome={outcome}]]").json["id"]
    delivery = receiver.next()
    assert (delivery.type, delivery.response_id) == (f"response.{outcome}", response_id)
    assert delivery.is_signed
    assert delivery.webhook_id.startswith("wh_")
    assert abs(delivery.timestamp - delivery.at) < 3
    event = json.loads(delivery.body)
    assert event.keys() == {"object", "id", "type", "created_at", "data"}
    assert (event["object"], event["data"]) == ("event", {"id": response_id})
    assert event["id"].startswith("evt_")
    assert sending.call("GET", f"/responses/{response_id}").json["status"] == outcome


def test_a_cancel_is_announced_at_once_and_the_end_no_more(
    sending: SandboxProcess, receiver: Receiver
) -> None:
    response_id = sending.create("Stop [[sandbox: seconds=0.6]]").json["id"]
    sending.call("POST", f"/responses/{response_id}/cancel")
    assert receiver.next().type == "response.cancelled"
    with pytest.raises(queue.Empty):
        receiver.next(within=0.8)


def test_a_cancelled_response_that_completes_is_announced_twice(
    sending: SandboxProcess, receiver: Receiver
) -> None:
    sending.create("Both [[sandbox: seconds=0.1 outcome=cancelled cancelled_then=completed after=0.2]]")
    assert [receiver.next().type for _ in range(2)] == ["response.cancelled", "response.completed"]


def test_foreground_and_stuck_responses_are_not_announced(
    sending: SandboxProcess, receiver: Receiver
) -> None:
    sending.create("Here [[sandbox: seconds=0]]", background=False)
    sending.create("Stuck [[sandbox: seconds=0 outcome=stuck]]")
    sending.create("Dropped [[sandbox: seconds=0 webhook=drop]]")
    last = sending.create("Heard [[sandbox: seconds=0.3]]").json["id"]
    assert receiver.next().response_id == last


def test_an_event_may_come_twice_with_the_same_id(sending: SandboxProcess, receiver: Receiver) -> None:
    sending.create("Twice [[sandbox: seconds=0 webhook=duplicate]]")
    first, second = receiver.next(), receiver.next()
    assert first.webhook_id == second.webhook_id
    assert first.body == second.body


def test_an_event_may_come_late(sending: SandboxProcess, receiver: Receiver) -> None:
    began = time.time()
    sending.create("Late [[sandbox: seconds=0 webhook=delay:0.5]]")
    assert receiver.next().at >= began + 0.5


def test_an_event_may_be_overtaken(sending: SandboxProcess, receiver: Receiver) -> None:
    first = sending.create("First [[sandbox: seconds=0 webhook=reorder]]").json["id"]
    second = sending.create("Second [[sandbox: seconds=0.4]]").json["id"]
    assert [receiver.next().response_id for _ in range(2)] == [second, first]


def test_what_is_not_heard_is_sent_again_signed_anew(sending: SandboxProcess, receiver: Receiver) -> None:
    receiver.answers = [500, 301]
    sending.create("Again [[sandbox: seconds=0]]")
    tries = [receiver.next() for _ in range(3)]
    assert len({delivery.webhook_id for delivery in tries}) == 1
    assert all(delivery.is_signed for delivery in tries)
    assert tries[-1].timestamp > tries[0].timestamp
    with pytest.raises(queue.Empty):
        receiver.next(within=0.5)


def test_events_outlive_a_kill(own_sandbox: SandboxProcess) -> None:
    receiver = Receiver()
    own_sandbox.start(today=TODAY, webhook_url=receiver.url, webhook_secret=SECRET)
    response_id = own_sandbox.create("After the kill [[sandbox: seconds=0.2]]").json["id"]
    own_sandbox.kill()
    own_sandbox.restart()
    assert receiver.next().response_id == response_id
    receiver.server.shutdown()
    receiver.server.server_close()


def test_faults_of_the_command_line_hold_for_every_event(own_sandbox: SandboxProcess) -> None:
    receiver = Receiver()
    own_sandbox.start(
        today=TODAY,
        webhook_url=receiver.url,
        webhook_secret=SECRET,
        extra=["--webhook-fault", "duplicate,delay:0.2"],
    )
    began = time.time()
    own_sandbox.create("Any [[sandbox: seconds=0]]")
    deliveries = [receiver.next(), receiver.next()]
    assert len({delivery.webhook_id for delivery in deliveries}) == 1
    assert deliveries[0].at >= began + 0.2
    receiver.server.shutdown()
    receiver.server.server_close()
