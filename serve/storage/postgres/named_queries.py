"""SQL by name: Python holds none.

A file of ``queries/`` is a list of statements, each under ``-- name --`` and, where it needs one,
a comment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

_FOLDER: Final = Path(__file__).parent / "queries"
_HEADER: Final = re.compile(r"^-- (\w+) --$", re.MULTILINE)


@cache
def load_queries(topic: str) -> Mapping[str, str]:
    """The statements of ``queries/{topic}.sql`` by name, comments included.

    Raises:
        ValueError: two statements have one name.
    """
    _, *parts = _HEADER.split((_FOLDER / f"{topic}.sql").read_text(encoding="utf-8"))
    names = parts[::2]
    queries = dict(zip(names, (text.strip() for text in parts[1::2]), strict=True))
    if len(queries) != len(names):
        raise ValueError(f"queries/{topic}.sql gives one name to two statements")
    return MappingProxyType(queries)
