"""Listens to a long recording in a process of its own: ``... MODELS_DIR STORE KEY SHORT_KEY``.

Prints as JSON what was heard, and by how many bytes the process grew after a short recording.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path

from deployments.audio_encoder import AudioEncoderReplica
from serve.domain.media import MediaKind, MediaRef
from serve.domain.messages import AudioPerception, TranscriptionOptions
from serve.registry.catalog import CPU_CATALOG
from serve.storage.local_objects import LocalObjectStore


def _media(key: str) -> MediaRef:
    return MediaRef(
        asset_id="asset_long",
        owner_id="user_test",
        kind=MediaKind.AUDIO,
        mime_type="audio/flac",
        content_hash="0" * 64,
        storage_key=key,
        n_bytes=1,
    )


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def main(models_dir: str, store: str, key: str, short_key: str) -> None:
    encoder = AudioEncoderReplica(
        CPU_CATALOG.get("whisper-base"),
        CPU_CATALOG.get("minilm-l6-v2"),
        Path(models_dir),
        lambda: LocalObjectStore(Path(store)),
    )
    options = TranscriptionOptions(language="en")
    await encoder.perceive(_media(short_key), options)
    before_bytes = _peak_bytes()
    told = 0
    async for step in encoder.listen(_media(key), options):
        told += 1
        if isinstance(step, AudioPerception):
            heard = {
                "grown_bytes": _peak_bytes() - before_bytes,
                "n_steps": told,
                "duration_s": step.duration_s,
                "said": [[segment.start_s, segment.text] for segment in step.segments],
            }
            print(json.dumps(heard))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
