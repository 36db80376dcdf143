"""What staff may do to jobs from their list: it asks once more, goes through `lifecycle` and is logged."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from jobs import lifecycle, spend
from jobs.lifecycle import Decision
from jobs.models import IN_FLIGHT, UNASKABLE, Job, Status, User
from jobs.models.trail import note

MOST = 100  # jobs at once
# What may stand between the question and its answer.
GONE = (
    lifecycle.NotCancellable,
    lifecycle.NotPolled,
    lifecycle.NothingToRender,
    lifecycle.NotUnconfirmed,
    spend.BudgetRefused,
    spend.NoCap,
    lifecycle.OverJobLimit,
    lifecycle.PromptGone,
)


class Sure(forms.Form):
    """Nothing more to say than yes."""


class Resolution(forms.Form):
    """What to do with jobs of which nobody knows whether they were accepted, and why."""

    decision = forms.ChoiceField(
        choices=[
            (Decision.LOST, "They were lost: the holds are released, and charged if they turn up"),
            (Decision.PAID, "Count them as paid: the ceilings are booked, adjusted if usage turns up"),
            (Decision.RESEND, "Send them again: if the first sends turn up too, both are charged"),
        ],
        widget=forms.RadioSelect,
    )
    reason = forms.CharField(max_length=500, help_text="It is kept in the timeline and the ledger.")


@dataclass(frozen=True, slots=True)
class Act:
    """One act: its name in the list, what it will do in words, to which jobs, and how."""

    name: str
    title: str
    consequence: str
    fits: Callable[[Job], bool]
    do: Callable[[Job, User, dict[str, Any]], object]
    form: type[forms.Form] = Sure

    def run(self, page: Any, request: HttpRequest, rows: QuerySet[Job]) -> HttpResponse | None:
        """Ask whether to do it, or do it if that was answered."""
        jobs = list(rows.select_related("project__connection", "submitted_by").order_by("pk")[: MOST + 1])
        if len(jobs) > MOST:
            messages.error(request, f"At most {MOST} jobs at once.")
            return None
        form = self.form(request.POST if "sure" in request.POST else None)
        fitting = [job for job in jobs if self.fits(job)]
        if form.is_valid():
            self._do(request, fitting, form.cleaned_data)
            return None
        context = {
            **page.admin_site.each_context(request),
            "title": self.title,
            "opts": page.model._meta,
            "act": self,
            "form": form,
            "fitting": fitting,
            "others": [job for job in jobs if job not in fitting],
            "chosen": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/act.html", context)

    def _do(self, request: HttpRequest, jobs: list[Job], given: dict[str, Any]) -> None:
        user, done = request.user, 0
        assert isinstance(user, User)
        for job in jobs:
            try:
                self.do(job, user, given)
            except GONE as refusal:
                messages.warning(request, f"Job {job}: {str(refusal) or 'it is not in that state any more'}.")
            else:
                words = " ".join(filter(None, (str(given.get("decision", "")), str(given.get("reason", "")))))
                note(user, job, f"{self.title}{f': {words}' if words else ''}")
                done += 1
        messages.success(request, f"{self.title}: {done} of {len(jobs)} done.")


def _resolve(job: Job, by: User, given: dict[str, Any]) -> None:
    lifecycle.resolve(job.pk, Decision(given["decision"]), by=by, reason=given["reason"])


def _is_followed(job: Job) -> bool:
    return job.next_action_at is not None and job.status not in UNASKABLE


ACTS = (
    Act(
        "cancel",
        "Cancel jobs",
        "What was not sent is cancelled at once and costs nothing. Of what runs, the other side is asked to "
        "stop: tokens used so far are charged.",
        lambda job: job.can_be_cancelled,
        lambda job, by, _: lifecycle.cancel(job.pk, by=by),
    ),
    Act(
        "poll_now",
        "Poll jobs now",
        "The other side is asked about them at once instead of at their next turn. It costs nothing.",
        _is_followed,
        lambda job, by, _: lifecycle.poll_now(job.pk, by=by),
    ),
    Act(
        "render_again",
        "Render answers again",
        "The HTML of their answers is made anew; until then their text is shown. It costs nothing.",
        lambda job: job.status not in (Status.WAITING, Status.SENDING, *IN_FLIGHT),
        lambda job, _, __: lifecycle.render_again(job.pk),
    ),
    Act(
        "resolve",
        "Resolve unconfirmed jobs",
        "Nobody knows whether the other side took them. Their holds stay until someone decides.",
        lambda job: job.status == Status.UNCONFIRMED,
        _resolve,
        Resolution,
    ),
)


def offered(act: Act) -> Any:
    """Return an act as an entry of the list's menu, for those who may operate."""

    @admin.action(description=act.title, permissions=["operate"])
    def chosen(page: Any, request: HttpRequest, rows: QuerySet[Job]) -> HttpResponse | None:
        return act.run(page, request, rows)

    chosen.__name__ = act.name
    return chosen
