"""A fake at our own border: a Responses API in memory whose every answer a test decides."""

import datetime as dt
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, Self

import pytest
from django.db.models import F
from django.db.models.functions import Now

from jobs import lifecycle
from jobs.lifecycle import pump, sending
from jobs.models import Attempt, Connection, Job
from jobs.openai_client import BorderError, Endpoint, NotFound, Outcome

USAGE = {
    "input_tokens": 1_000,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 2_000,
    "output_tokens_details": {"reasoning_tokens": 1_500},
    "total_tokens": 3_000,
}

type Reply = dict[str, Any] | BorderError


class FakeApi:
    """Stands in for `Session` in the pumps; nothing it does takes time.

    A pump whose session has nothing more to say finds its 15 or 20 s gone: `run` never waits.
    """

    def __init__(self) -> None:
        self.replies: deque[Reply] = deque()  # to the next POSTs; an accepted response when empty
        self.responses: dict[str, Reply] = {}  # what a GET of each id finds
        self.on_cancel: dict[str, Reply] = {}  # what a cancel of each id finds; else what a GET finds
        self.posts: list[dict[str, Any]] = []
        self.gets: list[str] = []
        self.cancels: list[str] = []
        self.input_tokens: int | None = None  # the exact count taken before a POST
        self.rest: float | None = None  # seconds for which an answer says it took the last request
        self.while_sending: Callable[[], object] = lambda: None  # called once bytes are on the wire
        self.journals = True  # whether a process survives to write its journal line
        self.clock = 0.0  # seconds, as the pumps see them
        self.step = 60.0  # seconds that pass whenever nothing is ready
        self.slow = 0  # times that nothing is ready though acts are under way
        self.while_waiting: Callable[[], object] = lambda: None

    def install(self, patch: pytest.MonkeyPatch) -> Self:
        """Put the fake and its clock in place of the border's session in the pumps; jitter is its mean."""
        patch.setattr(pump, "Session", self)
        patch.setattr(sending.random, "uniform", lambda least, most: (least + most) / 2)
        patch.setattr(pump.time, "monotonic", lambda: self.clock)
        return self

    def __getitem__(self, _key: object) -> Self:
        return self

    def __call__(
        self, *, concurrency: int, on_created: Callable[[Any, str, str], None] | None = None
    ) -> "FakeSession":
        return FakeSession(self, on_created)

    def run(self, *kinds: Literal["send", "poll"]) -> None:
        """Run pumps once each, with every job that is not final due now."""
        for kind in kinds:
            self.make_due()
            lifecycle.run_pump(kind)

    def make_due(self) -> None:
        """Let every clock that runs strike now."""
        Job.objects.filter(next_action_at__isnull=False).update(next_action_at=Now())
        Connection.objects.filter(not_before__isnull=False).update(not_before=Now())

    def body(self, response_id: str, word: str = "queued", **more: Any) -> dict[str, Any]:
        """Return a Response as the wire has it; an end has usage unless `usage=None`."""
        is_end = word not in ("queued", "in_progress")
        found = {
            "id": response_id,
            "object": "response",
            "status": word,
            "model": self.posts[-1]["model"] if self.posts else "gpt-6-sol",
            "service_tier": "default",
            "usage": USAGE if is_end else None,
            "error": None,
            "incomplete_details": None,
            "output": [message("The lemma is true.")] if word in ("completed", "incomplete") else [],
        }
        if word == "failed":
            found |= {"error": {"code": "invalid_prompt", "message": "Not that."}}
        if word == "incomplete":
            found |= {"incomplete_details": {"reason": "max_output_tokens"}}
        return found | more

    def put(self, job: Job, word: str, *, number: int | None = None, **more: Any) -> None:
        """Let the next GET of a job's newest known (or numbered) attempt find this."""
        rows = Attempt.objects.filter(job=job).exclude(response_id="")
        attempt = rows.get(number=number) if number else rows.latest("number")
        self.responses[attempt.response_id] = self.body(attempt.response_id, word, **more)

    def lose(self, job: Job, error: BorderError | None = None) -> None:
        """Let GETs of a job's newest known attempt fail, as not found unless said otherwise."""
        found = Attempt.objects.filter(job=job).exclude(response_id="").latest("number").response_id
        self.responses[found] = error or NotFound("No such response.", code="not_found")


class FakeSession:
    """What a pump holds: every act is answered by the next call of `outcomes`."""

    def __init__(self, api: FakeApi, on_created: Callable[[Any, str, str], None] | None) -> None:
        self._api = api
        self._on_created = on_created
        self._ready: list[Outcome[Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    @property
    def in_progress(self) -> int:
        return len(self._ready)

    @property
    def sending(self) -> int:
        return sum(outcome.act == "create" for outcome in self._ready)

    def create(self, key: Any, endpoint: Endpoint, body: dict[str, Any], *, bound: int) -> None:
        api = self._api
        api.posts.append(body)
        api.while_sending()
        response_id = f"resp_{len(api.posts)}"
        reply = api.replies.popleft() if api.replies else api.body(response_id)
        if isinstance(reply, dict):
            api.responses.setdefault(reply["id"], reply)
            if self._on_created and api.journals:
                self._on_created(key, reply["id"], "req_1")
        self._answer(key, "create", reply, input_tokens=api.input_tokens)

    def retrieve(self, key: Any, endpoint: Endpoint, response_id: str) -> None:
        self._api.gets.append(response_id)
        self._answer(key, "retrieve", self._api.responses[response_id])

    def cancel(self, key: Any, endpoint: Endpoint, response_id: str) -> None:
        self._api.cancels.append(response_id)
        found = self._api.on_cancel.get(response_id, self._api.responses[response_id])
        self._answer(key, "cancel", found)

    def outcomes(self, timeout: float) -> list[Outcome[Any]]:
        if self._ready and not self._api.slow:
            ready, self._ready = self._ready, []
            return ready
        self._api.slow = max(0, self._api.slow - 1)
        self._api.clock += self._api.step
        self._api.while_waiting()
        return []

    def _answer(
        self, key: Any, act: Literal["create", "retrieve", "cancel"], reply: Reply, **more: Any
    ) -> None:
        if isinstance(reply, BorderError):
            self._ready.append(Outcome(key, act, error=reply, request_id=reply.request_id, **more))
        else:
            rest = self._api.rest
            self._ready.append(Outcome(key, act, body=reply, request_id="req_1", rest=rest, **more))


def message(text: str) -> dict[str, Any]:
    """Return an output item that says something."""
    return {"type": "message", "content": [{"type": "output_text", "text": text}]}


def age(job: Job, **span: float) -> None:
    """Let a job and its sends be older by a time span, in words of timedelta."""
    by = dt.timedelta(**span)
    Attempt.objects.filter(job=job).update(
        sent_at=F("sent_at") - by,
        end_seen_at=F("end_seen_at") - by,
        missed_since=F("missed_since") - by,
        cancel_sent_at=F("cancel_sent_at") - by,
        lease_expires_at=F("lease_expires_at") - by,
    )
    Job.objects.filter(pk=job.pk).update(deadline_at=F("deadline_at") - by, sent_at=F("sent_at") - by)
