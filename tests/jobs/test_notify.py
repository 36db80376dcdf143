"""Mails: links and ends that reach whom they are for, once, and nothing of them anywhere else."""

import datetime as dt
import logging
import smtplib
from decimal import Decimal
from typing import Any

import pytest
from django.core import mail
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django_q.models import OrmQ
from pytest_django.fixtures import Settings

from jobs import lifecycle, notify, spend, tasks
from jobs.access import Role
from jobs.lifecycle.transition import move
from jobs.models import (
    Approval,
    Budget,
    Invitation,
    Job,
    Membership,
    Notice,
    Project,
    Prompt,
    SignInLink,
    Status,
    User,
    Workspace,
)
from tests.factories import a_person, a_project, a_spec
from tests.jobs.views.states import a_job

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _public_address(settings: Settings) -> None:
    settings.PONDER_URL, settings.IS_MAIL_SENT = "https://ponder.example.com", True


@pytest.fixture
def mira() -> User:
    return a_person()


def test_a_sign_in_link_is_mailed_to_its_owner_and_works(mira: User) -> None:
    tasks.mail_sign_in_link(mira.pk)
    (sent,) = mail.outbox
    assert sent.to == ["mira@example.com"]
    link = next(line for line in str(sent.body).splitlines() if line.startswith("https://"))
    address, _, token = link.partition("#")
    assert address == "https://ponder.example.com/enter/"
    assert SignInLink.objects.peek(token) == mira


def test_nobody_is_mailed_who_is_not_there_or_was_shut_out(mira: User) -> None:
    User.objects.update(is_active=False)
    for person in (mira.pk, 0):
        notify.mail_sign_in_link(person)
    assert mail.outbox == []
    assert not SignInLink.objects.exists()


def test_an_invitation_says_who_invites_and_whereto(mira: User) -> None:
    mira.name = "Mira\r\nBcc: everyone@example.com"
    mira.save()
    project = a_project(members={mira: Role.MANAGER})
    for place, subject in ((project, "the project Proofs"), (None, "Ponder")):
        Invitation.objects.make("eve@example.com", project=place, role=Role.VIEWER, by=mira)
        made = Invitation.objects.latest("pk")
        assert notify.mail_invitation(made, "https://ponder.example.com/join/#secret")
        sent = mail.outbox[-1]
        assert sent.to == ["eve@example.com"]
        assert sent.subject == f"Mira Bcc: everyone@example.com invites you to {subject}"
        assert "https://ponder.example.com/join/#secret" in str(sent.body)


def test_an_invitation_is_not_printed_where_no_mail_server_is_set(mira: User, settings: Settings) -> None:
    settings.IS_MAIL_SENT = False
    Invitation.objects.make("eve@example.com", project=None, role=Role.VIEWER, by=mira)
    assert not notify.mail_invitation(Invitation.objects.get(), "https://ponder.example.com/join/#secret")
    assert mail.outbox == []


@pytest.mark.parametrize("error", [smtplib.SMTPRecipientsRefused({}), ConnectionRefusedError(111, "no")])
def test_a_mail_that_cannot_be_sent_raises_an_alarm_and_tells_nothing_of_it(
    mira: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def refuse(_: Any) -> None:
        raise error

    monkeypatch.setattr(mail.EmailMessage, "send", refuse)
    with caplog.at_level(logging.ERROR, logger="jobs.notify"):
        assert not notify.mail("eve@example.com", "Hello", "a secret")
    assert Notice.objects.get().kind == "mail_failed"
    assert type(error).__name__ in caplog.text
    assert not any(word in caplog.text + Notice.objects.get().message for word in ("eve@", "a secret"))


def a_long_job(person: User, *, minutes: float = 3, **wanted: Any) -> Job:
    project = Project.objects.filter(slug="proofs").first() or a_project(members={person: Role.SUBMITTER})
    sent = timezone.now() - dt.timedelta(minutes=minutes)
    return a_job(project, person, Status.IN_PROGRESS, sent_at=sent, spec={"title": "The\nlemma"}, **wanted)


def ends(job: Job, to: Status = Status.COMPLETED) -> list[int]:
    """End a job; return the ids of those that a worker is asked to mail about."""
    move(job.pk, of=[Status.IN_PROGRESS], to=to, finished_at=Now())
    asked = [message.task for message in OrmQ.objects.all()]
    return [task["args"][0] for task in asked if task["func"] == "jobs.tasks.mail_job_end"]


@pytest.mark.parametrize("to", [Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.REQUIRES_ACTION])
def test_whoever_asked_is_told_once_that_a_long_job_has_ended(mira: User, to: Status) -> None:
    User.objects.update(wants_mail=True)
    job = a_long_job(mira)
    assert ends(job, to) == [job.pk]
    for _ in range(2):  # a message may be delivered twice
        tasks.mail_job_end(job.pk)
    (sent,) = mail.outbox
    assert sent.to == ["mira@example.com"]
    assert sent.subject == f"{to.label}: The lemma"
    assert f"https://ponder.example.com/jobs/{job.short_id}/" in str(sent.body)
    assert "after 3 min" in str(sent.body)


def test_nobody_is_told_of_a_short_job_or_without_having_asked(mira: User, settings: Settings) -> None:
    assert ends(a_long_job(mira)) == []
    User.objects.update(wants_mail=True)
    assert ends(a_long_job(mira, minutes=1.9)) == []
    assert ends(a_long_job(mira, mailed_at=timezone.now())) == []  # it had another end before
    settings.IS_MAIL_SENT = False
    assert ends(a_long_job(mira)) == []


def test_a_move_that_is_no_end_or_does_not_happen_tells_nobody(mira: User) -> None:
    User.objects.update(wants_mail=True)
    job = a_long_job(mira)
    assert ends(job, Status.QUEUED) == []
    assert ends(job) == []


def test_an_end_that_is_undone_tells_nobody(mira: User) -> None:
    User.objects.update(wants_mail=True)
    job = a_long_job(mira)
    with transaction.atomic():
        assert ends(job) == [job.pk]
        transaction.set_rollback(True)
    assert "jobs.tasks.mail_job_end" not in [message.task["func"] for message in OrmQ.objects.all()]


def test_the_end_of_a_job_whose_prompt_is_gone_is_told_by_its_number(mira: User) -> None:
    User.objects.update(wants_mail=True)
    job = a_long_job(mira)
    ends(job)
    Prompt.objects.all().delete()
    tasks.mail_job_end(job.pk)
    assert mail.outbox[0].subject.endswith(f": {job.short_id}")


@pytest.mark.parametrize("change", ["shut out", "left the project", "changed their mind", "gone"])
def test_whoever_may_or_will_not_know_any_more_is_not_told(mira: User, change: str) -> None:
    User.objects.update(wants_mail=True)
    job = a_long_job(mira)
    ends(job)
    if change == "shut out":
        User.objects.update(is_active=False)
    elif change == "left the project":
        Membership.objects.all().delete()
    elif change == "changed their mind":
        User.objects.update(wants_mail=False)
    tasks.mail_job_end(0 if change == "gone" else job.pk)
    assert mail.outbox == []


def test_a_mail_server_that_fails_changes_nothing_about_the_end(
    mira: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Any) -> None:
        raise smtplib.SMTPServerDisconnected

    User.objects.update(wants_mail=True)
    job = a_long_job(mira)
    ends(job)
    monkeypatch.setattr(mail.EmailMessage, "send", refuse)
    tasks.mail_job_end(job.pk)
    job.refresh_from_db()
    assert job.status == Status.COMPLETED
    assert Notice.objects.get().kind == "mail_failed"


def test_those_who_may_approve_are_told_once_but_not_whoever_asks(mira: User) -> None:
    ana, vera = a_person("ana@example.com"), a_person("vera@example.com")
    away = a_person("away@example.com", is_active=False)
    members = {mira: Role.APPROVER, ana: Role.MANAGER, vera: Role.SUBMITTER, away: Role.MANAGER}
    job = asked_by(mira, members)
    for _ in range(2):
        tasks.mail_approvers(job.pk)
    (sent,) = mail.outbox
    assert sent.to == ["ana@example.com"]
    assert sent.subject.startswith("Mira asks for up to $")
    for words in ("It settles the lemma.", "Over the limit per job, in Proofs", job.get_absolute_url()):
        assert words in sent.body


def test_where_nobody_may_approve_operators_are_told(mira: User) -> None:
    a_person("ops@example.com", is_superuser=True)
    tasks.mail_approvers(asked_by(mira, {mira: Role.SUBMITTER}).pk)
    assert [sent.to for sent in mail.outbox] == [["ops@example.com"]]


def test_whoever_asked_is_told_once_what_was_decided(mira: User) -> None:
    ana = a_person("ana@example.com")
    job = asked_by(mira, {mira: Role.SUBMITTER, ana: Role.APPROVER})
    tasks.mail_decision(job.pk)
    assert mail.outbox == []
    lifecycle.reject(job.pk, by=ana, note="o3 is enough.")
    for _ in range(2):
        tasks.mail_decision(job.pk)
    tasks.mail_approvers(job.pk)
    (sent,) = mail.outbox
    assert sent.to == ["mira@example.com"]
    assert sent.subject.startswith("Rejected: ")
    assert "Rejected by Ana. It was not sent, and costs nothing.\n\no3 is enough." in sent.body


def test_who_left_the_project_is_told_nothing_of_it(mira: User) -> None:
    ana = a_person("ana@example.com")
    job = asked_by(mira, {mira: Role.SUBMITTER, ana: Role.APPROVER})
    lifecycle.approve(job.pk, by=ana)
    Membership.objects.filter(user=mira).delete()
    tasks.mail_decision(job.pk)
    assert mail.outbox == []


def asked_by(person: User, members: dict[User, Role]) -> Job:
    """Ask for a job over the limit per job."""
    project = a_project(members=members)
    project.job_limit = Decimal("0.01")
    project.save()
    return lifecycle.ask(a_spec(project, person), why="It settles the lemma.")


def test_managers_are_told_once_that_more_budget_is_asked_for_and_the_asker_what_was_decided(
    mira: User,
) -> None:
    ana = a_person("ana@example.com")
    project = a_project(members={mira: Role.SUBMITTER, ana: Role.MANAGER})
    today = Workspace.objects.the().today()
    budget = Budget.objects.get(project=project)
    wish = lifecycle.ask_for_budget(budget, Decimal(5), until=today, why="A deadline.", by=mira)
    tasks.mail_budget_decision(wish.pk)
    for _ in range(2):
        tasks.mail_budget_request(wish.pk)
    lifecycle.grant_budget(wish.pk, Decimal(4), until=today, by=ana, note="Less will do.")
    for _ in range(2):
        tasks.mail_budget_decision(wish.pk)
    asked, decided = mail.outbox
    assert (asked.to, asked.subject) == (["ana@example.com"], "Mira asks for $5.00 more: cap of Proofs")
    assert "A deadline.\n\nhttps://ponder.example.com/budget/more/" in asked.body
    assert decided.to == ["mira@example.com"]
    assert f"Granted by Ana: $4.00 more under the cap of Proofs until {today:%-d %B %Y}." in decided.body
    assert "Less will do." in decided.body


def test_operators_are_told_what_is_asked_of_the_workspace_and_nobody_of_what_is_decided(
    mira: User,
) -> None:
    a_person("ops@example.com", is_superuser=True)
    today = Workspace.objects.the().today()
    wish = lifecycle.ask_for_budget(
        spend.set_cap(Decimal(9)), Decimal(5), until=today, why="A deadline.", by=mira
    )
    tasks.mail_budget_request(wish.pk)
    lifecycle.refuse_budget(wish.pk, by=mira, note="No.")
    User.objects.filter(pk=mira.pk).update(is_active=False)
    tasks.mail_budget_decision(wish.pk)
    assert [sent.to for sent in mail.outbox] == [["ops@example.com"]]


def test_a_job_that_went_on_by_a_grant_names_nobody(mira: User) -> None:
    job = asked_by(mira, {mira: Role.SUBMITTER})
    Approval.objects.update(decision="approved")
    tasks.mail_decision(job.pk)
    assert "Approved by a grant. It is sent now." in mail.outbox[0].body
