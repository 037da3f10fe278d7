"""What a key of the object store may look like."""

from __future__ import annotations

import re

from serve.domain.errors import InvalidRequest

# No segment starts with a dot: neither traversal nor our own temporary files can be named.
_KEY = re.compile(r"[a-z0-9_-][a-z0-9_.-]*(/[a-z0-9_-][a-z0-9_.-]*)*")
_MAX_KEY_CHARS = 512


def checked_key(key: str) -> str:
    """The key itself. Raises ``InvalidRequest`` when it could mean anything but a plain name."""
    if len(key) > _MAX_KEY_CHARS or not _KEY.fullmatch(key):
        raise InvalidRequest("an object key has characters or a shape that is not allowed")
    return key
