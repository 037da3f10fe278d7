"""Live conversation: forms of sound on its way, and where a person's turn begins and ends. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final

FRAME_MS: Final = 32
"""How much sound one probability of speech stands for."""

# A click is shorter.
_LEAST_SPEECH_FRAMES: Final = 3
# Between the two thresholds nothing changes, so that one sound is not many turns.
_HYSTERESIS: Final = 0.15
# After so much silence the turn is likely over: who must be quick may act on it.
_PAUSE_MS: Final = 190
# The last sound of a word is quieter than speech.
_TAIL_MS: Final = 160


class WireFormat(StrEnum):
    """Forms of sound on a realtime connection, by OpenAI's names."""

    PCM = "audio/pcm"
    MU_LAW = "audio/pcmu"
    A_LAW = "audio/pcma"

    @property
    def rate_hz(self) -> int:
        """Samples per second."""
        return 24_000 if self is WireFormat.PCM else 8_000

    @property
    def bytes_per_sample(self) -> int:
        """Two, or one where it is companded."""
        return 2 if self is WireFormat.PCM else 1

    def duration_ms(self, n_bytes: int) -> float:
        """How long so many bytes sound."""
        return n_bytes * 1000 / self.bytes_per_sample / self.rate_hz


class Turn(Enum):
    """What a frame of sound may mean."""

    BEGAN = auto()
    PAUSED = auto()
    RESUMED = auto()
    ENDED = auto()


@dataclass(slots=True)
class TurnDetector:
    """Finds turns in probabilities of speech, one per frame.

    Times are milliseconds since the first frame. ``began_ms`` and ``ended_ms`` are of the turn
    that began or ended last.
    """

    threshold: float
    silence_ms: int
    began_ms: int = 0
    ended_ms: int = 0
    is_speech: bool = False
    _n_frames: int = 0
    _n_speech: int = 0
    _quiet_since_ms: int | None = None
    _has_paused: bool = False

    def feed(self, probability: float) -> Turn | None:
        """Take the next frame."""
        now_ms = self._n_frames * FRAME_MS
        self._n_frames += 1
        if probability >= self.threshold:
            return self._speech(now_ms)
        if probability < self.threshold - _HYSTERESIS:
            return self._silence(now_ms)
        return None

    def _speech(self, now_ms: int) -> Turn | None:
        if self.is_speech:
            self._quiet_since_ms = None
            resumed, self._has_paused = self._has_paused, False
            return Turn.RESUMED if resumed else None
        if self._n_speech == 0:
            self.began_ms = now_ms
        self._n_speech += 1
        if self._n_speech < _LEAST_SPEECH_FRAMES:
            return None
        self.is_speech = True
        return Turn.BEGAN

    def _silence(self, now_ms: int) -> Turn | None:
        self._n_speech = 0
        if not self.is_speech:
            return None
        if self._quiet_since_ms is None:
            self._quiet_since_ms = now_ms
        quiet_ms = now_ms + FRAME_MS - self._quiet_since_ms
        if quiet_ms >= self.silence_ms:
            self.ended_ms = self._quiet_since_ms + min(_TAIL_MS, self.silence_ms)
            self.is_speech = self._has_paused = False
            self._quiet_since_ms = None
            return Turn.ENDED
        if quiet_ms >= _PAUSE_MS and not self._has_paused:
            self._has_paused = True
            return Turn.PAUSED
        return None
