"""Passwords, hashed with argon2id."""

from __future__ import annotations

import asyncio
from typing import Final

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from serve.domain.errors import InvalidRequest

MIN_LENGTH: Final = 10
# Hashing reads every character; nobody types more.
MAX_LENGTH: Final = 1024
# One hash takes 64 MiB and a core; more at once would let a flood of sign-ins take the machine.
_MAX_AT_ONCE: Final = 2


class Argon2Passwords:
    """``domain.ports.PasswordHasher``. The defaults are RFC 9106's second recommendation."""

    def __init__(
        self, *, time_cost: int = 3, memory_kib: int = 65_536, parallelism: int = 4
    ) -> None:
        self._hasher = PasswordHasher(
            time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism, type=Type.ID
        )
        self._gate = asyncio.Semaphore(_MAX_AT_ONCE)
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """A salted hash with its parameters. Raises ``InvalidRequest`` for a poor password."""
        if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
            raise InvalidRequest(
                f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters",
                param="password",
                limit=MIN_LENGTH,
            )
        async with self._gate:
            return await asyncio.to_thread(self._hasher.hash, _encoded(password))

    async def verify(self, password: str, kept: str | None) -> bool:
        """Whether ``kept`` came from ``password``; False, as slowly, when nothing is kept."""
        async with self._gate:
            matches = await asyncio.to_thread(self._matches, password[:MAX_LENGTH], kept)
        return matches and kept is not None and len(password) <= MAX_LENGTH

    def is_outdated(self, kept: str) -> bool:
        """Whether the parameters behind ``kept`` are no longer ours."""
        return self._hasher.check_needs_rehash(kept)

    def _matches(self, password: str, kept: str | None) -> bool:
        if self._nobodys is None:
            # Made by the first verification of all, known address or not.
            self._nobodys = self._hasher.hash("nobody has this password")
        try:
            return self._hasher.verify(kept or self._nobodys, _encoded(password))
        except (VerificationError, InvalidHashError):
            return False


def _encoded(password: str) -> bytes:
    # JSON lets half a surrogate pair in, which strict UTF-8 would not.
    return password.encode("utf-8", "surrogatepass")
