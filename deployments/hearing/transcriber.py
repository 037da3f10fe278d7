"""Speech to text, by Whisper in CTranslate2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deployments.hearing.recording import SAMPLE_RATE_HZ, Samples
from deployments.hearing.utterance import LONGEST_S, transcribe_utterance
from serve.domain.errors import InvalidRequest
from serve.domain.messages import SpokenWord, Transcript, TranscriptionOptions, TranscriptSegment

_N_THREADS = 2
_BEAM_SIZE = 5
# Tried in turn while a transcript repeats itself or the model doubts it.
_FALLBACK_TEMPERATURES = (0.0, 0.4, 0.8)


@dataclass(frozen=True, slots=True)
class Transcription:
    """What was said, and in which language (ISO 639-1)."""

    segments: tuple[TranscriptSegment, ...]
    language: str
    language_probability: float


class Transcriber:
    """Thread-safe, though calls wait for each other."""

    def __init__(self, folder: Path) -> None:
        from faster_whisper import WhisperModel

        self._model = WhisperModel(
            str(folder), device="cpu", compute_type="int8", cpu_threads=_N_THREADS, num_workers=1
        )

    def check(self, options: TranscriptionOptions) -> None:
        """Refuse what the model cannot do, before any work.

        Raises:
            InvalidRequest: The language is unknown.
        """
        if options.language is not None and (
            options.language not in self._model.supported_languages
        ):
            raise InvalidRequest(
                f"no language {options.language!r}; give an ISO 639-1 code such as 'en'",
                param="language",
            )

    def transcribe_utterance(self, samples: Samples, options: TranscriptionOptions) -> Transcript:
        """Write down one turn of a conversation."""
        duration_s = len(samples) / SAMPLE_RATE_HZ
        if duration_s <= LONGEST_S:
            return transcribe_utterance(self._model, samples, options)
        heard = self.transcribe(samples, 0.0, options)
        text = " ".join(segment.text for segment in heard.segments)
        return Transcript(text=text, language=heard.language)

    def transcribe(
        self, samples: Samples, start_s: float, options: TranscriptionOptions
    ) -> Transcription:
        """Write down a window of speech that begins at ``start_s`` of its recording."""
        end_s = len(samples) / SAMPLE_RATE_HZ
        segments, info = self._model.transcribe(
            samples,
            language=options.language,
            task="translate" if options.translate else "transcribe",
            beam_size=_BEAM_SIZE,
            temperature=options.temperature or _FALLBACK_TEMPERATURES,
            initial_prompt=options.prompt or None,
            # Carried-over text makes one mistake repeat to the end.
            condition_on_previous_text=False,
            word_timestamps=options.words,
        )

        def at(time_s: float) -> float:
            return round(float(start_s + min(time_s, end_s)), 3)

        return Transcription(
            segments=tuple(
                TranscriptSegment(
                    start_s=at(segment.start),
                    end_s=at(segment.end),
                    text=segment.text.strip(),
                    words=tuple(
                        SpokenWord(at(word.start), at(word.end), word.word.strip())
                        for word in segment.words or ()
                    ),
                )
                for segment in segments
                if segment.text.strip()
            ),
            language=info.language,
            language_probability=float(info.language_probability),
        )
