"""Prices a job that goes on from another, and says in words why it cannot be sent."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from jobs import lifecycle, spend
from jobs.forecast import Likely
from jobs.lifecycle import JobSpec, SpecError
from jobs.models import AskedBecause, Job
from jobs.views.panel import NO_CAP, Offer, Panel, settled, too_little

# What keeps a job from being sent; `in_words` says each.
REFUSALS = (SpecError, spend.BudgetRefused, spend.NoCap)


@dataclass(frozen=True, slots=True)
class Quote:
    """What a job would likely cost and can cost at most (USD), and what is in its way.

    `fitting` is an output limit (tokens) with which it would fit, None if there is none or nothing is in the
    way; `instead` says where it would fit as it is: on o3. `asks` is what `approvers`, people's names, can
    get out of the way. `models`, `efforts` and `modes` are what may be chosen instead, each with what is
    chosen now.
    """

    wanted: JobSpec
    likely: Likely | None
    ceiling: Decimal | None
    models: Sequence[str]
    efforts: Sequence[str]
    modes: Sequence[str]
    problem: str = ""
    fitting: int | None = None
    instead: str = ""
    asks: AskedBecause | None = None
    approvers: str = ""


def quote_of(
    wanted: JobSpec, offer: Offer, *, unwritten: Collection[str] = (), gone: Mapping[str, str] | None = None
) -> Quote:
    """Price a spec from our own rows; problems of the fields in `unwritten` are not told yet.

    `gone` are fields with a file that is no longer there, each with a sentence.
    """
    panel = Panel(
        offer, dataclasses.replace(wanted, project=offer.projects.get(wanted.project.slug, wanted.project))
    )
    models = dict.fromkeys([*offer.models_of(panel.wanted.project), wanted.model])
    efforts = dict.fromkeys([*panel.efforts, wanted.effort])
    modes = dict.fromkeys([*panel.modes, wanted.mode])
    found = Quote(wanted, panel.likely, panel.ceiling, list(models), list(efforts), list(modes))
    if (block := panel.obstacle) is not None:
        approvers = panel.approvers if block.asks == AskedBecause.LIMIT else ""
        return dataclasses.replace(
            found,
            problem=block.message,
            fitting=block.fitting,
            instead=panel.instead_said,
            asks=block.asks,
            approvers=approvers,
        )
    problems = lifecycle.problems_of(wanted)
    told = [message for name, message in problems.items() if name not in unwritten]
    return dataclasses.replace(found, problem=next(iter([*(gone or {}).values(), *told]), ""))


def as_offered(wanted: JobSpec, job: Job, offer: Callable[[], Offer]) -> JobSpec:
    """Return a follow-up of a job with an effort and a mode that its model has, where that is another one."""
    is_as_before = (wanted.model, wanted.effort) == (job.model_id, job.effort)
    return wanted if is_as_before else settled(wanted, offer())


def in_words(refusal: Exception, *, told: Collection[str] = (), is_own: bool = True) -> str:
    """Say why a job was refused (one of `REFUSALS`); errors of the fields in `told` stand at their fields.

    The job is the reader's if `is_own`.
    """
    if isinstance(refusal, SpecError):
        return " ".join(message for name, message in refusal.errors.items() if name not in told)
    if isinstance(refusal, spend.BudgetRefused):
        return too_little(refusal.ceiling, refusal.left, refusal.budget, is_own=is_own)
    return NO_CAP
