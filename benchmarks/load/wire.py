"""HTTP/1.1 for load tests: keep-alive connections that hand out bytes as they arrive.

One process drives thousands of streams, so a token must cost microseconds: the transport's callback
feeds the parser, the parser feeds the reader of the reply, and no task wakes until the reply ends.
"""

from __future__ import annotations

import asyncio
import resource
import ssl
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol, cast
from urllib.parse import urlsplit

import httptools


class ConnectFailed(Exception):
    """Nobody answered at the address."""


class ConnectionBroken(Exception):
    """The connection ended, or fell silent, before the reply was whole."""


class Reader(Protocol):
    """Takes one reply in."""

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Status and headers, names in lower case."""
        ...

    def body(self, data: bytes, at_s: float) -> None:
        """The next bytes of the body, and when they arrived (``time.perf_counter``)."""
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect, and what stands before every path."""

    host: str
    port: int
    is_tls: bool
    prefix: str

    @classmethod
    def of(cls, url: str) -> Address:
        """Of a base URL; a trailing ``/v1`` is allowed, as clients of OpenAI write it.

        Raises:
            ValueError: it is not an http or https URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http(s) URL")
        is_tls = parts.scheme == "https"
        port = parts.port or (443 if is_tls else 80)
        prefix = parts.path.rstrip("/").removesuffix("/v1")
        return cls(parts.hostname, port, is_tls, prefix)

    @property
    def authority(self) -> str:
        """The ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._reader: Reader | None = None
        self._whole: asyncio.Future[None] | None = None
        self._headers: dict[str, str] = {}
        self._last_data_s = 0.0
        self._lasts_until_close = False
        self.is_open = False
        self.n_replies = 0
        self.has_reply_begun = False

    async def exchange(self, request: bytes, reader: Reader, *, silence_s: float | None) -> None:
        """Send a request and return once its reply was whole.

        Args:
            request: head and body.
            reader: gets the reply.
            silence_s: no byte for so long counts as a broken connection; None waits.

        Raises:
            ConnectionBroken: it ended, fell silent or spoke no HTTP. The connection is closed.
        """
        if self._transport is None or not self.is_open:
            raise ConnectionBroken("closed")
        self._reader = reader
        self._whole = whole = asyncio.get_running_loop().create_future()
        self._last_data_s = time.perf_counter()
        self.has_reply_begun = False
        self._transport.write(request)
        try:
            if silence_s is None:
                await whole
            else:
                await self._until(whole, silence_s)
        except BaseException:
            self._whole = None
            self.close()
            raise
        self.n_replies += 1

    async def _until(self, whole: asyncio.Future[None], silence_s: float) -> None:
        while not whole.done():
            left_s = self._last_data_s + silence_s - time.perf_counter()
            if left_s <= 0:
                raise ConnectionBroken("silent")
            await asyncio.wait((whole,), timeout=left_s)
        whole.result()

    def close(self) -> None:
        """At once; what was not read is lost. May be called twice."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by inheritance.
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        self._last_data_s = time.perf_counter()
        self.has_reply_begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionBroken(f"not HTTP: {error}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._lasts_until_close and exc is None:
            self.on_message_complete()
        self._fail(ConnectionBroken(str(exc) if exc else "closed"))

    # httptools

    def on_message_begin(self) -> None:
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        framed = "content-length" in self._headers or "transfer-encoding" in self._headers
        self._lasts_until_close = not framed
        if self._reader is not None:
            self._reader.head(self._parser.get_status_code(), self._headers)

    def on_body(self, body: bytes) -> None:
        if self._reader is not None:
            self._reader.body(body, self._last_data_s)

    def on_message_complete(self) -> None:
        self._lasts_until_close = False
        if not self._parser.should_keep_alive():
            self.is_open = False
        if self._whole is not None and not self._whole.done():
            self._whole.set_result(None)
        self._reader = None

    def _fail(self, error: ConnectionBroken) -> None:
        if self._whole is not None and not self._whole.done():
            self._whole.set_exception(error)
        self._reader = None


class Pool:
    """Connections to one address, kept for the next request. As many as are asked for at once."""

    def __init__(self, address: Address, *, connect_timeout_s: float = 10.0) -> None:
        self.address = address
        self._connect_timeout_s = connect_timeout_s
        self._idle: deque[Connection] = deque()
        self._tls = ssl.create_default_context() if address.is_tls else None

    async def exchange(
        self, request: bytes, reader: Reader, *, silence_s: float | None = None
    ) -> None:
        """One request over a kept connection or a new one.

        A kept connection that the server closes in the same moment, before any byte of a reply, is
        replaced once: that is the price of keep-alive, not a failure of the server.

        Raises:
            ConnectFailed: nobody accepts.
            ConnectionBroken: the reply broke off.
        """
        connection = self._kept()
        if connection is not None:
            try:
                await connection.exchange(request, reader, silence_s=silence_s)
            except ConnectionBroken as broken:
                if connection.has_reply_begun or str(broken) == "silent":
                    raise
            else:
                return self._keep(connection)
        connection = await self._connect()
        await connection.exchange(request, reader, silence_s=silence_s)
        return self._keep(connection)

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    def _keep(self, connection: Connection) -> None:
        if connection.is_open:
            self._idle.append(connection)
        else:
            connection.close()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        address = self.address
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, connection = await loop.create_connection(
                    Connection, address.host, address.port, ssl=self._tls
                )
        except (OSError, TimeoutError) as error:
            raise ConnectFailed(str(error) or "no answer in time") from error
        return connection


def request_bytes(
    method: str, path: str, address: Address, headers: dict[str, str], body: bytes = b""
) -> bytes:
    """A whole HTTP/1.1 request."""
    lines = [f"{method} {address.prefix}{path} HTTP/1.1", f"host: {address.authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    elif method == "POST":
        lines.append("content-length: 0")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def allow_many_sockets() -> None:
    """Raise this process's limit of open files to what it may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
