"""Writes down the sends that were accepted, all of a moment in one transaction."""

import datetime as dt
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from django.db import connection
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now

from jobs import pricing, spend
from jobs.lifecycle.adoption import DEADLINE_AT
from jobs.lifecycle.connections import hold_back
from jobs.lifecycle.counting import count_accepted
from jobs.lifecycle.doorbell import ring_unless_pumped
from jobs.lifecycle.transition import log_sends
from jobs.models import Attempt, AttemptState, Connection, Event, Job, Status
from jobs.models.questions import Among, Blank, Question
from jobs.openai_client import Outcome

if TYPE_CHECKING:
    from jobs.lifecycle.sending import Send

FIRST_POLL = dt.timedelta(seconds=1)
# An acceptance is noted on its connection no oftener: every claim waits for that row.
NOTE_ACCEPTED = dt.timedelta(seconds=10)


def accept(outcomes: "Sequence[Outcome[Send]]") -> "list[Outcome[Send]]":
    """Make the accepted attempts known by their response ids, each with what was counted given back.

    Return those of which there is more to say: their lease has run out, their twin has turned up, or their id
    is another's. Needs the caller's transaction; locks the jobs in the order of their ids. Safe to repeat.
    """
    locked, sends = _locked()
    jobs = {job.pk: job for job in locked.ask(jobs=[one.key.job_id for one in outcomes])}
    asked = sends.ask(attempts=[one.key.attempt_id for one in outcomes])
    attempts = {attempt.pk: attempt for attempt in asked}
    taken = _taken(outcomes)
    plain: list[Outcome[Send]] = []
    left: list[Outcome[Send]] = []
    for one in outcomes:
        send, job, attempt = one.key, jobs[one.key.job_id], attempts[one.key.attempt_id]
        name = send.connection_id, _id_of(one)
        is_ours = job.status == Status.SENDING and job.claim_token == send.claim
        is_plain = is_ours and attempt.state == AttemptState.SENDING and name not in taken
        (plain if is_plain else left).append(one)
        taken.add(name)
    if plain:
        _note_on_connections(plain)
        _keep(plain)
        parts = [*_uncounted(plain, jobs, attempts)]
        if parts:
            spend.release_parts(parts)
        ring_unless_pumped("poll")
    return left


@lru_cache
def _locked() -> tuple[Question[Job], Question[Attempt]]:
    """Jobs, locked in the order of their ids, and attempts."""
    jobs = Job.objects.select_for_update(no_key=True, of=("self",)).select_related("model")
    attempts = Attempt.objects.select_related("price").filter(Among("pk", Blank("attempts")))
    return Question(jobs.filter(Among("pk", Blank("jobs"))).order_by("pk")), Question(attempts)


def _id_of(one: "Outcome[Send]") -> str:
    return str((one.body or {})["id"])


def _taken(outcomes: "Sequence[Outcome[Send]]") -> set[tuple[int, str]]:
    """Return the ids among these, with their connections, that belong to other attempts already."""
    found = Attempt.objects.exclude(pk__in=[one.key.attempt_id for one in outcomes]).filter(
        connection__in={one.key.connection_id for one in outcomes},
        response_id__in=[_id_of(one) for one in outcomes],
    )
    return set(found.values_list("connection", "response_id"))


def _note_on_connections(outcomes: "Sequence[Outcome[Send]]") -> None:
    ids = sorted({one.key.connection_id for one in outcomes})
    stale = Q(accepted_at=None) | Q(accepted_at__lte=Now() - NOTE_ACCEPTED) | Q(unknown_in_a_row__gt=0)
    rests: dict[int, float] = {}
    for one in outcomes:
        if one.rest is not None:
            rests[one.key.connection_id] = max(one.rest, rests.get(one.key.connection_id, 0))
    if len(ids) > 1:
        # In the order in which everything is paused and resumed: an UPDATE takes rows as they happen to lie.
        written = Connection.objects.filter(stale | Q(pk__in=rests), pk__in=ids).order_by("pk")
        list(written.select_for_update(no_key=True).values_list("pk"))
    Connection.objects.filter(stale, pk__in=ids).update(accepted_at=Now(), unknown_in_a_row=0)
    for connection_id in sorted(rests):
        hold_back(connection_id, rests[connection_id])


def _keep(outcomes: "Sequence[Outcome[Send]]") -> None:
    """Move the jobs and their attempts on, which are locked, and add the lines to their timelines."""
    words: dict[Status, list[int]] = {Status.QUEUED: [], Status.IN_PROGRESS: []}
    for one in outcomes:
        is_running = (one.body or {}).get("status") == Status.IN_PROGRESS
        words[Status.IN_PROGRESS if is_running else Status.QUEUED].append(one.key.job_id)
    for status, ids in words.items():
        if ids:
            Job.objects.filter(pk__in=ids).update(
                status=status,
                version=F("version") + 1,
                claim_token=None,
                next_action_at=Now() + FIRST_POLL,
                sent_at=Coalesce("sent_at", Now()),
                deadline_at=DEADLINE_AT,
            )
    with connection.cursor() as cursor:
        # A bulk_update puts a CASE together for each column and row, which took longer than all else here.
        cursor.execute(
            "UPDATE jobs_attempt SET state = %s, lease_expires_at = NULL, response_id = heard.response_id,"
            " request_id = heard.request_id, input_tokens = heard.input_tokens"
            " FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::int[])"
            " AS heard (id, response_id, request_id, input_tokens) WHERE jobs_attempt.id = heard.id",
            [
                AttemptState.KNOWN.value,
                [one.key.attempt_id for one in outcomes],
                [_id_of(one) for one in outcomes],
                [one.request_id for one in outcomes],
                [one.input_tokens for one in outcomes],
            ],
        )
    Event.objects.bulk_create(
        Event(job_id=one.key.job_id, attempt_id=one.key.attempt_id, kind="accepted") for one in outcomes
    )
    log_sends("accepted", [one.key.attempt_id for one in outcomes])
    count_accepted((one.key.connection_id, one.key.due_at) for one in outcomes)


def _uncounted(
    outcomes: "Sequence[Outcome[Send]]", jobs: dict[int, Job], attempts: dict[int, Attempt]
) -> Iterator[spend.Part]:
    """Yield what was held for input that the exact count shows is not there."""
    for one in outcomes:
        job, attempt = jobs[one.key.job_id], attempts[one.key.attempt_id]
        # Of a mode that bills several passes, and of tools that make it read again, it counts only the first.
        is_whole = job.model.mode_factor(job.mode) == 1 and not job.max_tool_calls
        if one.input_tokens is None or one.input_tokens >= job.input_bound or not is_whole:
            continue
        exact = pricing.worst_case(
            attempt.price.rates,
            input_tokens=one.input_tokens,
            max_output_tokens=job.max_output_tokens,
            service_tier=job.service_tier,
            window=job.window,
        )
        yield spend.Part(attempt, exact, f"input counted: {one.input_tokens} tokens")
