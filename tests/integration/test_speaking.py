"""The real voices: what they say is understood, at every speed, and can be stopped."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from deployments.audio_encoder import AudioEncoderReplica
from deployments.loading import ModelNotPrepared
from deployments.speaking.engine import Samples
from deployments.speech_generator import SpeechGeneratorReplica
from serve.domain.errors import InvalidRequest, UnknownModel
from serve.domain.media import MediaKind
from serve.domain.messages import SpeechRequest, SpokenSentence, TranscriptionOptions
from serve.domain.voices import AudioFormat, Voice
from serve.media.audio_writers import whole_file
from serve.registry.catalog import CPU_CATALOG
from tests.fixtures.encoders import StoreMedia
from tests.fixtures.words import word_error_rate

pytestmark = pytest.mark.models

_TEXT = (
    "The weather in the mountains changed quickly this morning. We packed warm clothes and plenty "
    "of water. Please remember to call your sister before dinner."
)


@pytest.fixture(scope="module")
def voices(models_dir: Path) -> SpeechGeneratorReplica:
    specs = [CPU_CATALOG.get(name) for name in ("hibari", "kokoro-82m")]
    return SpeechGeneratorReplica(specs, models_dir)


async def _spoken(
    voices: SpeechGeneratorReplica,
    text: str,
    model: str = "tts-1",
    voice: str = "",
    speed: float = 1,
) -> list[SpokenSentence]:
    request = SpeechRequest(text=text, model=model, voice=voice, speed=speed)
    return [sentence async for sentence in voices.speak(request)]


def _length_s(spoken: list[SpokenSentence]) -> float:
    return sum(len(each.pcm) / 2 / each.sample_rate_hz for each in spoken)


@pytest.mark.parametrize(
    ("model", "voice", "speed", "text"),
    [
        ("tts-1", "alloy", 1.0, _TEXT),
        ("tts-1", "", 0.5, _TEXT),
        ("tts-1-hd", "fable", 1.0, "The weather in the mountains changed quickly this morning."),
    ],
)
async def test_what_is_said_is_understood(
    voices: SpeechGeneratorReplica,
    audio_encoder: AudioEncoderReplica,
    store_media: StoreMedia,
    model: str,
    voice: str,
    speed: float,
    text: str,
) -> None:
    spoken = await _spoken(voices, text, model, voice, speed)
    assert " ".join(each.text for each in spoken) == text
    pcm = b"".join(each.pcm for each in spoken)
    file = whole_file(AudioFormat.WAV, pcm, spoken[0].sample_rate_hz)
    media = await store_media(file, MediaKind.AUDIO, "audio/wav")
    heard = await audio_encoder.perceive(media, TranscriptionOptions(language="en"))
    assert word_error_rate(text, heard.transcript) < 0.15


async def test_every_speed_is_kept(voices: SpeechGeneratorReplica) -> None:
    text = "One moment please, we are nearly there."
    lengths_s = {
        speed: _length_s(await _spoken(voices, text, speed=speed)) for speed in (0.25, 0.5, 1, 2, 4)
    }
    for speed, length_s in lengths_s.items():
        assert length_s * speed == pytest.approx(lengths_s[1], rel=0.15)


async def test_the_same_words_sound_the_same(voices: SpeechGeneratorReplica) -> None:
    assert await _spoken(voices, "Hello.") == await _spoken(voices, "Hello.", voice="heart")


async def test_numbers_and_long_words_are_not_skipped(voices: SpeechGeneratorReplica) -> None:
    number = await _spoken(voices, "9876543210987 " * 10)
    words = await _spoken(voices, "Pneumonoultramicroscopicsilicovolcanoconiosis " * 20)
    assert _length_s(number) > 30
    assert _length_s(words) > 30
    loudest = np.abs(np.frombuffer(number[-1].pcm, "<i2")).max()
    assert loudest > 1000


@pytest.mark.parametrize(
    ("text", "model", "voice", "speed", "error"),
    [
        ("Hello.", "tts-9", "", 1.0, UnknownModel),
        ("Hello.", "tts-1-hd", "nobody", 1.0, InvalidRequest),
        ("Hello.", "tts-1", "", 0.2, InvalidRequest),
        ("***", "tts-1", "", 1.0, InvalidRequest),
    ],
)
async def test_what_cannot_be_said_is_refused(
    voices: SpeechGeneratorReplica,
    text: str,
    model: str,
    voice: str,
    speed: float,
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        await _spoken(voices, text, model, voice, speed)


async def test_whoever_stops_listening_leaves_the_rest_unsaid(
    voices: SpeechGeneratorReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    engine = voices._engines["hibari"]
    say = engine.say

    def noted(sentence: str, voice: Voice, speed: float) -> Samples:
        said.append(sentence)
        return say(sentence, voice, speed)

    monkeypatch.setattr(engine, "say", noted)
    request = SpeechRequest(text=_TEXT, model="hibari", voice="")
    async with aclosing(voices.speak(request)) as sentences:
        first = await anext(sentences)
    assert said == [first.text]
    assert len(await _spoken(voices, "Still there.")) == 1


def test_a_model_that_is_not_here_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelNotPrepared, match="kokoro-82m"):
        SpeechGeneratorReplica([CPU_CATALOG.get("hibari"), CPU_CATALOG.get("tts-1-hd")], tmp_path)
