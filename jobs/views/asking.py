"""Gathers what approvers see of a job that waits for them: its price now, what is left, jobs like it."""

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from jobs import clock, forecast, lifecycle
from jobs.access import Act
from jobs.models import Approval, Budget, Job, Membership
from jobs.models.questions import Blank, Question
from jobs.templatetags import ui
from jobs.views import ways, words
from jobs.views.frame import Frame

ALIKE = 5  # earlier jobs that are shown


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, and what it comes to now, USD; `short` says why it cannot be approved, if so."""

    approval: Approval
    likely: forecast.Likely | None
    ceiling: Decimal | None
    left: Decimal | None
    short: str
    alike: list[Job]
    cheaper: ways.Way | None
    approvers: str


def asked_of(job: Job, frame: Frame, *, may_approve: bool) -> dict[str, Any]:
    """Return what the page of a job that waits for approval shows; six queries."""
    approval = Approval.objects.select_related("budget__project", "cheaper").filter(pk=job.pk).first()
    price = None if job.model.is_off(frame.today) else job.model.price_on(frame.today)
    if approval is None or not hasattr(job, "prompt"):
        return {"asked": None}
    ceiling = lifecycle.worst_case(job, price) if price else None
    budgets = Budget.objects.applying_to(job.project, job.submitted_by_id, job.token_id).standing()
    periods = budgets.select_related("project", "user").periods_in(clock.month_of(frame.today))
    hard = [period for period in periods if period.budget.is_hard]
    tightest = min(hard, key=lambda period: period.left, default=None)
    # It may be a person's own cap or the workspace's, which others in the project do not see.
    sees_left = may_approve or job.submitted_by_id == frame.user.pk
    others = frame.seen_with(job.project)
    likely = forecast.likely_of(job, price, previous=job.previous, others=others) if price else None
    short = "" if ceiling is not None else f"{job.model_id} cannot be chosen any more."
    if ceiling is not None and tightest is not None and (missing := tightest.missing(ceiling)):
        rest = f"{ui.money(tightest.left)} is left" if tightest.left > 0 else "nothing is left"
        short = (
            f"It needs {ui.ceiling(ceiling)}, and of the {tightest.budget} {rest} this month: "
            f"{ui.ceiling(missing)} too little."
        )
    return {
        "asked": Asked(
            approval,
            likely,
            ceiling,
            max(tightest.left, Decimal(0)) if tightest and sees_left else None,
            short,
            _alike().ask(project=job.project_id, model=job.model_id, effort=job.effort, mode=job.mode),
            ways.way_first(job, frame.today) if may_approve and approval.cheaper is None else None,
            approvers_of(job.project_id),
        )
    }


def approvers_of(project_id: int) -> str:
    """Name who may approve in a project: Ana or Tomás; an operator where nobody else may."""
    members = Membership.objects.that_may(Act.APPROVE).filter(project=project_id).select_related("user")
    names = [str(member.user) for member in members.order_by("-role", "user__name", "pk")[:3]]
    return words.either(names) if names else "An operator"


@lru_cache
def _alike() -> Question[Job]:
    """Ask for the newest answered jobs of a kind in a project: an index has them ready."""
    answered = Job.objects.filter(
        project=Blank("project"),
        model=Blank("model"),
        effort=Blank("effort"),
        mode=Blank("mode"),
        status__in=["completed", "incomplete"],
    )
    return Question(answered.for_list().order_by("-created_at", "-id")[:ALIKE])
