"""Post a line to the incoming webhook of a chat, at an address that someone typed."""

import asyncio

from . import sdk
from .endpoint import address_of, time_limit, tls_context
from .errors import Blocked
from .guard import Guard

LIMIT = 15.0  # seconds for all of it


class ChatRefused(Exception):
    """The chat did not take it; `code` says why, without the address, which is a secret."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


def post(address: str, text: str, *, is_guarded: bool) -> None:
    """Post `text` as JSON, as Slack, Mattermost, Teams and others take it. Raises ChatRefused.

    A guarded address never leads into a private network. Nothing of the answer is read, and no redirect
    followed.
    """
    code = ""
    try:
        status = asyncio.run(_post(address, text, is_guarded=is_guarded))
        code = "" if 200 <= status < 300 else f"http_{status}"
    except Blocked as error:
        code = error.code
    except (sdk.httpx2.HTTPError, TimeoutError, OSError) as error:
        code = type(error).__name__
    # Outside the except blocks: what is caught there holds the address.
    if code:
        raise ChatRefused(code)


async def _post(address: str, text: str, *, is_guarded: bool) -> int:
    tls, limits = tls_context(), sdk.httpx2.Limits(max_connections=1)
    client = sdk.httpx2.AsyncClient(
        verify=tls,
        trust_env=False,
        follow_redirects=False,
        timeout=time_limit(LIMIT),
        limits=limits,
        transport=Guard(tls, limits) if is_guarded else None,
    )
    try:
        async with (
            asyncio.timeout(LIMIT),
            client.stream("POST", address_of(address), json={"text": text}) as answer,
        ):
            return answer.status_code
    finally:
        await client.aclose()
