"""What goes over a connection between an ingress and a generator, byte by byte.

A frame is a head of nine bytes (the payload's length, the kind of frame, the number of the call,
big-endian) and its payload. The caller numbers its calls; every call gets one answer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

from serve.domain.errors import InternalError, PolymodalError
from serve.domain.messages import GenerationRequest

_HEAD: Final = struct.Struct(">IBI")
# As much as the largest body an ingress takes could hold of text.
MAX_PAYLOAD_BYTES: Final = 1 << 28
# Before the password is known to be right, nobody gets us to hold more than it.
MAX_PASSWORD_BYTES: Final = 128


class Kind(IntEnum):
    """What a frame says. ``PASSWORD``, ``CALL`` and ``CANCEL`` come from callers."""

    PASSWORD = 1
    CALL = 2
    CANCEL = 3
    DONE = 4
    FAILED = 5
    LEAVING = 6


class Frame(NamedTuple):
    """One frame; ``number`` is 0 where it belongs to no call."""

    kind: Kind
    number: int
    payload: bytes


class BadFrame(ValueError):
    """The peer does not speak this protocol."""


def frame(kind: Kind, number: int = 0, payload: bytes = b"") -> bytes:
    """As it is sent."""
    return _HEAD.pack(len(payload), kind, number) + payload


class FrameBuffer:
    """Cuts what arrives into frames."""

    def __init__(self, max_payload_bytes: int) -> None:
        self.max_payload_bytes = max_payload_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole by now. Raises ``BadFrame``."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            n_bytes, kind, number = _HEAD.unpack_from(self._buffer)
            if n_bytes > self.max_payload_bytes:
                raise BadFrame(f"a frame of {n_bytes} bytes")
            end = _HEAD.size + n_bytes
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEAD.size : end])
            del self._buffer[:end]
            try:
                yield Frame(Kind(kind), number, payload)
            except ValueError as error:
                raise BadFrame(f"a frame of kind {kind}") from error


# --- payloads: JSON -----------------------------------------------------------------------------

_REQUEST: Final = TypeAdapter(GenerationRequest)


def request_to_json(request: GenerationRequest) -> bytes:
    """The payload of a ``CALL``."""
    return orjson.dumps(request)


def request_from_json(payload: bytes) -> GenerationRequest:
    """Back again. Raises ``BadFrame``."""
    try:
        return _REQUEST.validate_json(payload)
    except ValidationError as error:
        raise BadFrame("a request that cannot be read") from error


def error_to_json(error: PolymodalError) -> bytes:
    """The payload of a ``FAILED``."""
    return orjson.dumps([type(error).__name__, error.message, error.param, error.context])


def error_from_json(payload: bytes) -> PolymodalError:
    """Back again; what nobody here knows is an ``InternalError``."""
    name, message, param, context = orjson.loads(payload)
    known = {each.__name__: each for each in _all_kinds(PolymodalError)}
    return known.get(name, InternalError)(message, param=param, **context)


def _all_kinds(kind: type[PolymodalError]) -> Iterator[type[PolymodalError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _all_kinds(each)
