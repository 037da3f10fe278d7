"""``Responses`` in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import asyncpg

from serve.domain.errors import Conflict, InvalidRequest, NotFound
from serve.domain.messages import Usage
from serve.domain.records import (
    Caller,
    Item,
    JsonObject,
    ResponseRecord,
    ResponseStatus,
    Unfinished,
)
from serve.storage.codec import log_entry_from_json, log_to_json, span_from_json, span_to_json
from serve.storage.postgres.conversations import append_items
from serve.storage.postgres.named_queries import load_queries
from serve.storage.postgres.pool import Database, Row

# A chain is read for every turn; longer talk belongs into a conversation.
_MAX_CHAIN: Final = 500


class PostgresResponses:
    """``domain.ports.Responses``."""

    def __init__(self, database: Database, *, max_chain: int = _MAX_CHAIN) -> None:
        self._database = database
        self._max_chain = max_chain
        self._sql = load_queries("responses")

    async def begin(
        self, caller: Caller, record: ResponseRecord, *, supervisor: str, plan: JsonObject
    ) -> None:
        """Commit the row and, inside a conversation, its input items, in one transaction.

        Raises ``NotFound`` for a conversation that is not the caller's, ``Conflict`` when it has
        a response in flight, or the id is taken.
        """
        row = (
            record.id,
            caller.user_id,
            record.conversation_id,
            record.previous_response_id,
            record.model,
            record.status,
            record.background,
            record.stored,
            record.request,
            _items_to_json(record.input_items),
            record.created_at,
            supervisor,
            plan,
        )
        try:
            if record.conversation_id is None:
                # One statement is a transaction already, and three round trips less.
                await self._database.rows(self._sql["insert_response"], *row)
                return
            async with self._database.transaction() as connection:
                held = await connection.fetchrow(
                    self._sql["hold_conversation"], caller.user_id, record.conversation_id
                )
                if held is None:
                    raise NotFound(f"no conversation {record.conversation_id!r}")
                await connection.execute(self._sql["insert_response"], *row)
                await append_items(
                    connection,
                    caller.user_id,
                    record.conversation_id,
                    record.input_items,
                    response_id=record.id,
                )
        except asyncpg.UniqueViolationError as exc:
            raise Conflict(_why_refused(exc)) from exc

    async def settle(self, record: ResponseRecord) -> ResponseRecord:
        """Commit the final state; output items join the conversation; unstored rows vanish.

        Returns what holds: the record given, unless the response was final already. One that was
        deleted meanwhile stays so.
        """
        owner_id, response_id = record.owner_id, record.id
        final = (
            owner_id,
            response_id,
            record.status,
            _items_to_json(record.output_items),
            record.completed_at,
            record.usage.input_tokens,
            record.usage.cached_tokens,
            record.usage.output_tokens,
            record.error_code,
            record.error_message,
            record.incomplete_reason,
            log_to_json(record.log),
            [span_to_json(span) for span in record.trace],
        )
        is_alone = record.conversation_id is None and record.stored
        # One statement is a transaction already, and two round trips less.
        if is_alone and await self._database.row(self._sql["settle_response"], *final):
            return record
        async with self._database.transaction() as connection:
            if record.conversation_id is not None:
                await connection.execute(
                    self._sql["hold_conversation"], owner_id, record.conversation_id
                )
            stored = await connection.fetchval(self._sql["settle_response"], *final)
            if stored is None:
                row = await connection.fetchrow(self._sql["response"], owner_id, response_id)
                return record if row is None else _record(row)
            if record.conversation_id is not None and record.output_items:
                await append_items(
                    connection,
                    owner_id,
                    record.conversation_id,
                    record.output_items,
                    response_id=response_id,
                )
            if not stored:
                await connection.execute(self._sql["delete_response"], owner_id, response_id)
        return record

    async def started(self, response_id: str) -> None:
        """A queued response is in progress now; harmless for any other."""
        await self._database.rows(self._sql["mark_started"], response_id)

    async def unfinished(
        self, supervisors_alive: Iterable[str], *, known: Iterable[str] = ()
    ) -> tuple[Unfinished, ...]:
        """Responses in flight but for the known ones and those of these supervisors."""
        rows = await self._database.rows(
            self._sql["unfinished"], list(supervisors_alive), list(known)
        )
        return tuple(
            Unfinished(record=_record(row), supervisor=row["supervisor"], plan=row["plan"])
            for row in rows
        )

    async def take_over(self, response_id: str, supervisor: str) -> None:
        """Note the new supervisor of a response in flight."""
        await self._database.rows(self._sql["take_over"], response_id, supervisor)

    async def get(self, caller: Caller, response_id: str) -> ResponseRecord:
        """Raises ``NotFound``."""
        row = await self._database.row(self._sql["response"], caller.user_id, response_id)
        if row is None:
            raise NotFound(f"no response {response_id!r}")
        return _record(row)

    async def active(self, caller: Caller, conversation_id: str) -> str | None:
        """The response being made in this conversation. Raises ``NotFound``."""
        row = await self._database.row(
            self._sql["active_in_conversation"], caller.user_id, conversation_id
        )
        if row is None:
            raise NotFound(f"no conversation {conversation_id!r}")
        active: str | None = row["id"]
        return active

    async def delete(self, caller: Caller, response_id: str) -> None:
        """Forget the response; what it added to a conversation stays. Raises ``NotFound``."""
        row = await self._database.row(self._sql["delete_response"], caller.user_id, response_id)
        if row is None:
            raise NotFound(f"no response {response_id!r}")

    async def chain(self, caller: Caller, response_id: str) -> tuple[ResponseRecord, ...]:
        """The response and all before it by ``previous_response_id``, oldest first, no logs.

        Raises:
            NotFound: this one, or one before it, is not there: an answer must not quietly be
                made from half of what was said.
            InvalidRequest: there are more than fit into a prompt.
        """
        rows = await self._database.rows(
            self._sql["chain"], caller.user_id, response_id, self._max_chain
        )
        missing = rows[-1]["previous_response_id"] if rows else response_id
        if missing is not None and len(rows) < self._max_chain:
            raise NotFound(f"no response {missing!r}", param="previous_response_id")
        if missing is not None:
            raise InvalidRequest(
                f"more than {self._max_chain} responses in a row; use a conversation",
                param="previous_response_id",
                limit=self._max_chain,
            )
        return tuple(_record(row) for row in reversed(rows))

    async def discard(self, response_id: str) -> None:
        """Remove a refused response and its input items, as if it had never been asked."""
        async with self._database.transaction() as connection:
            await connection.execute(self._sql["discard_items"], response_id)
            await connection.execute(self._sql["discard_response"], response_id)


def _why_refused(violation: asyncpg.UniqueViolationError) -> str:
    if violation.constraint_name == "one_unfinished_response_per_conversation":
        return "the conversation has a response in progress; wait for it or cancel it"
    return "there is a response of this id already"


def _items_to_json(items: Sequence[Item]) -> list[JsonObject]:
    return [{"id": item.id, "body": item.body, "response_id": item.response_id} for item in items]


def _items_from_json(parsed: list[JsonObject]) -> tuple[Item, ...]:
    return tuple(Item(**item) for item in parsed)


def _record(row: Row) -> ResponseRecord:
    return ResponseRecord(
        id=row["id"],
        owner_id=row["owner_id"],
        model=row["model"],
        status=ResponseStatus(row["status"]),
        created_at=row["created_at"],
        request=row["request"],
        input_items=_items_from_json(row["input_items"]),
        output_items=_items_from_json(row["output_items"]),
        conversation_id=row["conversation_id"],
        previous_response_id=row["previous_response_id"],
        background=row["background"],
        stored=row["stored"],
        completed_at=row["completed_at"],
        usage=Usage(
            input_tokens=row["input_tokens"],
            cached_tokens=row["cached_tokens"],
            output_tokens=row["output_tokens"],
        ),
        error_code=row["error_code"],
        error_message=row["error_message"],
        incomplete_reason=row["incomplete_reason"],
        log=tuple(map(log_entry_from_json, row["log"])),
        trace=tuple(map(span_from_json, row["trace"])),
    )
