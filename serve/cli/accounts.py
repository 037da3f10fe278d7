"""``polymodal users`` and ``polymodal keys``: set-up without a browser."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from serve.auth.passwords import Argon2Passwords
from serve.auth.tokens import RandomSecrets
from serve.config.settings import Settings
from serve.domain.errors import InvalidRequest, NotFound
from serve.domain.ports import Accounts
from serve.domain.records import Scope, User
from serve.embedded.stores import reachable_postgres
from serve.storage.postgres.accounts import PostgresAccounts
from serve.storage.postgres.migrate import migrate
from serve.storage.postgres.pool import open_database

SETUP_LINK_TTL_S: Final = 7 * 86_400
ADMIN_EMAIL: Final = "admin@localhost"
_DAY_S: Final = 86_400
_DEFAULT_SCOPES: Final = (Scope.GENERATE, Scope.READ, Scope.ASSETS)


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare ``users create`` and ``keys create``."""
    users = commands.add_parser("users", help="people with an account")
    create = users.add_subparsers(required=True, metavar="ACTION").add_parser(
        "create", help="add a person; prints the id, and a one-time link unless a password is given"
    )
    create.add_argument("--email", required=True)
    create.add_argument("--name", required=True)
    create.add_argument("--admin", action="store_true", help="may do everything")
    create.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input"
    )
    create.set_defaults(run=run_users_create)

    keys = commands.add_parser("keys", help="API keys")
    create = keys.add_subparsers(required=True, metavar="ACTION").add_parser(
        "create", help="make a key and print it, once, as the last word"
    )
    create.add_argument("--name", required=True, help="what the key is for")
    create.add_argument("--user", metavar="EMAIL", help="whose key; the first admin's if not given")
    create.add_argument(
        "--scopes",
        nargs="+",
        type=Scope,
        choices=tuple(Scope),
        default=_DEFAULT_SCOPES,
        metavar="SCOPE",
        help=f"what it may do: {', '.join(Scope)} (default: {', '.join(_DEFAULT_SCOPES)})",
    )
    create.add_argument(
        "--expires-in-days", type=_positive, metavar="N", help="forever if not given"
    )
    create.set_defaults(run=run_keys_create)


def run_users_create(options: argparse.Namespace, settings: Settings) -> int:
    """Create a person."""
    password = sys.stdin.readline().rstrip("\n") if options.password_stdin else None
    if password == "":
        raise InvalidRequest("standard input held no password")

    async def create(accounts: Accounts) -> None:
        user = await accounts.create_user(
            email=options.email, name=options.name, password=password, is_admin=options.admin
        )
        print(f"user {user.email} {user.id}")
        if password is None:
            print(await setup_link(accounts, user, settings))

    _with_accounts(settings, create)
    return 0


def run_keys_create(options: argparse.Namespace, settings: Settings) -> int:
    """Create a key."""

    async def create(accounts: Accounts) -> None:
        if options.user is None:
            owner = await ensure_admin(accounts)
        else:
            found = await accounts.find_user(options.user)
            if found is None:
                raise NotFound(f"no user {options.user!r}; `polymodal users create` makes one")
            owner = found
        days: int | None = options.expires_in_days
        secret, key = await accounts.create_key(
            owner_id=owner.id,
            name=options.name,
            scopes=frozenset(options.scopes),
            ttl_s=None if days is None else days * _DAY_S,
        )
        expires = f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "never"
        scopes = ",".join(sorted(key.scopes))
        print(f"key {key.name!r} {key.id} of {owner.email}, scopes {scopes}, expires {expires}:")
        print(secret)

    _with_accounts(settings, create)
    return 0


async def ensure_admin(accounts: Accounts) -> User:
    """The first admin, created without a password if there is none."""
    return await accounts.first_admin() or await accounts.create_user(
        email=ADMIN_EMAIL, name="Admin", password=None, is_admin=True
    )


async def setup_link(accounts: Accounts, user: User, settings: Settings) -> str:
    """A link that lets the person choose a password, once.

    The token is in the fragment: browsers keep that part out of requests and logs.
    """
    token = await accounts.create_setup_link(user_id=user.id, ttl_s=SETUP_LINK_TTL_S)
    return f"{settings.public_url}/setup#token={token}"


@asynccontextmanager
async def opened_accounts(dsn: str) -> AsyncIterator[Accounts]:
    """Accounts in the database ``dsn``, which is up to date."""
    async with open_database(dsn) as database:
        yield PostgresAccounts(database, passwords=Argon2Passwords(), secrets=RandomSecrets())


def _with_accounts(settings: Settings, work: Callable[[Accounts], Awaitable[None]]) -> None:
    async def run(dsn: str) -> None:
        await migrate(dsn)
        async with opened_accounts(dsn) as accounts:
            await work(accounts)

    with reachable_postgres(settings) as dsn:
        asyncio.run(run(dsn))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
