"""Text in a picture, by the PP-OCR models that RapidOCR carries."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deployments.onnx_graph import open_session
from deployments.vision.views import View
from serve.domain.messages import Box, TextLine

_MODEL_FILES = {
    "Det": "PP-OCRv6_det_small.onnx",
    "Cls": "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "Rec": "PP-OCRv6_rec_small.onnx",
}
_MIN_SCORE = 0.6
# Eyes, cups and buttons are read as "0" or "8" with up to 0.9; true short words score more.
_SHORT_CHARACTERS = 4
_MIN_SCORE_OF_SHORT = 0.95


class Reader:
    """Thread-safe: an engine for each thread, all with the same models."""

    def __init__(self) -> None:
        import rapidocr

        folder = Path(rapidocr.__file__).with_name("models")
        # Its own sessions let threads spin, which costs twice the work where cores are shared.
        self._sessions = {part: open_session(folder / file) for part, file in _MODEL_FILES.items()}
        self._of_thread = threading.local()

    def read(self, view: View) -> tuple[TextLine, ...]:
        """Lines in reading order: rows from the top, each from the left."""
        found = self._engine()(view.bgr)
        if found.boxes is None or found.txts is None:
            return ()
        lines = []
        for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True):
            if _is_credible(text.strip(), score):
                outline = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
                box = view.stored_box(outline.astype(np.float32))
                lines.append(TextLine(text=text.strip(), score=float(score), box=box))
        return in_reading_order(lines)

    def _engine(self) -> Any:
        if not hasattr(self._of_thread, "engine"):
            self._of_thread.engine = self._new_engine()
        return self._of_thread.engine

    def _new_engine(self) -> Any:
        from omegaconf import flag_override
        from rapidocr import RapidOCR

        engine = RapidOCR(params={"Global.log_level": "critical"})
        with flag_override(engine.cfg, ["allow_objects"], values=[True]):
            for part, session in self._sessions.items():
                engine.cfg[part].session = session
        return engine


def _is_credible(text: str, score: float) -> bool:
    if not text:
        return False
    return score >= (_MIN_SCORE_OF_SHORT if len(text) <= _SHORT_CHARACTERS else _MIN_SCORE)


def in_reading_order(lines: Sequence[TextLine]) -> tuple[TextLine, ...]:
    """Group lines whose middles lie within another's height into rows, then sort the rows."""
    rows: list[list[TextLine]] = []
    for line in sorted(lines, key=lambda line: _middle(line.box)):
        if rows and _middle(line.box) < rows[-1][0].box.bottom_px:
            rows[-1].append(line)
        else:
            rows.append([line])
    return tuple(line for row in rows for line in sorted(row, key=lambda line: line.box.left_px))


def _middle(box: Box) -> float:
    return (box.top_px + box.bottom_px) / 2
