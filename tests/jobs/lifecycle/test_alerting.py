"""Alerts: each threshold of a cap once a month, by mail and in a chat, tried until it arrives."""

import datetime as dt
from decimal import Decimal

import pytest
from django.core import mail
from django.db import transaction
from django_q.models import OrmQ
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from jobs import lifecycle, notify, openai_client, spend, tasks
from jobs.access import Role
from jobs.lifecycle import alerting
from jobs.models import (
    Alert,
    Attempt,
    Basis,
    Budget,
    Chat,
    Project,
    Secret,
    User,
)
from tests.factories import a_person, a_project, a_spec

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books_agree")]

ADDRESS = "https://chat.example.com/hooks/s3cret"


@pytest.fixture(autouse=True)
def _november(settings: Settings) -> None:
    settings.PONDER_TODAY, settings.IS_MAIL_SENT = dt.date(2026, 11, 15), True


@pytest.fixture
def project(person: User) -> Project:
    """A real project with a cap of 100 USD."""
    return a_project("real", is_practice=False, members={person: Role.MANAGER})


@pytest.fixture
def posts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, bool]]:
    found: list[tuple[str, str, bool]] = []
    monkeypatch.setattr(
        openai_client, "post_chat", lambda to, text, *, is_guarded: found.append((to, text, is_guarded))
    )
    return found


def held(project: Project, by: User, percent: int) -> Attempt:
    """Hold a job whose ceiling is so much of the project's cap."""
    job = lifecycle.submit(a_spec(project, by, model="gpt-6-sol", mode="standard"))
    spend.set_cap(job.worst_case * 100 / percent, project=project)
    return Attempt.objects.get(job=job)


def charged(project: Project, by: User, cost: int, *, settings: Settings, on: dt.date) -> None:
    """Charge a job, USD, as of a day."""
    now, settings.PONDER_TODAY = settings.PONDER_TODAY, on
    attempt = Attempt.objects.get(
        job=lifecycle.submit(a_spec(project, by, model="gpt-6-sol", mode="standard"))
    )
    with transaction.atomic():
        spend.settle(attempt, cost=Decimal(cost), basis=Basis.ESTIMATE)
    settings.PONDER_TODAY = now


def raised() -> list[tuple[str, int, str]]:
    lifecycle.mind_alerts()
    rows = Alert.objects.order_by("measure", "threshold")
    return list(rows.values_list("measure", "threshold", "mail"))


def test_a_threshold_that_is_reached_is_told_once(project: Project, person: User) -> None:
    held(project, person, 49)
    assert raised() == []
    spend.set_cap(Attempt.objects.get().worst_case * 2, project=project)
    assert raised() == [("committed", 50, "pending")]
    assert raised() == [("committed", 50, "pending")]


def test_of_several_passed_at_once_the_highest_is_told(project: Project, person: User) -> None:
    attempt = held(project, person, 96)
    with transaction.atomic():
        spend.settle(attempt, cost=attempt.worst_case * 85 / 96, basis=Basis.USAGE)
    assert raised() == [
        ("committed", 50, "none"),
        ("committed", 80, "pending"),
        ("spent", 50, "none"),
        ("spent", 80, "pending"),
    ]


def test_a_new_month_tells_anew_and_practice_or_a_lifted_cap_nothing(
    project: Project, person: User, settings: Settings
) -> None:
    practice = a_project("practice", members={person: Role.MANAGER})
    held(practice, person, 100)
    assert raised() == []
    own = spend.set_cap(Decimal("0.01"), user=person, is_hard=False)
    spend.lift_cap(own)
    spend.set_cap(Decimal(0), is_hard=False)
    held(project, person, 100)
    assert {budget for budget, *_ in Alert.objects.values_list("budget__project__slug")} <= {"real"}
    assert len(raised()) == 4
    settings.PONDER_TODAY = dt.date(2026, 12, 1)
    held(project, person, 100)
    assert len(raised()) == 8


def test_a_look_is_a_few_questions_however_many_caps_there_are(
    project: Project, person: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    held(project, person, 49)
    for number in range(5):
        spend.set_cap(Decimal(50), user=a_person(f"eve{number}@example.com"))
    lifecycle.mind_alerts()
    # The zone, a savepoint and its end, one statement that raises, one that would note, and what is due.
    with django_assert_num_queries(5):
        lifecycle.mind_alerts()


def test_people_and_the_chat_are_told_by_the_watchdog(
    project: Project, person: User, posts: list[tuple[str, str, bool]]
) -> None:
    Chat.objects.create(project=project, address=Secret.of(ADDRESS), set_by=person)
    held(project, person, 80)
    OrmQ.objects.all().delete()
    tasks.watchdog()
    (message,) = [one for one in OrmQ.objects.all() if one.func() == "jobs.tasks.deliver_alert"]
    for _ in range(2):
        tasks.deliver_alert(*message.task["args"])
    (sent,) = mail.outbox
    assert sent.to == ["mira@example.com"]
    assert sent.subject.startswith("November: 80% of the cap of Real is spent and held, $")
    ((to, text, is_guarded),) = posts
    assert (to, is_guarded) == (ADDRESS, True)
    assert "80% of the cap of Real" in text
    alert = Alert.objects.get(threshold=80)
    assert (alert.mail, alert.chat, alert.next_try_at) == ("sent", "sent", None)


def test_a_members_cap_is_told_to_them_and_to_operators_and_in_no_chat(
    project: Project, person: User, posts: list[tuple[str, str, bool]]
) -> None:
    a_person("ops@example.com", is_superuser=True)
    Chat.objects.create(address=Secret.of(ADDRESS), set_by=person)
    attempt = held(project, person, 10)
    spend.set_cap(attempt.worst_case, user=person)
    lifecycle.mind_alerts()
    lifecycle.deliver_alert(Alert.objects.get(threshold=100).pk)
    assert sorted(sent.to[0] for sent in mail.outbox) == ["mira@example.com", "ops@example.com"]
    assert posts == []
    assert Alert.objects.get(threshold=100).chat == "none"


def test_what_fails_is_tried_again_later_and_given_up_at_last(
    project: Project, person: User, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.IS_MAIL_SENT = False
    Chat.objects.create(project=project, address=Secret.of(ADDRESS), set_by=person)

    def refuses(*_: object, **__: object) -> None:
        raise openai_client.ChatRefused("http_500")

    monkeypatch.setattr(openai_client, "post_chat", refuses)
    held(project, person, 50)
    lifecycle.mind_alerts()
    alert = Alert.objects.get()
    for number in range(1, alerting.MOST_TRIES + 1):
        assert alert.chat == "pending"
        Alert.objects.update(next_try_at=alert.at)
        lifecycle.deliver_alert(alert.pk)
        alert.refresh_from_db()
        assert (alert.mail, alert.tries, alert.chat_error) == ("none", number, "http_500")
    assert (alert.chat, alert.next_try_at) == ("failed", None)


def test_a_kill_between_two_ways_tells_nobody_twice(
    project: Project, person: User, monkeypatch: pytest.MonkeyPatch, posts: list[tuple[str, str, bool]]
) -> None:
    Chat.objects.create(project=project, address=Secret.of(ADDRESS), set_by=person)
    held(project, person, 50)
    lifecycle.mind_alerts()
    alert = Alert.objects.get()

    def killed(_: Alert) -> tuple[bool, str]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(notify, "post_alert", killed)
        with pytest.raises(KeyboardInterrupt):
            lifecycle.deliver_alert(alert.pk)
    Alert.objects.update(next_try_at=alert.at)
    lifecycle.deliver_alert(alert.pk)
    assert (len(mail.outbox), len(posts)) == (1, 1)
    assert Alert.objects.values_list("mail", "chat", "next_try_at").get() == ("sent", "sent", None)


def test_mails_that_none_takes_are_sent_again(
    project: Project, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    held(project, person, 50)
    lifecycle.mind_alerts()
    monkeypatch.setattr(notify, "mail", lambda *_: False)
    alert = Alert.objects.get()
    lifecycle.deliver_alert(alert.pk)
    alert.refresh_from_db()
    assert (alert.mail, alert.chat) == ("pending", "none")
    Alert.objects.update(next_try_at=alert.at)
    monkeypatch.setattr(notify, "mail", lambda *_: True)
    lifecycle.deliver_alert(alert.pk)
    assert Alert.objects.values_list("mail", "tries", "next_try_at").get() == ("sent", 2, None)


def test_an_address_that_cannot_be_read_is_told_as_such(project: Project, person: User) -> None:
    Chat.objects.create(project=project, address=Secret("no token"), set_by=person)
    budget = Budget.objects.get(project=project)
    alert = Alert(budget=budget, month=dt.date(2026, 11, 1), threshold=50, measure="spent")
    assert notify.post_alert(alert) == (False, "address_unreadable")


def test_without_anyone_to_mail_nothing_is_on_its_way(project: Project, person: User) -> None:
    project.membership_set.all().delete()
    held_by = a_person("vera@example.com")
    project.membership_set.create(user=held_by, role=Role.SUBMITTER)
    held(project, held_by, 50)
    lifecycle.mind_alerts()
    lifecycle.deliver_alert(Alert.objects.get().pk)
    assert Alert.objects.values_list("mail", "chat", "next_try_at").get() == ("none", "none", None)


def test_what_a_month_will_likely_come_to_is_told_once_an_hour(
    project: Project, person: User, settings: Settings
) -> None:
    for day in range(1, 15):
        charged(project, person, 2, settings=settings, on=dt.date(2026, 11, day))
    assert raised() == []
    tasks.sweep()
    rows = Alert.objects.order_by("threshold").values_list("measure", "threshold", "mail")
    assert list(rows) == [("forecast", 50, "pending")]
    assert 50 < Alert.objects.get().amount < 70
    tasks.sweep()
    assert Alert.objects.count() == 1


def test_while_it_is_too_early_to_tell_nothing_is_told_of_the_end(
    project: Project, person: User, settings: Settings
) -> None:
    charged(project, person, 49, settings=settings, on=dt.date(2026, 11, 14))
    tasks.sweep()
    assert not Alert.objects.exists()
