"""Files that come with a form."""

from __future__ import annotations

from fastapi import UploadFile

from serve.domain.media import MediaKind, MediaRef
from serve.domain.records import Caller
from serve.ingress.context import IngressPorts


async def keep_upload(
    ports: IngressPorts, caller: Caller, file: UploadFile, *, expect: MediaKind
) -> MediaRef:
    """Make an asset of it. Raises what the intake raises for what is no ``expect``."""
    return await ports.intake.store(
        caller,
        await file.read(),
        declared_mime_type=file.content_type,
        filename=file.filename or "",
        expect=expect,
    )
