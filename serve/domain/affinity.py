"""Which replica should get a request so that it finds its cache warm. Pure.

Rendezvous hashing: every replica has a rank for every key, and all routers agree on it without
talking. When a replica leaves, only its own keys move; when one joins, it takes over its share and
nothing else moves. Affinity gives way where it would cost more than it saves: a replica whose queue
is longer than ``LOAD_FACTOR`` times the average, plus one, is passed over for the next in rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

from serve.domain.media import MediaRef
from serve.domain.messages import ChatMessage, GenerationRequest, NativeMediaPart, TextPart

LOAD_FACTOR: Final = 1.25
# Enough to tell conversations apart; the rest of a long first turn need not be read.
_LEADING_CHARACTERS: Final = 512
_DIGEST_BYTES: Final = 8


def affinity_of(messages: Sequence[ChatMessage]) -> str:
    """A key that all turns of one conversation share; empty without messages.

    Made of the system prompt, the leading text of the first user turn and the media in them.
    """
    opening = list(_opening(messages))
    if not opening:
        return ""
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for text in opening:
        # Lengths, so that no text can pass for the end of one and the start of another.
        digest.update(len(text).to_bytes(4, "big") + _bytes(text))
    return digest.hexdigest()


def _opening(messages: Sequence[ChatMessage]) -> Iterable[str]:
    for message in messages:
        if message.role not in ("system", "user"):
            continue
        yield message.role
        for part in message.parts:
            match part:
                case TextPart(text=text):
                    yield text if message.role == "system" else text[:_LEADING_CHARACTERS]
                case NativeMediaPart(media=media):
                    yield media.content_hash
        if message.role == "user":
            return


def affinity_in(arguments: Iterable[object]) -> str:
    """The key of a call from its arguments: of a generation or a medium; else empty."""
    for argument in arguments:
        match argument:
            case GenerationRequest():
                return argument.affinity or affinity_of(argument.messages)
            case MediaRef():
                return argument.content_hash
            case _:
                continue
    return ""


def ranked(key: str, replicas: Iterable[str]) -> list[str]:
    """All ``replicas``, the one that ``key`` belongs to first."""
    return sorted(replicas, key=lambda replica: _weight(key, replica), reverse=True)


def _weight(key: str, replica: str) -> bytes:
    return blake2b(_bytes(f"{key}\0{replica}"), digest_size=_DIGEST_BYTES).digest()


def _bytes(text: str) -> bytes:
    # JSON can hold halves of characters, which are no UTF-8.
    return text.encode(errors="surrogatepass")


def longest_queue(lengths: Iterable[int]) -> float:
    """How long a replica's queue may be for it to get more work for the sake of its cache."""
    known = tuple(lengths)
    return LOAD_FACTOR * sum(known) / len(known) + 1 if known else 1.0


def preferred(key: str, lengths: Mapping[str, int]) -> list[str]:
    """All replicas of ``lengths`` in the order in which to try them.

    First those whose queue is not too long, in rank; then the others, shortest queue first.
    """
    bound = longest_queue(lengths.values())
    order = ranked(key, lengths)
    within = [name for name in order if lengths[name] <= bound]
    beyond = [name for name in order if lengths[name] > bound]
    return within + sorted(beyond, key=lengths.__getitem__)
