"""Mails: links that reach whom they are for, and nothing of them anywhere else."""

import logging
import smtplib
from typing import Any

import pytest
from django.core import mail
from pytest_django.fixtures import Settings

from jobs import notify, tasks
from jobs.access import Role
from jobs.models import Invitation, Notice, SignInLink, User
from tests.factories import a_person, a_project

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
