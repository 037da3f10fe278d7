"""What generators are told of a picture."""

from __future__ import annotations

import pytest

from deployments.vision.description import describe
from serve.domain.messages import Box, DetectedObject, Label

_BOX = Box(left_px=0, top_px=0, right_px=8, bottom_px=8)


@pytest.mark.parametrize(
    ("labels", "objects", "said"),
    [
        ((), (), "Nothing in the picture was recognised."),
        (("stage", "microphone"), (), "Looks like stage or microphone."),
        ((), ("person", "person", "dog"), "Shows 2 people and a dog."),
        (("tiger cat", "lynx"), ("cat",), "Shows a cat (perhaps tiger cat or lynx)."),
        (("stage", "organ"), ("person",), "Shows a person. Looks like stage or organ."),
        (("tiger cat",), ("cat", "dog"), "Shows a cat and a dog. Looks like tiger cat."),
    ],
)
def test_a_picture_is_told_in_plain_words(
    labels: tuple[str, ...], objects: tuple[str, ...], said: str
) -> None:
    found = [DetectedObject(name, 0.9, _BOX) for name in objects]
    assert describe([Label(name, 0.5) for name in labels], found, ()) == said
