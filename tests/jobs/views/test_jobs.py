"""The list of jobs: who sees what, pages that neither skip nor repeat, few queries, and a poll that ends."""

import datetime as dt
import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs import lifecycle
from jobs.access import Role
from jobs.forms.job_filter import Wanted, written
from jobs.models import Job, ModelSpec, Project, Prompt, Status, User
from jobs.models.job_queries import Place
from jobs.views import job_list
from jobs.views.frame import Frame
from jobs.views.job_list import JobList
from tests.factories import a_person, a_project, a_spec
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db

MOST_QUERIES = 12


def html(client: Client, path: str = "/jobs/") -> str:
    return client.get(path).content.decode()


def rows(text: str) -> list[str]:
    return re.findall(r'id="row-(j_\w+)"', text)


def cards(text: str) -> list[str]:
    return re.findall(r'id="card-(j_\w+)"', text)


def place(job: Job) -> str:
    """Return where the list of the newest goes on after a job."""
    return written(Place(job.created_at, job.pk))


def wanted(person: User, query: str = "") -> Wanted:
    return Wanted.of(QueryDict(query), person)


def poll(client: Client, tag: str, query: str = "") -> Any:
    return client.get(f"/jobs/live/{query}", headers={"HX-PTag": tag, "HX-Request": "true"})


def tag_in(text: str) -> str:
    found = re.search(r'hx-ptag="(\w+)"', text)
    return found[1] if found else ""


def many(project: Project, by: User, number: int, *, at: dt.datetime) -> list[Job]:
    """Make ended jobs without their money: only what the list reads."""
    spec = ModelSpec.objects.get(pk="o3-pro")
    made = Job.objects.bulk_create(
        Job(
            project=project,
            submitted_by=by,
            model=spec,
            effort="low",
            max_output_tokens=1000,
            status=Status.COMPLETED,
            created_at=at,
            sent_at=at,
            finished_at=at,
            input_bound=1,
            worst_case=1,
            fingerprint="f",
        )
        for _ in range(number)
    )
    Prompt.objects.bulk_create(Prompt(job=job, title=f"Job {job.pk}", text="x") for job in made)
    return made


def test_the_start_page_welcomes_whoever_can_see_no_job_yet(
    signed_in: Client, project: Project, mira: User
) -> None:
    jonas = a_person("jonas@example.com")
    lifecycle.submit(a_spec(a_project("other", members={jonas: Role.SUBMITTER}), jonas))
    assert "Ask something hard" in html(signed_in, "/")
    lifecycle.submit(a_spec(project, mira))
    assert signed_in.get("/")["Location"] == "/jobs/"


def test_an_operator_is_told_what_is_left_to_do(client: Client, project: Project) -> None:
    client.force_login(User.objects.create_superuser("ana@example.com"))
    assert "Connect OpenAI or Azure" in html(client, "/")


def test_someone_in_no_project_is_told_whom_to_ask(client: Client) -> None:
    client.force_login(a_person("new@example.com"))
    assert "You are in no project yet" in html(client, "/")
    assert "No jobs yet" in html(client)


def test_a_job_in_flight_is_a_card_with_its_usual_time_and_ceiling(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = a_job(project, mira, "in_progress", sent_at=timezone.now() - dt.timedelta(seconds=70))
    text = html(signed_in)
    assert cards(text) == [job.short_id]
    assert 'data-elapsed="70"' in text
    assert "Usually" in text
    assert "≤ $" in text
    assert "Running" in text
    assert "<title>(1) Jobs · Ponder</title>" in text


def test_a_job_past_its_usual_time_is_slow(signed_in: Client, project: Project, mira: User) -> None:
    a_job(project, mira, "in_progress", sent_at=timezone.now() - dt.timedelta(hours=3))
    assert "Slow" in html(signed_in)
    assert "Still running" in html(signed_in)


def test_a_card_that_waits_for_approval_leads_whoever_may_decide_to_the_decision(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = a_job(project, mira, Status.AWAITING_APPROVAL)
    link = f'href="{job.get_absolute_url()}#decision"'
    approver, operator = a_person("ana@example.com"), a_person("op@example.com", is_superuser=True)
    project.membership_set.create(user=approver, role=Role.APPROVER)
    for person in (approver, operator):
        client = Client()
        client.force_login(person)
        page = client.get("/jobs/").content.decode()
        assert link in page
        assert "Approve…" in page
        assert link in client.get("/jobs/live/").content.decode()
    assert link not in signed_in.get("/jobs/").content.decode()
    project.membership_set.filter(user=approver).update(role=Role.SUBMITTER)
    client.force_login(approver)
    assert link not in client.get("/jobs/").content.decode()
    Project.objects.update(archived_at=timezone.now())
    client.force_login(operator)
    assert link not in client.get("/jobs/").content.decode()


def test_at_most_twelve_cards_stand_on_top_and_all_are_one_link_away(
    signed_in: Client, project: Project, mira: User
) -> None:
    spec = a_spec(project, mira, max_output_tokens=100)
    for _ in range(13):
        lifecycle.submit(spec)
    text = html(signed_in)
    assert len(cards(text)) == 12
    assert 'href="?status=in_flight"' in text
    assert len(rows(html(signed_in, "/jobs/?status=in_flight"))) == 13


def test_every_status_has_its_words_and_exceptions_say_why(
    signed_in: Client, project: Project, mira: User
) -> None:
    a_job(project, mira, "completed")
    a_job(project, mira, "incomplete", incomplete_reason="max_output_tokens", max_output_tokens=40_000)
    a_job(project, mira, "incomplete", incomplete_reason="content_filter")
    a_job(project, mira, "failed", error_code="server_error")
    a_job(project, mira, "failed", error_code="some_new_code")
    a_job(project, mira, "cancelled", cancel_requested_by=mira, cancel_requested_at=timezone.now())
    a_job(project, mira, "unconfirmed")
    a_job(project, mira, "requires_action")
    a_job(project, mira, "in_progress", cancel_requested_at=timezone.now())
    text = html(signed_in)
    for words in (
        "Completed",
        "Hit the 40k output limit",
        "Content filter",
        "Server error",
        "Some new code",
        "Cancelled by Mira",
        "Sent perhaps: someone must decide",
        "Asks for answers",
        "Being cancelled",
    ):
        assert words in text
    assert "8.0k" in text
    assert "1.0k" in text


def test_jobs_of_a_paused_connection_say_that_they_wait(
    signed_in: Client, project: Project, mira: User
) -> None:
    lifecycle.submit(a_spec(project, mira))
    assert "To be sent next" in html(signed_in)
    lifecycle.pause(project.connection_id, "invalid_api_key: no")
    assert "practice is paused; it waits" in html(signed_in)


def test_a_hostile_title_stays_text(signed_in: Client, project: Project, mira: User) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    a_job(project, mira, "completed", spec={"title": evil})
    a_job(project, mira, "in_progress", spec={"title": evil})
    text = html(signed_in)
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert text.count("&lt;script&gt;alert(1)") >= 3


def test_nobody_sees_jobs_of_projects_they_are_not_in(signed_in: Client, project: Project) -> None:
    jonas = a_person("jonas@example.com")
    theirs = a_project("theirs", members={jonas: Role.SUBMITTER})
    secret = a_job(theirs, jonas, "completed", spec={"title": "Their secret"})
    lifecycle.submit(a_spec(theirs, jonas, title="Their running secret"))
    for path in (
        "/jobs/",
        "/jobs/?project=theirs",
        "/jobs/?status=in_flight",
        f"/jobs/?after={place(secret)}",
        "/jobs/live/",
        "/jobs/live/?project=theirs",
    ):
        assert "secret" not in html(signed_in, path)


def test_filters_are_kept_in_every_link_and_combine(signed_in: Client, project: Project, mira: User) -> None:
    other = a_project("other", members={mira: Role.SUBMITTER})
    wanted = a_job(project, mira, "failed", spec={"model": "o3"})
    a_job(project, mira, "completed", spec={"model": "o3"})
    a_job(project, mira, "failed")
    a_job(other, mira, "failed", spec={"model": "o3"})
    text = html(signed_in, "/jobs/?status=failed&project=proofs&model=o3")
    assert rows(text) == [wanted.short_id]
    assert 'href="?status=completed&amp;project=proofs&amp;model=o3"' in text


@pytest.mark.parametrize(
    "query",
    [
        "status=nonsense",
        "status=%00",
        "after=j_nothere1",
        "after=%00",
        "after=1795412345123456789-1",
        "after=99999999999999999999-1",
        "after=1-2-3",
        "page=2",
        "sort=dearest",
        "since=yesterday",
        "since=2026-13-01",
        "until=9999-12-31",
        "since=0001-01-01",
        "project=%00",
        "tag=%00",
        "q=%00",
        "q=",
        "q=+",
    ],
)
def test_a_query_that_means_nothing_shows_the_list(
    signed_in: Client, project: Project, mira: User, query: str
) -> None:
    job = a_job(project, mira, "completed")
    assert rows(html(signed_in, f"/jobs/?{query}")) == [job.short_id]


def test_an_empty_list_says_so_in_words(signed_in: Client, project: Project, mira: User) -> None:
    assert "No jobs yet" in html(signed_in)
    assert "Nothing matches" in html(signed_in, "/jobs/?status=failed")
    assert "Nothing is in flight" in html(signed_in, "/jobs/?status=in_flight")
    lifecycle.submit(a_spec(project, mira))
    assert "Nothing has finished yet" in html(signed_in)


def test_pages_neither_skip_nor_repeat_a_job_though_many_began_at_once(
    signed_in: Client, project: Project, mira: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_list, "PAGE", 4)
    now = timezone.now()
    made = many(project, mira, 5, at=now) + many(project, mira, 6, at=now - dt.timedelta(seconds=1))
    path, seen = "/jobs/", []
    while path:
        text = html(signed_in, path)
        seen += rows(text)
        older = re.search(r'href="(\?[^"]*after=[^"]+)">Next', text)
        path = f"/jobs/{unescape(older[1])}" if older else ""
    newest_first = sorted(made, key=lambda job: (job.created_at, job.pk), reverse=True)
    assert seen == [job.short_id for job in newest_first]


def repeat(job: Job, number: int) -> None:
    """Repeat a job's row, a minute older each time and every twentieth failed, and count the table anew."""
    own = {"id", "uuid", "short_id", "status", "created_at"}
    same = ", ".join(f'"{field.column}"' for field in Job._meta.concrete_fields if field.column not in own)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO jobs_job (uuid, short_id, status, created_at, {same}) "
            "SELECT gen_random_uuid(), 'j_' || n, CASE mod(n, 20) WHEN 0 THEN 'failed' ELSE 'completed' END,"
            f" created_at - n * interval '1 minute', {same}"
            " FROM jobs_job, generate_series(1, %s) n WHERE id = %s",
            [number, job.pk],
        )
        cursor.execute("ANALYZE jobs_job, jobs_project, jobs_membership")


def test_a_later_page_shows_no_cards(signed_in: Client, project: Project, mira: User) -> None:
    first, second = (a_job(project, mira, "completed") for _ in range(2))
    lifecycle.submit(a_spec(project, mira))
    text = html(signed_in, f"/jobs/?after={place(second)}")
    assert (cards(text), rows(text)) == ([], [first.short_id])
    assert "hx-get" not in text


@pytest.mark.parametrize("is_operator", [False, True])
def test_the_list_takes_at_most_twelve_queries_however_much_there_is(
    client: Client, project: Project, mira: User, is_operator: bool
) -> None:
    User.objects.filter(pk=mira.pk).update(is_superuser=is_operator)
    client.force_login(mira)
    counts = []
    for _ in range(2):
        for status in Status:
            if status != Status.AWAITING_APPROVAL:
                a_job(a_project(f"p{Project.objects.count()}", members={mira: Role.SUBMITTER}), mira, status)
        last = Job.objects.order_by("-created_at", "-id").first()
        assert last is not None
        with CaptureQueriesContext(connection) as asked:
            client.get("/jobs/")
        counts.append(len(asked))
        with CaptureQueriesContext(connection) as asked:
            client.get(f"/jobs/?status=completed&model=o3-pro&after={place(last)}")
        assert len(asked) <= MOST_QUERIES
    assert counts[0] == counts[1]
    assert counts[0] <= MOST_QUERIES


def test_a_status_tab_finds_its_rows_in_order_by_an_index(
    client: Client, project: Project, mira: User
) -> None:
    client.force_login(mira)
    repeat(many(project, mira, 1, at=timezone.now())[0], 4_000)
    for is_operator in (False, True):
        User.objects.filter(pk=mira.pk).update(is_superuser=is_operator)
        with CaptureQueriesContext(connection) as asked:
            assert len(rows(html(client, "/jobs/?status=failed"))) == job_list.PAGE
        page = next(
            query["sql"] for query in asked if "= 'failed'" in query["sql"] and "version" in query["sql"]
        )
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {page}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert re.search("using job_(project_)?(status_newest|by_status)", plan)


def test_a_poll_without_news_is_304_in_three_queries(signed_in: Client, project: Project, mira: User) -> None:
    a_job(project, mira, "completed")
    lifecycle.submit(a_spec(project, mira))
    text = html(signed_in)
    with CaptureQueriesContext(connection) as asked:
        found = poll(signed_in, tag_in(text))
    assert (found.status_code, found.content) == (304, b"")
    assert len(asked) == 3


def test_a_poll_brings_what_changed_with_its_new_tag(signed_in: Client, project: Project, mira: User) -> None:
    job = lifecycle.submit(a_spec(project, mira))
    tag = tag_in(html(signed_in))
    Job.objects.filter(pk=job.pk).update(status=Status.IN_PROGRESS, sent_at=timezone.now(), version=9)
    found = poll(signed_in, tag)
    text = found.content.decode()
    assert found.status_code == 200
    assert found["HX-PTag"] == tag_in(text) != tag
    assert "<html" not in text
    assert cards(text) == [job.short_id]
    assert poll(signed_in, found["HX-PTag"]).status_code == 304


def test_a_job_that_ends_moves_into_the_history_and_the_poll_ends(
    signed_in: Client, project: Project, mira: User
) -> None:
    job = lifecycle.submit(a_spec(project, mira))
    text = html(signed_in)
    assert 'data-poll="3"' in text
    tag = tag_in(text)
    lifecycle.cancel(job.pk, by=mira)
    text = poll(signed_in, tag).content.decode()
    assert (cards(text), rows(text)) == ([], [job.short_id])
    assert "<title>Jobs · Ponder</title>" in text
    for attribute in ("hx-get", "hx-trigger", "data-poll"):
        assert attribute not in text


def test_a_new_job_of_a_colleague_appears_on_the_next_poll(
    signed_in: Client, project: Project, mira: User
) -> None:
    lifecycle.submit(a_spec(project, mira))
    tag = tag_in(html(signed_in))
    other = a_job(project, mira, "completed")
    assert other.short_id in poll(signed_in, tag).content.decode()


def test_a_list_of_ended_jobs_never_polls(signed_in: Client, project: Project, mira: User) -> None:
    a_job(project, mira, "completed")
    assert "hx-get" not in html(signed_in)
    assert "hx-get" not in html(signed_in, "/jobs/?status=completed")


@pytest.mark.parametrize(("age", "seconds"), [(0, 3), (29, 3), (31, 5), (299, 5), (301, 15), (90_000, 15)])
def test_the_server_sets_the_interval_by_the_age_of_the_newest_job(
    signed_in: Client, project: Project, mira: User, age: int, seconds: int
) -> None:
    a_job(project, mira, "in_progress", created_at=timezone.now() - dt.timedelta(seconds=age))
    a_job(project, mira, "unconfirmed")
    assert f'data-poll="{seconds}"' in html(signed_in)


def test_time_alone_draws_a_running_job_anew_now_and_then(project: Project, mira: User) -> None:
    job = a_job(project, mira, "in_progress")
    lists = [JobList(Frame(mira), wanted(mira)) for _ in range(3)]
    lists[1].now = lists[0].now
    lists[2].now = lists[0].now + dt.timedelta(seconds=job_list.REDRAW)
    tags = [shown.tag_now() for shown in lists]
    assert tags[0] == tags[1] != tags[2]
    Job.objects.filter(pk=job.pk).update(status=Status.UNCONFIRMED)
    assert lists[0].tag_now() == lists[2].tag_now()


def test_the_tag_of_a_page_is_the_one_a_poll_compares(project: Project, mira: User) -> None:
    for status in (Status.COMPLETED, Status.FAILED, Status.IN_PROGRESS, Status.WAITING):
        a_job(project, mira, status)
    lifecycle.pause(project.connection_id, "invalid_api_key: no")
    seen = set()
    for query in (
        "",
        "status=in_flight",
        "status=failed",
        "model=o3-pro",
        "project=proofs",
        "sort=costliest",
    ):
        shown = JobList(Frame(mira), wanted(mira, query))
        assert shown.tag == shown.tag_now()
        seen.add(shown.tag)
    lifecycle.resume(project.connection_id)
    assert JobList(Frame(mira), wanted(mira)).tag_now() not in seen


def test_someone_not_signed_in_sees_no_job(project: Project, mira: User) -> None:
    lifecycle.submit(a_spec(project, mira))
    assert not Job.objects.visible_to(AnonymousUser()).exists()
