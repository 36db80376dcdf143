"""Webhooks on the settings pages: the address and the secret of a connection, and the log of deliveries."""

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings

from jobs.models import Connection, KeySource, Kind, Project, User, WebhookDelivery, trail
from jobs.views.delivery_rows import PAGE
from tests.factories import a_person, a_project
from tests.hooks import SECRET, deliver, event, with_secret

pytestmark = pytest.mark.django_db

LOG = "/settings/webhooks/"


@pytest.fixture
def project() -> Project:
    return a_project(is_practice=False)


@pytest.fixture
def operator(client: Client) -> User:
    ana = a_person("ana@example.com", is_superuser=True)
    client.force_login(ana)
    return ana


def address(project: Project, rest: str = "") -> str:
    return f"/settings/connections/{project.connection_id}/{rest}"


def page(client: Client, path: str) -> str:
    return " ".join(client.get(path).content.decode().split())


def the(project: Project) -> Connection:
    return Connection.objects.get(pk=project.connection_id)


def test_the_page_shows_what_to_register_and_how_it_stands(
    client: Client, project: Project, operator: User, settings: Settings
) -> None:
    assert "Set PONDER_URL to a public address first." in page(client, address(project))
    settings.PONDER_URL = "https://ponder.example.com"
    text = page(client, address(project))
    assert f"https://ponder.example.com/webhooks/openai/{the(project).webhook_slug}/" in text
    assert "response.incomplete" in text
    assert "Not set up" in text
    assert "None yet" in text
    Connection.objects.update(relaxed_at=timezone.now())
    assert "Every 60 to 120 s, as a safety net" in page(client, address(project))


def test_a_secret_is_set_rotated_and_the_one_before_it_dropped(
    client: Client, project: Project, operator: User
) -> None:
    for number in range(2):
        sent = {"webhook_secret": f" whsec_c2VjcmV0{number}w== "}
        answer = client.post(address(project, "webhook/"), sent)
        assert (answer.status_code, answer["Location"]) == (302, f"{address(project)}#webhook")
    assert the(project).reveal_webhook_secrets() == ["whsec_c2VjcmV01w==", "whsec_c2VjcmV00w=="]
    text = page(client, address(project))
    assert "the one before it still counts" in text
    assert "c2VjcmV0" not in text
    assert client.post(address(project, "webhook/drop/")).status_code == 302
    assert client.post(address(project, "webhook/drop/")).status_code == 302
    assert the(project).reveal_webhook_secrets() == ["whsec_c2VjcmV01w=="]
    said = [line.get_change_message() for line in trail.trail_of(the(project))]
    assert said == ["Previous webhook secret dropped", "Webhook secret rotated", "Webhook secret set"]


@pytest.mark.parametrize("wrong", ["", "whsec_", "sk-proj-abc", "whsec_not base64!", "c2VjcmV0"])
def test_what_is_no_secret_is_refused_and_not_repeated(
    wrong: str, client: Client, project: Project, operator: User
) -> None:
    answer = client.post(address(project, "webhook/"), {"webhook_secret": wrong})
    assert answer.status_code == 422
    assert not the(project).webhook_secret
    assert len(wrong) < 8 or wrong not in answer.content.decode()


def test_what_the_environment_or_start_gives_is_not_asked_for(
    client: Client, project: Project, operator: User, settings: Settings
) -> None:
    settings.OPENAI_WEBHOOK_SECRETS = (SECRET,)
    Connection.objects.update(key_source=KeySource.ENVIRONMENT)
    text = page(client, address(project))
    assert "OPENAI_WEBHOOK_SECRET" in text
    assert 'name="webhook_secret"' not in text
    practice = a_project("practice")
    assert "Told to the sandbox at each start" in page(client, address(practice))


def test_azure_has_no_webhook_to_set_up(client: Client, project: Project, operator: User) -> None:
    Connection.objects.update(kind=Kind.AZURE)
    assert 'id="webhook"' not in page(client, address(project))


def test_the_last_delivery_and_the_last_refusal_are_shown(
    client: Client, project: Project, operator: User
) -> None:
    with_secret(the(project))
    deliver(the(project), event(at=timezone.now().timestamp() - 3))
    for _ in range(3):
        deliver(the(project), headers={})
    text = page(client, address(project))
    assert "3s after its event" in text
    assert "Missing required headers, 3 times" in text


def test_the_log_shows_what_came_with_its_state(client: Client, project: Project, operator: User) -> None:
    with_secret(the(project))
    assert "No delivery yet." in page(client, LOG)
    for _ in range(3):
        deliver(the(project), event("resp_theirs"))
    deliver(the(project), headers={})
    text = page(client, LOG)
    for words in ("response.completed", "resp_theirs", "Foreign", "Duplicate", "came 3 times", "Refused"):
        assert words in text
    assert SECRET not in text


def test_the_log_is_narrowed_by_state_and_connection(
    client: Client, project: Project, operator: User
) -> None:
    other = Connection.objects.create(name="Other", base_url="https://api.openai.com/v1")
    for number, (where, state, repeats) in enumerate(
        [(the(project), "done", 0), (other, "foreign", 2), (other, "done", 0)]
    ):
        WebhookDelivery.objects.create(
            connection=where,
            webhook_id=f"wh_{number}",
            response_id=f"resp_{number}",
            state=state,
            repeats=repeats,
        )

    def shown(query: str) -> set[int]:
        text = page(client, f"{LOG}?{query}")
        return {number for number in range(3) if f"resp_{number}" in text}

    assert shown("") == shown("state=nonsense&connection=x&before=0") == {0, 1, 2}
    assert shown("state=done") == {0, 2}
    assert shown("state=duplicate") == {1}
    assert shown(f"connection={other.pk}&state=done") == {2}
    assert shown("state=pending") == set()


def test_the_log_is_paged_by_a_place_in_it(client: Client, project: Project, operator: User) -> None:
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(connection=the(project), webhook_id=f"wh_{n}", response_id=f"r_{n}_", state="done")
        for n in range(2 * PAGE)
    )
    text = page(client, f"{LOG}?state=done")
    assert (f"r_{2 * PAGE - 1}_" in text, f"r_{PAGE}_" in text, f"r_{PAGE - 1}_" in text) == (
        True,
        True,
        False,
    )
    before = WebhookDelivery.objects.get(response_id=f"r_{PAGE}_").pk
    following = f"?state=done&amp;before={before}"
    assert following in text
    last = page(client, LOG + following.replace("&amp;", "&"))
    assert (f"r_{PAGE - 1}_" in last, "r_0_" in last) == (True, True)
    assert 'href="?state=done"' in last
    assert "Next" not in last


def test_the_log_asks_as_much_for_many_as_for_one(client: Client, project: Project, operator: User) -> None:
    def queries() -> int:
        with CaptureQueriesContext(database) as found:
            assert client.get(LOG).status_code == 200
        return len(found)

    WebhookDelivery.objects.create(connection=the(project), webhook_id="wh", state="done")
    few = queries()
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(connection=the(project), webhook_id=f"wh_{n}", state="done") for n in range(PAGE)
    )
    assert queries() == few


def test_handling_again_comes_back_to_the_page_it_was_asked_on(
    client: Client, project: Project, operator: User
) -> None:
    found = WebhookDelivery.objects.create(
        connection=the(project), webhook_id="wh", response_id="resp_1", state="foreign"
    )
    answer = client.post(f"{LOG}{found.pk}/again/?state=foreign")
    assert answer["Location"] == f"{LOG}?state=foreign"
    found.refresh_from_db()
    assert (found.state, found.next_look_at is not None) == ("pending", True)
    assert trail.trail_of(found).get().user == operator
    found.delete()
    assert client.post(f"{LOG}{found.pk or 1}/again/").status_code == 404
