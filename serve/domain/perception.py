"""Identity of a perception: which bytes, seen by which model, prepared how."""

from __future__ import annotations

import hashlib


def perception_key(owner_id: str, content_hash: str, encoder_revision: str, args: str = "") -> str:
    """Name under which a perception is cached: 64 hex characters.

    The owner is part of the key, so that the time a lookup takes never tells one tenant what
    another one has uploaded.
    """
    return _digest("perception", owner_id, content_hash, encoder_revision, args)


def feature_key(
    owner_id: str, content_hash: str, model_revision: str, processor_args: str, dtype: str
) -> str:
    """Name of generator-ready features, 64 hex characters. Never taken from a client."""
    # 2: what the store keeps beside the features has changed.
    return _digest("features 2", owner_id, content_hash, model_revision, processor_args, dtype)


def reading_revision(image_revision: str, text_revision: str) -> str:
    """Revision of the document encoder, which has no weights but those it asks."""
    return f"pages-1-{_digest(image_revision, text_revision)[:12]}"


def watching_revision(image_revision: str, audio_revision: str) -> str:
    """Revision of the video encoder, which has no weights but those it asks."""
    return f"shots-1-{_digest(image_revision, audio_revision)[:12]}"


def _digest(*fields: str) -> str:
    hasher = hashlib.sha256()
    for value in fields:
        encoded = value.encode()
        # Length-prefixed, so that no two lists of fields share a digest.
        hasher.update(len(encoded).to_bytes(8, "big"))
        hasher.update(encoded)
    return hasher.hexdigest()
