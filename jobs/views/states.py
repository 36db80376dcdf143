"""Gathers what a job's page says about the state it is in, with the next step."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from jobs import clock, forecast, lifecycle, reconcile
from jobs.forms import ResolveForm
from jobs.models import (
    IN_FLIGHT,
    Attempt,
    AttemptState,
    Budget,
    Event,
    Installation,
    Job,
    LedgerEntry,
    Scope,
    Status,
    UnconfirmedRule,
    turns,
)
from jobs.models.job_queries import MOST_AHEAD
from jobs.pricing import Usage
from jobs.templatetags import ui
from jobs.views import asking, causes, ways, words
from jobs.views.attachments import chips_of
from jobs.views.bill import Bill, held_by
from jobs.views.frame import Frame
from jobs.views.pace import pace_of

ON_ITS_WAY = (Status.WAITING, Status.SENDING, *IN_FLIGHT)


@dataclass(frozen=True, slots=True)
class Story:
    """All that was read about a job, and when; `attempt` is the one its page speaks of."""

    job: Job
    api: str
    now: dt.datetime
    frame: Frame
    attempts: Sequence[Attempt]
    attempt: Attempt | None
    events: Sequence[Event]
    rows: Sequence[LedgerEntry]
    bill: Bill
    previous: Job | None
    may_rerun: bool
    may_approve: bool

    def happened(self, kind: str) -> Event | None:
        """Return the last event of a kind."""
        return next((event for event in reversed(self.events) if event.kind == kind), None)


@dataclass(frozen=True, slots=True)
class Stop:
    """What a cancel comes to, USD: what has probably been used by now, and the most that is saved."""

    used: Decimal
    saved: Decimal


def told(story: Story, form: ResolveForm | None) -> dict[str, Any]:
    """Return what the template of a job's state shows."""
    job = story.job
    if job.status in ON_ITS_WAY and story.attempt:
        return _on_its_way(story, story.attempt)
    if job.status == Status.AWAITING_APPROVAL:
        return asking.asked_of(job, story.frame, may_approve=story.may_approve)
    if job.status == Status.UNCONFIRMED and story.attempt:
        return _unconfirmed(story, story.attempt, form)
    if job.status == Status.REQUIRES_ACTION:
        draft = lifecycle.saved_draft(job)
        cards = lifecycle.cards(job, draft.replies)
        return {**asked(job, cards, {}, why=draft.why), "asked_in": draft.asked_in}
    if job.status == Status.COMPLETED:
        answered = story.happened("answered")
        return {"answered_by": answered.note if answered else ""}
    if job.status == Status.INCOMPLETE:
        return _incomplete(story)
    if job.status == Status.FAILED:
        kinds = {event.kind for event in story.events}
        refused = story.happened("no_budget")
        return {
            "cause": causes.cause_of(job, story.attempt, kinds, story.api),
            "no_budget": refused.note if refused else "",
            "at_once": _at_once(story),
        }
    if job.status == Status.CANCELLED:
        by_deadline = story.happened("deadline") is not None
        refused = story.happened("not_approved")
        # What a follow-up asked beside the calls was no answer to them.
        before = story.previous if lifecycle.is_answer(job) else None
        return {
            "refused": refused,
            "by_deadline": by_deadline,
            "ran": job.seconds_taken(story.now),
            "still_asks": before if before and before.status == Status.REQUIRES_ACTION else None,
        }
    return {}


def _at_once(story: Story) -> ways.Way | None:
    """Return the way on for a job that was refused because it would wait, for who may run it again."""
    is_open = story.may_rerun and hasattr(story.job, "prompt")
    return ways.way_at_once(story.job, story.frame.today) if is_open else None


def asked(
    job: Job, cards: Sequence[lifecycle.Card], errors: Mapping[str, str], *, why: str
) -> dict[str, Any]:
    """Return the calls a job stopped for, each with what is wrong with its reply and with its files, how many
    have one, and why they are worth their price.
    """
    return {
        "reply_why": why,
        "cards": [
            (card, errors.get(card.field, ""), chips_of(card.reply.files, job.model)) for card in cards
        ],
        "takes_files": lifecycle.takes_files(job.project.connection),
        "count_words": words.spelled(len(cards)),
        "answered": sum(card.is_answered for card in cards),
    }


def stop_of(job: Job, attempt: Attempt, held: Decimal, now: dt.datetime) -> Stop:
    """Say what a cancel of a job in flight comes to, of which `held` USD are held."""
    used = lifecycle.used_by(job, attempt, now)
    return Stop(used=used, saved=max(held - used, Decimal(0)))


def _on_its_way(story: Story, attempt: Attempt) -> dict[str, Any]:
    job, now = story.job, story.now
    pace = pace_of(job, now)
    found: dict[str, Any] = {
        "pace": pace,
        "seconds": job.seconds_taken(now),
        "likely": _likely(story, attempt),
    }
    if job.status == Status.WAITING:
        ahead: int = getattr(job, "ahead", 0) or 0
        found |= {"ahead": ahead, "ahead_words": f"{ahead:,}{'+' if ahead >= MOST_AHEAD else ''}"}
        connection = job.project.connection
        # Some of the last slots may be kept for projects that have none (`turns.kept_slots`).
        in_use, kept = getattr(job, "slots_in_use", 0) or 0, turns.most_kept(connection.max_in_flight)
        found["is_full"] = in_use >= connection.max_in_flight - kept
    if job.is_in_flight:
        found["stop"] = stop_of(job, attempt, held_by(story.rows, attempt), now)
    if pace.is_slow and story.may_rerun and hasattr(job, "prompt"):
        found["beside"] = ways.way_beside(job, story.frame.today)
    return found


def _likely(story: Story, attempt: Attempt) -> forecast.Likely:
    """Return the likely cost of a job that is on its way, at the price row of its attempt."""
    return forecast.likely_of(
        story.job,
        attempt.price,
        previous=story.previous,
        others=story.frame.seen_with(story.job.project),
        input_tokens=attempt.input_tokens,
    )


def _unconfirmed(story: Story, attempt: Attempt, form: ResolveForm | None) -> dict[str, Any]:
    job = story.job
    doubtful = next(
        (one for one in reversed(story.attempts) if one.state == AttemptState.UNCONFIRMED), attempt
    )
    lost, refused = story.happened("unconfirmed"), story.happened("rule_refused")
    since = lost.at if lost else job.created_at
    held = held_by(story.rows, doubtful)
    budgets = Budget.objects.applying_to(job.project, job.submitted_by_id, job.token_id)
    periods = budgets.standing().periods_in(clock.month_of(story.frame.today))
    by_scope = {period.budget.scope: period for period in periods}
    hard = [period.left for period in by_scope.values() if period.budget.is_hard]
    left = max(min(hard), Decimal(0)) if hard else None
    short = ""
    if left is not None and job.worst_case > left:
        short = f"Send again needs {ui.ceiling(job.worst_case)} more; {ui.money(left)} is left."
    project = by_scope.get(Scope.PROJECT)
    rule = UnconfirmedRule(job.project.unconfirmed_rule)
    rule_at = None if rule == UnconfirmedRule.ASK else doubtful.rule_due_at
    sender = Installation.objects.filter(instance=doubtful.instance).first()
    return {
        "attempt": doubtful,
        "away": sender if sender and sender.is_away_with(doubtful.sent_at) else None,
        "announces": doubtful.connection.takes_webhooks,
        "is_billed": reconcile.is_on_a_bill(doubtful.connection),
        "listens": doubtful.connection.takes_webhooks and doubtful.connection.has_webhook_secret,
        "doubt": causes.doubt_of(doubtful, story.api),
        "since": since,
        "after": (since - doubtful.sent_at).total_seconds() if doubtful.sent_at else 0,
        "seconds": (story.now - since).total_seconds(),
        "usual": words.usually(*lifecycle.usual_seconds(job.model, job.effort)),
        "held": held,
        "twice": story.bill.most + job.worst_case,
        "is_twice": story.bill.most == job.worst_case,
        "left": max(project.left, Decimal(0)) if project else None,
        "short": short,
        "rule": words.RULES[rule],
        "rule_leaves": rule != UnconfirmedRule.ASK and doubtful.rule_due_at is None,
        "rule_refused": refused.note if refused else "",
        "rule_at": rule_at,
        "rule_rests": any(one.paused_at for one in (doubtful.connection, job.project.connection)),
        "resends": rule_at is not None and rule == UnconfirmedRule.RESEND,
        "form": form or ResolveForm(),
    }


def _incomplete(story: Story) -> dict[str, Any]:
    usage = Usage.reported(story.attempt.usage) if story.attempt else None
    found: dict[str, Any] = {"usage": usage}
    if usage is not None and usage.output_tokens:
        found["thought"] = usage.reasoning_tokens / usage.output_tokens * 100
    if story.may_rerun and hasattr(story.job, "prompt"):
        ways_on = ways.ways_on(story.job, usage, story.frame.today)
        found["ways"] = ways.with_odds(story.job, ways_on, usage, story.frame.seen_with(story.job.project))
    return found
