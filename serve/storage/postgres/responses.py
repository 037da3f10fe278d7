"""``Responses`` in PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import asyncpg

from serve.domain.errors import Conflict, InvalidRequest, NotFound
from serve.domain.messages import Failed, LogEntry, Usage
from serve.domain.records import Caller, Item, JsonObject, ResponseRecord, ResponseStatus
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

    async def begin(self, caller: Caller, record: ResponseRecord) -> None:
        """Commit the row and, inside a conversation, its input items, in one transaction.

        Raises ``NotFound`` for a conversation that is not the caller's, ``Conflict`` when it has
        a response in flight, or the id is taken.
        """
        async with self._database.transaction() as connection:
            held = await connection.fetchrow(
                self._sql["hold_conversation"], caller.user_id, record.conversation_id
            )
            if record.conversation_id is not None and held is None:
                raise NotFound(f"no conversation {record.conversation_id!r}")
            try:
                await connection.execute(
                    self._sql["insert_response"],
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
                )
            except asyncpg.UniqueViolationError as exc:
                raise Conflict(_why_refused(exc)) from exc
            if record.conversation_id is not None:
                await append_items(
                    connection,
                    caller.user_id,
                    record.conversation_id,
                    record.input_items,
                    response_id=record.id,
                )

    async def settle(self, record: ResponseRecord) -> None:
        """Commit the final state; output items join the conversation; unstored rows vanish.

        Settling a response that is already final, or was deleted meanwhile, changes nothing.
        """
        owner_id, response_id = record.owner_id, record.id
        async with self._database.transaction() as connection:
            conversation_id = await connection.fetchval(
                self._sql["conversation_of"], owner_id, response_id
            )
            await connection.execute(self._sql["hold_conversation"], owner_id, conversation_id)
            stored = await connection.fetchval(
                self._sql["settle_response"],
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
            if stored is None:
                return
            if conversation_id is not None and record.output_items:
                await append_items(
                    connection,
                    owner_id,
                    conversation_id,
                    record.output_items,
                    response_id=response_id,
                )
            if not stored:
                await connection.execute(self._sql["delete_response"], owner_id, response_id)

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

    async def fail_unfinished(
        self, *, older_than_s: float, code: str, message: str
    ) -> tuple[str, ...]:
        """Settle as failed what a crash left open; returns the ids."""
        log = log_to_json([LogEntry(0, Failed(code, message, time.time()))])
        async with self._database.transaction() as connection:
            rows = await connection.fetch(
                self._sql["fail_unfinished"], older_than_s, code, message, log
            )
            unstored = [row["id"] for row in rows if not row["stored"]]
            if unstored:
                await connection.execute(self._sql["forget_unstored"], unstored)
        return tuple(row["id"] for row in rows)


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
