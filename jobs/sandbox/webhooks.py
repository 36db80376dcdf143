"""Sends the sandbox's events, signed as Standard Webhooks asks, late, twice, never or out of order."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time

import aiohttp

from jobs.sandbox.store import Event, Store

TIMEOUT = 10.0
BACK_OFF = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 1800.0)  # seconds; the last one repeats
GIVE_UP_AFTER = 72 * 3600.0
HELD_BACK = 3.0  # seconds a reordered event waits when no other event follows
ON_THE_WIRE = 60.0  # above the longest delivery: held back, then sent twice
IN_FLIGHT = 8
IDLE = 3600.0


def sign(secret: str, *, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` value for a `whsec_` secret.

    Raises:
        ValueError: the secret is not base64 after its prefix.
    """
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    digest = hmac.digest(key, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


class Sender:
    """Delivers due events of the store to one address; without an address it does nothing."""

    def __init__(self, store: Store, *, url: str | None, secret: str, fault: str | None = None) -> None:
        self.store = store
        self.url = url
        self.secret = secret
        self.fault = fault
        self._something_new = asyncio.Event()
        self._another_sent = asyncio.Event()
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._sending: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Look again at what is due; called after every commit that wrote an event."""
        self._something_new.set()

    async def run(self) -> None:
        """Deliver events as they fall due, those of an earlier process included, until cancelled."""
        if self.url is None:
            return
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session:
                while True:
                    self._something_new.clear()
                    event = self.store.next_event()
                    wait = IDLE if event is None else event.due_at - time.time()
                    if event is None or wait > 0:
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(self._something_new.wait(), min(wait, IDLE))
                        continue
                    await self._slots.acquire()
                    # Out of the way while it is on the wire; a kill there repeats it, as the API may.
                    self.store.reschedule(event, due_at=time.time() + ON_THE_WIRE, tries=event.tries + 1)
                    task = asyncio.create_task(self._deliver(session, event))
                    self._sending.add(task)
                    task.add_done_callback(self._sending.discard)
        finally:
            for task in list(self._sending):
                task.cancel()

    async def _deliver(self, session: aiohttp.ClientSession, event: Event) -> None:
        try:
            faults = (event.fault or self.fault or "").split(",")
            if event.tries == 0 and "drop" in faults:
                self.store.settle(event, at=time.time())
                return
            if event.tries == 0 and "reorder" in faults:
                self._another_sent.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._another_sent.wait(), HELD_BACK)
            is_heard = await self._post(session, event)
            if event.tries == 0 and "duplicate" in faults:
                await self._post(session, event)
            now = time.time()
            if is_heard or now - event.created_at > GIVE_UP_AFTER:
                self.store.settle(event, at=now)
            else:
                back_off = BACK_OFF[min(event.tries, len(BACK_OFF) - 1)]
                self.store.reschedule(event, due_at=now + back_off, tries=event.tries + 1)
        finally:
            self._slots.release()
            self.wake()

    async def _post(self, session: aiohttp.ClientSession, event: Event) -> bool:
        assert self.url is not None
        body = json.dumps(
            {
                "object": "event",
                "id": event.id,
                "type": event.type,
                "created_at": int(event.created_at),
                "data": {"id": event.response_id},
            }
        ).encode()
        # Every try is signed anew with the time of the try; the webhook id stays.
        timestamp = int(time.time())
        headers = {
            "content-type": "application/json",
            "user-agent": "OpenAI/1.0 (+https://platform.openai.com/docs/webhooks)",
            "webhook-id": event.webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(
                self.secret, webhook_id=event.webhook_id, timestamp=timestamp, body=body
            ),
        }
        try:
            async with session.post(self.url, data=body, headers=headers, allow_redirects=False) as response:
                is_heard = 200 <= response.status < 300
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False
        finally:
            self._another_sent.set()
        return is_heard


def delay_of(fault: str | None) -> float:
    """Return the seconds of the `delay:N` part of a webhook fault, or 0."""
    for part in (fault or "").split(","):
        name, _, seconds = part.partition(":")
        if name == "delay":
            return float(seconds)
    return 0.0
