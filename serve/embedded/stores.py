"""All embedded stores of a home: started together, watched, stopped, and known by address."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from serve.config.settings import Settings
from serve.embedded.chroma import ChromaStore
from serve.embedded.home import Home, write_private
from serve.embedded.postgres import PostgresStore
from serve.embedded.stalls import StallWatch
from serve.embedded.valkey import ValkeyStore

_log = logging.getLogger(__name__)
_ADDRESSES: Final = "stores.json"

Store = PostgresStore | ValkeyStore | ChromaStore


class EmbeddedStores:
    """The servers for those store settings that are empty. The caller owns the home."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = Home(settings.home)
        self._by_setting: dict[str, Store] = {}
        self._watches: dict[str, StallWatch] = {}
        if not settings.postgres_dsn:
            self._by_setting["postgres_dsn"] = PostgresStore(self._home)
        if not settings.redis_url:
            self._by_setting["redis_url"] = ValkeyStore(self._home)
        if not settings.chroma_url:
            self._by_setting["chroma_url"] = ChromaStore(self._home)

    @property
    def settings(self) -> Settings:
        """The settings with the addresses of the running stores filled in."""
        return with_addresses(self._settings, self._addresses())

    def start(self) -> None:
        """Start all side by side and return when every one answers. Raises ``StartFailed``."""
        for store in self._by_setting.values():
            store.start()
        for store in self._by_setting.values():
            self._await(store)
        write_private(self._home.run / _ADDRESSES, json.dumps(self._addresses()))

    def restart_the_failed(self) -> dict[str, str]:
        """Start again what has ended or stalled; says by name which of the two.

        To be called every fraction of a second: stalls show between two calls.

        Raises:
            StartFailed: It did not come up again.
        """
        failed = {
            store.name: failure
            for store in self._by_setting.values()
            if (failure := self._failure(store))
        }
        for store in self._by_setting.values():
            if store.name in failed:
                _log.error(
                    "store failed, starting it again",
                    extra={"child": store.name, "failure": failed[store.name]},
                )
                store.child.kill()
                store.start()
                self._await(store)
        return failed

    def _failure(self, store: Store) -> str:
        watch = self._watches.get(store.name)
        if not store.child.is_running:
            return "ended"
        return "stalled" if watch is not None and watch.is_stalled() else ""

    def _await(self, store: Store) -> None:
        """Wait until it answers, and watch it from then on."""
        store.wait_ready()
        self._unwatch(store)
        if (pid := store.child.pid) is not None:
            self._watches[store.name] = StallWatch(pid, store.answers)

    def _unwatch(self, store: Store) -> None:
        watch = self._watches.pop(store.name, None)
        if watch is not None:
            watch.end()

    def stop(self, *, grace_s: float) -> None:
        """Stop all side by side."""
        (self._home.run / _ADDRESSES).unlink(missing_ok=True)
        for store in self._by_setting.values():
            self._unwatch(store)
            store.child.ask_to_stop()
        for store in self._by_setting.values():
            store.stop(grace_s=grace_s)

    def kill(self) -> None:
        """End all at once."""
        for store in self._by_setting.values():
            store.child.kill()

    def _addresses(self) -> dict[str, str]:
        addresses = {name: store.url for name, store in self._by_setting.items()}
        if not self._settings.object_store_url:
            addresses["object_store_url"] = self._home.objects.as_uri()
        return addresses


def running_addresses(settings: Settings) -> Mapping[str, str] | None:
    """Where the stores of a running service are, by setting; None when none runs here."""
    home = Home(settings.home)
    path = settings.home / "run" / _ADDRESSES
    if not path.exists() or not home.is_owned():
        return None
    addresses: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return addresses


def with_addresses(settings: Settings, addresses: Mapping[str, str]) -> Settings:
    """``settings`` with the given store addresses."""
    return dataclasses.replace(settings, **addresses)  # type: ignore[arg-type] # all are str


@contextmanager
def reachable_postgres(settings: Settings) -> Iterator[str]:
    """The DSN of this installation's database, started for the moment if nothing runs.

    Raises:
        HomeInUse: A service is starting or stopping on this home right now.
        StartFailed: The server did not come up.
    """
    addresses = running_addresses(settings) or {}
    dsn = settings.postgres_dsn or addresses.get("postgres_dsn")
    if dsn:
        yield dsn
        return
    home = Home(settings.home)
    with home.owned():
        store = PostgresStore(home)
        store.start()
        try:
            store.wait_ready()
            yield store.url
        finally:
            store.stop(grace_s=settings.shutdown_grace_s)
