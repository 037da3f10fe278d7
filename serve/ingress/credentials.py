"""Who a secret belongs to, believed from memory for a few seconds.

Asking the database costs more than all else that a small request needs. A revoked credential is
forgotten everywhere at once by a notice; should that be lost, it is believed no longer than
``TTL_S``.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

from serve.domain.errors import StoreUnavailable
from serve.domain.journal import CredentialRevoked
from serve.domain.ports import Accounts, NoticeSender
from serve.domain.records import Caller, Session

_log = logging.getLogger(__name__)

TTL_S: Final = 10.0
_MAX_REMEMBERED: Final = 10_000

Known = TypeVar("Known", Caller, Session)


class Credentials:
    """Callers and sessions by secret, for all requests of one process."""

    def __init__(self, accounts: Accounts, notices: NoticeSender, *, ttl_s: float = TTL_S) -> None:
        self._accounts = accounts
        self._notices = notices
        self._ttl_s = ttl_s
        self._callers: _Memory[Caller] = _Memory()
        self._sessions: _Memory[Session] = _Memory()
        self._n_revoked = 0

    def recall_caller(self, secret: str) -> Caller | None:
        """Whose key this is, if that is remembered."""
        return self._callers.get(_digest(secret))

    async def caller(self, secret: str) -> Caller:
        """Whose API key this is. Raises ``NotAuthenticated``."""
        digest = _digest(secret)
        known = self._callers.get(digest)
        if known is None:
            n_revoked = self._n_revoked
            known = await self._accounts.authenticate_key(secret)
            # What was read before a revocation may be what was revoked.
            if n_revoked == self._n_revoked:
                self._callers.put(digest, known, self._ttl_s)
        return known

    async def session(self, secret: str) -> Session:
        """Whose session cookie this is. Raises ``NotAuthenticated``."""
        digest = _digest(secret)
        known = self._sessions.get(digest)
        if known is None:
            n_revoked = self._n_revoked
            known = await self._accounts.session(secret)
            if n_revoked == self._n_revoked:
                left_s = (known.expires_at - datetime.now(UTC)).total_seconds()
                self._sessions.put(digest, known, min(self._ttl_s, left_s))
        return known

    async def revoked(self, revoked_id: str) -> None:
        """Have every process forget a key, a session, or all sessions of a user, by id."""
        self.forget(revoked_id)
        try:
            # After that long nobody remembers it anyway.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._ttl_s):
                    await self._notices.send(CredentialRevoked(revoked_id))
        except StoreUnavailable as error:
            _log.warning("revocation not told", extra={"code": error.code})

    def forget(self, revoked_id: str) -> None:
        """Believe it no more, here."""
        self._n_revoked += 1
        self._callers.forget([d for d, who in self._callers if who.key_id == revoked_id])
        self._sessions.forget(
            [d for d, who in self._sessions if revoked_id in (who.id, who.user.id)]
        )


class _Memory(Generic[Known]):
    """What is known by digest, each for its time; the oldest goes when there is too much."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[float, Known]] = {}

    def get(self, digest: bytes) -> Known | None:
        found = self._known.get(digest)
        return found[1] if found is not None and time.monotonic() < found[0] else None

    def put(self, digest: bytes, known: Known, ttl_s: float) -> None:
        # Out and in again, so that the order stays that of age.
        self._known.pop(digest, None)
        if len(self._known) >= _MAX_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[digest] = (time.monotonic() + ttl_s, known)

    def forget(self, digests: list[bytes]) -> None:
        for digest in digests:
            del self._known[digest]

    def __iter__(self) -> Iterator[tuple[bytes, Known]]:
        return ((digest, known) for digest, (_, known) in self._known.items())


def _digest(secret: str) -> bytes:
    # A header may hold anything; a wrong secret must be refused, not crash.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
