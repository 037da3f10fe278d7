"""``Accounts`` in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from serve.domain.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound
from serve.domain.ids import new_id
from serve.domain.ports import PasswordHasher, SecretMint
from serve.domain.records import ApiKey, Caller, Scope, Session, User
from serve.storage.postgres.named_queries import load_queries
from serve.storage.postgres.pool import Database, Row

# Enough to recognise a key by; the other 250 bits of the secret stay secret.
_SHOWN_PREFIX_LENGTH: Final = 8


class PostgresAccounts:
    """``domain.ports.Accounts``. How secrets are made and hashed is given to it."""

    def __init__(
        self, database: Database, *, passwords: PasswordHasher, secrets: SecretMint
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._secrets = secrets
        self._sql = load_queries("accounts")

    async def create_user(
        self, *, email: str, name: str, password: str | None, is_admin: bool
    ) -> User:
        """Raises ``Conflict`` when the address has an account, ``InvalidRequest`` if it is none."""
        address = _normalised(email)
        local, _, domain = address.partition("@")
        if not local or not domain or " " in address:
            raise InvalidRequest("that is not an e-mail address", param="email")
        password_hash = None if password is None else await self._passwords.hash(password)
        row = await self._database.row(
            self._sql["insert_user"], new_id("user"), address, name, password_hash, is_admin
        )
        if row is None:
            raise Conflict("there is an account with this e-mail address", param="email")
        return _user(row)

    async def verify_password(self, *, email: str, password: str) -> User:
        """Raises ``NotAuthenticated``; takes as long for an unknown address as for a known one."""
        row = await self._database.row(self._sql["user_by_email"], _normalised(email))
        kept: str | None = row["password_hash"] if row else None
        matches = await self._passwords.verify(password, kept)
        if row is None or kept is None or not matches:
            raise NotAuthenticated("wrong e-mail address or password")
        if self._passwords.is_outdated(kept):
            fresh = await self._passwords.hash(password)
            await self._database.row(self._sql["replace_password_hash"], row["id"], kept, fresh)
        return _user(row)

    async def set_password(self, *, user_id: str, password: str) -> None:
        """Also ends the person's sessions and setup links. Raises ``NotFound``."""
        password_hash = await self._passwords.hash(password)
        _present(await self._database.row(self._sql["set_password"], user_id, password_hash))

    async def has_password(self, user_id: str) -> bool:
        """Whether the person can sign in. Raises ``NotFound``."""
        row = _present(await self._database.row(self._sql["has_password"], user_id))
        return bool(row["has_password"])

    async def get_user(self, user_id: str) -> User:
        """Raises ``NotFound``."""
        return _user(_present(await self._database.row(self._sql["user_by_id"], user_id)))

    async def first_admin(self) -> User | None:
        """The oldest account that may administer."""
        row = await self._database.row(self._sql["first_admin"])
        return _user(row) if row else None

    async def find_user(self, email: str) -> User | None:
        """The account of an address, however it is spelt."""
        row = await self._database.row(self._sql["user_by_email"], _normalised(email))
        return _user(row) if row else None

    async def create_setup_link(self, *, user_id: str, ttl_s: int) -> str:
        """A one-time token to choose a password with; earlier ones end. Raises ``NotFound``."""
        token = self._secrets.new_setup_token()
        digest = self._secrets.digest(token)
        with _missing_user():
            async with self._database.transaction() as connection:
                await connection.execute(self._sql["forget_setup_links"], user_id)
                await connection.execute(self._sql["insert_setup_link"], digest, user_id, ttl_s)
        return token

    async def redeem_setup_link(self, *, token: str, password: str) -> User:
        """Raises ``NotAuthenticated``, or ``InvalidRequest`` for a poor password.

        A refused password leaves the link as it was.
        """
        digest = self._secrets.digest(token)
        refusal = NotAuthenticated("this link was used or has expired; ask for another")
        still_open = await self._database.row(self._sql["setup_link_is_open"], digest)
        if still_open is None or not still_open[0]:
            raise refusal
        password_hash = await self._passwords.hash(password)
        async with self._database.transaction() as connection:
            taken = await connection.fetchrow(self._sql["take_setup_link"], digest)
            if taken is None:
                raise refusal
            return _user(
                _present(
                    await connection.fetchrow(
                        self._sql["set_password"], taken["user_id"], password_hash
                    )
                )
            )

    async def start_session(self, *, user: User, ttl_s: int) -> tuple[str, Session]:
        """The cookie's secret and the session. Raises ``NotFound``."""
        secret = self._secrets.new_session_secret()
        session_id = new_id("sess")
        with _missing_user():
            async with self._database.transaction() as connection:
                await connection.execute(self._sql["forget_expired_sessions"], user.id)
                expires_at = await connection.fetchval(
                    self._sql["insert_session"],
                    session_id,
                    self._secrets.digest(secret),
                    user.id,
                    ttl_s,
                )
        return secret, Session(
            id=session_id,
            user=user,
            csrf_token=self._secrets.csrf_token(secret),
            expires_at=expires_at,
        )

    async def session(self, secret: str) -> Session:
        """Raises ``NotAuthenticated`` when unknown or expired."""
        row = await self._database.row(self._sql["session_by_digest"], self._secrets.digest(secret))
        if row is None:
            raise NotAuthenticated("the session has ended; sign in again")
        return Session(
            id=row["session_id"],
            user=_user(row),
            csrf_token=self._secrets.csrf_token(secret),
            expires_at=row["expires_at"],
        )

    async def end_session(self, session_id: str) -> None:
        """Ending an ended session is fine."""
        await self._database.row(self._sql["delete_session"], session_id)

    async def create_key(
        self, *, owner_id: str, name: str, scopes: frozenset[Scope], ttl_s: int | None
    ) -> tuple[str, ApiKey]:
        """The secret, shown once, and the key. Raises ``NotFound`` for an unknown owner."""
        secret = self._secrets.new_api_key()
        with _missing_user():
            row = await self._database.row(
                self._sql["insert_key"],
                new_id("key"),
                self._secrets.digest(secret),
                owner_id,
                name,
                secret[:_SHOWN_PREFIX_LENGTH],
                sorted(scopes),
                ttl_s,
            )
        return secret, _key(_present(row))

    async def authenticate_key(self, secret: str) -> Caller:
        """Raises ``NotAuthenticated`` when unknown, revoked or expired."""
        row = await self._database.row(self._sql["use_key"], self._secrets.digest(secret))
        if row is None:
            raise NotAuthenticated("this API key is unknown, revoked or expired")
        scopes = frozenset(map(Scope, row["scopes"]))
        # A key outlives the rank of the person who made it.
        allowed = scopes if row["is_admin"] else scopes - {Scope.ADMIN}
        return Caller(user_id=row["owner_id"], scopes=allowed, key_id=row["id"])

    async def list_keys(self, caller: Caller) -> tuple[ApiKey, ...]:
        """Newest first, expired ones included."""
        rows = await self._database.rows(self._sql["keys_of_owner"], caller.user_id)
        return tuple(map(_key, rows))

    async def revoke_key(self, caller: Caller, key_id: str) -> None:
        """Raises ``NotFound``."""
        if await self._database.row(self._sql["delete_key"], caller.user_id, key_id) is None:
            raise NotFound("no such key")


@contextmanager
def _missing_user() -> Iterator[None]:
    try:
        yield
    except asyncpg.ForeignKeyViolationError as exc:
        raise NotFound("no such user") from exc


def _present(row: Row | None) -> Row:
    if row is None:
        raise NotFound("no such user")
    return row


def _normalised(email: str) -> str:
    return email.strip().lower()


def _user(row: Row) -> User:
    return User(
        id=row["id"],
        email=row["email"],
        name=row["name"],
        is_admin=row["is_admin"],
        created_at=row["created_at"],
    )


def _key(row: Row) -> ApiKey:
    return ApiKey(
        id=row["id"],
        owner_id=row["owner_id"],
        name=row["name"],
        prefix=row["prefix"],
        scopes=frozenset(map(Scope, row["scopes"])),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
    )
