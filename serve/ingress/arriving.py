"""Forms whose file is still on its way when the route begins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from io import BytesIO
from typing import Any, Final

from fastapi import UploadFile
from fastapi.routing import APIRoute
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import FormData, Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message

from serve.domain.errors import InvalidRequest
from serve.ingress.leaving import ClientLeft

IDLE_S: Final = 60.0
"""Whoever sends nothing of a file for so long has left."""

# Fields are short; a file that comes behind more than this comes with the whole form.
_MAX_LOOK_BYTES: Final = 64 * 1024


class ArrivingFile(UploadFile):
    """The last part of a form, read while it arrives."""

    def __init__(self, parts: _Parts, body: AsyncGenerator[bytes, None]) -> None:
        super().__init__(
            BytesIO(), filename=parts.filename, headers=Headers(raw=parts.file_headers)
        )
        self._parts = parts
        self._body = body
        self.has_arrived = asyncio.Event()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Its bytes, once. Raises ``ClientLeft``, and ``InvalidRequest`` for a broken form."""
        while True:
            for piece in self._parts.taken():
                yield piece
            if self._parts.late_name is not None:
                raise InvalidRequest(
                    f"{self._parts.late_name} came behind the file, which was being heard already; "
                    "with stream before it, the file must be the last part",
                    param=self._parts.late_name,
                )
            chunk = await self._next_chunk()
            if chunk is None:
                break
            self._feed(chunk)
        if not self._parts.is_whole:
            raise InvalidRequest("the body ended inside the file")
        self.has_arrived.set()

    async def _next_chunk(self) -> bytes | None:
        try:
            async with asyncio.timeout(IDLE_S):
                return await anext(self._body)
        except StopAsyncIteration:
            return None
        except TimeoutError as exc:
            raise InvalidRequest(f"nothing of the file has come for {IDLE_S:g} s") from exc
        except ClientDisconnect as exc:
            raise ClientLeft from exc

    def _feed(self, chunk: bytes) -> None:
        try:
            self._parts.feed(chunk)
        except FormParserError as exc:
            raise InvalidRequest("the body cannot be read: it is not a multipart form") from exc


class ArrivingRoute(APIRoute):
    """Begins when the file does, where the fields before it have ``stream`` set to true.

    The file is then an ``ArrivingFile`` and must be the last part. Every other form is read
    whole, as always.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See ``APIRoute``."""
        handle = super().get_route_handler()

        async def handle_arriving(request: Request) -> Response:
            return await handle(_ArrivingRequest(request.scope, request.receive))

        return handle_arriving


class _ArrivingRequest(Request):
    async def form(self, **limits: Any) -> FormData:  # type: ignore[override] # FastAPI awaits it
        kind, options = parse_options_header(self.headers.get("content-type"))
        body = self.stream()
        seen: list[bytes] = []
        if kind == b"multipart/form-data" and b"boundary" in options:
            parts = _Parts(options[b"boundary"])
            with suppress(FormParserError):  # which the whole form will show, too
                async for chunk in body:
                    seen.append(chunk)
                    parts.feed(chunk)
                    if parts.is_at_file or sum(map(len, seen)) > _MAX_LOOK_BYTES:
                        break
            if parts.is_at_file and not parts.is_whole and _asks_for_stream(parts.fields):
                return FormData([*parts.fields, (parts.name, ArrivingFile(parts, body))])
        return await Request(self.scope, _again(seen, body)).form(**limits)


def _asks_for_stream(fields: list[tuple[str, str]]) -> bool:
    return any(name == "stream" and value.lower() in ("true", "1") for name, value in fields)


def _again(seen: list[bytes], body: AsyncGenerator[bytes, None]) -> Callable[[], Any]:
    """The body from its beginning."""
    chunks = iter(seen)

    async def receive() -> Message:
        try:
            chunk = next(chunks, None) or await anext(body)
        except StopAsyncIteration:
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.request", "body": chunk, "more_body": True}

    return receive


class _Parts:
    """Fields of a form up to its first file, and then what there is of the file."""

    def __init__(self, boundary: bytes) -> None:
        self.fields: list[tuple[str, str]] = []
        self.file_headers: list[tuple[bytes, bytes]] = []
        self.name = ""
        self.filename = ""
        self.is_at_file = False
        self.late_name: str | None = None
        self.is_whole = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_name = b""
        self._header_value = b""
        self._value = bytearray()
        self._content: list[bytes] = []
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_header_name,
                "on_header_value": self._add_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_content,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """More of the body. Raises ``FormParserError``."""
        self._parser.write(chunk)

    def taken(self) -> list[bytes]:
        """What has come of the file since the last time."""
        content, self._content = self._content, []
        return content

    def _begin(self) -> None:
        self._headers = []

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        self._headers.append((self._header_name.lower(), self._header_value))
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        disposition = dict(self._headers).get(b"content-disposition", b"")
        options = parse_options_header(disposition)[1]
        name = options.get(b"name", b"").decode(errors="replace")
        if self.is_at_file:
            self.late_name = name
            return
        self.name = name
        self.is_at_file = b"filename" in options
        if self.is_at_file:
            self.filename = options[b"filename"].decode(errors="replace")
            self.file_headers = self._headers

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        if self.late_name is not None:
            return
        if self.is_at_file:
            self._content.append(data[start:end])
        else:
            self._value += data[start:end]

    def _end_part(self) -> None:
        if not self.is_at_file:
            self.fields.append((self.name, self._value.decode(errors="replace")))
            self._value.clear()

    def _end(self) -> None:
        self.is_whole = True
