"""Where somebody speaks, cut into windows that the transcriber takes, while sound comes in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deployments.hearing.recording import SAMPLE_RATE_HZ, Pcm, Samples, as_samples

if TYPE_CHECKING:
    from serve.domain.ports import VoiceListener

_FRAME_SAMPLES = 512
_FRAME_S = _FRAME_SAMPLES / SAMPLE_RATE_HZ

# Silero's own defaults, but for longer pauses inside one stretch of speech.
_STARTS_ABOVE = 0.5
_ENDS_BELOW = 0.35
_MIN_SPEECH_S = 0.25
_MIN_PAUSE_S = 0.5
_PADDING_S = 0.2

# Whisper hears 30 s at a time and costs the same for less.
_WINDOW_S = 29.0
# Speech without a pause is cut where it is least like speech within its last seconds.
_LOOK_BACK_S = 8.0
# After so long a silence, what was said before it is worth having.
_FLUSH_AFTER_S = 8.0


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, seconds from the start."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """How long it is."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Window:
    """Neighbouring stretches of speech, pauses included. ``speech_s``: without them."""

    start_s: float
    samples: Samples
    speech_s: float


class SpeechWindows:
    """Cuts one stream of sound. Holds no more of it than a window and a silence behind it."""

    def __init__(self, listener: VoiceListener) -> None:
        self._listener = listener
        self._sound: Pcm = np.zeros(0, dtype=np.int16)
        self._sound_start = 0
        self._n_frames = 0
        self._recent: list[float] = []
        self._speaks_since_s: float | None = None
        self._opens_s = 0.0
        self._quiet_since_s: float | None = None
        self._spans: list[Span] = []

    def hear(self, pcm: Pcm) -> Iterator[Window]:
        """Windows that are complete with this piece."""
        self._sound = np.concatenate([self._sound, pcm])
        for probability in self._listener.hear(pcm.tobytes()):
            yield from self._frame(probability)
        self._forget()

    def finish(self) -> Iterator[Window]:
        """What is left when the sound has ended."""
        end_s = (self._sound_start + len(self._sound)) / SAMPLE_RATE_HZ
        # The last part of a frame may hold the last part of a word.
        padding = np.zeros(_FRAME_SAMPLES, dtype=np.int16)
        for probability in self._listener.hear(padding.tobytes()):
            yield from self._frame(probability)
        if self._speaks_since_s is not None:
            spoken_until_s = end_s if self._quiet_since_s is None else self._quiet_since_s
            yield from self._close(spoken_until_s, min(end_s, spoken_until_s + _PADDING_S))
        if self._spans:
            yield self._window()

    def _frame(self, probability: float) -> Iterator[Window]:
        now_s = self._n_frames * _FRAME_S
        self._n_frames += 1
        self._recent = [*self._recent[-int(_LOOK_BACK_S / _FRAME_S) :], probability]
        if probability >= _STARTS_ABOVE:
            if self._speaks_since_s is None:
                self._speaks_since_s = now_s
                self._opens_s = max(0.0, now_s - _PADDING_S)
            self._quiet_since_s = None
        elif self._speaks_since_s is not None and probability < _ENDS_BELOW:
            if self._quiet_since_s is None:
                self._quiet_since_s = now_s
            if now_s - self._quiet_since_s >= _MIN_PAUSE_S:
                yield from self._close(self._quiet_since_s, self._quiet_since_s + _PADDING_S)
        if self._speaks_since_s is not None and now_s - self._opens_s >= _WINDOW_S - _FRAME_S:
            yield from self._cut(now_s)
        elif (
            self._spans
            and self._speaks_since_s is None
            and now_s - self._spans[-1].end_s >= _FLUSH_AFTER_S
        ):
            yield self._window()

    def _cut(self, now_s: float) -> Iterator[Window]:
        """Somebody speaks without a pause: end the stretch here and begin another."""
        quietest = int(np.argmin(self._recent[1:])) + 1
        at_s = now_s - (len(self._recent) - 1 - quietest) * _FRAME_S
        yield from self._close(at_s, at_s)
        self._speaks_since_s = self._opens_s = at_s

    def _close(self, spoken_until_s: float, ends_s: float) -> Iterator[Window]:
        """Without clicks; with room for the first and last sounds of each stretch."""
        spoken_s = spoken_until_s - (self._speaks_since_s or 0.0)
        span = Span(self._opens_s, ends_s)
        self._speaks_since_s = self._quiet_since_s = None
        if spoken_s < _MIN_SPEECH_S:
            return
        if self._spans and span.end_s - self._spans[0].start_s > _WINDOW_S:
            yield self._window()
        self._spans.append(span)

    def _window(self) -> Window:
        start_s, end_s = self._spans[0].start_s, self._spans[-1].end_s
        speech_s = sum(span.length_s for span in self._spans)
        self._spans = []
        first = round(start_s * SAMPLE_RATE_HZ) - self._sound_start
        last = round(end_s * SAMPLE_RATE_HZ) - self._sound_start
        return Window(start_s, as_samples(self._sound[first:last]), speech_s)

    def _forget(self) -> None:
        """Let go of sound that no window can need."""
        needed_s = self._n_frames * _FRAME_S - _PADDING_S - _LOOK_BACK_S
        if self._spans:
            needed_s = min(needed_s, self._spans[0].start_s)
        if self._speaks_since_s is not None:
            needed_s = min(needed_s, self._opens_s)
        n_over = int(needed_s * SAMPLE_RATE_HZ) - self._sound_start
        if n_over > 0:
            self._sound = self._sound[n_over:]
            self._sound_start += n_over
