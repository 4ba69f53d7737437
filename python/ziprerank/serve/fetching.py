"""Fetches documents by URL without letting a client reach hosts that only the server can reach.

The guard works where connections are made: it resolves a host once, checks its addresses, and connects to the very
address that it checked. A redirect makes a new connection, which passes the same guard. TLS certificates are checked
against the host's name as usual.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import urljoin, urlsplit

import httpcore
from httpcore import AsyncNetworkBackend, AsyncNetworkStream

from ziprerank.serve.settings import Settings

MAX_REDIRECTS = 3
_AT_ONCE = 8  # files that the whole server fetches at the same time
_REDIRECTS = (301, 302, 303, 307, 308)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# What IANA's registries iana-ipv4-special-registry and iana-ipv6-special-registry list as not globally reachable, or as
# deprecated, and some or all versions of ``ipaddress`` take for global.
_SPECIAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # IETF protocol assignments, RFC 6890
        "192.88.99.0/24",  # relays of 6to4, RFC 7526
        "64:ff9b:1::/48",  # translation between IPv4 and IPv6 in one network, RFC 8215
        "100::/64",  # discard, RFC 6666
        "2001:db8::/32",  # documentation, RFC 3849
        "3fff::/20",  # documentation, RFC 9637
        "5f00::/16",  # segment routing, RFC 9602
    )
)

Resolve = Callable[[str, int], Awaitable[list[str]]]


class FetchError(Exception):
    """The server may not fetch a URL, or could not; the text is for the client."""


class Fetcher:
    """Fetches files by URL within the limits of a service."""

    def __init__(
        self, settings: Settings, resolve: Resolve | None = None, backend: AsyncNetworkBackend | None = None
    ) -> None:
        """Makes a fetcher, which opens no connection yet.

        Args:
            settings: Which hosts are allowed, and the limits of size and time.
            resolve: Returns the IP addresses of a host and port; None asks the system.
            backend: Makes the connections; None is httpcore's.
        """
        self._settings = settings
        self._guard = _Guard(settings, resolve or _resolve, backend or httpcore.AnyIOBackend())
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, url: str, hold: Callable[[int], None]) -> bytes:
        """Downloads a file.

        Args:
            url: An ``http:`` or ``https:`` URL.
            hold: Called with the number of bytes of each chunk before it is kept.

        Returns:
            The file's content.

        Raises:
            FetchError: The URL is not allowed, did not answer in time, or answered with an error or too many bytes.
            Refused: ``hold`` refused the bytes.
        """
        settings = self._settings
        if settings.fetch == "off":
            message = "this server does not fetch URLs: send base64 or a data URL, or ask its operator for --fetch"
            raise FetchError(message)
        async with self._places:
            try:
                return await asyncio.wait_for(self._follow(url, hold), settings.fetch_timeout)
            except (asyncio.TimeoutError, httpcore.TimeoutException):
                raise FetchError(f"the URL took over {settings.fetch_timeout:g} s: send the file itself") from None
            except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
                raise FetchError(f"the URL cannot be fetched ({type(error).__name__}): send the file itself") from None

    async def _follow(self, url: str, hold: Callable[[int], None]) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            check_url(url)
            async with (
                httpcore.AsyncConnectionPool(network_backend=self._guard, max_keepalive_connections=0) as pool,
                pool.stream("GET", url, headers=_headers(url)) as response,
            ):
                if response.status not in _REDIRECTS:
                    return await self._read(response, hold)
                target = next((value for name, value in response.headers if name.lower() == b"location"), b"")
                try:
                    url = urljoin(url, target.decode("latin-1"))
                except ValueError:
                    raise FetchError("the URL redirects to one that is not valid: send the file itself") from None
        raise FetchError(f"the URL redirects more than {MAX_REDIRECTS} times: send the final URL")

    async def _read(self, response: httpcore.Response, hold: Callable[[int], None]) -> bytes:
        if response.status != 200:
            raise FetchError(f"the URL answers with status {response.status}, not 200: send the file itself")
        data, limit = bytearray(), self._settings.fetch_bytes
        async for chunk in response.aiter_stream():
            if len(data) + len(chunk) > limit:
                raise FetchError(f"the file has over {limit:,} bytes: send a smaller one")
            hold(len(chunk))
            data += chunk
        return bytes(data)


def check_url(url: str) -> None:
    """Raises FetchError unless the URL is http or https, names a host, and has no user name or password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise FetchError("the URL is not valid") from None
    if parts.scheme not in ("http", "https"):
        raise FetchError(f"URLs of scheme {parts.scheme[:20]!r} are not fetched: use https")
    if not parts.hostname or not url.isascii() or not url.isprintable() or " " in url:
        raise FetchError("the URL is not valid: give it a host, and escape blanks and all but printable ASCII")
    if parts.username is not None or parts.password is not None or port == 0:
        raise FetchError("the URL is not valid: it must have no user name, no password, and no port 0")


def is_public(address: str) -> bool:
    """Tells whether an IP address is reachable from everywhere; an IPv4 address embedded in IPv6 must be so as well."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    inner: Iterable[ipaddress.IPv4Address | None] = ()
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip in _NAT64:  # reserved, and yet public where the address inside is
            return is_public(str(ipaddress.IPv4Address(ip.packed[-4:])))
        if ip.is_site_local:
            return False
        inner = (ip.sixtofour, ip.teredo[1] if ip.teredo else None)
    special = ip.is_multicast or ip.is_reserved or any(ip in network for network in _SPECIAL)
    return ip.is_global and not special and all(is_public(str(part)) for part in inner if part is not None)


class _Guard(AsyncNetworkBackend):
    """A network backend that connects only to addresses that it has checked."""

    def __init__(self, settings: Settings, resolve: Resolve, backend: AsyncNetworkBackend) -> None:
        self._settings = settings
        self._resolve = resolve
        self._backend = backend

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        name = host.strip("[]").rstrip(".").lower()
        listed = any(_matches(name, pattern.lower()) for pattern in self._settings.fetch_hosts)
        if self._settings.fetch == "listed" and not listed:
            raise FetchError(f"host {name!r} is not on this server's list: send the file itself")
        addresses = await self._resolve(name, port)
        if not addresses:
            raise FetchError(f"host {name!r} has no address")
        if not listed and not all(is_public(address) for address in addresses):
            raise FetchError(f"host {name!r} has an address that is not public: send the file itself")
        return await self._backend.connect_tcp(addresses[0], port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


def _matches(host: str, pattern: str) -> bool:
    return host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def _headers(url: str) -> list[tuple[str, str]]:
    return [("Host", urlsplit(url).netloc), ("User-Agent", "ziprerank"), ("Accept", "image/*, application/pdf")]


async def _resolve(host: str, port: int) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found]
