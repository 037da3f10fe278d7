"""Asks one server one question and stays with it until it is answered or lost."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import orjson

from benchmarks.load.frames import Api, ReplyReader
from benchmarks.load.outcomes import Outcome
from benchmarks.load.wire import Address, ConnectFailed, ConnectionBroken, Pool, request_bytes
from benchmarks.load.workload import Question

_PATHS: Mapping[Api, str] = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_WAITED_OUT = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """How one server is spoken to.

    Attributes:
        url: base URL, with or without ``/v1``.
        extra: further fields of every request's body.
    """

    url: str
    model: str
    api_key: str = ""
    api: Api = "chat"
    streams: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When a client gives up.

    Attributes:
        total_s: for one request with all its retries and resumptions.
        silence_s: no byte for so long counts as a broken connection; None trusts the connection.
        max_refusals: how many 429 are waited out.
        resume_s: how long a broken Responses stream is tried to be taken up again.
    """

    total_s: float = 600.0
    connect_s: float = 10.0
    silence_s: float | None = None
    max_refusals: int = 3
    resume_s: float = 30.0


class Client:
    """Speaks to one endpoint. Any number of requests at once."""

    def __init__(
        self, endpoint: Endpoint, patience: Patience | None = None, *, verifies: bool = False
    ) -> None:
        """Connect later, when asked. ``verifies``: compare the deltas with the final text."""
        self._endpoint = endpoint
        self._patience = patience or Patience()
        self._verifies = verifies
        self._pool = Pool(Address.of(endpoint.url), connect_timeout_s=self._patience.connect_s)
        self._headers = {"accept": "text/event-stream" if endpoint.streams else "application/json"}
        if endpoint.api_key:
            self._headers["authorization"] = f"Bearer {endpoint.api_key}"

    async def ask(self, question: Question, *, intended_at_s: float) -> Outcome:
        """The answer, or what went wrong. Never raises for what a server does."""
        outcome = Outcome(intended_at_s=intended_at_s, started_at_s=time.perf_counter())
        reader = ReplyReader(
            self._endpoint.api,
            streams=self._endpoint.streams,
            keeps_text=self._verifies or question.wants_text,
        )
        try:
            async with asyncio.timeout(self._patience.total_s):
                await self._until_answered(question, reader, outcome)
        except TimeoutError:
            outcome.kind = "timeout"
        self._settle(reader, outcome, wants_text=question.wants_text)
        return outcome

    def close(self) -> None:
        """Close what is idle."""
        self._pool.close()

    async def _until_answered(
        self, question: Question, reader: ReplyReader, outcome: Outcome
    ) -> None:
        body = orjson.dumps(self._body(question))
        request = self._request("POST", _PATHS[self._endpoint.api], body)
        while True:
            try:
                await self._pool.exchange(request, reader, silence_s=self._patience.silence_s)
            except ConnectFailed as error:
                outcome.kind, outcome.detail = "connect", str(error)
                return
            except ConnectionBroken as error:
                if not reader.is_whole:
                    await self._resume(reader, outcome, str(error))
                return
            if reader.status == HTTPStatus.OK:
                if reader.is_event_stream and not reader.is_whole:
                    await self._resume(reader, outcome, "ended early", otherwise="incomplete")
                return
            pause_s = self._refused(reader, outcome)
            if pause_s is None:
                return
            await asyncio.sleep(pause_s)

    def _refused(self, reader: ReplyReader, outcome: Outcome) -> float | None:
        """Seconds to wait before asking again; None when that is the answer."""
        pause_s = retry_after_s(reader.headers) if reader.status in _WAITED_OUT else None
        if pause_s is not None and outcome.n_refusals < self._patience.max_refusals:
            outcome.n_refusals += 1
            return pause_s
        limited = reader.status == HTTPStatus.TOO_MANY_REQUESTS
        outcome.kind = "rate_limited" if limited else f"http_{reader.status}"
        try:
            outcome.detail = str(reader.json()["error"]["message"])[:200]
        except (ValueError, KeyError, TypeError):
            outcome.detail = ""
        return None

    async def _resume(
        self, reader: ReplyReader, outcome: Outcome, why: str, *, otherwise: str = "broken"
    ) -> None:
        """Take a broken stream of the Responses API up where it broke."""
        if not reader.response_id or self._endpoint.api != "responses":
            outcome.kind, outcome.detail = otherwise, why
            return
        give_up_at_s = time.perf_counter() + self._patience.resume_s
        pause_s = _FIRST_PAUSE_S
        while not reader.is_whole:
            if time.perf_counter() > give_up_at_s:
                outcome.kind, outcome.detail = otherwise, why
                return
            seen = reader.last_number
            path = f"/v1/responses/{reader.response_id}?stream=true&starting_after={seen}"
            request = self._request("GET", path)
            try:
                await self._pool.exchange(request, reader, silence_s=self._patience.silence_s)
            except (ConnectFailed, ConnectionBroken) as error:
                why = str(error)
            if reader.last_number > seen:
                outcome.n_resumes += 1
                pause_s = _FIRST_PAUSE_S
            if not reader.is_whole:
                # S311: jitter, no secret.
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _settle(self, reader: ReplyReader, outcome: Outcome, *, wants_text: bool) -> None:
        outcome.ended_at_s = reader.ended_at_s if reader.is_whole else time.perf_counter()
        outcome.frame_times_s = reader.frame_times_s
        outcome.n_bytes = reader.n_bytes
        outcome.n_sequence_faults = reader.n_sequence_faults
        outcome.queued_s = reader.queued_s
        outcome.response_id = reader.response_id
        outcome.output_tokens = len(reader.frame_times_s)
        if not outcome.is_ok:
            return
        try:
            reader.settle()
            if wants_text or self._verifies:
                outcome.text = reader.text()
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            outcome.kind, outcome.detail = "malformed", str(error)[:200]
            return
        outcome.response_id = reader.response_id
        if reader.usage is not None:
            outcome.input_tokens, outcome.output_tokens = reader.usage
        if reader.error:
            outcome.kind, outcome.detail = reader.error, reader.error_detail
        elif reader.n_sequence_faults:
            outcome.kind = "sequence"
        elif self._verifies and reader.told_text() not in (None, outcome.text):
            outcome.kind = "mismatch"

    def _request(self, method: str, path: str, body: bytes = b"") -> bytes:
        return request_bytes(method, path, self._pool.address, self._headers, body)

    def _body(self, question: Question) -> dict[str, Any]:
        endpoint = self._endpoint
        body: dict[str, Any] = {"model": endpoint.model, "temperature": 0}
        if endpoint.streams:
            body["stream"] = True
        if endpoint.api == "chat":
            body["messages"] = question.chat_messages()
            body["max_tokens"] = question.max_tokens
            if endpoint.streams:
                body["stream_options"] = {"include_usage": True}
        else:
            body["input"] = question.response_input()
            body["max_output_tokens"] = question.max_tokens
            if question.previous_response_id:
                body["previous_response_id"] = question.previous_response_id
        return {**body, **endpoint.extra}


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """What ``Retry-After`` asks for, in seconds or as a date; None without a readable one."""
    told = headers.get("retry-after", "").strip()
    if not told:
        return None
    try:
        return max(0.0, float(told))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(told)
    except ValueError:
        return None
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
