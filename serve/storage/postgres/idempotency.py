"""``IdempotencyKeys`` in PostgreSQL."""

from __future__ import annotations

import time
from typing import Final

import asyncpg

from serve.domain.errors import Conflict, NotAuthenticated
from serve.domain.idempotency import KeyClaim, KeyState, SavedReply
from serve.storage.postgres.named_queries import load_queries
from serve.storage.postgres.pool import Database, Row

# The longest time for which two attempts at one request can be kept apart by the lease alone.
_LEASE_S: Final = 15.0
_KEEP_S: Final = 86_400.0
_SWEEP_PERIOD_S: Final = 60.0


class PostgresIdempotencyKeys:
    """``domain.ports.IdempotencyKeys``."""

    def __init__(
        self, database: Database, *, lease_s: float = _LEASE_S, keep_s: float = _KEEP_S
    ) -> None:
        self._database = database
        self._lease_s = lease_s
        self._keep_s = keep_s
        self._sql = load_queries("idempotency")
        self._next_sweep_s = 0.0

    @property
    def lease_s(self) -> float:
        """How long a claim holds without being extended."""
        return self._lease_s

    async def claim(self, claim: KeyClaim, *, fingerprint: bytes, response_id: str) -> KeyState:
        """See ``IdempotencyKeys``."""
        await self._sweep()
        row: Row | None = None
        try:
            while row is None:
                row = await self._database.row(
                    self._sql["claim_key"],
                    claim.owner_id,
                    claim.key,
                    fingerprint,
                    claim.claim_id,
                    response_id,
                    self._lease_s,
                    self._keep_s,
                )
        except asyncpg.ForeignKeyViolationError as exc:
            raise NotAuthenticated("this account is no more") from exc
        return KeyState(
            fingerprint=row["fingerprint"],
            response_id=row["response_id"],
            is_mine=row["is_mine"],
            is_first=row["is_first"],
            reply=_reply(row),
        )

    async def extend(self, claim: KeyClaim) -> bool:
        """See ``IdempotencyKeys``."""
        return await self._changed("extend_lease", claim, self._lease_s)

    async def replace_response(self, claim: KeyClaim, response_id: str) -> bool:
        """See ``IdempotencyKeys``."""
        async with self._database.transaction() as connection:
            abandoned = await connection.fetchval(
                self._sql["hold_key"], claim.owner_id, claim.key, claim.claim_id
            )
            if abandoned is None:
                raise Conflict("another attempt at the same request has taken over")
            if await connection.fetchval(self._sql["response_stands"], abandoned):
                return False
            await connection.execute(self._sql["retire_response_id"], abandoned, self._keep_s)
            await connection.execute(
                self._sql["replace_response_id"], claim.owner_id, claim.key, response_id
            )
        return True

    async def save(self, claim: KeyClaim, reply: SavedReply) -> bool:
        """See ``IdempotencyKeys``."""
        return await self._changed(
            "save_reply", claim, reply.status, reply.headers, reply.body, self._keep_s
        )

    async def let_go(self, claim: KeyClaim) -> None:
        """See ``IdempotencyKeys``."""
        await self._changed("let_go", claim)

    async def forget(self, claim: KeyClaim) -> None:
        """See ``IdempotencyKeys``."""
        await self._changed("forget_key", claim)

    async def _changed(self, query: str, claim: KeyClaim, *arguments: object) -> bool:
        row = await self._database.row(
            self._sql[query], claim.owner_id, claim.key, claim.claim_id, *arguments
        )
        return row is not None

    async def _sweep(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_sweep_s:
            self._next_sweep_s = now_s + _SWEEP_PERIOD_S
            await self._database.row(self._sql["forget_expired"])


def _reply(row: Row) -> SavedReply | None:
    if row["status"] is None:
        return None
    return SavedReply(status=row["status"], headers=row["headers"], body=row["body"])
