"""A client that does not let go: one answer, over as many connections as it takes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

from benchmarks.load.client import retry_after_s
from benchmarks.load.frames import ReplyReader
from benchmarks.load.wire import Address, Connection, ConnectionBroken, request_bytes

# A stream that has begun and says nothing for so long is asked for elsewhere.
_SILENCE_S = 1.5
# Until it has begun: a full queue and a long prompt are no silence.
_FIRST_EVENT_S = 15.0
_CONNECT_S = 2.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_PASSING = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.CONFLICT)


@dataclass(slots=True)
class Delivered:
    """What one client got.

    Attributes:
        problem: why the answer is not what was asked for; empty when it is.
        moments_s: when each piece of text came, on the clock of ``time.perf_counter``.
        n_posts: how often the question was sent, always under one key.
        n_resumes: how often the stream was taken up again.
        statuses: how often each refusal came.
    """

    name: str
    problem: str = ""
    response_id: str = ""
    text: str = ""
    moments_s: Sequence[float] = ()
    n_posts: int = 0
    n_resumes: int = 0
    n_sequence_faults: int = 0
    statuses: dict[int, int] = field(default_factory=dict)


class _Line:
    """One connection and the reply that comes over it, until it is put aside."""

    def __init__(self, connection: Connection, reader: ReplyReader) -> None:
        self._connection = connection
        self._reader: ReplyReader | None = reader
        self._ended = asyncio.Event()
        self._heard_at_s = time.perf_counter()
        self.status = 0
        self.headers: dict[str, str] = {}

    async def exchange(self, request: bytes) -> None:
        """Ask, and take in what comes. Never raises for what a server does."""
        try:
            await self._connection.exchange(request, self, silence_s=None)
        except ConnectionBroken:
            pass
        finally:
            self._ended.set()

    async def listen(self, patience_s: Callable[[], float]) -> None:
        """Return once it has said all, broke, or has been silent for ``patience_s``."""
        while not self._ended.is_set():
            left_s = self._heard_at_s + patience_s() - time.perf_counter()
            if left_s <= 0:
                return
            with suppress(TimeoutError):
                # Patience shrinks when the stream has begun, so it is looked at again.
                async with asyncio.timeout(min(left_s, _SILENCE_S)):
                    await self._ended.wait()

    def put_aside(self) -> None:
        """Hear no more of it, and keep it open."""
        self._reader = None

    def close(self) -> None:
        """At once."""
        self._connection.close()

    def head(self, status: int, headers: dict[str, str]) -> None:
        self._heard_at_s = time.perf_counter()
        self.status, self.headers = status, headers
        if self._reader is not None:
            self._reader.head(status, headers)

    def body(self, data: bytes, at_s: float) -> None:
        self._heard_at_s = at_s
        if self._reader is not None:
            self._reader.body(data, at_s)


class DurableStream:
    """One streamed answer of the Responses API, whatever happens to who serves it.

    A connection that breaks is replaced. One that falls silent is put aside but kept open:
    leaving a foreground answer would cancel it, and who is silent may only be slow.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], body: Mapping[str, Any], name: str
    ) -> None:
        """``name`` goes along as the idempotency key, so it must be new."""
        self._address = Address.of(url)
        self._headers = {**headers, "accept": "text/event-stream"}
        self._body = orjson.dumps({**body, "stream": True})
        self._reader = ReplyReader("responses", streams=True, keeps_text=True)
        self._lines: list[_Line] = []
        self.delivered = Delivered(name)

    @property
    def n_pieces(self) -> int:
        """Pieces of text so far."""
        return len(self._reader.frame_times_s)

    async def run(self, *, limit_s: float) -> Delivered:
        """The whole answer, or what was missing of it after ``limit_s``."""
        async with asyncio.TaskGroup() as group:
            try:
                async with asyncio.timeout(limit_s):
                    await self._until_whole(group)
            except TimeoutError:
                self.delivered.problem = "not whole in time"
            finally:
                for line in self._lines:
                    line.close()
        self._judge()
        return self.delivered

    async def _until_whole(self, group: asyncio.TaskGroup) -> None:
        pause_s = 0.0
        while not self._reader.is_whole and not self.delivered.problem:
            # S311: jitter, no secret.
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311
            before = self._reader.last_number
            try:
                told_s = await self._attempt(group)
            except (OSError, TimeoutError):
                told_s = 0.0
            grew = self._reader.last_number > before
            pause_s = _FIRST_PAUSE_S if grew else 2 * pause_s + _FIRST_PAUSE_S
            pause_s = min(max(pause_s, told_s), _LONGEST_PAUSE_S)

    async def _attempt(self, group: asyncio.TaskGroup) -> float:
        """One connection's worth. Returns how long the server asks to wait."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_S):
            _, connection = await loop.create_connection(
                Connection, self._address.host, self._address.port
            )
        line = _Line(connection, self._reader)
        self._lines.append(line)
        group.create_task(line.exchange(self._request()))
        await line.listen(lambda: _SILENCE_S if self._reader.response_id else _FIRST_EVENT_S)
        line.put_aside()
        return self._refused(line)

    def _request(self) -> bytes:
        told = self.delivered
        if self._reader.response_id:
            told.n_resumes += 1
            place = f"stream=true&starting_after={self._reader.last_number}"
            path = f"/v1/responses/{self._reader.response_id}?{place}"
            return request_bytes("GET", path, self._address, self._headers)
        told.n_posts += 1
        headers = {**self._headers, "idempotency-key": told.name}
        return request_bytes("POST", "/v1/responses", self._address, headers, self._body)

    def _refused(self, line: _Line) -> float:
        """Note a refusal. Returns how long the server asks to wait; 0 without one."""
        if line.status in (0, HTTPStatus.OK):
            return 0.0
        told = self.delivered
        told.statuses[line.status] = told.statuses.get(line.status, 0) + 1
        if line.status < HTTPStatus.INTERNAL_SERVER_ERROR and line.status not in _PASSING:
            told.problem = f"refused with {line.status}"
        return retry_after_s(line.headers) or 0.0

    def _judge(self) -> None:
        told, reader = self.delivered, self._reader
        told.response_id = reader.response_id
        told.moments_s = tuple(reader.frame_times_s)
        told.n_sequence_faults = reader.n_sequence_faults
        told.text = reader.text() if told.moments_s else ""
        if told.problem:
            return
        reader.settle()
        if reader.error:
            told.problem = f"{reader.error}: {reader.error_detail}"
        elif reader.n_sequence_faults:
            told.problem = f"{reader.n_sequence_faults} events repeated or missing"
        elif reader.told_text() != told.text:
            told.problem = "the pieces are not the text"
