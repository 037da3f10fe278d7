"""Names of things we make."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

# Lower case and digits only: ids become parts of object-store keys, which fold case.
_ALPHABET: Final = b"abcdefghijklmnopqrstuvwxyz0123456789"
_LENGTH: Final = 28  # 28 x log2(36) = 144 bits: nobody guesses one, no two are equal
_DRAWN_BYTES: Final = 4096
# Every letter for equally many bytes; what remains of the 256 is left out.
_N_USED: Final = 256 // len(_ALPHABET) * len(_ALPHABET)
_LETTERS: Final = bytes(_ALPHABET[byte % len(_ALPHABET)] for byte in range(256))
_UNUSED: Final = bytes(range(_N_USED, 256))


class _Repeatable:
    """Ids that follow from a seed and their order."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._made: Counter[str] = Counter()

    def next(self, prefix: str) -> str:
        self._made[prefix] += 1
        name = f"{self._seed}:{prefix}:{self._made[prefix]}"
        # 64 bytes, of which one in 64 is left out: always enough.
        digest = hashlib.blake2b(name.encode()).digest()
        return digest.translate(_LETTERS, _UNUSED)[:_LENGTH].decode()


_repeatable: ContextVar[_Repeatable | None] = ContextVar("repeatable_ids", default=None)


@contextmanager
def repeatable_ids(seed: str) -> Iterator[None]:
    """Inside, the same steps give the same ids: what is done again meets what was done before."""
    token = _repeatable.set(_Repeatable(seed))
    try:
        yield
    finally:
        _repeatable.reset(token)


def new_id(prefix: str) -> str:
    """``prefix``, an underscore and 28 random characters, as in ``resp_…`` or ``conv_…``."""
    repeatable = _repeatable.get()
    if repeatable is not None:
        return f"{prefix}_{repeatable.next(prefix)}"
    while True:
        try:
            return f"{prefix}_{_drawn.pop()}"
        except IndexError:
            _draw()


# Asking the system lets other threads run first, and a busy one keeps us waiting for milliseconds:
# so for many ids at once. A forked process must not give the same ones.
_drawn: Final[list[str]] = []
os.register_at_fork(after_in_child=_drawn.clear)


def _draw() -> None:
    letters = secrets.token_bytes(_DRAWN_BYTES).translate(_LETTERS, _UNUSED).decode()
    n_ids = len(letters) // _LENGTH
    _drawn.extend(letters[at * _LENGTH : (at + 1) * _LENGTH] for at in range(n_ids))
