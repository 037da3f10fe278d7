"""Makes one response: perceive, assemble, generate, settle, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

from graphs.online.active_run import ActiveRun, RunPorts
from graphs.online.assemble import NativeFilm, Seen, assemble
from graphs.online.peers import Peers
from graphs.online.rounds import Round, items_of, rounds_of, usage_of
from graphs.online.telling import Teller
from graphs.online.tools.registry import Asked
from graphs.online.writer import EventWriter
from serve.domain.affinity import affinity_of
from serve.domain.asks import Watch
from serve.domain.errors import (
    EngineDead,
    InternalError,
    NodeTimeout,
    NotFound,
    PolymodalError,
    StoreUnavailable,
)
from serve.domain.journal import FIRST_TERM, Ended, ResponseFold, Restarted, Superseded
from serve.domain.media import MediaKind, MediaRef
from serve.domain.messages import (
    AudioPerception,
    Failed,
    Finished,
    FinishReason,
    GenerationRequest,
    ImagePerception,
    LogEntry,
    NativeMediaPart,
    Perception,
    Queued,
    RoundStarted,
    Stage,
    StageFinished,
    StageStarted,
    ToolAnswered,
    ToolCall,
    ToolSpec,
    Usage,
    VideoPerception,
)
from serve.domain.records import ResponseRecord
from serve.observability.metrics import (
    FIRST_TOKEN_SECONDS,
    RESPONSES,
    TOKENS,
)
from serve.protocol.events import settled_record
from serve.protocol.items import media_ids
from serve.protocol.server_tools import arguments_of

_log = logging.getLogger(__name__)

T = TypeVar("T")

# Readers of a finished response have this long to read on before it is found in PostgreSQL only.
_READ_ON_S = 600
_MAX_PERCEPTIONS_AT_ONCE = 8
# A request that kills each engine it meets is given up before it has killed them all.
_MAX_FRUITLESS_CALLS = 5
# The model writes so often at most in one answer, tools in between.
_MAX_ROUNDS = 5
_FIRST_BACKOFF_S = 0.1
_LAST_BACKOFF_S = 2.0
_LOOK_AGAIN_S = 0.1
# The generator's last word is on its way when its call returns.
_LAST_WORD_S = 5.0

# How each kind is perceived: the stage that people see, the span in the trace, and the node.
_SENSES = {
    MediaKind.IMAGE: (Stage.LOOKING, "look", "ImageEncoder"),
    MediaKind.AUDIO: (Stage.LISTENING, "listen", "AudioEncoder"),
    MediaKind.VIDEO: (Stage.WATCHING, "watch", "VideoEncoder"),
    MediaKind.DOCUMENT: (Stage.READING, "read", "DocumentEncoder"),
}


class ResponseMaker:
    """Takes a run from wherever the journal has it to its end."""

    def __init__(self, ports: RunPorts, peers: Peers, *, timeout_s: float) -> None:
        self._ports = ports
        self._peers = peers
        self._timeout_s = timeout_s

    async def make(self, run: ActiveRun) -> None:
        """Return once the response is settled; its outcome is set.

        Cancelled from outside, it leaves the response open for another supervisor, unless the
        run was abandoned: then that is its end.
        """
        opened = self._ports.journal.open(run.record.id, is_new=run.term == FIRST_TERM)
        async with opened as run.live:
            try:
                if run.cancel_requested:
                    await self._cut(run, _cancelled())
                else:
                    await self._produce(run)
                    await self._finish(run)
            except asyncio.CancelledError:
                if not run.cancel_requested:
                    raise
                task = asyncio.current_task()
                if task is not None:
                    task.uncancel()
                await self._cut(run, _cancelled())
            except PolymodalError as error:
                await self._cut(run, error)
            except Exception:  # noqa: BLE001 - the border of a run: log, settle, answer
                _log.exception("run failed unexpectedly", extra={"response_id": run.record.id})
                await self._cut(run, InternalError("something went wrong on our side; try again"))
            finally:
                if run.ticket is not None:
                    run.ticket.release()

    # --- to the generator's last word -------------------------------------------------------

    async def _produce(self, run: ActiveRun) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                if run.term > FIRST_TERM:
                    if await self._still_comes(run) and self._calling(run) is None:
                        return
                    await self._restart(run)
                writer = self._writer(run)
                await self._queue(run, writer)
                await self._perceive(run, writer)
                await self._rounds(run, writer.next_seq)
        except TimeoutError as exc:
            raise NodeTimeout(
                f"the answer took longer than {self._timeout_s:g} s, the limit",
                budget_s=self._timeout_s,
            ) from exc

    def _writer(self, run: ActiveRun) -> EventWriter:
        return EventWriter(
            self._ports.journal,
            run.record.id,
            epoch=run.fold.epoch,
            next_seq=run.fold.next_seq,
        )

    def _calling(self, run: ActiveRun) -> Round | None:
        """The round in which the model has called tools of ours that it, or a client, waits for."""
        if not run.ask.server_tools:
            return None
        now = rounds_of(run.fold.entries)[-1]
        is_due = now.unanswered(run.tool_names) or now.goes_on(run.tool_names)
        return now if is_due else None

    async def _rounds(self, run: ActiveRun, first_seq: int) -> None:
        """Let the model write, answer what it calls, and let it write again."""
        while True:
            rounds = rounds_of(run.fold.entries) if run.ask.server_tools else []
            if not rounds or rounds[-1].generated is None:
                await self._generate(run, first_seq, rounds)
            now = self._calling(run)
            if now is None:
                return
            # The generator had its last word: what follows is ours to write.
            await self._restart(run)
            writer = self._writer(run)
            for call in now.unanswered(run.tool_names):
                await writer.write(await self._answer(run, call, writer))
            if now.goes_on(run.tool_names):
                await writer.write(RoundStarted(now.number + 1, time.time()))
            await self._until(run, partial(_has_read, writer.next_seq))
            first_seq = writer.next_seq

    async def _answer(self, run: ActiveRun, call: ToolCall, writer: EventWriter) -> ToolAnswered:
        use = next(use for use in run.ask.server_tools if use.name == call.name)
        asked = Asked(
            caller=run.caller,
            response_id=run.record.id,
            arguments=arguments_of(call.arguments),
            options=use.options,
            media=run.own_media,
        )
        return await self._ports.tools.answer(call, asked, clock=run.clock, writer=writer)

    async def _still_comes(self, run: ActiveRun) -> bool:
        """Wait while the generator that our predecessor called is at work. True: it ended well."""
        if run.ask.server_tools and rounds_of(run.fold.entries)[-1].generated is not None:
            return True
        adopted_at_s = time.monotonic()
        while run.fold.generated is None and not run.fold.has_gap:
            is_fresh = time.monotonic() - adopted_at_s < self._peers.silent_after_s
            if not is_fresh and not self._peers.is_worked_on(run.record.id):
                return False
            await asyncio.sleep(_LOOK_AGAIN_S)
        return run.fold.generated is not None

    async def _restart(self, run: ActiveRun) -> None:
        """Fence off whoever writes now, and know to the last token what they had written."""
        epoch = run.fold.epoch + 1
        await self._ports.journal.append([Restarted(run.record.id, run.term, epoch)])
        await self._until(run, lambda fold: fold.epoch >= epoch)
        with suppress(StoreUnavailable):
            await self._ports.notices.send(Superseded(run.record.id, epoch))

    async def _until(self, run: ActiveRun, holds: Callable[[ResponseFold], bool]) -> None:
        version = 0
        while run.live is not None and not holds(run.live.fold):
            version = await run.live.changed(version)

    async def _queue(self, run: ActiveRun, writer: EventWriter) -> None:
        if run.ticket is None or run.ticket.is_granted:
            return
        with run.clock.span("queue", "Ingress"):
            async for position in run.ticket.waiting():
                await writer.write(Queued(position.place, position.eta_s, time.time()))
            await self._ports.responses.started(run.record.id)

    async def _perceive(self, run: ActiveRun, writer: EventWriter) -> None:
        media = await self._media_of(run)
        told = {
            entry.event.subject
            for entry in run.fold.entries
            if isinstance(entry.event, StageStarted)
        }
        gate = asyncio.Semaphore(_MAX_PERCEPTIONS_AT_ONCE)

        async def one(medium: MediaRef) -> None:
            async with gate:
                is_news = medium.asset_id in run.own_media and medium.asset_id not in told
                run.seen[medium.asset_id] = await self._see(
                    run, medium, writer if is_news else None
                )

        try:
            async with asyncio.TaskGroup() as group:
                for medium in media:
                    group.create_task(one(medium))
        except* PolymodalError as failed:
            raise failed.exceptions[0] from None

    async def _see(self, run: ActiveRun, medium: MediaRef, told: EventWriter | None) -> Seen:
        stage, span, node = _SENSES[medium.kind]
        watch = Teller(stage, medium.asset_id, told).watch if told else None
        if told:
            await told.write(StageStarted(stage, medium.asset_id, time.time()))
        with run.clock.span(span, node) as attributes:
            attributes["asset_id"] = medium.asset_id
            if not self._ports.models[run.ask.model].takes(medium):
                attributes["way"] = "grounded text"
                seen: Seen = await self._perceived(medium, watch, attributes)
            else:
                attributes["way"] = "features"
                features = await _outliving(
                    lambda: self._ports.towers[medium.kind].features(medium, run.ask.model)
                )
                seen = native = NativeMediaPart(medium, features)
                # A tower for frames is deaf.
                if medium.kind is MediaKind.VIDEO:
                    film = await self._perceived(medium, watch, attributes)
                    if isinstance(film, VideoPerception) and film.sound is not None:
                        attributes["sound"] = "grounded text"
                        seen = NativeFilm(native, film.sound)
        if told:
            cache = str(attributes.get("cache", ""))
            await told.write(StageFinished(stage, medium.asset_id, time.time(), cache))
        return seen

    async def _perceived(
        self,
        medium: MediaRef,
        watch: Watch | None,
        attributes: dict[str, str | int | float],
    ) -> Perception:
        perceived = await _outliving(lambda: self._ports.perceiving.perceive(medium, watch=watch))
        attributes["cache"] = "hit" if perceived.cache_hit else "miss"
        return perceived.perception

    async def _media_of(self, run: ActiveRun) -> list[MediaRef]:
        wanted = dict.fromkeys(asset for item in run.history for asset in media_ids(item))
        media: list[MediaRef] = []
        for asset_id in wanted:
            # Deleted since: the prompt says so, and the conversation goes on.
            with suppress(NotFound):
                media.append(await self._ports.assets.get(run.caller, asset_id))
        return media

    async def _generate(self, run: ActiveRun, first_seq: int, rounds: Sequence[Round]) -> None:
        """Call generators until one of them has said its last word."""
        # Nothing of this epoch can be in the journal that we did not write ourselves.
        request = self._request(run, first_seq, rounds)
        start_s = run.clock.now_s()
        n_fruitless = n_calls = 0
        with run.clock.span("generate", "Generator") as attributes:
            while True:
                n_calls += 1
                try:
                    await self._call(run, request)
                    break
                except (EngineDead, StoreUnavailable) as error:
                    if n_fruitless == _MAX_FRUITLESS_CALLS:
                        raise
                    _log.warning(
                        "generator given up",
                        extra={"response_id": run.record.id, "reason": error.message},
                    )
                await asyncio.sleep(min(_FIRST_BACKOFF_S * 2**n_fruitless, _LAST_BACKOFF_S))
                await self._restart(run)
                emitted_ids = run.fold.emitted_ids()
                grew = len(emitted_ids) > len(request.emitted_ids)
                n_fruitless = 0 if grew else n_fruitless + 1
                request = replace(
                    request,
                    epoch=run.fold.epoch,
                    first_seq=run.fold.next_seq,
                    emitted_ids=emitted_ids,
                    emitted_calls=run.fold.emitted_calls(),
                )
            attributes["calls"] = n_calls
            self._trace(run, attributes, start_s)

    def _request(
        self, run: ActiveRun, first_seq: int, rounds: Sequence[Round]
    ) -> GenerationRequest:
        ask = run.ask
        tools = (*ask.tools, *self._ports.tools.specs(ask.server_tools))
        choice = ask.tool_choice
        if len(rounds) > 1:
            tools = self._tools_left(run, rounds, tools)
            choice = "auto" if tools else "none"
        history = (*run.history, *items_of(rounds[:-1], in_words=not tools))
        messages = assemble(history, run.seen, instructions=ask.instructions)
        return GenerationRequest(
            response_id=run.record.id,
            model=ask.model,
            messages=messages,
            sampling=ask.sampling,
            epoch=run.fold.epoch,
            first_seq=first_seq,
            emitted_ids=run.fold.emitted_ids(),
            emitted_calls=run.fold.emitted_calls(),
            affinity=affinity_of(messages),
            tools=tools,
            tool_choice=choice,
            parallel_tool_calls=ask.parallel_tool_calls,
            json_schema=ask.json_schema,
        )

    def _tools_left(
        self, run: ActiveRun, rounds: Sequence[Round], tools: tuple[ToolSpec, ...]
    ) -> tuple[ToolSpec, ...]:
        """What the model may call in a later round.

        Nothing if it was told what to call, or has had its rounds. Once it has made something it
        only finds out: small models would make more and more.
        """
        if run.ask.tool_choice != "auto" or len(rounds) >= _MAX_ROUNDS:
            return ()
        makers = self._ports.tools.makers
        if not any(call.name in makers for each in rounds for call in each.calls):
            return tools
        return tuple(tool for tool in tools if tool.name not in makers)

    async def _call(self, run: ActiveRun, request: GenerationRequest) -> None:
        """Return once the generator's last word is in the fold. Raises what the call raised.

        Raises ``EngineDead`` also when the generator fell silent or the store lost words of it.
        """
        # A bare task: when the run is handed over, the generator's work outlives it.
        call = asyncio.get_running_loop().create_task(
            self._ports.generators[run.ask.model].generate(request)
        )
        call.add_done_callback(partial(_called, run))
        run.called_at_s = time.monotonic()
        try:
            while not call.done():
                await run.attention.wait()
                run.attention.clear()
                if run.fold.generated is not None:
                    return
                if not call.done() and self.is_given_up(run):
                    raise EngineDead("the generator fell silent")
            call.result()
            try:
                async with asyncio.timeout(_LAST_WORD_S):
                    await self._until(run, lambda fold: fold.generated is not None)
            except TimeoutError as exc:
                raise EngineDead("part of the answer was lost on its way") from exc
        finally:
            if not run.is_handed_over:
                call.cancel()

    def is_given_up(self, run: ActiveRun) -> bool:
        """Whether the generator that this run called cannot be expected to go on."""
        return run.fold.has_gap or (
            run.called_at_s is not None
            and self._peers.was_given_up(run.record.id, since_s=run.called_at_s)
        )

    def _trace(
        self, run: ActiveRun, attributes: dict[str, str | int | float], start_s: float
    ) -> None:
        generated = run.fold.generated
        if generated is None:
            return
        attributes["input_tokens"] = generated.usage.input_tokens
        attributes["cached_tokens"] = generated.usage.cached_tokens
        attributes["output_tokens"] = generated.usage.output_tokens
        for name, seconds in (
            ("queue", generated.queue_s),
            ("prefill", generated.prefill_s),
            ("decode", generated.decode_s),
        ):
            run.clock.add(name, "Generator", start_s, start_s + seconds)
            start_s += seconds
            if name == "prefill":
                FIRST_TOKEN_SECONDS.observe(start_s)

    # --- the end ----------------------------------------------------------------------------

    async def _finish(self, run: ActiveRun) -> None:
        rounds = rounds_of(run.fold.entries)
        generated = rounds[-1].generated
        if generated is None:
            raise InternalError("the answer ended without its last word")
        usage = usage_of(rounds)
        if run.ticket is not None:
            run.ticket.release(output_tokens=usage.output_tokens)
        # Before the end is told: whoever sees it may look at the list of conversations.
        await self._entitle(run)
        run.outcome.set_result(await self._settle(run, _finished(generated.reason, usage)))

    async def _cut(self, run: ActiveRun, end: PolymodalError | Finished) -> None:
        """End a run that did not get to its own end."""
        run.is_settling = True
        await _outliving(lambda: self._restart(run), for_ever=True)
        if isinstance(end, Finished):
            run.outcome.set_result(await self._settle(run, end))
            return
        failed = Failed(end.code, end.message, time.time())
        if end.status < 500 and not run.fold.has_output:
            await self._refuse(run, failed)
        else:
            await self._settle(run, failed)
        run.outcome.set_exception(end)

    async def _refuse(self, run: ActiveRun, failed: Failed) -> None:
        """Refused before it began: nothing of it stays."""
        await self._begun(run)
        await self._tell_end(run, failed)
        await _outliving(lambda: self._ports.responses.discard(run.record.id), for_ever=True)
        RESPONSES.labels("refused").inc()

    async def _settle(self, run: ActiveRun, event: Finished | Failed) -> ResponseRecord:
        """Commit, then tell: whoever sees the last event finds the answer committed."""
        run.is_settling = True
        await self._begun(run)
        entries = (*run.fold.entries, LogEntry(run.fold.next_seq, event))
        final = settled_record(run.record, (entry.event for entry in entries))
        final = replace(final, log=entries, trace=run.clock.spans())
        holds = await _outliving(lambda: self._ports.responses.settle(final), for_ever=True)
        last = holds.log[-1].event if holds.log else event
        await self._tell_end(run, last if isinstance(last, Finished | Failed) else event)
        if holds is final:
            _count(final)
        return holds

    async def _tell_end(self, run: ActiveRun, event: Finished | Failed) -> None:
        ended = Ended(run.record.id, run.term, event)
        await _outliving(lambda: self._ports.journal.append([ended]), for_ever=True)
        with suppress(StoreUnavailable):
            await self._ports.journal.forget(run.record.id, _READ_ON_S)

    @staticmethod
    async def _begun(run: ActiveRun) -> None:
        if run.begun is not None:
            await asyncio.shield(run.begun)

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


async def _outliving(attempt: Callable[[], Awaitable[T]], *, for_ever: bool = False) -> T:
    """Repeat what fails because a store or a node is away: both come back by themselves.

    Without ``for_ever``, ``_MAX_FRUITLESS_CALLS`` times; the caller's time limit still holds.
    """
    n_failed = 0
    while True:
        try:
            return await attempt()
        except (StoreUnavailable, EngineDead):
            n_failed += 1
            if not for_ever and n_failed > _MAX_FRUITLESS_CALLS:
                raise
        await asyncio.sleep(min(_FIRST_BACKOFF_S * 2**n_failed, _LAST_BACKOFF_S))


def _has_read(seq: int, fold: ResponseFold) -> bool:
    return fold.next_seq >= seq


def _called(run: ActiveRun, call: asyncio.Task[None]) -> None:
    run.attention.set()
    # Nobody may be waiting any more; asyncio complains about errors that nobody has seen.
    if not call.cancelled():
        call.exception()


def _finished(reason: FinishReason, usage: Usage) -> Finished:
    return Finished(reason=reason, usage=usage, at_unix_s=time.time())


def _cancelled() -> Finished:
    return _finished(FinishReason.CANCELLED, Usage())


def _count(final: ResponseRecord) -> None:
    RESPONSES.labels(final.status.value).inc()
    for direction, count in (
        ("input", final.usage.input_tokens),
        ("cached", final.usage.cached_tokens),
        ("output", final.usage.output_tokens),
    ):
        TOKENS.labels(direction).inc(count)


def _title(run: ActiveRun) -> str:
    """The first words the person typed or said, else what is shown."""
    typed = [
        part["text"]
        for item in run.ask.input_items
        if item.body.get("role") == "user"
        for part in item.body["content"]
        if part["type"] == "input_text"
    ]
    perceived = run.seen.values()
    films = [seen for seen in perceived if isinstance(seen, VideoPerception)]
    sounds = [seen for seen in perceived if isinstance(seen, AudioPerception)]
    sounds += [seen.sound for seen in perceived if isinstance(seen, NativeFilm)]
    sounds += [film.sound for film in films if film.sound is not None]
    spoken = [sound.transcript for sound in sounds]
    shown = [seen.description for seen in perceived if isinstance(seen, ImagePerception)]
    shown += [film.shots[0].description for film in films]
    words = " ".join(next((text for text in (*typed, *spoken, *shown) if text.strip()), "").split())
    return words if len(words) <= 60 else words[:59].rsplit(" ", 1)[0] + "…"
