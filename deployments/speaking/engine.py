"""What every voice can do, and the arithmetic they share."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from serve.domain.voices import Voice

Samples = NDArray[np.float32]

SAMPLE_RATE_HZ: Final = 24_000
# What voices can do by themselves; beyond it their sound is stretched.
_SLOWEST: Final = 0.5
_FASTEST: Final = 2.0
_LOUDEST: Final = 32767.0


class SpeechEngine(Protocol):
    """Says one sentence at a time, on the thread that calls it."""

    def say(self, sentence: str, voice: Voice, speed: float) -> Samples:
        """Mono samples, -1 to 1, at ``SAMPLE_RATE_HZ``; none for a sentence without sounds."""
        ...


def say_at(engine: SpeechEngine, sentence: str, voice: Voice, speed: float) -> Samples:
    """As ``say``, at any speed."""
    own = min(max(speed, _SLOWEST), _FASTEST)
    samples = engine.say(sentence, voice, own)
    return stretched(samples, speed / own) if speed != own else samples


def stretched(samples: Samples, tempo: float) -> Samples:
    """The same sound at the same pitch, ``tempo`` times as fast; 0.5 or more."""
    import av
    import av.filter

    graph = av.filter.Graph()
    source = graph.add_abuffer(format="flt", sample_rate=SAMPLE_RATE_HZ, layout="mono")
    graph.link_nodes(source, graph.add("atempo", f"{tempo:.4f}"), graph.add("abuffersink"))
    graph.configure()
    frame = av.AudioFrame.from_ndarray(samples[None, :], format="flt", layout="mono")
    frame.sample_rate = SAMPLE_RATE_HZ
    graph.push(frame)
    graph.push(None)
    parts: list[Samples] = []
    while True:
        try:
            parts.append(graph.pull().to_ndarray().ravel())
        except (av.error.EOFError, av.error.BlockingIOError):
            return np.concatenate(parts) if parts else samples[:0]


def pcm_of(samples: Samples, pause_s: float) -> bytes:
    """Signed 16-bit little-endian, with silence behind it."""
    silence = np.zeros(round(pause_s * SAMPLE_RATE_HZ), dtype="<i2")
    said = np.round(np.clip(samples, -1.0, 1.0) * _LOUDEST).astype("<i2")
    return said.tobytes() + silence.tobytes()
