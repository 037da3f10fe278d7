"""``Assets`` in PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

from serve.domain.errors import InvalidRequest, NotFound
from serve.domain.ids import new_id
from serve.domain.media import (
    Making,
    MediaKind,
    MediaRef,
    SanitizedFile,
    SanitizedMedia,
    asset_storage_key,
)
from serve.domain.records import Caller, Page
from serve.storage.postgres.named_queries import load_queries
from serve.storage.postgres.pool import Database, Row


class PostgresAssets:
    """``domain.ports.Assets``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = load_queries("assets")

    async def add(
        self,
        caller: Caller,
        media: SanitizedMedia | SanitizedFile,
        *,
        filename: str,
        content_hash: str,
        making: Making | None = None,
    ) -> MediaRef:
        """A new row, or the one this owner already has for equal bytes.

        A parent that was deleted meanwhile is left out.
        """
        asset_id = new_id("asset")
        parents = making.parents if making else ()
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                self._sql["insert_asset"],
                asset_id,
                caller.user_id,
                media.kind,
                media.mime_type,
                filename,
                content_hash,
                media.n_bytes,
                media.width_px,
                media.height_px,
                media.duration_s,
                making.action if making else None,
                making.model if making else None,
                making.recipe if making else None,
            )
            added = _media(_present(row, "asset"))
            if added.asset_id != asset_id or making is None or not parents:
                return added
            await connection.execute(
                self._sql["insert_parents"], caller.user_id, asset_id, list(parents)
            )
        return replace(added, making=making)

    async def children(
        self, caller: Caller, asset_id: str, *, limit: int = 100
    ) -> tuple[MediaRef, ...]:
        """What was made from an asset, newest first."""
        rows = await self._database.rows(self._sql["children"], caller.user_id, asset_id, limit)
        return tuple(map(_media, rows))

    async def get(self, caller: Caller, asset_id: str) -> MediaRef:
        """Raises ``NotFound``."""
        row = await self._database.row(self._sql["asset"], caller.user_id, asset_id)
        return _media(_present(row, asset_id))

    async def list(self, caller: Caller, page: Page) -> tuple[MediaRef, ...]:
        """By time of storing. Raises ``InvalidRequest`` for a cursor that is not theirs."""
        name = "newest_first" if page.newest_first else "oldest_first"
        rows = await self._database.rows(self._sql[name], caller.user_id, page.after, page.limit)
        if not rows and page.after is not None:
            cursor = await self._database.row(self._sql["asset"], caller.user_id, page.after)
            if cursor is None:
                raise InvalidRequest("'after' names no asset of yours", param="after")
        return tuple(map(_media, rows))

    async def delete(self, caller: Caller, asset_id: str) -> MediaRef:
        """Forget the row and say what it named. Raises ``NotFound``."""
        row = await self._database.row(self._sql["delete_asset"], caller.user_id, asset_id)
        return _media(_present(row, asset_id))


def _present(row: Row | None, asset_id: str) -> Row:
    if row is None:
        raise NotFound(f"no asset {asset_id!r}")
    return row


def _media(row: Row) -> MediaRef:
    return MediaRef(
        asset_id=row["id"],
        owner_id=row["owner_id"],
        kind=MediaKind(row["kind"]),
        mime_type=row["mime_type"],
        content_hash=row["content_hash"],
        storage_key=asset_storage_key(row["owner_id"], row["content_hash"]),
        n_bytes=row["n_bytes"],
        width_px=row["width_px"],
        height_px=row["height_px"],
        duration_s=row["duration_s"],
        filename=row["filename"],
        created_at=row["created_at"],
        making=_making(row),
    )


def _making(row: Row) -> Making | None:
    if row["action"] is None:
        return None
    return Making(
        action=row["action"],
        model=row["made_by"] or "",
        recipe=row["recipe"] or {},
        parents=tuple(row["parents"]),
    )
