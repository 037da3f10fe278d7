"""What is heard beside words, as notes on recordings and videos tell it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from serve.domain.messages import AudioPerception, SoundEvent

_MAX_TAGS: Final = 3
_MAX_EVENTS: Final = 12
_NOT_WORTH_TELLING: Final = frozenset(("Speech", "Silence", "Inside, small room"))


def telling_events(sound: AudioPerception) -> Sequence[SoundEvent]:
    """Sounds that come and go; what sounds all the time is told as a tag."""
    telling = [event for event in sound.sound_events if event.name not in _NOT_WORTH_TELLING]
    return telling[:_MAX_EVENTS]


def telling_tags(sound: AudioPerception) -> str:
    """What is heard in all, in a few names; may be empty."""
    return ", ".join(tag.name for tag in sound.sound_tags[:_MAX_TAGS])
