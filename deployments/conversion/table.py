"""Converters by the name a catalog row gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

Convert = Callable[[Mapping[str, Path], Path, Callable[[str], None]], None]
"""Fills an empty folder from unpacked archives.

Takes the archives' folders by archive name, the folder to fill, and where to report progress.
"""


def converter(name: str) -> Convert:
    """The converter of that name. Raises ``KeyError`` when there is none.

    Each brings heavy libraries of its own, so only the one that is asked for is imported.
    """
    match name:
        case "minilm":
            from deployments.conversion.minilm import convert
        case "gguf":
            from deployments.conversion.gguf import convert
        case "gguf-w8a8":
            from deployments.conversion.w8a8 import convert
        case "vision":
            from deployments.conversion.vision import convert
        case "whisper":
            from deployments.conversion.whisper import convert
        case "kokoro":
            from deployments.conversion.kokoro import convert
        case "moderation":
            from deployments.conversion.moderation import convert
        case _:
            raise KeyError(f"no converter {name!r}")
    return convert
