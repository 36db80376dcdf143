"""Writes a plan's rows as lines of COPY: jobs, prompts, attempts, answers, words, ledger, timeline."""

import datetime as dt
import json
import random
from collections.abc import Iterable, Iterator
from itertools import batched
from typing import Any

from jobs.models import Answer, Attempt, Event, Job, JobText, LedgerEntry, Project, Prompt
from jobs.rendering import RENDERER_VERSION
from tests.bench.seed_plan import DAY, ENDS, NOUNS, Plan, Texts

WITH_EVENTS = 100_000  # newest jobs that have a timeline
CHUNK = 5_000  # lines handed over at once


def write(cursor: Any, plan: Plan, texts: Texts, draw: random.Random) -> None:
    bits, uuid_of = draw.getrandbits, "{:032x}".format
    day_names = {
        day: f"{dt.date(1970, 1, 1) + dt.timedelta(days=day)} "
        for day in range(plan.begun[0] // DAY, plan.begun[-1] // DAY + 3)
    }
    connections = dict(Project.objects.values_list("pk", "connection"))

    def at(moment: int) -> str:
        day, rest = divmod(moment, DAY)
        return f"{day_names[day]}{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"

    titles = [f"The {a} of the {b}" for a in NOUNS for b in NOUNS]
    title_words = [f"{texts.nouns[a]} {texts.nouns[b]}" for a in NOUNS for b in NOUNS]

    def jobs() -> Iterator[str]:
        for n, begun, project, person, sort, end in zip(
            plan.numbers(), plan.begun, plan.project, plan.person, plan.sort, plan.end, strict=True
        ):
            begin, ends, due, cost = at(begun), r"\N", r"\N", "0"
            if end in ENDS:
                ends = at(begun + sort.seconds)
                cost = "0" if end == "failed" else sort.half if end == "cancelled" else sort.cost
            elif end != "unconfirmed":
                due = "2100-01-01"
            sent = r"\N" if end == "waiting" else begin
            why = "server_error" if end == "failed" else ""
            stopped = "max_output_tokens" if end == "incomplete" else ""
            tags = f"{{tag-{n % 37}}}" if n % 3 == 0 else "{}"
            yield (
                f"{n}\t{uuid_of(bits(128))}\tj_{n:08}\t{project}\t{person}\t{sort.model}\t{sort.effort}\t{tags}"
                f"\t{end}\t{due}\t{begin}\t{sent}\t{ends}\t{sort.worst}\t{cost}\t{why}\t{stopped}\t{n:064x}\n"
            )

    columns = (
        "id uuid short_id project_id submitted_by_id model_id effort tags status next_action_at created_at "
        "sent_at finished_at worst_case cost error_code incomplete_reason fingerprint"
    )
    _copy(cursor, Job, columns, jobs(), max_output_tokens=40_000, input_bound=25_000, version=3)
    numbered = zip(plan.numbers(), plan.text, strict=True)
    prompts = (f"{n}\t{titles[n % len(titles)]}, case {n}\t{texts.prompts[text]}\n" for n, text in numbered)
    _copy(cursor, Prompt, "job_id title text", prompts)

    def attempts() -> Iterator[str]:
        for n, begun, project, sort, end in zip(
            plan.numbers(), plan.begun, plan.project, plan.sort, plan.end, strict=True
        ):
            is_over = end in ENDS
            state = (
                "ended" if is_over else {"waiting": "planned", "unconfirmed": "unconfirmed"}.get(end, "known")
            )
            begin, ends = at(begun), at(begun + sort.seconds) if is_over else r"\N"
            sent, response = (
                (r"\N", "") if end == "waiting" else (begin, f"resp_{n}" * (end != "unconfirmed"))
            )
            usage = sort.usage if end in ("completed", "incomplete") else r"\N"
            cost = "0" if end == "failed" or not is_over else sort.half if end == "cancelled" else sort.cost
            yield (
                f"{n}\t{n}\t{state}\t{connections[project]}\t{sort.price}\t{uuid_of(bits(128))}\t{sort.worst}"
                f"\t{response}\t{begin}\t{sent}\t{ends}\t{ends}\t{end if is_over else ''}\t{usage}\t{cost}\n"
            )

    columns = (
        "id job_id state connection_id price_id nonce worst_case response_id created_at sent_at end_seen_at "
        "ended_at end_status usage cost"
    )
    _copy(cursor, Attempt, columns, attempts(), number=1, service_tier="default")
    answered = (
        f"{n}\t{n}\t{texts.answers[text]}\t<p>{texts.answers[text]}</p>\n"
        for n, text, end in zip(plan.numbers(), plan.text, plan.end, strict=True)
        if end == "completed"
    )
    _copy(cursor, Answer, "job_id attempt_id text html", answered, renderer_version=RENDERER_VERSION)
    words = (
        f"{n}\t'case':6 '{n}':7 {title_words[n % len(titles)]} {texts.prompt_words[text]}"
        f" {texts.answer_words[text] if end == 'completed' else ''}\n"
        for n, text, end in zip(plan.numbers(), plan.text, plan.end, strict=True)
    )
    _copy(cursor, JobText, "job_id vector", words)

    def ledger() -> Iterator[str]:
        number = 0
        for n, begun, project, person, sort, end in zip(
            plan.numbers(), plan.begun, plan.project, plan.person, plan.sort, plan.end, strict=True
        ):
            day = day_names[begun // DAY]
            month = f"{day[:8]}01"
            who = f"{project}\t{person}\t{n}\t{n}\t{month}\t{day}"
            begin = at(begun)
            number += 1
            yield f"{number}\thold\t{who}\t{sort.worst}\t\t0\t0\t0\t0\t{sort.price}\thold:{n}\t{begin}\n"
            if end not in ENDS:
                continue
            ends = at(begun + sort.seconds)
            basis, cost, tokens = "usage", sort.cost, "\t".join(map(str, sort.tokens))
            if end in ("failed", "cancelled"):
                tokens = "0\t0\t0\t0"
                basis, cost = ("none", "0") if end == "failed" else ("estimate", sort.half)
            number += 2
            yield (
                f"{number - 1}\trelease\t{who}\t-{sort.worst}\t\t0\t0\t0\t0\t{sort.price}"
                f"\trelease:{n}:1\t{ends}\n"
                f"{number}\tcharge\t{who}\t{cost}\t{basis}\t{tokens}\t{sort.price}\tcharge:{n}:2\t{ends}\n"
            )

    columns = (
        "id kind project_id user_id job_id attempt_id month spent_on amount basis input_tokens cached_tokens "
        "output_tokens reasoning_tokens price_id idempotency_key created_at"
    )
    _copy(cursor, LedgerEntry, columns, ledger())
    newest = plan.numbers()[-WITH_EVENTS:]
    events = (
        f"{2 * n + after}\t{n}\t{n}\t{plan.end[n - 1] if after else 'submitted'}"
        f"\t{at(plan.begun[n - 1] + after * plan.sort[n - 1].seconds)}\n"
        for n in newest
        for after in ((0, 1) if plan.end[n - 1] in ENDS else (0,))
    )
    _copy(cursor, Event, "id job_id attempt_id kind at", events)


def _copy(cursor: Any, model: Any, columns: str, lines: Iterable[str], **constant: Any) -> None:
    """Copy lines into a model's table; columns not named get `constant`, or what the model gives."""
    table, given = model._meta.db_table, columns.split()
    rest = [
        field
        for field in model._meta.concrete_fields
        if field.column not in given and not field.null and not field.has_db_default()
    ]
    for field in rest:
        value = constant.get(field.name, field.get_default() if field.has_default() else "")
        shown = f"'{json.dumps(value) if isinstance(value, list) else value}'"
        cursor.execute(f'ALTER TABLE {table} ALTER "{field.column}" SET DEFAULT {shown}')
    # Frozen: all of it is seen by everyone, so no first reader has to find that out row by row.
    with cursor.copy(f"COPY {table} ({', '.join(given)}) FROM STDIN (FREEZE)") as copy:
        for chunk in batched(lines, CHUNK, strict=False):
            copy.write("".join(chunk))
    for field in rest:
        cursor.execute(f'ALTER TABLE {table} ALTER "{field.column}" DROP DEFAULT')
