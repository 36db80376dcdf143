"""The guard: what people typed never leads into a private network, at the moment of sending."""

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jobs import openai_client
from jobs.openai_client import Blocked, Endpoint, Retryable, endpoint, guard
from tests.jobs.test_openai_client import KEY, Reply, Wire

PRIVATE = [
    *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1%eth0", "fd00::1", "fec0::1", "ff02::1"),
    *("::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "::7f00:1"),
]
MODELS = Reply({"data": [{"id": "o3"}]})

type Found = list[tuple[int, Any, int, str, tuple[str, int]]]


def at(address: str, port: int) -> Any:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return (family, socket.SOCK_STREAM, 6, "", (address, port))


@pytest.fixture
def wire() -> Iterator[Wire]:
    server = Wire()
    server.replies["/v1/models"] = MODELS
    yield server
    server.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Resolve names as a test says; what it resolved is kept under `asked`."""
    found: dict[str, list[str]] = {"asked": []}

    def resolve(host: str, port: int, *_: object, **__: object) -> Found:
        found["asked"].append(host)
        if host not in found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [at(address, port) for address in found[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return found


@pytest.fixture
def loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take 127.0.0.0/8 for the open Internet: no other server can be reached by a test."""
    monkeypatch.setattr(guard, "is_public", lambda address: address.startswith("127."))


def guarded(wire: Wire, host: str = "api.example") -> Endpoint:
    return Endpoint("compatible", f"http://{host}:{wire.port}/v1", KEY, is_guarded=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_known_in_every_form(address: str) -> None:
    assert not guard.is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_a_public_address_is_known_in_every_form(address: str) -> None:
    assert guard.is_public(address)


@pytest.mark.parametrize(
    ("host", "is_private"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("api.localhost", True),
        ("[::1]", True),
        ("10.1.2.3", True),
        ("api.openai.com", False),
        ("8.8.8.8", False),
        ("localhost.example", False),
    ],
)
def test_what_can_be_refused_without_a_resolver_is_refused(host: str, is_private: bool) -> None:
    assert openai_client.is_private_host(host) is is_private


def test_nothing_is_sent_to_a_name_that_leads_into_a_private_network(
    wire: Wire, names: dict[str, list[str]]
) -> None:
    names["api.example"] = ["8.8.8.8", "127.0.0.1"]
    for host in ("api.example", "127.0.0.1"):
        names.setdefault("127.0.0.1", ["127.0.0.1"])
        with pytest.raises(Blocked) as caught:
            openai_client.models(guarded(wire, host))
        assert caught.value.code == "private_address"
    assert wire.connections == 0


def test_an_endpoint_that_is_not_guarded_reaches_a_private_network(wire: Wire) -> None:
    assert openai_client.models(Endpoint("compatible", wire.url, KEY))[0]["id"] == "o3"


def test_the_connection_goes_to_the_address_that_was_checked(
    wire: Wire, names: dict[str, list[str]], loopback_is_public: None
) -> None:
    names["api.example"] = ["127.0.0.1"]
    assert openai_client.models(guarded(wire)) == [{"id": "o3", "shutdown_date": None}]
    assert names["asked"] == ["api.example"]
    (_, _, headers, _) = wire.requests[0]
    assert headers["host"] == f"api.example:{wire.port}"


def test_a_name_is_resolved_once_for_a_whole_session(
    wire: Wire, names: dict[str, list[str]], loopback_is_public: None
) -> None:
    names["api.example"] = ["127.0.0.1"]
    with openai_client.Session[int](concurrency=20) as session:
        for number in range(20):
            session.retrieve(number, guarded(wire), "resp_1")
        done: list[Any] = []
        while session.in_progress:
            done += session.outcomes(10)
    assert [outcome.error for outcome in done] == [None] * 20
    assert names["asked"] == ["api.example"]


def test_a_name_that_nobody_knows_is_tried_again_later(wire: Wire, names: dict[str, list[str]]) -> None:
    with pytest.raises(Retryable) as caught:
        openai_client.models(guarded(wire))
    assert caught.value.code == "connect_error"
    assert "Name or service not known" in caught.value.message


def test_a_resolver_that_hangs_is_not_waited_for_and_nothing_was_sent(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "RESOLVE_LIMIT", 0.05)
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(10) and [])
    with openai_client.Session[int](concurrency=1) as session:
        session.create(1, guarded(wire), {"model": "o3", "input": "x"}, count=False)
        (outcome,) = session.outcomes(10)
        release.set()
    assert isinstance(outcome.error, Retryable)
    assert outcome.error.code == "connect_timeout"


def test_the_other_family_is_tried_when_the_first_cannot_be_reached(
    wire: Wire, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "is_public", lambda _: True)
    names["api.example"] = ["::ffff:127.0.0.9", "127.0.0.1"]
    assert openai_client.models(guarded(wire))[0]["id"] == "o3"


def test_a_name_is_asked_for_anew_when_nothing_answers_there_any_more(
    wire: Wire, names: dict[str, list[str]], loopback_is_public: None
) -> None:
    names["api.example"] = ["127.0.0.9"]  # the wire listens on 127.0.0.1 only
    with openai_client.Session[int](concurrency=1) as session:
        session.retrieve(1, guarded(wire), "resp_1")
        (refused,) = session.outcomes(10)
        names["api.example"] = ["127.0.0.1"]
        session.retrieve(2, guarded(wire), "resp_1")
        (found,) = session.outcomes(10)
    assert isinstance(refused.error, Retryable)
    assert found.error is None
    assert names["asked"] == ["api.example", "api.example"]


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[[str], ssl.SSLContext]:
    """Make a server's context with a certificate for a name; its authority is in tmp_path/ca.pem."""

    def make(name: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - dt.timedelta(days=400))
            .not_valid_after(now + dt.timedelta(days=400))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.2"))]
                ),
                critical=False,
            )
            .sign(key, hashes.SHA256())
        )
        pem = made.public_bytes(serialization.Encoding.PEM)
        (tmp_path / "ca.pem").write_bytes(pem)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (tmp_path / "server.pem").write_bytes(pem + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.pem")
        return context

    return make


@pytest.mark.parametrize(("name", "is_trusted"), [("api.example", True), ("other.example", False)])
def test_tls_verifies_the_name_and_not_the_address(
    name: str,
    is_trusted: bool,
    names: dict[str, list[str]],
    loopback_is_public: None,
    certificate: Callable[[str], ssl.SSLContext],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    openai_client.load()
    server = Wire(tls=certificate(name))
    server.replies["/v1/models"] = MODELS
    trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    monkeypatch.setattr(endpoint, "tls_context", lambda: trust)
    names["api.example"] = ["127.0.0.1"]
    asked = Endpoint("compatible", f"https://api.example:{server.port}/v1", KEY, is_guarded=True)
    try:
        if is_trusted:
            assert openai_client.models(asked)[0]["id"] == "o3"
        else:
            with pytest.raises(Retryable, match="CERTIFICATE_VERIFY_FAILED"):
                openai_client.models(asked)
            assert server.requests == []
    finally:
        server.close()
