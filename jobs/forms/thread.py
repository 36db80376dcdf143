"""Translates how someone carries a thread on: a follow-up, and replies to the calls of a job."""

import dataclasses
import re
import uuid
from collections.abc import Iterable
from typing import Any

from django.http import QueryDict

from jobs import lifecycle
from jobs.forms.files import files_in, not_here_in
from jobs.lifecycle import Card, JobSpec, Reply
from jobs.models import Job, Project, User

MOST_OF_WHY = 1000  # characters
_TOKENS = re.compile(r"[0-9]{1,9}")
_DECISIONS = {"yes": True, "no": False}


def follow_up_in(data: QueryDict, job: Job, *, by: User) -> tuple[JobSpec, dict[str, str]]:
    """Return the follow-up of a job that someone wrote, on the model, effort and mode chosen for it, if any
    were, and what of it is gone: field name → a sentence.
    """
    changes: dict[str, Any] = {name: data[name] for name in ("model", "effort", "mode") if data.get(name)}
    if limit := limit_in(data):
        changes["max_output_tokens"] = int(limit)
    given, gone = files_in(data.getlist("attachments"), project=job.project, by=by)
    changes |= {"attachments": given, "submission_key": submission_key_in(data)}
    return lifecycle.follow_up(job, by=by, prompt=text_in(data, "prompt"), **changes), gone | not_here_in(
        data
    )


def limit_in(data: QueryDict) -> str:
    """Return the output limit (tokens) chosen just now (`fit`) or before; '' where none was."""
    limit = (data.get("fit") or data.get("max_output_tokens", "")).replace(",", "")
    return limit if _TOKENS.fullmatch(limit) else ""


def replies_in(
    data: QueryDict, cards: Iterable[Card], *, project: Project, by: User
) -> tuple[list[Reply], dict[str, str]]:
    """Return what was answered to each call, whole or not, and what of it is gone, by the card's field."""
    replies, gone = list[Reply](), dict[str, str]()
    not_here = not_here_in(data)  # on which card it was chosen, nobody knows any more
    for card in cards:
        named = [] if card.is_approval else data.getlist(f"{card.field}-attachments")
        files, wrong = files_in(named, project=project, by=by)
        replies.append(dataclasses.replace(_reply(data, card), files=files))
        if found := wrong or ({} if card.is_approval else not_here):
            gone[card.field] = found["attachments"]
    return replies, gone


def submission_key_in(data: QueryDict) -> str:
    """Return what a repeated send of a form shares; a new key where none can be read."""
    try:
        return str(uuid.UUID(data.get("submission_key", "")))
    except ValueError:
        return str(uuid.uuid4())


def text_in(data: QueryDict, name: str) -> str:
    """Return what was typed, with a browser's line ends undone."""
    return data.get(name, "").replace("\r\n", "\n")


def why_in(data: QueryDict) -> str:
    """Return why a job is worth its price, as far as an approver is shown it."""
    return text_in(data, "why").replace("\x00", "").strip()[:MOST_OF_WHY]


def _reply(data: QueryDict, card: Card) -> Reply:
    key, text = card.call.key, text_in(data, f"{card.field}-text")
    if card.is_approval:
        return Reply(key=key, approve=_DECISIONS.get(data.get(f"{card.field}-approve", "")))
    if f"{card.field}-is-error" in data:
        return Reply(key=key, error=text)
    return Reply(key=key, output=text)
