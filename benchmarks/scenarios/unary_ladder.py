"""What each layer of the ingress costs a small request: server CPU per request, rung by rung.

``make bench NAME=unary_ladder [ARGS="--seconds 4 --rounds 5"]``

Every rung is a process of its own, with real stores behind it; a closed-loop client in this process
asks all of them in turn. Only the server's CPU is counted, from ``/proc``.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import uvicorn
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.report import keep
from serve.auth.passwords import Argon2Passwords
from serve.auth.tokens import RandomSecrets
from serve.domain.records import Caller
from serve.domain.records import Scope as Permission
from serve.embedded.home import Home
from serve.embedded.postgres import PostgresStore
from serve.embedded.valkey import ValkeyStore
from serve.ingress.authentication import WINDOW_S, quota_headers, quota_subject
from serve.ingress.context import reply_headers
from serve.ingress.credentials import Credentials
from serve.ingress.middleware import RequestEnvelope
from serve.ingress.quota import LeasedRateLimits
from serve.storage.postgres.accounts import PostgresAccounts
from serve.storage.postgres.migrate import migrate
from serve.storage.postgres.pool import open_database
from serve.storage.redis.connection import connect
from serve.storage.redis.rate_limits import RedisRateLimits
from serve.storage.redis.streams import RedisStreams
from tests.fixtures.ingress import ingress

_PER_MINUTE = 100_000_000
_BODY = b'{"object":"list","data":[]}'
_N_CONNECTIONS = 16
_RUNGS = {
    "bare uvicorn": "/",
    "+ envelope": "/",
    "+ authentication": "/",
    "+ quota": "/",
    "the whole ingress, short way": "/v1/models",
    "the whole ingress, a FastAPI route": "/v1/models/scripted",
}


# --- the server ---------------------------------------------------------------------------------


async def _bare(_scope: Scope, _receive: Receive, send: Send) -> None:
    headers = [(b"content-length", b"%d" % len(_BODY)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})


def _authenticating(credentials: Credentials, limits: LeasedRateLimits | None) -> ASGIApp:
    """The bare answer, to whom it may concern."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        secret = dict(scope["headers"])[b"authorization"].removeprefix(b"Bearer ").decode()
        caller = await credentials.caller(secret)
        if limits is not None:
            decision = await limits.take(
                quota_subject(caller), limit=_PER_MINUTE, window_s=WINDOW_S
            )
            reply_headers(scope).extend(quota_headers(decision))
        await _bare(scope, receive, send)

    return app


@asynccontextmanager
async def _rung(options: argparse.Namespace) -> AsyncIterator[ASGIApp]:
    """Nothing runs beside a rung that it does not need."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(options.dsn))
        accounts = PostgresAccounts(database, passwords=Argon2Passwords(), secrets=RandomSecrets())
        match options.serve:
            case "bare uvicorn":
                yield _bare
            case "+ envelope":
                yield RequestEnvelope(_bare, max_body_bytes=2**20)
            case "+ authentication" | "+ quota":
                streams = await stack.enter_async_context(await RedisStreams.connect(options.redis))
                shared = RedisRateLimits(await stack.enter_async_context(connect(options.redis)))
                limits = LeasedRateLimits(shared) if options.serve == "+ quota" else None
                app = _authenticating(Credentials(accounts, streams.notices), limits)
                yield RequestEnvelope(app, max_body_bytes=2**20)
            case _:
                admin = await accounts.first_admin()
                if admin is None:
                    raise SystemExit("the client makes the account first")
                caller = Caller(user_id=admin.id, scopes=frozenset(Permission))
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                whole = ingress(
                    database,
                    options.redis,
                    folder,
                    accounts,
                    caller,
                    requests_per_minute=_PER_MINUTE,
                )
                yield (await stack.enter_async_context(whole)).app


async def _serve(options: argparse.Namespace) -> None:
    async with _rung(options) as app:
        config = uvicorn.Config(
            app,
            port=options.port,
            http="httptools",
            lifespan="off",
            access_log=False,
            server_header=False,
            log_level="error",
        )
        await uvicorn.Server(config).serve()


# --- the client ---------------------------------------------------------------------------------


async def _ask(port: int, path: str, secret: str, until_s: float) -> int:
    """Answers one connection got, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\n\r\n".encode()
    n_answers = 0
    while time.monotonic() < until_s:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{path}: {head.decode()}")
        length = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        await reader.readexactly(length)
        n_answers += 1
    writer.close()
    return n_answers


async def _requests_per_cpu_s(
    server: psutil.Process, port: int, path: str, secret: str, seconds: float
) -> float:
    def cpu_s() -> float:
        times = server.cpu_times()
        return float(times.user + times.system)

    before_s = cpu_s()
    until_s = time.monotonic() + seconds
    counts = await asyncio.gather(
        *(_ask(port, path, secret, until_s) for _ in range(_N_CONNECTIONS))
    )
    return sum(counts) / (cpu_s() - before_s)


async def _account(dsn: str) -> str:
    await migrate(dsn)
    async with open_database(dsn) as database:
        accounts = PostgresAccounts(database, passwords=Argon2Passwords(), secrets=RandomSecrets())
        admin = await accounts.create_user(
            email="bench@localhost", name="", password=None, is_admin=True
        )
        secret, _ = await accounts.create_key(
            owner_id=admin.id, name="", scopes=frozenset(Permission), ttl_s=None
        )
        return secret


def _started(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "benchmarks.scenarios.unary_ladder", *words])


async def _climb(options: argparse.Namespace, dsn: str, redis: str) -> dict[str, list[float]]:
    secret = await _account(dsn)
    stores = ("--dsn", dsn, "--redis", redis)
    ports = iter(range(options.port, options.port + len(_RUNGS)))
    servers: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
    found: dict[str, list[float]] = {name: [] for name in _RUNGS}
    try:
        for name in _RUNGS:
            port = next(ports)
            servers[name] = (_started("--serve", name, "--port", str(port), *stores), port)
        for _, port in servers.values():
            await _listening(port)
        for at in range(options.rounds + 1):
            for name, (process, port) in servers.items():
                rate = await _requests_per_cpu_s(
                    psutil.Process(process.pid), port, _RUNGS[name], secret, options.seconds
                )
                # The first round warms the caches.
                if at:
                    found[name].append(rate)
    finally:
        for process, _ in servers.values():
            process.kill()
            process.wait()
    return found


async def _listening(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.2)
        else:
            writer.close()
            return


def main() -> None:
    """Climb, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--port", type=int, default=18_700)
    parser.add_argument("--serve", choices=tuple(_RUNGS), help=argparse.SUPPRESS)
    parser.add_argument("--dsn", help=argparse.SUPPRESS)
    parser.add_argument("--redis", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        # As Ray runs the ingress.
        uvloop.run(_serve(options))
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        stores = (PostgresStore(home), ValkeyStore(home))
        with home.owned():
            try:
                for store in stores:
                    store.start()
                for store in stores:
                    store.wait_ready()
                postgres, valkey = stores
                found = asyncio.run(_climb(options, postgres.url, valkey.url))
            finally:
                for store in stores:
                    store.stop(grace_s=10)
    _tell(found)


def _tell(found: dict[str, list[float]]) -> None:
    rows: dict[str, Any] = {}
    bare = statistics.median(found["bare uvicorn"])
    for name, rates in found.items():
        median = statistics.median(rates)
        rows[name] = {
            "requests_per_cpu_s": round(median),
            "us_per_request": round(1e6 / median, 1),
            "of_bare": round(median / bare, 2),
            "rounds": [round(rate) for rate in rates],
        }
        print(
            f"{name:36} {median:10,.0f} requests/CPU-s {1e6 / median:8.1f} us {median / bare:6.2f}"
        )
    print(keep("unary-ladder", {"rungs": rows}))


if __name__ == "__main__":
    main()
