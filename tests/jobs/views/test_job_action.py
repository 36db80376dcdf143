"""Answering what a job stopped for: nothing preselected, all or nothing, saved for later, sent once."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.forms.files import NOT_HERE
from jobs.models import Connection, Job, JobAttachment, Kind, Project, SavedReplies, Status, User
from jobs.templatetags import ui
from tests.factories import a_person
from tests.jobs.views.states import ARXIV, DOWNLOAD, SAGE, a_job
from tests.jobs.views.test_job_thread import files_of

pytestmark = pytest.mark.django_db
LOOK_UP = {"type": "function_call", "call_id": "call_2", "name": "look_up", "arguments": "no JSON <b>"}
KEY = "0b1c7e3e-5a3e-4a51-8c65-2f6f2f1f0a11"
ALL = {
    "call1-text": "[1]",
    "call2-text": "No such theorem",
    "call2-is-error": "1",
    "call3-approve": "yes",
    "submission_key": KEY,
}


@pytest.fixture
def asking(project: Project, mira: User) -> Job:
    """A job that stopped for two functions and an approval."""
    spec = {"tools": (ARXIV,), "max_tool_calls": 1}
    return a_job(
        project, mira, Status.REQUIRES_ACTION, spec=spec, answer={"calls": [SAGE, LOOK_UP, DOWNLOAD]}
    )


def reply(client: Client, job: Job, data: dict[str, Any], path: str = "replies/") -> Any:
    return client.post(f"{job.get_absolute_url()}{path}", data)


def price(client: Client, job: Job, data: dict[str, Any]) -> Any:
    return reply(client, job, data, "replies/price/")


def test_every_call_has_a_card_with_what_it_asks_and_nothing_preselected(
    signed_in: Client, asking: Job
) -> None:
    page = signed_in.get(asking.get_absolute_url()).content.decode()
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for expected in (
        "The model stopped to ask you for three things",
        "Answer all three and the thread goes on as a new job.",
        "run_sage function Needs an output",
        "A = 1",
        "no JSON &lt;b&gt;",
        "download_paper MCP · arxiv Needs a decision",
        "id &quot;2406.01877v2&quot;",
        "Approving sends these arguments to mcp.arxiv-tools.org , outside the practice API.",
        "The result comes back as input and is charged.",
        "Send an error instead",
        "0 of 3 answered",
        "Save for later",
        "Going on holds a new ceiling , which includes the thread so far as input.",
    ):
        assert expected in words, expected
    calls = page[page.index('id="calls"') : page.index("</form>", page.index('id="calls"'))]
    assert "checked" not in calls
    assert re.search(r'btn primary" disabled', calls)


def test_answers_go_on_as_a_new_job_and_a_double_click_makes_one(
    signed_in: Client, asking: Job, mira: User
) -> None:
    places = {reply(signed_in, asking, ALL)["Location"] for _ in range(2)}
    new = Job.objects.get(previous=asking)
    assert places == {new.get_absolute_url()}
    assert new.prompt.input_items == [
        {"type": "function_call_output", "call_id": "call_1", "output": "[1]"},
        {"type": "function_call_output", "call_id": "call_2", "output": '{"error": "No such theorem"}'},
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
    ]
    before = signed_in.get(asking.get_absolute_url()).content.decode()
    assert "It stopped to ask, and was answered." in before
    assert f'href="{new.get_absolute_url()}"' in before
    after = signed_in.get(new.get_absolute_url()).content.decode()
    assert "3 answers to what the job before it had asked." in after
    prompt = signed_in.get(f"{new.get_absolute_url()}prompt/").content.decode()
    for expected in ("run_sage", "[1]", "No such theorem", "download_paper", "Approved"):
        assert expected in prompt
    assert "was removed" not in prompt


def test_the_page_and_its_price_take_few_queries(
    signed_in: Client, asking: Job, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    with django_assert_max_num_queries(12):
        signed_in.get(asking.get_absolute_url())
    with django_assert_max_num_queries(26):
        price(signed_in, asking, ALL)


def test_a_refusal_to_approve_is_an_answer(signed_in: Client, asking: Job) -> None:
    reply(signed_in, asking, {**ALL, "call3-approve": "no"})
    new = Job.objects.get(previous=asking)
    assert (new.prompt.input_items or [])[2]["approve"] is False
    assert "Refused" in signed_in.get(f"{new.get_absolute_url()}prompt/").content.decode()


def test_half_the_answers_are_refused_at_their_cards_and_nothing_typed_is_lost(
    signed_in: Client, asking: Job
) -> None:
    answer = reply(signed_in, asking, {"call1-text": "[<i>1</i>]", "call2-text": " ", "submission_key": KEY})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "Write what the function returned, or send an error instead." in page
    assert "Approve this call or refuse it." in page
    assert "1 of 3 answered. Still missing: look_up, download_paper." in page
    assert "[&lt;i&gt;1&lt;/i&gt;]</textarea>" in page
    assert KEY in page
    assert not Job.objects.filter(previous=asking).exists()
    asking.refresh_from_db()
    assert asking.status == Status.REQUIRES_ACTION


def test_what_is_saved_is_there_for_everyone_who_may_answer(
    signed_in: Client, asking: Job, project: Project
) -> None:
    version = asking.version
    saved = {"call1-text": "[1]", "call2-text": "gone", "call2-is-error": "1", "call3-approve": "no"}
    page = signed_in.post(
        f"{asking.get_absolute_url()}replies/", {**saved, "save": "1"}, follow=True
    ).content.decode()
    assert "Saved." in page
    asking.refresh_from_db()
    assert asking.version > version
    approver = Client()
    approver.force_login(person := a_person("ana@example.com"))
    project.members.add(person, through_defaults={"role": Role.APPROVER})
    page = approver.get(asking.get_absolute_url()).content.decode()
    assert "[1]</textarea>" in page
    assert "gone</textarea>" in page
    assert re.search(r'name="call2-is-error"[^>]* checked', page)
    assert re.search(r'value="no" checked', page)
    assert "3 of 3 answered" in page
    assert not re.search(r'btn primary" disabled', page)
    assert reply(approver, asking, ALL).status_code == 302
    assert not SavedReplies.objects.exists()


def test_the_bar_counts_prices_and_opens_when_all_is_answered(signed_in: Client, asking: Job) -> None:
    first = price(signed_in, asking, {"call1-text": "[1]"})
    page = first.content.decode()
    assert "1 of 3 answered" in page
    assert re.search(r'btn primary" disabled', page)
    assert re.search(r'id="call1-state">.*Answered', page)
    assert 'id="call2-state">Needs an output' in page
    last = price(signed_in, asking, ALL)
    page, quote = last.content.decode(), last.context["quote"]
    assert "3 of 3 answered" in page
    assert not re.search(r'btn primary" disabled', page)
    assert f"never more than {ui.ceiling(quote.ceiling)}" in page
    assert f"a new ceiling of {ui.ceiling(quote.ceiling)}" in page
    reply(signed_in, asking, ALL)
    assert Job.objects.get(previous=asking).worst_case == quote.ceiling


def test_over_the_cap_the_bar_says_so_and_nothing_is_sent(
    signed_in: Client, asking: Job, project: Project
) -> None:
    spend.set_cap(asking.cost + Decimal("0.20"), project=project)
    page = price(signed_in, asking, ALL).content.decode()
    assert "$0.20 is left this month in Proofs" in page
    assert re.search(r'btn primary" disabled', page)
    answer = reply(signed_in, asking, ALL)
    assert answer.status_code == 422
    assert "$0.20 is left this month in Proofs" in answer.content.decode()
    asking.refresh_from_db()
    assert asking.status == Status.REQUIRES_ACTION


@pytest.fixture
def ana(project: Project) -> User:
    """An approver."""
    ana = a_person("ana@example.com", name="Ana Ortiz")
    project.membership_set.create(user=ana, role=Role.APPROVER)
    return ana


def test_answers_over_the_limit_per_job_are_asked_for_and_approved(
    signed_in: Client, asking: Job, ana: User
) -> None:
    Project.objects.update(job_limit=Decimal("0.01"))
    shown = price(signed_in, asking, {**ALL, "why": "The <i>proof</i> rests on it."}).content.decode()
    assert "Ana Ortiz must approve; nothing is sent until then." in shown
    assert 'name="why" maxlength="1000" autocomplete="off" value="The &lt;i&gt;proof&lt;/i&gt; rests' in shown
    assert re.search(r'btn primary" name="ask" value="1">.*Ask for approval', shown)
    assert "Continue job" not in shown
    half = price(signed_in, asking, {"call1-text": "[1]"}).content.decode()
    assert re.search(r'btn primary" name="ask" value="1" disabled', half)
    places = {
        reply(signed_in, asking, {**ALL, "ask": "1", "why": "It is due.\x00"})["Location"] for _ in range(2)
    }
    new = Job.objects.get(previous=asking)
    assert places == {new.get_absolute_url()}
    assert (new.status, new.approval.why) == (Status.AWAITING_APPROVAL, "It is due.")
    assert not new.attempt_set.exists(), "nothing is held"
    page = signed_in.get(asking.get_absolute_url()).content.decode()
    assert "It was answered, and that waits for approval." in page
    assert f'href="{new.get_absolute_url()}">See the answer' in page
    assert "Waiting for an approver" in page
    for gone in ("call1-text", "Continue job", "Ask for approval", "Finish without answering"):
        assert gone not in page, gone
    assert lifecycle.approve(new.pk, by=ana).status == Status.WAITING
    page = signed_in.get(asking.get_absolute_url()).content.decode()
    assert "It stopped to ask, and was answered." in page


def test_answers_that_are_not_approved_are_there_to_be_given_again(
    signed_in: Client, asking: Job, ana: User
) -> None:
    Project.objects.update(job_limit=Decimal("0.01"))
    reply(signed_in, asking, {**ALL, "ask": "1", "why": "It is due."})
    new = Job.objects.get(previous=asking)
    lifecycle.reject(new.pk, by=ana, note="Too dear.")
    page = signed_in.get(new.get_absolute_url()).content.decode()
    assert "Its answers were not sent." in page
    assert f'href="{asking.get_absolute_url()}">Answer again' in page
    page = signed_in.get(asking.get_absolute_url()).content.decode()
    assert "It was answered" not in page
    assert "Waiting for you" in page
    for kept in ("[1]</textarea>", "No such theorem</textarea>", 'name="why" value="It is due."'):
        assert kept in page, kept
    Project.objects.update(job_limit=None)
    assert reply(signed_in, asking, {**ALL, "submission_key": ""}).status_code == 302
    page = signed_in.get(new.get_absolute_url()).content.decode()
    assert "Its answers were not sent." not in page
    form = {"from": new.short_id, "project": "proofs", "model": new.model_id, "mode": new.mode}
    form |= {"effort": "low", "max_output_tokens": "20,000", "tool": "mcp", "max_tool_calls": "1"}
    form |= {"mcp_label": "arxiv", "mcp_url": ARXIV["server_url"]}
    refused = signed_in.post("/jobs/new/", form)
    assert refused.status_code == 422
    assert "These calls have been answered or given up meanwhile" in refused.content.decode()
    assert Job.objects.filter(previous=asking, status=Status.WAITING).count() == 1


def test_answers_without_budget_wait_and_lead_to_asking_for_more(
    signed_in: Client, asking: Job, project: Project
) -> None:
    spend.set_cap(asking.cost + Decimal("0.20"), project=project)
    shown = price(signed_in, asking, ALL).content.decode()
    assert 'name="ask" value="budget">Ask for more budget</button>' in shown
    answer = reply(signed_in, asking, {**ALL, "ask": "budget"})
    new = Job.objects.get(previous=asking)
    assert answer["Location"] == f"/budget/more/?job={new.short_id}"
    assert new.status == Status.AWAITING_APPROVAL


def test_a_refusal_offers_to_ask_and_keeps_the_reason(signed_in: Client, asking: Job, ana: User) -> None:
    Project.objects.update(job_limit=Decimal("0.01"))
    refused = reply(signed_in, asking, {**ALL, "why": "It is due."})
    page = refused.content.decode()
    assert refused.status_code == 422
    assert "Over the $0.01 limit per job" in page
    assert re.search(r'btn primary" name="ask" value="1">.*Ask for approval', page)
    for kept in ("[1]</textarea>", "No such theorem</textarea>", 'value="It is due."', KEY):
        assert kept in page, kept
    half = reply(signed_in, asking, {"call1-text": "[1]", "ask": "1", "why": "It is due."})
    assert (half.status_code, half.context["reply_why"]) == (422, "It is due.")
    assert "1 of 3 answered. Still missing: look_up, download_paper." in half.content.decode()
    looked = reply(signed_in, asking, {**ALL, "price": "1", "why": "It is due."})
    assert (looked.status_code, looked.context["reply_why"]) == (200, "It is due.")
    assert not Job.objects.filter(previous=asking).exists()
    page = signed_in.post(
        f"{asking.get_absolute_url()}replies/", {**ALL, "save": "1", "why": "It is due."}, follow=True
    ).content.decode()
    assert 'name="why" value="It is due."' in page


def test_what_is_typed_while_other_answers_are_asked_for_is_not_lost(
    signed_in: Client, asking: Job, ana: User
) -> None:
    Project.objects.update(job_limit=Decimal("0.01"))
    reply(signed_in, asking, {**ALL, "ask": "1"})
    late = {**ALL, "call1-text": "[2]", "ask": "1"}
    answer = reply(signed_in, asking, late)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "Answers to these calls wait for approval already." in page
    assert "[2]</textarea>" in page
    saved = reply(signed_in, asking, {**late, "save": "1"})
    assert saved.status_code == 422
    for told in ("Answers to these calls wait for approval already.", "[2]</textarea>"):
        assert told in saved.content.decode(), told
    assert lifecycle.saved_draft(Job.objects.get(pk=asking.pk)).replies[0].output == "[1]"
    page = signed_in.post(f"{asking.get_absolute_url()}finish/", follow=True).content.decode()
    assert "It was not waiting any more" not in page
    assert "Answers to these calls wait for approval already." in page
    assert Job.objects.filter(previous=asking).count() == 1


def test_a_cancelled_follow_up_says_nothing_of_answers(signed_in: Client, asking: Job, mira: User) -> None:
    new = lifecycle.submit(lifecycle.follow_up(asking, by=mira, prompt="And lemma 4.8?"))
    lifecycle.cancel(new.pk, by=mira)
    page = signed_in.get(new.get_absolute_url()).content.decode()
    assert "Cancelled by Mira" in page
    assert "Its answers were not sent." not in page


def test_a_file_is_an_output_and_goes_along_with_the_job_that_goes_on(
    signed_in: Client, asking: Job, project: Project, mira: User
) -> None:
    (file,) = files_of(project, mira, "plot.png")
    data = {**ALL, "call1-text": "", "call1-attachments": [file], "call3-attachments": [file]}
    quote = price(signed_in, asking, data).context["quote"]
    assert quote.problem == ""
    saved = signed_in.post(f"{asking.get_absolute_url()}replies/", {**data, "save": "1"}, follow=True)
    page = saved.content.decode()
    assert page.count(f'name="call1-attachments" value="{file}"') == page.count(file) == 1
    assert "3 of 3 answered" in page
    # Other people find it as well.
    assert file in signed_in.get(asking.get_absolute_url()).content.decode()
    assert reply(signed_in, asking, data).status_code == 302
    new = Job.objects.get(previous=asking)
    assert new.worst_case == quote.ceiling
    assert JobAttachment.objects.get(job=new).call_key == "call_1"
    prompt = signed_in.get(f"{new.get_absolute_url()}prompt/").content.decode()
    assert prompt.index("run_sage") < prompt.index("plot.png") < prompt.index("look_up")
    assert "<h2>Attachments</h2>" not in prompt
    # Run again it still belongs to its call, not to the prompt.
    again = signed_in.get(f"/jobs/new/?from={new.short_id}").content.decode()
    assert "plot.png" not in again
    form = {"from": new.short_id, "project": "proofs", "model": new.model_id, "mode": new.mode}
    form |= {"effort": "low", "max_output_tokens": "20,000", "tool": "mcp", "max_tool_calls": "1"}
    form |= {"mcp_label": "arxiv", "mcp_url": ARXIV["server_url"]}
    assert signed_in.post("/jobs/new/", form).status_code == 302
    assert JobAttachment.objects.get(job=Job.objects.latest("pk")).call_key == "call_1"


def test_a_file_that_is_gone_is_said_at_its_card(signed_in: Client, asking: Job) -> None:
    data = {**ALL, "call1-attachments": f"{'0' * 64} plot.png"}
    assert price(signed_in, asking, data).context["quote"].problem == lifecycle.GONE
    for more in ({}, {"save": "1"}):
        answer = reply(signed_in, asking, {**data, **more})
        assert answer.status_code == 422
        assert f'id="call1-error">{lifecycle.GONE}' in answer.content.decode()
    assert not Job.objects.filter(previous=asking).exists()


def test_a_file_that_had_not_arrived_is_not_left_out_of_a_reply(signed_in: Client, asking: Job) -> None:
    answer = reply(signed_in, asking, {**ALL, "files": ["", "plot.png"]})
    assert answer.status_code == 422
    assert f'id="call1-error">{NOT_HERE}' in answer.content.decode()
    assert not Job.objects.filter(previous=asking).exists()


def test_a_connection_that_may_not_take_files_says_so_instead(signed_in: Client, asking: Job) -> None:
    page = signed_in.get(asking.get_absolute_url()).content.decode()
    assert page.count("Attach a file") == 2
    assert 'hx-vals=\'{"field": "call1-attachments"}\'' in page
    Connection.objects.update(kind=Kind.AZURE)
    page = signed_in.get(asking.get_absolute_url()).content.decode()
    assert "Attach a file" not in page
    assert "practice is not known to take files here." in page


def test_an_answer_that_comes_too_late_is_a_message(signed_in: Client, asking: Job) -> None:
    signed_in.post(f"{asking.get_absolute_url()}finish/")
    for data in (ALL, {**ALL, "save": "1"}):
        page = signed_in.post(f"{asking.get_absolute_url()}replies/", data, follow=True).content.decode()
        assert "It was not waiting any more" in page
    assert price(signed_in, asking, ALL).status_code == 204
    assert not Job.objects.filter(previous=asking).exists()


def test_only_those_who_may_answer_can(project: Project, asking: Job) -> None:
    other = Client()
    other.force_login(person := a_person("jo@example.com"))
    project.members.add(person, through_defaults={"role": Role.SUBMITTER})
    page = other.get(asking.get_absolute_url()).content.decode()
    assert "The model stopped to ask for three things" in page
    assert "Whoever sent it, approvers and managers can answer." in page
    assert "run_sage" in page
    assert "<textarea" not in page[page.index('id="calls"') : page.index("</form>", page.index('id="calls"'))]
    assert "Continue job" not in page
    assert reply(other, asking, ALL).status_code == 403
    assert price(other, asking, ALL).status_code == 403


def test_an_approval_without_a_known_host_names_the_server(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = a_job(project, mira, Status.REQUIRES_ACTION, answer={"calls": [DOWNLOAD]})
    page = signed_in.get(job.get_absolute_url()).content.decode()
    assert 'Approving sends these arguments to <b class="mono">arxiv</b>' in page
