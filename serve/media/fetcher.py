"""Fetching what a client pointed at, without being pointed at ourselves."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Self
from urllib.parse import urljoin

import httpx

from serve.domain.errors import InvalidRequest, MediaTooLarge
from serve.media.addresses import is_public

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""Addresses of a host name. Raises ``OSError`` when there are none."""

_MAX_REDIRECTS = 3
_PARAM = "url"


async def system_resolver(host: str, port: int) -> list[str]:
    """What the machine's own resolver says."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]


class GuardedFetcher:
    """``UrlFetcher`` for https on port 443 of public addresses.

    A name is resolved once and the connection goes to that very address, so that it cannot mean
    something else a moment later. Redirects are checked like the first URL.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        timeout_s: float = 20.0,
        allow_hosts: frozenset[str] = frozenset(),
        resolve: Resolver = system_resolver,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        """Connects to nothing yet.

        Args:
            max_bytes: Longest body.
            timeout_s: For everything together, redirects included.
            allow_hosts: ``host:port`` that may be spoken to although private, and by plain http.
                Empty outside tests.
            resolve: Where addresses come from.
            verify: Which certificates to trust; an ``ssl.SSLContext`` or True for the usual ones.
        """
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._allow_hosts = allow_hosts
        self._resolve = resolve
        self._client = httpx.AsyncClient(
            verify=verify,
            trust_env=False,
            follow_redirects=False,
            timeout=timeout_s,
            # The pool knows connections by address: a kept one may have been opened, and its
            # certificate checked, for another name.
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def aclose(self) -> None:
        """Drop the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def fetch(self, url: str) -> tuple[bytes, str | None]:
        """See ``UrlFetcher``."""
        try:
            async with asyncio.timeout(self._timeout_s):
                for _ in range(_MAX_REDIRECTS + 1):
                    found = await self._fetch_once(url)
                    if not isinstance(found, str):
                        return found
                    url = found
        except TimeoutError as exc:
            raise _refusal(f"the URL did not answer within {self._timeout_s:g} seconds") from exc
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as exc:
            raise _refusal(f"the URL could not be fetched ({type(exc).__name__})") from exc
        raise _refusal(f"the URL redirects more than {_MAX_REDIRECTS} times")

    async def _fetch_once(self, url: str) -> tuple[bytes, str | None] | str:
        """The content, or where the server sends us."""
        target = self._checked(url)
        address = await self._address(target)
        request = self._client.build_request(
            "GET",
            target.copy_with(host=address),
            headers={
                "Host": target.netloc.decode("ascii"),
                "Accept": "image/*, audio/*, video/*, application/pdf",
                # A compressed body could be a bomb.
                "Accept-Encoding": "identity",
                "User-Agent": "polymodal",
            },
            extensions={"sni_hostname": target.host},
        )
        response = await self._client.send(request, stream=True)
        try:
            if response.has_redirect_location:
                return urljoin(url, response.headers["location"])
            if not response.is_success:
                raise _refusal(f"the URL answered with status {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise _refusal("the URL answered with a compressed body")
            return await self._body(response), response.headers.get("content-type")
        finally:
            await response.aclose()

    def _checked(self, url: str) -> httpx.URL:
        target = httpx.URL(url)
        if target.userinfo:
            raise _refusal("the URL must not hold a user name or password")
        if self._is_allowed(target) and target.scheme in ("http", "https"):
            return target
        if target.scheme != "https" or not target.host:
            raise _refusal("only https:// URLs are fetched")
        if target.port not in (None, 443):
            raise _refusal("only URLs on port 443 are fetched")
        return target

    def _is_allowed(self, target: httpx.URL) -> bool:
        return f"{target.host}:{_port(target)}" in self._allow_hosts

    async def _address(self, target: httpx.URL) -> str:
        try:
            addresses = [str(ipaddress.ip_address(target.host))]
        except ValueError:
            try:
                addresses = await self._resolve(target.host, _port(target))
            except (OSError, UnicodeError) as exc:
                raise _refusal("the URL's host name cannot be resolved") from exc
        if not addresses:
            raise _refusal("the URL's host name cannot be resolved")
        # One private address among public ones is how rebinding begins: refuse them all.
        if not self._is_allowed(target) and not all(map(is_public, addresses)):
            raise _refusal("the URL's host is not on the public internet")
        return addresses[0]

    async def _body(self, response: httpx.Response) -> bytes:
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_bytes:
            raise self._too_large()
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._max_bytes:
                raise self._too_large()
        return bytes(body)

    def _too_large(self) -> MediaTooLarge:
        return MediaTooLarge(
            f"the file behind the URL has more bytes than the limit of {self._max_bytes}",
            param=_PARAM,
            limit=self._max_bytes,
        )


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _refusal(message: str) -> InvalidRequest:
    return InvalidRequest(message, param=_PARAM)
