"""A video's timeline in words."""

from __future__ import annotations

from dataclasses import replace

from graphs.online.timeline import video_notes
from serve.domain.messages import (
    AudioPerception,
    Box,
    DetectedObject,
    Label,
    Shot,
    SoundEvent,
    TextLine,
    TranscriptSegment,
    VideoPerception,
)

_BOX = Box(0, 0, 1, 1)
_SHOT = Shot(
    start_s=0.0,
    end_s=4.0,
    frame_s=0.5,
    description="",
    labels=(Label("meadow", 0.4),),
    objects=(),
    text_lines=(),
    vector=(1.0,),
)
_SOUND = AudioPerception(
    segments=(TranscriptSegment(62.0, 64.5, " Hello  there."),),
    language="en",
    language_probability=1.0,
    sound_tags=(Label("Music", 0.9),),
    vector=(1.0,),
    duration_s=70.0,
    speech_s=2.5,
    encode_s=0.0,
    sound_events=(SoundEvent("Speech", 1.0, 64.5, 0.9), SoundEvent("Dog", 3.0, 4.0, 0.9)),
)


def _video(*shots: Shot, sound: AudioPerception | None = None) -> VideoPerception:
    return VideoPerception(shots=shots, sound=sound, vector=(1.0,), duration_s=70.0, encode_s=0.0)


def _rabbit(start_s: float, end_s: float) -> Shot:
    return replace(
        _SHOT,
        start_s=start_s,
        end_s=end_s,
        objects=(DetectedObject("rabbit", 0.9, _BOX), DetectedObject("rabbit", 0.5, _BOX)),
        text_lines=(TextLine("THE END", 0.9, _BOX),),
    )


def test_what_is_seen_and_heard_stands_in_order_with_its_times() -> None:
    told = video_notes(_video(_SHOT, _rabbit(4.0, 70.0), sound=_SOUND), 2, "")
    assert told.splitlines() == [
        "[Video 2, 1:10 long. Times are minutes:seconds. Name the times when you answer from it.",
        "0:00-0:04 looks like: meadow",
        "0:03-0:04 heard: Dog",
        '0:04-1:10 seen: rabbit; looks like: meadow; on-screen text: "THE END"',
        '1:02-1:04 said: "Hello there."]',
    ]


def test_stretches_that_look_alike_are_told_once() -> None:
    told = video_notes(_video(_rabbit(0.0, 4.0), _rabbit(4.0, 8.0), _SHOT), 1, "")
    assert told.count("seen: rabbit") == 1
    assert "0:00-0:08 seen: rabbit" in told
    assert "no sound" in told


def test_without_speech_it_says_so_and_names_the_sounds() -> None:
    silent = replace(_SOUND, segments=(), sound_events=(SoundEvent("Silence", 0.0, 70.0, 0.9),))
    told = video_notes(_video(_SHOT, sound=silent), 1, "")
    assert "Nobody speaks" in told
    assert "heard: Music" in told
    assert "heard" not in video_notes(_video(_SHOT, sound=replace(silent, sound_tags=())), 1, "")


def test_a_long_video_is_thinned_evenly_but_for_what_is_asked() -> None:
    shots = [
        replace(
            _SHOT,
            start_s=second * 4.0,
            end_s=second * 4.0 + 4,
            labels=(Label(f"scene {second} {'x' * 80}", 0.5),),
        )
        for second in range(150)
    ]
    shots[77] = _rabbit(308.0, 312.0)
    told = video_notes(_video(*shots), 1, "When do the rabbits appear?")
    assert len(told) < 6_500
    assert "5:08-5:12 seen: rabbit" in told
    kept = [line for line in told.splitlines() if "looks like" in line]
    assert "of 150 moments are noted" in told
    assert kept[0].startswith("0:00")
    assert kept[-1] > "9:00"


def test_one_endless_line_is_cut() -> None:
    endless = replace(_SOUND, segments=(TranscriptSegment(0.0, 9.0, "word " * 5_000),))
    assert len(video_notes(_video(_SHOT, sound=endless), 1, "")) < 1_000
