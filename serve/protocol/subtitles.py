"""SubRip and WebVTT.

Sources: https://www.w3.org/TR/webvtt1/, and for lengths the BBC's and Netflix's guidelines: two
lines of 42 characters.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from serve.domain.messages import TranscriptSegment

_LINE_CHARS: Final = 42
_LINES: Final = 2


@dataclass(frozen=True, slots=True)
class _Cue:
    start_s: float
    end_s: float
    lines: tuple[str, ...]


def render_subtitles(segments: Sequence[TranscriptSegment], form: Literal["srt", "vtt"]) -> str:
    """Cues of at most two lines; a longer segment becomes several, each with its share of time."""
    cues = (cue for segment in segments for cue in _cues(segment))
    if form == "vtt":
        blocks = [f"{_times(cue, '.')}\n{_escaped(cue)}\n" for cue in cues]
        return "WEBVTT\n\n" + "\n".join(blocks)
    blocks = [
        f"{number}\n{_times(cue, ',')}\n" + "\n".join(cue.lines) + "\n"
        for number, cue in enumerate(cues, 1)
    ]
    return "\n".join(blocks)


def _cues(segment: TranscriptSegment) -> Iterator[_Cue]:
    lines = textwrap.wrap(segment.text, _LINE_CHARS, break_on_hyphens=False)
    total = sum(map(len, lines)) or 1
    length_s = max(0.0, segment.end_s - segment.start_s)
    told = 0
    for first in range(0, len(lines), _LINES):
        shown = tuple(lines[first : first + _LINES])
        start_s = segment.start_s + length_s * told / total
        told += sum(map(len, shown))
        yield _Cue(start_s, segment.start_s + length_s * told / total, shown)


def _times(cue: _Cue, mark: str) -> str:
    return f"{_clock(cue.start_s, mark)} --> {_clock(cue.end_s, mark)}"


def _clock(seconds: float, mark: str) -> str:
    total_ms = round(seconds * 1000)
    minutes, ms = divmod(total_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{ms // 1000:02}{mark}{ms % 1000:03}"


def _escaped(cue: _Cue) -> str:
    text = "\n".join(cue.lines)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
