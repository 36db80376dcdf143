"""Offers to ask once more for the rows of a result that do not fit: the question, and its ceiling."""

from dataclasses import dataclass
from decimal import Decimal

from jobs import lifecycle
from jobs.models import Job
from jobs.views.answer import Result
from jobs.views.frame import Frame
from jobs.views.panel import Offer
from jobs.views.quote import as_offered


@dataclass(frozen=True, slots=True)
class Correction:
    """A follow-up that asks for `rows` alone, of `bad` that do not fit.

    `ceiling` is USD, None where no model can be chosen for it.
    """

    rows: list[int]
    bad: int
    prompt: str
    ceiling: Decimal | None


def correction_of(job: Job, result: Result | None, person: Frame) -> Correction | None:
    """Return what would be sent at a click, priced as the send will be; None where every row fits."""
    if result is None or not result.bad_rows:
        return None
    wanted = lifecycle.follow_up(job, by=person.user, prompt=result.correction)
    ceiling = lifecycle.ceiling_of(as_offered(wanted, job, lambda: Offer.to(person)))
    return Correction(
        result.fixed_rows, len(result.bad_rows), result.correction, ceiling.worst_case if ceiling else None
    )
