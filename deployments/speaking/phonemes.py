"""English text to the phonemes that Kokoro's family of voices reads."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from hibari.g2p import G2P

# The models have positions for 510, with the two marks around them.
_MOST: Final = 400
_CLAUSE: Final = re.compile(r"(?<=[,;:—])\s+")


@cache
def _reader(*, british: bool) -> G2P:
    return G2P(british=british)


def phonemes_of(sentence: str, language: str) -> list[str]:
    """What is said, in pieces that a voice can say at once; none if nothing is said."""
    phonemes = _reader(british=language == "en-GB")(sentence).strip()
    pieces = [""] if phonemes else []
    for clause in _CLAUSE.split(phonemes) if phonemes else ():
        if pieces[-1] and len(pieces[-1]) + len(clause) >= _MOST:
            pieces.append("")
        pieces[-1] = f"{pieces[-1]} {clause}".lstrip()
    return [piece[i : i + _MOST] for piece in pieces for i in range(0, len(piece), _MOST)]
