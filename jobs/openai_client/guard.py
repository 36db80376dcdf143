"""Keep what goes to an address that someone typed out of private networks: resolve, check, connect to it."""

import asyncio
import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING

from . import sdk
from .errors import Blocked

if TYPE_CHECKING:
    import httpx2
    from httpx2 import AsyncBaseTransport as Transport
else:
    Transport = object

RESOLVE_LIMIT = 5.0  # seconds
# Forms of IPv6 that hide an IPv4 address in their last 32 bits, also a private one.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")

type Place = tuple[str, int]  # host and port


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the open Internet, whatever form hides an IPv4 address."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address) and (found in _NAT64 or found in _COMPATIBLE):
        found = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    is_site_local = isinstance(found, ipaddress.IPv6Address) and found.is_site_local
    return found.is_global and not found.is_multicast and not is_site_local


def is_private_host(host: str) -> bool:
    """Tell whether a host is private as it is written; of any other name only the resolver can tell."""
    try:
        return not is_public(host.strip("[]"))
    except ValueError:
        name = host.rstrip(".").lower()
        return name == "localhost" or name.endswith(".localhost")


class Guard(Transport):
    """A transport that connects only to public addresses, each name resolved once for its lifetime.

    The connection goes to the very address that was checked, so a second answer of the resolver changes
    nothing; TLS still verifies the name. Raises Blocked (code `private_address`) before a byte is sent.
    """

    def __init__(self, tls: ssl.SSLContext, limits: "httpx2.Limits") -> None:
        self._inner = sdk.httpx2.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits)
        self._known: dict[Place, asyncio.Task[list[str]]] = {}

    async def aclose(self) -> None:
        """Close every connection."""
        for asked in self._known.values():
            asked.cancel()
        await self._inner.aclose()

    async def handle_async_request(self, request: "httpx2.Request") -> "httpx2.Response":
        """Send a request to the first address of its host that can be reached."""
        url = request.url
        place = url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)
        try:
            for address in await self._addresses(place):
                try:
                    return await self._inner.handle_async_request(_pinned(request, place[0], address))
                except (sdk.httpx2.ConnectError, sdk.httpx2.ConnectTimeout) as exc:
                    failure = exc
            raise failure
        except (sdk.httpx2.ConnectError, sdk.httpx2.ConnectTimeout):
            # It may have moved: the next request asks anew.
            self._known.pop(place, None)
            raise

    async def _addresses(self, place: Place) -> list[str]:
        # Asked once for all requests that wait for it: a hundred threads would not resolve any sooner.
        if place not in self._known:
            asked = self._known[place] = asyncio.create_task(_resolve(*place))
            asked.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._known[place])


def _pinned(request: "httpx2.Request", host: str, address: str) -> "httpx2.Request":
    # The Host header is there already and stays the name's.
    return sdk.httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )


async def _resolve(host: str, port: int) -> list[str]:
    """Return the first address of each family of a host. Raises Blocked if any is private."""
    try:
        async with asyncio.timeout(RESOLVE_LIMIT):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise sdk.httpx2.ConnectTimeout("The name was not resolved in time.") from None
    except OSError as exc:
        raise sdk.httpx2.ConnectError(str(exc)) from None
    addresses: dict[int, str] = {}
    for family, _, _, _, place in found:
        if not is_public(str(place[0])):
            raise Blocked(
                "The address leads into a private network, which PONDER_ALLOW_PRIVATE_ADDRESSES must allow.",
                code="private_address",
            )
        addresses.setdefault(family, str(place[0]))
    return list(addresses.values())
