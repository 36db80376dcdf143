import os
import runpy
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from o3site import datadir

SETTINGS = Path(__file__).parents[2] / "o3site" / "settings.py"
SECRET_KEY = "abcdefghij" * 6
FERNET = "A" * 43 + "="
OWN_DATABASE = {
    "DATABASE_URL": "postgresql://ada:p%40ss@db.example.com:5433/pon%20der?sslmode=require",
    "SECRET_KEY": SECRET_KEY,
    "PONDER_KEYS": f"{FERNET}, {'B' * 43}=",
}

Read = Callable[..., dict[str, Any]]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Read:
    """Return what the settings are in an environment that holds only what is given."""

    def run(**environment: str) -> dict[str, Any]:
        for name in [*os.environ]:
            if name.startswith(("OPENAI_", "PONDER_")) or name in ("DATABASE_URL", "SECRET_KEY"):
                monkeypatch.delenv(name)
        monkeypatch.setenv("PONDER_DATA_DIR", str(tmp_path / "var"))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(SETTINGS))

    return run


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"PONDER_DATADIR": "x"}, "PONDER_DATADIR is not a setting of Ponder: see .env.example."),
        ({"PONDER_ROLE": "boss"}, "PONDER_ROLE must be web, cluster or shell."),
        ({"PONDER_TODAY": "30.11.2026"}, "PONDER_TODAY must be a date such as 2026-11-30."),
        ({"PONDER_URL": "ponder.example.com"}, "PONDER_URL must be an address"),
        ({"PONDER_URL": "https://ponder.example.com/here"}, "PONDER_URL must be an address"),
        ({"PONDER_URL": "https://ada:pass@ponder.example.com"}, "PONDER_URL must be an address"),
        ({"PONDER_URL": "https://ponder.example.com:99999"}, "PONDER_URL must be an address"),
        ({"OPENAI_BASE_URL": "ftp://api.example.com"}, "OPENAI_BASE_URL must be an address"),
        ({"OPENAI_API_KEY": "sk-a b"}, "OPENAI_API_KEY must not contain blanks"),
        ({"OPENAI_ADMIN_KEY": "sk-\N{EN DASH}"}, "OPENAI_ADMIN_KEY must not contain blanks"),
        ({"OPENAI_WEBHOOK_SECRET": "whsec_!"}, "OPENAI_WEBHOOK_SECRET must be the secret"),
        ({"OPENAI_WEBHOOK_SECRET": "whsec_c2VjcmV0,whsec_!"}, "OPENAI_WEBHOOK_SECRET must be the secret"),
        ({"OPENAI_WEBHOOK_SECRET": "c2VjcmV0"}, "OPENAI_WEBHOOK_SECRET must be the secret"),
        ({"PONDER_ALLOW_PRIVATE_ADDRESSES": "yes"}, "PONDER_ALLOW_PRIVATE_ADDRESSES must be 1 or 0."),
        ({"PONDER_LOG": "xml"}, "PONDER_LOG must be plain or json."),
        ({"PONDER_LOG_LEVEL": "all"}, "PONDER_LOG_LEVEL must be warning or info."),
        ({"PONDER_METRICS_TOKEN": "short"}, "PONDER_METRICS_TOKEN must be at least 32 random characters."),
        ({"PONDER_AZURE_TOKEN_COMMAND": "az 'account"}, "PONDER_AZURE_TOKEN_COMMAND must be a command;"),
        ({"PONDER_MAIL": "mail.example.com"}, "PONDER_MAIL must be smtp://"),
        ({"PONDER_MAIL": "smtp://mail.example.com/inbox"}, "PONDER_MAIL must be smtp://"),
        ({"PONDER_MAIL": "smtp://mail.example.com:port"}, "PONDER_MAIL must be smtp://"),
        ({"PONDER_MAIL": "smtp://mail.example.com"}, "PONDER_MAIL needs PONDER_MAIL_FROM, and PONDER_URL"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY must be at least 50 random characters."),
        ({"SECRET_KEY": "a" * 60}, "SECRET_KEY must be at least 50 random characters."),
        ({"PONDER_KEYS": "not-a-key"}, "PONDER_KEYS must be Fernet keys"),
        ({"PONDER_KEYS": f"{FERNET},AAAA"}, "PONDER_KEYS must be Fernet keys"),
        (OWN_DATABASE | {"DATABASE_URL": "mysql://db/ponder"}, "Ponder runs on PostgreSQL only."),
        (OWN_DATABASE | {"DATABASE_URL": "postgresql://db"}, "DATABASE_URL must be"),
        (OWN_DATABASE | {"DATABASE_URL": "postgresql://db:port/x"}, "DATABASE_URL cannot be read"),
        (
            OWN_DATABASE | {"SECRET_KEY": ""},
            "SECRET_KEY must be set in the environment when DATABASE_URL is.",
        ),
        (
            OWN_DATABASE | {"PONDER_KEYS": " "},
            "PONDER_KEYS must be set in the environment when DATABASE_URL is.",
        ),
        (
            {"PONDER_DATA_DIR": "/dev/null/var"},
            "PONDER_DATA_DIR (/dev/null/var) cannot be used: Not a directory",
        ),
    ],
)
def test_a_bad_setting_is_refused_in_one_line(read: Read, environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        read(**environment)
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "environment",
    [
        {"OPENAI_API_KEY": "sk-canary canary"},
        {"SECRET_KEY": "canary"},
        {"PONDER_KEYS": "canary"},
        {"OPENAI_WEBHOOK_SECRET": "canary"},
        {"PONDER_MAIL": "smtp://ada:canary@host:x"},
        {"PONDER_MAIL": "http://ada:canary@host"},
        {"DATABASE_URL": "mysql://ada:canary@db/x"},
        {"DATABASE_URL": "postgresql://ada:canary@db:x/x"},
    ],
)
def test_a_refusal_does_not_repeat_a_secret(read: Read, environment: dict[str, str]) -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        read(**OWN_DATABASE | environment)
    assert "canary" not in str(refusal.value)


def test_an_empty_variable_counts_as_not_set(read: Read) -> None:
    found = read(DATABASE_URL="", PONDER_URL=" ", PONDER_TODAY="", PONDER_ROLE="", OPENAI_API_KEY="")
    assert found["PONDER_ROLE"] == "shell"
    assert found["PONDER_TODAY"] is None
    assert found["OPENAI_API_KEY"] == ""


def test_without_a_mail_server_mails_are_printed(read: Read) -> None:
    found = read()
    assert found["MAILERS"]["default"] == {"BACKEND": "django.core.mail.backends.console.EmailBackend"}
    assert not found["IS_MAIL_SENT"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("smtp://ada:p%40ss@mail.example.com", {"use_tls": True, "use_ssl": False, "password": "p@ss"}),
        ("smtps://mail.example.com:465", {"use_tls": False, "use_ssl": True, "port": 465, "username": ""}),
        ("smtp://localhost:2525", {"use_tls": False, "use_ssl": False, "port": 2525}),
    ],
)
def test_a_mail_server_is_spoken_to_with_tls_unless_it_is_this_machine(
    read: Read, address: str, expected: dict[str, object]
) -> None:
    found = read(
        PONDER_MAIL=address, PONDER_MAIL_FROM="p@example.com", PONDER_URL="https://ponder.example.com"
    )
    options = found["MAILERS"]["default"]["OPTIONS"]
    assert {name: options[name] for name in expected} == expected
    assert options["timeout"] == 10
    assert (found["DEFAULT_FROM_EMAIL"], found["IS_MAIL_SENT"]) == ("p@example.com", True)


def test_good_values_arrive_typed(read: Read) -> None:
    found = read(
        PONDER_TODAY="2027-03-01",
        OPENAI_API_KEY="sk-1",
        OPENAI_BASE_URL="https://eu.api.openai.com/v1/",
        OPENAI_WEBHOOK_SECRET="whsec_c2VjcmV0, whsec_b2xk,",
        PONDER_AZURE_TOKEN_COMMAND="az account --query 'a b'",
    )
    assert found["PONDER_AZURE_TOKEN_COMMAND"] == ("az", "account", "--query", "a b")
    assert found["OPENAI_WEBHOOK_SECRETS"] == ("whsec_c2VjcmV0", "whsec_b2xk")
    assert found["PONDER_TODAY"] == date(2027, 3, 1)
    assert found["OPENAI_BASE_URL"] == "https://eu.api.openai.com/v1"


def test_a_database_address_is_split_and_decoded(read: Read) -> None:
    database = read(**OWN_DATABASE)["DATABASES"]["default"]
    reach = {name: database[name] for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT")}
    assert reach == {
        "NAME": "pon der",
        "USER": "ada",
        "PASSWORD": "p@ss",
        "HOST": "db.example.com",
        "PORT": "5433",
    }
    assert database["OPTIONS"]["sslmode"] == "require"


def test_a_database_address_may_name_a_socket(read: Read) -> None:
    socket = OWN_DATABASE | {"DATABASE_URL": "postgres://ada@/ponder?host=/run/postgresql"}
    assert read(**socket)["DATABASES"]["default"]["HOST"] == "/run/postgresql"


@pytest.mark.parametrize(
    ("role", "lifetime", "is_pooled"), [("web", 0, True), ("cluster", None, False), ("shell", 0, False)]
)
def test_each_role_keeps_its_connections_in_its_way(
    read: Read, role: str, lifetime: int | None, is_pooled: bool
) -> None:
    database = read(PONDER_ROLE=role)["DATABASES"]["default"]
    assert database["CONN_MAX_AGE"] == lifetime
    assert ("pool" in database["OPTIONS"]) is is_pooled
    assert database["OPTIONS"]["application_name"] == f"ponder-{role}"


def test_keys_are_made_once_and_kept_private(read: Read, tmp_path: Path) -> None:
    first, second = read(), read()
    for name in ("SECRET_KEY", "PONDER_KEYS", "INSTANCE"):
        assert first[name] == second[name]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "var" / "keys").iterdir()}
    assert modes == {"secret_key": 0o600, "ponder_keys": 0o600, "postgres": 0o600}


def test_with_a_database_of_ones_own_no_key_is_written(read: Read, tmp_path: Path) -> None:
    found = read(**OWN_DATABASE)
    assert found["SECRET_KEY"] == SECRET_KEY
    assert found["PONDER_KEYS"] == [FERNET, "B" * 43 + "="]
    assert not (tmp_path / "var" / "keys").exists()


def test_of_many_that_make_a_secret_at_once_all_get_the_same(tmp_path: Path) -> None:
    made = iter(range(100))
    with ThreadPoolExecutor(16) as pool:
        kept = [
            pool.submit(datadir.kept, tmp_path / "keys" / "secret", lambda: str(next(made)))
            for _ in range(16)
        ]
    assert len({one.result() for one in kept}) == 1
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["secret"]


def test_without_an_address_only_this_machine_is_served(read: Read) -> None:
    found = read()
    assert set(found["ALLOWED_HOSTS"]) == {"127.0.0.1", "localhost", "[::1]"}
    assert found["CSRF_TRUSTED_ORIGINS"] == []
    assert not found["SESSION_COOKIE_SECURE"]
    assert found["SECURE_HSTS_SECONDS"] == 0


def test_an_https_address_secures_cookies_and_hosts(read: Read) -> None:
    found = read(PONDER_URL="https://ponder.example.com/")
    assert "ponder.example.com" in found["ALLOWED_HOSTS"]
    assert found["CSRF_TRUSTED_ORIGINS"] == ["https://ponder.example.com"]
    assert found["SESSION_COOKIE_SECURE"]
    assert found["CSRF_COOKIE_SECURE"]
    assert found["SECURE_HSTS_SECONDS"] > 0


def test_every_setting_is_listed_in_the_example(read: Read) -> None:
    example = (SETTINGS.parents[1] / ".env.example").read_text()
    listed = {line.removeprefix("#").split("=")[0] for line in example.splitlines() if "=" in line}
    assert listed == read()["KNOWN"] | {
        *("DATABASE_URL", "SECRET_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
        *("OPENAI_WEBHOOK_SECRET", "OPENAI_ADMIN_KEY"),
    }
