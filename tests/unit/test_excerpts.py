"""Which passages of a long text a prompt gets."""

from __future__ import annotations

from graphs.online.excerpts import Passage, document_notes, excerpt, recording_notes
from serve.domain.messages import (
    AudioPerception,
    DocumentPage,
    DocumentPerception,
    Label,
    SoundEvent,
    TranscriptSegment,
)

_FILLER = "The committee met again and talked about the weather for most of an afternoon. "


def _document(*texts: str) -> DocumentPerception:
    return DocumentPerception(
        pages=tuple(
            DocumentPage(
                number=number, text=text, is_read_from_picture=False, description="", vector=(1.0,)
            )
            for number, text in enumerate(texts, 1)
        ),
        title="Minutes",
        vector=(1.0,),
        encode_s=0.1,
    )


def _recording(
    *said: tuple[float, float, str], duration_s: float, events: tuple[SoundEvent, ...] = ()
) -> AudioPerception:
    return AudioPerception(
        segments=tuple(TranscriptSegment(*one) for one in said),
        language="en",
        language_probability=1.0,
        sound_tags=(Label("Speech", 0.9),),
        vector=(1.0,),
        duration_s=duration_s,
        speech_s=duration_s,
        encode_s=0.1,
        sound_events=events,
    )


def test_a_short_document_is_told_whole_with_its_pages() -> None:
    notes = document_notes(_document("Costs rose.", "Income fell."), 1, "anything")
    assert notes.startswith('[Document 1, "Minutes", 2 pages.')
    assert "Page 1: Costs rose.\nPage 2: Income fell." in notes
    assert "long" not in notes


def test_of_a_long_document_the_question_finds_its_page() -> None:
    pages = [_FILLER * 12 for _ in range(60)]
    pages[41] = _FILLER * 5 + "The password of the vault is swordfish."
    notes = document_notes(_document(*pages), 1, "What is the vault's password?")
    assert len(notes) < 9_000
    assert "only the passages nearest" in notes
    told = notes.index("Page 42: ")
    assert "swordfish" in notes[told:]


def test_a_page_asked_for_by_number_is_told() -> None:
    pages = [f"{_FILLER * 9}\nChapter {number}" for number in range(1, 80)]
    notes = document_notes(_document(*pages), 1, "Summarise page 57 for me")
    assert "Page 57: " in notes
    assert "Chapter 57" in notes


def test_passages_stay_in_their_own_order() -> None:
    passages = [Passage(f"Page {n}", f"{'rose ' * (n % 5)} {_FILLER * 8}") for n in range(40)]
    kept = excerpt(passages, "the rose")
    numbers = [int(passage.place.split()[1]) for passage in kept]
    assert numbers == sorted(numbers)
    assert all(number % 5 for number in numbers)


def test_a_document_without_text_claims_nothing() -> None:
    assert "No text could be read" in document_notes(_document(""), 2, "?")


def test_a_long_recording_is_told_with_times() -> None:
    said = [(60.0 * n, 60.0 * n + 50, _FILLER * 4) for n in range(90)]
    said[70] = (4200.0, 4250.0, "And the treasure lies under the old oak.")
    notes = recording_notes(_recording(*said, duration_s=5400), 1, "where is the treasure?")
    assert "70:00: And the treasure lies under the old oak." in notes
    assert len(notes) < 9_000


def test_a_remark_is_told_as_it_was_said_with_the_sounds_around_it() -> None:
    bark = (SoundEvent("Speech", 0, 4, 0.9), SoundEvent("Bark", 2.0, 3.0, 0.8))
    notes = recording_notes(_recording((0, 4, "Good dog."), duration_s=5, events=bark), 1, "?")
    assert (
        notes == '[Recording 1, 5 s. The speaker says: "Good dog." Other sounds: Bark at 0:02.]\n'
    )
