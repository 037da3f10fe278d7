"""Names of things we make."""

from __future__ import annotations

import secrets
from typing import Final

# Lower case and digits only: ids become parts of object-store keys, which fold case.
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_LENGTH: Final = 28  # 28 x log2(36) = 144 bits: nobody guesses one, no two are equal


def new_id(prefix: str) -> str:
    """``prefix``, an underscore and 28 random characters, as in ``resp_…`` or ``conv_…``."""
    return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))}"
