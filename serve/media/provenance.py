"""Signed statements of how media were made."""

from __future__ import annotations

from collections.abc import Sequence

from serve.domain.media import Making, MediaRef, SanitizedMedia


class Unsigned:
    """``ProvenanceSigner`` that signs nothing."""

    async def sign(
        self, media: SanitizedMedia, making: Making, parents: Sequence[tuple[MediaRef, bytes]]
    ) -> SanitizedMedia:
        """The medium as it is."""
        del making, parents
        return media
