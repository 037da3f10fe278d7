"""``speech``: what the model wants said aloud."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

from graphs.online.tools.registry import Asked, Outcome
from serve.domain.asks import Watch
from serve.domain.catalogue import ServedModels
from serve.domain.errors import InvalidRequest
from serve.domain.making import making_of_speech
from serve.domain.messages import Progress, SpeechRequest, Stage, ToolSpec
from serve.domain.moderation import ContentPolicy
from serve.domain.ports import SpeechGenerator
from serve.domain.voices import AudioFormat, choose_voice
from serve.media.audio_writers import speech_of
from serve.media.intake import MediaIntake
from serve.protocol.server_tools import SPEECH


class Speaking:
    """Speaks with the default voice model, or the one that the caller's options name."""

    spec: Final = ToolSpec(
        name=SPEECH,
        description="Say a text aloud to the user. Call it when something is to be heard.",
        parameters_json=(
            '{"type":"object","properties":{"text":{"type":"string","minLength":1,'
            '"maxLength":2000,"description":"What to say, word for word."}},'
            '"required":["text"],"additionalProperties":false}'
        ),
    )
    stage: Final = Stage.SPEAKING
    makes_assets: Final = True
    node: Final = "SpeechGenerator"

    def __init__(
        self,
        speech: SpeechGenerator,
        intake: MediaIntake,
        models: ServedModels,
        policy: ContentPolicy,
    ) -> None:
        self._speech = speech
        self._intake = intake
        self._models = models
        self._policy = policy

    async def run(self, asked: Asked, watch: Watch) -> Outcome:
        """See ``ServerTool``."""
        text = asked.text("text")
        model = self._models.choose("speech_generator", asked.options.get("model"))
        voice = choose_voice(model.voices, asked.options.get("voice", ""))
        request = SpeechRequest(text=text, model=model.name, voice=voice.name)
        await self._policy.check_text(text, param="text")
        pcm, rate_hz = await self._say(request, watch)
        media = await self._intake.keep_made(
            asked.caller,
            await speech_of(AudioFormat.FLAC, pcm, rate_hz),
            making_of_speech(request, response_id=asked.response_id, parents=asked.media),
            filename="speech.flac",
        )
        return Outcome(f"{text!r} is now said aloud to the user.", media.asset_id)

    async def _say(self, request: SpeechRequest, watch: Watch) -> tuple[bytes, int]:
        pcm, rate_hz, n_said = bytearray(), 0, 0
        async with aclosing(self._speech.speak(request)) as sentences:
            async for sentence in sentences:
                pcm += sentence.pcm
                rate_hz = sentence.sample_rate_hz
                n_said += len(sentence.text)
                await watch(Progress(min(0.99, n_said / len(request.text)), sentence.text))
        if not pcm:
            raise InvalidRequest("there is nothing in this text that can be said")
        return bytes(pcm), rate_hz
