"""Text to speech."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from deployments.loading import model_dir
from deployments.speaking.engine import SAMPLE_RATE_HZ, SpeechEngine, pcm_of, say_at
from serve.domain.errors import InvalidRequest
from serve.domain.messages import SpeechRequest, SpokenSentence
from serve.domain.sentences import sentences_of
from serve.domain.voices import Voice, choose_voice
from serve.registry.specs import ModelSpec, Registry, Role

_PAUSE_S: Final = 0.15
_SLOWEST: Final = 0.25
_FASTEST: Final = 4.0


class SpeechGeneratorReplica:
    """Says one sentence at a time, so that requests that run together take turns.

    Args:
        specs: The models, the default one first: it is loaded now, others when they are asked for.
        models_dir: Where prepared models are.
    """

    def __init__(self, specs: Sequence[ModelSpec], models_dir: Path) -> None:
        self._models = Registry(specs)
        self._default = specs[0]
        self._folders = {spec.name: model_dir(spec, models_dir) for spec in specs}
        self._engines: dict[str, SpeechEngine] = {}
        # One thread: the models use the cores themselves.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="speak")
        self._say(self._default, "Ready.", self._default.voices[0], 1.0)

    async def speak(self, request: SpeechRequest) -> AsyncGenerator[SpokenSentence, None]:
        """Say the text; closing this stops behind the sentence that is being said.

        Raises:
            UnknownModel: No such model is served here.
            InvalidRequest: No such voice or speed, or nothing in the text can be said.
        """
        spec = self._models.get(request.model, Role.SPEECH_GENERATOR)
        voice = choose_voice(spec.voices, request.voice)
        if not _SLOWEST <= request.speed <= _FASTEST:
            message = f"the speed is {request.speed:g}; choose {_SLOWEST:g} to {_FASTEST:g}"
            raise InvalidRequest(message, param="speed")
        sentences = sentences_of(request.text)
        if not sentences:
            raise InvalidRequest("there is nothing to say in this text", param="input")
        loop = asyncio.get_running_loop()
        for sentence in sentences:
            pcm = await loop.run_in_executor(
                self._worker, self._say, spec, sentence, voice, request.speed
            )
            yield SpokenSentence(text=sentence, pcm=pcm, sample_rate_hz=SAMPLE_RATE_HZ)

    async def ping(self) -> str:
        """The revision that answers."""
        return self._default.revision

    def _say(self, spec: ModelSpec, sentence: str, voice: Voice, speed: float) -> bytes:
        if spec.name not in self._engines:
            self._engines[spec.name] = _loaded(spec, self._folders[spec.name])
        return pcm_of(say_at(self._engines[spec.name], sentence, voice, speed), _PAUSE_S / speed)


def _loaded(spec: ModelSpec, folder: Path) -> SpeechEngine:
    if spec.speech is None:
        raise ValueError(f"{spec.name} does not speak")
    match spec.speech.engine:
        case "hibari":
            from deployments.speaking.hibari import HibariEngine

            return HibariEngine(folder)
        case "kokoro":
            from deployments.speaking.kokoro import KokoroEngine

            return KokoroEngine(folder)
