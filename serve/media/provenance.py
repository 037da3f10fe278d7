"""Signed statements of how media were made: written here, read anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, Self

from serve.domain.errors import (
    BrokenMedia,
    InternalError,
    PolymodalError,
    UnsupportedMedia,
)
from serve.domain.media import Making, MediaRef, SanitizedMedia
from serve.domain.provenance import ProvenanceReport
from serve.media.claims import ReadJob, SignJob, claim_of, ingredients_of, report_of
from serve.media.frames import Refused
from serve.media.sandbox import Sandbox, WorkerLost
from serve.media.signing_key import SigningIdentity

# Containers that can hold a manifest; the library would refuse the others. Ogg cannot.
# Source: https://opensource.contentauthenticity.org/docs/c2pa-python (supported formats).
SIGNED_TYPES: Final = frozenset(
    (
        "image/png",
        "image/jpeg",
        "image/webp",
        "image/gif",
        "audio/wav",
        "audio/flac",
        "audio/mpeg",
        "audio/mp4",
        "video/mp4",
    )
)
_MODULE: Final = "serve.media.provenance_worker"
_MEMORY_BYTES: Final = 1024**3
_TIMEOUT_S: Final = 30.0


class C2paProvenance:
    """``ProvenanceSigner`` and ``ProvenanceReader``, in processes that can be killed.

    Two kinds of them: the key never meets a stranger's file.
    """

    def __init__(
        self,
        identity: SigningIdentity,
        *,
        tells_recipe: bool = False,
        worker_env: Mapping[str, str] | None = None,
    ) -> None:
        """Starts nothing yet. Call ``aclose`` when done, or use it as a context manager.

        ``tells_recipe``: manifests hold prompts and settings instead of the prompt's hash alone.
        """
        self._identity = identity
        self._tells_recipe = tells_recipe
        self._signers, self._readers = (
            Sandbox(
                memory_bytes=_MEMORY_BYTES,
                timeout_s=_TIMEOUT_S,
                max_workers=1,
                worker_env=worker_env or {},
                module=_MODULE,
            )
            for _ in range(2)
        )

    @property
    def certificate(self) -> str:
        """PEM of the root that whoever checks our signatures must trust."""
        return self._identity.root

    async def aclose(self) -> None:
        """End the workers."""
        await self._signers.aclose()
        await self._readers.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def sign(
        self, media: SanitizedMedia, making: Making, parents: Sequence[tuple[MediaRef, bytes]]
    ) -> SanitizedMedia:
        """See ``ProvenanceSigner``. Raises ``InternalError`` when it cannot be signed."""
        if media.mime_type not in SIGNED_TYPES:
            return media
        refs = [ref for ref, _ in parents]
        job = SignJob(
            definition=claim_of(making, media.mime_type, tells_recipe=self._tells_recipe),
            mime_type=media.mime_type,
            n_bytes=len(media.content),
            parents=ingredients_of(making, refs),
            parent_types=[ref.mime_type for ref in refs],
            parent_bytes=[len(content) for _, content in parents],
            private_key=self._identity.private_key,
            chain=self._identity.chain,
            cpu_s=_TIMEOUT_S,
        )
        content = b"".join((media.content, *(content for _, content in parents)))
        try:
            answer, signed = await self._signers.run(job, content)
        except (TimeoutError, WorkerLost) as exc:
            raise InternalError("what was made could not be signed; try again") from exc
        if isinstance(answer, Refused):
            raise InternalError(f"what was made could not be signed: {answer.message}")
        return SanitizedMedia(
            kind=media.kind,
            mime_type=media.mime_type,
            content=signed,
            width_px=media.width_px,
            height_px=media.height_px,
            duration_s=media.duration_s,
        )

    async def read(self, content: bytes) -> ProvenanceReport:
        """See ``ProvenanceReader``."""
        if not content:
            raise BrokenMedia("the file is empty")
        job = ReadJob(root=self._identity.root, cpu_s=_TIMEOUT_S)
        try:
            answer, found = await self._readers.run(job, content)
        except (TimeoutError, WorkerLost) as exc:
            raise BrokenMedia("reading the manifest took too much time or memory") from exc
        if isinstance(answer, Refused):
            raise _ERRORS.get(answer.fault, BrokenMedia)(answer.message)
        return report_of(json.loads(found)) if found else ProvenanceReport(is_signed=False)


_ERRORS: Final[dict[str, type[PolymodalError]]] = {"unsupported": UnsupportedMedia}
