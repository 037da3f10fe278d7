"""A video in words: what is seen and heard, with times, short enough for a prompt. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from serve.domain.messages import Shot, VideoPerception
from serve.domain.timecode import clock, span

# About 2000 tokens: room for a conversation around it in the smallest window that we serve.
_MAX_CHARS = 6_000
_MAX_LINE_CHARS = 500
_MAX_LABELS = 2
_MAX_OBJECTS = 6
_MAX_TEXT_LINES = 6
_MAX_SOUNDS = 3


class _Line(NamedTuple):
    start_s: float
    text: str


def video_notes(video: VideoPerception, number: int) -> str:
    """The video's timeline in square brackets.

    Stretches that look alike are told as one. What is still too long is thinned evenly, what is
    said and what is seen alike.
    """
    about = f"[Video {number}, {clock(video.duration_s)} long. Times are minutes:seconds."
    seen, heard = _seen(video.shots), _heard(video)
    lines = [*seen, *heard]
    if video.sound is None:
        about += " It has no sound."
    elif not video.sound.segments:
        about += " Nobody speaks in it."
    step = 1
    while sum(len(line.text) + 1 for line in lines) > _MAX_CHARS and step < len(lines):
        step += 1
        lines = [*seen[::step], *heard[::step]]
    if step > 1:
        about += f" Only every {step}. moment is noted."
    told = "\n".join(line.text for line in sorted(lines, key=lambda line: line.start_s))
    return f"{about}\n{told}]\n"


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
    return _words("; ".join(notes) or "nothing recognised")


def _heard(video: VideoPerception) -> list[_Line]:
    sound = video.sound
    if sound is None:
        return []
    if not sound.segments:
        names = ", ".join(tag.name for tag in sound.sound_tags[:_MAX_SOUNDS])
        return [_Line(0.0, f"{span(0, video.duration_s)} heard: {names}.")] if names else []
    return [
        _Line(said.start_s, f'{span(said.start_s, said.end_s)} said: "{_words(said.text)}"')
        for said in sound.segments
    ]


def _words(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _MAX_LINE_CHARS else words[: _MAX_LINE_CHARS - 1] + "…"
