"""Recordings to perceptions, and to features when the generator has a tower for them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from deployments.hearing.listening import Listening
from deployments.hearing.pausing import paused, resumed
from deployments.hearing.recording import as_samples, decode_recording
from deployments.hearing.sounds import SoundTagger
from deployments.hearing.transcriber import Transcriber
from deployments.hearing.voice import SileroVoiceDetector
from deployments.loading import model_dir
from deployments.sentences import SentenceModel
from serve.domain.errors import EngineDead, UnknownModel
from serve.domain.media import MediaRef
from serve.domain.messages import (
    AudioPerception,
    FeatureRef,
    Heard,
    PartHeard,
    SoundPart,
    Transcript,
    TranscriptionOptions,
)

if TYPE_CHECKING:
    from typing import BinaryIO

    from deployments.hearing.recording import Samples
    from serve.domain.ports import ObjectStore
    from serve.registry.specs import ModelSpec


class SoundFeatureMaker(Protocol):
    """The audio tower of a generator that hears for itself."""

    def find(self, media: MediaRef) -> FeatureRef | None:
        """The recording's features, if the generator finds them already."""
        ...

    def features(self, samples: Samples, media: MediaRef) -> FeatureRef:
        """Compute the recording's features and put them where the generator finds them."""
        ...


class AudioEncoderReplica:
    """Listens to recordings in turns of some seconds, so that a short one never waits for hours.

    Args:
        spec: The models that listen.
        text_spec: The text encoder in whose space vectors lie.
        models_dir: Where prepared models are.
        open_store: Called once, where the recordings are read from.
        tower: Called once, for generators that hear for themselves.
    """

    def __init__(
        self,
        spec: ModelSpec,
        text_spec: ModelSpec,
        models_dir: Path,
        open_store: Callable[[], ObjectStore],
        tower: Callable[[], SoundFeatureMaker] | None = None,
    ) -> None:
        folder = model_dir(spec, models_dir)
        self._spec = spec
        self._store = open_store()
        self._voices = SileroVoiceDetector(lambda: folder / "hearing" / "silero_vad.onnx")
        self._sounds = SoundTagger(folder / "hearing")
        self._transcriber = Transcriber(folder)
        self._sentences = SentenceModel(
            model_dir(text_spec, models_dir), max_tokens=text_spec.max_input_tokens
        )
        self._tower = tower() if tower is not None else None
        # One thread: the models use the cores themselves.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="listen")
        # Somebody waits for an answer: not behind whole recordings.
        self._turns = ThreadPoolExecutor(max_workers=1, thread_name_prefix="turns")

    async def listen(
        self, media: MediaRef, options: TranscriptionOptions
    ) -> AsyncGenerator[Heard, None]:
        """Segments as they are heard, progress, and last all there is to hear.

        Closing it ends the work behind the window that is being heard.

        Raises:
            BrokenMedia: The recording cannot be decoded or holds no sound.
            InvalidRequest: The model does not know the language asked for.
        """
        self._transcriber.check(options)
        listening = self._listening(options, media.duration_s)
        loop = asyncio.get_running_loop()
        with await self._spooled(media) as recording:
            steps = listening.hear(recording)
            try:
                while (
                    step := await loop.run_in_executor(self._worker, next, steps, None)
                ) is not None:
                    yield step
            finally:
                # Behind a step that is still being made for nobody.
                await loop.run_in_executor(self._worker, steps.close)

    async def perceive(self, media: MediaRef, options: TranscriptionOptions) -> AudioPerception:
        """Hear everything there is to hear. Without speech, ``segments`` is empty.

        Raises what ``listen`` does.
        """
        async with aclosing(self.listen(media, options)) as steps:
            async for step in steps:
                if isinstance(step, AudioPerception):
                    return step
        raise EngineDead("the encoder stopped before it was done; try again")

    async def hear_on(self, part: SoundPart, options: TranscriptionOptions) -> PartHeard:
        """See ``AudioEncoder``: nothing stays here between two parts.

        Raises:
            InvalidRequest: The model does not know the language asked for.
        """
        self._transcriber.check(options)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, self._hear_on, part, options)

    def _hear_on(self, part: SoundPart, options: TranscriptionOptions) -> PartHeard:
        models: dict[str, object] = {
            "voices": self._voices,
            "sounds": self._sounds,
            "transcriber": self._transcriber,
            "sentences": self._sentences,
        }
        listening = resumed(part.so_far, models) if part.so_far else self._listening(options, None)
        steps = list(listening.hear_part(np.frombuffer(part.pcm, "<i2")))
        if part.is_last:
            return PartHeard(steps=(*steps, *listening.finish()), so_far=b"")
        return PartHeard(steps=tuple(steps), so_far=paused(listening, models))

    def _listening(self, options: TranscriptionOptions, duration_s: float | None) -> Listening:
        return Listening(
            voices=self._voices,
            sounds=self._sounds,
            transcriber=self._transcriber,
            sentences=self._sentences,
            options=options,
            duration_s=duration_s,
        )

    async def features(self, media: MediaRef, model: str) -> FeatureRef:
        """What the generator's own tower makes of the recording, stored for it.

        Raises:
            BrokenMedia: The recording cannot be decoded or holds too little sound.
            UnknownModel: No generator here hears for itself.
        """
        tower = self._tower
        if tower is None:
            raise UnknownModel(f"{model!r} takes no recordings here, only text", param="model")

        def hear(recording: BinaryIO) -> FeatureRef:
            samples = np.concatenate([as_samples(pcm) for pcm in decode_recording(recording)])
            return tower.features(samples, media)

        loop = asyncio.get_running_loop()
        known = await loop.run_in_executor(self._worker, tower.find, media)
        if known is not None:
            return known
        with await self._spooled(media) as recording:
            return await loop.run_in_executor(self._worker, hear, recording)

    async def transcribe(self, pcm: bytes, options: TranscriptionOptions) -> Transcript:
        """Write down one turn of a conversation, given as ``UtteranceTranscriber`` says.

        Raises:
            InvalidRequest: The model does not know the language asked for.
        """
        self._transcriber.check(options)
        samples = as_samples(np.frombuffer(pcm, "<i2"))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._turns, self._transcriber.transcribe_utterance, samples, options
        )

    async def ping(self) -> str:
        """The revision that answers."""
        return self._spec.revision

    async def _spooled(self, media: MediaRef) -> BinaryIO:
        """The recording as a file without a name: hours of sound need not stay in memory."""
        content = await self._store.get(media.storage_key)
        file = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
        file.write(content)
        file.seek(0)
        return file
