"""What players get when they ask for parts of a file."""

from __future__ import annotations

import pytest

from serve.ingress.ranges import file_response

_CONTENT = b"0123456789"


@pytest.mark.parametrize(
    ("asked", "status", "body", "told"),
    [
        (None, 200, _CONTENT, None),
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=0-", 206, _CONTENT, "bytes 0-9/10"),
        ("bytes=7-100", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, _CONTENT, "bytes 0-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=-0", 416, b"", "bytes */10"),
        ("bytes=4-2", 416, b"", "bytes */10"),
        ("bytes=-", 200, _CONTENT, None),
        ("bytes=0-1,3-4", 200, _CONTENT, None),
        ("pages=1-2", 200, _CONTENT, None),
    ],
)
def test_one_range_of_bytes_is_answered_with_it(
    asked: str | None, status: int, body: bytes, told: str | None
) -> None:
    answer = file_response(_CONTENT, media_type="video/mp4", headers={"x-own": "1"}, asked=asked)
    assert (answer.status_code, bytes(answer.body)) == (status, body)
    assert answer.headers.get("content-range") == told
    assert answer.headers["x-own"] == "1"
    assert answer.headers["content-length"] == str(len(body))
