"""Sound of a live conversation: rates, companding, turns, and how much was heard."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from serve.domain.messages import Transcript
from serve.domain.realtime import FRAME_MS, Turn, TurnDetector, WireFormat
from serve.ingress.realtime.listening import Hearing
from serve.media.pcm import Resampler, WireReader, WireWriter, from_s16, to_s16
from serve.protocol.realtime_items import SpokenPiece, truncated


def _tone(hz: float, rate_hz: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.sin(2 * np.pi * hz * np.arange(rate_hz) / rate_hz).astype(np.float32)


@pytest.mark.parametrize(
    ("from_hz", "to_hz"),
    [(24_000, 16_000), (8_000, 16_000), (16_000, 24_000), (22_050, 24_000), (24_000, 8_000)],
)
def test_a_tone_keeps_its_pitch_and_loudness(from_hz: int, to_hz: int) -> None:
    resampler = Resampler(from_hz, to_hz)
    tone = _tone(440, from_hz)
    pieces = [resampler.push(tone[start : start + 777]) for start in range(0, len(tone), 777)]
    result = np.concatenate(pieces)
    assert len(result) == to_hz
    times = np.arange(len(result)) / to_hz
    waves = np.stack([np.sin(2 * np.pi * 440 * times), np.cos(2 * np.pi * 440 * times)], axis=1)
    middle = slice(300, -300)
    parts, *_ = np.linalg.lstsq(waves[middle], result[middle], rcond=None)
    assert np.hypot(*parts) == pytest.approx(1.0, abs=0.01)
    assert np.abs(waves[middle] @ parts - result[middle]).max() < 0.001


def test_what_the_lower_rate_cannot_hold_is_silent() -> None:
    assert np.abs(Resampler(24_000, 16_000).push(_tone(11_000, 24_000))[300:]).max() < 0.01


def test_samples_cut_anywhere_come_out_the_same() -> None:
    content = to_s16(_tone(300, 24_000) * 0.5)
    whole = WireReader(WireFormat.PCM).push(content)
    reader = WireReader(WireFormat.PCM)
    pieces = [reader.push(content[start : start + 333]) for start in range(0, len(content), 333)]
    assert b"".join(pieces) == whole
    assert len(whole) == 2 * 16_000


@pytest.mark.parametrize("form", [WireFormat.MU_LAW, WireFormat.A_LAW])
def test_companded_sound_survives(form: WireFormat) -> None:
    tone = _tone(200, 8_000) * 0.5
    wire = WireWriter(form, 8_000).push(to_s16(tone))
    assert len(wire) == 8_000
    back = from_s16(WireReader(form).push(wire))[::2]
    noise = back[100:-100] - np.interp(np.arange(100, 7900) - 8.25, np.arange(8000), tone)
    assert np.sqrt(np.mean(noise**2)) < 0.05


def _turns(probabilities: list[float], silence_ms: int = 320) -> list[tuple[int, Turn]]:
    detector = TurnDetector(0.5, silence_ms)
    turns = [(index, detector.feed(each)) for index, each in enumerate(probabilities)]
    return [(index, turn) for index, turn in turns if turn is not None]


def test_a_turn_begins_with_speech_and_ends_with_silence() -> None:
    detector = TurnDetector(0.5, 320)
    for probability in [0.1] * 5 + [0.9] * 10 + [0.1] * 9:
        detector.feed(probability)
    assert detector.is_speech
    assert detector.began_ms == 5 * FRAME_MS
    assert detector.feed(0.1) is Turn.ENDED
    assert detector.ended_ms == 15 * FRAME_MS + 160
    assert not detector.is_speech


def test_clicks_are_no_turns_and_pauses_no_ends() -> None:
    assert _turns([0.9, 0.9, 0.1] * 4) == []
    speech, pause = [0.9] * 4, [0.1] * 7
    told = [turn for _, turn in _turns([*speech, *pause, *speech, *([0.1] * 10)])]
    assert told == [Turn.BEGAN, Turn.PAUSED, Turn.RESUMED, Turn.PAUSED, Turn.ENDED]


def test_doubtful_sound_neither_ends_nor_keeps_up_a_turn() -> None:
    assert [turn for _, turn in _turns([0.9] * 3 + [0.4] * 50)] == [Turn.BEGAN]


def test_an_interrupted_answer_is_what_was_heard_of_it() -> None:
    spoken = [
        SpokenPiece(0, "One two three.", 0, 1000),
        SpokenPiece(1, "Four five six seven.", 1000, 3000),
    ]
    assert truncated(spoken, 0) == []
    assert truncated(spoken, 999) == [SpokenPiece(0, "One two", 0, 999)]
    assert truncated(spoken, 1000) == spoken[:1]
    assert truncated(spoken, 2000) == [spoken[0], SpokenPiece(1, "Four five", 1000, 2000)]
    assert truncated(spoken, 3000) == spoken


async def test_words_are_told_once_two_hearings_agree() -> None:
    heard = iter(["I scream", "Ice cream is", "ice cream is, good", "ice cream is good today"])
    told: list[str] = []

    async def transcribe(_pcm: bytes) -> Transcript:
        return Transcript(text=next(heard), language="en")

    async def tell(words: str) -> None:
        told.append(words)

    async with asyncio.TaskGroup() as group:
        hearing = Hearing(group, transcribe, tell)
        for at_ms in range(1000, 5000, 1000):
            hearing.grow(lambda: bytes(32_000), at_ms)
            # One at a time: this one finds the last one at work.
            hearing.grow(lambda: bytes(32_000), at_ms + 900)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    assert told == ["ice cream is,", " good"]


async def test_a_guess_is_the_transcript_unless_there_was_more() -> None:
    asked: list[int] = []

    async def transcribe(pcm: bytes) -> Transcript:
        asked.append(len(pcm))
        return Transcript(text=str(len(pcm)), language="en")

    async with asyncio.TaskGroup() as group:
        hearing = Hearing(group, transcribe, None)
        hearing.guess(bytes(10))
        hearing.drop_guess()
        hearing.guess(bytes(20))
        assert (await hearing.finish(bytes(30))).text == "20"
    assert asked == [20]
