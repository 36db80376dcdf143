"""Connections: tested by a worker, paused and resumed by people, relieved by another."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db.models import F
from django_q.models import OrmQ
from pytest_django.fixtures import Settings

from jobs import lifecycle, openai_client, tasks
from jobs.lifecycle import sending
from jobs.lifecycle.connections import endpoint_of
from jobs.models import Connection, KeySource, Project, Secret, User
from jobs.openai_client import Blocked
from tests.factories import a_project

MODELS: list[dict[str, str | None]] = [
    {"id": "o3", "shutdown_date": "2026-12-11"},
    {"id": "o3-pro", "shutdown_date": "2026-12-11"},
    {"id": "gpt-6-sol", "shutdown_date": "2027-02-01"},
    {"id": "gpt-6-luna", "shutdown_date": None},
    {"id": "someone-elses", "shutdown_date": "2026-12-11"},
    {"id": "gpt-6.1-sol", "shutdown_date": "<b>soon</b>"},
]


@pytest.fixture
def connection(project: Project) -> Connection:
    return project.connection


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Decide what asking for the models comes to: a list, an error, or something done meanwhile."""

    def decide(outcome: Any) -> None:
        def models(_: object) -> Any:
            found = outcome() if callable(outcome) else outcome
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(openai_client, "models", models)

    return decide


def rung() -> list[tuple[str, tuple[int, ...]]]:
    return [(message.task["func"], message.task["args"]) for message in OrmQ.objects.order_by("pk")]


def test_a_test_is_asked_for_once_however_often_one_clicks(connection: Connection) -> None:
    assert lifecycle.ask_for_test(connection.pk)
    assert not lifecycle.ask_for_test(connection.pk)
    assert rung() == [("jobs.tasks.test_connection", (connection.pk,))]


def test_a_test_can_be_asked_for_again_once_it_ended_or_nobody_did_it(connection: Connection) -> None:
    lifecycle.ask_for_test(connection.pk)
    Connection.objects.update(last_test_at=F("test_asked_at"))
    assert lifecycle.ask_for_test(connection.pk)
    Connection.objects.update(test_asked_at=F("test_asked_at") - lifecycle.TEST_PATIENCE, last_test_at=None)
    assert lifecycle.ask_for_test(connection.pk)


def test_a_key_that_is_accepted_is_told_with_what_was_seen(
    connection: Connection, api: Callable[[Any], None]
) -> None:
    api(MODELS)
    lifecycle.ask_for_test(connection.pk)
    tasks.test_connection(connection.pk)
    connection.refresh_from_db()
    assert connection.is_last_test_good
    assert connection.last_test_at
    first, rest = connection.last_test_result.split(" ms, ")
    assert first.startswith("Key accepted in ")
    assert rest == (
        "6 models seen. o3 and o3-pro shut down on 11 Dec 2026. gpt-6-sol shuts down on 1 Feb 2027."
    )


def test_one_model_is_one_model(connection: Connection, api: Callable[[Any], None]) -> None:
    api(MODELS[3:4])
    lifecycle.ask_for_test(connection.pk)
    lifecycle.test(connection.pk)
    assert Connection.objects.get().last_test_result.endswith(" ms, 1 model seen.")


def test_a_refusal_is_kept_in_the_servers_words_and_pauses_nothing(
    connection: Connection, api: Callable[[Any], None]
) -> None:
    api(Blocked("Incorrect API key provided.", code="invalid_api_key"))
    lifecycle.ask_for_test(connection.pk)
    lifecycle.test(connection.pk)
    connection.refresh_from_db()
    assert not connection.is_last_test_good
    assert connection.last_test_result == "invalid_api_key: Incorrect API key provided."
    assert connection.paused_at is None


def test_a_connection_without_a_key_is_not_even_asked(
    connection: Connection, api: Callable[[Any], None]
) -> None:
    Connection.objects.update(key=Secret(""))
    api(lambda: pytest.fail("it was asked"))
    lifecycle.ask_for_test(connection.pk)
    lifecycle.test(connection.pk)
    assert Connection.objects.get().last_test_result == "no_key: It has no key."


def test_what_was_not_asked_for_is_not_done(connection: Connection, api: Callable[[Any], None]) -> None:
    api(lambda: pytest.fail("it was asked"))
    lifecycle.test(connection.pk)
    lifecycle.test(999_999)
    assert Connection.objects.get().last_test_at is None


def test_the_result_of_a_key_that_was_replaced_meanwhile_is_dropped(
    connection: Connection, person: User, api: Callable[[Any], None]
) -> None:
    def replaced() -> list[dict[str, str | None]]:
        found = Connection.objects.get()
        found.set_key("sk-new", by=person)
        found.save()
        return MODELS

    api(replaced)
    lifecycle.ask_for_test(connection.pk)
    lifecycle.test(connection.pk)
    assert Connection.objects.get().last_test_at is None


@pytest.mark.parametrize(
    ("about", "allowed", "is_guarded"),
    [
        ({"is_practice": False}, False, True),
        ({"is_practice": False}, True, False),
        ({"is_practice": True}, False, False),
        ({"is_practice": False, "key_source": KeySource.ENVIRONMENT}, False, False),
    ],
)
def test_only_addresses_that_people_typed_are_guarded(
    project: Project, settings: Settings, about: dict[str, Any], allowed: bool, is_guarded: bool
) -> None:
    settings.OPENAI_API_KEY, settings.PONDER_ALLOW_PRIVATE_ADDRESSES = "sk-x", allowed
    Connection.objects.update(**about)
    assert endpoint_of(Connection.objects.get()).is_guarded is is_guarded


def test_a_token_is_taken_from_the_command_and_shown_to_azure_only(
    connection: Connection, settings: Settings
) -> None:
    at_azure = "https://ours.openai.azure.com/openai/v1"
    Connection.objects.update(
        key_source=KeySource.COMMAND, kind="azure", base_url=at_azure, is_practice=False
    )
    settings.PONDER_AZURE_TOKEN_COMMAND = ("az", "account")
    found = endpoint_of(Connection.objects.get())
    assert (found.token_command, found.key, found.is_guarded) == (("az", "account"), "", True)
    settings.PONDER_AZURE_TOKEN_COMMAND = ()
    with pytest.raises(Blocked, match="no_key: PONDER_AZURE_TOKEN_COMMAND is not set"):
        endpoint_of(Connection.objects.get())
    settings.PONDER_AZURE_TOKEN_COMMAND = ("az", "account")
    for elsewhere in ("https://a.example/v1", at_azure.replace("https", "http"), "https://x.azure.com/v1"):
        Connection.objects.update(base_url=elsewhere)
        with pytest.raises(Blocked, match="token_address"):
            endpoint_of(Connection.objects.get())


def said() -> list[str]:
    return list(LogEntry.objects.order_by("pk").values_list("change_message", flat=True))


def test_who_paused_and_who_resumed_is_in_the_trail(connection: Connection, person: User) -> None:
    assert lifecycle.pause(connection.pk, "Moving house", by=person)
    assert lifecycle.resume(connection.pk, by=person)
    assert not lifecycle.resume(connection.pk, by=person)
    assert lifecycle.pause(connection.pk, "", by=person)
    assert lifecycle.resume(connection.pk)
    assert lifecycle.pause(connection.pk, "insufficient_quota: No.")
    assert said() == ["Paused: Moving house", "Resumed", "Paused"]


def test_everything_is_paused_at_once(connection: Connection, person: User) -> None:
    Connection.objects.create(name="other", base_url="https://a.example/v1")
    lifecycle.pause(connection.pk, "by itself")
    assert lifecycle.pause_all("fire drill", by=person) == 1
    assert lifecycle.pause_all("fire drill", by=person) == 0
    assert not Connection.objects.open().exists()
    assert Connection.objects.paused_with_all().get().name == "other"


def test_everything_is_resumed_but_what_was_paused_otherwise(connection: Connection, person: User) -> None:
    by_hand = Connection.objects.create(name="by hand", base_url="https://a.example/v1")
    one_by_one = Connection.objects.create(name="one by one", base_url="https://b.example/v1")
    lifecycle.pause(by_hand.pk, "moving", by=person)
    lifecycle.pause_all("fire drill", by=person)
    assert lifecycle.resume(one_by_one.pk, by=person)
    lifecycle.pause(one_by_one.pk, "insufficient_quota: No.")
    OrmQ.objects.all().delete()
    assert lifecycle.resume_all(by=person) == 1
    assert rung() == [("jobs.tasks.send_due", ())]
    assert set(Connection.objects.paused()) == {by_hand, one_by_one}
    assert lifecycle.resume_all(by=person) == 0


def test_the_projects_of_a_paused_connection_go_on_through_another(
    project: Project, person: User, submit: Callable[..., Any]
) -> None:
    submit()
    lifecycle.pause(project.connection_id, "insufficient_quota: No.")
    other = Connection.objects.create(name="other", base_url="https://a.example/v1", is_practice=True)
    OrmQ.objects.all().delete()
    assert lifecycle.relieve(project.connection_id, by=person, through=other.pk) == 1
    project.refresh_from_db()
    assert project.connection == other
    assert rung() == [("jobs.tasks.send_due", ())]
    assert said()[-1] == "Connection: practice → other"


def test_practice_never_goes_on_through_a_real_connection(project: Project, person: User) -> None:
    real = Connection.objects.create(name="real", base_url="https://a.example/v1")
    assert lifecycle.relieve(project.connection_id, by=person, through=real.pk) == 0
    assert lifecycle.relieve(project.connection_id, by=person, through=999_999) == 0
    assert lifecycle.relieve(project.connection_id, by=person, through=project.connection_id) == 0
    assert a_project("other").connection == project.connection


def test_nothing_of_a_test_takes_longer_than_a_page_waits() -> None:
    longest = openai_client.endpoint.READ_LIMIT + openai_client.tokens.TIME_LIMIT
    assert dt.timedelta(seconds=longest) < lifecycle.TEST_PATIENCE


def test_a_send_is_over_before_its_lease_is() -> None:
    border = openai_client.session
    longest = openai_client.tokens.TIME_LIMIT + border.READ_LIMIT + border.SEND_LIMIT
    assert dt.timedelta(seconds=longest) < sending.LEASE
