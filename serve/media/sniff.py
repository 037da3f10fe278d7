"""What a file is, by its first bytes. Names and headers only ever lead to a refusal."""

from __future__ import annotations

from dataclasses import dataclass

from serve.domain.errors import BrokenMedia, MediaTooLarge, UnsupportedMedia
from serve.domain.media import MediaKind, MediaLimits

TAKEN = (
    "PNG, JPEG, WebP, GIF and BMP pictures; PDF documents; "
    "WAV, MP3, FLAC, Ogg, M4A, AAC and WebM audio; MP4, MOV, WebM, MKV and AVI videos"
)

# What is looked at of a file without a tag or boxes.
_HEAD_BYTES = 1024
_MAGIC_BYTES = 4


@dataclass(frozen=True, slots=True)
class FileType:
    """A type we take. ``decoder``: Pillow's format name or FFmpeg's demuxer, and no other.

    Every ``VIDEO`` may turn out to be a recording: its container holds either.
    """

    kind: MediaKind
    mime_type: str
    decoder: str


_PNG = FileType(MediaKind.IMAGE, "image/png", "PNG")
_JPEG = FileType(MediaKind.IMAGE, "image/jpeg", "JPEG")
_WEBP = FileType(MediaKind.IMAGE, "image/webp", "WEBP")
_GIF = FileType(MediaKind.IMAGE, "image/gif", "GIF")
_BMP = FileType(MediaKind.IMAGE, "image/bmp", "BMP")
_WAV = FileType(MediaKind.AUDIO, "audio/wav", "wav")
_MP3 = FileType(MediaKind.AUDIO, "audio/mpeg", "mp3")
_FLAC = FileType(MediaKind.AUDIO, "audio/flac", "flac")
_OGG = FileType(MediaKind.AUDIO, "audio/ogg", "ogg")
_MP4 = FileType(MediaKind.VIDEO, "video/mp4", "mov")
_AAC = FileType(MediaKind.AUDIO, "audio/aac", "aac")
_WEBM = FileType(MediaKind.VIDEO, "video/webm", "matroska")
_MKV = FileType(MediaKind.VIDEO, "video/x-matroska", "matroska")
_AVI = FileType(MediaKind.VIDEO, "video/x-msvideo", "avi")
_PDF = FileType(MediaKind.DOCUMENT, "application/pdf", "pdf")

_BY_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", _PNG),
    (b"\xff\xd8\xff", _JPEG),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"BM", _BMP),
    (b"fLaC", _FLAC),
    (b"OggS", _OGG),
    (b"%PDF-", _PDF),
)

_MP4_BRANDS = frozenset(
    (
        *(b"M4A ", b"M4B ", b"M4V ", b"M4VH", b"M4VP", b"mp41", b"mp42", b"isom", b"iso2"),
        *(b"iso3", b"iso4", b"iso5", b"iso6", b"iso7", b"iso8", b"iso9", b"dash", b"avc1"),
        *(b"qt  ", b"MSNV", b"3gp4", b"3gp5", b"3gp6", b"3gp7", b"3g2a", b"av01"),
    )
)

# What people most often send instead, so that the refusal can say what it saw.
_REFUSED_MAGIC = (
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"#!", "a script"),
)
_REFUSED_MP4_BRANDS = {
    b"heic": "a HEIC picture",
    b"heix": "a HEIC picture",
    b"mif1": "a HEIF picture",
    b"avif": "an AVIF picture",
}
_REFUSED_TEXT = (
    (b"<svg", "an SVG drawing"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<script", "an HTML page"),
    (b"#extm3u", "a playlist"),
)

_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "image/x-bmp": "image/bmp",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "audio/x-mp3": "audio/mpeg",
    "audio/x-mpeg": "audio/mpeg",
    "audio/mpga": "audio/mpeg",
    "audio/x-flac": "audio/flac",
    "audio/opus": "audio/ogg",
    "audio/vorbis": "audio/ogg",
    "audio/oga": "audio/ogg",
    "application/ogg": "audio/ogg",
    "audio/mp4": "video/mp4",
    "audio/m4a": "video/mp4",
    "audio/x-m4a": "video/mp4",
    "audio/mp4a-latm": "video/mp4",
    "video/x-m4v": "video/mp4",
    "video/quicktime": "video/mp4",
    "video/3gpp": "video/mp4",
    "audio/aacp": "audio/aac",
    "audio/x-aac": "audio/aac",
    "audio/webm": "video/webm",
    "audio/x-matroska": "video/x-matroska",
    "video/matroska": "video/x-matroska",
    "video/avi": "video/x-msvideo",
    "video/msvideo": "video/x-msvideo",
    "video/vnd.avi": "video/x-msvideo",
    # Browsers name the container's usual type when a file holds sound only.
    "video/ogg": "audio/ogg",
}
_SAYS_NOTHING = frozenset(("", "application/octet-stream", "binary/octet-stream"))


def sniff(
    content: bytes, *, declared_mime_type: str | None, expect: MediaKind | None = None
) -> FileType:
    """The type of ``content``.

    Raises:
        BrokenMedia: there is nothing in it.
        UnsupportedMedia: not a type we take, not what was declared, or not what was expected.
    """
    if not content:
        raise BrokenMedia("the file is empty")
    found = _by_magic(content)
    if found is None:
        seen = _refused_name(content)
        what = f"this is {seen}, which is not taken" if seen else "this type of file is not taken"
        raise UnsupportedMedia(f"{what}; send {TAKEN}")
    declared = (declared_mime_type or "").partition(";")[0].strip().lower()
    if declared not in _SAYS_NOTHING and _ALIASES.get(declared, declared) != found.mime_type:
        raise UnsupportedMedia(
            f"the file is declared as {declared[:80]} but contains {found.mime_type}"
        )
    may_be_sound = found.kind is MediaKind.VIDEO and expect is MediaKind.AUDIO
    if expect is not None and found.kind is not expect and not may_be_sound:
        raise UnsupportedMedia(
            f"{_a(expect)} is needed here, but the file contains {found.mime_type}"
        )
    return found


def check_length(content: bytes, limits: MediaLimits) -> None:
    """Raises ``MediaTooLarge``. Videos may be longer than other files."""
    check_n_bytes(len(content), content[:_HEAD_BYTES], limits)


def check_n_bytes(n_bytes: int, head: bytes, limits: MediaLimits) -> None:
    """The same of a file that begins with ``head`` and has so many bytes so far."""
    found = _by_magic(head)
    may_be_video = found is not None and found.kind is MediaKind.VIDEO
    max_bytes = limits.max_bytes if may_be_video else limits.max_upload_bytes
    if n_bytes > max_bytes:
        raise MediaTooLarge(
            f"the file has {n_bytes} bytes; the limit is {max_bytes}", limit=max_bytes, got=n_bytes
        )


def has_whole_head(content: bytes) -> bool:
    """Whether the first bytes are enough to ``sniff``, and to say if ``is_read_forward``."""
    if content[4:8] == b"ftyp":
        return _first_large_box(content) is not None
    if content.startswith(b"ID3"):
        return len(content) >= _tag_bytes(content) + _MAGIC_BYTES
    return len(content) >= _HEAD_BYTES


def is_read_forward(content: bytes, file_type: FileType) -> bool:
    """Whether a file that begins like this can be decoded before its end is there.

    Not an MP4 whose index lies behind its sound, nor an AVI.
    """
    if file_type is _MP4:
        return _first_large_box(content) == b"moov"
    return file_type is not _AVI


def _first_large_box(content: bytes) -> bytes | None:
    """The index (moov) or the sound (mdat), whichever comes first; None: not yet to be seen.

    Source: ISO/IEC 14496-12, section 4.2.
    """
    at = 0
    while at + 16 <= len(content):
        n_bytes = int.from_bytes(content[at : at + 4], "big")
        name = content[at + 4 : at + 8]
        if n_bytes == 1:
            n_bytes = int.from_bytes(content[at + 8 : at + 16], "big")
        if name in (b"moov", b"mdat") or n_bytes < 8:
            return name
        at += n_bytes
    return None


def _a(kind: MediaKind) -> str:
    return {MediaKind.IMAGE: "a picture", MediaKind.AUDIO: "audio"}.get(kind, f"a {kind.value}")


def _by_magic(content: bytes) -> FileType | None:
    for magic, file_type in _BY_MAGIC:
        if content.startswith(magic):
            return file_type
    if content[:4] == b"RIFF":
        return {b"WEBP": _WEBP, b"WAVE": _WAV, b"AVI ": _AVI}.get(content[8:12])
    if content[4:8] == b"ftyp":
        return _MP4 if content[8:12] in _MP4_BRANDS else None
    if content.startswith(b"\x1a\x45\xdf\xa3"):
        head = content[:64]
        return _WEBM if b"webm" in head else _MKV if b"matroska" in head else None
    if content.startswith(b"ID3"):
        return _behind_tag(content)
    return _by_mpeg_sync(content)


def _behind_tag(content: bytes) -> FileType:
    """Signed FLAC files begin with an ID3 tag too."""
    behind = _tag_bytes(content)
    return _FLAC if content[behind : behind + _MAGIC_BYTES] == b"fLaC" else _MP3


def _tag_bytes(content: bytes) -> int:
    """How long an ID3 tag is; its length has seven bits in a byte.

    Source: https://id3.org/id3v2.4.0-structure, section 3.1.
    """
    length = 0
    for byte in content[6:10]:
        length = length << 7 | byte & 0x7F
    return 10 + length


def _by_mpeg_sync(content: bytes) -> FileType | None:
    """MPEG audio without a container begins with a frame: 11 set bits, then its parameters."""
    if len(content) < 4 or content[0] != 0xFF or content[1] & 0xE0 != 0xE0:
        return None
    version, layer = content[1] >> 3 & 3, content[1] >> 1 & 3
    if layer == 0:
        return _AAC if content[1] & 0xF6 == 0xF0 else None
    bitrate, rate = content[2] >> 4, content[2] >> 2 & 3
    is_frame = version != 1 and bitrate not in (0, 15) and rate != 3
    return _MP3 if is_frame else None


def _refused_name(content: bytes) -> str | None:
    for magic, name in _REFUSED_MAGIC:
        if content.startswith(magic):
            return name
    if content[4:8] == b"ftyp":
        return _REFUSED_MP4_BRANDS.get(content[8:12])
    head = content[:_HEAD_BYTES].lower()
    for mark, name in _REFUSED_TEXT:
        if mark in head:
            return name
    return None
