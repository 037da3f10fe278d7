"""One person's turn of a conversation to text, quickly.

Whisper was trained on windows of 30 s and its encoder's work grows with the window, so a short
utterance in a window of its own size is heard several times faster. With too little silence
behind it, the decoder repeats itself; what looks like that is heard again in a whole window.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from deployments.hearing.recording import SAMPLE_RATE_HZ, Samples
from serve.domain.messages import Transcript, TranscriptionOptions

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

LONGEST_S: Final = 26.0
_WHOLE_WINDOW_S: Final = 30.0
_SILENCE_BEHIND_S: Final = 3.0
_LEAST_WINDOW_S: Final = 6.0
_FRAMES_PER_S: Final = 100
# Nobody speaks faster; more is the decoder repeating itself.
_MAX_TOKENS_PER_S: Final = 12
_LEAST_TOKENS: Final = 16
_REPETITIVE: Final = 2.4
# Whisper's own threshold for "nobody speaks here".
_NO_SPEECH: Final = 0.6
_UNLIKELY: Final = -1.0


def transcribe_utterance(
    model: WhisperModel, samples: Samples, options: TranscriptionOptions
) -> Transcript:
    """What is said in at most ``LONGEST_S``; without speech, an empty text."""
    length_s = len(samples) / SAMPLE_RATE_HZ
    window_s = max(_LEAST_WINDOW_S, length_s + _SILENCE_BEHIND_S)
    heard = _hear(model, samples, options, window_s=window_s, length_s=length_s)
    if _is_repetitive(heard.text):
        heard = _hear(model, samples, options, window_s=_WHOLE_WINDOW_S, length_s=length_s)
    return heard


def _hear(
    model: WhisperModel,
    samples: Samples,
    options: TranscriptionOptions,
    *,
    window_s: float,
    length_s: float,
) -> Transcript:
    encoded = _encoded(model, samples, window_s)
    language = options.language or _language(model, encoded)
    result = model.model.generate(
        encoded,
        [_prompt(model, language, options)],
        beam_size=1,
        max_length=_max_tokens(model, options, length_s),
        return_scores=True,
        return_no_speech_prob=True,
    )[0]
    if result.no_speech_prob > _NO_SPEECH and result.scores[0] < _UNLIKELY:
        return Transcript(text="", language=language)
    text: str = model.hf_tokenizer.decode(result.sequences_ids[0], skip_special_tokens=True)
    return Transcript(text=text.strip(), language=language)


def _encoded(model: WhisperModel, samples: Samples, window_s: float) -> Any:
    from ctranslate2 import StorageView

    n_samples = round(window_s * SAMPLE_RATE_HZ)
    padded = np.pad(samples, (0, max(0, n_samples - len(samples))))
    # The encoder halves the frames, so there must be an even number of them.
    n_frames = int(window_s * _FRAMES_PER_S) // 2 * 2
    frames = model.feature_extractor(padded, padding=0)[np.newaxis, :, :n_frames]
    return model.model.encode(StorageView.from_array(np.ascontiguousarray(frames, np.float32)))


def _language(model: WhisperModel, encoded: Any) -> str:
    if not model.model.is_multilingual:
        return "en"
    token: str = model.model.detect_language(encoded)[0][0][0]
    return token.strip("<|>")


def _prompt(model: WhisperModel, language: str, options: TranscriptionOptions) -> list[int]:
    from faster_whisper.tokenizer import Tokenizer

    task = "translate" if options.translate else "transcribe"
    tokenizer = Tokenizer(
        model.hf_tokenizer, model.model.is_multilingual, task=task, language=language
    )
    before: list[int] = []
    if options.prompt:
        # Whisper's own bound for what came before: half of its window of text.
        words = tokenizer.encode(" " + options.prompt.strip())[-(model.max_length // 2 - 1) :]
        before = [tokenizer.sot_prev, *words]
    return [*before, *tokenizer.sot_sequence, tokenizer.no_timestamps]


def _max_tokens(model: WhisperModel, options: TranscriptionOptions, length_s: float) -> int:
    room: int = model.max_length // 2 if options.prompt else model.max_length
    return min(room, _LEAST_TOKENS + int(length_s * _MAX_TOKENS_PER_S))


def _is_repetitive(text: str) -> bool:
    encoded = text.encode()
    return len(encoded) > 0 and len(encoded) / len(zlib.compress(encoded)) > _REPETITIVE
