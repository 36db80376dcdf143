"""Translates how someone carries a thread on: a follow-up, and replies to the calls of a job."""

import re
import uuid
from collections.abc import Iterable
from typing import Any

from django.http import QueryDict

from jobs import lifecycle
from jobs.lifecycle import Card, JobSpec, Reply
from jobs.models import Job, User

_TOKENS = re.compile(r"[0-9]{1,9}")
_DECISIONS = {"yes": True, "no": False}


def follow_up_in(data: QueryDict, job: Job, *, by: User) -> JobSpec:
    """Return the follow-up of a job that someone typed, on the model and effort chosen for it, if any were.

    `fit` is an output limit chosen just now.
    """
    wanted = data.get("fit") or data.get("max_output_tokens", "")
    changes: dict[str, Any] = {name: data[name] for name in ("model", "effort") if data.get(name)}
    if _TOKENS.fullmatch(wanted):
        changes["max_output_tokens"] = int(wanted)
    key = submission_key_in(data)
    return lifecycle.follow_up(job, by=by, prompt=text_in(data, "prompt"), submission_key=key, **changes)


def replies_in(data: QueryDict, cards: Iterable[Card]) -> list[Reply]:
    """Return what was answered to each call, whole or not."""
    return [_reply(data, card) for card in cards]


def submission_key_in(data: QueryDict) -> str:
    """Return what a repeated send of a form shares; a new key where none can be read."""
    try:
        return str(uuid.UUID(data.get("submission_key", "")))
    except ValueError:
        return str(uuid.uuid4())


def text_in(data: QueryDict, name: str) -> str:
    """Return what was typed, with a browser's line ends undone."""
    return data.get(name, "").replace("\r\n", "\n")


def _reply(data: QueryDict, card: Card) -> Reply:
    key, text = card.call.key, text_in(data, f"{card.field}-text")
    if card.is_approval:
        return Reply(key=key, approve=_DECISIONS.get(data.get(f"{card.field}-approve", "")))
    if f"{card.field}-is-error" in data:
        return Reply(key=key, error=text)
    return Reply(key=key, output=text)
