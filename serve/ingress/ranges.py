"""Parts of a file, as players ask for them to seek. Source: RFC 9110, section 14."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.responses import Response

_ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def file_response(
    content: bytes, *, media_type: str, headers: Mapping[str, str], asked: str | None
) -> Response:
    """The file, or the part that the ``Range`` header asks for.

    Anything but one range of bytes is answered with all of it, as the RFC allows.
    """
    found = _ONE_RANGE.fullmatch(asked.strip()) if asked else None
    if found is None or not any(found.groups()):
        return Response(
            content, media_type=media_type, headers={**headers, "accept-ranges": "bytes"}
        )
    first, last = _bounds(found[1], found[2], len(content))
    if first > last:
        return Response(
            status_code=416, headers={**headers, "content-range": f"bytes */{len(content)}"}
        )
    return Response(
        content[first : last + 1],
        status_code=206,
        media_type=media_type,
        headers={
            **headers,
            "accept-ranges": "bytes",
            "content-range": f"bytes {first}-{last}/{len(content)}",
        },
    )


def _bounds(first: str, last: str, length: int) -> tuple[int, int]:
    if not first:
        return max(length - int(last), 0), length - 1
    return int(first), min(int(last), length - 1) if last else length - 1
