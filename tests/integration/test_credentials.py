"""Callers remembered by several processes, and forgotten by all of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from graphs.online.peers import Peers
from serve.domain.errors import NotAuthenticated, StoreUnavailable
from serve.domain.journal import Notice
from serve.domain.records import Caller, Scope, Session
from serve.ingress import credentials as module
from serve.ingress.credentials import Credentials
from serve.observability.processes import this_process
from serve.storage.postgres.accounts import PostgresAccounts
from tests.fixtures.scripted import open_bus

_READ = frozenset({Scope.READ})


@dataclass
class _Process:
    """One ingress process' memory, and the last id that it was told to forget."""

    credentials: Credentials
    told: asyncio.Queue[str]


@asynccontextmanager
async def _process(accounts: PostgresAccounts, redis_url: str) -> AsyncIterator[_Process]:
    async with open_bus(redis_url) as bus:
        credentials = Credentials(accounts, bus.notices)
        peers = Peers(bus.notices, this_process("ingress"))
        told: asyncio.Queue[str] = asyncio.Queue()
        peers.on_revoked(credentials.forget)
        peers.on_revoked(told.put_nowait)
        async with peers.met():
            yield _Process(credentials, told)


async def _until_told(process: _Process, revoked_id: str) -> None:
    while await process.told.get() != revoked_id:
        pass


class _NobodyToTell:
    async def send(self, notice: Notice) -> None:
        raise StoreUnavailable(f"{notice} is lost")


async def test_a_known_key_costs_no_question(accounts: PostgresAccounts, ada: Caller) -> None:
    secret, key = await accounts.create_key(owner_id=ada.user_id, name="", scopes=_READ, ttl_s=None)
    credentials = Credentials(accounts, _NobodyToTell())
    assert credentials.recall_caller(secret) is None
    caller = await credentials.caller(secret)
    assert caller == Caller(user_id=ada.user_id, scopes=_READ, key_id=key.id)
    await accounts.revoke_key(ada, key.id)
    # Nobody told this process: it believes on, for its few seconds.
    assert await credentials.caller(secret) == caller == credentials.recall_caller(secret)


async def test_a_memory_fades(accounts: PostgresAccounts, ada: Caller) -> None:
    secret, key = await accounts.create_key(owner_id=ada.user_id, name="", scopes=_READ, ttl_s=None)
    credentials = Credentials(accounts, _NobodyToTell(), ttl_s=0.0)
    await credentials.caller(secret)
    await accounts.revoke_key(ada, key.id)
    with pytest.raises(NotAuthenticated):
        await credentials.caller(secret)


async def test_a_revoked_key_is_forgotten_by_every_process(
    accounts: PostgresAccounts, ada: Caller, redis_url: str
) -> None:
    secret, key = await accounts.create_key(owner_id=ada.user_id, name="", scopes=_READ, ttl_s=None)
    other_secret, _ = await accounts.create_key(
        owner_id=ada.user_id, name="", scopes=_READ, ttl_s=None
    )
    async with _process(accounts, redis_url) as here, _process(accounts, redis_url) as there:
        for process in (here, there):
            await process.credentials.caller(secret)
            await process.credentials.caller(other_secret)
        await accounts.revoke_key(ada, key.id)
        await here.credentials.revoked(key.id)
        await _until_told(there, key.id)
        for process in (here, there):
            with pytest.raises(NotAuthenticated):
                await process.credentials.caller(secret)
            assert process.credentials.recall_caller(other_secret) is not None


@pytest.mark.parametrize("whole_person", [False, True])
async def test_ended_sessions_are_forgotten_by_every_process(
    accounts: PostgresAccounts, ada: Caller, redis_url: str, *, whole_person: bool
) -> None:
    user = await accounts.get_user(ada.user_id)
    secret, session = await accounts.start_session(user=user, ttl_s=60)
    async with _process(accounts, redis_url) as here, _process(accounts, redis_url) as there:
        for process in (here, there):
            assert await process.credentials.session(secret) == session
        await accounts.end_session(session.id)
        revoked_id = user.id if whole_person else session.id
        await here.credentials.revoked(revoked_id)
        await _until_told(there, revoked_id)
        for process in (here, there):
            with pytest.raises(NotAuthenticated):
                await process.credentials.session(secret)


async def test_what_was_read_before_a_revocation_is_not_remembered(
    accounts: PostgresAccounts, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, key = await accounts.create_key(owner_id=ada.user_id, name="", scopes=_READ, ttl_s=None)
    credentials = Credentials(accounts, _NobodyToTell())
    read = accounts.authenticate_key

    async def overtaken(secret: str) -> Caller:
        caller = await read(secret)
        await accounts.revoke_key(ada, key.id)
        await credentials.revoked(key.id)
        return caller

    monkeypatch.setattr(accounts, "authenticate_key", overtaken)
    await credentials.caller(secret)
    assert credentials.recall_caller(secret) is None


async def test_an_expired_session_is_not_believed_from_memory(
    accounts: PostgresAccounts, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await accounts.get_user(ada.user_id)
    secret, session = await accounts.start_session(user=user, ttl_s=60)
    n_asked = 0

    async def about_to_expire(_secret: str) -> Session:
        nonlocal n_asked
        n_asked += 1
        return Session(
            id=session.id, user=user, csrf_token=session.csrf_token, expires_at=user.created_at
        )

    monkeypatch.setattr(accounts, "session", about_to_expire)
    credentials = Credentials(accounts, _NobodyToTell())
    await credentials.session(secret)
    await credentials.session(secret)
    assert n_asked == 2


async def test_the_oldest_are_forgotten_when_there_are_too_many(
    accounts: PostgresAccounts, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_REMEMBERED", 2)
    credentials = Credentials(accounts, _NobodyToTell())
    secrets = [
        (await accounts.create_key(owner_id=ada.user_id, name="", scopes=_READ, ttl_s=None))[0]
        for _ in range(3)
    ]
    for secret in secrets:
        await credentials.caller(secret)
    remembered = [credentials.recall_caller(secret) is not None for secret in secrets]
    assert remembered == [False, True, True]
