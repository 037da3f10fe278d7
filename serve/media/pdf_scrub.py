"""What PDFium's own writer leaves in a file that we do not want there. Pure; keeps every offset.

Only meant for what PDFium has just written: its objects follow each other without gaps, no
object streams, every ``/Length`` a plain number.
"""

from __future__ import annotations

import re

from serve.domain.errors import BrokenMedia

_OBJECT = re.compile(rb"\d+ 0 obj\r\n")
_STREAM = b"stream\r\n"
_LENGTH = re.compile(rb"/Length (\d+)")
_TOKEN = re.compile(
    rb"[\x00\t\n\f\r ]*"
    rb"(?:(?P<name>/[^\x00\t\n\f\r ()<>\[\]{}/%]*)|(?P<open><<|\[)|(?P<close>>>|\])"
    rb"|(?P<text>\()|(?P<hex><[0-9A-Fa-f\s]*>)|(?P<word>[^\x00\t\n\f\r ()<>\[\]{}/%]+))"
)
_REFERENCE = re.compile(rb"[\x00\t\n\f\r ]*\d+ \d+ R(?![^\x00\t\n\f\r ()<>\[\]{}/%])")

# Everything that a page needs to look as it does; actions, links and notes are not among it.
_KEPT_OF_PAGES = frozenset(
    b"/Type /Parent /MediaBox /CropBox /Rotate /UserUnit /Resources /Contents /Group".split()
)
# What points outside, acts, or tells of the making.
_DROPPED_ELSEWHERE = frozenset(
    b"/AA /A /OpenAction /JS /URI /Metadata /PieceInfo /OPI /Ref /LastModified /Alternates"
    b" /AF /FFilter /FDecodeParms /Annots".split()
)
_JPEG_START = b"\xff\xd8"
_JPEG_SCAN = 0xDA
# EXIF and XMP, Photoshop's notes, comments. APP14 stays: it tells how colours are coded.
_JPEG_NOTES = frozenset((0xE1, 0xED, 0xFE))
_WRITTEN_AT = re.compile(rb"/CreationDate\(D:(\d+)")
_FILE_ID = re.compile(rb"/ID\[<([0-9A-F]+)><([0-9A-F]+)>\]")


def scrub(written: bytes) -> bytes:
    """The file with blanks in the place of what is dropped, and no trace of when it was written.

    Raises:
        BrokenMedia: It is not built as PDFium builds files.
    """
    file = bytearray(written)
    found = _OBJECT.search(file)
    while found is not None:
        found = _OBJECT.match(file, _scrub_object(file, found.end()))
    for mark in (*_WRITTEN_AT.finditer(written), *_FILE_ID.finditer(written)):
        for group in range(1, mark.re.groups + 1):
            file[mark.start(group) : mark.end(group)] = b"0" * len(mark[group])
    return bytes(file)


def _scrub_object(file: bytearray, start: int) -> int:
    """Scrub the object whose value begins at ``start``; where the next one would begin."""
    end = _end_of_value(file, start)
    if file.startswith(_STREAM, end) or file.startswith(b"\r\n" + _STREAM, end):
        body = file.index(_STREAM, end) + len(_STREAM)
        length = _LENGTH.search(file, start, end)
        if length is None:
            raise BrokenMedia("the document cannot be rewritten")
        n_bytes = int(length[1])
        _blank_entries(file, start, is_stream=True)
        if file.startswith(_JPEG_START, body):
            _blank_jpeg_notes(file, body, body + n_bytes)
        end = body + n_bytes
    elif file.startswith(b"<<", start):
        _blank_entries(file, start, is_stream=False)
    after = file.find(b"endobj", end)
    if after < 0:
        raise BrokenMedia("the document cannot be rewritten")
    return after + len(b"endobj\r\n")


def _blank_entries(file: bytearray, start: int, *, is_stream: bool) -> None:
    """Blank the unwanted entries of the dictionary at ``start``, and of those inside it."""
    entries = _entries(file, start)
    is_page = any(
        bytes(file[name_end:end]).strip() == b"/Page"
        for name, _, name_end, end in entries
        if name == b"/Type"
    )
    for name, begin, name_end, end in entries:
        if is_page:
            unwanted = name not in _KEPT_OF_PAGES
        else:
            # In a stream, /F names a file to read instead.
            unwanted = name in _DROPPED_ELSEWHERE or (is_stream and name == b"/F")
        if unwanted:
            file[begin:end] = b" " * (end - begin)
        else:
            inner = name_end
            while inner < end and file[inner] in b"\x00\t\n\f\r ":
                inner += 1
            if file.startswith(b"<<", inner):
                _blank_entries(file, inner, is_stream=False)


def _entries(file: bytearray, start: int) -> list[tuple[bytes, int, int, int]]:
    """Name, where it begins, where it ends, and where its value ends; of one dictionary."""
    entries: list[tuple[bytes, int, int, int]] = []
    at = start + 2
    while True:
        token = _token(file, at)
        if token.lastgroup == "close":
            return entries
        if token.lastgroup != "name":
            raise BrokenMedia("the document cannot be rewritten")
        end = _end_of_value(file, token.end())
        entries.append((bytes(token["name"]), token.start("name"), token.end(), end))
        at = end


def _end_of_value(file: bytearray, start: int) -> int:
    """Behind the one value at ``start``."""
    reference = _REFERENCE.match(file, start)
    if reference is not None:
        return reference.end()
    depth = 0
    at = start
    while True:
        token = _token(file, at)
        at = token.end()
        match token.lastgroup:
            case "open":
                depth += 1
            case "close":
                depth -= 1
            case "text":
                at = _end_of_text(file, at)
            case _:
                pass
        if depth <= 0:
            return at


def _token(file: bytearray, at: int) -> re.Match[bytes]:
    token = _TOKEN.match(file, at)
    if token is None:
        raise BrokenMedia("the document cannot be rewritten")
    return token


def _end_of_text(file: bytearray, at: int) -> int:
    """Behind the bracket that closes a text whose inside begins at ``at``."""
    depth = 1
    while depth:
        if at >= len(file):
            raise BrokenMedia("the document cannot be rewritten")
        byte = file[at : at + 1]
        if byte == b"\\":
            at += 1
        elif byte == b"(":
            depth += 1
        elif byte == b")":
            depth -= 1
        at += 1
    return at


def _blank_jpeg_notes(file: bytearray, start: int, end: int) -> None:
    """Zero what cameras and editors wrote into a JPEG beside its pixels."""
    at = start + 2
    while at + 4 <= end and file[at] == 0xFF and file[at + 1] != _JPEG_SCAN:
        length = int.from_bytes(file[at + 2 : at + 4], "big")
        segment_end = min(at + 2 + length, end)
        if file[at + 1] in _JPEG_NOTES and segment_end > at + 4:
            file[at + 4 : segment_end] = bytes(segment_end - at - 4)
        at += 2 + max(length, 2)
