"""Entra tokens: from a command run without a shell, kept until shortly before they end, never shown."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import openai_client
from jobs.openai_client import Blocked, Endpoint, Outcome, Session, tokens
from jobs.openai_client.tokens import Tokens
from tests.jobs.test_openai_client import Reply, Wire, one_tls_context, send, wire, wire_error

__all__ = ["one_tls_context", "wire"]

SECRET = "eyJ0eXAi.canary.0123456789"
LATER = int(time.time()) + 3_600

type Script = Callable[..., tuple[str, ...]]


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_kept", {})


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Write a command that notes each run, as `runs` reads it, and then does what it is told in Python."""

    def write(body: str = "") -> tuple[str, ...]:
        path = tmp_path / "token command.py"
        note = f"open({str(tmp_path / 'runs')!r}, 'a').write('x')\n"
        path.write_text(
            f"import os, sys, time\n{note}n = os.path.getsize({str(tmp_path / 'runs')!r})\n{body}"
        )
        return sys.executable, str(path)

    return write


@pytest.fixture
def runs(tmp_path: Path) -> Callable[[], int]:
    return lambda: len((tmp_path / "runs").read_text()) if (tmp_path / "runs").exists() else 0


def said(command: tuple[str, ...]) -> str:
    return asyncio.run(Tokens(command).get())


def refusal(command: tuple[str, ...]) -> Blocked:
    with pytest.raises(Blocked) as caught:
        said(command)
    return caught.value


def printing(value: Any) -> str:
    return f"print({value if isinstance(value, str) else json.dumps(value)!r})"


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("printed", "good_for"),
    [
        (SECRET, 600),
        ({"accessToken": SECRET, "expires_on": NOW + 3_600, "expiresOn": "nonsense"}, 3_300),
        ({"accessToken": SECRET, "expires_on": str(int(NOW) + 3_600)}, 3_300),
        ({"access_token": SECRET, "expires_in": "3600"}, 3_300),
        ({"token": SECRET, "expiresOn": "2027-01-15T09:00:00Z"}, 3_300),
        ({"accessToken": SECRET, "expires_on": NOW + 400}, 200),
        ({"accessToken": SECRET, "expires_on": "soon", "expiresOn": None}, 600),
        ({"accessToken": SECRET, "expires_on": float("inf")}, 600),
    ],
)
def test_a_token_is_kept_until_shortly_before_it_ends(printed: Any, good_for: float) -> None:
    text = printed if isinstance(printed, str) else json.dumps(printed)
    found = tokens._read(f"\n{text}\n".encode(), NOW)
    assert (found.value, found.good_until - NOW) == (SECRET, good_for)
    assert SECRET not in repr(found)


def test_a_time_without_a_zone_is_the_machines_own() -> None:
    local = time.strftime("%Y-%m-%d %H:%M:%S.000000", time.localtime(NOW + 3_600))
    found = tokens._read(json.dumps({"accessToken": SECRET, "expiresOn": local}).encode(), NOW)
    assert found.good_until - NOW == 3_300


@pytest.mark.parametrize(
    "printed",
    [
        *("", "two words", f"WARNING: {SECRET}", "{", '{"accessToken": 7}', "{}", "x" * 20_000, "clé"),
        '{"token":' * 100_000,
    ],
)
def test_what_is_no_token_is_refused_without_being_repeated(printed: str) -> None:
    with pytest.raises(Blocked) as caught:
        tokens._read(printed.encode(), NOW)
    assert str(caught.value) == "token_command: PONDER_AZURE_TOKEN_COMMAND printed no token."


def test_a_token_that_has_ended_is_refused() -> None:
    with pytest.raises(Blocked, match="has expired"):
        tokens._read(json.dumps({"accessToken": SECRET, "expires_on": NOW}).encode(), NOW)


def test_the_command_is_run_once_for_all_that_wait_and_not_again_while_its_token_is_good(
    script: Script, runs: Callable[[], int]
) -> None:
    command = script(printing({"accessToken": SECRET, "expires_on": LATER}))

    async def many() -> list[str]:
        source = Tokens(command)
        return await asyncio.gather(*(source.get() for _ in range(20)))

    assert asyncio.run(many()) == [SECRET] * 20
    assert said(command) == SECRET, "another pump of the same process"
    assert runs() == 1


def test_the_command_knows_none_of_ponders_own_secrets(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PONDER_KEYS", "OPENAI_API_KEY", "SECRET_KEY", "DATABASE_URL"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("AZURE_CONFIG_DIR", "theirs")
    command = script("print('-'.join(sorted(k for k, v in os.environ.items() if v in ('canary', 'theirs'))))")
    assert said(command) == "AZURE_CONFIG_DIR"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.stderr.write('eyJ0eXAi.canary'); sys.exit(3)", "failed (exit code 3)"),
        ("print('not a token')", "printed no token"),
    ],
)
def test_a_command_that_fails_is_named_without_what_it_said_and_left_alone_for_a_while(
    script: Script, runs: Callable[[], int], body: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = script(body)
    for _ in range(2):
        assert refusal(command).message == f"PONDER_AZURE_TOKEN_COMMAND {message}."
    assert runs() == 1
    monkeypatch.setattr(tokens, "PATIENCE", 0.0)
    refusal(command)
    assert runs() == 2


def test_a_command_that_is_not_there_is_named() -> None:
    error = refusal(("/no/such/command",))
    assert (error.code, error.message) == (
        "token_command",
        "PONDER_AZURE_TOKEN_COMMAND cannot be run (No such file or directory).",
    )


def test_a_command_that_hangs_is_ended_with_its_children(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "TIME_LIMIT", 1.0)
    # The child keeps the pipe open and would outlive its parent.
    child = f"import os,time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    command = script(f"import subprocess; subprocess.run([sys.executable, '-c', {child!r}])")
    began = time.monotonic()
    assert refusal(command).message.endswith("took longer than 1 s.")
    assert time.monotonic() - began < 5
    if not (tmp_path / "pid").exists():
        return  # a busy machine has not come to it
    status = Path(f"/proc/{(tmp_path / 'pid').read_text()}/status")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while "zombie" not in status.read_text():
            assert time.monotonic() - began < 10, "it lives on"
            time.sleep(0.02)


# Through the border


@pytest.fixture
def at(wire: Wire, script: Script) -> Endpoint:
    """An Azure endpoint whose tokens are entra-token-1, entra-token-2 and so on."""
    command = script(f'print(\'{{"accessToken": "entra-token-%d", "expires_on": {LATER}}}\' % n)')
    return Endpoint("azure", f"http://127.0.0.1:{wire.port}/openai/v1/", "", token_command=command)


def bearers(wire: Wire) -> list[str]:
    return [headers["authorization"] for _, _, headers, _ in wire.requests]


def of_token(wire: Wire, good: str) -> Callable[[], Reply]:
    """Answer as Azure does: 401 unless the last request has the good token."""

    def reply() -> Reply:
        if bearers(wire)[-1] == f"Bearer {good}":
            return Reply()
        message = f"Unauthorized. Access token {bearers(wire)[-1]} is invalid or has expired."
        return Reply(wire_error(message, code="Unauthorized"), 401)

    return reply


def age_tokens(seconds: float) -> None:
    for command, kept in tokens._kept.items():
        assert isinstance(kept, tokens._Token)
        tokens._kept[command] = tokens._Token(kept.value, kept.made_at - seconds, kept.good_until)


def test_a_token_goes_out_as_bearer(wire: Wire, at: Endpoint) -> None:
    assert send(at, count=True).error is None
    assert set(bearers(wire)) == {"Bearer entra-token-1"}


def test_a_kept_token_that_is_refused_is_replaced_once(wire: Wire, at: Endpoint) -> None:
    assert send(at).error is None
    age_tokens(60)
    path = "/openai/v1/responses"
    wire.replies[path] = of_token(wire, "entra-token-2")
    assert send(at).error is None
    assert bearers(wire) == ["Bearer entra-token-1", "Bearer entra-token-1", "Bearer entra-token-2"]


def test_a_new_token_that_is_refused_blocks_the_connection_and_asks_no_command_again(
    wire: Wire, at: Endpoint, runs: Callable[[], int]
) -> None:
    wire.replies["/openai/v1/responses"] = of_token(wire, "none is good")
    error = send(at).error
    assert isinstance(error, Blocked)
    assert (error.status, error.code) == (401, "Unauthorized")
    assert "entra-token-1" not in str(error)
    assert (len(wire.requests), runs()) == (1, 1)
    age_tokens(60)
    assert isinstance(send(at).error, Blocked)
    assert isinstance(send(at).error, Blocked)
    assert (len(wire.requests), runs()) == (4, 2)


def test_what_was_refused_while_another_had_it_replaced_uses_the_new_one(wire: Wire, at: Endpoint) -> None:
    assert send(at).error is None
    age_tokens(60)
    wire.replies["/openai/v1/responses"] = of_token(wire, "entra-token-2")
    with Session[int](concurrency=4) as pump:
        for number in range(4):
            pump.create(number, at, {"model": "o3", "input": "x"}, count=False)
        found: list[Outcome[int]] = []
        while len(found) < 4:
            found += pump.outcomes(10)
    assert [outcome.error for outcome in found] == [None] * 4


def test_an_older_token_that_is_refused_is_replaced_by_the_one_that_is_kept(
    script: Script, runs: Callable[[], int]
) -> None:
    command = script(printing(SECRET))
    assert said(command) == SECRET
    assert asyncio.run(Tokens(command).renew("older"))
    assert runs() == 1


def test_a_key_that_is_refused_is_not_tried_twice(wire: Wire) -> None:
    wire.replies["/v1/responses"] = Reply(wire_error(), 401)
    assert isinstance(send(Endpoint("azure", wire.url, "sk-1")).error, Blocked)
    assert len(wire.requests) == 1


def test_where_no_token_comes_nothing_is_sent(wire: Wire, script: Script) -> None:
    error = send(Endpoint("azure", wire.url, "", token_command=script("sys.exit(1)")), count=True).error
    assert isinstance(error, Blocked)
    assert error.code == "token_command"
    assert wire.requests == []


def test_models_are_listed_with_a_token(wire: Wire, at: Endpoint) -> None:
    wire.replies["/openai/v1/models"] = Reply({"object": "list", "data": [{"id": "o3"}]})
    assert openai_client.models(at) == [{"id": "o3", "shutdown_date": None}]
    assert bearers(wire) == ["Bearer entra-token-1"]


def test_a_session_that_ends_waits_for_no_command(wire: Wire, script: Script, tmp_path: Path) -> None:
    at = Endpoint("azure", wire.url, "", token_command=script("time.sleep(30)"))
    began = time.monotonic()
    with Session[int](concurrency=1) as pump:
        pump.create(1, at, {"model": "o3", "input": "x"})
        while not (tmp_path / "runs").exists():
            time.sleep(0.02)
    (outcome,) = pump.outcomes(0)
    assert outcome.error is not None
    assert outcome.error.code == "not_sent"
    assert time.monotonic() - began < 10
    assert wire.requests == []


def test_a_server_without_a_count_is_asked_for_it_once(wire: Wire, at: Endpoint) -> None:
    wire.replies["/openai/v1/responses/input_tokens"] = Reply(
        wire_error("Resource not found", code="404"), 404
    )
    with Session[int](concurrency=1) as pump:
        for number in range(3):
            pump.create(number, at, {"model": "o3", "input": "x"})
        found: list[Outcome[int]] = []
        while len(found) < 3:
            found += pump.outcomes(10)
    assert [outcome.error for outcome in found] == [None] * 3
    asked = [path for _, path, _, _ in wire.requests if path.endswith("input_tokens")]
    assert len(asked) == 1


def test_a_command_that_never_stops_printing_is_not_listened_to_until_the_memory_is_full(
    script: Script,
) -> None:
    began = time.monotonic()
    error = refusal(script("while True: sys.stdout.write('x' * 65536)"))
    assert error.message == "PONDER_AZURE_TOKEN_COMMAND printed no token."
    assert time.monotonic() - began < tokens.TIME_LIMIT / 2


def test_a_command_that_hangs_takes_no_slot_of_other_connections(
    wire: Wire, script: Script, tmp_path: Path
) -> None:
    slow = Endpoint("azure", wire.url, "", token_command=script("time.sleep(30)"))
    with Session[int](concurrency=1) as pump:
        pump.retrieve(1, slow, "resp_1")
        while not (tmp_path / "runs").exists():
            time.sleep(0.02)
        pump.retrieve(2, Endpoint("azure", wire.url, "sk-1"), "resp_1")
        (outcome,) = pump.outcomes(5)
    assert (outcome.key, outcome.error) == (2, None)
