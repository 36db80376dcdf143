"""A line in a chat: posted to the address that was typed and nowhere else, and no error shows the address."""

from collections.abc import Iterator

import pytest

from jobs import openai_client
from jobs.openai_client import ChatRefused
from tests.jobs.test_openai_client import Reply, Wire

PATH = "/hooks/s3cret"


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    openai_client.load()


@pytest.fixture
def wire() -> Iterator[Wire]:
    server = Wire()
    server.replies[PATH] = Reply({"ok": True})
    yield server
    server.close()


def address(wire: Wire) -> str:
    return wire.url.removesuffix("/v1") + PATH


def code_of(to: str, *, is_guarded: bool = False) -> str:
    with pytest.raises(ChatRefused) as refused:
        openai_client.post_chat(to, "Hello", is_guarded=is_guarded)
    shown = refused.value
    assert "s3cret" not in repr(shown)
    assert shown.__context__ is None
    return shown.code


def test_a_line_is_posted_as_json(wire: Wire) -> None:
    openai_client.post_chat(address(wire), "80% of the cap", is_guarded=False)
    assert wire.posts(PATH) == [{"text": "80% of the cap"}]


def test_an_error_or_a_redirect_is_a_refusal(wire: Wire) -> None:
    for status in (404, 500, 302):
        wire.replies[PATH] = Reply({"url": "http://127.0.0.1:1/"}, status)
        assert code_of(address(wire)) == f"http_{status}"


def test_a_private_address_is_never_asked(wire: Wire) -> None:
    assert code_of(address(wire), is_guarded=True) == "private_address"
    assert wire.requests == []


def test_nobody_there_and_no_address_are_said_in_a_code() -> None:
    assert code_of(f"http://127.0.0.1:9{PATH}") == "ConnectError"
    assert code_of("ftp://chat.example.com/s3cret") == "bad_endpoint"
