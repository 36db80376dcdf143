"""Submit a job from a shell, and on request wait for its answer."""

import json
import re
import sys
import time
from argparse import ArgumentParser
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from jobs import attachments, lifecycle, pricing, schemas, spend
from jobs.access import Act
from jobs.lifecycle import JobSpec, SpecError
from jobs.models import (
    FINAL,
    Answer,
    Attempt,
    Given,
    Job,
    ModelSpec,
    Price,
    Project,
    Status,
    User,
    Workspace,
)
from jobs.models.catalogue import SOONEST, WINDOWS

ENDED_OTHERWISE, REFUSED, INTERRUPTED = 2, 3, 130  # and 1 for wrong use, as CommandError has it
LOOK_EVERY = 0.5  # seconds
# Beside the final ones: nothing more happens to these until a person decides.
ENDS = (*FINAL, Status.UNCONFIRMED, Status.REQUIRES_ACTION)
# An answer is hostile input, and a terminal obeys control characters.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# What an option names of a job that goes on from another one.
NAMED = {
    "model": ("model", "mode", "effort", "max_output_tokens"),
    "mode": ("mode",),
    "effort": ("effort",),
    "window": ("window",),
    "max_output_tokens": ("max_output_tokens",),
    "schema": ("schema_name", "schema"),
    "attach": ("attachments",),
    "tag": ("tags",),
    "tools": ("tools",),
    "max_tool_calls": ("max_tool_calls",),
}


class Command(BaseCommand):
    """Submit a job as someone, by default as the first operator."""

    help = (
        "Submit a job. Exit codes: 0 accepted, or with --wait completed; 1 wrong use; "
        "2 ended otherwise; 3 refused by a budget."
    )

    def run_from_argv(self, argv: list[str]) -> None:
        """Run, with code 1 for arguments that cannot be read: argparse's 2 means 'ended otherwise'."""
        try:
            self.create_parser(argv[0], argv[1]).parse_args(argv[2:])
        except CommandError as wrong:
            sys.exit(str(wrong))  # on stderr, with code 1
        super().run_from_argv(argv)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Define what a job can be asked with."""
        parser.add_argument("prompt", help="what it should think about; - reads standard input")
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--model", metavar="M", help="default: the project's")
        parser.add_argument("--effort", metavar="E", help="default: the project's, else the model's")
        parser.add_argument("--mode", metavar="M", help="default: the project's; standard of a named model")
        parser.add_argument(
            "--window",
            choices=list(WINDOWS),
            help="within what time an answer is needed: later costs less where the model allows it",
        )
        parser.add_argument("--max-output-tokens", type=int, metavar="N", help="default: the project's")
        parser.add_argument(
            "--schema", type=Path, metavar="FILE", help="a JSON schema the answer must follow"
        )
        parser.add_argument(
            "--follow",
            metavar="ID",
            help="go on from a job that has ended, with its settings where none is named",
        )
        parser.add_argument("--tools", type=Path, metavar="FILE", help="a JSON list of tools it may call")
        parser.add_argument(
            "--max-tool-calls", type=int, metavar="N", help="of tools that the API runs itself"
        )
        parser.add_argument(
            "--attach",
            type=Path,
            action="append",
            default=[],
            metavar="FILE",
            help="a PNG, JPEG, WEBP or GIF picture or a PDF; may be repeated",
        )
        parser.add_argument("--user", metavar="EMAIL", help="who submits; default: the first operator")
        parser.add_argument("--title", default="", metavar="T", help="default: the prompt's first line")
        parser.add_argument("--tag", action="append", default=[], metavar="T", help="may be repeated")
        parser.add_argument("--wait", action="store_true", help="wait for the end and print the answer")
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--accept-undocumented", action="store_true", help="send an effort that OpenAI does not document"
        )

    def handle(self, **options: Any) -> None:
        """Submit, wait if asked to, and report. Raises CommandError with the exit code."""
        job = _submit(_wanted(options))
        if options["wait"]:
            self.stderr.write(f"{job.short_id} costs at most {_usd(job.worst_case)}", style_func=str)
            job = self._wait(job)
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(job)))
        elif options["wait"]:
            answer = Answer.objects.filter(job=job).first()
            self.stdout.write(CONTROL.sub("", answer.text) if answer else "")
        else:
            address = f"{settings.PONDER_URL}{job.get_absolute_url()}"
            self.stdout.write(f"{job.short_id} accepted, at most {_usd(job.worst_case)}: {address}")
        if options["wait"] and job.status != Status.COMPLETED:
            error = _error_of(job)
            why = f" ({error['code']}: {error['message']})" if error else ""
            ended = f"{job.short_id}: {job.get_status_display().lower()}{why}"
            raise CommandError(CONTROL.sub("", ended), returncode=ENDED_OTHERWISE)

    def _wait(self, job: Job) -> Job:
        """Look at the job until it has ended, saying what changes; Ctrl-C leaves it running."""
        said = ""
        try:
            while True:
                job = Job.objects.select_related("project__connection", "model").get(pk=job.pk)
                state = _state(job)
                if state != said:
                    self.stderr.write(state, style_func=str)
                    said = state
                if job.status in ENDS:
                    return job
                time.sleep(LOOK_EVERY)
        except KeyboardInterrupt:
            self.stderr.write(
                f"\nStopped waiting. {job.short_id} goes on: {job.get_absolute_url()}", style_func=str
            )
            sys.exit(INTERRUPTED)


def _wanted(options: dict[str, Any]) -> JobSpec:
    """Translate the arguments, filling in the project's defaults."""
    project = (
        Project.objects.select_related("connection", "default_model").filter(slug=options["project"]).first()
    )
    if project is None:
        raise CommandError(f"project: there is no project {options['project']!r}.")
    choice = project.default_choice(Workspace.objects.the().today())
    if options["model"]:
        # Named, it is meant as it stands: the dearer mode of a successor is not carried over to it.
        spec = ModelSpec.objects.filter(pk=options["model"]).first()
        if spec is None:
            raise CommandError(f"model: there is no model {options['model']!r} in the catalogue.")
        mode = "standard" if "standard" in spec.modes else spec.modes[0]
        effort = project.default_effort if project.default_effort in spec.efforts else spec.default_effort
        limit = min(project.default_max_output_tokens, spec.max_output_tokens)
    elif choice:
        spec, mode, effort, limit = choice.spec, choice.mode, choice.effort, choice.max_output_tokens
    else:
        raise CommandError("model: this project has no default that can be sent; name one with --model.")
    schema_name, schema = _schema(options["schema"]) if options["schema"] else ("", None)
    by = _submitter(options["user"])
    wanted = JobSpec(
        project=project,
        by=by,
        prompt=_text("prompt", _standard_input() if options["prompt"] == "-" else options["prompt"]),
        model=spec.pk,
        mode=options["mode"] or mode,
        effort=options["effort"] or effort,
        window=options["window"] or SOONEST,
        max_output_tokens=limit if options["max_output_tokens"] is None else options["max_output_tokens"],
        title=_text("title", options["title"]),
        tags=tuple(_text("tag", tag) for tag in options["tag"]),
        schema_name=schema_name,
        schema=schema,
        attachments=tuple(_given(path, project=project, by=by) for path in options["attach"]),
        tools=_tools(options["tools"]) if options["tools"] else (),
        max_tool_calls=options["max_tool_calls"],
        accepts_undocumented=options["accept_undocumented"],
    )
    return _following(options, wanted) if options["follow"] else wanted


def _following(options: dict[str, Any], wanted: JobSpec) -> JobSpec:
    """Return a spec that goes on from a job; what was named goes before that job's settings."""
    visible = Job.objects.visible_to(wanted.by).select_related("project__connection", "prompt")
    previous = visible.filter(short_id=options["follow"]).first()
    if previous is None:
        raise CommandError(f"follow: there is no job {options['follow']!r}.")
    named = {
        name: getattr(wanted, name) for option, names in NAMED.items() if options[option] for name in names
    }
    about = {"prompt": wanted.prompt, "project": wanted.project, "title": wanted.title, **named}
    try:
        return lifecycle.follow_up(previous, by=wanted.by, **about)
    except SpecError as gone:
        raise CommandError(f"follow: {gone.errors['previous']}") from None


def _submitter(email: str | None) -> User:
    if email:
        person = User.objects.filter(email__iexact=email.strip(), is_active=True).first()
    else:
        person = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if person is None:
        missing = f"active person {email}" if email else "active operator; name someone with --user"
        raise CommandError(f"user: there is no {missing}.")
    return person


def _standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise CommandError("prompt: standard input is not UTF-8 text.") from None


def _text(name: str, value: str) -> str:
    """Return a text that the database can store; bytes that were no UTF-8 arrive as lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CommandError(f"{name}: this is not UTF-8 text.") from None
    return value


def _schema(path: Path) -> tuple[str, object]:
    """Read a schema file; the schema is named after it."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)[:64], _json("schema", path)


def _tools(path: Path) -> tuple[Any, ...]:
    found = _json("tools", path)
    if not isinstance(found, list):
        raise CommandError(f"tools: {path} is no JSON list.")
    return tuple(found)


def _json(name: str, path: Path) -> object:
    """Read the JSON file of an option."""
    try:
        return schemas.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"{name}: {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CommandError(f"{name}: {path} is not UTF-8 text.") from None
    except schemas.SchemaTextError as error:
        raise CommandError(
            f"{name}: {path}, line {error.line}, column {error.column}: {error.message}"
        ) from None


def _given(path: Path, *, project: Project, by: User) -> Given:
    """Keep a file in the project, to be given with the job."""
    if not project.may(by, Act.SUBMIT):
        raise CommandError(f"attach: {by} may not submit to this project.")
    try:
        kept = lifecycle.keep_file(path.read_bytes(), project=project, by=by)
    except OSError as error:
        raise CommandError(f"attach: {path} cannot be read: {error.strerror}.") from None
    except attachments.Unreadable as refused:
        raise CommandError(f"attach: {path}: {refused}") from None
    return Given(kept, attachments.clean_name(path.name))


def _submit(wanted: JobSpec) -> Job:
    try:
        return lifecycle.submit(wanted)
    except SpecError as wrong:
        errors = wrong.errors
        undocumented = ModelSpec.objects.filter(pk=wanted.model).values_list(
            "undocumented_efforts", flat=True
        )
        if "effort" in errors and any(wanted.effort in efforts for efforts in undocumented):
            errors["effort"] += " --accept-undocumented confirms it."
        lines = [f"{name}: {message}" for name, message in errors.items()]
        raise CommandError("\n".join(lines)) from None
    except spend.NoCap:
        raise CommandError(
            "Refused: this project has no cap yet; a manager sets it.", returncode=REFUSED
        ) from None
    except spend.BudgetRefused as refused:
        left = _usd(refused.left) if refused.left > 0 else "nothing"
        said = (
            f"Refused: the {refused.budget} leaves {left} in {refused.month:%B %Y}, the job may cost "
            f"{_usd(refused.ceiling)}: {_usd(refused.shortfall)} too much. {_what_fits(wanted)}"
        )
        raise CommandError(said, returncode=REFUSED) from None


def _what_fits(wanted: JobSpec) -> str:
    ceiling = lifecycle.ceiling_of(wanted)
    assert ceiling is not None  # admission refused it, so it could be priced
    periods = spend.periods_now(wanted.project, wanted.by.pk)
    rooms = [period.left for period in periods if period.budget.refuses]
    if not rooms:
        return "It would fit by now."
    if wanted.project.job_limit is not None:
        rooms.append(wanted.project.job_limit)
    fits = pricing.fitting_output(
        ceiling.price.rates,
        room=min(rooms),
        input_tokens=ceiling.input_bound,
        maximum=wanted.max_output_tokens,
        window=wanted.window,
        mode_factor=ceiling.spec.mode_factor(wanted.mode),
        tool_calls=ceiling.tool_calls,
    )
    said = f"--max-output-tokens {fits} would fit." if fits else "No output limit would fit."
    today = Workspace.objects.the().today()
    used = set(wanted.project.allowed_models.values_list("pk", flat=True))
    prices = {price.model_id: price for price in Price.objects.in_force(today)}
    prices = {name: price for name, price in prices.items() if not used or name in used}
    other = lifecycle.instead(wanted, prices, min(rooms), today)
    if other is None:
        return said
    # All that a model's own defaults could change: to be added as it stands.
    words = (
        f"--model {other.model} --mode {other.mode} --effort {other.effort} --window {other.window}"
        f" --max-output-tokens {other.max_output_tokens}"
    )
    return f"{said} So would {words}."


def _state(job: Job) -> str:
    connection = job.project.connection
    if job.status == Status.WAITING and connection.paused_at:
        return CONTROL.sub("", f"Waiting: {connection} is paused ({connection.paused_reason})")
    return job.get_status_display()


def _as_json(job: Job) -> dict[str, Any]:
    """Return what --json prints; money as text, USD, so that no digit is lost."""
    answer = Answer.objects.filter(job=job).first()
    used = Attempt.objects.filter(job=job, usage__isnull=False).order_by("number").last()
    return {
        "id": job.short_id,
        "url": job.get_absolute_url(),
        "status": job.status,
        "cost": f"{job.cost:f}",
        "ceiling": f"{job.worst_case:f}",
        "model": job.model_id,
        "effort": job.effort,
        "answer": answer.text if answer else None,
        "parsed": answer.parsed if answer else None,
        "validation_errors": answer.validation_errors if answer else [],
        "error": _error_of(job),
        "usage": used.usage if used else None,
    }


def _error_of(job: Job) -> dict[str, str] | None:
    """Return why a job did not complete, if it says so."""
    code = job.error_code or job.incomplete_reason
    if not code:
        return None
    last = Attempt.objects.filter(job=job).order_by("number").last()
    return {"code": code, "message": last.error_message if last else ""}


def _usd(amount: Decimal) -> str:
    """Return USD to the last digit that counts: $1.30, $0.0123."""
    whole, _, part = f"{amount.normalize():f}".partition(".")
    return f"${whole}.{part:0<2}"
