"""Asking for approval on the new-job page, and deciding about it on the job's own."""

import re
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from jobs import lifecycle, pricing, spend
from jobs.access import Role
from jobs.models import Approval, Event, Job, Project, Refusal, Status, User, Workspace
from jobs.models.requests import last_day
from tests.factories import a_person, a_project, a_spec
from tests.jobs.views.states import a_job
from tests.markup import faults

pytestmark = pytest.mark.django_db


@pytest.fixture
def ana(project: Project) -> Client:
    """An approver, signed in."""
    ana = a_person("ana@example.com")
    project.membership_set.create(user=ana, role=Role.APPROVER)
    client = Client()
    client.force_login(ana)
    return client


@pytest.fixture
def job(project: Project, mira: User) -> Job:
    """A job that waits for approval."""
    project.job_limit = Decimal("0.50")
    project.save()
    return lifecycle.ask(a_spec(project, mira), why="It settles the <lemma>.")


def typed(project: Project, mira: User, **more: Any) -> dict[str, Any]:
    spec = a_spec(project, mira)
    return {
        "project": project.slug,
        "prompt": spec.prompt,
        "model": spec.model,
        "mode": spec.mode,
        "effort": spec.effort,
        "max_output_tokens": "20,000",
        **more,
    }


def text(answer: Any) -> str:
    html = answer.content.decode()
    assert faults(html) == []
    return " ".join(html.split())


def test_over_the_limit_the_button_asks_and_names_who_may_approve(
    signed_in: Client, project: Project, mira: User, ana: Client
) -> None:
    Project.objects.update(job_limit=Decimal("0.50"))
    page = text(signed_in.post("/jobs/estimate/", typed(project, mira)))
    assert (
        "Over the $0.50 limit per job of this project. Ana must approve; nothing is sent until then." in page
    )
    assert "Ask for approval" in page
    assert "Send job" not in page
    assert 'name="use_tokens"' in page
    assert 'name="use_model"' in page
    answer = signed_in.post("/jobs/new/", typed(project, mira, ask="1", why="It settles the lemma."))
    job = Job.objects.get()
    assert answer["Location"] == job.get_absolute_url()
    assert (job.status, Approval.objects.get().why) == (Status.AWAITING_APPROVAL, "It settles the lemma.")


def test_without_budget_it_can_wait_for_room_and_send_stays_disabled(
    signed_in: Client, project: Project, mira: User
) -> None:
    spend.set_cap(Decimal("0.50"), project=project)
    page = text(signed_in.post("/jobs/estimate/", typed(project, mira)))
    assert "too little" in page
    assert '<button type="submit" class="btn primary lg" disabled>' in page
    assert "It waits meanwhile, with nothing held." in page
    answer = signed_in.post("/jobs/new/", typed(project, mira, ask="budget"))
    assert answer["Location"] == f"/budget/more/?job={Job.objects.get().short_id}"
    assert Approval.objects.get().reason == "budget"


def test_over_the_limit_and_without_room_it_says_both_and_can_get_both(
    signed_in: Client, project: Project, mira: User, ana: Client
) -> None:
    Project.objects.update(job_limit=Decimal("0.50"))
    spend.set_cap(Decimal("0.55"), project=project)
    page = text(signed_in.post("/jobs/estimate/", typed(project, mira)))
    assert "too little. Over the $0.50 limit per job of this project." in page
    fitting = re.search(r'name="use_tokens" value="(\d+)"', page)
    assert fitting
    # What is offered fits under both.
    again = text(signed_in.post("/jobs/estimate/", typed(project, mira, max_output_tokens=fitting[1])))
    assert "Send job" in again
    assert "too little" not in again
    answer = signed_in.post("/jobs/new/", typed(project, mira, ask="budget"))
    job, asked = Job.objects.get(), Approval.objects.get()
    assert (asked.reason, asked.budget, Refusal.objects.get().budget) == (
        "limit",
        *[project.budget_set.get()] * 2,
    )
    form = text(signed_in.get(answer["Location"]))
    assert f'name="amount" value="{pricing.ceil_cent(job.worst_case - Decimal("0.55"))}"' in form
    page = text(signed_in.get(job.get_absolute_url()))
    assert "$0.50, and the cap of Proofs had no room for it." in page
    assert "It can be approved once there is room" in page
    decision = text(ana.get(job.get_absolute_url()))
    assert "too little." in decision
    made = lifecycle.ask_for_budget(
        project.budget_set.get(),
        amount=Decimal(5),
        until=last_day(Workspace.objects.the().today()),
        why="Both.",
        by=mira,
        job=job,
    )
    lifecycle.grant_budget(made.pk, amount=Decimal(5), until=made.until, by=mira)
    lifecycle.hand_on(made.pk)
    job.refresh_from_db()
    assert job.status == Status.AWAITING_APPROVAL
    ana.post(f"{job.get_absolute_url()}approve/", {"ceiling": job.worst_case})
    job.refresh_from_db()
    assert job.status == Status.WAITING


def test_an_approver_reads_whose_cap_has_no_room(signed_in: Client, mira: User, ana: Client) -> None:
    real = a_project("real", is_practice=False, members={mira: Role.SUBMITTER})
    real.membership_set.create(user=User.objects.get(email="ana@example.com"), role=Role.APPROVER)
    Project.objects.update(job_limit=Decimal("0.50"))
    real.refresh_from_db()
    job = lifecycle.ask(a_spec(real, mira))
    spend.set_cap(Decimal("0.01"), user=mira)
    answer = ana.post(f"{job.get_absolute_url()}approve/", {"ceiling": job.worst_case}, follow=True)
    assert "$0.01 is left this month of the cap of Mira: " in text(answer)


def test_what_is_offered_instead_can_be_sent(signed_in: Client, project: Project, mira: User) -> None:
    def offered(**more: Any) -> str:
        page = text(signed_in.post("/jobs/estimate/", typed(project, mira, **more)))
        found = re.search(r'name="use_model" value="([^"]+)"[^>]*>(Run [^<]+)<', page)
        return " / ".join(found.groups()) if found else ""

    pro = {"model": "gpt-6-sol", "mode": "pro", "max_output_tokens": "2000"}
    spend.set_cap(Decimal("0.1"), project=project)
    assert offered(**pro) == "gpt-6-sol standard / Run in standard mode"
    choice = {"use_model": "gpt-6-sol standard"}
    page = text(signed_in.post("/jobs/new/", typed(project, mira, **pro, **choice)))
    assert '<button type="submit" class="btn primary lg">' in page
    sent = signed_in.post("/jobs/new/", typed(project, mira, **pro | {"mode": "standard"}))
    assert (sent.status_code, Job.objects.get().mode) == (302, "standard")


def test_an_asked_job_that_cannot_be_sent_says_why_and_nothing_of_the_limit(
    signed_in: Client, project: Project, mira: User
) -> None:
    Project.objects.update(job_limit=Decimal("0.50"))
    for wrong in ({"prompt": " "}, {"max_output_tokens": "many"}):
        answer = signed_in.post("/jobs/new/", typed(project, mira, ask="1", **wrong))
        assert answer.status_code == 422
        assert "Lower the output limit" not in text(answer)
    assert not Job.objects.exists()


def test_approvers_see_what_it_asks_what_it_costs_and_jobs_like_it(
    ana: Client, project: Project, mira: User
) -> None:
    earlier = a_job(project, mira, Status.COMPLETED, answer={"text": "Yes."}, spec={"prompt": "Is it so?"})
    project.job_limit = Decimal("0.50")
    project.save()
    job = lifecycle.ask(a_spec(project, mira), why="It settles the <lemma>.")
    page = text(ana.get(job.get_absolute_url()))
    assert "Is lemma 4.7 true without compactness?" in page
    assert "It settles the &lt;lemma&gt;." in page
    assert "over the limit per job of Proofs, $0.50" in page
    assert "Approve, up to $" in page
    assert earlier.get_absolute_url() in page
    assert "first, up to $" in page
    assert "Waiting for an approver" in page


def test_the_page_of_what_waits_asks_for_a_fixed_number_of_rows(
    ana: Client, job: Job, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ana.get(job.get_absolute_url())
    with django_assert_num_queries(16):
        ana.get(job.get_absolute_url())


def test_who_may_not_approve_sees_that_it_waits_and_for_whom(
    signed_in: Client, job: Job, ana: Client
) -> None:
    page = text(signed_in.get(job.get_absolute_url()))
    assert "until Ana agrees" in page
    assert "Approve, up to" not in page
    for act in ("approve", "reject", "cheaper"):
        assert signed_in.post(f"{job.get_absolute_url()}{act}/", {"note": "x"}).status_code == 403


def test_what_is_left_is_told_to_who_asks_and_who_decides_only(
    signed_in: Client, ana: Client, job: Job, project: Project
) -> None:
    viewer, client = a_person("vic@example.com"), Client()
    project.membership_set.create(user=viewer, role=Role.VIEWER)
    client.force_login(viewer)
    pages = [text(one.get(job.get_absolute_url())) for one in (signed_in, ana, client)]
    assert ["Never more than" in page for page in pages] == [True, True, True]
    assert ["Left this month" in page for page in pages] == [True, True, False]


def test_an_approval_sends_it(ana: Client, job: Job) -> None:
    answer = ana.post(f"{job.get_absolute_url()}approve/", {"note": "Go."}, follow=True)
    assert "Approved, up to $" in text(answer)
    job.refresh_from_db()
    assert job.status == Status.WAITING
    again = ana.post(f"{job.get_absolute_url()}approve/", follow=True)
    assert "Someone was faster" in text(again)


def test_an_approval_of_a_price_that_has_risen_sends_nothing(ana: Client, job: Job) -> None:
    here = job.get_absolute_url()
    shown = re.search(r'name="ceiling" value="([0-9.]+)"', ana.get(here).content.decode())
    assert shown
    assert Decimal(shown[1]) == job.worst_case
    less = {"ceiling": str(job.worst_case - Decimal("0.01"))}
    assert "Its price has risen since you looked." in text(ana.post(f"{here}approve/", less, follow=True))
    assert "Approved" in text(ana.post(f"{here}approve/", {"ceiling": shown[1]}, follow=True))


def test_an_approval_that_does_not_fit_says_the_shortfall(ana: Client, job: Job, project: Project) -> None:
    spend.set_cap(Decimal("0.50"), project=project)
    page = text(ana.get(job.get_absolute_url()))
    assert "of the cap of Proofs $0.50 is left this month" in page
    assert '<button type="submit" class="btn primary" disabled>' in page
    assert "too little. Nothing was sent." in text(ana.post(f"{job.get_absolute_url()}approve/", follow=True))
    assert Job.objects.get().status == Status.AWAITING_APPROVAL


def test_a_rejection_needs_a_reason_which_the_job_then_shows(
    ana: Client, signed_in: Client, job: Job
) -> None:
    here = job.get_absolute_url()
    assert "Say why" in text(ana.post(f"{here}reject/", follow=True))
    assert "Nothing was decided" in text(ana.post(f"{here}approve/", {"note": "x" * 501}, follow=True))
    ana.post(f"{here}reject/", {"note": "o3 is <enough>."})
    assert "Someone was faster" in text(ana.post(f"{here}reject/", {"note": "No."}, follow=True))
    page = text(signed_in.get(here))
    assert "Not approved by Ana" in page
    assert "“o3 is &lt;enough&gt;.”" in page
    assert "Nothing was charged" in page
    assert '<span class="why idle">Not approved</span>' in text(signed_in.get("/jobs/"))


def test_a_cheaper_model_is_tried_first_and_its_job_shown_beside_it(ana: Client, job: Job) -> None:
    answer = ana.post(f"{job.get_absolute_url()}cheaper/")
    made = Job.objects.exclude(pk=job.pk).get()
    assert answer["Location"] == made.get_absolute_url()
    assert (made.rerun_of, made.worst_case < job.worst_case) == (job, True)
    page = text(ana.get(job.get_absolute_url()))
    assert f'href="{made.get_absolute_url()}"' in page
    assert "first, up to" not in page
    assert Event.objects.get(job=job, kind="cheaper_first").note.startswith(made.short_id)


def test_a_cheaper_run_that_is_refused_or_too_late_says_so(
    ana: Client, job: Job, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = job.get_absolute_url()
    spend.set_cap(Decimal(0), project=project)
    assert "too little. Nothing was sent." in text(ana.post(f"{here}cheaper/", follow=True))
    with monkeypatch.context() as patch:
        patch.setattr(lifecycle, "run_cheaper", late)
        assert "Someone was faster" in text(ana.post(f"{here}cheaper/", follow=True))
    lifecycle.cancel(job.pk)
    assert "No cheaper model can do it any more." in text(ana.post(f"{here}cheaper/", follow=True))


def late(*_: object) -> None:
    raise lifecycle.NotAwaiting


def test_a_job_whose_prompt_is_gone_shows_that_it_waits_and_is_not_approved(ana: Client, job: Job) -> None:
    job.prompt.delete()
    assert "A person must agree first" in text(ana.get(job.get_absolute_url()))
    answer = ana.post(f"{job.get_absolute_url()}approve/", follow=True)
    assert "no longer stored" in text(answer)


def test_a_job_on_a_model_that_is_gone_cannot_be_approved(ana: Client, job: Job) -> None:
    job.model.shutdown_date = job.created_at.date().replace(year=2020)
    job.model.save()
    assert "cannot be chosen any more" in text(ana.get(job.get_absolute_url()))


def test_the_list_says_what_it_waits_for(signed_in: Client, job: Job, project: Project, mira: User) -> None:
    page = text(signed_in.get("/jobs/"))
    assert "Needs approval" in page
    assert "Over the $0.50 limit per job" in page
    Project.objects.update(job_limit=None)
    spend.set_cap(Decimal(0), project=project)
    project.refresh_from_db()
    lifecycle.ask(a_spec(project, mira, prompt="Another?"))
    assert "No room in a budget" in text(signed_in.get("/jobs/?status=in_flight"))
