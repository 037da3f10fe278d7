"""A video in words: what is seen and heard, with times, short enough for a prompt. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from graphs.online.sounds import telling_events, telling_tags
from serve.domain.messages import Shot, VideoPerception
from serve.domain.timecode import clock, span

# About 2000 tokens: room for a conversation around it in the smallest window that we serve.
_MAX_CHARS = 6_000
_MAX_LINE_CHARS = 400
_MAX_LABELS = 2
_MAX_OBJECTS = 6
_MAX_TEXT_LINES = 6
# Shorter words are in every sentence.
_TELLING_WORD = re.compile(r"\w{4,}")


class _Line(NamedTuple):
    start_s: float
    text: str


def video_notes(video: VideoPerception, number: int, question: str) -> str:
    """The video's timeline in square brackets.

    Stretches that look alike are told as one. Of what is still too long, lines with words of the
    question are kept, and of the others as many as there is room for, evenly.
    """
    about = f"[Video {number}, {clock(video.duration_s)} long. Times are minutes:seconds."
    if video.sound is None:
        about += " It has no sound."
    elif not video.sound.segments:
        about += " Nobody speaks in it."
    lines = sorted((*_seen(video.shots), *_heard(video)), key=lambda line: line.start_s)
    kept = _thinned(lines, question)
    if len(kept) < len(lines):
        about += f" It is long: {len(kept)} of {len(lines)} moments are noted."
    about += " Name the times when you answer from it."
    told = "\n".join(line.text for line in kept)
    return f"{about}\n{told}]\n"


def _thinned(lines: Sequence[_Line], question: str) -> Sequence[_Line]:
    if _n_chars(lines) <= _MAX_CHARS:
        return lines
    asked = {word.removesuffix("s") for word in _TELLING_WORD.findall(question.lower())}
    named = [line for line in lines if any(word in line.text.lower() for word in asked)]
    near = _evenly(named, _MAX_CHARS // 2)
    others = _evenly([line for line in lines if line not in near], _MAX_CHARS - _n_chars(near))
    return sorted((*near, *others), key=lambda line: line.start_s)


def _evenly(lines: Sequence[_Line], max_chars: int) -> Sequence[_Line]:
    step = 1
    while lines[::step] and _n_chars(lines[::step]) > max_chars:
        if step >= len(lines):
            return []
        step += 1
    return lines[::step]


def _n_chars(lines: Sequence[_Line]) -> int:
    return sum(len(line.text) + 1 for line in lines)


def _seen(shots: Sequence[Shot]) -> list[_Line]:
    lines = []
    for looks, alike in groupby(shots, _looks):
        same = list(alike)
        when = span(same[0].start_s, same[-1].end_s)
        lines.append(_Line(same[0].start_s, f"{when} {looks}"))
    return lines


def _looks(shot: Shot) -> str:
    """What is seen, in the fewest words; equal for shots that look alike."""
    names = sorted({found.name for found in shot.objects})
    looks_like = " or ".join(label.name for label in shot.labels[:_MAX_LABELS])
    notes = []
    if names:
        notes.append(f"seen: {', '.join(names[:_MAX_OBJECTS])}")
    if looks_like:
        notes.append(f"looks like: {looks_like}")
    if shot.text_lines:
        read = " / ".join(line.text for line in shot.text_lines[:_MAX_TEXT_LINES])
        notes.append(f'on-screen text: "{read}"')
    return _words("; ".join(notes) or "seen: nothing that was recognised")


def _heard(video: VideoPerception) -> list[_Line]:
    sound = video.sound
    if sound is None:
        return []
    said = [
        _Line(part.start_s, f'{span(part.start_s, part.end_s)} said: "{_words(part.text)}"')
        for part in sound.segments
    ]
    events = [
        _Line(event.start_s, f"{span(event.start_s, event.end_s)} heard: {event.name}")
        for event in telling_events(sound)
    ]
    if not said and not events:
        names = telling_tags(sound)
        return [_Line(0.0, f"{span(0, video.duration_s)} heard: {names}")] if names else []
    return [*said, *events]


def _words(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _MAX_LINE_CHARS else words[: _MAX_LINE_CHARS - 1] + "…"
