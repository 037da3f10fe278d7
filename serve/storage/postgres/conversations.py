"""``Conversations`` in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from serve.domain.errors import Conflict, InvalidRequest, NotFound
from serve.domain.ids import new_id
from serve.domain.records import Caller, Conversation, Item, JsonObject, Page
from serve.storage.postgres.named_queries import load_queries
from serve.storage.postgres.pool import Connection, Database, Row


class PostgresConversations:
    """``domain.ports.Conversations``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = load_queries("conversations")

    async def create(
        self, caller: Caller, *, title: str, metadata: JsonObject, items: Sequence[Item]
    ) -> Conversation:
        """Begin one, empty or with items."""
        async with self._database.transaction() as connection:
            inserted = await connection.fetchrow(
                self._sql["insert_conversation"], new_id("conv"), caller.user_id, title, metadata
            )
            row = _present(inserted, "conversation")
            created = _conversation(row)
            if items and row["is_new"]:
                await append_items(connection, caller.user_id, created.id, items)
        return created

    async def get(self, caller: Caller, conversation_id: str) -> Conversation:
        """Raises ``NotFound``."""
        row = await self._database.row(self._sql["conversation"], caller.user_id, conversation_id)
        return _conversation(_present(row, conversation_id))

    async def list(self, caller: Caller, page: Page) -> tuple[Conversation, ...]:
        """By time of the last item. Raises ``InvalidRequest`` for a cursor that is not theirs."""
        name = "newest_first" if page.newest_first else "oldest_first"
        rows = await self._database.rows(self._sql[name], caller.user_id, page.after, page.limit)
        if not rows and page.after is not None:
            cursor = await self._database.row(self._sql["conversation"], caller.user_id, page.after)
            if cursor is None:
                raise InvalidRequest("'after' names no conversation of yours", param="after")
        return tuple(map(_conversation, rows))

    async def update(
        self,
        caller: Caller,
        conversation_id: str,
        *,
        title: str | None,
        metadata: JsonObject | None,
    ) -> Conversation:
        """Replace what is not None. Raises ``NotFound``."""
        row = await self._database.row(
            self._sql["update_conversation"], caller.user_id, conversation_id, title, metadata
        )
        return _conversation(_present(row, conversation_id))

    async def delete(self, caller: Caller, conversation_id: str) -> None:
        """Forget it with its items and the responses made in it. Raises ``NotFound``."""
        _present(
            await self._database.row(
                self._sql["delete_conversation"], caller.user_id, conversation_id
            ),
            conversation_id,
        )

    async def items(self, caller: Caller, conversation_id: str, page: Page) -> tuple[Item, ...]:
        """By place. Raises ``NotFound``, and ``InvalidRequest`` for an unknown cursor."""
        name = "items_newest_first" if page.newest_first else "items_oldest_first"
        return await self._read_items(caller, conversation_id, name, page.after, page.limit)

    async def all_items(self, caller: Caller, conversation_id: str) -> tuple[Item, ...]:
        """Oldest first, for building the prompt. Raises ``NotFound``."""
        return await self._read_items(caller, conversation_id, "items_oldest_first", None, None)

    async def add_items(self, caller: Caller, conversation_id: str, items: Sequence[Item]) -> None:
        """Append, in order, all or none; what is there as a whole is not added again.

        Raises ``NotFound``, ``Conflict`` for an id that is taken.
        """
        try:
            async with self._database.transaction() as connection:
                await append_items(connection, caller.user_id, conversation_id, items)
        except Conflict:
            ids = [item.id for item in items]
            there = await self._database.row(
                self._sql["count_items"], caller.user_id, conversation_id, ids
            )
            if there is None or there[0] != len(set(ids)):
                raise

    async def put_items(self, caller: Caller, conversation_id: str, items: Sequence[Item]) -> None:
        """Replace those that are there, append the others in order. Raises ``NotFound``."""
        async with self._database.transaction() as connection:
            first_position = await connection.fetchval(
                self._sql["reserve_positions"], caller.user_id, conversation_id, len(items)
            )
            if first_position is None:
                raise NotFound(f"no conversation {conversation_id!r}")
            bodies = [item.body for item in items]
            await connection.execute(
                self._sql["put_items"], conversation_id, first_position, bodies
            )

    async def get_item(self, caller: Caller, conversation_id: str, item_id: str) -> Item:
        """Raises ``NotFound``."""
        row = await self._database.row(self._sql["item"], caller.user_id, conversation_id, item_id)
        if row is None:
            raise NotFound(f"no item {item_id!r} in this conversation")
        return _item(row)

    async def delete_item(self, caller: Caller, conversation_id: str, item_id: str) -> None:
        """Raises ``NotFound``."""
        row = await self._database.row(
            self._sql["delete_item"], caller.user_id, conversation_id, item_id
        )
        if row is None:
            raise NotFound(f"no item {item_id!r} in this conversation")

    async def _read_items(
        self,
        caller: Caller,
        conversation_id: str,
        name: str,
        after: str | None,
        limit: int | None,
    ) -> tuple[Item, ...]:
        rows = await self._database.rows(
            self._sql[name], caller.user_id, conversation_id, after, limit
        )
        if not rows:
            raise NotFound(f"no conversation {conversation_id!r}")
        if not rows[0]["cursor_is_known"]:
            raise InvalidRequest("'after' names no item of this conversation", param="after")
        return tuple(_item(row) for row in rows if row["id"] is not None)


async def append_items(
    connection: Connection,
    owner_id: str,
    conversation_id: str,
    items: Sequence[Item],
    *,
    response_id: str | None = None,
) -> None:
    """Append inside the caller's transaction, holding the conversation until it ends.

    Raises ``NotFound`` for a conversation that is not the owner's, ``Conflict`` for a taken id.
    """
    sql = load_queries("conversations")
    first_position = await connection.fetchval(
        sql["reserve_positions"], owner_id, conversation_id, len(items)
    )
    if first_position is None:
        raise NotFound(f"no conversation {conversation_id!r}")
    bodies = [{**item.body, "id": item.id} for item in items]
    try:
        await connection.execute(
            sql["append_items"], conversation_id, first_position, response_id, bodies
        )
    except asyncpg.UniqueViolationError as exc:
        raise Conflict("the conversation has an item of this id already") from exc


def _present(row: Row | None, conversation_id: str) -> Row:
    if row is None:
        raise NotFound(f"no conversation {conversation_id!r}")
    return row


def _conversation(row: Row) -> Conversation:
    return Conversation(
        id=row["id"],
        owner_id=row["owner_id"],
        title=row["title"],
        metadata=row["metadata"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _item(row: Row) -> Item:
    return Item(id=row["id"], body=row["body"], response_id=row["response_id"])
