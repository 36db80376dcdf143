"""Turn one connection's plain values into an SDK client that surprises nobody."""

import asyncio
import json
import math
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import sdk
from .errors import Blocked, Retryable, classify
from .guard import Guard
from .tokens import Tokens

if TYPE_CHECKING:
    import openai

CONNECT_LIMIT = 5.0  # seconds
READ_LIMIT = 10.0  # seconds for a retrieve, a cancel, a count or the list of models
_CONNECTIONS = 200  # at once and kept alive, per endpoint; above any concurrency of a session


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go and as whom.

    Azure is spoken to at its v1 address (`https://RESOURCE.openai.azure.com/openai/v1/`), which takes
    the plain client, with a key or an Entra token as bearer. Where a command gives tokens there is no key. An
    empty organization or project sends no such header. A guarded endpoint is never reached in a private
    network.
    """

    kind: str  # openai, azure or compatible
    base_url: str
    key: str = field(repr=False)
    organization: str = ""
    project: str = ""
    is_guarded: bool = False
    token_command: tuple[str, ...] = field(default=(), repr=False)  # it may name a secret


def models(endpoint: Endpoint) -> list[dict[str, str | None]]:
    """Return the `id` and `shutdown_date` (ISO date or None) of every model the endpoint lists.

    Takes at most 10 s, and 10 more for a token; raises BorderError. Not for a thread that runs an event loop.
    """
    sdk.load()
    try:
        answer = asyncio.run(_list_models(endpoint))
    except Exception as exc:
        error = classify(exc, sending=False)
    else:
        return [
            {
                "id": row["id"],
                "shutdown_date": date if isinstance(date := row.get("shutdown_date"), str) else None,
            }
            for row in answer
            if isinstance(row, dict) and isinstance(row.get("id"), str)
        ]
    # Outside the except block: the SDK's exception, which holds the request, must not become its context.
    error.__context__ = None
    raise error


async def _list_models(endpoint: Endpoint) -> list[Any]:
    tokens = Tokens(endpoint.token_command) if endpoint.token_command else None
    if tokens is not None:
        await tokens.get()
    async with connect(endpoint, tls_context(), tokens) as client, asyncio.timeout(READ_LIMIT):
        answer = await client.models.with_raw_response.list(timeout=time_limit(READ_LIMIT))
    body = parse(answer.content)
    if body is None or not isinstance(body.get("data"), list):
        raise Retryable("The answer is no list of models.", code="garbage")
    rows: list[Any] = body["data"]
    return rows


def parse(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object in an answer; None for anything else, endless nesting included.

    What PostgreSQL does not store would make the final transaction of an answer that is paid for fail for
    ever: NUL and lone surrogates become replacement characters; NaN, Infinity, a float beyond all floats
    (1e999) and an integer beyond Python's limit of digits become null.
    """
    try:
        found = json.loads(content, parse_float=_finite, parse_int=_integer, parse_constant=_nothing)
        body = _storable(found)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def connect(endpoint: Endpoint, tls: ssl.SSLContext, tokens: Tokens | None = None) -> "openai.AsyncOpenAI":
    """Make a client; call it in the process and the loop that use it. Raises Blocked for a bad endpoint.

    No retries: the SDK's own would repeat a paid POST. No redirects: a 307 replays the body to the new
    host. No environment: it could add a proxy, another account's headers, or a password from .netrc.
    """
    url = address_of(endpoint.base_url)
    # Anything else would fail later, inside the transport, with the key in the error's text.
    if not all(_is_header(value) for value in (endpoint.key, endpoint.organization, endpoint.project)):
        raise Blocked(
            "The key, organization or project has a character that no header can carry.", code="bad_endpoint"
        )
    limits = sdk.httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
    client = sdk.openai.AsyncOpenAI(
        # The SDK insists on a key, and would take OPENAI_API_KEY for an empty one.
        api_key=tokens.get if tokens else endpoint.key or "none",
        base_url=url,
        max_retries=0,
        timeout=time_limit(READ_LIMIT),
        http_client=sdk.httpx2.AsyncClient(
            verify=tls,
            trust_env=False,
            follow_redirects=False,
            timeout=time_limit(READ_LIMIT),
            limits=limits,
            transport=Guard(tls, limits) if endpoint.is_guarded else None,
        ),
    )
    # As arguments, None would mean OPENAI_ORG_ID and OPENAI_PROJECT_ID of the environment.
    client.organization = endpoint.organization or None
    client.project = endpoint.project or None
    return client


def tls_context() -> ssl.SSLContext:
    """Return the platform's trust (SSL_CERT_FILE honoured); 50 ms to make, so it is shared by clients."""
    return sdk.httpx2.create_ssl_context()


def time_limit(seconds: float) -> "openai.Timeout":
    """Return the SDK's time limits for one request; they count per read, so bound the whole call too."""
    return sdk.openai.Timeout(seconds, connect=CONNECT_LIMIT)


def address_of(base_url: str) -> str:
    """Return an address as it is. Raises Blocked for one that is no http(s) address without a user name."""
    try:
        url = sdk.httpx2.URL(base_url)
        # The resolver's own codec: what it refuses would surface as a UnicodeError in mid-send.
        url.raw_host.decode("ascii").encode("idna")
        # A user in the address would replace the key by basic authentication.
        is_good = url.scheme in ("http", "https") and bool(url.host) and not url.userinfo
    except (sdk.httpx2.InvalidURL, UnicodeError):
        is_good = False
    if not is_good:
        raise Blocked("The base URL is no http(s) address without a user name.", code="bad_endpoint")
    return base_url


def _is_header(value: str) -> bool:
    return value.isascii() and (value.isprintable() or not value) and value == value.strip()


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode(errors="replace").decode()
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(name): _storable(item) for name, item in value.items()}
    return value


def _finite(literal: str) -> float | None:
    number = float(literal)
    return number if math.isfinite(number) else None


def _integer(literal: str) -> int | None:
    try:
        return int(literal)
    except ValueError:  # 4,300 digits and more, unless the interpreter is told otherwise
        return None


def _nothing(_: str) -> None:
    return None
