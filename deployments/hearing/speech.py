"""Where somebody speaks, by Silero VAD."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deployments.hearing.recording import SAMPLE_RATE_HZ, Samples
from deployments.onnx_graph import open_session

_FRAME_SAMPLES = 512
_CONTEXT_SAMPLES = 64
_FRAMES_PER_RUN = 512
_STATE_SHAPE = (1, 1, 128)

# Silero's own defaults, but for longer pauses inside one stretch of speech.
_STARTS_ABOVE = 0.5
_ENDS_BELOW = 0.35
_MIN_SPEECH_S = 0.25
_MIN_PAUSE_S = 0.5
_PADDING_S = 0.2


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, seconds from the start."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """How long it is."""
        return self.end_s - self.start_s


class SpeechFinder:
    """Thread-safe."""

    def __init__(self, model: Path) -> None:
        self._session = open_session(model)

    def find(self, samples: Samples) -> tuple[Span, ...]:
        """Stretches of speech, in order, apart from each other."""
        frame_s = _FRAME_SAMPLES / SAMPLE_RATE_HZ
        duration_s = len(samples) / SAMPLE_RATE_HZ
        return _padded(list(_spans(self._probabilities(samples), frame_s)), duration_s)

    def _probabilities(self, samples: Samples) -> NDArray[np.float32]:
        """One number per frame of 32 ms."""
        hidden = cell = np.zeros(_STATE_SHAPE, dtype=np.float32)
        results = []
        for block in _blocks(samples):
            speech, hidden, cell = self._session.run(
                ["speech_probs", "hn", "cn"], {"input": block, "h": hidden, "c": cell}
            )
            results.append(speech)
        return np.concatenate(results)


def _blocks(samples: Samples) -> Iterator[NDArray[np.float32]]:
    """Frames, each after the last samples of the one before; shape ``(n, 576)``."""
    n_frames = max(1, -(-len(samples) // _FRAME_SAMPLES))
    padded = np.zeros(_CONTEXT_SAMPLES + n_frames * _FRAME_SAMPLES, dtype=np.float32)
    padded[_CONTEXT_SAMPLES : _CONTEXT_SAMPLES + len(samples)] = samples
    windows = np.lib.stride_tricks.sliding_window_view(padded, _CONTEXT_SAMPLES + _FRAME_SAMPLES)[
        ::_FRAME_SAMPLES
    ]
    for start in range(0, n_frames, _FRAMES_PER_RUN):
        yield np.ascontiguousarray(windows[start : start + _FRAMES_PER_RUN])


def _spans(probabilities: NDArray[np.float32], frame_s: float) -> Iterator[Span]:
    """Begin where speech is likely; end where it has been unlikely for a pause."""
    start_s: float | None = None
    quiet_since_s: float | None = None
    for index, probability in enumerate(probabilities):
        now_s = index * frame_s
        if probability >= _STARTS_ABOVE:
            start_s = now_s if start_s is None else start_s
            quiet_since_s = None
        elif start_s is not None and probability < _ENDS_BELOW:
            quiet_since_s = now_s if quiet_since_s is None else quiet_since_s
            if now_s - quiet_since_s >= _MIN_PAUSE_S:
                yield Span(start_s, quiet_since_s)
                start_s = quiet_since_s = None
    if start_s is not None:
        end_s = len(probabilities) * frame_s if quiet_since_s is None else quiet_since_s
        yield Span(start_s, end_s)


def _padded(spans: Sequence[Span], duration_s: float) -> tuple[Span, ...]:
    """Without clicks, and with room for the first and last sounds of each stretch."""
    return tuple(
        Span(max(0.0, span.start_s - _PADDING_S), min(duration_s, span.end_s + _PADDING_S))
        for span in spans
        if span.length_s >= _MIN_SPEECH_S
    )


def joined(spans: Sequence[Span], *, max_length_s: float) -> tuple[Span, ...]:
    """Neighbours put together, pauses included, up to a length that no join passes."""
    result: list[Span] = []
    for span in spans:
        if result and span.end_s - result[-1].start_s <= max_length_s:
            result[-1] = Span(result[-1].start_s, span.end_s)
        else:
            result.append(span)
    return tuple(result)
