"""Pictures that somebody brings, before anything is made of them."""

from __future__ import annotations

from collections.abc import Iterable

from serve.domain.media import MediaKind, MediaRef
from serve.ingress.context import IngressPorts


async def check_brought(ports: IngressPorts, media: Iterable[MediaRef], *, param: str) -> None:
    """Judge those of ``media`` that are pictures. Raises what ``ContentPolicy`` raises."""
    if ports.moderation.picture_rules.is_off:
        return
    for medium in media:
        if medium.kind is MediaKind.IMAGE:
            content = await ports.objects.get(medium.storage_key)
            await ports.moderation.check_picture(content, param=param)
