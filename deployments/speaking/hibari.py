"""Hibari: one small voice, far faster than real time on one core."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deployments.speaking.engine import Samples
from deployments.speaking.phonemes import phonemes_of
from serve.domain.voices import Voice


class HibariEngine:
    """``SpeechEngine`` by the installed package, whose folder holds its weights."""

    def __init__(self, folder: Path) -> None:
        from hibari import Hibari

        self._model = Hibari(model=str(folder / "assets" / "hibari.onnx"), g2p=False)

    def say(self, sentence: str, voice: Voice, speed: float) -> Samples:
        """See ``SpeechEngine``. The same words always sound the same."""
        parts = [
            self._model.from_phonemes(piece, speed, seed=0)
            for piece in phonemes_of(sentence, voice.language)
        ]
        return np.concatenate([np.zeros(0, np.float32), *parts])
