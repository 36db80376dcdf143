"""The border's view of an organization's bill: real wire JSON through the real SDK."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from jobs import openai_client
from jobs.openai_client import Blocked, BorderError, Cost, Endpoint, Rejected, Retryable
from tests.jobs.test_openai_client import KEY, Reply, Wire, secrets_in, wire_error

ROUTE = "/v1/organization/costs"
DAY = dt.date(2026, 11, 20)
START = 1_795_132_800  # DAY in Unix seconds, UTC


class ByPath(dict[str, Any]):
    """Finds a reply whatever is asked for."""

    def get(self, path: str, default: Any = None) -> Any:
        return super().get(urlsplit(path).path, default)


@pytest.fixture
def wire() -> Iterator[Wire]:
    server = Wire()
    server.replies = ByPath()
    yield server
    server.close()


@pytest.fixture
def at(wire: Wire) -> Endpoint:
    return Endpoint("openai", wire.url, KEY)


def result(**more: Any) -> dict[str, Any]:
    return {
        "object": "organization.costs.result",
        "amount": {"value": 0.06, "currency": "usd"},
        "line_item": "gpt-6-sol, input_tokens",
        "project_id": "proj_1",
        "api_key_id": "key_1",
        "quantity": 30_000.0,
        **more,
    }


def page(*results: Any, **more: Any) -> dict[str, Any]:
    bucket = {"object": "bucket", "start_time": START, "end_time": START + 86_400, "results": list(results)}
    return {"object": "page", "data": [bucket], "has_more": False, "next_page": None, **more}


def read(at: Endpoint) -> list[Cost]:
    return openai_client.costs(at, since=DAY, until=DAY)


def test_a_bill_is_asked_for_by_day_project_key_and_line(wire: Wire, at: Endpoint) -> None:
    wire.replies[ROUTE] = Reply(page(result()))
    assert read(at) == [Cost(DAY, "proj_1", "key_1", "gpt-6-sol, input_tokens", Decimal("0.06"), 2, 30_000)]
    ((method, path, headers, _),) = wire.requests
    asked = parse_qs(urlsplit(path).query)
    assert (method, headers["authorization"]) == ("GET", f"Bearer {KEY}")
    assert asked["group_by[]"] == ["project_id", "api_key_id", "line_item"]
    assert (asked["start_time"], asked["end_time"]) == ([str(START)], [str(START + 86_400)])
    assert (asked["bucket_width"], asked["limit"]) == (["1d"], ["1"])


def test_every_page_of_a_bill_is_read(wire: Wire, at: Endpoint) -> None:
    pages = iter([page(result(), has_more=True, next_page="page_2"), page(result(quantity=None))])
    wire.replies[ROUTE] = lambda: Reply(next(pages))
    assert [line.quantity for line in read(at)] == [30_000, None]
    assert [parse_qs(urlsplit(path).query).get("page") for _, path, _, _ in wire.requests] == [
        None,
        ["page_2"],
    ]


def test_a_bill_without_a_last_page_is_given_up(
    wire: Wire, at: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.openai_client.bills._MOST_PAGES", 2)
    wire.replies[ROUTE] = Reply(page(has_more=True, next_page="again"))
    with pytest.raises(Retryable, match="no last page"):
        read(at)


def test_what_a_bill_does_not_name_is_empty_and_what_it_counts_oddly_is_not_counted(
    wire: Wire, at: Endpoint
) -> None:
    odd = result(
        line_item=None,
        project_id=None,
        api_key_id=5,
        quantity=-1,
        amount={"value": "1.25", "currency": "USD"},
    )
    wire.replies[ROUTE] = Reply(page(odd))
    assert read(at) == [Cost(DAY, "", "", "", Decimal("1.25"), 2, None)]


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (
            Reply(wire_error(f"Incorrect API key provided: {KEY}"), status=401),
            Blocked,
            "invalid_request_error",
        ),
        (Reply(wire_error("Missing scopes: api.usage.read"), status=403), Blocked, "invalid_request_error"),
        (Reply(b"<html>"), Retryable, "garbage"),
        (Reply({"data": {}}), Retryable, "garbage"),
        (Reply(page("what")), Retryable, "garbage"),
        (Reply(page(result(amount={"value": "many", "currency": "usd"}))), Retryable, "garbage"),
        (Reply(page(result(amount={"value": "NaN", "currency": "usd"}))), Retryable, "garbage"),
        (Reply(page(result(amount={"value": 1e12, "currency": "usd"}))), Retryable, "garbage"),
        (Reply(page(result(amount={"value": 1, "currency": "eur"}))), Rejected, "currency"),
        (Reply(fault="hang"), Retryable, "timeout"),
    ],
)
def test_a_bill_that_cannot_be_read_raises_a_border_error(
    wire: Wire,
    at: Endpoint,
    reply: Reply,
    kind: type[BorderError],
    code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jobs.openai_client.bills.READ_LIMIT", 0.3)
    wire.replies[ROUTE] = reply
    with pytest.raises(BorderError) as caught:
        read(at)
    assert (type(caught.value), caught.value.code) == (kind, code)
    assert caught.value.__context__ is None
    assert secrets_in(caught.value) == []
    assert len(wire.requests) == 1
