"""The admin console: who gets in, what it shows, what it refuses to change, and that it shows no secret."""

import datetime as dt
import re
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.db import models, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_q.models import OrmQ, Schedule, Task
from pytest_django import DjangoAssertNumQueries, Settings

from jobs import lifecycle, spend
from jobs.access import Role
from jobs.attachments import Found
from jobs.lifecycle.transition import tell
from jobs.models import (
    Alert,
    Answer,
    ApiToken,
    Approval,
    Attachment,
    AttachmentContent,
    Attempt,
    Basis,
    Budget,
    BudgetRequest,
    Chat,
    Connection,
    DailySpend,
    Event,
    Installation,
    Invitation,
    Job,
    JobAttachment,
    JobNote,
    JobText,
    KeySource,
    LedgerEntry,
    Membership,
    ModelSpec,
    MonthlySpend,
    Notice,
    Price,
    Project,
    Prompt,
    PumpLease,
    RawResponse,
    Reconciliation,
    ReconciliationLine,
    ReconciliationPart,
    SavedReplies,
    Secret,
    SignInFailure,
    SignInLink,
    Tally,
    User,
    Verdict,
    WebhookDelivery,
    Workspace,
)
from jobs.models.trail import note
from jobs.pricing import Usage
from tests.factories import a_person, a_project, a_spec

KEY, WEBHOOK_SECRET = "sk-secret-4f1c2a", "whsec_c2VjcmV0LXNlY3JldA=="
REGISTERED = sorted(admin.site._registry, key=lambda model: model._meta.label)
CHANGEABLE = {
    "jobs.User",
    "jobs.Membership",
    "jobs.Project",
    "jobs.Connection",
    "jobs.ModelSpec",
    "jobs.Workspace",
}
ADDABLE = (CHANGEABLE - {"jobs.Workspace"}) | {"jobs.Price"}
DELETABLE = {"jobs.Membership", "jobs.Installation"}
STOCK = {"auth.Group"}


@pytest.fixture(autouse=True)
def _plain_static_names(settings: Settings) -> None:
    settings.WHITENOISE_AUTOREFRESH = True
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }


@pytest.fixture
def operator(db: None, client: Client) -> User:
    """Someone who may do everything, signed in with `client`."""
    person = User.objects.create_superuser("operator@example.com", name="Olu Operator")
    client.force_login(person)
    return person


@pytest.fixture
def project(operator: User) -> Project:
    return a_project(is_practice=False, members={operator: Role.MANAGER})


@pytest.fixture
def world(operator: User, project: Project) -> Job:
    """One row of every registered model, around the job that is returned."""
    connection = project.connection
    connection.key, connection.webhook_secret = Secret.of(KEY), Secret.of(WEBHOOK_SECRET)
    connection.previous_webhook_secret = Secret.of(WEBHOOK_SECRET)
    connection.key_set_at = timezone.now()
    connection.save()
    job = lifecycle.submit(a_spec(project, operator, tags=("night",)))
    attempt = Attempt.objects.get(job=job)
    with transaction.atomic():
        spend.settle(attempt, cost=Decimal("0.25"), basis=Basis.USAGE, usage=Usage(output_tokens=100))
    spend.set_cap(Decimal("0.01"), project=project)
    with pytest.raises(spend.BudgetRefused):
        lifecycle.submit(a_spec(project, operator))
    tell(job.pk, "completed", attempt_id=attempt.pk, actor=operator)
    Answer.objects.create(job=job, attempt=attempt, text="It is true.", html="<p>It is true.</p>")
    RawResponse.objects.create(attempt=attempt, body={"id": "resp_1"})
    Notice.objects.create(job=job, connection=connection, kind="overrun", message="Cost more than was held.")
    PumpLease.objects.create(kind="send", instance="here")
    Installation.objects.create(instance="here", host="ada", version="1")
    WebhookDelivery.objects.create(
        connection=connection, webhook_id="wh_1", response_id="resp_9", state="done"
    )
    run = Reconciliation.objects.create(is_practice=True, since="2026-10-20", until="2026-11-23")
    line = ReconciliationLine.objects.create(reconciliation=run, cause="price", model="gpt-6-sol")
    ReconciliationPart.objects.create(line=line, attempt=job.attempt_set.first())
    ApiToken.objects.create(name="night", project=project, user=operator, prefix="pk_1", digest="d1g357" * 8)
    SignInLink.objects.make_for(operator)
    SignInFailure.objects.create(key="5a1t" * 8)
    Group.objects.create(name="Support")
    plan = Found(media_type="image/png", size=4, digest="d1" * 32, width=9, height=9)
    attachment = Attachment.objects.keep(project, b"plan", plan, by=operator)
    JobAttachment.objects.create(job=job, attachment=attachment, position=1, name="plan.png")
    JobNote.objects.create(job=job, by=operator, text="Look at step 3.")
    Approval.objects.create(job=job, reason="limit", why="It settles the lemma.")
    today = timezone.now().date()
    BudgetRequest.objects.create(
        budget=Budget.objects.get(), amount=9, until=today, why="A word.", asked_by=operator
    )
    Chat.objects.create(address=Secret.of(KEY), set_by=operator)
    Alert.objects.create(
        budget=Budget.objects.get(), month=today, threshold=50, measure="spent", amount=5, room=10
    )
    Verdict.objects.create(job=job, value="right", by=operator)
    SavedReplies.objects.create(job=job, replies=[], by=operator)
    Invitation.objects.make("new@example.com", project=project, role=Role.VIEWER, by=operator)
    note(operator, job, "Looked at.")
    lifecycle.install_watchdog()
    for is_success in (True, False):
        moment = timezone.now()
        Task.objects.create(
            id=str(is_success),
            name="t",
            func="jobs.tasks.watchdog",
            started=moment,
            stopped=moment,
            success=is_success,
        )
    assert OrmQ.objects.exists()
    assert Schedule.objects.exists()
    return job


def page(model: type[models.Model], kind: str = "changelist", *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{kind}", args=args)


def details(model: type[models.Model]) -> str:
    return page(model, "change", admin.site._registry[model].get_queryset(None).first().pk)  # type: ignore[arg-type,union-attr]


def is_strict(html: str) -> bool:
    """Tell whether a page keeps to `default-src 'self'`: no script, style or handler of its own."""
    inline = re.findall(
        r"<script(?![^>]*\bsrc=)(?![^>]*application/json)|<style|<[^>]+\s(?:style|on[a-z]+)=", html
    )
    return not inline and not re.search(r"<(?:script|link|img|form)[^>]+=\"(?:https?:)?//", html)


def secrets_in(html: str) -> list[str]:
    connection = Connection.objects.get()
    hidden = [
        KEY,
        WEBHOOK_SECRET,
        connection.key.token,
        connection.webhook_secret.token,
        "d1g357",
        "&lt;Secret",
    ]
    hidden += SignInLink.objects.values_list("digest", flat=True)
    return [secret for secret in hidden if secret in html]


def test_every_record_is_registered() -> None:
    # The words that jobs are found by, the bytes of files and sums for metrics are no records to look at.
    unseen = {Project.allowed_models.through, AttachmentContent, JobText, Tally}
    assert set(apps.get_app_config("jobs").get_models()) <= set(REGISTERED) | unseen
    assert {model._meta.label for model in REGISTERED if model._meta.app_label == "django_q"} == {
        "django_q.Schedule",
        "django_q.Success",
        "django_q.Failure",
        "django_q.OrmQ",
    }


def test_every_page_answers_strictly_and_shows_no_secret(client: Client, world: Job) -> None:
    for model in REGISTERED:
        label = model._meta.label
        addresses = [page(model), details(model)]
        if label in ADDABLE | STOCK:
            addresses.append(page(model, "add"))
        for address in addresses:
            response = client.get(address)
            html = response.content.decode()
            assert response.status_code == 200, address
            assert "default-src 'self'" in response.headers["Content-Security-Policy"]
            assert is_strict(html), address
            assert not secrets_in(html), address
            assert "ponder-admin.css" in html


def test_the_index_answers(client: Client, world: Job) -> None:
    html = client.get("/admin/").content.decode()
    assert is_strict(html)
    assert "Ponder" in html


def test_others_get_in_nowhere(client: Client, world: Job) -> None:
    addresses = ["/admin/", *[page(model) for model in REGISTERED], *[details(model) for model in REGISTERED]]
    client.logout()
    for address in addresses:
        response = client.get(address, follow=True)
        assert response.redirect_chain[-1][0] == f"/login/?next={address}", address
    client.force_login(a_person("manager@example.com"))
    for address in addresses:
        assert client.get(address, follow=True).status_code == 403, address
        assert client.post(address, {}, follow=True).status_code == 403, address


def test_staff_go_where_they_wanted_and_nowhere_else(client: Client, operator: User) -> None:
    assert client.get("/admin/login/?next=/admin/jobs/job/").headers["Location"] == "/admin/jobs/job/"
    assert client.get("/admin/login/?next=https://evil.example/").headers["Location"] == "/admin/"
    assert client.get("/admin/login/").headers["Location"] == "/admin/"


def test_a_password_sent_to_the_admin_signs_nobody_in(client: Client, operator: User) -> None:
    client.logout()
    operator.set_password("correct horse battery")
    operator.save()
    sent = {"username": operator.email, "password": "correct horse battery"}
    response = client.post("/admin/login/?next=/admin/", sent)
    assert response.headers["Location"] == "/login/?next=/admin/"
    assert "_auth_user_id" not in client.session


def test_what_only_the_product_writes_is_read_only(client: Client, world: Job) -> None:
    for model in REGISTERED:
        label = model._meta.label
        before = list(model._default_manager.order_by("pk").values())
        if label not in CHANGEABLE | STOCK:
            assert client.post(details(model), {"_save": "Save"}).status_code == 403, label
        if label not in ADDABLE | STOCK:
            assert client.get(page(model, "add")).status_code == 403, label
            assert client.post(page(model, "add"), {}).status_code == 403, label
        if label not in DELETABLE | STOCK:
            delete = details(model).replace("/change/", "/delete/")
            assert client.post(delete, {"post": "yes"}).status_code == 403, label
            some = [row["id"] if "id" in row else next(iter(row.values())) for row in before]
            client.post(page(model), {"action": "delete_selected", "_selected_action": some, "post": "yes"})
        assert list(model._default_manager.order_by("pk").values()) == before, label


def test_no_action_runs_what_lies_in_the_queue(client: Client, world: Job) -> None:
    before = OrmQ.objects.count()
    failure = apps.get_model("django_q", "Failure")
    client.post(page(failure), {"action": "resubmit_task", "_selected_action": ["False"]})
    assert OrmQ.objects.count() == before


def test_content_is_marked_as_such_and_every_look_is_written_down(
    client: Client, operator: User, world: Job
) -> None:
    LogEntry.objects.all().delete()
    for model in (Answer, JobAttachment, JobNote, Prompt, RawResponse, SavedReplies):
        for address in (page(model), details(model)):
            assert "people&#x27;s own words" in client.get(address).content.decode()
        assert str(world.prompt.title) not in client.get(page(model)).content.decode()
        entry = LogEntry.objects.get()
        assert (entry.user, entry.object_id, entry.content_type.model) == (operator, str(world.pk), "job")
        assert entry.change_message == f"Read in the console: {model._meta.verbose_name}"
        entry.delete()
    history = page(Job, "history", world.pk)
    client.get(details(Prompt))
    assert "Read in the console: prompt" in client.get(history).content.decode()


def test_a_look_at_nothing_is_not_written_down(client: Client, operator: User) -> None:
    client.get(page(Prompt, "change", 0))
    assert not LogEntry.objects.exists()


def test_the_log_tells_who_did_what_and_cannot_be_changed(client: Client, operator: User, world: Job) -> None:
    html = client.get(page(LogEntry), {"q": operator.email}).content.decode()
    assert "Looked at." in html
    assert world.short_id in html


def test_a_month_narrows_the_jobs_to_those_made_in_it(
    client: Client, operator: User, project: Project
) -> None:
    old, new = (lifecycle.submit(a_spec(project, operator, max_output_tokens=1_000)) for _ in range(2))
    today = timezone.now().date()
    last = today.replace(day=1) - dt.timedelta(days=1)
    Job.objects.filter(pk=old.pk).update(created_at=f"{last}T12:00Z")
    for month, shown, hidden in ((last, old, new), (today, new, old)):
        html = client.get(page(Job), {"in_month": f"{month:%Y-%m}"}).content.decode()
        assert shown.short_id in html
        assert hidden.short_id not in html
    both = client.get(page(Job), {"in_month": "soon"}).content.decode()
    assert old.short_id in both
    assert new.short_id in both


def test_small_tables_count_what_each_filter_would_leave(client: Client, world: Job) -> None:
    assert "OpenAI (1)" in client.get(page(Connection), {"_facets": "True"}).content.decode()
    # A large one is never counted through for it.
    assert "Waiting (" not in client.get(page(Job), {"_facets": "True"}).content.decode()


def test_an_answer_is_shown_as_text_never_as_html(client: Client, world: Job) -> None:
    Answer.objects.update(text="<img src=x>")
    html = client.get(details(Answer)).content.decode()
    assert "&lt;img src=x&gt;" in html
    assert "<img src=x>" not in html


# Session, person, count, rows, and one more for each filter that offers records.
QUERIES = {
    Job: 6,
    Attempt: 5,
    LedgerEntry: 5,
    DailySpend: 6,
    MonthlySpend: 6,
    Prompt: 4,
    JobNote: 4,
    Event: 4,
    Membership: 5,
}


@pytest.mark.parametrize("model", QUERIES, ids=lambda model: model.__name__)
def test_a_list_needs_as_many_queries_for_many_rows_as_for_few(
    client: Client,
    project: Project,
    operator: User,
    model: type[models.Model],
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    other = a_project("other", is_practice=False)
    for number in range(6):
        person = User.objects.create_user(f"p{number}@example.com")  # hashing a password takes half a second
        where = (project, other)[number % 2]
        Membership.objects.create(user=person, project=where, role=Role.SUBMITTER)
        job = lifecycle.submit(a_spec(where, person, max_output_tokens=1_000))
        with transaction.atomic():
            spend.settle(Attempt.objects.get(job=job), cost=Decimal("0.01"), basis=Basis.USAGE)
        JobNote.objects.create(job=job, by=person, text="So.")
    client.get(page(model))
    with django_assert_num_queries(QUERIES[model]):
        html = client.get(page(model)).content.decode()
    assert html.count("<tr") >= 7


def test_a_list_counts_no_further_than_it_pages(
    client: Client, project: Project, operator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.admin.base.LIST_DEPTH", 3)
    for _ in range(5):
        lifecycle.submit(a_spec(project, operator, max_output_tokens=1_000))
    response = client.get(page(Job))
    assert response.context["cl"].result_count == 3


def test_a_job_is_found_by_its_short_id(client: Client, project: Project, operator: User) -> None:
    wanted, other = (lifecycle.submit(a_spec(project, operator, max_output_tokens=1_000)) for _ in range(2))
    for model in (Job, Attempt, LedgerEntry):
        html = client.get(page(model), {"q": wanted.short_id}).content.decode()
        assert wanted.short_id in html
        assert other.short_id not in html


def test_records_link_to_the_page_of_their_job(client: Client, world: Job) -> None:
    for model in (Attempt, LedgerEntry, RawResponse, Notice):
        assert f'href="{world.get_absolute_url()}"' in client.get(details(model)).content.decode()
    shown = client.get(page(Project, "change", world.project.pk)).content.decode()
    link = re.search(r'href="(/admin/r/\d+/\d+/)"', shown)
    assert link
    assert client.get(link[1]).headers["Location"].endswith(world.project.get_absolute_url())


def no_members() -> dict[str, str]:
    return {f"membership_set-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")}


def test_someone_new_has_no_password_and_a_plain_address(client: Client, operator: User) -> None:
    sent = {"email": "New.Person@Example.com ", "name": "New", "is_active": "on", "is_superuser": "on"}
    response = client.post(page(User, "add"), {**sent, "password": "x", **no_members()})
    assert response.status_code == 302
    person = User.objects.get(email="new.person@example.com")
    assert not person.has_usable_password()
    assert not person.is_superuser
    again = client.post(page(User, "add"), {**sent, **no_members()})
    assert "There is someone with this address already." in again.content.decode()


def test_changing_a_person_leaves_the_password_alone(client: Client, operator: User) -> None:
    person = a_person()
    before = person.password
    client.post(page(User, "change", person.pk), {"email": person.email, "name": "Mira O.", **no_members()})
    person.refresh_from_db()
    assert (person.name, person.is_active, person.password) == ("Mira O.", False, before)


def test_operators_cannot_lock_themselves_out(client: Client, operator: User) -> None:
    client.post(page(User, "change", operator.pk), {"email": operator.email, "name": "Me", **no_members()})
    operator.refresh_from_db()
    assert (operator.name, operator.is_active, operator.is_staff) == ("Me", True, True)


def test_staff_who_are_no_operators_give_no_rights_away(client: Client, operator: User) -> None:
    staff, other = a_person("staff@example.com", is_staff=True), a_person("other@example.com")
    staff.user_permissions.set(
        Permission.objects.filter(content_type__app_label="jobs", codename__endswith="_user")
    )
    group = Group.objects.create(name="Support")
    client.force_login(staff)
    sent = {
        "email": "other@example.com",
        "name": "O",
        "is_active": "on",
        "is_staff": "on",
        "groups": [group.pk],
    }
    assert client.post(page(User, "change", other.pk), sent).status_code == 302
    other.refresh_from_db()
    assert (other.name, other.is_staff, other.groups.count()) == ("O", False, 0)
    assert client.post(page(User, "change", operator.pk), {"email": "taken@example.com"}).status_code == 403
    assert client.get(page(Job)).status_code == 403


def connection_form(connection: Connection, **changed: Any) -> dict[str, Any]:
    names = ("name", "kind", "base_url", "organization", "openai_project", "max_in_flight")
    return {name: getattr(connection, name) for name in names} | changed


def test_a_key_goes_in_and_never_comes_out(client: Client, world: Job) -> None:
    connection = Connection.objects.get()
    address = page(Connection, "change", connection.pk)
    new = "sk-secret-new-77"
    assert client.post(address, connection_form(connection, new_key=new)).status_code == 302
    connection.refresh_from_db()
    assert connection.reveal_key() == new
    assert new not in client.get(address).content.decode()
    assert new not in client.get(address.replace("/change/", "/history/")).content.decode()


def test_a_key_that_is_refused_is_not_repeated(client: Client, world: Job) -> None:
    connection = Connection.objects.get()
    sent = connection_form(connection, new_key="sk-secret with blanks", new_webhook_secret="whsec_secret!")
    html = client.post(page(Connection, "change", connection.pk), sent).content.decode()
    assert "A key has no blanks" in html
    assert "The secret that OpenAI shows" in html
    assert "sk-secret" not in html
    assert "whsec_secret" not in html


def test_an_empty_key_leaves_the_one_that_is_set(client: Client, world: Job) -> None:
    connection = Connection.objects.get()
    client.post(page(Connection, "change", connection.pk), connection_form(connection, name="Main"))
    connection.refresh_from_db()
    assert (connection.name, connection.reveal_key()) == ("Main", KEY)
    assert connection.webhook_secret.reveal() == WEBHOOK_SECRET


def test_another_address_clears_the_key_unless_a_new_one_comes_with_it(client: Client, world: Job) -> None:
    connection = Connection.objects.get()
    address = page(Connection, "change", connection.pk)
    moved = connection_form(connection, base_url="https://eu.api.openai.com/v1")
    client.post(address, moved)
    connection.refresh_from_db()
    assert not connection.key
    assert connection.key_set_at is None
    client.post(address, {**moved, "base_url": "https://api.openai.com/v1", "new_key": "sk-secret-2"})
    connection.refresh_from_db()
    assert connection.reveal_key() == "sk-secret-2"


def test_a_new_webhook_secret_keeps_the_one_before_it(client: Client, world: Job) -> None:
    connection = Connection.objects.get()
    sent = connection_form(connection, new_webhook_secret="whsec_bmV3")
    client.post(page(Connection, "change", connection.pk), sent)
    connection.refresh_from_db()
    assert connection.webhook_secret.reveal() == "whsec_bmV3"
    assert connection.previous_webhook_secret.reveal() == WEBHOOK_SECRET
    shown = client.get(page(Connection, "change", connection.pk)).content.decode()
    assert connection.webhook_path in shown
    assert "0s after its event" not in shown
    assert "UTC, – after its event" in shown
    client.post(
        page(Connection, "change", connection.pk),
        connection_form(connection, drop_previous_webhook_secret="on"),
    )
    connection.refresh_from_db()
    assert connection.reveal_webhook_secrets() == ["whsec_bmV3"]


@pytest.mark.parametrize(
    "address", ["ftp://api.openai.com/v1", "https://me:pw@api.openai.com/v1", "https://a.example/?k=1"]
)
def test_an_address_that_is_no_apis_is_refused(client: Client, world: Job, address: str) -> None:
    connection = Connection.objects.get()
    sent = connection_form(connection, base_url=address)
    assert client.post(page(Connection, "change", connection.pk), sent).status_code == 200


@pytest.mark.parametrize("fixed", [{"is_practice": True}, {"key_source": KeySource.ENVIRONMENT}])
def test_the_environments_key_and_practice_stay_at_their_address(
    client: Client, world: Job, fixed: dict[str, Any]
) -> None:
    Connection.objects.update(**fixed)
    connection = Connection.objects.get()
    sent = connection_form(
        connection,
        base_url="https://evil.example/v1",
        kind="azure",
        new_key="sk-other",
        is_practice="",
        key_source="stored",
    )
    client.post(page(Connection, "change", connection.pk), sent)
    after = Connection.objects.get()
    assert (after.base_url, after.kind, after.key) == (connection.base_url, connection.kind, connection.key)
    assert (after.is_practice, after.key_source) == (connection.is_practice, connection.key_source)


def test_a_pause_made_meanwhile_is_not_undone(
    client: Client, world: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = Connection.objects.get()
    connection_admin = admin.site._registry[Connection]
    found = connection_admin.get_object

    def found_then_paused(*args: Any) -> Any:
        loaded = found(*args)
        lifecycle.pause(connection.pk, "401: the key was refused")
        return loaded

    monkeypatch.setattr(connection_admin, "get_object", found_then_paused)
    client.post(page(Connection, "change", connection.pk), connection_form(connection, name="Main"))
    connection.refresh_from_db()
    assert connection.name == "Main"
    assert connection.paused_at is not None


def test_a_new_connection_is_real(client: Client, operator: User) -> None:
    sent = {
        "name": "Azure",
        "kind": "azure",
        "base_url": "https://x.openai.azure.com/openai/v1/",
        "max_in_flight": 5,
    }
    response = client.post(page(Connection, "add"), {**sent, "new_key": "sk-secret-9", "is_practice": "on"})
    assert response.status_code == 302
    made = Connection.objects.get(name="Azure")
    assert (made.is_practice, made.reveal_key(), made.base_url) == (
        False,
        "sk-secret-9",
        "https://x.openai.azure.com/openai/v1",
    )


def project_form(project: Project, **changed: Any) -> dict[str, Any]:
    names = ("name", "slug", "default_max_output_tokens", "unconfirmed_rule")
    given = {name: getattr(project, name) for name in names}
    return {**given, "connection": project.connection_id, **no_members(), **changed}


def test_a_project_changes_sides_only_before_its_first_job(
    client: Client, project: Project, operator: User
) -> None:
    practice = a_project("practice").connection
    sent = project_form(project, connection=practice.pk)
    address = page(Project, "change", project.pk)
    client.post(address, sent)
    project.refresh_from_db()
    assert project.is_practice
    lifecycle.submit(a_spec(project, operator))
    client.post(
        address, {**sent, "connection": Connection.objects.get(is_practice=False).pk, "name": "Renamed"}
    )
    project = Project.objects.get(pk=project.pk)
    assert (project.name, project.is_practice) == ("Renamed", True)


def test_a_new_project_is_told_to_need_a_cap(client: Client, project: Project, operator: User) -> None:
    sent = project_form(project, name="Fresh", slug="fresh")
    assert "until it has a cap" in client.post(page(Project, "add"), sent, follow=True).content.decode()


def test_members_are_set_on_the_projects_page(client: Client, project: Project) -> None:
    viewer = a_person("viewer@example.com")
    sent = project_form(project) | {
        "membership_set-TOTAL_FORMS": "1",
        "membership_set-0-user": viewer.pk,
        "membership_set-0-role": Role.VIEWER.value,
    }
    client.post(page(Project, "change", project.pk), sent)
    assert project.role_of(viewer) is Role.VIEWER


def test_a_new_time_zone_waits_for_the_next_month(
    client: Client, project: Project, settings: Settings
) -> None:
    address = page(Workspace, "change", 1)
    sent = {"name": "Ponder", "next_time_zone": "Asia/Tokyo"}
    settings.PONDER_TODAY = dt.date(2026, 12, 31)
    client.post(address, sent)
    workspace = Workspace.objects.the()
    assert (workspace.zone.key, workspace.next_time_zone_on) == ("UTC", dt.date(2027, 1, 1))
    settings.PONDER_TODAY = dt.date(2027, 1, 15)
    assert Workspace.objects.the().zone.key == "Asia/Tokyo"
    client.post(address, {**sent, "next_time_zone": "Europe/Berlin"})
    workspace = Workspace.objects.the()
    assert (workspace.zone.key, workspace.next_time_zone_on) == ("Asia/Tokyo", dt.date(2027, 2, 1))
    client.post(address, {**sent, "next_time_zone": ""})
    workspace = Workspace.objects.the()
    assert (workspace.zone.key, workspace.next_time_zone_on) == ("Asia/Tokyo", None)
    assert (
        "There is no such time zone"
        in client.post(address, {**sent, "next_time_zone": "Mars"}).content.decode()
    )


def price_form(**changed: Any) -> dict[str, Any]:
    given = {"model": "o3-pro", "valid_from": "2027-05-01", "input": "10", "output": "40", "source": "a page"}
    factors = {"long_context_input": "1", "long_context_output": "1", "region": "1"}
    return {**given, **factors, "tiers": "{}", "windows": "{}", "tool_fees": "{}", **changed}


def test_a_price_is_succeeded_by_a_later_one(client: Client, project: Project) -> None:
    spec = ModelSpec.objects.get(pk="o3-pro")
    assert client.post(page(Price, "add"), price_form()).status_code == 302
    found = spec.price_on(dt.date(2027, 5, 1))
    assert found
    assert found.rates.output == 40
    same_day = client.post(page(Price, "add"), price_form()).content.decode()
    assert "Later than the price it succeeds" in same_day


@pytest.mark.parametrize(
    "wrong",
    [{"output": "-1"}, {"tiers": '{"flex": "cheap"}'}, {"tool_fees": "[1]"}, {"windows": '{"2h": -1}'}],
)
def test_a_price_that_nothing_could_be_reckoned_with_is_refused(
    client: Client, project: Project, wrong: dict[str, str]
) -> None:
    before = Price.objects.count()
    assert client.post(page(Price, "add"), price_form(**wrong)).status_code == 200
    assert Price.objects.count() == before


def model_form(spec: ModelSpec, **changed: Any) -> dict[str, Any]:
    given = {
        "id": spec.pk,
        "name": spec.name,
        "family": spec.family,
        "rung": spec.rung,
        "context_window": spec.context_window,
        "max_output_tokens": spec.max_output_tokens,
        "efforts": ",".join(spec.efforts),
        "default_effort": spec.default_effort,
        "undocumented_efforts": "{}",
        "modes": ",".join(spec.modes),
        "mode_factors": "{}",
        "prior": "{}",
    }
    return {**given, **changed}


def test_a_model_can_be_corrected_under_its_name(client: Client, project: Project) -> None:
    spec = ModelSpec.objects.get(pk="o3-pro")
    before = ModelSpec.objects.count()
    sent = model_form(spec, id="o3-ultra", shutdown_date="2026-12-12")
    assert client.post(page(ModelSpec, "change", "o3-pro"), sent).status_code == 302
    assert ModelSpec.objects.get(pk="o3-pro").shutdown_date == dt.date(2026, 12, 12)
    assert ModelSpec.objects.count() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"default_effort": "huge"},
        {"undocumented_efforts": "[1]"},
        {"mode_factors": '{"pro": 0.5}'},
        {"mode_factors": "[2]"},
        {"prior": '{"high": {"reasoning": [1, 2]}}'},
        {"prior": '{"high": {"reasoning": [3, 2, 1], "answer": [1, 2, 3], "seconds": [1, 2, 3]}}'},
    ],
)
def test_a_model_that_the_pages_could_not_read_is_refused(
    client: Client, project: Project, wrong: dict[str, str]
) -> None:
    spec = ModelSpec.objects.get(pk="o3-pro")
    assert client.post(page(ModelSpec, "change", spec.pk), model_form(spec, **wrong)).status_code == 200
