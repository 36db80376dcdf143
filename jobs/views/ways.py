"""Offers ways on from a job that stopped early or takes long: what each changes, and what it costs."""

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

from django.db.models import Exists, Q

from jobs import forecast, lifecycle, pricing
from jobs.lifecycle import JobSpec, usual_seconds
from jobs.models import Job, ModelSpec, Price, Project, Status, User
from jobs.models.catalogue import SOONEST
from jobs.models.outcomes import Kind, Odds, Run
from jobs.models.questions import Blank, Question
from jobs.openai_client import WINDOW_REFUSED
from jobs.pricing import Usage
from jobs.templatetags import ui
from jobs.views import words

STANDARD = "standard"


@dataclass(frozen=True, slots=True)
class Way:
    """One way on: a new job with other settings, its likely cost and its ceiling in USD.

    `problem` says why it needs an approval; '' if it needs none. `is_best` marks the one that past jobs
    speak for most.
    """

    key: str
    title: str
    why: str
    button: str
    changes: Mapping[str, Any] = field(repr=False)
    low: Decimal
    high: Decimal
    ceiling: Decimal
    run: Run
    problem: str = ""
    is_best: bool = False

    def spec(self, job: Job, *, by: User, submission_key: str) -> JobSpec:
        """Return the new job as someone's own; what was confirmed for the first stays confirmed."""
        return dataclasses.replace(
            lifecycle.asked(job, by=by),
            rerun_of=job,
            accepts_undocumented=True,
            submission_key=submission_key,
            **self.changes,
        )


@dataclass(frozen=True, slots=True)
class _Ground:
    """What the prices of ways rest on: the job, the input tokens it read, and today's price of each model."""

    job: Job
    read: int
    prices: Mapping[str, Price]


def ways_on(job: Job, usage: Usage | None, today: dt.date) -> Sequence[Way]:
    """Return the ways on from a job that used up its output limit; one query."""
    if job.incomplete_reason != forecast.RAN_OUT:
        return []
    read = usage.input_tokens if usage else forecast.guess_input_tokens(job.prompt.text)
    ground = _Ground(job, read, _prices(job.project, today))
    used = usage.output_tokens if usage else job.max_output_tokens
    found = [_more_room(ground, used), _less_effort(ground), _lesser_model(ground)]
    return [way for way in found if way is not None]


def with_odds(job: Job, ways: Sequence[Way], usage: Usage | None, seen: Sequence[int]) -> Sequence[Way]:
    """Return ways with what past jobs say for or against each; one query.

    Those of its project count, or of the projects whose ids are `seen`. The best is one by which
    half of these or more were completed; of equals it is the cheapest.
    """
    used = usage.output_tokens if usage else job.max_output_tokens
    odds = forecast.odds_of(job, [way.run for way in ways], used=used, seen=seen) if ways else []
    told = [
        dataclasses.replace(way, why=_told(job, way, found)) if found else way
        for way, found in zip(ways, odds, strict=True)
    ]
    good = {place: found.part for place, found in enumerate(odds) if found and found.part >= 0.5}
    good = {place: part for place, part in good.items() if not ways[place].problem}
    best = max(good, key=lambda place: (good[place], -ways[place].ceiling), default=None)
    return [dataclasses.replace(way, is_best=place == best) for place, way in enumerate(told)]


def way_of(job: Job, key: str, today: dt.date) -> Way | None:
    """Return the way of a key, if it is open to a job as it is now."""
    if not hasattr(job, "prompt"):
        return None
    beside = way_beside(job, today)
    found = [*ways_on(job, None, today), *([beside] if beside else [])]
    soonest = way_at_once(job, today)
    found += [soonest] if soonest else []
    return next((way for way in found if way.key == key), None)


def way_beside(job: Job, today: dt.date) -> Way | None:
    """Return the way to have a job in flight done by a smaller model as well; one query."""
    if not job.is_in_flight or not _is_measurable(job):
        return None
    read = forecast.guess_input_tokens(job.prompt.text)
    return _lesser_model(_Ground(job, read, _prices(job.project, today)))


def way_at_once(job: Job, today: dt.date) -> Way | None:
    """Return the way to have a job answered as soon as possible whose completion window was refused."""
    price = _prices(job.project, today).get(job.model_id) if job.error_code == WINDOW_REFUSED else None
    if price is None:
        return None
    return _way(
        _Ground(job, forecast.guess_input_tokens(job.prompt.text), {job.model_id: price}),
        price,
        key=SOONEST,
        title="Run it as soon as possible",
        why="The same job without a discount.",
        button="Run it as soon as possible",
        changes={"window": SOONEST},
        output=job.model.usual_output(job.effort, job.mode)[::2],
    )


def way_first(job: Job, today: dt.date) -> Way | None:
    """Return the way to try a job that waits for approval on a smaller model, where that needs none.

    One query.
    """
    if job.status != Status.AWAITING_APPROVAL or not _is_measurable(job):
        return None
    read = forecast.guess_input_tokens(job.prompt.text)
    return _lesser_model(_Ground(job, read, _prices(job.project, today)), within_limit=True)


def _more_room(ground: _Ground, used: int) -> Way | None:
    job = ground.job
    limit = min(job.max_output_tokens * 2, job.model.max_output_tokens)
    price = ground.prices.get(job.model_id)
    if price is None or limit <= job.max_output_tokens:
        return None
    # It has just shown what it needs at least; where that is more than usual, all up to the limit is likely.
    low, _, high = job.model.usual_output(job.effort, job.mode)
    least = max(low, used)
    return _way(
        ground,
        price,
        key="limit",
        title=f"Raise the limit to {limit:,} tokens",
        why="The same job with more room to think and write.",
        button=f"Run with {limit:,}",
        changes={"max_output_tokens": limit},
        output=(least, high if high > least else limit),
    )


def _less_effort(ground: _Ground) -> Way | None:
    job = ground.job
    efforts = [
        effort
        for effort in job.model.efforts
        if not job.project.allowed_efforts or effort in (*job.project.allowed_efforts, job.effort)
    ]
    price = ground.prices.get(job.model_id)
    place = efforts.index(job.effort) if job.effort in efforts else 0
    if price is None or place == 0:
        return None
    lower = efforts[place - 1]
    return _way(
        ground,
        price,
        key="effort",
        title=f"Lower the effort to {lower}",
        why="Same limit. It thinks less, so more of it is left for the answer.",
        button=f"Run on {lower}",
        changes={"effort": lower},
        output=job.model.usual_output(lower, job.mode)[::2],
    )


def _lesser_model(ground: _Ground, *, within_limit: bool = False) -> Way | None:
    """Return the next smaller model that can do the job for less, or that needs no approval for it."""
    job = ground.job
    if not _is_measurable(job):
        return None
    for price in sorted(ground.prices.values(), key=lambda price: -price.model.rung):
        spec = price.model
        if spec.rung >= job.model.rung or not _can_do(spec, job):
            continue
        effort = job.effort if job.effort in spec.efforts else spec.default_effort
        allowed = job.project.allowed_efforts
        mode = STANDARD if STANDARD in spec.modes else spec.modes[0]
        limit = min(job.max_output_tokens, spec.max_output_tokens)
        way = _way(
            ground,
            price,
            key="model",
            title=f"Try {spec.pk} first, {effort} effort",
            why=f"{'Same' if limit == job.max_output_tokens else 'Its own'} limit. "
            f"Usually takes {words.usually(*usual_seconds(spec, effort))}.",
            button=f"Run on {spec.pk}",
            changes={
                "model": spec.pk,
                "effort": effort,
                "mode": mode,
                "max_output_tokens": limit,
                "window": job.window if job.window in price.windows_offered else SOONEST,
            },
            output=spec.usual_output(effort, mode)[::2],
        )
        if within_limit and way.problem:
            continue
        if way.ceiling < job.worst_case and (not allowed or effort in allowed):
            return way
    return None


def _told(job: Job, way: Way, odds: Odds) -> str:
    """Say what past jobs say for or against a way."""
    jobs = f"{odds.done:,} of {odds.n:,} jobs that"
    if way.run.kind == Kind(job.model_id, job.effort, job.mode):
        return f"{jobs} needed more than {job.max_output_tokens:,} finished within this."
    return f"{jobs} ran out like this one finished when they were run this way."


def _is_measurable(job: Job) -> bool:
    """Tell whether a job's ceiling on another model is known here.

    What a thread, files and tools read there is not, so that the ceiling would be a guess.
    """
    return job.previous_id is None and not job.max_tool_calls and not getattr(job, "attachment_count", 0)


def _can_do(spec: ModelSpec, job: Job) -> bool:
    """Tell whether a model has what the job asks for, and room for it."""
    needed = {"structured"} if job.prompt.schema is not None else set()
    needed |= {"functions"} if job.prompt.tools else set()
    return needed <= set(spec.capabilities) and job.input_bound < spec.context_window


def _way(
    ground: _Ground, price: Price, *, changes: Mapping[str, Any], output: tuple[int, int], **said: Any
) -> Way:
    """Price a way: all of the job's settings, but for `changes`."""
    job, spec = ground.job, price.model
    limit, mode = changes.get("max_output_tokens", job.max_output_tokens), changes.get("mode", job.mode)
    factor = spec.mode_factor(mode)
    window = changes.get("window", job.window)
    kind = Kind(spec.pk, changes.get("effort", job.effort), mode)
    if spec.pk == job.model_id:
        ceiling = lifecycle.worst_case(job, price, max_output_tokens=limit, window=window)
    else:
        ceiling = pricing.worst_case(
            price.rates,
            input_tokens=job.input_bound,
            max_output_tokens=limit,
            window=window,
            mode_factor=factor,
        )
    low, high = pricing.likely(
        rates=price.rates,
        input_tokens=ground.read,
        output_low=output[0],
        output_high=output[1],
        max_output_tokens=limit,
        window=window,
        mode_factor=factor,
    )
    limit_per_job = job.project.job_limit
    problem = ""
    if limit_per_job is not None and ceiling > limit_per_job:
        problem = f"Over the {ui.money(limit_per_job)} limit per job"
    low, high = min(low, ceiling), min(high, ceiling)
    run = Run(kind, limit, room=int(limit * factor))
    return Way(changes=changes, low=low, high=high, ceiling=ceiling, run=run, problem=problem, **said)


def _prices(project: Project, today: dt.date) -> dict[str, Price]:
    """Return today's price of every living model that a project uses."""
    return {price.model_id: price for price in _in_force().ask(project=project.pk, day=today)}


@lru_cache
def _in_force() -> Question[Price]:
    chosen = Project.allowed_models.through.objects.filter(project=Blank("project"))
    used = Q(model__in=chosen.values("modelspec")) | ~Exists(chosen)
    return Question(Price.objects.filter(used).in_force(Blank("day")))
