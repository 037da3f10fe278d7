"""What kinds of sound a recording holds: AudioSet classes by YAMNet in 8 bits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deployments.hearing.recording import SAMPLE_RATE_HZ, Samples
from deployments.onnx_graph import open_session
from serve.domain.messages import Label

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

_PATCH_STEP_SAMPLES = 48 * _HOP_SAMPLES
# A minute's worth; longer recordings are sampled evenly.
_MAX_PATCHES = 125
_MAX_TAGS = 5
_MIN_SCORE = 0.1


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

    def tag(self, samples: Samples) -> tuple[Label, ...]:
        """The main sounds, most present first; scores are means over the whole recording."""
        padded = np.pad(samples, (0, max(0, _PATCH_SAMPLES - len(samples))))
        last = len(padded) - _PATCH_SAMPLES
        n_patches = min(_MAX_PATCHES, 1 + last // _PATCH_STEP_SAMPLES)
        starts = np.linspace(0, last, n_patches).astype(int)
        scores = np.mean(
            [self._scores(padded[start : start + _PATCH_SAMPLES]) for start in starts], axis=0
        )
        best = np.argsort(-scores)[:_MAX_TAGS]
        return tuple(
            Label(self._names[index], float(scores[index]))
            for index in best
            if scores[index] >= _MIN_SCORE
        )

    def _scores(self, patch: Samples) -> Array:
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
