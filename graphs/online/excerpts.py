"""Long texts in few words: the passages that a question is about, in their own order. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from graphs.online.sounds import telling_events, telling_tags
from serve.domain.messages import AudioPerception, DocumentPerception
from serve.domain.timecode import clock

# About 2000 tokens: room for a conversation around it in the smallest window that we serve.
_MAX_CHARS = 8_000
_PASSAGE_CHARS = 700
# Below this a transcript is told as one sentence, as it was said.
_SHORT_RECORDING_S = 60.0

# Okapi BM25 with the usual constants (Robertson and Zaragoza, 2009).
_K1 = 1.2
_B = 0.75
# Of the best passage's score. What is further off would only lead a small model astray.
_NEAR_ENOUGH = 0.3
_WORD = re.compile(r"\w+")
_PAGE_ASKED = re.compile(r"\bpages? (\d+)", re.IGNORECASE)


class Passage(NamedTuple):
    """Part of a longer text. ``place`` says where it stands: "Page 3" or "1:07"."""

    place: str
    text: str


def document_notes(document: DocumentPerception, number: int, question: str) -> str:
    """A document in square brackets, every passage under the page that it stands on."""
    passages = [
        Passage(f"Page {page.number}", part)
        for page in document.pages
        for part in _parts(page.text or page.description)
    ]
    kept = excerpt(passages, question)
    n_pages = len(document.pages)
    about = f'[Document {number}, "{document.title}", {n_pages} page{"s" if n_pages > 1 else ""}.'
    if not kept:
        return f"{about} No text could be read in it.]\n"
    if len(kept) < len(passages):
        about += " It is long: only the passages nearest to the question are noted."
    return f"{about} Name the page when you answer from it.\n{_told(kept)}]\n"


def recording_notes(
    recording: AudioPerception, number: int, question: str, *, called: str = "Recording"
) -> str:
    """What is said and heard, with times where it is longer than a remark."""
    about = f"[{called} {number}, {recording.duration_s:.0f} s"
    if not recording.transcript:
        sounds = telling_tags(recording) or "nothing"
        return f"{about}, no speech. Sounds heard: {sounds}.{_events(recording)}]\n"
    if recording.duration_s <= _SHORT_RECORDING_S:
        return f'{about}. The speaker says: "{recording.transcript}"{_events(recording)}]\n'
    passages = [Passage(clock(said.start_s), said.text.strip()) for said in recording.segments]
    kept = excerpt(passages, question)
    about += ". Times are minutes:seconds."
    if len(kept) < len(passages):
        about += " It is long: only what is nearest to the question is noted."
    return f"{about}{_events(recording)} What is said:\n{_told(kept)}]\n"


def excerpt(passages: Sequence[Passage], question: str) -> list[Passage]:
    """All passages if there is room, else those the question is about, or else the first ones."""
    rooms = [len(passage.place) + len(passage.text) + 3 for passage in passages]
    if sum(rooms) <= _MAX_CHARS:
        return list(passages)
    scores = _scores(passages, question)
    best = max(scores)
    chosen = []
    left = _MAX_CHARS
    for index in sorted(range(len(passages)), key=lambda index: (-scores[index], index)):
        if scores[index] < _NEAR_ENOUGH * best:
            break
        if rooms[index] <= left:
            chosen.append(index)
            left -= rooms[index]
    return [passages[index] for index in sorted(chosen)]


def _scores(passages: Sequence[Passage], question: str) -> list[float]:
    texts = [Counter(_words(passage.text)) for passage in passages]
    lengths = [sum(words.values()) for words in texts]
    mean_length = sum(lengths) / len(lengths) or 1.0
    asked = set(_words(question))
    found_in = {word: sum(word in words for words in texts) for word in asked}
    weights = {
        word: math.log(1 + (len(texts) - n + 0.5) / (n + 0.5)) for word, n in found_in.items()
    }
    pages_asked = {f"Page {number}" for number in _PAGE_ASKED.findall(question)}
    # A page asked for by its number comes before all that merely sounds alike.
    certain = sum(weights.values()) * (_K1 + 1) + 1
    return [
        sum(
            weight
            * words[word]
            * (_K1 + 1)
            / (words[word] + _K1 * (1 - _B + _B * length / mean_length))
            for word, weight in weights.items()
        )
        + (certain if passage.place in pages_asked else 0.0)
        for passage, words, length in zip(passages, texts, lengths, strict=True)
    ]


def _words(text: str) -> list[str]:
    """Lower case, without the plural's s: enough to meet the same word again."""
    words = _WORD.findall(text.lower())
    return [word[:-1] if len(word) > 3 and word.endswith("s") else word for word in words]


def _parts(text: str) -> list[str]:
    """Runs of whole lines, or of words where a line is long, each short enough for a passage."""
    parts: list[str] = []
    for line in text.split("\n"):
        for piece in _pieces(" ".join(line.split())):
            if parts and len(parts[-1]) + 1 + len(piece) <= _PASSAGE_CHARS:
                parts[-1] += "\n" + piece
            else:
                parts.append(piece)
    return [part for part in parts if part.strip()]


def _pieces(line: str) -> list[str]:
    pieces = []
    while len(line) > _PASSAGE_CHARS:
        cut = line.rfind(" ", 1, _PASSAGE_CHARS)
        cut = cut if cut > 0 else _PASSAGE_CHARS
        pieces.append(line[:cut])
        line = line[cut:].lstrip()
    return [*pieces, line]


def _told(passages: Sequence[Passage]) -> str:
    lines = []
    place = ""
    for passage in passages:
        lines.append(f"{passage.place}: {passage.text}" if passage.place != place else passage.text)
        place = passage.place
    return "\n".join(lines)


def _events(recording: AudioPerception) -> str:
    heard = [f"{event.name} at {clock(event.start_s)}" for event in telling_events(recording)]
    return f" Other sounds: {', '.join(heard)}." if heard else ""
