"""The voices there are, and which one a client means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from serve.domain.errors import InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A voice of one model. ``language``: a BCP 47 tag; ``aliases``: other names for it."""

    name: str
    language: str
    description: str
    aliases: tuple[str, ...] = ()


def choose_voice(voices: Iterable[Voice], name: str, *, param: str = "voice") -> Voice:
    """The voice of that name or alias; the first one for an empty name.

    Raises:
        InvalidRequest: the message lists the choices.
    """
    known = tuple(voices)
    for voice in known:
        if not name or name in (voice.name, *voice.aliases):
            return voice
    choices = ", ".join(choice for voice in known for choice in (voice.name, *voice.aliases))
    raise InvalidRequest(f"no voice {name!r}; choose one of: {choices}", param=param)
