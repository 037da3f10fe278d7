"""``Idempotency-Key`` on any POST: one effect, one reply, however often it is sent.

A key belongs to one caller and one request: method, path, query and the raw bytes of the body. The
first to send it carries the request out; what it is answered is kept for a day. The id of the
response that it makes is chosen and committed before anything else happens, so who comes again
after a crash finds that response instead of making a second one. A request with a key is not
given up when its client leaves: the client said that it may come back.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from contextvars import ContextVar
from tempfile import SpooledTemporaryFile
from typing import Final

import orjson
from fastapi import Request
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.domain.errors import (
    Conflict,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    PolymodalError,
)
from serve.domain.idempotency import KeyClaim, KeyState, SavedReply
from serve.domain.ids import new_id, repeatable_ids
from serve.domain.ports import IdempotencyKeys
from serve.domain.records import Caller, ResponseRecord
from serve.ingress.authentication import count_request, identify
from serve.ingress.context import IngressPorts, send_on_behind

_log = logging.getLogger(__name__)

HEADER: Final = b"idempotency-key"
REPLAYED: Final = b"idempotency-replayed"
# The reply's log could not be read to its end: nothing that a retry should be given.
BROKEN: Final = "polymodal.broken"

_MAX_KEY_LENGTH: Final = 255
_IN_MEMORY_BYTES: Final = 1024 * 1024
_CHUNK_BYTES: Final = 256 * 1024
_MAX_SAVED_BYTES: Final = 8 * 1024 * 1024
_WAIT_S: Final = 30.0
_FIRST_LOOK_S: Final = 0.05
_LAST_LOOK_S: Final = 0.5
_RETRY_AFTER_S: Final = 2
_KEPT_HEADERS: Final = (b"content-type", b"location")
_ANSWERING: Final = ("/v1/responses", "/v1/chat/completions")


# --- what the routes see ----------------------------------------------------------------------


class Promise:
    """The response that the request at hand makes under its key.

    ``may_exist``: an earlier attempt, or another request, may have made it. ``may_make``: if not,
    it is another request that does, and this one can only join. ``joined``: what it joins, if that
    is known already: it may be gone from the database by now, but not from the journal.
    """

    def __init__(
        self,
        keys: IdempotencyKeys,
        claim: KeyClaim,
        state: KeyState,
        *,
        joined: ResponseRecord | None = None,
    ) -> None:
        self._keys = keys
        self._claim = claim
        self.response_id = state.response_id
        self.may_make = state.is_mine
        self.may_exist = not state.is_first
        self.joined = joined

    async def renew(self) -> bool:
        """Promise another response; the one promised so far never comes, unless it is there.

        False: it is there, and has not failed.
        """
        response_id = new_id("resp")
        if not await self._keys.replace_response(self._claim, response_id):
            return False
        self.response_id = response_id
        return True


_promise: ContextVar[Promise | None] = ContextVar("promise", default=None)


def current_promise() -> Promise | None:
    """The promise of the request at hand, if it has a key."""
    return _promise.get()


@contextmanager
def _promised(promise: Promise) -> Iterator[None]:
    token = _promise.set(promise)
    try:
        # A second attempt makes the rows of the first, not more of them.
        with repeatable_ids(promise.response_id):
            yield
    finally:
        _promise.reset(token)


# --- the request ------------------------------------------------------------------------------


class _Body:
    """A request's body, read once, to be read again."""

    def __init__(self) -> None:
        self._spooled = SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - see close
        self._n_bytes = 0

    async def read_from(self, receive: Receive, digest: hashlib.blake2b) -> bool:
        """Take it all. False: the client left first."""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            chunk = message.get("body", b"")
            digest.update(chunk)
            self._spooled.write(chunk)
            self._n_bytes += len(chunk)
            if not message.get("more_body", False):
                self._spooled.seek(0)
                return True

    def asks_for_stream(self) -> bool:
        """Whether it is JSON that says so."""
        try:
            parsed = orjson.loads(self._spooled.read())
        except orjson.JSONDecodeError:
            return False
        finally:
            self._spooled.seek(0)
        return isinstance(parsed, dict) and parsed.get("stream") is True

    async def receive(self) -> Message:
        """The body again, in pieces; then nothing more, not even that the client left."""
        if self._spooled.closed:
            await asyncio.Event().wait()
        chunk = self._spooled.read(_CHUNK_BYTES)
        self._n_bytes -= len(chunk)
        if self._n_bytes <= 0:
            self._spooled.close()
        return {"type": "http.request", "body": chunk, "more_body": self._n_bytes > 0}

    def close(self) -> None:
        """Give the space back. May be called again."""
        self._spooled.close()


def _key_of(scope: Scope) -> str | None:
    """Raises ``InvalidRequest`` for one that cannot be a key."""
    found = {value for name, value in scope["headers"] if name == HEADER}
    if not found:
        return None
    key: str = found.pop().decode("latin-1")
    is_printable = all("\x20" <= character <= "\x7e" for character in key)
    if found or not key.strip() or len(key) > _MAX_KEY_LENGTH or not is_printable:
        raise InvalidRequest(
            f"Idempotency-Key must be one value of 1 to {_MAX_KEY_LENGTH} printable ASCII "
            "characters",
            param="Idempotency-Key",
        )
    return key


def _fingerprint(scope: Scope) -> hashlib.blake2b:
    digest = hashlib.blake2b(digest_size=32)
    for part in (scope["method"].encode(), scope["path"].encode(), scope["query_string"]):
        digest.update(part + b"\n")
    return digest


# --- the reply --------------------------------------------------------------------------------


class _Recorder:
    """Passes a reply on and keeps a copy; the last piece goes out when the copy is saved."""

    def __init__(self, send: Send, keys: IdempotencyKeys, claim: KeyClaim, path: str) -> None:
        self._send = send
        self._keys = keys
        self._claim = claim
        self._path = path
        self._status = 0
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._n_bytes = 0
        self._keeps_body = True
        self._is_broken = False
        self.is_settled = False

    async def send(self, message: Message) -> None:
        """ASGI ``send``."""
        if message["type"] == "http.response.start":
            self._begin(message)
        elif message["type"] == "http.response.body":
            self._take(message)
            if not message.get("more_body", False):
                await self._settle()
        await self._send(message)

    def _begin(self, message: Message) -> None:
        self._status = message["status"]
        for name, value in message["headers"]:
            if name in _KEPT_HEADERS:
                self._headers[name.decode()] = value.decode("latin-1")
            if name == b"set-cookie" or (name == b"cache-control" and b"no-store" in value):
                # A secret, shown once.
                self._keeps_body = False

    def _take(self, message: Message) -> None:
        self._is_broken = self._is_broken or BROKEN in message
        piece = message.get("body", b"")
        self._n_bytes += len(piece)
        if self._n_bytes > _MAX_SAVED_BYTES:
            self._keeps_body = False
        if self._keeps_body:
            self._pieces.append(piece)
        else:
            self._pieces.clear()

    async def _settle(self) -> None:
        try:
            if self._status == 429:
                # Refused before anything was done; thousands of these must leave nothing.
                await self._keys.forget(self._claim)
            elif self._status >= 500 or self._is_broken:
                await self._keys.let_go(self._claim)
            elif self._n_bytes > _MAX_SAVED_BYTES and self._path not in _ANSWERING:
                # Too large to keep, and only reads are: the next one may ask again.
                await self._keys.forget(self._claim)
            else:
                body = b"".join(self._pieces) if self._keeps_body else None
                reply = SavedReply(status=self._status, headers=self._headers, body=body)
                await self._keys.save(self._claim, reply)
            self.is_settled = True
        except PolymodalError as error:
            # What was made is found by its id all the same.
            _log.warning("reply not saved", extra={"code": error.code})


async def _replay(reply: SavedReply, body: bytes, send: Send) -> None:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
    length = (b"content-length", b"%d" % len(body))
    await send(
        {
            "type": "http.response.start",
            "status": reply.status,
            "headers": [*headers, length, (REPLAYED, b"true")],
        }
    )
    await send({"type": "http.response.body", "body": body})


# --- the middleware ---------------------------------------------------------------------------


class _Attempt:
    """One request with a key, read to its end."""

    def __init__(
        self, ports: IngressPorts, caller: Caller, key: str, fingerprint: bytes, body: _Body
    ) -> None:
        self.ports = ports
        self.caller = caller
        self.body = body
        self.claim = KeyClaim(owner_id=caller.user_id, key=key, claim_id=new_id("claim"))
        self._fingerprint = fingerprint

    @property
    def keys(self) -> IdempotencyKeys:
        return self.ports.idempotency_keys

    async def claimed(
        self, *, wait_s: float, may_join: bool
    ) -> tuple[KeyState, ResponseRecord | None]:
        """The key, once it is ours or its reply is there, or with a response whose stream to join.

        Raises ``IdempotencyKeyReused``; ``Conflict`` when the first one is still at it.
        """
        deadline_s = time.monotonic() + wait_s
        look_s = _FIRST_LOOK_S
        joins: bool | None = None if may_join else False
        while True:
            state = await self.keys.claim(
                self.claim, fingerprint=self._fingerprint, response_id=new_id("resp")
            )
            if state.fingerprint != self._fingerprint:
                raise IdempotencyKeyReused(
                    "this Idempotency-Key came with another request before; path, query and body "
                    "must be the same byte for byte",
                    param="Idempotency-Key",
                )
            if state.is_mine or state.reply is not None:
                return state, None
            joins = self.body.asks_for_stream() if joins is None else joins
            begun = await self._begun(state.response_id) if joins else None
            if begun is not None:
                return state, begun
            if time.monotonic() > deadline_s:
                raise Conflict(
                    "the first request with this Idempotency-Key is still being carried out",
                    retry_after_s=_RETRY_AFTER_S,
                )
            await asyncio.sleep(look_s)
            look_s = min(2 * look_s, _LAST_LOOK_S)

    async def _begun(self, response_id: str) -> ResponseRecord | None:
        try:
            return await self.ports.responses.get(self.caller, response_id)
        except NotFound:
            return None


class Idempotency:
    """Carries a POST that has a key out once. Everything else passes."""

    def __init__(self, app: ASGIApp, *, state_of: Starlette, wait_s: float = _WAIT_S) -> None:
        """``state_of``: the application whose lifespan opens the ports.

        ``wait_s``: how long a second request waits for the first one's reply.
        """
        self._app = app
        self._state = state_of.state
        self._wait_s = wait_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        has_key = any(name == HEADER for name, _ in scope["headers"])
        ports: IngressPorts | None = self._state.ports if has_key else None
        caller = await self._caller(scope, ports) if ports else None
        if ports is None or caller is None:
            # Who is nobody is told so by the route.
            await self._app(scope, receive, send)
            return
        key = _key_of(scope) or ""
        with closing(_Body()) as body:
            digest = _fingerprint(scope)
            if await body.read_from(receive, digest):
                attempt = _Attempt(ports, caller, key, digest.digest(), body)
                await self._once(scope, send, attempt)

    @staticmethod
    async def _caller(scope: Scope, ports: IngressPorts) -> Caller | None:
        try:
            return await identify(Request(scope), ports)
        except PolymodalError as refused:
            if refused.status >= 500:
                raise
            return None

    async def _once(self, scope: Scope, send: Send, attempt: _Attempt) -> None:
        is_answering = scope["path"] in _ANSWERING
        state, joined = await attempt.claimed(wait_s=self._wait_s, may_join=is_answering)
        if state.is_mine:
            await self._carry_out(scope, send, attempt, state)
        elif state.reply is not None and state.reply.body is not None:
            await count_request(scope, attempt.ports, attempt.caller)
            await _replay(state.reply, state.reply.body, send)
        elif is_answering:
            with _promised(Promise(attempt.keys, attempt.claim, state, joined=joined)):
                await self._app(scope, attempt.body.receive, send)
        else:
            raise Conflict(
                "this request was carried out before; its reply is not kept, because it held a "
                "secret that is shown once"
            )

    async def _carry_out(
        self, scope: Scope, send: Send, attempt: _Attempt, state: KeyState
    ) -> None:
        keys, claim = attempt.keys, attempt.claim
        recorder = _Recorder(send, keys, claim, scope["path"])
        try:
            async with _extended(keys, claim):
                with _promised(Promise(keys, claim, state)):
                    send_on_behind(scope, recorder.send)
                    await self._app(scope, attempt.body.receive, recorder.send)
        except Exception:
            if not recorder.is_settled:
                await _let_go(keys, claim)
            raise


@asynccontextmanager
async def _extended(keys: IdempotencyKeys, claim: KeyClaim) -> AsyncIterator[None]:
    """Hold the claim inside the block."""

    async def extend() -> None:
        while True:
            await asyncio.sleep(keys.lease_s / 3)
            try:
                await keys.extend(claim)
            except PolymodalError as error:
                _log.warning("claim not extended", extra={"code": error.code})

    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(extend())
            try:
                yield
            finally:
                task.cancel()
    except* Exception as failed:  # noqa: BLE001 - unwrapped, not caught
        raise failed.exceptions[0] from None


async def _let_go(keys: IdempotencyKeys, claim: KeyClaim) -> None:
    try:
        await keys.let_go(claim)
    except PolymodalError as error:
        _log.warning("claim not let go", extra={"code": error.code})
