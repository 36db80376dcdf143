"""One job's pages: every state in its own words, for those who may see it, and no other."""

import datetime as dt
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.models import (
    Attempt,
    AttemptState,
    Basis,
    Connection,
    EntryKind,
    Event,
    Installation,
    Job,
    LedgerEntry,
    Project,
    RawResponse,
    Status,
    User,
)
from jobs.pricing import Usage, charge
from jobs.rendering import RENDERER_VERSION
from jobs.templatetags import ui
from tests.factories import a_person
from tests.hooks import with_secret
from tests.jobs.views.states import DOWNLOAD, SAGE, USAGE, a_job

pytestmark = pytest.mark.django_db
HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'
GETS = ["", "live/", "prompt/", "activity/", "raw/", "rerun/", "cancel/price/", "follow-up/", "replies/"]
POSTS = [
    "cancel/", "resolve/", "finish/", "rerun/", "again/", "follow-up/", "follow-up/price/", "replies/",
    "replies/price/",
]  # fmt: skip

type Counted = Callable[..., Any]

SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def as_member(project: Project, role: Role) -> Client:
    person = a_person(f"{role.name.lower()}@example.com")
    project.members.add(person, through_defaults={"role": role})
    client = Client()
    client.force_login(person)
    return client


def text_of(client: Client, path: str) -> str:
    """Return a page's words without its tags, spaces made single."""
    answer = client.get(path)
    assert answer.status_code == 200
    return words_in(answer.content.decode())


def words_in(html: str) -> str:
    main = html[html.index('id="job"') :] if 'id="job"' in html else html
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", main))


STATES: dict[str, tuple[Status, dict[str, Any], list[str]]] = {
    "needs approval": (Status.AWAITING_APPROVAL, {}, ["A person must agree first", "nothing is held"]),
    "waiting": (Status.WAITING, {}, ["In line to be sent", "Nothing has been sent yet", "Never more than"]),
    "waiting after a back-off": (
        Status.WAITING,
        {"attempt": {"tries": 2, "error_code": "rate_limit_exceeded", "error_message": "Slow down"}},
        ["did not accept it 2 times", "rate_limit_exceeded: Slow down"],
    ),
    "waiting after a back-off of another attempt": (
        Status.WAITING,
        {"attempt": {"number": 2, "tries": 1, "error_code": "http_429", "error_message": "Slow down"}},
        ["Waiting to be tried again", "http_429: Slow down"],
    ),
    "waiting for a slot": (
        Status.WAITING,
        {"slots": 0},
        ["Waiting for a slot", "0 of 0 in use.", "This one is next in its project."],
    ),
    "sending": (Status.SENDING, {}, ["Being sent", "on its way to the practice API"]),
    "queued": (
        Status.QUEUED,
        {},
        ["In line at the practice API", "Likely", "Never more than"],
    ),
    "running": (
        Status.IN_PROGRESS,
        {"events": [("accepted", ""), ("in_progress", "")]},
        ["Progress", "Thinking.", "usually takes", "typical", "Never more than", "held", "so far"],
    ),
    "slow": (
        Status.IN_PROGRESS,
        {"sent_at": timezone.now() - dt.timedelta(hours=5)},
        ["Slow", "It may still finish", "Also run it on", "never more than"],
    ),
    "cancelling": (
        Status.IN_PROGRESS,
        {"cancel_requested_at": timezone.now()},
        ["Asked to stop", "because its deadline passed", "word decides"],
    ),
    "completed": (
        Status.COMPLETED,
        {"answer": {"text": "The lemma fails."}},
        ["The lemma fails.", "charged", "Reasoning", "8,000 tok", "Price of", "Source:"],
    ),
    "completed without text": (Status.COMPLETED, {}, ["It finished without any text"]),
    "completed without usage": (
        Status.COMPLETED,
        {"answer": {"text": "Yes."}, "basis": Basis.BOUND, "cost": Decimal("1.5")},
        ["The ceiling was booked", "$1.50"],
    ),
    "refused by the model": (
        Status.COMPLETED,
        {"answer": {"text": "I cannot help.", "is_refusal": True}},
        ["The model refused.", "I cannot help."],
    ),
    "needs action": (
        Status.REQUIRES_ACTION,
        {"answer": {"calls": [SAGE]}},
        [
            "The model stopped to ask you for one thing",
            "Answer it and the thread goes on as a new job.",
            "Nothing runs and nothing is charged while it waits.",
            "run_sage",
            "Needs an output",
            "charged, final",
            "Finish without answering",
            "Waiting for you",
        ],
    ),
    "incomplete, all reasoning": (
        Status.INCOMPLETE,
        {"incomplete_reason": "max_output_tokens"},
        [
            "What happened",
            "All 20,000 tokens went to reasoning",
            "Reasoning 8,000",
            "Raise the limit to 40,000 tokens",
            "Run with 40,000",
            "never more than",
            "Split the question",
            "is spent either way",
        ],
    ),
    "incomplete, mid-answer": (
        Status.INCOMPLETE,
        {"incomplete_reason": "max_output_tokens", "answer": {"text": "First, note"}},
        ["First, note", "It stopped in mid-answer at 20,000 tokens", "Reasoning 8,000", "Answer 1,000"],
    ),
    "incomplete, filtered": (
        Status.INCOMPLETE,
        {"incomplete_reason": "content_filter"},
        ["A content filter stopped the answer"],
    ),
    "incomplete for a reason of their own": (
        Status.INCOMPLETE,
        {"incomplete_reason": "steered"},
        ["It stopped before its end", "steered"],
    ),
    "refused by the API": (
        Status.FAILED,
        {
            "basis": Basis.NONE,
            "error_code": "unsupported_value",
            "attempt": {"response_id": "", "error_message": "No such effort"},
            "events": [("rejected", "No such effort")],
        },
        ["The practice API refused this job", "No such effort", "unsupported_value", "nothing was charged"],
    ),
    "failed over policy": (
        Status.FAILED,
        {"error_code": "invalid_prompt", "basis": Basis.NONE, "cost": Decimal(0)},
        ["over its usage policy", "Change the prompt first", "nothing was charged"],
    ),
    "failed at the API": (
        Status.FAILED,
        {
            "error_code": "server_error",
            "basis": Basis.NONE,
            "events": [("no_budget", "No budget for another attempt: cap of Proofs")],
        },
        ["failed while it worked", "Another attempt did not fit the budget", "Run again"],
    ),
    "failed for a reason of their own": (
        Status.FAILED,
        {"error_code": "image_too_large", "basis": Basis.NONE},
        ["could not work with what this job asks", "image_too_large"],
    ),
    "failed without a reason": (
        Status.FAILED,
        {"basis": Basis.NONE},
        ["This job failed at the practice API", "No reason was given"],
    ),
    "declared lost": (Status.FAILED, {"error_code": "lost", "basis": Basis.NONE}, ["was declared lost"]),
    "counted as paid": (
        Status.FAILED,
        {"error_code": "assumed_paid", "basis": Basis.BOUND, "cost": Decimal(2)},
        ["was counted as paid", "$2.00"],
    ),
    "expired": (
        Status.FAILED,
        {"error_code": "expired", "basis": Basis.BOUND, "cost": Decimal(2)},
        ["The practice API no longer holds this response"],
    ),
    "stuck": (
        Status.FAILED,
        {"error_code": "stuck", "basis": Basis.BOUND, "cost": Decimal(2)},
        ["This job never ended", "go on looking for a week"],
    ),
    "cancelled before it was sent": (
        Status.CANCELLED,
        {"attempt": {"response_id": ""}, "basis": Basis.NONE, "cancel_requested_at": timezone.now()},
        ["It was never sent.", "Nothing was charged."],
    ),
    "cancelled with an estimate": (
        Status.CANCELLED,
        {"basis": Basis.ESTIMATE, "cost": Decimal("0.5")},
        ["Cancelled at the practice API", "$0.50 was charged", "An estimate"],
    ),
    "unconfirmed": (
        Status.UNCONFIRMED,
        {
            "attempt": {"error_code": "connection_lost", "error_message": "The connection broke"},
            "events": [("unconfirmed", "connection_lost")],
        },
        [
            "Status",
            "Looking for the answer",
            "If sent again",
            "Left in project",
            "We don’t know whether the practice API took this job",
            "Held, not spent",
            "Keep waiting",
            "Send again now",
            "I have the response id",
            "It was lost",
            "Count it as paid",
            "Only you, approvers and managers can choose.",
        ],
    ),
}


def standing(project: Project, by: User, status: Status, fields: dict[str, Any]) -> Job:
    """Make a job of `STATES`; `slots` is how many its connection has."""
    about = dict(fields)
    if "slots" in about:
        Connection.objects.update(max_in_flight=about.pop("slots"))
    return a_job(project, by, status, **about)


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_its_own_words(signed_in: Client, project: Project, mira: User, state: str) -> None:
    status, fields, expected = STATES[state]
    page = text_of(signed_in, standing(project, mira, status, fields).get_absolute_url())
    assert [words for words in expected if words not in page] == []


def test_every_status_is_among_the_states() -> None:
    assert {status for status, _, _ in STATES.values()} == set(Status)


def test_a_job_behind_a_paused_connection_says_so_with_the_reason(
    signed_in: Client, project: Project, mira: User
) -> None:
    Connection.objects.update(paused_at=timezone.now(), paused_reason="insufficient_quota: No credit <b>")
    page = signed_in.get(a_job(project, mira).get_absolute_url()).content.decode()
    assert "Waiting: practice is paused" in page
    assert "It paused by itself: the account is out of credit." in page
    assert "insufficient_quota: No credit &lt;b&gt;" in page


def test_an_answer_is_shown_as_html_only_at_the_current_renderer(
    signed_in: Client, project: Project, mira: User
) -> None:
    current = {"text": "*a*", "html": "<p><em>a</em></p>", "renderer_version": RENDERER_VERSION}
    old = {**current, "renderer_version": RENDERER_VERSION + 1}
    path = a_job(project, mira, Status.COMPLETED, answer=current).get_absolute_url()
    assert "<p><em>a</em></p>" in signed_in.get(path).content.decode()
    page = signed_in.get(a_job(project, mira, Status.COMPLETED, answer=old).get_absolute_url())
    assert "<em>a</em>" not in page.content.decode()
    assert "*a*" in page.content.decode()


def test_json_is_pretty_and_shows_where_it_does_not_fit(
    signed_in: Client, project: Project, mira: User
) -> None:
    answer = {
        "text": '{"a":["<b>"]}',
        "parsed": {"a": ["<b>"]},
        "validation_errors": [{"path": "/a/0", "message": "'<b>' is not of type 'number'"}],
    }
    url = a_job(project, mira, Status.COMPLETED, answer=answer).get_absolute_url()
    html = signed_in.get(url, {"view": "json"}).content.decode()
    assert "{\n  &quot;a&quot;: [\n    &quot;&lt;b&gt;&quot;" in html
    assert "<code>/a/0</code> &#x27;&lt;b&gt;&#x27; is not of type" in html
    assert "The answer does not fit the schema." in html


def test_nothing_that_a_model_or_a_person_wrote_becomes_markup(
    signed_in: Client, project: Project, mira: User
) -> None:
    spec = {"prompt": HOSTILE, "title": HOSTILE, "instructions": HOSTILE, "tags": (HOSTILE[:50],)}
    call = {**SAGE, "call_id": HOSTILE, "name": HOSTILE, "arguments": HOSTILE}
    approval = {**DOWNLOAD, "id": "a", "name": HOSTILE, "arguments": f'{{"a": {json.dumps(HOSTILE * 3)}}}'}
    approval["server_label"] = HOSTILE
    asks = {"text": HOSTILE, "calls": [call, approval]}
    shown = [
        a_job(project, mira, Status.COMPLETED, spec=spec, answer={"text": HOSTILE}),
        a_job(project, mira, Status.REQUIRES_ACTION, spec=spec, answer=asks),
        a_job(project, mira, Status.INCOMPLETE, spec=spec, incomplete_reason=HOSTILE[:40]),
        a_job(
            project,
            mira,
            Status.FAILED,
            spec=spec,
            basis=Basis.NONE,
            error_code=HOSTILE[:80],
            attempt={"error_message": HOSTILE, "request_id": HOSTILE, "response_id": HOSTILE},
            events=[("failed", HOSTILE)],
        ),
        a_job(
            project,
            mira,
            Status.UNCONFIRMED,
            spec=spec,
            attempt={"error_message": HOSTILE, "error_code": "x"},
        ),
    ]
    RawResponse.objects.create(attempt=Attempt.objects.get(job=shown[0]), body={"text": HOSTILE})
    for job in shown:
        for tab in ("", "live/", "prompt/", "activity/", "raw/"):
            html = signed_in.get(f"{job.get_absolute_url()}{tab}").content.decode()
            assert "<script>alert" not in html
            assert "<img" not in html
            assert "&lt;script&gt;" in html


def test_the_money_shown_is_the_ledgers(signed_in: Client, project: Project, mira: User) -> None:
    job = a_job(project, mira, Status.COMPLETED, answer={"text": "Yes."})
    booked = LedgerEntry.objects.filter(job=job).total("charge", "adjust")  # type: ignore[arg-type]
    page = signed_in.get(job.get_absolute_url())
    bill = page.context["bill"]
    assert booked > 0
    assert bill.charged == job.cost == booked
    assert bill.held == 0
    (line,) = bill.lines
    assert sum(share.part.amount for share in line.shares) + line.rest == booked
    assert sum(share.width for share in line.shares) == pytest.approx(100)


def test_an_unfinished_job_shows_what_is_held_and_never_more_than(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = a_job(project, mira, Status.IN_PROGRESS)
    bill = signed_in.get(job.get_absolute_url()).context["bill"]
    assert bill.held == bill.most == job.worst_case
    assert bill.charged == 0


def test_a_job_of_two_attempts_shows_what_each_was_charged(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = a_job(project, mira, Status.IN_PROGRESS, attempt={"end_status": "failed", "state": "ended"})
    first = Attempt.objects.select_related("price").get(job=job)
    with transaction.atomic():
        spend.settle(first, cost=Decimal("0.25"), basis=Basis.BOUND, price=first.price)
        second = Attempt.objects.create(
            job=job, number=2, connection=first.connection, price=first.price, worst_case=job.worst_case
        )
        spend.admit(job, second)
    page = signed_in.get(job.get_absolute_url())
    assert page.context["bill"].most == Decimal("0.25") + job.worst_case
    assert "of which $0.25 is charged already" in words_in(page.content.decode())
    with transaction.atomic():
        spend.settle(second, cost=Decimal("0.5"), basis=Basis.BOUND, price=first.price)
    Attempt.objects.filter(pk=second.pk).update(state="ended", end_status="completed", response_id="resp_2")
    Job.objects.update(status=Status.COMPLETED, finished_at=timezone.now())
    page = signed_in.get(job.get_absolute_url())
    assert page.context["attempt"] == second
    words = words_in(page.content.decode())
    assert "Attempt 1: $0.25" in words
    assert "Attempt 2: $0.50" in words
    assert page.context["bill"].charged == Decimal("0.75")


def test_a_charge_above_its_hold_says_so(signed_in: Client, project: Project, mira: User) -> None:
    job = a_job(project, mira, Status.COMPLETED, cost=Decimal(50), answer={"text": "Yes."})
    page = text_of(signed_in, job.get_absolute_url())
    assert "More than the" in page
    assert "Adjustments" in page


@pytest.mark.parametrize("tab", ["prompt/", "activity/", "raw/"])
def test_the_other_tabs_show_what_they_are_for(
    signed_in: Client, project: Project, mira: User, tab: str
) -> None:
    job = a_job(
        project,
        mira,
        Status.COMPLETED,
        spec={"instructions": "Be brief.", "schema": SCHEMA, "schema_name": "verdict"}
        if tab == "prompt/"
        else None,
        events=[("put_off", "connect_error: no route")],
    )
    attempt = Attempt.objects.get(job=job)
    RawResponse.objects.create(attempt=attempt, body={"id": "resp_1", "status": "completed"})
    expected = {
        "prompt/": ["Is lemma 4.7 true", "Be brief.", "verdict", "&quot;type&quot;: &quot;object&quot;"],
        "activity/": ["Submitted by Mira", "connect_error: no route", attempt.response_id, "Ended"],
        "raw/": ["&quot;status&quot;: &quot;completed&quot;", "Attempt 1"],
    }
    page = text_of(signed_in, f"{job.get_absolute_url()}{tab}")
    assert [words for words in expected[tab] if words not in page] == []


@pytest.mark.parametrize("path", GETS)
def test_a_stranger_finds_nothing_at_a_jobs_addresses(project: Project, mira: User, path: str) -> None:
    stranger = Client()
    stranger.force_login(a_person("eve@example.com"))
    assert stranger.get(f"{a_job(project, mira).get_absolute_url()}{path}").status_code == 404
    assert stranger.get(f"/jobs/j_00000000/{path}").status_code == 404


@pytest.mark.parametrize("path", POSTS)
def test_a_stranger_can_do_nothing_to_a_job(project: Project, mira: User, path: str) -> None:
    stranger = Client()
    stranger.force_login(a_person("eve@example.com"))
    job = a_job(project, mira)
    assert stranger.post(f"{job.get_absolute_url()}{path}").status_code == 404
    assert Job.objects.get().status == Status.WAITING


@pytest.mark.parametrize("path", POSTS)
def test_a_viewer_sees_a_job_and_may_change_nothing(project: Project, mira: User, path: str) -> None:
    viewer = as_member(project, Role.VIEWER)
    job = a_job(project, mira)
    page = viewer.get(job.get_absolute_url())
    assert page.status_code == 200
    assert "cancel/" not in page.content.decode()
    assert "Run again" not in page.content.decode()
    assert viewer.post(f"{job.get_absolute_url()}{path}").status_code == 403
    assert Job.objects.get().status == Status.WAITING


@pytest.mark.parametrize("path", ["cancel/", "resolve/", "finish/"])
def test_nothing_is_changed_by_a_get(signed_in: Client, project: Project, mira: User, path: str) -> None:
    assert signed_in.get(f"{a_job(project, mira).get_absolute_url()}{path}").status_code == 405


@pytest.mark.parametrize("method", ["get", "post"])
def test_running_again_starts_from_the_job(
    signed_in: Client, project: Project, mira: User, method: str
) -> None:
    job = a_job(project, mira, Status.COMPLETED)
    answer = getattr(signed_in, method)(f"{job.get_absolute_url()}rerun/")
    assert answer["Location"] == f"/jobs/new/?from={job.short_id}"


def test_cancelling_what_was_not_sent_costs_nothing(signed_in: Client, project: Project, mira: User) -> None:
    job = a_job(project, mira)
    page = signed_in.post(f"{job.get_absolute_url()}cancel/", follow=True).content.decode()
    job.refresh_from_db()
    assert job.status == Status.CANCELLED
    assert "Cancelled. It cost nothing." in page
    assert "Cancelled by Mira" in page


def test_cancelling_what_runs_asks_upstream(signed_in: Client, project: Project, mira: User) -> None:
    job = a_job(project, mira, Status.IN_PROGRESS)
    page = signed_in.post(f"{job.get_absolute_url()}cancel/", follow=True).content.decode()
    assert Job.objects.get().is_cancelling
    assert "Asked to stop" in page
    assert 'popovertarget="cancel"' not in page


def test_cancelling_what_has_just_ended_is_a_message(signed_in: Client, project: Project, mira: User) -> None:
    job = a_job(project, mira, Status.COMPLETED)
    page = signed_in.post(f"{job.get_absolute_url()}cancel/", follow=True)
    assert page.status_code == 200
    assert "nothing left to cancel" in page.content.decode()


def doubtful(project: Project, mira: User) -> Job:
    return a_job(project, mira, Status.UNCONFIRMED, events=[("unconfirmed", "timeout: no answer")])


def decide(client: Client, job: Job, **data: str) -> str:
    return client.post(f"{job.get_absolute_url()}resolve/", data, follow=True).content.decode()


def test_an_unconfirmed_job_says_whether_we_listen_for_its_event(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = doubtful(project, mira)
    listening = "Listening for the practice API’s webhook"
    assert listening not in signed_in.get(job.get_absolute_url()).content.decode()
    with_secret(project.connection)
    assert listening in signed_in.get(job.get_absolute_url()).content.decode()
    Connection.objects.update(kind="azure")
    assert "Listening for" not in signed_in.get(job.get_absolute_url()).content.decode()


AWAY = "Waiting for its machine, lab-2"


def test_an_unconfirmed_job_waits_for_the_machine_that_sent_it(
    signed_in: Client, project: Project, mira: User
) -> None:
    path = doubtful(project, mira).get_absolute_url()
    Project.objects.update(unconfirmed_rule="resend")
    Attempt.objects.update(instance="b", rule_due_at=timezone.now())
    machine = Installation.objects.create(instance="b", host="lab-2", version="1")
    page = signed_in.get(path).content.decode()
    assert (AWAY in page, "Looked in the send journal" in page) == (False, True)
    Installation.objects.update(beat_at=timezone.now() - dt.timedelta(minutes=2))
    page = signed_in.get(path).content.decode()
    assert (AWAY in page, "Looked in the send journal" in page) == (True, False)
    assert "has been silent since" in page
    assert "Start Ponder there again" in page
    assert "once its machine is back" in page
    assert "/admin/jobs/installation/" not in page
    User.objects.update(is_superuser=True, is_staff=True)
    assert '<a class="lk" href="/admin/jobs/installation/">' in signed_in.get(path).content.decode()
    # Stopped on purpose, it has told what it knew, unless it was stopped while it was sending this.
    sent_at = Attempt.objects.get().sent_at
    assert sent_at is not None
    machine.stopped_at = sent_at + dt.timedelta(minutes=2)
    machine.save()
    assert AWAY not in signed_in.get(path).content.decode()
    machine.stopped_at = sent_at + dt.timedelta(seconds=80)
    machine.save()
    page = signed_in.get(path).content.decode()
    assert AWAY in page
    assert "It was stopped while it was sending this" in page


BILL = "Compare with OpenAI’s bill"


def test_an_unconfirmed_job_says_whether_a_bill_will_tell(
    signed_in: Client, project: Project, mira: User, settings: Settings
) -> None:
    path = doubtful(project, mira).get_absolute_url()
    settings.OPENAI_ADMIN_KEY = "sk-admin-of-the-tests"
    assert "bill</b>" not in signed_in.get(path).content.decode(), "practice is on no bill"
    Connection.objects.update(is_practice=False, base_url="https://api.openai.com/v1")
    assert BILL in signed_in.get(path).content.decode()
    settings.OPENAI_ADMIN_KEY = ""
    assert BILL not in signed_in.get(path).content.decode()
    Connection.objects.update(kind="azure")
    page = signed_in.get(path).content.decode()
    assert "Azure has no webhook, and its bill is not read here: only its own log can tell." in page


def test_waiting_on_changes_nothing(signed_in: Client, project: Project, mira: User) -> None:
    job = doubtful(project, mira)
    assert "Still waiting." in decide(signed_in, job, decision="wait")
    assert Job.objects.get().version == job.version


def test_sending_again_above_the_limit_per_job_is_refused_and_says_so(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = doubtful(project, mira)
    Project.objects.update(job_limit=job.worst_case / 2)
    assert "a job of this project may cost" in decide(signed_in, job, decision="resend", reason="Urgent")
    assert Job.objects.get().status == Status.UNCONFIRMED


def test_declaring_a_job_lost_needs_a_reason_and_gives_the_hold_back(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = doubtful(project, mira)
    assert "Say why" in decide(signed_in, job, decision="lost")
    assert Job.objects.get().status == Status.UNCONFIRMED
    assert "was declared lost" in decide(signed_in, job, decision="lost", reason="Not in their log")
    assert LedgerEntry.objects.total(EntryKind.HOLD, EntryKind.RELEASE) == 0
    assert Event.objects.get(kind="decided_lost").note == "Not in their log"


def test_counting_a_job_as_paid_books_its_ceiling(signed_in: Client, project: Project, mira: User) -> None:
    job = doubtful(project, mira)
    assert "Say why" in decide(signed_in, job, decision="paid")
    assert "was counted as paid" in decide(signed_in, job, decision="paid", reason="It is on the bill")
    assert Job.objects.get().cost == job.worst_case


def test_a_response_id_is_asked_for_and_checked_before_it_is_taken(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = doubtful(project, mira)
    assert "Paste the response id." in decide(signed_in, job, decision="adopt")
    assert "letters, digits" in decide(signed_in, job, decision="adopt", response_id="a b/../c")
    decide(signed_in, job, decision="adopt", response_id="resp_found")
    assert Attempt.objects.get().response_id == "resp_found"


def test_the_response_id_of_another_job_is_refused_in_words(
    signed_in: Client, project: Project, mira: User
) -> None:
    other = a_job(project, mira, Status.COMPLETED)
    job = doubtful(project, mira)
    taken = Attempt.objects.get(job=other).response_id
    assert "belongs to another job" in decide(signed_in, job, decision="adopt", response_id=taken)
    assert Job.objects.get(pk=job.pk).status == Status.UNCONFIRMED


def test_sending_again_needs_room_for_a_second_ceiling(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = doubtful(project, mira)
    spend.set_cap(job.worst_case, project=project)
    page = decide(signed_in, job, decision="resend")
    assert "Sending again needs" in page
    assert "$0.00 is left" in page
    assert Job.objects.get().status == Status.UNCONFIRMED
    spend.set_cap(job.worst_case * 2, project=project)
    decide(signed_in, job, decision="resend")
    assert Job.objects.get().status == Status.WAITING
    assert Attempt.objects.count() == 2


def test_a_decision_that_comes_too_late_is_a_message(signed_in: Client, project: Project, mira: User) -> None:
    job = a_job(project, mira, Status.IN_PROGRESS)
    assert "was faster" in decide(signed_in, job, decision="lost", reason="x")


def test_only_those_who_may_decide_see_the_choices(project: Project, mira: User) -> None:
    job = doubtful(project, mira)
    other = as_member(project, Role.SUBMITTER)
    assert 'name="decision"' not in other.get(job.get_absolute_url()).content.decode()
    assert other.post(f"{job.get_absolute_url()}resolve/", {"decision": "wait"}).status_code == 403
    approver = as_member(project, Role.APPROVER)
    assert 'name="decision"' in approver.get(job.get_absolute_url()).content.decode()


def test_an_unconfirmed_job_names_the_projects_rule_and_managers_may_change_it(
    project: Project, mira: User
) -> None:
    path = doubtful(project, mira).get_absolute_url()
    page = as_member(project, Role.MANAGER).get(path).content.decode()
    assert "The project’s rule is <b>ask</b>." in page
    assert '<a class="lk" href="/projects/proofs/settings/">Change the rule</a>' in page
    assert "rule decides" not in page
    approvers = as_member(project, Role.APPROVER).get(path).content.decode()
    assert "The project’s rule is <b>ask</b>." in approvers
    assert "Change the rule" not in approvers


@pytest.mark.parametrize(
    ("rule", "words", "cost"),
    [("resend", "send again", True), ("lost", "it was lost", False), ("paid", "count it as paid", False)],
)
def test_an_unconfirmed_job_says_when_its_projects_rule_decides_and_what_that_costs(
    signed_in: Client, project: Project, mira: User, rule: str, words: str, cost: bool
) -> None:
    job = doubtful(project, mira)
    Project.objects.update(unconfirmed_rule=rule)
    Attempt.objects.update(rule_due_at=timezone.now() + dt.timedelta(minutes=15))
    page = signed_in.get(job.get_absolute_url()).content.decode()
    assert f"Then the project’s rule decides: {words}" in page
    assert (f"Both sends may be charged, {ui.ceiling(2 * job.worst_case)} at most." in page) == cost
    assert "Until the project’s rule decides." in page
    assert "Nothing more is spent, and nothing is sent." not in page
    assert "is paused" not in page
    lifecycle.pause(project.connection_id, "By hand.")
    assert "Not while its connection is paused." in signed_in.get(job.get_absolute_url()).content.decode()


@pytest.mark.parametrize("why", ["", "The project is archived."])
def test_an_unconfirmed_job_says_that_its_projects_rule_leaves_it_to_people(
    signed_in: Client, project: Project, mira: User, why: str
) -> None:
    events = [("unconfirmed", "timeout"), *([("rule_refused", why)] if why else [])]
    job = a_job(project, mira, Status.UNCONFIRMED, events=events)
    Project.objects.update(unconfirmed_rule="resend")
    page = signed_in.get(job.get_absolute_url()).content.decode()
    assert "The project’s rule does not decide this one" in page
    assert (why or "It decides once about a job, and not after a person.") in page
    assert "Nothing more is spent, and nothing is sent." in page


def test_the_timeline_tells_a_rules_decision_from_a_persons(
    signed_in: Client, project: Project, mira: User
) -> None:
    jobs = [doubtful(project, mira) for _ in range(2)]
    lifecycle.resolve(jobs[0].pk, lifecycle.Decision.LOST, reason="the project's rule")
    lifecycle.resolve(jobs[1].pk, lifecycle.Decision.LOST, by=mira, reason="Not in their log")
    by_rule, by_person = (text_of(signed_in, f"{job.get_absolute_url()}activity/") for job in jobs)
    assert "Taken for lost by the project's rule" in by_rule.replace("&#x27;", "'")
    assert "Declared lost by Mira" in by_person


def test_a_job_that_waits_for_answers_can_be_finished_without_them(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = a_job(project, mira, Status.REQUIRES_ACTION, answer={"calls": [SAGE]})
    finish = f"{job.get_absolute_url()}finish/"
    assert "It ended without an answer." in signed_in.post(finish, follow=True).content.decode()
    assert Job.objects.get().status == Status.COMPLETED
    assert "was not waiting any more" in signed_in.post(finish, follow=True).content.decode()


def test_a_page_asks_for_news_while_something_can_change(
    signed_in: Client, project: Project, mira: User
) -> None:
    page = signed_in.get(a_job(project, mira, Status.IN_PROGRESS).get_absolute_url()).content.decode()
    assert 'hx-trigger="poll"' in page
    assert 'data-poll="3"' in page


@pytest.mark.parametrize(("age", "seconds"), [(10, 3), (60, 5), (301, 15)])
def test_the_server_sets_the_pace(
    signed_in: Client, project: Project, mira: User, age: int, seconds: int
) -> None:
    sent_at = timezone.now() - dt.timedelta(seconds=age)
    job = a_job(project, mira, Status.IN_PROGRESS, sent_at=sent_at)
    assert signed_in.get(job.get_absolute_url()).context["poll"] == seconds


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.INCOMPLETE, Status.FAILED, Status.CANCELLED])
def test_a_final_page_asks_no_more(signed_in: Client, project: Project, mira: User, status: Status) -> None:
    rendered = {"text": "a", "html": "<p>a</p>", "renderer_version": RENDERER_VERSION}
    job = a_job(project, mira, status, answer=rendered)
    for path in (job.get_absolute_url(), f"{job.get_absolute_url()}live/"):
        page = signed_in.get(path).content.decode()
        assert "hx-get" not in page
        assert 'hx-trigger="poll"' not in page
        assert "data-poll" not in page


def test_a_final_page_still_asks_while_its_answer_is_not_rendered(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = a_job(project, mira, Status.COMPLETED, answer={"text": "a"})
    assert "data-poll" in signed_in.get(job.get_absolute_url()).content.decode()


def test_a_final_page_still_asks_while_its_usage_is_missing(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = a_job(project, mira, Status.COMPLETED, attempt={"state": AttemptState.KNOWN})
    page = signed_in.get(job.get_absolute_url()).content.decode()
    assert "data-poll" in page
    assert "Its usage is still missing." in page


def test_a_page_that_is_up_to_date_is_told_so_before_anything_is_rendered(
    signed_in: Client, project: Project, mira: User, django_assert_max_num_queries: Counted
) -> None:
    path = f"{a_job(project, mira, Status.IN_PROGRESS).get_absolute_url()}live/"
    tag = signed_in.get(path)["HX-PTag"]
    with django_assert_max_num_queries(3):
        answer = signed_in.get(path, headers={"HX-PTag": tag})
    assert answer.status_code == 304
    assert answer.content == b""
    Job.objects.update(version=99)
    fresh = signed_in.get(path, headers={"HX-PTag": tag})
    assert fresh.status_code == 200
    assert fresh["HX-PTag"] != tag


def test_a_page_notices_a_pause_and_slowness_without_a_new_version(
    signed_in: Client, project: Project, mira: User
) -> None:
    path = f"{a_job(project, mira, Status.IN_PROGRESS).get_absolute_url()}live/"
    tags = [signed_in.get(path)["HX-PTag"]]
    Job.objects.update(sent_at=timezone.now() - dt.timedelta(hours=9))
    tags.append(signed_in.get(path)["HX-PTag"])
    Connection.objects.update(paused_at=timezone.now())
    tags.append(signed_in.get(path)["HX-PTag"])
    assert len(set(tags)) == 3


def test_news_after_the_session_has_ended_reload_the_page(project: Project, mira: User) -> None:
    answer = Client().get(f"{a_job(project, mira).get_absolute_url()}live/")
    assert (answer.status_code, answer["HX-Refresh"]) == (204, "true")


@pytest.mark.parametrize("state", STATES)
def test_a_job_page_needs_at_most_twelve_queries(
    signed_in: Client, project: Project, mira: User, django_assert_max_num_queries: Counted, state: str
) -> None:
    status, fields, _ = STATES[state]
    first, job = a_job(project, mira, Status.COMPLETED), standing(project, mira, status, fields)
    lifecycle.add_note(job.pk, "Step 3 is a guess.", by=mira)
    with django_assert_max_num_queries(12):
        signed_in.get(job.get_absolute_url())
    Job.objects.filter(pk=job.pk).update(previous=first, root=first)
    with django_assert_max_num_queries(12):
        signed_in.get(job.get_absolute_url())


@pytest.mark.parametrize("tab", ["prompt/", "activity/", "raw/", "answer.md", "answer.json", "answer/rest/"])
def test_every_other_page_of_a_job_needs_at_most_twelve_queries(
    signed_in: Client, project: Project, mira: User, django_assert_max_num_queries: Counted, tab: str
) -> None:
    job = a_job(project, mira, Status.COMPLETED, answer={"text": "So."})
    with django_assert_max_num_queries(12):
        assert signed_in.get(f"{job.get_absolute_url()}{tab}").status_code in (200, 204)


def test_a_waiting_jobs_place_is_news_without_a_new_version(
    signed_in: Client, project: Project, mira: User, django_assert_max_num_queries: Counted
) -> None:
    Connection.objects.update(max_in_flight=1)
    now = timezone.now()
    running = a_job(project, mira, Status.IN_PROGRESS)
    cancelled = a_job(project, mira, next_action_at=now, cancel_requested_at=now)
    before = [a_job(project, mira, next_action_at=now + dt.timedelta(seconds=n)) for n in range(2)]
    path = f"{a_job(project, mira, next_action_at=now + dt.timedelta(seconds=5)).get_absolute_url()}live/"
    first = signed_in.get(path)
    page = words_in(first.content.decode())
    assert "1 of 1 in use. 2 jobs of this project go out before this one; projects take turns." in page
    assert "2 before it" in page
    with django_assert_max_num_queries(3):
        assert signed_in.get(path, headers={"HX-PTag": first["HX-PTag"]}).status_code == 304
    Job.objects.filter(pk=before[0].pk).update(status=Status.SENDING)
    second = signed_in.get(path, headers={"HX-PTag": first["HX-PTag"]})
    assert "1 job of this project goes out before this one;" in words_in(second.content.decode())
    Attempt.objects.filter(job=running).update(end_seen_at=now)
    third = signed_in.get(path, headers={"HX-PTag": second["HX-PTag"]})
    assert "In line to be sent" in words_in(third.content.decode())
    assert cancelled.pk < before[0].pk


def test_cancelling_says_what_has_been_used_by_now_and_what_it_saves(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = a_job(project, mira, Status.IN_PROGRESS)
    path = f"{job.get_absolute_url()}cancel/price/"
    stops = []
    for minutes in (0, 1, 600):
        Attempt.objects.update(sent_at=timezone.now() - dt.timedelta(minutes=minutes))
        answer = signed_in.get(path)
        stops.append(answer.context["stop"])
        assert "At its usual speed that is about" in answer.content.decode()
        assert "stopping saves at most" in answer.content.decode()
    held = [stop.used + stop.saved for stop in stops]
    assert held == [job.worst_case] * 3
    assert 0 < stops[0].used < stops[1].used < stops[2].used <= job.worst_case
    lifecycle.cancel(job.pk, by=mira)
    Job.objects.update(status=Status.CANCELLED)
    assert "There is nothing left to cancel." in signed_in.get(path).content.decode()


def test_the_parts_of_a_charge_are_named_with_the_fees_of_tools(
    signed_in: Client, project: Project, mira: User
) -> None:
    tools = {"tools": ({"type": "web_search"},), "max_tool_calls": 3}
    job = a_job(project, mira, Status.COMPLETED, cost=Decimal("1.0"), spec=tools, answer={"text": "Yes."})
    attempt = Attempt.objects.select_related("price").get(job=job)
    body = {"usage": USAGE, "tool_usage": {"web_search": {"num_requests": 2}}}
    used = Usage.from_wire(body)
    assert used
    total = charge(attempt.price.rates, used, service_tier="default", window="soonest").total
    with transaction.atomic():
        spend.settle(attempt, cost=total, basis=Basis.USAGE, usage=used, price=attempt.price)
    unknown = text_of(signed_in, job.get_absolute_url())
    assert "Tools and adjustments" in unknown
    RawResponse.objects.create(attempt=attempt, body=body)
    named = text_of(signed_in, job.get_absolute_url())
    for part in ("Reasoning", "Answer", "Input", "Cached input", "Web search 2 calls $0.02", "Price of"):
        assert part in named
    assert "Tools and adjustments" not in named
    assert "Tools web search" in named


def test_a_second_hold_that_does_not_fit_cannot_be_chosen(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = doubtful(project, mira)
    assert "at most, " in text_of(signed_in, job.get_absolute_url())
    spend.set_cap(job.worst_case + Decimal("0.25"), project=project)
    page = signed_in.get(job.get_absolute_url()).content.decode()
    assert f"Send again needs {ui.ceiling(job.worst_case)} more; $0.25 is left." in page
    assert re.search(r'value="resend" disabled', page)


def test_a_charge_of_an_end_is_told_with_the_time_it_took(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = a_job(project, mira, Status.COMPLETED, answer={"text": "Yes."})
    begin = Event.objects.get(kind="submitted").at
    for kind, seconds in (("accepted", 3), ("in_progress", 5), ("noted", 20), ("completed", 556)):
        Event.objects.create(job=job, kind=kind, at=begin + dt.timedelta(seconds=seconds))
    page = text_of(signed_in, job.get_absolute_url())
    assert "Accepted by the practice API, 3s" in page
    assert "Thought for 9m 11s" in page


def test_the_tabs_say_what_is_on_them(signed_in: Client, project: Project, mira: User) -> None:
    waiting = a_job(project, mira)
    asking = a_job(project, mira, Status.REQUIRES_ACTION, answer={"calls": [SAGE, DOWNLOAD]})
    names = []
    for job in (waiting, asking):
        tabs = signed_in.get(f"{job.get_absolute_url()}prompt/").context["tabs"]
        names.append([(tab.name, tab.count) for tab in tabs])
    assert names == [
        [("Progress", None), ("Prompt", None), ("Activity", 1)],
        [("Calls", 2), ("Prompt", None), ("Activity", 1), ("Raw JSON", None)],
    ]
