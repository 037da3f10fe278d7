"""Media that arrives inside the request: ``data:`` URLs."""

from __future__ import annotations

import base64
import binascii

from serve.domain.errors import InvalidRequest, MediaTooLarge


def is_data_url(url: str) -> bool:
    """Whether ``parse_data_url`` is the one to ask."""
    return url[:5].lower() == "data:"


def parse_data_url(url: str, *, max_bytes: int, param: str | None = None) -> tuple[bytes, str]:
    """Bytes and declared type (maybe empty) of ``data:<type>;base64,<payload>``.

    The size is known before anything is decoded. Raises ``InvalidRequest`` unless the payload
    is strict base64, ``MediaTooLarge``.
    """
    if not is_data_url(url):
        raise InvalidRequest("this is not a data: URL", param=param)
    # The header is searched for within bounds: a comma may be megabytes away.
    comma = url.find(",", 5, 5 + 256)
    if comma < 0:
        raise InvalidRequest("the data: URL has no comma after a short header", param=param)
    header = url[5:comma]
    if not header.lower().endswith(";base64"):
        raise InvalidRequest("the data: URL must be base64-encoded", param=param)
    return decode_base64(url[comma + 1 :], max_bytes=max_bytes, param=param), header[:-7]


def decode_base64(payload: str, *, max_bytes: int, param: str | None = None) -> bytes:
    """Bytes of strict base64: padded, no line breaks. Same errors as ``parse_data_url``."""
    n_bytes = len(payload) // 4 * 3 - payload[-2:].count("=")
    if n_bytes > max_bytes:
        raise MediaTooLarge(
            f"the file has {n_bytes} bytes; the limit is {max_bytes}",
            param=param,
            limit=max_bytes,
            got=n_bytes,
        )
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidRequest("the data is not valid base64", param=param) from exc
