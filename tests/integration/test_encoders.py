"""The real models on real pictures and recordings."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest
import skimage.data
from numpy.typing import NDArray

from deployments.audio_encoder import AudioEncoderReplica
from deployments.image_encoder import ImageEncoderReplica
from deployments.text_encoder import TextEncoderReplica
from serve.domain.errors import (
    BrokenMedia,
    ContextLengthExceeded,
    InvalidRequest,
    NotFound,
    UnknownModel,
)
from serve.domain.media import MediaKind, MediaRef
from serve.domain.messages import (
    AudioPerception,
    FeatureRef,
    ImagePerception,
    TextBatch,
    TranscriptionOptions,
)
from tests.fixtures.encoders import StoreMedia, png, wav

pytestmark = pytest.mark.models

_LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")
_DETECT = TranscriptionOptions()


# --- text -------------------------------------------------------------------------------------


async def test_texts_of_one_meaning_lie_close_together(text_encoder: TextEncoderReplica) -> None:
    texts = ("a cat sleeps on the sofa", "a kitten naps on the couch", "interest rates went up")
    found = await text_encoder.encode(TextBatch(texts))
    assert found.vectors.shape == (3, 384)
    assert found.vectors.dtype == np.float32
    assert np.linalg.norm(found.vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert found.vectors[0] @ found.vectors[1] > 0.6 > 0.2 > found.vectors[0] @ found.vectors[2]
    assert found.model == "minilm-l6-v2"


async def test_tokens_are_counted_with_their_marks(text_encoder: TextEncoderReplica) -> None:
    found = await text_encoder.encode(TextBatch(("hello world", "hello")))
    assert found.n_tokens == 4 + 3


async def test_vectors_do_not_depend_on_what_else_is_embedded(
    text_encoder: TextEncoderReplica,
) -> None:
    texts = [f"{'very ' * n}long sentence number {n}" for n in range(40)]
    together = await text_encoder.encode(TextBatch(tuple(texts)))
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(text_encoder.encode(TextBatch((text,)))) for text in texts]
    alone = np.concatenate([call.result().vectors for call in calls])
    assert np.abs(alone - together.vectors).max() < 1e-5


@pytest.mark.parametrize("texts", [(), ("",), ("fine", "  \n")])
async def test_an_empty_text_or_batch_is_refused(
    text_encoder: TextEncoderReplica, texts: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidRequest):
        await text_encoder.encode(TextBatch(texts))


async def test_a_text_over_the_window_is_refused_with_both_numbers(
    text_encoder: TextEncoderReplica,
) -> None:
    with pytest.raises(ContextLengthExceeded, match=r"402 tokens.* 256") as refused:
        await text_encoder.encode(TextBatch(("fine", "word " * 400)))
    assert refused.value.context == {"limit": 256, "got": 402}


# --- pictures ---------------------------------------------------------------------------------


async def _look(
    encoder: ImageEncoderReplica, store_media: StoreMedia, picture: PIL.Image.Image
) -> ImagePerception:
    return await encoder.perceive(await store_media(png(picture), MediaKind.IMAGE, "image/png"))


def _sample(name: str) -> PIL.Image.Image:
    return PIL.Image.fromarray(getattr(skimage.data, name)())


async def test_a_cat_is_seen_named_and_placed(
    image_encoder: ImageEncoderReplica, store_media: StoreMedia, cat_jpeg: bytes
) -> None:
    media = await store_media(cat_jpeg, MediaKind.IMAGE, "image/jpeg")
    seen = await image_encoder.perceive(media)
    assert {"Egyptian Mau", "tabby cat", "tiger cat"} >= {label.name for label in seen.labels}
    assert [thing.name for thing in seen.objects] == ["cat"]
    box = seen.objects[0].box
    assert 0 <= box.left_px < 100
    assert 350 < box.right_px <= 451
    assert seen.text_lines == ()
    assert "a cat" in seen.description
    assert seen.encode_s > 0


async def test_boxes_are_in_pixels_of_the_stored_picture(
    image_encoder: ImageEncoderReplica, store_media: StoreMedia
) -> None:
    small = await _look(image_encoder, store_media, _sample("camera"))
    large = await _look(image_encoder, store_media, _sample("camera").resize((2048, 2048)))
    assert [thing.name for thing in small.objects] == ["person"]
    assert [thing.name for thing in large.objects] == ["person"]
    edges = [
        np.array([box.left_px, box.top_px, box.right_px, box.bottom_px])
        for box in (small.objects[0].box, large.objects[0].box)
    ]
    assert np.abs(edges[1] / 4 - edges[0]).max() < 16


async def test_an_invoice_is_read_exactly_and_in_order(
    image_encoder: ImageEncoderReplica, store_media: StoreMedia
) -> None:
    invoice = PIL.Image.new("RGB", (900, 400), "white")
    draw = PIL.ImageDraw.Draw(invoice)
    font = PIL.ImageFont.load_default(36)
    draw.text((480, 44), "Due 2026-11-30", fill="black", font=font)
    draw.text((40, 40), "Invoice No. 48213", fill="black", font=font)
    draw.text((40, 160), "Total: $1,275.60", fill="black", font=font)
    seen = await _look(image_encoder, store_media, invoice)
    assert [line.text for line in seen.text_lines] == [
        "Invoice No. 48213",
        "Due 2026-11-30",
        "Total: $1,275.60",
    ]
    assert seen.text_lines[2].box.top_px == pytest.approx(160, abs=20)
    assert "Total: $1,275.60" in seen.description


async def test_a_printed_page_is_read(
    image_encoder: ImageEncoderReplica, store_media: StoreMedia
) -> None:
    seen = await _look(image_encoder, store_media, _sample("page"))
    assert seen.text_lines[0].text == "Region-based segmentation"
    text = " ".join(line.text for line in seen.text_lines)
    assert "determine markers of the coins" in text


async def test_a_sentence_finds_the_picture_it_speaks_of(
    image_encoder: ImageEncoderReplica,
    text_encoder: TextEncoderReplica,
    store_media: StoreMedia,
) -> None:
    wanted = {
        "chelsea": "a cute kitten looking at the camera",
        "coffee": "a hot drink on a table",
        "camera": "a photographer with a tripod",
        "page": "how to segment an image into regions",
    }
    pictures = [(await _look(image_encoder, store_media, _sample(name))).vector for name in wanted]
    queries = await text_encoder.encode(TextBatch(tuple(wanted.values()), "query"))
    assert np.linalg.norm(pictures, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    best = (queries.vectors @ np.array(pictures).T).argmax(axis=1)
    assert best.tolist() == [0, 1, 2, 3]


async def test_pictures_looked_at_together_are_seen_as_alone(
    image_encoder: ImageEncoderReplica, store_media: StoreMedia
) -> None:
    names = ("page", "chelsea", "text", "coffee")
    alone = [await _look(image_encoder, store_media, _sample(name)) for name in names]
    together = await asyncio.gather(
        *(_look(image_encoder, store_media, _sample(name)) for name in names)
    )
    for one, other in zip(alone, together, strict=True):
        assert replace(one, encode_s=0.0) == replace(other, encode_s=0.0)


async def test_an_empty_picture_claims_nothing(
    image_encoder: ImageEncoderReplica, store_media: StoreMedia
) -> None:
    seen = await _look(image_encoder, store_media, PIL.Image.new("RGBA", (64, 64), (0, 0, 0, 0)))
    assert seen.objects == ()
    assert seen.text_lines == ()


async def test_a_damaged_picture_is_refused(
    image_encoder: ImageEncoderReplica, store_media: StoreMedia, cat_jpeg: bytes
) -> None:
    media = await store_media(cat_jpeg[:9000], MediaKind.IMAGE, "image/jpeg")
    with pytest.raises(BrokenMedia):
        await image_encoder.perceive(media)


async def test_a_picture_that_is_gone_is_not_found(image_encoder: ImageEncoderReplica) -> None:
    with pytest.raises(NotFound):
        await image_encoder.perceive(
            MediaRef(
                asset_id="asset_gone",
                owner_id="user_test",
                kind=MediaKind.IMAGE,
                mime_type="image/png",
                content_hash="0" * 64,
                storage_key="assets/gone",
                n_bytes=1,
            )
        )


async def test_features_are_refused_where_no_generator_takes_pictures(
    image_encoder: ImageEncoderReplica, store_media: StoreMedia, cat_jpeg: bytes
) -> None:
    media = await store_media(cat_jpeg, MediaKind.IMAGE, "image/jpeg")
    with pytest.raises(UnknownModel):
        await image_encoder.features(media, "some-model")


class _SizeOnly:
    """A tower that features nothing but the picture's width."""

    def features(self, image: PIL.Image.Image, media: MediaRef) -> FeatureRef:
        return FeatureRef(key=media.content_hash, n_tokens=image.width, dim=1)


async def test_features_come_from_the_tower(
    image_encoder: ImageEncoderReplica,
    store_media: StoreMedia,
    cat_jpeg: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_encoder, "_tower", _SizeOnly())
    media = await store_media(cat_jpeg, MediaKind.IMAGE, "image/jpeg")
    found = await image_encoder.features(media, "some-model")
    assert (found.key, found.n_tokens) == (media.content_hash, 451)


# --- recordings -------------------------------------------------------------------------------


async def _hear(
    encoder: AudioEncoderReplica,
    store_media: StoreMedia,
    content: bytes,
    options: TranscriptionOptions = _DETECT,
) -> AudioPerception:
    media = await store_media(content, MediaKind.AUDIO, "audio/wav")
    return await encoder.perceive(media, options)


def _words(text: str) -> list[str]:
    spoken = text.lower().replace("mr.", "mister").replace("-", " ")
    return re.findall(r"[a-z']+", spoken)


def _read_aloud() -> list[tuple[NDArray[np.floating], str]]:
    """Samples at 16 kHz, with what is said in them."""
    if not _LIBRIVOX.is_dir():
        pytest.skip("Debian's pocketsphinx-testdata is not installed")
    lines = (_LIBRIVOX / "transcription").read_text().splitlines()
    found = [re.fullmatch(r"<s> (.*) </s> \((.*)\)", line) for line in lines]
    return [(_samples((_LIBRIVOX / f"{one[2]}.wav").read_bytes()), one[1]) for one in found if one]


def _samples(wav_file: bytes) -> NDArray[np.floating]:
    """Behind the 44 bytes of a plain header, as all our WAV files have."""
    return np.frombuffer(wav_file[44:], dtype="<i2") / 32768


def _n_errors(expected: Sequence[str], got: Sequence[str]) -> int:
    """Words to insert, delete or replace (Levenshtein)."""
    row = list(range(len(got) + 1))
    for n_expected, word in enumerate(expected, start=1):
        diagonal, row[0] = row[0], n_expected
        for n_got, other in enumerate(got, start=1):
            diagonal, row[n_got] = (
                row[n_got],
                min(row[n_got] + 1, row[n_got - 1] + 1, diagonal + (word != other)),
            )
    return row[-1]


async def test_speech_is_written_down_with_times_language_and_vector(
    audio_encoder: AudioEncoderReplica,
    text_encoder: TextEncoderReplica,
    store_media: StoreMedia,
    voice_wav: bytes,
) -> None:
    samples = _samples(voice_wav)
    # A second of silence first: times must count from the start of the recording.
    heard = await _hear(audio_encoder, store_media, wav(np.pad(samples, (16_000, 0))))
    assert "John Dashwood had then leisure to consider" in heard.transcript
    assert (heard.language, heard.language_probability > 0.9) == ("en", True)
    assert heard.duration_s == pytest.approx(8.1, abs=0.1)
    assert 6.0 < heard.speech_s < 7.6
    assert heard.segments[0].start_s == pytest.approx(1.1, abs=0.4)
    assert heard.segments[-1].end_s <= heard.duration_s
    assert heard.sound_tags[0].name == "Speech"
    sentence = await text_encoder.encode(TextBatch((heard.transcript,)))
    assert np.array(heard.vector) @ sentence.vectors[0] == pytest.approx(1, abs=1e-4)


async def test_word_error_rate_on_read_speech_is_at_most_ten_percent(
    audio_encoder: AudioEncoderReplica, store_media: StoreMedia
) -> None:
    recordings = _read_aloud()
    pause = np.zeros(8_000)
    # One after the other, since Whisper takes as long for 3 s as for 29 s.
    pieces = [piece for samples, _ in recordings for piece in (samples, pause)]
    heard = await _hear(audio_encoder, store_media, wav(np.concatenate(pieces)))
    expected = _words(" ".join(spoken for _, spoken in recordings))
    assert len(expected) > 60
    assert _n_errors(expected, _words(heard.transcript)) / len(expected) <= 0.10


async def test_a_tone_is_tagged_and_holds_no_speech(
    audio_encoder: AudioEncoderReplica, store_media: StoreMedia
) -> None:
    times_s = np.arange(3 * 44_100) / 44_100
    tone = wav(0.5 * np.sin(2 * np.pi * 440 * times_s), sample_rate_hz=44_100)
    heard = await _hear(audio_encoder, store_media, tone)
    assert {label.name for label in heard.sound_tags} & {"Dial tone", "Telephone", "Sine wave"}
    assert (heard.segments, heard.language, heard.speech_s) == ((), "", 0)
    assert len(heard.vector) == 384


async def test_silence_is_heard_as_silence(
    audio_encoder: AudioEncoderReplica, store_media: StoreMedia
) -> None:
    heard = await _hear(audio_encoder, store_media, wav(np.zeros(16_000)))
    assert heard.transcript == ""
    assert [label.name for label in heard.sound_tags] == ["Silence"]


async def test_a_very_short_recording_is_heard(
    audio_encoder: AudioEncoderReplica, store_media: StoreMedia
) -> None:
    heard = await _hear(audio_encoder, store_media, wav(np.zeros(160)))
    assert heard.duration_s == pytest.approx(0.01)
    assert heard.segments == ()


async def test_an_unknown_language_is_refused(
    audio_encoder: AudioEncoderReplica, store_media: StoreMedia, voice_wav: bytes
) -> None:
    with pytest.raises(InvalidRequest, match="klingon"):
        await _hear(audio_encoder, store_media, voice_wav, TranscriptionOptions(language="klingon"))


async def test_a_damaged_recording_is_refused(
    audio_encoder: AudioEncoderReplica, store_media: StoreMedia
) -> None:
    with pytest.raises(BrokenMedia):
        await _hear(audio_encoder, store_media, b"RIFF\x00\x00 this is no sound")


async def test_every_encoder_says_which_revision_answers(
    text_encoder: TextEncoderReplica,
    image_encoder: ImageEncoderReplica,
    audio_encoder: AudioEncoderReplica,
) -> None:
    revisions = {
        await text_encoder.ping(),
        await image_encoder.ping(),
        await audio_encoder.ping(),
    }
    assert len(revisions) == 3
