"""The connections page: for operators, without keys, with what they do about a connection."""

import datetime as dt
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ
from pytest_django.fixtures import Settings

from jobs import lifecycle
from jobs.access import Role
from jobs.forms import ConnectionForm
from jobs.models import Connection, KeySource, Project, Secret, User, trail
from tests.factories import a_person, a_project, a_spec

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return a_project()


@pytest.fixture
def operator(client: Client) -> User:
    ana = a_person("ana@example.com", is_superuser=True)
    client.force_login(ana)
    return ana


def page(client: Client) -> str:
    return client.get("/settings/connections/").content.decode()


def test_for_everyone_but_operators_the_pages_do_not_exist(client: Client, project: Project) -> None:
    manager = a_person()
    project.membership_set.create(user=manager, role=Role.MANAGER)
    client.force_login(manager)
    address = f"/settings/connections/{project.connection_id}"
    assert client.get("/settings/connections/").status_code == 404
    assert client.post(f"{address}/pause/").status_code == 404
    assert client.post(f"{address}/resume/").status_code == 404
    assert Connection.objects.get().paused_at is None


def test_keys_are_never_shown(client: Client, project: Project, operator: User) -> None:
    text = page(client)
    assert "sk-test" not in text
    assert project.connection.key.token not in text
    assert "Set" in text
    Connection.objects.update(key_source=KeySource.ENVIRONMENT)
    assert "OPENAI_API_KEY" in page(client)


def test_paused_ones_come_first_with_reason_and_how_many_jobs_wait(
    client: Client, project: Project, operator: User
) -> None:
    busy = a_project("busy", is_practice=False)
    lifecycle.submit(a_spec(busy, operator))
    lifecycle.pause(busy.connection_id, "insufficient_quota: You exceeded <b>your</b> quota")
    text = page(client)
    assert text.index(">real<") < text.index(">practice<")
    assert "Paused by itself" in text
    assert "the account is out of credit" in text
    assert "1 job waits" in text
    assert "You exceeded &lt;b&gt;your&lt;/b&gt; quota" in text


def test_an_operator_pauses_with_a_reason_and_resumes(
    client: Client, project: Project, operator: User
) -> None:
    address = f"/settings/connections/{project.connection_id}"
    assert (
        client.post(f"{address}/pause/", {"reason": "Moving house"})["Location"] == "/settings/connections/"
    )
    found = Connection.objects.get()
    assert (found.paused_by, found.paused_reason) == (operator, "Moving house")
    assert "Paused by Ana" in page(client)
    client.post(f"{address}/resume/")
    assert Connection.objects.get().paused_at is None
    assert "Resume" not in page(client)


def test_pausing_and_resuming_take_a_post(client: Client, project: Project, operator: User) -> None:
    address = f"/settings/connections/{project.connection_id}"
    assert client.get(f"{address}/pause/").status_code == 405
    assert client.get(f"{address}/resume/").status_code == 405
    assert client.post("/settings/connections/999999/pause/").status_code == 404


def test_the_page_takes_the_same_few_queries_for_many_connections(
    client: Client, project: Project, operator: User
) -> None:
    with CaptureQueriesContext(connection) as few:
        page(client)
    for number in range(5):
        address = {"base_url": "http://127.0.0.1:9/v1", "is_practice": True}
        made = Connection.objects.create(name=f"c{number}", **address)
        Project.objects.create(name=f"P{number}", slug=f"p{number}", connection=made)
    with CaptureQueriesContext(connection) as many:
        page(client)
    assert len(many) == len(few) <= 10


NEW = {
    "name": "OpenAI",
    "kind": "openai",
    "base_url": "https://api.openai.com/v1/",
    "new_key": "sk-canary-0123456789",
    "max_in_flight": "8",
}


@pytest.fixture
def real(project: Project) -> Connection:
    return Connection.objects.create(name="Azure", base_url="https://a.example/v1", key=Secret.of("sk-1"))


@pytest.fixture(autouse=True)
def _today_is_today(settings: Settings) -> None:
    settings.PONDER_TODAY = None


def said(connection: Connection) -> list[str]:
    return [entry.get_change_message() for entry in trail.trail_of(connection)]


def test_a_connection_is_added_tested_and_its_key_never_comes_back(client: Client, operator: User) -> None:
    answer = client.post("/settings/connections/new/", NEW, follow=True)
    made = Connection.objects.get()
    assert made.base_url == "https://api.openai.com/v1"
    assert made.reveal_key() == "sk-canary-0123456789"
    assert made.key_set_by == operator
    assert OrmQ.objects.get().task["args"] == (made.pk,)
    assert said(made) == ["Key set"]
    text = answer.content.decode()
    assert "OpenAI is added and being tested." in text
    assert "Asking for its models" in text
    assert "by Ana <a" in text
    for shown in (text, client.get(f"/settings/connections/{made.pk}/").content.decode(), str(said(made))):
        assert "canary" not in shown
        assert made.key.token not in shown


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"base_url": "https://ada:pass@api.example/v1"}, "An address such as"),
        ({"base_url": "https://api.example/v1?x=1"}, "An address such as"),
        ({"base_url": "ftp://api.example/v1"}, "An address such as"),
        ({"base_url": "http://localhost:8000/v1"}, "A private address."),
        ({"base_url": "http://10.1.2.3/v1"}, "A private address."),
        ({"base_url": "http://[::1]/v1"}, "A private address."),
        ({"base_url": "http://169.254.169.254/latest"}, "A private address."),
        ({"new_key": "sk a"}, "A key has no blanks"),
        ({"new_key": ""}, "This field is required."),
        ({"name": ""}, "This field is required."),
        ({"max_in_flight": "0"}, "At least 1."),
        ({"kind": "other"}, "Select a valid choice."),
    ],
)
def test_what_is_no_connection_is_refused_beside_its_field(
    client: Client, operator: User, wrong: dict[str, str], sentence: str
) -> None:
    answer = client.post("/settings/connections/new/", NEW | wrong)
    assert answer.status_code == 422
    assert sentence in answer.content.decode()
    assert "canary" not in answer.content.decode()
    assert not Connection.objects.exists()


def test_a_private_address_may_be_allowed_where_ponder_runs(
    client: Client, operator: User, settings: Settings
) -> None:
    settings.PONDER_ALLOW_PRIVATE_ADDRESSES = True
    wanted = NEW | {"kind": "compatible", "base_url": "http://10.1.2.3:8000/v1"}
    assert client.post("/settings/connections/new/", wanted).status_code == 302


def test_nothing_real_is_added_where_the_date_is_shifted(
    client: Client, operator: User, settings: Settings
) -> None:
    settings.PONDER_TODAY = dt.date(2027, 1, 1)
    answer = client.post("/settings/connections/new/", NEW)
    assert "only the practice API can be used" in answer.content.decode()
    assert not Connection.objects.exists()


def test_another_address_clears_the_key_and_says_so(client: Client, operator: User, real: Connection) -> None:
    path = f"/settings/connections/{real.pk}/"
    wanted = NEW | {"name": "Azure", "base_url": "https://b.example/v1", "new_key": ""}
    text = client.post(path, wanted, follow=True).content.decode()
    real.refresh_from_db()
    assert not real.key
    assert "Azure is saved without a key: the one it had was for another address." in text
    assert "No key" in text
    assert "Set a key" in text
    assert said(real) == [
        "Address: https://a.example/v1 → https://b.example/v1; Most jobs in flight: 200 → 8; Key cleared"
    ]


def test_another_kind_with_a_new_key_keeps_the_new_one(
    client: Client, operator: User, real: Connection
) -> None:
    client.post(f"/settings/connections/{real.pk}/", NEW | {"kind": "azure", "base_url": real.base_url})
    real.refresh_from_db()
    assert (real.kind, real.reveal_key()) == ("azure", "sk-canary-0123456789")
    assert said(real)[0].endswith("; Key set")


def test_a_change_undoes_no_pause_made_meanwhile_and_keeps_the_key(
    client: Client, operator: User, real: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = ConnectionForm.keep

    def paused_first(form: ConnectionForm, *, by: User) -> Connection:
        lifecycle.pause(real.pk, "insufficient_quota: No.")
        return keep(form, by=by)

    monkeypatch.setattr(ConnectionForm, "keep", paused_first)
    wanted = NEW | {"name": "Azure", "base_url": real.base_url, "new_key": "", "max_in_flight": "200"}
    assert (
        "Azure is saved."
        in client.post(f"/settings/connections/{real.pk}/", wanted, follow=True).content.decode()
    )
    real.refresh_from_db()
    assert real.paused_at is not None
    assert real.reveal_key() == "sk-1"
    assert said(real) == ["Saved unchanged"]


@pytest.mark.parametrize("about", [{"is_practice": True}, {"key_source": KeySource.ENVIRONMENT}])
def test_what_is_set_where_ponder_runs_is_not_set_here(
    client: Client, operator: User, real: Connection, about: dict[str, object]
) -> None:
    Connection.objects.filter(pk=real.pk).update(**about)
    path = f"/settings/connections/{real.pk}/"
    assert 'name="base_url"' not in client.get(path).content.decode()
    client.post(path, NEW | {"name": "Other"})
    real.refresh_from_db()
    assert (real.name, real.base_url, real.max_in_flight) == ("Other", "https://a.example/v1", 8)
    assert real.key.reveal() == "sk-1"


@pytest.mark.parametrize(
    ("state", "sentence", "polls"),
    [
        ({}, "", False),
        ({"asked": 1}, "Asking for its models", True),
        ({"asked": 40}, "Nobody has answered. Do the workers run?", False),
        ({"asked": 3, "done": 1, "good": True}, "Key accepted in 212 ms, 14 models seen.", False),
        (
            {"asked": 3, "done": 1, "result": "http_401: <b>no"},
            "said <code>http_401: &lt;b&gt;no</code>",
            False,
        ),
        ({"asked": 1, "done": 9, "good": True}, "Asking for its models", True),
    ],
)
def test_the_page_waits_for_a_test_as_long_as_it_may_end(
    client: Client, operator: User, real: Connection, state: dict[str, Any], sentence: str, polls: bool
) -> None:
    now = timezone.now()
    good = state.get("good", False)
    Connection.objects.filter(pk=real.pk).update(
        test_asked_at=now - dt.timedelta(seconds=state["asked"]) if "asked" in state else None,
        last_test_at=now - dt.timedelta(seconds=state["done"]) if "done" in state else None,
        is_last_test_good=good,
        last_test_result=state.get("result", "Key accepted in 212 ms, 14 models seen."),
    )
    for path in ("/settings/connections/", f"/settings/connections/{real.pk}/live/"):
        text = client.get(path).content.decode()
        assert sentence in text
        assert (f'hx-get="/settings/connections/{real.pk}/live/"' in text) is polls


def test_a_test_is_asked_for_by_post(client: Client, operator: User, real: Connection) -> None:
    path = f"/settings/connections/{real.pk}/test/"
    assert client.get(path).status_code == 405
    assert client.post(path)["Location"] == f"/settings/connections/#connection-{real.pk}"
    assert OrmQ.objects.get().task["func"] == "jobs.tasks.test_connection"


def test_what_waits_can_go_through_another_connection(
    client: Client, project: Project, operator: User, real: Connection
) -> None:
    busy = a_project("busy", is_practice=False)
    lifecycle.submit(a_spec(busy, operator))
    Connection.objects.create(name="Keyless", base_url="https://c.example/v1")
    lifecycle.pause(busy.connection_id, "insufficient_quota: No.")
    text = page(client)
    assert "See the job" in text
    assert "/jobs/?status=in_flight&amp;project=busy" in text
    assert "Move them to Azure" in text
    assert "to practice" not in text
    assert "to Keyless" not in text
    path = f"/settings/connections/{busy.connection_id}/relieve/"
    text = client.post(path, {"through": real.pk}, follow=True).content.decode()
    assert "1 project sends through Azure now. What waited goes there." in text
    assert Project.objects.get(slug="busy").connection == real
    for through in ("", project.connection_id):
        client.post(f"/settings/connections/{real.pk}/relieve/", {"through": through})
    assert Project.objects.get(slug="busy").connection == real


def test_everything_is_paused_and_resumed_with_one_switch(
    client: Client, project: Project, operator: User, real: Connection
) -> None:
    lifecycle.pause(real.pk, "insufficient_quota: No.")
    assert "Pause everything" in page(client)
    assert "Resume everything" not in page(client)
    told = {"reason": "Fire drill."}
    text = client.post("/settings/connections/pause/", told, follow=True).content.decode()
    assert "Everything is paused. Jobs already sent are still followed." in text
    assert "Everything was paused by Ana at" in text
    assert "Paused by Ana at" in text
    assert "Pause everything" not in text
    for path in ("/settings/connections/", "/projects/"):
        notice = client.get(path).content.decode()
        assert "<b>Everything is paused: Fire drill.</b>" in notice
        assert "<b>Azure is paused: " not in notice, "no project that is seen uses it"
    text = client.post("/settings/connections/resume/", follow=True).content.decode()
    assert "1 connection goes on. What waited is being sent. 1 that paused otherwise stays paused." in text
    assert "Everything" not in client.get("/projects/").content.decode()
    assert not Connection.objects.get(pk=project.connection_id).paused_at
    assert Connection.objects.get(pk=real.pk).paused_at
    assert said(project.connection) == ["Resumed", "Paused with everything: Fire drill."]
    assert "goes on" not in client.post("/settings/connections/resume/", follow=True).content.decode()


def test_the_switch_is_in_the_admin_console_too(client: Client, project: Project, operator: User) -> None:
    User.objects.filter(pk=operator.pk).update(is_staff=True)
    assert "Pause everything" in client.get("/admin/").content.decode()
    answer = client.post("/settings/connections/pause/", {"from": "console"})
    assert answer["Location"] == "/admin/"
    text = client.get("/admin/").content.decode()
    assert "Resume everything" in text
    assert "Pause everything" not in text
    assert client.post("/settings/connections/resume/", {"from": "console"})["Location"] == "/admin/"
    assert not Connection.objects.exclude(paused_at=None).exists()


def test_the_switch_is_for_operators_and_takes_a_post(client: Client, project: Project) -> None:
    ana = a_person("ana@example.com", is_superuser=True)
    lifecycle.pause_all("", by=ana)
    client.force_login(a_person())
    for act in ("pause", "resume"):
        assert client.get(f"/settings/connections/{act}/").status_code == 405
    assert client.post("/settings/connections/resume/").status_code == 404
    assert Connection.objects.get().paused_at is not None


def test_what_is_added_while_everything_is_paused_begins_paused(
    client: Client, project: Project, operator: User
) -> None:
    lifecycle.pause_all("Fire drill", by=operator)
    client.post("/settings/connections/new/", NEW)
    made = Connection.objects.get(name="OpenAI")
    assert (made.paused_reason, made.paused_by, made.is_paused_with_all) == ("Fire drill", operator, True)
    lifecycle.resume_all(by=operator)
    made.refresh_from_db()
    assert made.paused_at is None


def test_a_pause_of_another_day_is_said_with_its_day(
    client: Client, operator: User, real: Connection
) -> None:
    lifecycle.pause(real.pk, "x", by=operator)
    Connection.objects.filter(pk=real.pk).update(paused_at=timezone.now() - dt.timedelta(days=40))
    assert "Paused by Ana on" in page(client)


def test_a_connection_that_nobody_uses_leads_to_a_project_on_it(
    client: Client, operator: User, real: Connection
) -> None:
    assert f"/projects/new/?connection={real.pk}" in page(client)


AZURE = NEW | {"name": "Azure", "kind": "azure", "base_url": "https://ours.openai.azure.com/openai/v1"}
TOKEN = {"key_source": "command", "new_key": ""}


def test_models_may_go_by_other_names_there(client: Client, operator: User, real: Connection) -> None:
    path = f"/settings/connections/{real.pk}/"
    wanted = AZURE | {"deployments": "\n o3-pro =  think-hard \n\no3=o3\n"}
    client.post(path, wanted)
    real.refresh_from_db()
    assert real.deployments == {"o3-pro": "think-hard"}
    assert "Deployments: none → o3-pro = think-hard" in said(real)[0]
    assert "o3-pro = think-hard" in page(client)
    assert "o3-pro = think-hard</textarea>" in client.get(path).content.decode()


@pytest.mark.parametrize(
    ("kind", "names", "sentence"),
    [
        ("azure", "o3-pro", "“o3-pro” is not a line such as"),
        ("azure", "o3-pro =", "is not a line such as"),
        ("azure", "o3-pro = think hard", "is not a line such as"),
        ("azure", "o3-pro = think/hard", "“think/hard” is no name of a deployment"),
        ("azure", f"o3-pro = {'x' * 65}", "is no name of a deployment"),
        ("azure", "gone-1 = x", "There is no model “gone-1” in the catalogue."),
        ("azure", "o3-pro = x\no3-pro = y", "o3-pro has two names here."),
        ("azure", "o3-pro = x\no3 = x", "“x” would be both o3 and o3-pro, which cost differently."),
        ("azure", "o3-pro = Think\no3 = think", "would be both o3 and o3-pro, which cost differently."),
        ("azure", "o3-pro = o3", "“o3” would be both o3 and o3-pro"),
        ("openai", "o3-pro = x", "At OpenAI models go by their own names."),
    ],
)
def test_a_name_is_one_models(
    client: Client, operator: User, project: Project, kind: str, names: str, sentence: str
) -> None:
    answer = client.post("/settings/connections/new/", AZURE | {"kind": kind, "deployments": names})
    assert answer.status_code == 422
    assert sentence in answer.content.decode()


def test_two_models_may_swap_their_names_and_a_server_has_names_of_its_own(
    client: Client, operator: User, project: Project
) -> None:
    wanted = AZURE | {"kind": "compatible", "deployments": "o3 = o3-pro\no3-pro = org/o3:70b"}
    client.post("/settings/connections/new/", wanted)
    made = Connection.objects.get(name="Azure")
    assert made.deployments == {"o3": "o3-pro", "o3-pro": "org/o3:70b"}


def test_a_token_is_offered_only_where_its_command_is_set(
    client: Client, operator: User, real: Connection, settings: Settings
) -> None:
    assert "key_source" not in client.get("/settings/connections/new/").content.decode()
    assert client.post("/settings/connections/new/", AZURE | TOKEN).status_code == 422
    settings.PONDER_AZURE_TOKEN_COMMAND = ("az", "account")
    assert "An Entra token" in client.get("/settings/connections/new/").content.decode()
    assert client.post("/settings/connections/new/", AZURE | TOKEN | {"name": "Entra"}).status_code == 302
    made = Connection.objects.get(name="Entra")
    assert (made.key_source, bool(made.key)) == (KeySource.COMMAND, False)
    text = page(client)
    assert "An Entra token" in text
    assert "No key" not in text
    # It stays one, and can become one with a key, also where the command is gone.
    settings.PONDER_AZURE_TOKEN_COMMAND = ()
    path = f"/settings/connections/{made.pk}/"
    kept = AZURE | {"name": "Entra"}
    assert client.post(path, kept | TOKEN).status_code == 302
    made.refresh_from_db()
    assert made.key_source == KeySource.COMMAND
    assert client.post(path, kept | {"key_source": "stored"}).status_code == 302
    made.refresh_from_db()
    assert (made.key_source, made.reveal_key()) == (KeySource.STORED, "sk-canary-0123456789")
    token, key = "An Entra token, from the command that is set where Ponder runs", "A key, set here"
    assert said(made)[0] == f"Signs in with: {token} → {key}; Key set"


def test_whoever_takes_a_token_gives_up_the_key(
    client: Client, operator: User, real: Connection, settings: Settings
) -> None:
    settings.PONDER_AZURE_TOKEN_COMMAND = ("az", "account")
    Connection.objects.filter(pk=real.pk).update(kind="azure", base_url=AZURE["base_url"])
    client.post(f"/settings/connections/{real.pk}/", AZURE | TOKEN)
    real.refresh_from_db()
    assert (real.key_source, bool(real.key)) == (KeySource.COMMAND, False)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"base_url": "https://ours.example.com/openai/v1"}, "Entra tokens are sent to Azure only"),
        ({"base_url": "https://openai.azure.com.evil.example/v1"}, "Entra tokens are sent to Azure only"),
        ({"base_url": "http://ours.openai.azure.com/openai/v1"}, "Entra tokens are sent to Azure only"),
        ({"kind": "compatible"}, "Entra tokens are sent to Azure only"),
        ({"new_key": "sk-1"}, "Leave this empty"),
        ({"key_source": "environment"}, "Select a valid choice."),
    ],
)
def test_a_token_is_shown_to_nobody_but_azure(
    client: Client, operator: User, project: Project, settings: Settings, wrong: dict[str, str], sentence: str
) -> None:
    settings.PONDER_AZURE_TOKEN_COMMAND = ("az", "account")
    answer = client.post("/settings/connections/new/", AZURE | TOKEN | wrong)
    assert answer.status_code == 422
    assert sentence in answer.content.decode()
