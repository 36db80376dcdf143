"""Says what is still to do before a team comes: for the operator of a new installation."""

from dataclasses import dataclass

from django.urls import reverse

from jobs.models import Budget, Invitation, Scope, User
from jobs.models.trail import trail_of
from jobs.templatetags import ui
from jobs.views.frame import Frame


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, and the link that leads to it."""

    text: str
    is_done: bool
    link: str = ""
    url: str = ""


def first_steps(frame: Frame) -> list[Step]:
    """Return the steps for an operator, in order; this page shows that the first is done."""
    steps = [
        Step("Database and workers are running", is_done=True),
        Step("Connect OpenAI or Azure", frame.is_connected, "Add a key", reverse("connection_new")),
    ]
    budget = (
        Budget.objects.filter(scope=Scope.PROJECT, project__archived_at=None)
        .select_related("project__connection")
        .order_by("project__connection__is_practice", "project")
        .first()
    )
    if budget is not None and budget.project is not None:
        # Whatever was written down about it by a person: `start` made the cap that stands first.
        is_set = trail_of(budget.project).filter(change_message__icontains="cap a month").exists()
        text = f"Set a monthly cap for {budget.project.name}"
        steps.append(
            Step(text, is_set, f"{ui.dollars(budget.cap)} now, change", f"/projects/{budget.project.slug}/")
        )
    has_team = User.objects.filter(is_active=True).exclude(pk=frame.user.pk).exists()
    is_invited = has_team or Invitation.objects.pending().exists()
    steps.append(Step("Invite people", is_invited, "Make a link", reverse("people")))
    return steps
