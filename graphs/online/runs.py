"""A response from its first row to its last: perceive, assemble, generate, settle."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from dataclasses import replace
from datetime import UTC, datetime
from typing import Self

from graphs.online.active_run import ActiveRun, RunPorts
from graphs.online.assemble import Seen, assemble
from graphs.online.writer import LogWriter, seal
from serve.domain.asks import Ask
from serve.domain.errors import (
    EngineDead,
    InternalError,
    NodeTimeout,
    NotFound,
    PolymodalError,
)
from serve.domain.ids import new_id
from serve.domain.media import MediaKind, MediaRef
from serve.domain.messages import (
    AudioPerception,
    Failed,
    Finished,
    FinishReason,
    GenerationOutcome,
    GenerationRequest,
    ImagePerception,
    LogEntry,
    NativeMediaPart,
    Stage,
    StageFinished,
    StageStarted,
    TextDelta,
    ToolCallStarted,
    Usage,
)
from serve.domain.records import Caller, Item, ResponseRecord, ResponseStatus
from serve.observability.logging import request_id
from serve.observability.metrics import (
    FIRST_TOKEN_SECONDS,
    RESPONSES,
    RESPONSES_IN_FLIGHT,
    TOKENS,
)
from serve.observability.tracing import RequestTrace
from serve.protocol.events import settled_record
from serve.protocol.items import media_ids

_log = logging.getLogger(__name__)

# Readers of a finished log have this long to read on before it is found in PostgreSQL only.
_LOG_TTL_S = 600
_JANITOR_PERIOD_S = 30.0
_CANCEL_WAIT_S = 10.0
_SETTLE_POLL_S = 0.05
_MAX_PERCEPTIONS_AT_ONCE = 8


class RunSupervisor:
    """``domain.asks.Runs``. Runs belong to it, not to the HTTP request that asked."""

    def __init__(self, ports: RunPorts, *, timeout_s: float) -> None:
        self._ports = ports
        self._timeout_s = timeout_s
        self._active: dict[str, ActiveRun] = {}
        self._group: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Accept runs inside the block; leaving it ends every run as failed."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            watchers = [
                group.create_task(self._watch_cancellations()),
                group.create_task(self._sweep()),
            ]
            try:
                yield self
            finally:
                self._group = None
                for task in [*watchers, *(r.task for r in self._active.values() if r.task)]:
                    task.cancel()

    # --- the port ---------------------------------------------------------------------------

    async def start(self, caller: Caller, ask: Ask) -> ActiveRun:
        """Commit the response and begin."""
        if self._group is None:
            raise EngineDead("the server is stopping; try again", retry_after_s=1)
        history = await self._history(caller, ask)
        record = ResponseRecord(
            id=new_id("resp"),
            owner_id=caller.user_id,
            model=ask.model,
            status=ResponseStatus.IN_PROGRESS,
            created_at=datetime.now(UTC),
            request=ask.echo,
            input_items=ask.input_items,
            conversation_id=ask.conversation_id,
            previous_response_id=ask.previous_response_id,
            background=ask.background,
            stored=ask.stored,
        )
        clock = ask.clock or RequestTrace()
        with clock.span("admit", "Ingress"):
            await self._ports.responses.begin(caller, record)
        outcome: asyncio.Future[ResponseRecord] = asyncio.get_running_loop().create_future()
        # Nobody may be waiting for a background run's error; it is in the record all the same.
        outcome.add_done_callback(lambda done: done.cancelled() or done.exception())
        run = ActiveRun(record, ask, caller, clock, history, outcome)
        self._active[record.id] = run
        # An empty context: inside the request's own, Serve would cancel our calls with it.
        context = Context()
        context.run(request_id.set, request_id.get())
        run.task = self._group.create_task(self._drive(run), context=context)
        return run

    async def cancel(self, caller: Caller, response_id: str) -> ResponseRecord:
        """Stop a response wherever it runs."""
        record = await self._ports.responses.get(caller, response_id)
        if record.status.is_final:
            return record
        run = self._active.get(response_id)
        if run is not None:
            run.abandon()
            with suppress(PolymodalError):
                await run.finished()
        else:
            await self._ports.log.request_cancel(response_id)
        return await self._once_settled(caller, response_id)

    async def _once_settled(self, caller: Caller, response_id: str) -> ResponseRecord:
        """The record, final unless whoever makes it does not react in time."""
        deadline_s = time.monotonic() + _CANCEL_WAIT_S
        while True:
            record = await self._ports.responses.get(caller, response_id)
            if record.status.is_final or time.monotonic() > deadline_s:
                return record
            await asyncio.sleep(_SETTLE_POLL_S)

    def follow(self, response_id: str, *, from_seq: int = 0) -> AsyncGenerator[LogEntry, None]:
        """The log of a response that some process is making."""
        return self._ports.log.follow(response_id, from_seq=from_seq)

    # --- one run, top to bottom -------------------------------------------------------------

    async def _drive(self, run: ActiveRun) -> None:
        RESPONSES_IN_FLIGHT.inc()
        try:
            await self._answer(run)
        except asyncio.CancelledError:
            # The cancel is ours to handle: a settled response, not a broken task.
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            await self._end(run, self._cancelled(run))
        except PolymodalError as error:
            await self._end(run, error)
        except Exception:  # noqa: BLE001 - the border of a task: log, settle, answer
            _log.exception("run failed unexpectedly", extra={"response_id": run.record.id})
            await self._end(run, InternalError("something went wrong on our side; try again"))
        finally:
            RESPONSES_IN_FLIGHT.dec()
            self._active.pop(run.record.id, None)
            if not run.outcome.done():
                run.outcome.set_exception(InternalError("the answer could not be settled"))

    async def _answer(self, run: ActiveRun) -> None:
        writer = LogWriter(self._ports.log, run.record.id)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._perceive(run, writer)
                outcome = await self._generate(run, writer)
        except TimeoutError as exc:
            raise NodeTimeout(
                f"the answer took longer than {self._timeout_s:g} s, the limit",
                budget_s=self._timeout_s,
            ) from exc
        finished = Finished(reason=outcome.reason, usage=outcome.usage, at_unix_s=time.time())
        last = LogEntry(outcome.next_seq, finished)
        with run.clock.span("settle", "Ingress"):
            entries = (*await self._ports.log.read(run.record.id), last)
        # The row first: whoever sees the last event finds the answer committed.
        final = await self._settle(run, entries)
        await self._ports.log.append([(run.record.id, last)])
        await self._ports.log.expire(run.record.id, _LOG_TTL_S)
        run.outcome.set_result(final)

    async def _perceive(self, run: ActiveRun, writer: LogWriter) -> None:
        media = await self._media_of(run)
        own = {asset for item in run.ask.input_items for asset in media_ids(item)}
        gate = asyncio.Semaphore(_MAX_PERCEPTIONS_AT_ONCE)

        async def one(medium: MediaRef) -> None:
            async with gate:
                told = writer if medium.asset_id in own else None
                run.seen[medium.asset_id] = await self._see(run, medium, told)

        try:
            async with asyncio.TaskGroup() as group:
                for medium in media:
                    group.create_task(one(medium))
        except* PolymodalError as failed:
            raise failed.exceptions[0] from None

    async def _see(self, run: ActiveRun, medium: MediaRef, told: LogWriter | None) -> Seen:
        picture = medium.kind is MediaKind.IMAGE
        stage = Stage.LOOKING if picture else Stage.LISTENING
        node = "ImageEncoder" if picture else "AudioEncoder"
        if told:
            await told.write(StageStarted(stage, medium.asset_id, time.time()))
        with run.clock.span("look" if picture else "listen", node) as attributes:
            attributes["asset_id"] = medium.asset_id
            if picture and self._ports.models[run.ask.model].sees_pictures:
                attributes["way"] = "features"
                features = await self._ports.images.features(medium, run.ask.model)
                seen: Seen = NativeMediaPart(medium, features)
                cache = ""
            else:
                perceived = await self._ports.perceiving.perceive(medium)
                cache = "hit" if perceived.cache_hit else "miss"
                attributes["way"] = "grounded text"
                attributes["cache"] = cache
                seen = perceived.perception
        if told:
            await told.write(StageFinished(stage, medium.asset_id, time.time(), cache))
        return seen

    async def _generate(self, run: ActiveRun, writer: LogWriter) -> GenerationOutcome:
        ask = run.ask
        await writer.write(StageStarted(Stage.READING, "", time.time()))
        request = GenerationRequest(
            response_id=run.record.id,
            model=ask.model,
            messages=assemble(run.history, run.seen, instructions=ask.instructions),
            sampling=ask.sampling,
            first_seq=writer.next_seq,
            tools=ask.tools,
            tool_choice=ask.tool_choice,
            parallel_tool_calls=ask.parallel_tool_calls,
            json_schema=ask.json_schema,
        )
        start_s = run.clock.now_s()
        with run.clock.span("generate", "Generator") as attributes:
            outcome = await self._ports.generators[ask.model].generate(request)
            attributes["input_tokens"] = outcome.usage.input_tokens
            attributes["cached_tokens"] = outcome.usage.cached_tokens
            attributes["output_tokens"] = outcome.usage.output_tokens
        for name, seconds in (
            ("queue", outcome.queue_s),
            ("prefill", outcome.prefill_s),
            ("decode", outcome.decode_s),
        ):
            run.clock.add(name, "Generator", start_s, start_s + seconds)
            start_s += seconds
            if name == "prefill":
                FIRST_TOKEN_SECONDS.observe(start_s)
        return outcome

    async def _settle(self, run: ActiveRun, entries: tuple[LogEntry, ...]) -> ResponseRecord:
        final = settled_record(run.record, (entry.event for entry in entries))
        final = replace(final, log=entries, trace=run.clock.spans())
        await self._ports.responses.settle(final)
        await self._entitle(run)
        RESPONSES.labels(final.status.value).inc()
        for direction, count in (
            ("input", final.usage.input_tokens),
            ("cached", final.usage.cached_tokens),
            ("output", final.usage.output_tokens),
        ):
            TOKENS.labels(direction).inc(count)
        return final

    async def _end(self, run: ActiveRun, end: PolymodalError | Finished) -> None:
        """End a run that did not get to its own end."""
        response_id = run.record.id
        try:
            if isinstance(end, PolymodalError):
                event = Failed(end.code, end.message, time.time())
                entries = await seal(self._ports.log, response_id, event)
                if end.status < 500 and not _has_output(entries):
                    # Refused before it began: nothing of it stays.
                    await self._ports.responses.discard(response_id)
                    RESPONSES.labels("refused").inc()
                else:
                    await self._settle(run, entries)
                run.outcome.set_exception(end)
            else:
                entries = await seal(self._ports.log, response_id, end)
                run.outcome.set_result(await self._settle(run, entries))
            await self._ports.log.expire(response_id, _LOG_TTL_S)
        except PolymodalError as error:
            # The stores are gone too; the janitor settles the row when they are back.
            _log.warning(
                "run could not be settled",
                extra={"response_id": response_id, "code": error.code, "reason": error.message},
            )
            if not run.outcome.done():
                run.outcome.set_exception(error)

    @staticmethod
    def _cancelled(run: ActiveRun) -> PolymodalError | Finished:
        if not run.cancel_requested:
            return EngineDead("the server stopped while answering; ask again")
        return Finished(reason=FinishReason.CANCELLED, usage=Usage(), at_unix_s=time.time())

    # --- what a run reads -------------------------------------------------------------------

    async def _history(self, caller: Caller, ask: Ask) -> tuple[Item, ...]:
        before: tuple[Item, ...] = ()
        if ask.conversation_id is not None:
            before = await self._ports.conversations.all_items(caller, ask.conversation_id)
        elif ask.previous_response_id is not None:
            chain = await self._ports.responses.chain(caller, ask.previous_response_id)
            before = tuple(
                item for each in chain for item in (*each.input_items, *each.output_items)
            )
        return (*before, *ask.input_items)

    async def _media_of(self, run: ActiveRun) -> list[MediaRef]:
        wanted = dict.fromkeys(asset for item in run.history for asset in media_ids(item))
        media: list[MediaRef] = []
        for asset_id in wanted:
            # Deleted since: the prompt says so, and the conversation goes on.
            with suppress(NotFound):
                media.append(await self._ports.assets.get(run.caller, asset_id))
        return media

    async def _entitle(self, run: ActiveRun) -> None:
        conversation_id = run.ask.conversation_id
        if conversation_id is None or len(run.history) > len(run.ask.input_items):
            return
        with suppress(PolymodalError):
            conversation = await self._ports.conversations.get(run.caller, conversation_id)
            # A person may have named it meanwhile.
            if not conversation.title:
                await self._ports.conversations.update(
                    run.caller, conversation_id, title=_title(run), metadata=None
                )

    # --- beside the runs --------------------------------------------------------------------

    async def _watch_cancellations(self) -> None:
        while True:
            try:
                async for response_id in self._ports.log.cancellations():
                    run = self._active.get(response_id)
                    if run is not None:
                        run.abandon()
            except PolymodalError as error:
                _log.warning("cancellations unheard", extra={"code": error.code})
                await asyncio.sleep(1)

    async def _sweep(self) -> None:
        """Fail what a killed ingress left open, once its own time limit has passed."""
        while True:
            try:
                lost = await self._ports.responses.fail_unfinished(
                    older_than_s=self._timeout_s + 2 * _JANITOR_PERIOD_S,
                    code=EngineDead.code,
                    message="the server stopped while answering; ask again",
                )
                for response_id in lost:
                    event = Failed(EngineDead.code, "the server stopped", time.time())
                    await seal(self._ports.log, response_id, event)
            except PolymodalError as error:
                _log.warning("sweep failed", extra={"code": error.code})
            await asyncio.sleep(_JANITOR_PERIOD_S)


def _has_output(entries: tuple[LogEntry, ...]) -> bool:
    return any(isinstance(entry.event, TextDelta | ToolCallStarted) for entry in entries)


def _title(run: ActiveRun) -> str:
    """The first words the person typed or said, else what the picture shows."""
    typed = [
        part["text"]
        for item in run.ask.input_items
        if item.body.get("role") == "user"
        for part in item.body["content"]
        if part["type"] == "input_text"
    ]
    spoken = [seen.transcript for seen in run.seen.values() if isinstance(seen, AudioPerception)]
    shown = [seen.description for seen in run.seen.values() if isinstance(seen, ImagePerception)]
    words = " ".join(next((text for text in (*typed, *spoken, *shown) if text.strip()), "").split())
    return words if len(words) <= 60 else words[:59].rsplit(" ", 1)[0] + "…"
