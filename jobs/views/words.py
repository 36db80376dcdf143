"""Says in words what several pages say: usual times, why a job ended so, why a connection is paused."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from django.db.models import QuerySet

from jobs.models import AskedBecause, Connection, Job, Status, UnconfirmedRule
from jobs.templatetags import ui

# An end that needs a sentence of ours, shorter than the job's own page has.
FAILURES = {
    "server_error": "Server error",
    "rate_limit_exceeded": "Rate limit",
    "invalid_prompt": "The prompt was refused",
    "expired": "No longer held by the API",
    "stuck": "Never ended",
    "price_changed": "Over budget at its new price",
    "lost": "Declared lost",
    "assumed_paid": "Counted as paid",
    "context_length_exceeded": "Too long for the model",
    "model_not_found": "The API does not know the model",
    "DeploymentNotFound": "There is no deployment of the model",
}
PAUSES = {
    "account_deactivated": "the account is deactivated",
    "bad_endpoint": "its address cannot be used",
    "billing_hard_limit_reached": "the account’s spending limit is reached",
    "billing_not_active": "the account’s billing is not active",
    "credit_balance_exhausted": "the account is out of credit",
    "insufficient_quota": "the account is out of credit",
    "invalid_api_key": "the key was refused",
    "key_unreadable": "its key cannot be decrypted",
    "no_key": "it has no key",
    "private_address": "its address leads into a private network",
    "restored": "this is a copy from a backup, and its original may run",
    "outcomes_unknown": "nobody knows of several sends in a row whether they were accepted",
    "organization_spend_limit_exceeded": "the organization’s spending limit is reached",
    "organization_usage_limit_exceeded": "the organization’s usage limit is reached",
    "project_spend_limit_exceeded": "the API project’s spending limit is reached",
    "responses_unknown": "several responses are unknown there, as after a change of key or address",
    "http_401": "the key was refused",
    "401": "the key was refused",
    "PermissionDenied": "its identity has no leave to do this there",
    "token_address": "its address is none of Azure, so no token is sent to it",
    "token_command": "PONDER_AZURE_TOKEN_COMMAND gave no token",
}

# A project's rule for jobs that were sent perhaps.
RULES = {
    UnconfirmedRule.ASK: "ask",
    UnconfirmedRule.RESEND: "send again",
    UnconfirmedRule.LOST: "it was lost",
    UnconfirmedRule.PAID: "count it as paid",
}


class Why(NamedTuple):
    """Why a job stands where it stands, and the colour class that says who must move."""

    text: str
    colour: str


def why(job: Job) -> Why | None:
    """Return the reason of an exception in a few words; None for a job that is as it should be.

    The job is one of a list (`JobQuerySet.for_list`).
    """
    if job.is_cancelling:
        return Why("Being cancelled", "idle")
    if job.status == Status.INCOMPLETE:
        if job.incomplete_reason == "max_output_tokens":
            limit = ui.tokens(job.max_output_tokens).replace(".0", "")
            return Why(f"Hit the {limit} output limit", "warn")
        return Why(_readable(job.incomplete_reason) or "Stopped early", "warn")
    if job.status == Status.FAILED:
        return Why(FAILURES.get(job.error_code) or _readable(job.error_code) or "No reason given", "bad")
    if job.status == Status.AWAITING_APPROVAL:
        return Why(_asked_because(job), "hold")
    if job.error_code == "not_approved":
        return Why("Not approved", "idle")
    canceller = getattr(job, "canceller", None)
    if job.status == Status.CANCELLED and canceller:
        return Why(f"Cancelled by {canceller}", "idle")
    if job.status == Status.UNCONFIRMED:
        return Why("Sent perhaps: someone must decide", "warn")
    if job.status == Status.REQUIRES_ACTION:
        return Why("Asks for answers", "warn")
    return None


def paused_because(connection: Connection) -> str:
    """Return why a connection is paused, to end a sentence with; never upstream's own words."""
    if connection.paused_by_id is not None:
        return connection.paused_reason.rstrip(". ") or "by hand"
    code = connection.paused_reason.partition(":")[0]
    return PAUSES.get(code, "the API refuses what is sent through it")


def spelled(count: int) -> str:
    """Return a small number as a word: three, ten, 11."""
    names = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return names[count] if count < len(names) else f"{count:,}"


def either(names: Sequence[str]) -> str:
    """Return names as a choice: Ana, Jo or Tomás."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def about(seconds: float) -> str:
    """Return a span of seconds in one unit, as a mark on a scale: 40 s, 9 min, 2 h."""
    if seconds < 90:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 90 * 60 else f"{round(seconds / 3600)} h"


def tools_given(tools: Iterable[Any]) -> str:
    """Return what tools a job has been given, each kind once: 2 functions, MCP."""
    kinds = Counter(str(tool.get("type")) for tool in tools if isinstance(tool, dict))
    said = []
    for kind, count in kinds.items():
        if kind == "function":
            said.append(f"{count} function{'' if count == 1 else 's'}")
        else:
            said.append("MCP" if kind == "mcp" else kind.replace("_", " "))
    return ", ".join(said)


def usually(low: float, high: float) -> str:
    """Return a span of seconds in words: 20–40 s, 30 s – 2 min, 5–14 min, 50 min – 2 h."""
    if high < 90:
        return _span(low, high, 1, "s")
    if low < 60:
        return f"{round(low)} s – {math.ceil(high / 60)} min"
    if high < 90 * 60:
        return _span(low, high, 60, "min")
    if low < 3600:
        return f"{round(low / 60)} min – {math.ceil(high / 3600)} h"
    return _span(low, high, 3600, "h")


def counted(rows: QuerySet[Any], most: int = 1_000) -> str:
    """Return how many rows there are, 41 or 1,000+: beyond `most` nobody counts. Nothing for none."""
    count = rows.order_by()[: most + 1].count()
    if not count:
        return ""
    return f"{most:,}+" if count > most else f"{count:,}"


def _asked_because(job: Job) -> str:
    if getattr(job, "asked_because", None) == AskedBecause.BUDGET:
        return "No room in a budget"
    limit = getattr(job, "job_limit", None)
    return f"Over the {ui.money(limit)} limit per job" if limit is not None else "Over the limit per job"


def _span(low: float, high: float, unit: int, name: str) -> str:
    ends = dict.fromkeys((round(low / unit), math.ceil(high / unit)))
    return f"{'–'.join(map(str, ends))} {name}"


def _readable(code: str) -> str:
    return code.replace("_", " ").capitalize()
