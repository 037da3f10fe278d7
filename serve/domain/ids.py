"""Names of things we make."""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

# Lower case and digits only: ids become parts of object-store keys, which fold case.
_ALPHABET: Final = b"abcdefghijklmnopqrstuvwxyz0123456789"
_LENGTH: Final = 28  # 28 x log2(36) = 144 bits: nobody guesses one, no two are equal
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
    letters = b""
    while len(letters) < _LENGTH:
        letters += secrets.token_bytes(_LENGTH + 4).translate(_LETTERS, _UNUSED)
    return f"{prefix}_{letters[:_LENGTH].decode()}"
