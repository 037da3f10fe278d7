from __future__ import annotations

import asyncio

import asyncpg
import pytest

from serve.auth.passwords import Argon2Passwords
from serve.auth.tokens import RandomSecrets
from serve.domain.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound
from serve.domain.ids import repeatable_ids
from serve.domain.ports import Accounts
from serve.domain.records import Caller, Scope, User
from serve.storage.postgres.accounts import PostgresAccounts
from serve.storage.postgres.pool import Database

PASSWORD = "correct horse battery"
READ = frozenset({Scope.READ})


async def user_named(
    accounts: Accounts,
    email: str = "ada@example.org",
    password: str | None = PASSWORD,
    *,
    is_admin: bool = False,
) -> User:
    return await accounts.create_user(email=email, name="Ada", password=password, is_admin=is_admin)


def caller_of(user: User) -> Caller:
    return Caller(user_id=user.id, scopes=frozenset(Scope))


async def test_the_adapter_is_an_accounts_port(accounts: PostgresAccounts) -> None:
    port: Accounts = accounts
    assert await port.first_admin() is None


async def test_an_account_is_found_however_its_address_is_spelt(accounts: Accounts) -> None:
    user = await user_named(accounts, " Ada@Example.ORG ")
    assert user.email == "ada@example.org"
    assert await accounts.find_user("ADA@example.org") == user
    assert await accounts.get_user(user.id) == user
    assert await accounts.find_user("eve@example.org") is None


async def test_an_address_has_one_account(accounts: Accounts) -> None:
    await user_named(accounts)
    with pytest.raises(Conflict) as refused:
        await user_named(accounts, "ADA@example.org")
    assert refused.value.param == "email"


@pytest.mark.parametrize("address", ["", "ada", "@example.org", "ada@", "a da@example.org"])
async def test_what_is_no_address_is_refused(accounts: Accounts, address: str) -> None:
    with pytest.raises(InvalidRequest):
        await user_named(accounts, address)


async def test_a_poor_password_makes_no_account(accounts: Accounts) -> None:
    with pytest.raises(InvalidRequest):
        await user_named(accounts, password="short")
    assert await accounts.find_user("ada@example.org") is None


async def test_the_first_admin_is_the_oldest(accounts: Accounts) -> None:
    await user_named(accounts)
    first = await user_named(accounts, "boss@example.org", is_admin=True)
    await user_named(accounts, "vice@example.org", is_admin=True)
    assert await accounts.first_admin() == first


async def test_unknown_users_are_not_found(accounts: Accounts) -> None:
    ghost = User(
        id="user_ghost",
        email="g@example.org",
        name="",
        is_admin=False,
        created_at=(await user_named(accounts)).created_at,
    )
    with pytest.raises(NotFound):
        await accounts.get_user(ghost.id)
    with pytest.raises(NotFound):
        await accounts.has_password(ghost.id)
    with pytest.raises(NotFound):
        await accounts.set_password(user_id=ghost.id, password=PASSWORD)
    with pytest.raises(NotFound):
        await accounts.create_setup_link(user_id=ghost.id, ttl_s=60)
    with pytest.raises(NotFound):
        await accounts.start_session(user=ghost, ttl_s=60)
    with pytest.raises(NotFound):
        await accounts.create_key(owner_id=ghost.id, name="", scopes=READ, ttl_s=None)


# --- passwords --------------------------------------------------------------------------------


async def test_the_right_password_proves_who_it_is(accounts: Accounts) -> None:
    user = await user_named(accounts)
    assert await accounts.verify_password(email="Ada@example.org", password=PASSWORD) == user


async def test_wrong_password_unknown_address_and_no_password_look_the_same(
    accounts: Accounts,
) -> None:
    await user_named(accounts)
    await user_named(accounts, "new@example.org", None)
    messages = set()
    for email, password in (
        ("ada@example.org", "wrong horse battery"),
        ("nobody@example.org", PASSWORD),
        ("new@example.org", PASSWORD),
        ("new@example.org", ""),
        ("ada@example.org\x00", PASSWORD),
        ("\ud800", PASSWORD),
    ):
        with pytest.raises(NotAuthenticated) as refused:
            await accounts.verify_password(email=email, password=password)
        messages.add(refused.value.message)
    assert len(messages) == 1


async def test_an_unknown_address_costs_a_hash_too(database: Database) -> None:
    asked: list[str | None] = []

    class Watched(Argon2Passwords):
        async def verify(self, password: str, kept: str | None) -> bool:
            asked.append(kept)
            return await super().verify(password, kept)

    watched = PostgresAccounts(
        database,
        passwords=Watched(time_cost=1, memory_kib=1024, parallelism=1),
        secrets=RandomSecrets(),
    )
    with pytest.raises(NotAuthenticated):
        await watched.verify_password(email="nobody@example.org", password=PASSWORD)
    assert asked == [None]


async def test_signing_in_renews_a_hash_with_old_parameters(
    accounts: Accounts, database: Database
) -> None:
    user = await user_named(accounts)
    stricter = PostgresAccounts(
        database,
        passwords=Argon2Passwords(time_cost=2, memory_kib=1024, parallelism=1),
        secrets=RandomSecrets(),
    )

    async def kept() -> str:
        row = await database.row("SELECT password_hash FROM users WHERE id = $1", user.id)
        assert row is not None
        return str(row[0])

    assert "t=1" in await kept()
    await stricter.verify_password(email=user.email, password=PASSWORD)
    assert "t=2" in await kept()
    await stricter.verify_password(email=user.email, password=PASSWORD)


async def test_a_new_password_ends_sessions_links_and_the_old_password(
    accounts: Accounts,
) -> None:
    user = await user_named(accounts)
    secret, _ = await accounts.start_session(user=user, ttl_s=60)
    link = await accounts.create_setup_link(user_id=user.id, ttl_s=60)
    await accounts.set_password(user_id=user.id, password="another good one")
    with pytest.raises(NotAuthenticated):
        await accounts.session(secret)
    with pytest.raises(NotAuthenticated):
        await accounts.redeem_setup_link(token=link, password=PASSWORD)
    with pytest.raises(NotAuthenticated):
        await accounts.verify_password(email=user.email, password=PASSWORD)
    assert await accounts.verify_password(email=user.email, password="another good one") == user


# --- setup links ------------------------------------------------------------------------------


async def test_a_setup_link_works_once(accounts: Accounts) -> None:
    user = await user_named(accounts, password=None)
    assert not await accounts.has_password(user.id)
    token = await accounts.create_setup_link(user_id=user.id, ttl_s=60)
    assert await accounts.redeem_setup_link(token=token, password=PASSWORD) == user
    assert await accounts.has_password(user.id)
    assert await accounts.verify_password(email=user.email, password=PASSWORD) == user
    with pytest.raises(NotAuthenticated):
        await accounts.redeem_setup_link(token=token, password="another good one")
    assert await accounts.verify_password(email=user.email, password=PASSWORD) == user


async def test_of_two_who_redeem_at_once_one_wins(accounts: Accounts) -> None:
    user = await user_named(accounts, password=None)
    token = await accounts.create_setup_link(user_id=user.id, ttl_s=60)
    outcomes = await asyncio.gather(
        *(accounts.redeem_setup_link(token=token, password=PASSWORD) for _ in range(4)),
        return_exceptions=True,
    )
    assert outcomes.count(user) == 1
    assert sum(isinstance(outcome, NotAuthenticated) for outcome in outcomes) == 3


async def test_a_poor_password_leaves_the_link(accounts: Accounts) -> None:
    user = await user_named(accounts, password=None)
    token = await accounts.create_setup_link(user_id=user.id, ttl_s=60)
    with pytest.raises(InvalidRequest):
        await accounts.redeem_setup_link(token=token, password="short")
    assert await accounts.redeem_setup_link(token=token, password=PASSWORD) == user


async def test_an_expired_or_replaced_or_foreign_link_is_refused(accounts: Accounts) -> None:
    user = await user_named(accounts, password=None)
    replaced = await accounts.create_setup_link(user_id=user.id, ttl_s=60)
    expired = await accounts.create_setup_link(user_id=user.id, ttl_s=0)
    for token in (replaced, expired, "pml-guess", ""):
        with pytest.raises(NotAuthenticated):
            await accounts.redeem_setup_link(token=token, password=PASSWORD)


# --- sessions ---------------------------------------------------------------------------------


async def test_a_session_is_known_by_its_secret(accounts: Accounts) -> None:
    user = await user_named(accounts)
    secret, session = await accounts.start_session(user=user, ttl_s=60)
    assert session.user == user
    assert await accounts.session(secret) == session
    assert secret not in repr(session)


async def test_sessions_of_one_person_are_apart(accounts: Accounts) -> None:
    user = await user_named(accounts)
    first_secret, first = await accounts.start_session(user=user, ttl_s=60)
    second_secret, second = await accounts.start_session(user=user, ttl_s=60)
    assert first.csrf_token != second.csrf_token
    await accounts.end_session(first.id)
    await accounts.end_session(first.id)
    with pytest.raises(NotAuthenticated):
        await accounts.session(first_secret)
    assert await accounts.session(second_secret) == second


@pytest.mark.parametrize("wrong", ["", "pms-guess", "\x00", "\ud800", "x" * 10_000])
async def test_unknown_secrets_are_refused(accounts: Accounts, wrong: str) -> None:
    with pytest.raises(NotAuthenticated):
        await accounts.session(wrong)
    with pytest.raises(NotAuthenticated):
        await accounts.authenticate_key(wrong)


async def test_an_expired_session_is_refused(accounts: Accounts) -> None:
    secret, _ = await accounts.start_session(user=await user_named(accounts), ttl_s=0)
    with pytest.raises(NotAuthenticated):
        await accounts.session(secret)


async def test_signing_in_sweeps_expired_sessions(accounts: Accounts, database: Database) -> None:
    user = await user_named(accounts)
    await accounts.start_session(user=user, ttl_s=0)
    await accounts.start_session(user=user, ttl_s=60)
    assert len(await database.rows("SELECT id FROM sessions")) == 1


async def test_no_secret_lies_in_the_database(accounts: Accounts, migrated_dsn: str) -> None:
    user = await user_named(accounts)
    session, _ = await accounts.start_session(user=user, ttl_s=60)
    key, _ = await accounts.create_key(owner_id=user.id, name="k", scopes=READ, ttl_s=None)
    link = await accounts.create_setup_link(user_id=user.id, ttl_s=60)
    connection = await asyncpg.connect(migrated_dsn)
    try:
        kept = await connection.fetchval(
            """SELECT (SELECT string_agg(t::text, '') FROM users t)
                   || (SELECT string_agg(t::text, '') FROM sessions t)
                   || (SELECT string_agg(t::text, '') FROM api_keys t)
                   || (SELECT string_agg(t::text, '') FROM setup_links t)"""
        )
    finally:
        await connection.close()
    assert user.email in kept
    assert not any(secret in kept for secret in (PASSWORD, session, key, link))


# --- keys -------------------------------------------------------------------------------------


async def test_a_key_proves_its_owner_and_scopes(accounts: Accounts) -> None:
    user = await user_named(accounts)
    scopes = frozenset({Scope.GENERATE, Scope.READ})
    secret, key = await accounts.create_key(
        owner_id=user.id, name="laptop", scopes=scopes, ttl_s=3600
    )
    assert key.scopes == scopes
    assert secret.startswith(key.prefix)
    assert len(key.prefix) < 12
    assert key.last_used_at is None
    caller = await accounts.authenticate_key(secret)
    assert caller == Caller(user_id=user.id, scopes=scopes, key_id=key.id)
    (listed,) = await accounts.list_keys(caller)
    assert listed.last_used_at is not None
    await accounts.authenticate_key(secret)
    assert await accounts.list_keys(caller) == (listed,), "use is noted once a minute at most"


async def test_a_key_administers_only_for_an_admin(accounts: Accounts) -> None:
    person = await user_named(accounts)
    boss = await user_named(accounts, "boss@example.org", is_admin=True)
    for user, administers in ((person, False), (boss, True)):
        secret, _ = await accounts.create_key(
            owner_id=user.id, name="", scopes=frozenset(Scope), ttl_s=None
        )
        caller = await accounts.authenticate_key(secret)
        assert (Scope.ADMIN in caller.scopes) is administers


async def test_expired_and_revoked_keys_are_refused(accounts: Accounts) -> None:
    user = await user_named(accounts)
    caller = caller_of(user)
    expired, _ = await accounts.create_key(owner_id=user.id, name="", scopes=READ, ttl_s=0)
    revoked, key = await accounts.create_key(owner_id=user.id, name="", scopes=READ, ttl_s=None)
    await accounts.authenticate_key(revoked)
    await accounts.revoke_key(caller, key.id)
    for secret in (expired, revoked):
        with pytest.raises(NotAuthenticated):
            await accounts.authenticate_key(secret)
    with pytest.raises(NotFound):
        await accounts.revoke_key(caller, key.id)


async def test_keys_of_others_are_neither_seen_nor_revoked(accounts: Accounts) -> None:
    ada, eve = await user_named(accounts), await user_named(accounts, "eve@example.org")
    secret, key = await accounts.create_key(owner_id=ada.id, name="", scopes=READ, ttl_s=None)
    assert await accounts.list_keys(caller_of(eve)) == ()
    with pytest.raises(NotFound):
        await accounts.revoke_key(caller_of(eve), key.id)
    assert (await accounts.authenticate_key(secret)).user_id == ada.id


async def test_keys_are_listed_newest_first(accounts: Accounts) -> None:
    user = await user_named(accounts)
    made = [
        (await accounts.create_key(owner_id=user.id, name=name, scopes=READ, ttl_s=None))[1]
        for name in ("first", "second", "third")
    ]
    assert await accounts.list_keys(caller_of(user)) == tuple(reversed(made))


async def test_a_key_made_again_by_the_same_request_is_one_key(accounts: Accounts) -> None:
    user = await user_named(accounts)

    async def made() -> str:
        with repeatable_ids("seed"):
            secret, _ = await accounts.create_key(
                owner_id=user.id, name="k", scopes=READ, ttl_s=None
            )
        return secret

    lost, secret = await made(), await made()
    caller = await accounts.authenticate_key(secret)
    assert len(await accounts.list_keys(caller)) == 1
    with pytest.raises(NotAuthenticated):
        await accounts.authenticate_key(lost)
