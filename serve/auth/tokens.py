"""Secrets that we make: API keys, session cookies, one-time links.

Each carries 256 random bits, so a plain hash is enough to keep: there is nothing to guess, and no
salt or slow hash would add to it. Lookup goes by the digest, whose bits nobody can choose, so the
time that an index takes tells nothing about a secret.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

API_KEY_PREFIX: Final = "pm-"
SESSION_PREFIX: Final = "pms-"
SETUP_PREFIX: Final = "pml-"

_SECRET_BYTES: Final = 32


class RandomSecrets:
    """``domain.ports.SecretMint``. Has no state: any process finds what another one made."""

    def new_api_key(self) -> str:
        """For ``Authorization: Bearer``."""
        return API_KEY_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)

    def new_session_secret(self) -> str:
        """For the session cookie."""
        return SESSION_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)

    def new_setup_token(self) -> str:
        """For the link with which a person chooses a password."""
        return SETUP_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)

    def digest(self, secret: str) -> bytes:
        """What is kept in place of the secret: SHA-256, 32 bytes."""
        return hashlib.sha256(_encoded(secret)).digest()

    def csrf_token(self, session_secret: str) -> str:
        """Derived from the session's secret, which no script can read."""
        return hmac.new(_encoded(session_secret), b"polymodal csrf", hashlib.sha256).hexdigest()


def _encoded(secret: str) -> bytes:
    # A header may hold anything; a wrong secret must be refused, not crash.
    return secret.encode("utf-8", "surrogatepass")
