"""What kinds of sound a recording holds: AudioSet classes by YAMNet in 8 bits."""

from __future__ import annotations

import heapq
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deployments.hearing.recording import SAMPLE_RATE_HZ, Samples
from deployments.onnx_graph import open_session
from serve.domain.messages import Label, SoundEvent

Array = NDArray[np.float32]

# The spectrogram that the network was trained on.
_WINDOW_SAMPLES = 400
_HOP_SAMPLES = 160
_FFT_SAMPLES = 512
_N_MEL_BANDS = 64
_MEL_RANGE_HZ = (125.0, 7500.0)
_LOG_OFFSET = 1e-3
_PATCH_FRAMES = 96
_PATCH_SAMPLES = _WINDOW_SAMPLES + (_PATCH_FRAMES - 1) * _HOP_SAMPLES
_PATCH_S = _PATCH_SAMPLES / SAMPLE_RATE_HZ

_MAX_TAGS = 5
_MIN_SCORE = 0.1

# An event is a class that is rather there than not; a patch between two of them is part of both.
_MIN_EVENT_SCORE = 0.3
_MAX_EVENTS_PER_PATCH = 3
_MAX_GAP_PATCHES = 1
# Of hours of noise, the clearest.
_MAX_EVENTS = 500


class SoundTagger:
    """Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._session = open_session(folder / "model.onnx")
        facts = json.loads((folder / "yamnet.json").read_text(encoding="utf-8"))
        self._names: tuple[str, ...] = tuple(facts["classes"])
        self._audio_scale = float(facts["audio_scale"])
        self._audio_zero_point = float(facts["audio_zero_point"])
        self._score_scale = float(facts["class_scores_scale"])
        self._score_zero_point = float(facts["class_scores_zero_point"])
        self._mel = _mel_filters()
        self._window = np.hanning(_WINDOW_SAMPLES + 1)[:-1].astype(np.float32)

    def listen(self) -> SoundListener:
        """Begin with a stream of sound."""
        return SoundListener(self)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, in the order of their scores."""
        return self._names

    def scores(self, patch: Samples) -> Array:
        """Probability of every class in just under a second of sound."""
        steps = self._spectrogram(patch) / self._audio_scale + self._audio_zero_point
        image = np.clip(np.round(steps), 0, 255).astype(np.uint8)[np.newaxis, np.newaxis]
        steps_out = self._session.run(None, {"audio": image})[0][0].astype(np.float32)
        logits = (steps_out - self._score_zero_point) * self._score_scale
        # The logistic function, written so that it cannot overflow.
        result: Array = (1.0 + np.tanh(logits / 2)) / 2
        return result

    def _spectrogram(self, patch: Samples) -> Array:
        """Log mel energies, shape ``(96, 64)``."""
        frames = np.lib.stride_tricks.sliding_window_view(patch, _WINDOW_SAMPLES)[::_HOP_SAMPLES]
        magnitudes = np.abs(np.fft.rfft(frames * self._window, _FFT_SAMPLES))
        result: Array = np.log(magnitudes @ self._mel + _LOG_OFFSET)
        return result


class SoundListener:
    """Listens to one stream of sound, patch by patch of just under a second."""

    def __init__(self, tagger: SoundTagger) -> None:
        self._tagger = tagger
        self._unheard: Samples = np.zeros(0, dtype=np.float32)
        self._total: Array = np.zeros(len(tagger.names), dtype=np.float32)
        self._n_patches = 0
        self._open: dict[int, _Sounding] = {}
        self._events: list[SoundEvent] = []

    def hear(self, samples: Samples) -> None:
        """The next piece, of any length."""
        self._unheard = np.concatenate([self._unheard, samples])
        while len(self._unheard) >= _PATCH_SAMPLES:
            self._patch(self._unheard[:_PATCH_SAMPLES])
            self._unheard = self._unheard[_PATCH_SAMPLES:]

    def finish(self) -> None:
        """The sound has ended: what is left counts if it is much, or all there is."""
        if self._n_patches == 0 or len(self._unheard) > _PATCH_SAMPLES // 2:
            self._patch(np.pad(self._unheard, (0, _PATCH_SAMPLES - len(self._unheard))))
        for index in tuple(self._open):
            self._end(index)

    def tags(self) -> tuple[Label, ...]:
        """The main sounds, most present first; scores are means over the whole stream."""
        scores = self._total / max(1, self._n_patches)
        best = np.argsort(-scores)[:_MAX_TAGS]
        return tuple(
            Label(self._tagger.names[index], float(scores[index]))
            for index in best
            if scores[index] >= _MIN_SCORE
        )

    def events(self) -> tuple[SoundEvent, ...]:
        """What begins and ends, in the order of beginning."""
        clearest = heapq.nlargest(_MAX_EVENTS, self._events, key=lambda event: event.score)
        return tuple(sorted(clearest, key=lambda event: (event.start_s, event.name)))

    def _patch(self, patch: Samples) -> None:
        scores = self._tagger.scores(patch)
        now = self._n_patches
        for index in np.argsort(-scores)[:_MAX_EVENTS_PER_PATCH].tolist():
            if scores[index] >= _MIN_EVENT_SCORE:
                sounding = self._open.setdefault(index, _Sounding(now, now, 0.0))
                sounding.last = now
                sounding.score = max(sounding.score, float(scores[index]))
        for index, sounding in tuple(self._open.items()):
            if now - sounding.last > _MAX_GAP_PATCHES:
                self._end(index)
        self._total += scores
        self._n_patches += 1

    def _end(self, index: int) -> None:
        sounding = self._open.pop(index)
        self._events.append(
            SoundEvent(
                name=self._tagger.names[index],
                start_s=round(sounding.first * _PATCH_S, 2),
                end_s=round((sounding.last + 1) * _PATCH_S, 2),
                score=sounding.score,
            )
        )


@dataclass(slots=True)
class _Sounding:
    """A sound that has not ended; numbers of patches."""

    first: int
    last: int
    score: float


def _mel_filters() -> Array:
    """Triangles on the mel scale, shape ``(frequencies, bands)``."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in _MEL_RANGE_HZ)
    edges_hz = 700 * (10 ** (np.linspace(low, high, _N_MEL_BANDS + 2) / 2595) - 1)
    frequencies_hz = np.linspace(0, SAMPLE_RATE_HZ / 2, _FFT_SAMPLES // 2 + 1)
    widths_hz = np.diff(edges_hz)
    slopes = frequencies_hz[:, np.newaxis] - edges_hz
    rising = slopes[:, :-2] / widths_hz[:-1]
    falling = -slopes[:, 2:] / widths_hz[1:]
    filters: Array = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    return filters
