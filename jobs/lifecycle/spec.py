"""Says what makes a job sendable: one check on the JobSpec value that forms, API and shell all meet."""

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Self

from jobs import pricing, schemas
from jobs.access import Act
from jobs.lifecycle import attaching, calls, threads, tools
from jobs.lifecycle.before import Before
from jobs.lifecycle.calls import Reply
from jobs.models import ApiToken, Connection, Given, Job, ModelSpec, Price, Project, Status, User, Workspace
from jobs.models.catalogue import SOONEST
from jobs.schemas.reading import UNSTORABLE

PROMPT_LIMIT = 4_000_000  # characters; far above any context window, so that the refusal can name the window
TITLE_LIMIT = 120
NO_DISCOUNT = "This model has no waiting discount. Run it as soon as possible?"
MIN_OUTPUT_TOKENS = 16  # the API's own minimum for max_output_tokens


class SpecError(ValueError):
    """A job cannot be sent as asked: `errors` maps field names to plain sentences."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{name}: {message}" for name, message in errors.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What someone wants done, before it is a job."""

    project: Project
    by: User
    prompt: str = field(repr=False)
    model: str
    effort: str
    max_output_tokens: int
    mode: str = "standard"
    window: str = SOONEST
    title: str = field(default="", repr=False)
    instructions: str = field(default="", repr=False)
    schema_name: str = ""
    schema: object = field(default=None, repr=False)
    tags: tuple[str, ...] = ()
    token: ApiToken | None = None
    rerun_of: Job | None = None
    attachments: tuple[Given, ...] = ()
    previous: Job | None = None  # the ended job of its project that it goes on from
    replies: tuple[Reply, ...] = field(default=(), repr=False)  # to the calls of `previous`
    tools: tuple[Any, ...] = field(default=(), repr=False)  # as in the API, flat
    max_tool_calls: int | None = None  # of the tools that the API runs itself
    submission_key: str = ""
    accepts_undocumented: bool = (
        False  # the person clicked through 'OpenAI documents no xhigh for this model'
    )

    @property
    def shown_title(self) -> str:
        """The title given, else the prompt's first line."""
        first = next((line.strip() for line in self.prompt.splitlines() if line.strip()), "")
        title = " ".join((self.title.strip() or first.lstrip("# ")).split()) or "Untitled"
        return title if len(title) <= TITLE_LIMIT else title[: TITLE_LIMIT - 1].rstrip() + "…"

    @property
    def files(self) -> tuple[Given, ...]:
        """All it is given, beside the prompt and with its replies."""
        return (*self.attachments, *(file for reply in self.replies for file in reply.files))

    @property
    def fingerprint(self) -> str:
        """A hash that equal prompts with equal settings share."""
        parts = [
            self.project.pk,
            " ".join(self.prompt.split()),
            " ".join(self.instructions.split()),
            self.model,
            self.effort,
            self.mode,
            self.schema,
        ]
        more = [
            self.previous.pk if self.previous else None,
            [
                (reply.key, reply.output, reply.error, reply.approve, *_digests(reply.files))
                for reply in self.replies
            ],
            tools.normalised(self.tools),
            self.max_tool_calls,
            _digests(self.attachments),
        ]
        if any(more):
            parts += more
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

    def input_bound(self, spec: ModelSpec, *, before: Before | None = None) -> int:
        """The most input tokens it can be charged for, without asking anyone.

        What it goes on from is read for it, unless the caller has in `before`.
        """
        before = before or Before(self.previous)
        texts = [self.prompt, self.instructions]
        if self.schema is not None:
            texts.append(json.dumps(self.schema))
        texts += [json.dumps(tool, ensure_ascii=False) for tool in tools.normalised(self.tools)]
        answers = calls.items_for(before.calls, self.replies)
        replies = [json.dumps(item, ensure_ascii=False) for item in answers]
        carried = before.tokens(self.model)
        return pricing.input_bound(
            texts=[*texts, *replies],
            messages=1 + bool(self.instructions) + len(replies),
            tools=int(self.schema is not None) + len(self.tools),
            # A thread that nobody can measure may fill the whole window.
            earlier=spec.context_window if carried is None else carried,
            files=sum(given.attachment.tokens_at_most(spec) for given in self.files),
            context_window=spec.context_window,
            max_tool_calls=(self.max_tool_calls or 0) if tools.built_in(self.tools) else 0,
        )

    def reply_items(self) -> list[dict[str, Any]]:
        """Return the input items that answer the calls of `previous`, in words where nobody answered."""
        return calls.items_for(Before(self.previous).calls, self.replies)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """A spec's bounds and price: tokens, and USD that it can never cost more than."""

    spec: ModelSpec
    price: Price
    input_bound: int
    worst_case: Decimal
    tool_calls: Mapping[str, int]  # those with a fee that it may make


@dataclass(frozen=True, slots=True)
class _Choice:
    """The model that a spec names and its price in force, where there are such, as they are on a day."""

    today: dt.date
    spec: ModelSpec | None
    price: Price | None

    @classmethod
    def of(cls, wanted: JobSpec) -> Self:
        today = Workspace.objects.the().today()
        spec = ModelSpec.objects.find(wanted.model)
        return cls(today, spec, spec.price_on(today) if spec else None)

    def ceiling(self, wanted: JobSpec) -> Ceiling | None:
        """Return the ceiling of a spec; None if the model cannot be chosen or the limit is no limit."""
        if self.spec is None or self.spec.is_off(self.today) or self.price is None:
            return None
        return ceiling_at(wanted, self.spec, self.price)


def ceiling_of(wanted: JobSpec) -> Ceiling | None:
    """Return the ceiling at today's price; None if the model cannot be chosen or the limit is no limit."""
    return _Choice.of(wanted).ceiling(wanted)


def ceiling_at(
    wanted: JobSpec, spec: ModelSpec, price: Price, *, before: Before | None = None
) -> Ceiling | None:
    """Return the ceiling at a price row: what is shown before a send and what is held by it.

    What it goes on from is read for it, unless the caller has in `before`.
    """
    has_no_limit = bool(tools.built_in(wanted.tools)) and (wanted.max_tool_calls or 0) < 1
    if wanted.max_output_tokens < 1 or has_no_limit:
        return None
    bound = wanted.input_bound(spec, before=before)
    billed = tools.billed_calls(wanted.tools, wanted.max_tool_calls, price.rates.tool_fees)
    worst = pricing.worst_case(
        price.rates,
        input_tokens=bound,
        max_output_tokens=wanted.max_output_tokens,
        window=wanted.window,
        mode_factor=spec.mode_factor(wanted.mode),
        tool_calls=billed,
    )
    return Ceiling(spec, price, bound, worst, billed)


def check(wanted: JobSpec, *, may_ask: bool = False) -> Ceiling:
    """Return the ceiling of a sendable spec. Raises SpecError with every field that is in the way.

    The limit per job is not, for whoever may ask for approval.
    """
    choice = _Choice.of(wanted)
    errors, ceiling = _problems(wanted, choice, may_ask=may_ask), choice.ceiling(wanted)
    if errors or ceiling is None:
        raise SpecError(errors or {"model": "This model cannot be chosen."})
    return ceiling


def problems_of(wanted: JobSpec, *, may_ask: bool = False) -> dict[str, str]:
    """Return what is in the way of sending a spec: field name → a plain sentence; empty when nothing is.

    The limit per job is left out with `may_ask`.
    """
    return _problems(wanted, _Choice.of(wanted), may_ask=may_ask)


def _problems(wanted: JobSpec, choice: _Choice, *, may_ask: bool) -> dict[str, str]:
    found = {
        **_project_problems(wanted),
        **_thread_problems(wanted),
        **_prompt_problems(wanted),
        **_model_problems(wanted, choice),
    }
    if not found and not may_ask and wanted.project.job_limit is not None:
        ceiling = choice.ceiling(wanted)
        if ceiling and ceiling.worst_case > wanted.project.job_limit:
            found |= over_limit(wanted.project.job_limit)
    return found


def over_limit(limit: Decimal) -> dict[str, str]:
    """Say that a job can cost more than a job of its project may (USD), by the field that helps."""
    return {
        "max_output_tokens": f"Over the ${limit:.2f} limit per job of this project. Lower the output limit."
    }


def is_offered(wanted: JobSpec, price: Price, today: dt.date) -> bool:
    """Tell whether the price's model takes a spec on a day, its output limit and all it needs."""
    return not _model_problems(wanted, _Choice(today, price.model, price))


def _project_problems(wanted: JobSpec) -> dict[str, str]:
    if wanted.project.archived_at is not None:
        return {"project": "This project is archived."}
    if not wanted.project.may(wanted.by, Act.SUBMIT):
        return {"project": "You may not submit to this project."}
    return {}


def _thread_problems(wanted: JobSpec) -> dict[str, str]:
    """Return what keeps it from going on from `previous`, and from answering its calls."""
    previous = wanted.previous
    if previous is None:
        return {"replies": "There is no job whose calls these would answer."} if wanted.replies else {}
    if previous.project_id != wanted.project.pk:
        return {"previous": "A thread stays in its project."}
    if not threads.can_be_followed(previous):
        return {"previous": "That job has not ended yet. It can be followed up when it has."}
    more = sum(given.attachment.size for given in wanted.files)
    if reason := threads.obstacle(previous, more=more):
        return {"previous": reason}
    connection = wanted.project.connection
    if not calls.takes_files(connection) and threads.is_told_with_files(previous):
        return {
            "previous": "A call of this thread was answered with a file, and in the output of a call "
            f"{connection.name} is not known to take one. Ask in a new job."
        }
    if not wanted.replies:
        return {}
    if previous.status != Status.REQUIRES_ACTION and not calls.were_sent(wanted.rerun_of):
        return {"replies": calls.ANSWERED_MEANWHILE}
    return calls.problems(calls.calls_of(previous), wanted.replies)


def _prompt_problems(wanted: JobSpec) -> dict[str, str]:
    found = {}
    if not wanted.prompt.strip() and not wanted.replies:
        found["prompt"] = "Write what it should think about."
    elif len(wanted.prompt) + len(wanted.instructions) > PROMPT_LIMIT:
        found["prompt"] = f"Too long: at most {PROMPT_LIMIT:,} characters."
    elif UNSTORABLE.search(wanted.prompt + wanted.instructions):
        found["prompt"] = "A prompt cannot contain NUL characters or halves of a surrogate pair."
    if UNSTORABLE.search(wanted.title):
        found["title"] = "A title cannot contain NUL characters or halves of a surrogate pair."
    found |= tag_problems(wanted.tags)
    if wanted.schema is not None:
        if not schemas.name_ok(wanted.schema_name):
            found["schema_name"] = "Use 1 to 64 letters, digits, - or _."
        problems = schemas.problems(wanted.schema)
        if problems:
            more = f" And {len(problems) - 1} more." if len(problems) > 1 else ""
            found["schema"] = f"{problems[0].message}{more}"
    return found


def tag_problems(tags: Iterable[str]) -> dict[str, str]:
    """Return what is wrong with the tags of a job, by the name of their field."""
    if any(len(tag) > 60 or not tag.strip() or UNSTORABLE.search(tag) for tag in tags):
        return {"tags": "A tag has 1 to 60 characters."}
    return {}


def _model_problems(wanted: JobSpec, choice: _Choice) -> dict[str, str]:
    today, spec, price = choice.today, choice.spec, choice.price
    if spec is None:
        return {"model": "There is no such model in the catalogue."}
    if spec.is_off(today):
        living = spec.living_successor(today)
        hint = f" Its successor is {living.pk}." if living else ""
        return {"model": f"{spec.pk} was shut down on {spec.shutdown_date:%-d %B %Y}.{hint}"}
    if price is None:
        return {"model": f"{spec.pk} has no price yet, so its cost cannot be bounded."}
    unused = not_used(wanted.project, spec, effort=wanted.effort)
    if "model" in unused:
        return unused
    found = {}
    if wanted.effort not in spec.efforts_offered():
        found["effort"] = f"{spec.pk} has the efforts {', '.join(spec.efforts)}."
    elif unused:
        found = unused
    elif wanted.effort in spec.undocumented_efforts and not wanted.accepts_undocumented:
        found["effort"] = f"{spec.undocumented_efforts[wanted.effort]}. Confirm it to send it all the same."
    if wanted.mode not in spec.modes:
        found["mode"] = f"{spec.pk} has the modes {', '.join(spec.modes)}."
    if not MIN_OUTPUT_TOKENS <= wanted.max_output_tokens <= spec.max_output_tokens:
        found["max_output_tokens"] = (
            f"{MIN_OUTPUT_TOKENS} to {spec.max_output_tokens:,} tokens for {spec.pk}."
        )
    connection = wanted.project.connection
    if wanted.window not in windows_of(price, connection):
        found["window"] = NO_DISCOUNT
    found |= tools.problems(wanted.tools, wanted.max_tool_calls, spec=spec, price=price, kind=connection.kind)
    if any(reply.files for reply in wanted.replies) and not calls.takes_files(connection):
        return {
            **found,
            "attachments": f"{connection.name} is not known to take files in the output of a call.",
        }
    return found | attaching.problems(wanted.files, by=wanted.by, spec=spec)


def not_used(project: Project, spec: ModelSpec, *, effort: str) -> dict[str, str]:
    """Say which of a model and an effort a project does not use, by field; empty when it uses both."""
    if not project.allows(spec):
        return {"model": f"This project does not use {spec.pk}."}
    if project.allowed_efforts and effort not in project.allowed_efforts:
        return {"effort": "This project does not use that effort."}
    return {}


def windows_of(price: Price, connection: Connection) -> list[str]:
    """Return the completion windows that a job may have."""
    return price.windows_offered if connection.has_windows else [SOONEST]


def _digests(given: Iterable[Given]) -> list[str]:
    return [one.attachment.digest for one in given]


def request_body(job: Job, nonce: Any, connection: Connection) -> dict[str, Any]:
    """Return the body of a create: explicit in everything that money or recovery depends on.

    Instructions and tools of earlier jobs are not carried over by the API: each job sends its own.
    """
    prompt = job.prompt
    reasoning = {"effort": job.effort}
    if job.mode != "standard":
        reasoning["mode"] = job.mode
    body: dict[str, Any] = {
        "model": connection.name_of(job.model_id),
        **threads.continuation(job, connection),
        "reasoning": reasoning,
        "max_output_tokens": job.max_output_tokens,
        "background": True,
        # Omitted, it is deleted ten minutes after the poll in projects with modified abuse monitoring.
        "store": True,
        "service_tier": job.service_tier,
        "metadata": {"ponder_job": str(job.uuid), "ponder_attempt": str(nonce)},
    }
    if job.window != SOONEST:
        body["background_options"] = {"completion_window": job.window}
    if prompt.instructions:
        body["instructions"] = prompt.instructions
    if prompt.schema is not None:
        body["text"] = {
            "format": {
                "type": "json_schema",
                "name": prompt.schema_name,
                "schema": prompt.schema,
                "strict": True,
            }
        }
    if prompt.tools:
        body["tools"] = prompt.tools
    if job.max_tool_calls:
        body["max_tool_calls"] = job.max_tool_calls
    return body
