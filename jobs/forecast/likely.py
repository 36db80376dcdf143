"""Says what a job will likely cost, and whether less would do: from history, else the catalogue's prior."""

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import CharField, Subquery, Sum
from django.db.models.functions import Cast, JSONObject

from jobs import pricing
from jobs.models import (
    Attempt,
    DailySpend,
    Job,
    ModelSpec,
    Price,
    Project,
    Verdict,
    VerdictValue,
)
from jobs.models.outcomes import Kind, Odds, Run, outcomes
from jobs.models.past import past_outputs

RAN_OUT = "max_output_tokens"  # why a job is incomplete that used up its output limit
ENOUGH = 20  # jobs from which history is trusted more than the prior
LOOK_BACK = 200  # newest jobs that count
JUDGED_AMONG = 2_000  # newest jobs of a project whose verdicts count: a few milliseconds
TRIED = 100  # newest jobs that are held against the range the ones before them gave: a millisecond
TELLING = 10  # jobs from which odds are told


class Rests(Enum):
    """What a likely cost rests on."""

    PROJECT = "project"  # jobs of the project
    OTHERS = "others"  # jobs of other projects that a person sees
    PRIOR = "prior"  # the catalogue's usual use


@dataclass(frozen=True, slots=True)
class Likely:
    """A range in USD that 8 in 10 jobs like this fall into; it rests on `n` jobs, or on the prior (0).

    `tried` of these jobs were held against the range that the ones before them give; `within` fell into it.
    """

    low: Decimal
    high: Decimal
    n: int
    rests: Rests = Rests.PRIOR
    tried: int = 0
    within: int = 0

    @property
    def is_of_others(self) -> bool:
        return self.rests == Rests.OTHERS

    @property
    def percent_within(self) -> int:
        """How many of a hundred fell into their range; 80 is what it is meant to be."""
        return round(self.within * 100 / self.tried) if self.tried else 0


def likely_of(
    job: Job,
    price: Price,
    *,
    previous: Job | None,
    others: Sequence[int],
    input_tokens: int | None = None,
) -> Likely:
    """Return the likely cost of a job that goes on from `previous`, at a price row; see `likely_cost`.

    Its input tokens are guessed where they are not known.
    """
    if input_tokens is None:
        input_tokens = guess_input_tokens(getattr(getattr(job, "prompt", None), "text", ""))
        input_tokens += guess_carried(previous) if previous else 0
    return likely_cost(
        job.project,
        job.model,
        price,
        effort=job.effort,
        input_tokens=input_tokens,
        max_output_tokens=job.max_output_tokens,
        mode=job.mode,
        window=job.window,
        others=[pk for pk in others if pk != job.project_id],
    )


def likely_cost(
    project: Project,
    spec: ModelSpec,
    price: Price,
    *,
    effort: str,
    input_tokens: int,
    max_output_tokens: int,
    mode: str = "standard",
    window: str = "soonest",
    others: Sequence[int] = (),
) -> Likely:
    """Return the likely cost of a job: P10 to P90 of what such jobs put out; one query.

    Jobs of its project count; where these are too few, those of `others` (ids of projects); else the prior.
    """
    kind = Kind(spec.pk, effort, mode)
    own, elsewhere = past_outputs(
        kind, project=project.pk, others=others, enough=ENOUGH, most=LOOK_BACK + TRIED
    )
    past, rests = (own, Rests.PROJECT) if len(own) >= ENOUGH else (elsewhere, Rests.OTHERS)
    if len(past) >= ENOUGH:
        low, high = _range(past[:LOOK_BACK])
        n = min(len(past), LOOK_BACK)
        tried, within = _tried(past)
    else:
        low, _, high = spec.usual_output(effort, mode)
        n, rests, tried, within = 0, Rests.PRIOR, 0, 0
    lowest, highest = pricing.likely(
        rates=price.rates,
        input_tokens=input_tokens,
        output_low=int(low),
        output_high=int(high),
        max_output_tokens=max_output_tokens,
        window=window,
        mode_factor=spec.mode_factor(mode),
    )
    return Likely(lowest, highest, n, rests, tried, within)


@dataclass(frozen=True, slots=True)
class Experience:
    """What a project knows of a smaller model, and what it sends to a dearer one.

    Of `judged` answers of the smaller one `right` were right. The `sent` jobs since a day cost `cost` on the
    dearer one, and `instead` is the price of the same tokens on the smaller one, USD.
    """

    judged: int
    right: int
    sent: int
    cost: Decimal
    instead: Decimal


def experience(
    project: Project, spec: ModelSpec, *, smaller: Price, smaller_mode: str, since: dt.date
) -> Experience:
    """Return what a project's verdicts and rollups say of a model and a smaller one, in one query."""
    newest = Job.objects.filter(project=project).order_by("-created_at", "-id").values("pk")[:JUDGED_AMONG]
    verdicts = Verdict.objects.filter(
        job__in=newest,
        job__model=smaller.model,
        job__mode=smaller_mode,
        value__in=[VerdictValue.RIGHT, VerdictValue.WRONG],
    )
    rollups = DailySpend.objects.filter(project=project, model=spec, spent_on__gte=since).order_by()
    sums = JSONObject(
        sent=Sum("jobs"),
        cost=Cast(Sum("cost"), CharField()),  # a number in JSON would lose digits
        input=Sum("input_tokens"),
        cached=Sum("cached_tokens"),
        output=Sum("output_tokens"),
    )
    asked = Project.objects.filter(pk=project.pk).values_list(
        ArraySubquery(verdicts.values("value")), Subquery(rollups.values("project").values_list(sums))
    )
    values, found = asked.get()
    found = found or {"sent": 0, "cost": "0", "input": 0, "cached": 0, "output": 0}
    instead = pricing.of_tokens(
        smaller.rates,
        input_tokens=found["input"],
        cached_tokens=found["cached"],
        output_tokens=found["output"],
    )
    right = values.count(VerdictValue.RIGHT)
    return Experience(len(values), right, found["sent"], Decimal(found["cost"]), instead)


def odds_of(job: Job, runs: Sequence[Run], *, used: int, seen: Sequence[int]) -> list[Odds | None]:
    """Return how each way to run a job went that ran out at `used` output tokens; one query.

    What its project knows counts; where that are fewer than TELLING jobs, what the projects know whose ids
    are `seen`. None where these are too few as well.
    """
    own = Kind(job.model_id, job.effort, job.mode)
    found = outcomes(runs, own=own, used=used, project=job.project_id, seen=seen)
    return [next((odds for odds in both if odds.n >= TELLING), None) for both in found]


def guess_input_tokens(text: str) -> int:
    """Guess a text's tokens for the likely range: a quarter of its characters, as English runs."""
    return max(8, len(text) // 4)


def guess_carried(previous: Job) -> int:
    """Guess the input tokens that a thread up to a job brings along: what it read and what it answered."""
    used = Attempt.objects.filter(job=previous, usage__isnull=False).order_by("-number")
    usage = pricing.Usage.reported(used.values_list("usage", flat=True).first())
    return usage.input_tokens + usage.answer_tokens if usage else previous.input_bound // 4


def quantile(values: Sequence[float], q: float) -> float:
    """Return the nearest-rank quantile of values that need not be sorted."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(q * len(ordered)) - 1))]


def _range(past: Sequence[int]) -> tuple[float, float]:
    return quantile(past, 0.1), quantile(past, 0.9)


def _tried(past: Sequence[int]) -> tuple[int, int]:
    """Hold each of the newest against the range that those before it gave; return how many, and how many fit.

    `past` is newest first. A range that few jobs gave is not held against anything.
    """
    tried = within = 0
    for place, tokens in enumerate(past[:TRIED]):
        before = past[place + 1 : place + 1 + LOOK_BACK]
        if len(before) < ENOUGH:
            break
        low, high = _range(before)
        tried += 1
        within += low <= tokens <= high
    return tried, within
