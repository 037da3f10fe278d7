"""One listening socket for all ingress replicas of a node.

The first one binds it and every one offers it to those that come later, so all accept from the
same queue of connections: one that is killed or stopped costs no other client its connection.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_PRIVATE_FOLDER: Final = 0o700
_PRIVATE_FILE: Final = 0o600
# A stopped peer takes the connection and never answers.
_PEER_ANSWERS_WITHIN_S: Final = 0.5
# What holds the port may be a stopped peer that somebody is about to end.
_BIND_WITHIN_S: Final = 10.0
_BIND_AGAIN_S: Final = 0.2
_OFFERS_WAITING: Final = 16
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid
_GREETING: Final = b"\x01"


class AddressTaken(OSError):
    """A process that is none of ours listens on the address."""


class SharedListener:
    """A bound socket, to be listened on, which any peer that asks gets too.

    ``is_first``: no peer had it. Peers are answered by a thread, so also while the event loop is
    busy starting.
    """

    def __init__(self, bound: socket.socket, *, is_first: bool, door: socket.socket, path: Path):
        self.socket = bound
        self.is_first = is_first
        self._door = door
        self._door_path = path
        self._offered = bound.dup()
        self._thread = threading.Thread(target=self._offer, name="listener-door", daemon=True)
        self._thread.start()

    def withdraw(self) -> None:
        """Offer it no more. Whoever has it keeps it."""
        self._door_path.unlink(missing_ok=True)
        # Wakes the thread, which waits in accept.
        self._door.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._door.close()
        self._offered.close()

    def _offer(self) -> None:
        while True:
            try:
                peer, _ = self._door.accept()
            except OSError:
                return
            # A peer that went away again is no concern of ours.
            with peer, suppress(OSError):
                if _uid(peer) == os.geteuid():
                    socket.send_fds(peer, [_GREETING], [self._offered.fileno()])


def share_listener(host: str, port: int, folder: Path) -> SharedListener:
    """Get the node's socket for an address from a peer, or bind it if there is none.

    Blocks for some seconds at worst. ``folder`` belongs to this address on this machine.

    Raises:
        AddressTaken: Somebody else listens there.
    """
    folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
    deadline = time.monotonic() + _BIND_WITHIN_S
    while True:
        try:
            with _sole(folder):
                return _share(host, port, folder)
        except AddressTaken:
            if time.monotonic() > deadline:
                raise
        time.sleep(_BIND_AGAIN_S)


def _share(host: str, port: int, folder: Path) -> SharedListener:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    given = _from_a_peer(folder, address)
    listener = given or _bound(family, address)
    try:
        door, path = _open_door(folder)
    except OSError:
        listener.close()
        raise
    return SharedListener(listener, is_first=given is None, door=door, path=path)


@contextmanager
def _sole(folder: Path) -> Iterator[None]:
    """Two that start at once must not both find nobody."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _from_a_peer(folder: Path, address: object) -> socket.socket | None:
    for path in sorted(folder.glob("*.sock")):
        listener = _asked(path)
        if listener is None:
            continue
        if listener.getsockname() == address:
            return listener
        listener.close()
    return None


def _asked(path: Path) -> socket.socket | None:
    """The socket that the peer behind ``path`` offers; leftovers of the dead are removed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer, _short(path) as short:
        peer.settimeout(_PEER_ANSWERS_WITHIN_S)
        try:
            peer.connect(short)
            if _uid(peer) != os.geteuid():
                return None
            _, descriptors, _, _ = socket.recv_fds(peer, len(_GREETING), 1)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return None
        except OSError:  # includes a peer that does not answer in time
            return None
    return socket.socket(fileno=descriptors[0]) if descriptors else None


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as exc:
        listener.close()
        raise AddressTaken(f"cannot listen on {address}: {exc}") from exc
    return listener


def _open_door(folder: Path) -> tuple[socket.socket, Path]:
    path = folder / f"{os.getpid()}.sock"
    path.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as short:
            door.bind(short)
        door.listen(_OFFERS_WAITING)
    except OSError:
        door.close()
        raise
    return door, path


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """The same path in few characters: that of a UNIX socket has room for 107 bytes."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _uid(peer: socket.socket) -> int:
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(credentials)[1]
    return uid
