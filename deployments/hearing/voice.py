"""Whether somebody speaks, while they do: Silero VAD on sound that keeps coming."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deployments.onnx_graph import open_session

# 32 ms at 16 kHz, each frame heard after the last samples of the one before.
_FRAME_SAMPLES: Final = 512
_CONTEXT_SAMPLES: Final = 64
_STATE_SHAPE: Final = (1, 1, 128)
_FULL_SCALE: Final = 32768.0


class SileroVoiceDetector:
    """``VoiceDetector``. The model is loaded when somebody first listens."""

    def __init__(self, find_model: Callable[[], Path]) -> None:
        self._find_model = find_model

    def listen(self) -> SileroVoiceListener:
        """See ``VoiceDetector``."""
        return SileroVoiceListener(self)

    @cached_property
    def session(self) -> Any:
        """The loaded model."""
        return open_session(self._find_model())


class SileroVoiceListener:
    """``VoiceListener``. Thread-safe only if its calls come one after the other."""

    def __init__(self, detector: SileroVoiceDetector) -> None:
        self._detector = detector
        self._hidden = self._cell = np.zeros(_STATE_SHAPE, dtype=np.float32)
        self._unheard = np.zeros(_CONTEXT_SAMPLES, dtype=np.float32)

    def hear(self, pcm: bytes) -> Sequence[float]:
        """See ``VoiceListener``."""
        samples = np.frombuffer(pcm, "<i2").astype(np.float32) / _FULL_SCALE
        self._unheard = np.concatenate([self._unheard, samples])
        n_frames = (len(self._unheard) - _CONTEXT_SAMPLES) // _FRAME_SAMPLES
        if n_frames == 0:
            return ()
        frames = np.lib.stride_tricks.sliding_window_view(
            self._unheard, _CONTEXT_SAMPLES + _FRAME_SAMPLES
        )[: n_frames * _FRAME_SAMPLES : _FRAME_SAMPLES]
        speech: NDArray[np.float32]
        speech, self._hidden, self._cell = self._detector.session.run(
            ["speech_probs", "hn", "cn"],
            {"input": np.ascontiguousarray(frames), "h": self._hidden, "c": self._cell},
        )
        self._unheard = self._unheard[n_frames * _FRAME_SAMPLES :]
        return tuple(speech.tolist())
