"""How fast speech is made against how long it plays: the real-time factor of each voice.

    make bench NAME=speech_rate ARGS="--rounds 5"

Below 1, a listener never waits once the first sentence sounds; the time to that sentence is
reported too. Each text is said alone, sentence by sentence, in this process, by the code that the
speech generator runs; sending and Ray are not in it. Figures are medians of rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report import keep
from deployments.speech_generator import SpeechGeneratorReplica
from serve.config.settings import settings_from_environment
from serve.domain.messages import SpeechRequest
from serve.domain.voices import AudioFormat
from serve.media.audio_writers import whole_file
from serve.registry.catalog import CPU_CATALOG
from serve.registry.specs import Role

_TEXTS = {
    "short": "It is half past nine, and the kettle is on.",
    "answer": (
        "Paris is the capital of France. It lies on the Seine, in the north of the country. "
        "About two million people live there, and many more come to visit each year. Its best "
        "known building is the Eiffel Tower, which was finished in 1889."
    ),
}


@dataclass(frozen=True, slots=True)
class Said:
    """One text said once. Seconds of waiting and of sound."""

    first_s: float
    all_s: float
    sound_s: float
    encode_s: float


async def say(voices: SpeechGeneratorReplica, model: str, text: str) -> Said:
    """Say one text and write it as MP3."""
    request = SpeechRequest(text=text, model=model, voice="")
    started_s = time.perf_counter()
    first_s = 0.0
    pcm = b""
    rate_hz = 1
    async for sentence in voices.speak(request):
        first_s = first_s or time.perf_counter() - started_s
        pcm += sentence.pcm
        rate_hz = sentence.sample_rate_hz
    said_s = time.perf_counter()
    whole_file(AudioFormat.MP3, pcm, rate_hz)
    return Said(first_s, said_s - started_s, len(pcm) / 2 / rate_hz, time.perf_counter() - said_s)


async def measure(voices: SpeechGeneratorReplica, model: str, rounds: int) -> dict[str, object]:
    """Every text in every round, after one that is not counted."""
    figures: dict[str, object] = {}
    for name, text in _TEXTS.items():
        await say(voices, model, text)
        said = [await say(voices, model, text) for _ in range(rounds)]
        figures[name] = {
            "sound_s": round(statistics.median(one.sound_s for one in said), 2),
            "first_sentence_s": round(statistics.median(one.first_s for one in said), 3),
            "real_time_factor": round(
                statistics.median(one.all_s / one.sound_s for one in said), 4
            ),
            "mp3_s_per_sound_s": round(
                statistics.median(one.encode_s / one.sound_s for one in said), 4
            ),
        }
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    specs = CPU_CATALOG.of_role(Role.SPEECH_GENERATOR)
    voices = SpeechGeneratorReplica(specs, settings_from_environment().models_dir)
    figures: dict[str, object] = {"rounds": options.rounds}
    for spec in specs:
        figures[spec.name] = asyncio.run(measure(voices, spec.name, options.rounds))
        print(spec.name, figures[spec.name], flush=True)
    print(keep("speech-rate", figures))


if __name__ == "__main__":
    main()
