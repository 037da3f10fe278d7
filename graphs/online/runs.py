"""The responses that this process supervises, and those it takes over from the dead."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from contextvars import Context
from dataclasses import replace
from datetime import UTC, datetime
from typing import Self

from graphs.online.active_run import ActiveRun, RunPorts
from graphs.online.maker import ResponseMaker
from graphs.online.peers import Peers
from graphs.online.plans import plan_of, planned_ask
from serve.domain.asks import Ask
from serve.domain.errors import Conflict, EngineDead, NotFound, PolymodalError
from serve.domain.ids import new_id
from serve.domain.journal import Adopted, CancelAsked, ResponseFold
from serve.domain.messages import LogEntry
from serve.domain.records import Caller, Item, ResponseRecord, ResponseStatus, Scope, Unfinished
from serve.observability.logging import request_id
from serve.observability.metrics import RESPONSES_IN_FLIGHT
from serve.observability.tracing import RequestTrace
from serve.protocol.events import settled_record

_log = logging.getLogger(__name__)

_PATROL_PERIOD_S = 0.25
_CHECKPOINT_PERIOD_S = 2.0
_ORPHAN_PERIOD_S = 0.5
# Who is asked for a final record gives its maker this long.
_CANCEL_WAIT_S = 10.0
_SETTLE_POLL_S = 0.05


class RunSupervisor:
    """``domain.asks.Runs``. Runs belong to it, not to the HTTP request that asked."""

    def __init__(self, ports: RunPorts, peers: Peers, *, timeout_s: float) -> None:
        self._ports = ports
        self._peers = peers
        self._maker = ResponseMaker(ports, peers, timeout_s=timeout_s)
        self._active: dict[str, ActiveRun] = {}
        self._adopting: set[str] = set()
        self._orphan_since_s: dict[str, float] = {}
        self._group: asyncio.TaskGroup | None = None
        peers.on_cancel(self._cancel_asked)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Accept runs inside the block; leaving it hands every open one to another process."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            watchers = [
                group.create_task(self._patrol()),
                group.create_task(self._checkpoint()),
                group.create_task(self._adopt_orphans()),
            ]
            try:
                yield self
            finally:
                self._group = None
                for task in watchers:
                    task.cancel()
                for run in list(self._active.values()):
                    run.hand_over()

    # --- the port ---------------------------------------------------------------------------

    async def start(self, caller: Caller, ask: Ask) -> ActiveRun:
        """Commit the response while it is begun already: the commit costs no time to anybody."""
        if self._group is None:
            raise EngineDead("the server is stopping; try again", retry_after_s=1)
        if ask.response_id in self._active:
            raise Conflict("there is a response of this id already")
        self._ports.tools.check(ask.server_tools)
        ticket = self._ports.admission.admit(caller, ask)
        try:
            history = await self._history(caller, ask)
        except BaseException:
            ticket.release()
            raise
        status = ResponseStatus.IN_PROGRESS if ticket.is_granted else ResponseStatus.QUEUED
        record = ResponseRecord(
            id=ask.response_id or new_id("resp"),
            owner_id=caller.user_id,
            model=ask.model,
            status=status,
            created_at=datetime.now(UTC),
            request=ask.echo,
            input_items=ask.input_items,
            conversation_id=ask.conversation_id,
            previous_response_id=ask.previous_response_id,
            background=ask.background,
            stored=ask.stored,
        )
        run = ActiveRun(record, ask, caller, ask.clock or RequestTrace(), history, _outcome())
        run.ticket = ticket
        # A bare task: in the group, a refusal would end every other run.
        run.begun = asyncio.get_running_loop().create_task(self._begin(run))
        run.begun.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._drive_in_background(run, self._group)
        try:
            await asyncio.shield(run.begun)
        except asyncio.CancelledError:
            run.abandon()
            raise
        except PolymodalError:
            run.avoid()
            raise
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
                return await run.finished()
        else:
            await self._ports.notices.send(CancelAsked(response_id))
        return await self._once_settled(caller, response_id)

    def _cancel_asked(self, response_id: str) -> None:
        run = self._active.get(response_id)
        if run is not None:
            run.abandon()

    def follow(
        self, response_id: str, *, from_seq: int = 0
    ) -> AsyncGenerator[Sequence[LogEntry], None]:
        """The entries of a response that some process is making, in batches."""
        return self._ports.journal.follow(response_id, from_seq=from_seq)

    async def _once_settled(self, caller: Caller, response_id: str) -> ResponseRecord:
        """The record, final unless whoever makes it does not react in time."""
        deadline_s = time.monotonic() + _CANCEL_WAIT_S
        while True:
            record = await self._ports.responses.get(caller, response_id)
            if record.status.is_final or time.monotonic() > deadline_s:
                return record
            await asyncio.sleep(_SETTLE_POLL_S)

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

    async def _begin(self, run: ActiveRun) -> None:
        with run.clock.span("admit", "Ingress"):
            await self._ports.responses.begin(
                run.caller, run.record, supervisor=self._peers.my_id, plan=plan_of(run.ask)
            )

    # --- one run ----------------------------------------------------------------------------

    def _drive_in_background(self, run: ActiveRun, group: asyncio.TaskGroup) -> None:
        self._active[run.record.id] = run
        # An empty context: inside the request's own, Serve would cancel our calls with it.
        context = Context()
        context.run(request_id.set, request_id.get())
        run.task = group.create_task(self._drive(run), context=context)

    async def _drive(self, run: ActiveRun) -> None:
        RESPONSES_IN_FLIGHT.inc()
        try:
            await self._maker.make(run)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._group is None or task is None:
                raise
            task.uncancel()
            if run.is_handed_over:
                await self._watch_from_afar(run)
        except Exception:  # noqa: BLE001 - the border of a task: another process adopts it
            _log.exception("run broke off", extra={"response_id": run.record.id})
        finally:
            RESPONSES_IN_FLIGHT.dec()
            self._active.pop(run.record.id, None)
            if not run.outcome.done():
                run.outcome.set_exception(
                    EngineDead("the server is stopping; the answer goes on, ask for it again")
                )

    async def _watch_from_afar(self, run: ActiveRun) -> None:
        """Give those who wait here the end that another process brings about."""
        entries: list[LogEntry] = []
        try:
            async with aclosing(self._ports.journal.follow(run.record.id)) as batches:
                async for batch in batches:
                    entries.extend(batch)
            run.outcome.set_result(await self._ports.responses.get(run.caller, run.record.id))
        except NotFound:
            # Not stored: the journal is all there is.
            run.outcome.set_result(settled_record(run.record, (entry.event for entry in entries)))
        except PolymodalError as error:
            run.outcome.set_exception(error)

    # --- beside the runs --------------------------------------------------------------------

    async def _patrol(self) -> None:
        """Wake the runs that must react to what others did, or did not do any more."""
        while self._group is not None:
            for run in list(self._active.values()):
                if run.live is None:
                    continue
                if run.live.fold.term != run.term:
                    run.hand_over()
                elif self._maker.is_given_up(run) or run.live.fold.generated is not None:
                    run.attention.set()
            await asyncio.sleep(_PATROL_PERIOD_S)

    async def _checkpoint(self) -> None:
        while self._group is not None:
            await asyncio.sleep(_CHECKPOINT_PERIOD_S)
            live = [run.record.id for run in self._active.values() if run.live is not None]
            with suppress(PolymodalError):
                await self._ports.journal.checkpoint(live)

    async def _adopt_orphans(self) -> None:
        # Not for ever: a cancel may be lost in a driver that was giving up a connection anyway.
        while self._group is not None:
            await asyncio.sleep(_ORPHAN_PERIOD_S)
            if not self._peers.hears:
                continue
            try:
                # Ours too: a commit whose answer was lost on its way is a promise all the same.
                others = self._alive() - {self._peers.my_id}
                orphans = await self._ports.responses.unfinished(others, known=self._active)
            except PolymodalError as error:
                _log.warning("orphans not looked for", extra={"code": error.code})
                continue
            group = self._group
            for orphan in self._ripe(orphans) if group is not None else ():
                self._adopting.add(orphan.record.id)
                group.create_task(self._adopt(orphan, group))

    def _alive(self) -> frozenset[str]:
        return frozenset(beat.process_id for beat in self._peers.alive("ingress"))

    def _ripe(self, orphans: Sequence[Unfinished]) -> list[Unfinished]:
        """Those whose supervisor is known to be dead, or has been unheard of for long enough."""
        now = time.monotonic()
        ids = {orphan.record.id for orphan in orphans}
        self._orphan_since_s = {
            response_id: self._orphan_since_s.get(response_id, now) for response_id in ids
        }
        return [
            orphan
            for orphan in orphans
            if orphan.record.id not in self._active
            and orphan.record.id not in self._adopting
            and (
                self._is_known_dead(orphan.supervisor)
                or now - self._orphan_since_s[orphan.record.id] > self._peers.silent_after_s
            )
        ]

    def _is_known_dead(self, supervisor: str) -> bool:
        return self._peers.was_heard(supervisor) and supervisor != self._peers.my_id

    async def _adopt(self, orphan: Unfinished, group: asyncio.TaskGroup) -> None:
        """Claim it; of several who do, the first in the journal has it."""
        response_id = orphan.record.id
        try:
            async with self._ports.journal.open(response_id) as live:
                if live.fold.supervisor in self._alive() - {self._peers.my_id}:
                    # Another one was quicker, and the row does not say so yet.
                    return
                term = live.fold.term + 1
                await self._ports.journal.append([Adopted(response_id, term, self._peers.my_id)])
                version = 0
                while live.fold.term < term and not live.fold.has_ended:
                    version = await live.changed(version)
                if live.fold.has_ended:
                    await self._ports.responses.settle(_as_it_ended(orphan.record, live.fold))
                    return
                if live.fold.supervisor != self._peers.my_id:
                    return
                await self._ports.responses.take_over(response_id, self._peers.my_id)
                caller = Caller(user_id=orphan.record.owner_id, scopes=frozenset(Scope))
                ask = planned_ask(orphan.record, orphan.plan)
                history = await self._history_again(caller, ask)
                run = ActiveRun(orphan.record, ask, caller, RequestTrace(), history, _outcome())
                run.term = live.fold.term
                run.ticket = self._ports.admission.readmit(caller, ask)
                _log.info(
                    "response adopted",
                    extra={"response_id": response_id, "supervisor": orphan.supervisor},
                )
                self._drive_in_background(run, group)
                # So that the run opens the response before we close it: it is read back once.
                await asyncio.sleep(0)
        except PolymodalError as error:
            _log.warning("not adopted", extra={"response_id": response_id, "code": error.code})
        finally:
            self._adopting.discard(response_id)

    async def _history_again(self, caller: Caller, ask: Ask) -> tuple[Item, ...]:
        """A conversation holds this turn's own items since the response was begun."""
        history = await self._history(caller, ask)
        own = {item.id for item in ask.input_items}
        earlier = [item for item in history if item.id not in own]
        return (*earlier, *ask.input_items)


def _as_it_ended(record: ResponseRecord, fold: ResponseFold) -> ResponseRecord:
    """What the last supervisor told everybody, but could not commit any more."""
    entries = tuple(fold.entries)
    return replace(settled_record(record, (entry.event for entry in entries)), log=entries)


def _outcome() -> asyncio.Future[ResponseRecord]:
    outcome: asyncio.Future[ResponseRecord] = asyncio.get_running_loop().create_future()
    # Nobody may be waiting for a background run's error; it is in the record all the same.
    outcome.add_done_callback(lambda done: done.cancelled() or done.exception())
    return outcome
