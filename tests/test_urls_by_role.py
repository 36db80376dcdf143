"""Asks for every address of the site as everyone, and holds the answers against one table.

An address without a row is a failure, so a new page is not forgotten. Columns, in the order of `ROLES`:
someone not signed in, someone signed in who is a member elsewhere, then members of the project in question:
viewer, submitter, the submitter of the job in question, approver, manager; last an operator.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from http.cookies import SimpleCookie
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib import admin
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from jobs import clock, lifecycle, spend
from jobs.access import Role
from jobs.attachments import Found
from jobs.models import (
    Attachment,
    Budget,
    BudgetRequest,
    Given,
    Invitation,
    Job,
    Project,
    Prompt,
    Reconciliation,
    ReconciliationLine,
    Scope,
    SignInLink,
    Status,
    User,
    WebhookDelivery,
)
from tests.factories import PASSWORD, a_person, a_project, a_spec
from tests.jobs.views.states import a_job
from tests.markup import faults

ROLES = ("stranger", "outsider", "viewer", "submitter", "owner", "approver", "manager", "operator")

# What the table says in one word.
LOGIN = "login"  # sent to the sign-in page
GO = "go"  # done, or not a page of its own: sent on
RELOAD = "reload"  # a fragment asked for after the session ended: the page is told to reload itself
CODES = {"ok": 200, "none": 204, "no": 403, "lost": 404, "method": 405, "gone": 410, "wrong": 422}

EVERYONE = "ok " * 8
MEMBERS_READ = "login lost ok ok ok ok ok ok"
SIGNED_IN_READ = "login ok ok ok ok ok ok ok"
NOT_ASKED_SO = "login " + "method " * 7
NEVER_ASKED_SO = "method " * 8
OPERATORS = "login lost lost lost lost lost lost "
NOT_WITHOUT_SESSION = "reload " + "method " * 7
SUBMITTERS_DO = "reload lost no go go go go go"
APPROVERS_DO = "login lost no no no go go go"
MANAGERS_READ = "login lost no no no no ok ok"
MANAGERS_DO = "login lost no no no no go go"

# Route → what GET and what POST answer, role by role.
TABLE: dict[str, tuple[str, str]] = {
    "": ("login go go go go go go go", NOT_ASKED_SO),
    "healthz": (EVERYONE, NEVER_ASKED_SO),
    "metrics": ("lost " * 7 + "ok", NEVER_ASKED_SO),
    "login/": ("ok go go go go go go go", "go go go go go go go go"),
    "login/forgot/": (EVERYONE, "go " * 8),
    "logout/": (NOT_ASKED_SO, "login go go go go go go go"),
    "enter/": (EVERYONE, "gone " * 8),
    "join/": (EVERYONE, "gone " * 8),
    "jobs/": (SIGNED_IN_READ, NOT_ASKED_SO),
    "notices/live/": ("reload ok ok ok ok ok ok ok", NEVER_ASKED_SO),
    "jobs/live/": ("reload ok ok ok ok ok ok ok", NEVER_ASKED_SO),
    "jobs/export.csv": (SIGNED_IN_READ, NOT_ASKED_SO),
    "jobs/export.jsonl": (SIGNED_IN_READ, NOT_ASKED_SO),
    # Who may send to no project is shown why, and nothing to send with.
    "jobs/new/": (SIGNED_IN_READ, "login wrong ok go go go go go"),
    "jobs/estimate/": ("reload " + "method " * 7, "reload ok none ok ok ok ok ok"),
    "jobs/check/schema/": (NOT_WITHOUT_SESSION, "reload " + "ok " * 7),
    "jobs/check/tools/": (NOT_WITHOUT_SESSION, "reload " + "ok " * 7),
    "help/models/": (SIGNED_IN_READ, NOT_ASKED_SO),
    "help/<slug:name>/": (SIGNED_IN_READ, NOT_ASKED_SO),
    "attachments/": ("reload " + "method " * 7, "reload lost no ok ok ok ok ok"),
    "jobs/<str:short_id>/": (MEMBERS_READ, NOT_ASKED_SO),
    "jobs/<str:short_id>/attachments/<int:position>/": (MEMBERS_READ, NOT_ASKED_SO),
    "jobs/<str:short_id>/live/": ("reload lost ok ok ok ok ok ok", NEVER_ASKED_SO),
    "jobs/<str:short_id>/prompt/": (MEMBERS_READ, NOT_ASKED_SO),
    "jobs/<str:short_id>/activity/": (MEMBERS_READ, NOT_ASKED_SO),
    "jobs/<str:short_id>/raw/": (MEMBERS_READ, NOT_ASKED_SO),
    "jobs/<str:short_id>/cancel/": (NOT_ASKED_SO, "login lost no no go go go go"),
    "jobs/<str:short_id>/cancel/price/": ("reload lost no no ok ok ok ok", NEVER_ASKED_SO),
    "jobs/<str:short_id>/again/": (NOT_ASKED_SO, "login lost no go go go go go"),
    "jobs/<str:short_id>/follow-up/": (
        "login lost no go go go go go",
        "login lost no wrong wrong wrong wrong wrong",
    ),
    "jobs/<str:short_id>/follow-up/price/": (NOT_WITHOUT_SESSION, "reload lost no ok ok ok ok ok"),
    # None of the jobs waits for replies: who may answer is told so.
    "jobs/<str:short_id>/replies/": ("login lost no no go go go go", "login lost no no go go go go"),
    "jobs/<str:short_id>/replies/price/": (NOT_WITHOUT_SESSION, "reload lost no no none none none none"),
    "jobs/<str:short_id>/rerun/": ("login lost no go go go go go", "login lost no go go go go go"),
    # None of the jobs waits for approval: approvers are told so.
    "jobs/<str:short_id>/approve/": (NOT_ASKED_SO, APPROVERS_DO),
    "jobs/<str:short_id>/reject/": (NOT_ASKED_SO, APPROVERS_DO),
    "jobs/<str:short_id>/cheaper/": (NOT_ASKED_SO, APPROVERS_DO),
    "jobs/<str:short_id>/resolve/": (NOT_ASKED_SO, "login lost no no go go go go"),
    "jobs/<str:short_id>/finish/": (NOT_ASKED_SO, "login lost no no go go go go"),
    "jobs/<str:short_id>/answer/rest/": ("reload lost " + "reload " * 6, NEVER_ASKED_SO),
    "jobs/<str:short_id>/answer.md": (MEMBERS_READ, NOT_ASKED_SO),
    "jobs/<str:short_id>/answer.txt": (MEMBERS_READ, NOT_ASKED_SO),
    "jobs/<str:short_id>/answer.json": (MEMBERS_READ, NOT_ASKED_SO),
    "jobs/<str:short_id>/answer.csv": (MEMBERS_READ, NOT_ASKED_SO),
    "jobs/<str:short_id>/verdict/": (NOT_WITHOUT_SESSION, SUBMITTERS_DO),
    "jobs/<str:short_id>/tags/": (NOT_WITHOUT_SESSION, SUBMITTERS_DO),
    "jobs/<str:short_id>/notes/": (NOT_WITHOUT_SESSION, SUBMITTERS_DO),
    "jobs/<str:short_id>/notes/<int:pk>/remove/": (NOT_WITHOUT_SESSION, SUBMITTERS_DO),
    "results/<slug:slug>/<slug:schema>/": (MEMBERS_READ, NOT_ASKED_SO),
    "projects/": (SIGNED_IN_READ, NOT_ASKED_SO),
    "projects/new/": (OPERATORS + "ok", OPERATORS + "go"),
    "projects/<slug:slug>/": (MEMBERS_READ, NOT_ASKED_SO),
    "projects/<slug:slug>/chat/": (NOT_ASKED_SO, MANAGERS_DO),
    "projects/<slug:slug>/archive/": (NOT_ASKED_SO, MANAGERS_DO),
    "projects/<slug:slug>/unarchive/": (NOT_ASKED_SO, MANAGERS_DO),
    "projects/<slug:slug>/settings/": (MANAGERS_READ, MANAGERS_DO),
    # The last manager is told so; an operator is in no project.
    "projects/<slug:slug>/leave/": (NOT_ASKED_SO, "login lost go go go go go lost"),
    "projects/<slug:slug>/members/": (MANAGERS_READ, MANAGERS_READ),
    "projects/<slug:slug>/members/<int:pk>/role/": (NOT_ASKED_SO, MANAGERS_DO),
    "projects/<slug:slug>/members/<int:pk>/remove/": (NOT_ASKED_SO, MANAGERS_DO),
    "projects/<slug:slug>/invitations/<int:pk>/withdraw/": (NOT_ASKED_SO, MANAGERS_DO),
    "projects/<slug:slug>/cap/": (NOT_ASKED_SO, "login lost no no no no go go"),
    "budget/": (SIGNED_IN_READ, NOT_ASKED_SO),
    "budget/more/": (SIGNED_IN_READ, "login " + "wrong " * 7),
    "budget/more/<int:pk>/grant/": (NOT_ASKED_SO, "login lost lost lost lost lost go go"),
    "budget/more/<int:pk>/refuse/": (NOT_ASKED_SO, "login lost lost lost lost lost go go"),
    "budget/rules/": (SIGNED_IN_READ, NOT_ASKED_SO),
    "budget/rules/workspace/": (NOT_ASKED_SO, OPERATORS + "go"),
    "budget/rules/members/": (OPERATORS + "ok", OPERATORS + "go"),
    "budget/rules/chat/": (NOT_ASKED_SO, OPERATORS + "go"),
    # A project's cap is never lifted.
    "budget/rules/caps/<int:pk>/lift/": (NOT_ASKED_SO, OPERATORS + "go"),
    "budget/ledger/": (SIGNED_IN_READ, NOT_ASKED_SO),
    "budget/refused/": (SIGNED_IN_READ, NOT_ASKED_SO),
    "budget/judged/": (SIGNED_IN_READ, NOT_ASKED_SO),
    "settings/": ("login go go go go go go go", NOT_ASKED_SO),
    "settings/status/": (OPERATORS + "ok", NOT_ASKED_SO),
    "settings/profile/": (SIGNED_IN_READ, "login " + "wrong " * 7),
    "settings/password/": (NOT_ASKED_SO, "login " + "wrong " * 7),
    "settings/models/": (SIGNED_IN_READ, NOT_ASKED_SO),
    "settings/models/<str:model>/succeed/": (NOT_ASKED_SO, OPERATORS + "go"),
    "settings/people/": (OPERATORS + "ok", OPERATORS + "ok"),
    "settings/people/<int:pk>/deactivate/": (NOT_ASKED_SO, OPERATORS + "go"),
    "settings/people/<int:pk>/reactivate/": (NOT_ASKED_SO, OPERATORS + "go"),
    "settings/invitations/<int:pk>/withdraw/": (NOT_ASKED_SO, OPERATORS + "go"),
    "settings/connections/": (OPERATORS + "ok", NOT_ASKED_SO),
    "settings/connections/new/": (OPERATORS + "ok", OPERATORS + "wrong"),
    "settings/connections/pause/": (NOT_ASKED_SO, OPERATORS + "go"),
    "settings/connections/resume/": (NOT_ASKED_SO, OPERATORS + "go"),
    "settings/connections/<int:pk>/": (OPERATORS + "ok", OPERATORS + "go"),
    "settings/connections/<int:pk>/live/": ("reload lost lost lost lost lost lost ok", NEVER_ASKED_SO),
    "settings/connections/<int:pk>/test/": (NOT_ASKED_SO, OPERATORS + "go"),
    "settings/connections/<int:pk>/relieve/": (NOT_ASKED_SO, OPERATORS + "go"),
    "settings/connections/<int:pk>/pause/": (NOT_ASKED_SO, OPERATORS + "go"),
    "settings/connections/<int:pk>/resume/": (NOT_ASKED_SO, OPERATORS + "go"),
    "settings/connections/<int:pk>/webhook/": (NOT_ASKED_SO, OPERATORS + "wrong"),
    "settings/connections/<int:pk>/webhook/drop/": (NOT_ASKED_SO, OPERATORS + "go"),
    "settings/reconciliation/": (OPERATORS + "ok", OPERATORS + "go"),
    "settings/reconciliation/live/": ("reload lost lost lost lost lost lost ok", NEVER_ASKED_SO),
    "settings/reconciliation/<int:pk>/book/": (NOT_ASKED_SO, OPERATORS + "go"),
    "settings/webhooks/": (OPERATORS + "ok", NOT_ASKED_SO),
    "settings/webhooks/<int:pk>/again/": (NOT_ASKED_SO, OPERATORS + "go"),
    # The API's, which has no session: whoever does not know the connection's address finds nothing.
    "webhooks/openai/<slug:slug>/": (NEVER_ASKED_SO, "lost " * 8),
    "webhooks/openai/<slug:slug>": (NEVER_ASKED_SO, "lost " * 8),
}

# The console's own addresses: everyone but operators is turned away, so this says what operators get.
CONSOLE: dict[str, tuple[str, str]] = {
    "admin/": ("ok", "ok"),
    "admin/login/": ("go", "go"),
    "admin/logout/": ("method", "go"),
    "admin/password_change/": ("ok", "ok"),
    "admin/password_change/done/": ("ok", "method"),
    "admin/autocomplete/": ("no", "method"),
    "admin/jsi18n/": ("ok", "method"),
    "admin/r/<path:content_type_id>/<path:object_id>/": ("lost", "lost"),
    "admin/^(?P<app_label>auth|jobs|django_q|admin)/$": ("ok", "ok"),
    "admin/(?P<url>.*)$": ("lost", "lost"),
}
EXAMPLES = {
    "<path:content_type_id>/<path:object_id>": "0/0",
    "^(?P<app_label>auth|jobs|django_q|admin)/$": "jobs/",
    "(?P<url>.*)$": "nowhere/",
}
# What operators may do to each record: add, change, delete. Everything else is the product's own to write.
RECORDS: dict[str, str] = {
    "admin.logentry": "",
    "auth.group": "acd",
    "django_q.failure": "",
    "django_q.ormq": "",
    "django_q.schedule": "",
    "django_q.success": "",
    "jobs.alert": "",
    "jobs.answer": "",
    "jobs.approval": "",
    "jobs.apitoken": "",
    "jobs.attachment": "",
    "jobs.attempt": "",
    "jobs.budget": "",
    "jobs.budgetperiod": "",
    "jobs.budgetrequest": "",
    "jobs.chat": "",
    "jobs.connection": "ac",
    "jobs.dailyspend": "",
    "jobs.dailytagspend": "",
    "jobs.event": "",
    "jobs.invitation": "",
    "jobs.job": "",
    "jobs.jobattachment": "",
    "jobs.jobnote": "",
    "jobs.ledgerentry": "",
    "jobs.membership": "acd",
    "jobs.modelspec": "ac",
    "jobs.monthlyspend": "",
    "jobs.monthlytagspend": "",
    "jobs.notice": "",
    "jobs.price": "a",
    "jobs.project": "ac",
    "jobs.prompt": "",
    "jobs.installation": "d",
    "jobs.pumplease": "",
    "jobs.rawresponse": "",
    "jobs.reconciliation": "",
    "jobs.reconciliationline": "",
    "jobs.reconciliationpart": "",
    "jobs.refusal": "",
    "jobs.savedreplies": "",
    "jobs.signinfailure": "",
    "jobs.signinlink": "",
    "jobs.user": "ac",
    "jobs.verdict": "",
    "jobs.webhookdelivery": "",
    "jobs.workspace": "c",
}

# What must never be read by someone who is not in the project.
FOREIGN = ("Zephyr", "zephyr", "cobalt lattice", "Quenby", "pearl answer")


@dataclass(frozen=True)
class World:
    """The project in question with its jobs, beside one of the outsider's own."""

    project: Project
    jobs: list[Job]
    people: dict[str, User | None]

    @property
    def job(self) -> Job:
        return self.jobs[0]

    def paths(self, route: str) -> list[str]:
        """Return the addresses of a route that lead to the project in question, one for each of its jobs."""
        known = {"slug": self.project.slug, "pk": self.row_of(route), "model": "o3-pro", "position": 1}
        known |= {"schema": "terms", "name": "operations"}
        jobs = self.jobs if "<str:short_id>" in route else self.jobs[:1]
        if "/answer" in route or "/verdict/" in route or "/follow-up/" in route:
            jobs = [job for job in self.jobs if hasattr(job, "answer")]
        return [address(route, {**known, "short_id": job.short_id}) for job in jobs]

    def row_of(self, route: str) -> int:
        """Return the row that a route is about: a connection, a person, or an invitation."""
        if "/invitations/" in route:
            return Invitation.objects.get(project=self.project).pk
        if "/reconciliation/" in route:
            return ReconciliationLine.objects.get().pk
        if "/webhooks/" in route:
            return WebhookDelivery.objects.get().pk
        if "/more/" in route:
            return BudgetRequest.objects.get().pk
        if "/caps/" in route:
            return Budget.objects.get(scope=Scope.MEMBER).pk
        if "/members/" in route or "/people/" in route:
            return self.job.submitted_by_id
        return self.project.connection_id

    def fields(self, route: str) -> dict[str, Any]:
        """Return what is posted to a route: what a member could send there."""
        spec = a_spec(self.project, self.job.submitted_by)
        new = {
            "project": self.project.slug,
            "prompt": "Is it so?",
            "model": spec.model,
            "mode": spec.mode,
            "effort": spec.effort,
            "max_output_tokens": "20,000",
        }
        return {
            "login/": {"email": "operator@example.com", "password": PASSWORD},
            "login/forgot/": {"email": "viewer@example.com"},
            "enter/": {"token": "not-a-link"},
            "join/": {"token": "not-a-link"},
            "jobs/new/": new,
            "jobs/estimate/": new,
            "attachments/": {"project": self.project.slug},
            "jobs/<str:short_id>/resolve/": {"decision": "wait"},
            "jobs/<str:short_id>/reject/": {"note": "Too dear."},
            "jobs/<str:short_id>/verdict/": {"value": "right"},
            "jobs/<str:short_id>/notes/": {"note": "Read it."},
            "jobs/<str:short_id>/tags/": {"tags": "checked"},
            "projects/<slug:slug>/cap/": {"cap": "50"},
            "budget/rules/workspace/": {"cap": "50"},
            "budget/rules/members/": {"email": "viewer@example.com", "cap": "50"},
            "projects/new/": {"name": "Tilings", "cap": "50", "connection": self.project.connection_id},
            "projects/<slug:slug>/settings/": {
                "name": self.project.name,
                "unconfirmed_rule": "ask",
                "connection": self.project.connection_id,
                "default_mode": "standard",
                "default_max_output_tokens": "20,000",
            },
            "projects/<slug:slug>/members/": {"email": "new@example.com", "role": "1"},
            "projects/<slug:slug>/members/<int:pk>/role/": {"role": "1"},
            "settings/people/": {"email": "new@example.com", "role": "1"},
            "settings/connections/<int:pk>/": {"name": "practice", "max_in_flight": "5"},
            "settings/connections/<int:pk>/relieve/": {"through": self.project.connection_id},
            "settings/connections/<int:pk>/pause/": {"reason": "for a while"},
        }.get(route, {})

    def client(self, role: str) -> Client:
        client, person = Client(raise_request_exception=False), self.people[role]
        if person is not None:
            client.force_login(person)
        return client


@pytest.fixture
def world(db: None) -> World:
    people: dict[str, User | None] = {
        "stranger": None,
        "operator": a_person("operator@example.com", is_staff=True, is_superuser=True),
        "outsider": a_person("outsider@example.com"),
    }
    members = {}
    for role in ("viewer", "submitter", "owner", "approver", "manager"):
        person = a_person(f"{role}@example.com", name=f"Quenby {role}")
        people[role] = person
        members[person] = Role.SUBMITTER if role == "owner" else Role[role.upper()]
    project = a_project("zephyr-vault", members=members)
    outsider, owner = people["outsider"], people["owner"]
    assert outsider
    assert owner
    Invitation.objects.make("invited@example.com", project=project, role=Role.VIEWER, by=people["manager"])
    spend.set_cap(Decimal(70), user=people["viewer"])
    wish = {"until": clock.today(ZoneInfo("UTC")), "why": "The cobalt lattice.", "by": owner}
    lifecycle.ask_for_budget(Budget.objects.get(project=project), Decimal(9), **wish)
    mine = a_project("mine", members={outsider: Role.MANAGER})
    a_job(mine, outsider, Status.COMPLETED, answer={"text": "my own"})
    a_job(mine, outsider)
    plan = Found(media_type="image/png", size=4, digest="d1" * 32, width=9, height=9)
    given = Given(Attachment.objects.keep(project, b"zephyr plan", plan, by=owner), "zephyr-plan.png")
    spec = {"prompt": "Does the cobalt lattice hold?", "tags": ("zephyr-tag",), "attachments": (given,)}
    done = a_job(project, owner, Status.COMPLETED, answer={"text": "the pearl answer"}, spec=spec)
    unsure = a_job(project, owner, Status.UNCONFIRMED, spec=spec)
    Prompt.objects.filter(job=done).update(schema_name="terms")
    WebhookDelivery.objects.create(connection=project.connection, response_id="resp_zephyr", state="foreign")
    run = Reconciliation.objects.create(is_practice=True, since="2026-10-20", until="2026-11-23")
    ReconciliationLine.objects.create(reconciliation=run, cause="price", model="zephyr")
    return World(project, [a_job(project, owner, spec=spec), done, unsure], people)


def routes() -> list[str]:
    """Return every route of the site, in the words of its urls.py."""

    def walk(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[str]:
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, route)
            else:
                yield route

    return list(walk(get_resolver().url_patterns, ""))


def pages() -> list[str]:
    return [route for route in routes() if not route.startswith("admin/")]


def address(route: str, arguments: dict[str, Any]) -> str:
    for name, value in arguments.items():
        for kind in ("str", "slug", "int"):
            route = route.replace(f"<{kind}:{name}>", str(value))
    return f"/{route}"


def word_for(answer: HttpResponse) -> str:
    if answer.status_code == 302:
        return LOGIN if answer["Location"].startswith("/login/?") else GO
    if answer.status_code == 204 and "HX-Refresh" in answer:
        return RELOAD
    return next((word for word, code in CODES.items() if code == answer.status_code), str(answer.status_code))


def ask(client: Client, method: str, path: str, fields: dict[str, Any] | None = None) -> tuple[str, str, int]:
    """Ask, and leave database and client as they were; return the table's word, the page, the jobs made."""
    before, cookies = Job.objects.count(), {name: found.value for name, found in client.cookies.items()}
    with transaction.atomic():
        answer = getattr(client, method)(path, fields)
        made = Job.objects.count() - before
        transaction.set_rollback(True)
    client.cookies = SimpleCookie(cookies)  # a page may sign its reader out
    return word_for(answer), b"".join(answer).decode(), made


def test_every_page_has_a_row_and_every_row_a_page():
    assert sorted(pages()) == sorted(TABLE)


@pytest.mark.parametrize("role", ROLES)
def test_everyone_gets_what_the_table_says(world: World, role: str):
    surprises, seen = [], {"get": set(), "post": set()}
    client = world.client(role)
    for route, row in TABLE.items():
        paths = world.paths(route)
        for method, words, fields in (("get", row[0], None), ("post", row[1], world.fields(route))):
            expected = words.split()[ROLES.index(role)]
            for path in paths:
                got, page, made = ask(client, method, path, fields)
                if got != expected:
                    surprises.append((method, path, expected, got))
                # Of the roles that read pages these two see most, and least.
                if method == "get" and role in ("viewer", "operator") and page.lstrip().startswith("<"):
                    assert faults(page) == [], path
                assert made == (route == "jobs/new/" and method == "post" and expected == GO), route
                seen[method] |= {word for word in FOREIGN if word in page}
    assert surprises == []
    if role in ("stranger", "outsider"):
        assert seen == {"get": set(), "post": set()}
    else:
        assert seen["get"] == set(FOREIGN)  # else the words looked for would prove nothing


def test_no_question_brings_out_anything_of_a_foreign_project(world: World):
    client = world.client("outsider")
    for path, code in {
        "/jobs/?project=zephyr-vault": 200,
        "/jobs/?status=unconfirmed": 200,
        "/jobs/live/?project=zephyr-vault": 200,
        "/jobs/?q=cobalt": 200,
        "/jobs/?q=cobalt&project=zephyr-vault": 200,
        f"/jobs/?by={world.job.submitted_by_id}": 200,
        "/jobs/?tag=zephyr-tag": 200,
        "/jobs/export.csv?q=pearl": 200,
        "/jobs/export.jsonl?project=zephyr-vault": 200,
        "/jobs/new/?project=zephyr-vault": 200,
        f"/jobs/new/?from={world.job.short_id}": 404,
        "/budget/?format=csv": 200,
        "/budget/?format=focus": 200,
        f"/budget/ledger/?person={world.job.submitted_by_id}": 200,
        f"/budget/ledger/?job={world.job.short_id}&format=csv": 200,
    }.items():
        answer = client.get(path)
        text = b"".join(answer).decode()
        # What was asked for may stand in a form or a link; nothing else.
        for asked in ("zephyr-vault", "zephyr-tag"):
            text = text.replace(asked, "")
        assert answer.status_code == code, path
        assert [word for word in FOREIGN if word in text] == [], path


def test_a_foreign_id_and_an_unknown_one_cannot_be_told_apart(world: World):
    client = world.client("outsider")
    for route in pages():
        if "<" not in route or route.startswith("help/"):  # guides are everyone's
            continue
        foreign = world.paths(route)[0]
        unknown = address(
            route,
            {"short_id": "j_00000000", "slug": "no-such-one", "pk": 999_999, "model": "x", "position": 7}
            | {"schema": "none"},
        )
        for method in ("get", "post"):
            ask_for = getattr(client, method)
            first, second = ask_for(foreign, world.fields(route)), ask_for(unknown, world.fields(route))
            assert (first.status_code, first.content) == (second.status_code, second.content), route


def test_a_word_that_no_row_can_hold_is_not_found(world: World):
    client = world.client("operator")
    for path in ("/jobs/%00/", "/jobs/%00/live/", "/jobs/new/?from=%00", "/jobs/%00/attachments/1/"):
        assert client.get(path).status_code == 404, path
    assert client.post("/settings/models/%00/succeed/").status_code == 404
    assert client.post("/attachments/", {"project": "\0"}).status_code == 404
    nameless = {"project": world.project.slug, "model": "\0", "prompt": "Why?"}
    assert client.post("/attachments/", nameless).status_code == 200
    job = world.paths("jobs/<str:short_id>/follow-up/")[-1]
    assert client.post(job, nameless).status_code in (302, 422)
    assert client.post(f"{job}price/", nameless).status_code in (200, 204)


def test_every_record_of_the_console_has_a_row_and_every_row_a_record():
    known = {f"{model._meta.app_label}.{model._meta.model_name}" for model in admin.site._registry}
    assert known == set(RECORDS)
    others = [
        route
        for route in routes()
        if route.startswith("admin/")
        and not any(route.startswith(f"admin/{name.replace('.', '/')}/") for name in RECORDS)
    ]
    assert sorted(others) == sorted(CONSOLE)


def console_paths() -> list[tuple[str, str, str]]:
    """Return every path of the console with what GET and POST of it answer an operator."""
    found = []
    for route, (get, post) in CONSOLE.items():
        for pattern, example in EXAMPLES.items():
            route = route.replace(pattern, example)
        found.append((f"/{route}", get, post))
    for name, acts in RECORDS.items():
        base = f"/admin/{name.replace('.', '/')}/"
        # An id that does not exist: who may see the record is told so and sent back to the index.
        add = ("ok", "ok") if "a" in acts else ("no", "no")
        delete = ("go", "go") if "d" in acts else ("no", "no")
        found += [
            (base, "ok", "ok"),
            (f"{base}add/", *add),
            (f"{base}0/change/", "go", "go"),
            (f"{base}0/history/", "go", "go"),
            (f"{base}0/delete/", *delete),
            (f"{base}0/", "go", "go"),
        ]
    return found


def test_the_console_is_for_operators(world: World):
    surprises = []
    client = world.client("operator")
    for path, *expected in console_paths():
        got = [ask(client, method, path)[0] for method in ("get", "post")]
        if got != expected:
            surprises.append((path, expected, got))
    assert surprises == []


@pytest.mark.parametrize("role", ROLES[:-1])
def test_nobody_else_gets_into_the_console(world: World, role: str):
    client = world.client(role)
    surprises = []
    for path, _, _ in console_paths():
        for method in ("get", "post"):
            answer = getattr(client, method)(path)
            leaks = [word for word in FOREIGN if word in answer.content.decode()]
            # Strangers go to the sign-in; the rest to the console's, which refuses them.
            if answer.status_code not in (302, 403, 404, 405) or leaks:
                surprises.append((path, method, answer.status_code, leaks))
    assert surprises == []
    refused = client.get(reverse("admin:login"))
    assert word_for(refused) == (LOGIN if role == "stranger" else "no")


def test_a_sign_in_link_lets_nobody_in_before_a_password_is_set(world: World):
    person = world.people["viewer"]
    assert person
    token = SignInLink.objects.make_for(person)
    answer = Client().post("/enter/", {"token": token})
    assert answer.status_code == 200
    assert "Quenby viewer" in answer.content.decode()
    assert Client().get("/jobs/").status_code == 302
