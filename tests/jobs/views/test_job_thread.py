"""Asking on under an answer: priced while one types, sent once, refused in words; the thread in its order."""

import re
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.forms.files import NOT_HERE
from jobs.models import Attachment, BudgetPeriod, Job, JobAttachment, ModelSpec, Project, Prompt, Status, User
from jobs.templatetags import ui
from tests.factories import a_person
from tests.jobs.attachments.files import picture
from tests.jobs.views.states import SAGE, a_job

pytestmark = pytest.mark.django_db
ENDED = [Status.COMPLETED, Status.INCOMPLETE, Status.FAILED, Status.CANCELLED]


@pytest.fixture
def done(project: Project, mira: User) -> Job:
    return a_job(project, mira, Status.COMPLETED, answer={"text": "The lemma fails."})


def send(client: Client, job: Job, prompt: str = "And in dual spaces?", **more: Any) -> HttpResponse:
    return client.post(f"{job.get_absolute_url()}follow-up/", {"prompt": prompt, **more})  # type: ignore[return-value]


def price(client: Client, job: Job, prompt: str = "And in dual spaces?", **more: Any) -> Any:
    return client.post(f"{job.get_absolute_url()}follow-up/price/", {"prompt": prompt, **more})


def files_of(project: Project, by: User, *names: str) -> list[str]:
    """Keep a picture as an upload does; return what a form holds of it under each name."""
    return [f"{lifecycle.keep_file(picture(), project=project, by=by).digest} {name}" for name in names]


def following(job: Job, by: User, **more: Any) -> Job:
    return lifecycle.submit(lifecycle.follow_up(job, by=by, prompt="More", **more))


@pytest.mark.parametrize("status", ENDED)
def test_every_ended_job_can_be_followed_up(
    signed_in: Client, project: Project, mira: User, status: Status
) -> None:
    job = a_job(project, mira, status, spec={"instructions": "Be brief."})
    page = signed_in.get(job.get_absolute_url()).content.decode()
    assert "Ask a follow-up. The whole thread is sent again as input." in page
    answer = send(signed_in, job)
    new = Job.objects.get(previous=job)
    assert (answer.status_code, answer["Location"]) == (302, new.get_absolute_url())
    assert (new.root, new.model, new.effort, new.status) == (job, job.model, job.effort, Status.WAITING)
    assert (new.prompt.text, new.prompt.instructions) == ("And in dual spaces?", "Be brief.")


@pytest.mark.parametrize(
    "status", [Status.WAITING, Status.IN_PROGRESS, Status.UNCONFIRMED, Status.REQUIRES_ACTION]
)
def test_what_has_not_ended_offers_no_follow_up(
    signed_in: Client, project: Project, mira: User, status: Status
) -> None:
    job = a_job(project, mira, status, answer={"calls": [SAGE]})
    assert 'id="follow"' not in signed_in.get(job.get_absolute_url()).content.decode()
    assert send(signed_in, job)["Location"] == job.get_absolute_url()
    assert price(signed_in, job).status_code == 204
    assert not Job.objects.filter(previous=job).exists()


def test_a_job_whose_prompt_is_gone_or_whose_project_is_archived_offers_no_follow_up(
    signed_in: Client, done: Job
) -> None:
    Project.objects.update(archived_at=timezone.now())
    assert 'id="follow"' not in signed_in.get(done.get_absolute_url()).content.decode()
    Project.objects.update(archived_at=None)
    Prompt.objects.all().delete()
    assert 'id="follow"' not in signed_in.get(done.get_absolute_url()).content.decode()
    assert send(signed_in, done)["Location"] == done.get_absolute_url()


def test_whoever_comes_back_from_signing_in_finds_the_job(signed_in: Client, done: Job) -> None:
    for path in ("follow-up/", "replies/"):
        answer = signed_in.get(f"{done.get_absolute_url()}{path}")
        assert answer["Location"] == done.get_absolute_url()


def test_the_price_counts_the_whole_thread_and_what_is_typed(signed_in: Client, done: Job) -> None:
    short, long = (price(signed_in, done, text).context["quote"] for text in ("Why?", "Why? " * 2_000))
    assert done.worst_case < short.ceiling < long.ceiling
    assert short.likely.low < short.likely.high < short.ceiling
    words = price(signed_in, done).content.decode()
    quote = price(signed_in, done).context["quote"]
    assert f"capped at {ui.ceiling(quote.ceiling)}" in words
    assert re.search(r"About \$[\d.]+–\$[\d.]+, capped", words)
    assert "Send" in words
    assert "disabled" not in words


def test_the_ceiling_shown_is_the_ceiling_held(signed_in: Client, done: Job) -> None:
    quote = price(signed_in, done).context["quote"]
    send(signed_in, done)
    assert Job.objects.get(previous=done).worst_case == quote.ceiling


def test_nothing_typed_yet_is_no_problem_until_it_is_sent(signed_in: Client, done: Job) -> None:
    assert price(signed_in, done, "").context["quote"].problem == ""
    answer = send(signed_in, done, " ")
    assert answer.status_code == 422
    assert "Write what it should think about." in answer.content.decode()


def test_a_double_click_makes_one_job(signed_in: Client, done: Job) -> None:
    page = signed_in.get(done.get_absolute_url()).content.decode()
    found = re.search(r'name="submission_key" value="([0-9a-f-]{36})"', page)
    assert found
    answers = [send(signed_in, done, submission_key=found[1]) for _ in range(2)]
    assert len({answer["Location"] for answer in answers}) == 1
    assert Job.objects.filter(previous=done).count() == 1
    send(signed_in, done, "Something else", submission_key=found[1])
    assert Job.objects.filter(previous=done).count() == 2


def test_over_the_cap_is_said_in_place_and_nothing_typed_is_lost(
    signed_in: Client, project: Project, done: Job
) -> None:
    spend.set_cap(done.cost + Decimal("0.60"), project=project)
    key = str(uuid.uuid4())
    answer = send(signed_in, done, "And <b>why</b>?", submission_key=key)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "$0.60 is left this month in Proofs" in page
    assert "And &lt;b&gt;why&lt;/b&gt;?</textarea>" in page
    assert key in page
    assert not Job.objects.filter(previous=done).exists()
    refused = price(signed_in, done)
    assert "$0.60 is left this month in Proofs" in refused.content.decode()
    assert re.search(r'btn primary" disabled', refused.content.decode())


def test_an_output_limit_that_fits_is_offered_and_kept(
    signed_in: Client, project: Project, done: Job
) -> None:
    limit = done.worst_case * Decimal("0.8")
    Project.objects.update(job_limit=limit)
    refused = price(signed_in, done)
    fitting = refused.context["quote"].fitting
    assert f"Use {ui.number(fitting)} tokens" in refused.content.decode()
    assert f'name="fit" value="{fitting}" data-fill="follow-limit"' in refused.content.decode()
    # Without scripts the button sends the form, which comes back with the limit in it.
    again = send(signed_in, done, fit=str(fitting))
    assert again.context["quote"].problem == ""
    assert f'id="follow-limit" value="{fitting}"' in again.content.decode()
    # With them the limit is written there as on the New job page.
    written = f"{fitting:,}"
    assert price(signed_in, done, max_output_tokens=written).context["quote"].problem == ""
    assert send(signed_in, done).status_code == 422
    assert send(signed_in, done, max_output_tokens=written).status_code == 302
    new = Job.objects.get(previous=done)
    assert new.max_output_tokens == fitting
    assert new.worst_case <= limit


def test_a_follow_up_over_the_limit_per_job_is_asked_for(
    signed_in: Client, project: Project, mira: User, done: Job
) -> None:
    ana = a_person("ana@example.com", name="Ana Ortiz")
    project.membership_set.create(user=ana, role=Role.APPROVER)
    Project.objects.update(job_limit=done.worst_case * Decimal("0.8"))
    shown = price(signed_in, done, why="The <i>proof</i> rests on it.").content.decode()
    assert "Ana Ortiz must approve; nothing is sent until then." in shown
    assert 'name="why" maxlength="1000" autocomplete="off" value="The &lt;i&gt;proof&lt;/i&gt; rests' in shown
    assert re.search(
        r'<button type="submit" class="btn primary" name="ask" value="1">.*Ask for approval', shown
    )
    assert "Send <kbd" not in shown
    for more in ({"ask": "1"}, {}):
        # Refused for want of a question, or of the button: nothing typed is lost, and it can be asked.
        refused = send(signed_in, done, " ", why="Worth it", **more)
        assert refused.status_code == 422
        again = refused.content.decode()
        assert 'autocomplete="off" value="Worth it"' in again
        assert "Ask for approval" in again
    # Where it fits for a moment, the reason is kept beside it.
    fitting = price(signed_in, done, why="Worth it", max_output_tokens="1,000").content.decode()
    assert '<input type="hidden" name="why" value="Worth it">' in fitting
    answer = send(signed_in, done, ask="1", why="The proof rests on it.\x00")
    new = Job.objects.get(previous=done)
    assert answer["Location"] == new.get_absolute_url()
    assert (new.status, new.root, new.approval.why) == (
        Status.AWAITING_APPROVAL,
        done,
        "The proof rests on it.",
    )
    assert not new.attempt_set.exists(), "nothing is held"
    sent = lifecycle.approve(new.pk, by=ana)
    assert (sent.status, sent.previous) == (Status.WAITING, done)


def test_a_follow_up_without_budget_waits_and_leads_to_asking_for_more(
    signed_in: Client, project: Project, done: Job
) -> None:
    spend.set_cap(done.cost + Decimal("0.60"), project=project)
    shown = price(signed_in, done).content.decode()
    assert 'name="ask" value="budget">Ask for more budget</button>' in shown
    answer = send(signed_in, done, ask="budget")
    new = Job.objects.get(previous=done)
    assert answer["Location"] == f"/budget/more/?job={new.short_id}"
    assert new.status == Status.AWAITING_APPROVAL


def test_files_of_a_follow_up_are_priced_sent_and_kept_on_the_form(
    signed_in: Client, project: Project, mira: User, done: Job
) -> None:
    (file,) = files_of(project, mira, "figure-2.png")
    with_it = price(signed_in, done, attachments=[file]).context["quote"]
    bound = Attachment.objects.get().tokens_at_most(done.model)
    without = price(signed_in, done).context["quote"]
    assert with_it.wanted.input_bound(done.model) - without.wanted.input_bound(done.model) == bound
    assert with_it.likely.low > without.likely.low
    refused = send(signed_in, done, " ", attachments=[file])
    assert refused.status_code == 422
    assert f'name="attachments" value="{file}"' in refused.content.decode()
    assert send(signed_in, done, attachments=[file]).status_code == 302
    new = Job.objects.get(previous=done)
    assert new.worst_case == with_it.ceiling
    row = JobAttachment.objects.get(job=new)
    assert (row.name, row.call_key) == ("figure-2.png", "")


def test_a_follow_up_on_a_model_that_cannot_see_is_refused_as_a_new_job_is(
    signed_in: Client, project: Project, mira: User, done: Job
) -> None:
    named = files_of(project, mira, "figure-2.png")
    ModelSpec.objects.update(capabilities=["background", "pdf"])
    said = f"{done.model_id} cannot see pictures."
    assert price(signed_in, done, attachments=named).context["quote"].problem == said
    answer = send(signed_in, done, attachments=named)
    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert not Job.objects.filter(previous=done).exists()


def test_a_file_of_a_follow_up_that_is_gone_is_said(
    signed_in: Client, project: Project, mira: User, done: Job
) -> None:
    kept, gone = files_of(project, mira, "figure-2.png")[0], f"{'0' * 64} gone.png"
    assert price(signed_in, done, attachments=[kept, gone]).context["quote"].problem == lifecycle.GONE
    answer = send(signed_in, done, attachments=[kept, gone])
    assert answer.status_code == 422
    assert lifecycle.GONE in answer.content.decode()
    assert kept in answer.content.decode()
    assert not Job.objects.filter(previous=done).exists()


def test_a_file_that_had_not_arrived_is_not_left_out_of_a_follow_up(signed_in: Client, done: Job) -> None:
    answer = send(signed_in, done, files="paper.pdf")
    assert answer.status_code == 422
    assert NOT_HERE in answer.content.decode()
    assert not Job.objects.filter(previous=done).exists()
    # A choice of no file is sent as well.
    assert send(signed_in, done, files="").status_code == 302


def test_without_scripts_the_price_is_worked_out_on_request(signed_in: Client, done: Job) -> None:
    answer = send(signed_in, done, "And then?", price="1")
    assert answer.status_code == 200
    assert "capped at $" in answer.content.decode()
    assert "And then?</textarea>" in answer.content.decode()
    assert not Job.objects.filter(previous=done).exists()


@pytest.mark.parametrize("limit", ["-5", "1e9", "9" * 30, "many"])
def test_a_limit_that_cannot_be_read_is_the_jobs_own(signed_in: Client, done: Job, limit: str) -> None:
    assert price(signed_in, done, max_output_tokens=limit).context["quote"].wanted.max_output_tokens == 20_000


def test_a_thread_on_a_retired_model_goes_on_with_its_successor(signed_in: Client, done: Job) -> None:
    type(done.model).objects.filter(pk=done.model_id).update(
        shutdown_date="2020-01-01", successor="gpt-6-sol"
    )
    page = price(signed_in, done)
    assert page.context["quote"].wanted.model == "gpt-6-sol"
    assert "<option selected>gpt-6-sol</option>" in page.content.decode()
    assert send(signed_in, done).status_code == 302
    assert Job.objects.get(previous=done).model_id == "gpt-6-sol"


def test_a_follow_up_may_go_to_another_model_and_effort(signed_in: Client, done: Job) -> None:
    chosen = {"model": "gpt-6-luna", "effort": "medium"}
    assert price(signed_in, done).context["quote"].wanted.model == done.model_id
    quote = price(signed_in, done, **chosen).context["quote"]
    assert quote.ceiling < done.worst_case
    assert {"gpt-6-luna", done.model_id} <= set(quote.models)
    assert send(signed_in, done, **chosen).status_code == 302
    new = Job.objects.get(previous=done)
    assert (new.model_id, new.effort, new.worst_case) == ("gpt-6-luna", "medium", quote.ceiling)


def test_an_effort_that_the_chosen_model_lacks_becomes_its_usual_one(signed_in: Client, done: Job) -> None:
    quote = price(signed_in, done, model="gpt-6-luna", effort="none at all").context["quote"]
    assert quote.wanted.effort == ModelSpec.objects.get(pk="gpt-6-luna").default_effort
    assert quote.problem == ""


def test_a_model_that_cannot_be_chosen_is_said_in_words(signed_in: Client, done: Job) -> None:
    answer = price(signed_in, done, model="gpt-<b>")
    assert answer.context["quote"].problem
    assert "<option selected>gpt-&lt;b&gt;</option>" in answer.content.decode()
    assert send(signed_in, done, model="gpt-<b>").status_code == 422
    assert not Job.objects.filter(previous=done).exists()


def test_asking_on_takes_few_queries(
    signed_in: Client, done: Job, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    with django_assert_max_num_queries(22):
        price(signed_in, done)
    with django_assert_max_num_queries(12):
        signed_in.get(done.get_absolute_url())


def test_a_thread_is_read_once_for_all_models_that_might_fit(
    signed_in: Client,
    project: Project,
    mira: User,
    django_assert_max_num_queries: Callable[..., Any],
) -> None:
    dear: Any = {"model": "gpt-5.5-pro", "effort": "high", "mode": "standard"}
    job = a_job(project, mira, Status.COMPLETED, answer={"text": "No."}, spec=dear)
    for number in range(3):
        more = {**dear, "previous": job, "prompt": f"And {number}?"}
        job = a_job(project, mira, Status.COMPLETED, answer={"text": "No."}, spec=more)
    period = BudgetPeriod.objects.get()
    spend.set_cap(period.committed + Decimal("0.0001"), project=project)
    with django_assert_max_num_queries(22):
        quote = price(signed_in, job).context["quote"]
    assert "is left this month" in quote.problem
    assert quote.instead == "", "each of them was priced"
    spend.set_cap(period.committed + Decimal("0.02"), project=project)
    with django_assert_max_num_queries(22):
        assert price(signed_in, job).context["quote"].instead == "on gpt-6-luna"


def test_the_thread_is_shown_in_order_with_its_branches(signed_in: Client, mira: User, done: Job) -> None:
    second = following(done, mira)
    branch = following(done, mira, title="Another way")
    Job.objects.filter(pk=second.pk).update(status=Status.COMPLETED)
    second.refresh_from_db()
    third = following(second, mira)
    page = signed_in.get(second.get_absolute_url())
    assert [turn.job.pk for turn in page.context["turns"]] == [done.pk, second.pk, third.pk, branch.pk]
    html = page.content.decode()
    assert "4 jobs" in html
    assert f'<a href="{second.get_absolute_url()}" aria-current="true">' in html
    assert f'<li class="lv1"><a href="{branch.get_absolute_url()}" class="aside">' in html
    assert "Another way" in html
    # Asking on from a job that was followed before begins a branch, and the page says so.
    assert "It was followed up before: this begins a branch." in html
    send(signed_in, done, "A third way")
    assert Job.objects.filter(previous=done).count() == 3


def test_a_job_alone_shows_no_thread(signed_in: Client, done: Job) -> None:
    assert "<h2>Thread</h2>" not in signed_in.get(done.get_absolute_url()).content.decode()


def test_a_viewer_reads_the_thread_and_sends_nothing(project: Project, mira: User, done: Job) -> None:
    following(done, mira)
    viewer = Client()
    viewer.force_login(person := a_person("vi@example.com"))
    project.members.add(person, through_defaults={"role": Role.VIEWER})
    page = viewer.get(done.get_absolute_url()).content.decode()
    assert "<h2>Thread</h2>" in page
    assert 'id="follow"' not in page
    assert send(viewer, done).status_code == 403
    assert price(viewer, done).status_code == 403


def test_a_price_asked_for_after_the_session_has_ended_reloads_the_page(done: Job) -> None:
    assert price(Client(), done)["HX-Refresh"] == "true"


@pytest.mark.parametrize("cap", ["0.05", "0.10", "0.30"])
def test_what_a_follow_up_would_fit_as_can_be_chosen(
    signed_in: Client, mira: User, project: Project, cap: str
) -> None:
    spec = {"model": "gpt-6-sol", "mode": "pro", "max_output_tokens": 6_000}
    done = a_job(project, mira, "completed", answer={"text": "x"}, spec=spec)
    spend.set_cap(done.cost + Decimal(cap), project=project)
    quote = price(signed_in, done).context["quote"]
    assert 'name="mode"' in price(signed_in, done).content.decode()
    on, mode = re.match(r"(?:on (\S+))? ?(?:in (\S+) mode)?", quote.instead).groups()  # type: ignore[union-attr]
    assert on or mode, quote
    chosen = {"model": on or "gpt-6-sol", "mode": mode or "pro"}
    assert price(signed_in, done, **chosen).context["quote"].problem == ""
    send(signed_in, done, **chosen)
    new = Job.objects.latest("pk")
    assert (new.previous, new.model_id, new.mode) == (done, chosen["model"], chosen["mode"])
