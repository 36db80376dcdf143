"""`rotate_keys` puts every stored secret under the first key, so that the old one can go."""

from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from jobs.models import Chat, Connection, Secret
from jobs.models.secret import SecretField
from tests.factories import a_person, a_project

pytestmark = pytest.mark.django_db

OLD, NEW, LOST = (Fernet.generate_key().decode() for _ in range(3))
PLAIN = {"key": "sk-canary", "webhook_secret": "whsec_Y2FuYXJ5", "previous_webhook_secret": "whsec_YmVmb3Jl"}
ADDRESS = "https://chat.example.com/canary"


@pytest.fixture
def kept(settings: Settings) -> Connection:
    """A connection and a chat with a value in every secret column there is."""
    settings.PONDER_KEYS = [OLD]
    project = a_project()
    Chat.objects.create(project=project, address=Secret.of(ADDRESS), set_by=a_person())
    Connection.objects.update(**{name: Secret.of(plain) for name, plain in PLAIN.items()})
    return Connection.objects.get()


def columns() -> set[str]:
    models = apps.get_models()
    return {field.name for one in models for field in one._meta.fields if isinstance(field, SecretField)}


def test_every_secret_is_read_with_the_new_key_alone(kept: Connection, settings: Settings) -> None:
    assert columns() == {*PLAIN, "address"}, "a secret column that this test does not know"
    settings.PONDER_KEYS = [NEW, OLD]
    said = StringIO()
    call_command("rotate_keys", stdout=said)
    assert said.getvalue() == "✓ secrets under the first key of PONDER_KEYS: 4\n"
    settings.PONDER_KEYS = [NEW]
    kept.refresh_from_db()
    assert {name: getattr(kept, name).reveal() for name in PLAIN} == PLAIN
    assert Chat.objects.get().address.reveal() == ADDRESS


def test_what_no_key_reads_is_named_and_left_and_nothing_is_shown(
    kept: Connection, settings: Settings
) -> None:
    settings.PONDER_KEYS = [LOST]
    Connection.objects.update(key=Secret.of("sk-lost"))
    settings.PONDER_KEYS = [NEW, OLD]
    said = StringIO()
    with pytest.raises(CommandError) as refused:
        call_command("rotate_keys", stdout=said)
    assert f"connection {kept.pk} ({kept}): key" in str(refused.value)
    assert "webhook_secret" not in str(refused.value)
    for secret in ("canary", "sk-lost", NEW, OLD):
        assert secret not in str(refused.value) + said.getvalue()
    settings.PONDER_KEYS = [NEW, LOST]
    kept.refresh_from_db()
    assert kept.key.reveal() == "sk-lost"
    assert kept.webhook_secret.reveal() == PLAIN["webhook_secret"]


def test_where_no_secret_is_kept_none_is_counted() -> None:
    a_project()
    Connection.objects.update(key=Secret(""), webhook_secret=Secret(""))
    said = StringIO()
    call_command("rotate_keys", stdout=said)
    assert said.getvalue().endswith(": 0\n")
