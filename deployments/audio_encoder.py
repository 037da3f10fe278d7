"""Recordings to perceptions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deployments.hearing.recording import SAMPLE_RATE_HZ, decode_recording
from deployments.hearing.sounds import SoundTagger
from deployments.hearing.speech import SpeechFinder
from deployments.hearing.transcriber import Transcriber, Transcription
from deployments.loading import model_dir
from deployments.sentences import SentenceModel
from serve.domain.media import MediaRef
from serve.domain.messages import AudioPerception, Label, Transcript, TranscriptionOptions

if TYPE_CHECKING:
    from serve.domain.ports import ObjectStore
    from serve.registry.specs import ModelSpec

_FULL_SCALE = 32768.0
_SILENCE = Transcription(segments=(), language="", language_probability=0.0)


class AudioEncoderReplica:
    """Listens to one recording at a time; others wait, and Serve adds replicas.

    Args:
        spec: The models that listen.
        text_spec: The text encoder in whose space vectors lie.
        models_dir: Where prepared models are.
        open_store: Called once, where the recordings are read from.
    """

    def __init__(
        self,
        spec: ModelSpec,
        text_spec: ModelSpec,
        models_dir: Path,
        open_store: Callable[[], ObjectStore],
    ) -> None:
        folder = model_dir(spec, models_dir)
        self._spec = spec
        self._store = open_store()
        self._speech = SpeechFinder(folder / "hearing" / "silero_vad.onnx")
        self._sounds = SoundTagger(folder / "hearing")
        self._transcriber = Transcriber(folder)
        self._sentences = SentenceModel(
            model_dir(text_spec, models_dir), max_tokens=text_spec.max_input_tokens
        )
        # One thread: the models use the cores themselves.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="listen")
        # Somebody waits for an answer: not behind whole recordings.
        self._turns = ThreadPoolExecutor(max_workers=1, thread_name_prefix="turns")

    async def perceive(self, media: MediaRef, options: TranscriptionOptions) -> AudioPerception:
        """Hear everything there is to hear. Without speech, ``segments`` is empty.

        Raises:
            BrokenMedia: The recording cannot be decoded or holds no sound.
            InvalidRequest: The model does not know the language asked for.
        """
        self._transcriber.check(options)
        content = await self._store.get(media.storage_key)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, self._listen, content, options)

    async def transcribe(self, pcm: bytes, options: TranscriptionOptions) -> Transcript:
        """Write down one turn of a conversation, given as ``UtteranceTranscriber`` says.

        Raises:
            InvalidRequest: The model does not know the language asked for.
        """
        self._transcriber.check(options)
        samples = np.frombuffer(pcm, "<i2").astype(np.float32) / _FULL_SCALE
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._turns, self._transcriber.transcribe_utterance, samples, options
        )

    async def ping(self) -> str:
        """The revision that answers."""
        return self._spec.revision

    def _listen(self, content: bytes, options: TranscriptionOptions) -> AudioPerception:
        started_s = time.perf_counter()
        samples = decode_recording(content)
        speech = self._speech.find(samples)
        tags = self._sounds.tag(samples)
        said = self._transcriber.transcribe(samples, speech, options) if speech else _SILENCE
        return AudioPerception(
            segments=said.segments,
            language=said.language,
            language_probability=said.language_probability,
            sound_tags=tags,
            vector=self._place(said, tags),
            duration_s=len(samples) / SAMPLE_RATE_HZ,
            speech_s=sum(span.length_s for span in speech),
            encode_s=time.perf_counter() - started_s,
        )

    def _place(self, said: Transcription, tags: Sequence[Label]) -> tuple[float, ...]:
        """Where what was said lies among sentences, or else what was heard."""
        text = " ".join(segment.text for segment in said.segments)
        heard = ", ".join(label.name for label in tags) or "silence"
        return tuple(self._sentences.embed_passage(text or f"sound of {heard}").tolist())
