"""The ``polymodal`` command, in this process, against real parts."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from serve.auth.passwords import Argon2Passwords
from serve.auth.tokens import RandomSecrets
from serve.cli.__main__ import main
from serve.config.settings import load_settings
from serve.domain.records import Scope
from serve.embedded.home import Home
from serve.embedded.stores import reachable_postgres
from serve.storage.postgres.accounts import PostgresAccounts
from serve.storage.postgres.pool import open_database


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


async def test_a_home_is_set_up_without_a_running_service(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # In threads: each command runs an event loop of its own.
    assert await asyncio.to_thread(main, ["keys", "create", "--name", "robot"]) == 0
    printed = capsys.readouterr().out
    assert "of admin@localhost, scopes assets,generate,read, expires never:" in printed
    key = printed.split()[-1]

    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
    create = ["users", "create", "--email", "ann@example.org", "--name", "Ann"]
    assert await asyncio.to_thread(main, [*create, "--password-stdin"]) == 0
    assert "/setup#token=" not in capsys.readouterr().out

    with reachable_postgres(load_settings({"POLYMODAL_HOME": str(home)})) as dsn:
        async with open_database(dsn) as database:
            accounts = PostgresAccounts(
                database, passwords=Argon2Passwords(), secrets=RandomSecrets()
            )
            caller = await accounts.authenticate_key(key)
            ann = await accounts.verify_password(
                email="ann@example.org", password="correct horse battery"
            )
    assert caller.scopes == {Scope.GENERATE, Scope.READ, Scope.ASSETS}
    assert not ann.is_admin


def test_keys_have_the_owner_scopes_and_life_asked_for(
    home: Path,
    empty_postgres_dsn: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del home
    monkeypatch.setenv("POLYMODAL_POSTGRES_DSN", empty_postgres_dsn)
    assert main(["users", "create", "--email", "eve@example.org", "--name", "Eve", "--admin"]) == 0
    assert "http://127.0.0.1:8000/setup#token=" in capsys.readouterr().out
    key = ["keys", "create", "--name", "hers"]
    assert main([*key, "--user", "eve@example.org", "--scopes", "read"]) == 0
    assert "of eve@example.org, scopes read, expires never" in capsys.readouterr().out
    assert main([*key, "--expires-in-days", "3"]) == 0
    assert "of eve@example.org, scopes assets,generate,read, expires 20" in capsys.readouterr().out
    assert main([*key, "--user", "nobody@example.org"]) == 1
    assert "`polymodal users create` makes one" in capsys.readouterr().err


def test_a_home_in_use_is_said_to_be(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Home(home).owned():
        assert main(["migrate"]) == 1
    assert "is in use by process" in capsys.readouterr().err


def test_a_bad_setting_stops_every_command(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del home
    monkeypatch.setenv("POLYMODAL_REQUEST_TIMEOUT_S", "soon")
    assert main(["settings"]) == 1
    assert capsys.readouterr().err == (
        "error: POLYMODAL_REQUEST_TIMEOUT_S='soon' is not a number\n"
    )


def test_the_listings_say_what_there_is(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    assert f"POLYMODAL_HOME={home}" in capsys.readouterr().out
    assert main(["models"]) == 0
    assert "Licence: Apache-2.0" in capsys.readouterr().out
    assert main(["openapi"]) == 0
    assert '"/v1/responses"' in capsys.readouterr().out


def test_the_doctor_names_what_is_missing(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYMODAL_WEBCLIENT_DIR", str(home / "nowhere"))
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "ok     PostgreSQL is embedded" in printed
    assert "not built: run `make webclient`" in printed
