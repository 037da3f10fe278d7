"""Requests that take effect once, however often they are sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedReply:
    """What a request was answered with. ``body`` is None when it was not kept."""

    status: int
    headers: dict[str, str]
    body: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """What is known of a key, for somebody who sent it.

    ``is_mine``: this one is to carry the request out; ``is_first``: and nobody else ever began.
    ``response_id`` is the id of the response that the request makes, if it makes one. ``reply`` is
    there once the request was carried out. With neither, another one is at it.
    """

    fingerprint: bytes
    response_id: str
    is_mine: bool
    is_first: bool
    reply: SavedReply | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyClaim:
    """One attempt at one request of one person."""

    owner_id: str
    key: str
    claim_id: str
