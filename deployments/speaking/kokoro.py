"""Kokoro 82M: many voices of higher quality, at about the pace of speech on two cores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from deployments.onnx_graph import open_session
from deployments.speaking.engine import Samples
from deployments.speaking.phonemes import phonemes_of
from serve.domain.voices import Voice


class KokoroEngine:
    """``SpeechEngine`` on the folder that ``deployments.conversion.kokoro`` makes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        self._ids: dict[str, int] = vocabulary["vocab"]
        self._session = open_session(folder / "kokoro-int8.onnx")

    def say(self, sentence: str, voice: Voice, speed: float) -> Samples:
        """See ``SpeechEngine``."""
        # Shape (510, 1, 256): a style for each number of phonemes.
        styles = np.fromfile(self._folder / "voices" / f"{voice.name}.bin", np.float32)
        styles = styles.reshape(-1, 1, 256)
        parts = [self._say(piece, styles, speed) for piece in phonemes_of(sentence, voice.language)]
        return np.concatenate([np.zeros(0, np.float32), *parts])

    def _say(self, phonemes: str, styles: Samples, speed: float) -> Samples:
        ids = [self._ids[symbol] for symbol in phonemes if symbol in self._ids]
        inputs = {
            "tokens": np.asarray([[0, *ids, 0]], np.int64),
            "style": styles[min(len(ids), len(styles) - 1)],
            "speed": np.asarray([speed], np.float32),
        }
        samples: Samples = self._session.run(None, inputs)[0]
        return samples.ravel()
