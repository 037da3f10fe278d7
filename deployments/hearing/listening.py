"""One recording heard from its beginning to its end, a few seconds at a time."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from deployments.hearing.recording import SAMPLE_RATE_HZ, Pcm, as_samples, decode_recording
from deployments.hearing.speech import SpeechWindows, Window
from serve.domain.messages import (
    AudioPerception,
    Heard,
    Progress,
    TranscriptionOptions,
    TranscriptSegment,
)

if TYPE_CHECKING:
    from deployments.hearing.sounds import SoundTagger
    from deployments.hearing.transcriber import Transcriber
    from deployments.sentences import SentenceModel
    from serve.domain.ports import VoiceDetector

_NOTE_CHARACTERS = 80


class Listening:
    """Memory does not grow with the length of the recording, but for what is said in it."""

    def __init__(
        self,
        *,
        voices: VoiceDetector,
        sounds: SoundTagger,
        transcriber: Transcriber,
        sentences: SentenceModel,
        options: TranscriptionOptions,
        duration_s: float | None,
    ) -> None:
        """``duration_s`` is only for telling progress."""
        self._windows = SpeechWindows(voices.listen())
        self._sounds = sounds.listen()
        self._transcriber = transcriber
        self._sentences = sentences
        self._options = options
        self._expected_s = duration_s
        self._language = ""
        self._language_probability = 0.0
        self._segments: list[TranscriptSegment] = []
        self._speech_s = 0.0
        self._n_samples = 0
        self._encode_s = 0.0

    def hear(self, recording: BinaryIO) -> Generator[Heard, None, None]:
        """Segments as soon as they are written down, progress, and the perception last.

        Raises:
            BrokenMedia: The recording cannot be decoded or holds no sound.
        """
        for pcm in decode_recording(recording):
            yield from self.hear_part(pcm)
        yield from self.finish()

    def hear_part(self, pcm: Pcm) -> Iterator[Heard]:
        """The next sound: what can be written down with it, and progress."""
        started_s = time.perf_counter()
        self._n_samples += len(pcm)
        self._sounds.hear(as_samples(pcm))
        for window in self._windows.hear(pcm):
            yield from self._write_down(window)
        self._encode_s += time.perf_counter() - started_s
        yield self._progress()

    def finish(self) -> Iterator[Heard]:
        """The sound has ended: what is left to be written down, and the perception."""
        started_s = time.perf_counter()
        for window in self._windows.finish():
            yield from self._write_down(window)
        self._sounds.finish()
        self._encode_s += time.perf_counter() - started_s
        yield self._perception()

    def _write_down(self, window: Window) -> Iterator[TranscriptSegment]:
        heard = self._transcriber.transcribe(window.samples, window.start_s, self._options)
        if not self._language:
            # Whoever speaks first decides for all that follows, and it need not be asked again.
            self._language = heard.language
            self._language_probability = heard.language_probability
            self._options = replace(self._options, language=heard.language)
        self._speech_s += window.speech_s
        self._segments += heard.segments
        yield from heard.segments

    def _progress(self) -> Progress:
        heard_s = self._n_samples / SAMPLE_RATE_HZ
        done = min(1.0, heard_s / self._expected_s) if self._expected_s else 0.0
        note = self._segments[-1].text[:_NOTE_CHARACTERS] if self._segments else ""
        return Progress(done, note)

    def _perception(self) -> AudioPerception:
        tags = self._sounds.tags()
        text = " ".join(segment.text for segment in self._segments)
        heard = ", ".join(label.name for label in tags) or "silence"
        place = self._sentences.embed_passage(text or f"sound of {heard}")
        return AudioPerception(
            segments=tuple(self._segments),
            language=self._language,
            language_probability=self._language_probability,
            sound_tags=tags,
            vector=tuple(place.tolist()),
            duration_s=self._n_samples / SAMPLE_RATE_HZ,
            speech_s=self._speech_s,
            encode_s=self._encode_s,
            sound_events=self._sounds.events(),
        )
