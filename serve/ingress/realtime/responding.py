"""Responses of a live session: at most one in its conversation at a time, others beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from starlette.websockets import WebSocketDisconnect

from serve.domain.asks import Ask, RequestClock
from serve.domain.errors import Conflict, InvalidRequest, NotFound
from serve.domain.records import Item, JsonObject
from serve.domain.voices import choose_voice
from serve.ingress.answering import batches_of
from serve.ingress.authentication import limited, quota_subject
from serve.ingress.errors import as_error
from serve.ingress.realtime.answer import Answer
from serve.ingress.realtime.live import Live, TakenOver
from serve.ingress.realtime.outbox import Cursor, Seen
from serve.ingress.realtime.state import Conversation, prompt_items
from serve.ingress.streaming import Batches
from serve.protocol.realtime import ItemReference, ResponseParams, wire_format
from serve.protocol.realtime_answer import AnswerPlan, CutReason
from serve.protocol.realtime_items import media_of, new_item, new_texts
from serve.protocol.responses import CreateResponse, to_ask

_AS_ASKED: Final = ResponseParams()

Ready = Callable[[], Awaitable[None]]


class _Active:
    """A response from the moment it is asked for; ``answer`` once it has begun."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.answer: Answer | None = None


class Responder:
    """Makes and tells the responses of a session. ``ready``: all that was said is known."""

    def __init__(self, live: Live, ready: Ready) -> None:
        self._live = live
        self._ready = ready
        self._active: _Active | None = None
        self._beside: set[_Active] = set()

    def create(
        self, params: ResponseParams = _AS_ASKED, *, clock: RequestClock | None = None
    ) -> None:
        """Begin a response. Raises ``Conflict`` while the conversation has one already."""
        if self._live.state.config.type != "realtime":
            raise InvalidRequest("a transcription session does not answer", param="type")
        active = _Active()
        if params.conversation == "auto":
            if self._active is not None:
                raise Conflict("the conversation already has an active response; cancel it first")
            self._active = active
        else:
            self._beside.add(active)
        active.task = self._live.spawn(self._respond(active, params, clock))

    async def resume(self, seen: Seen) -> None:
        """Go on with what the client of an earlier connection has not seen to its end."""
        state = self._live.state
        plan, ended = state.answer, state.answer_ended
        if plan is None or (ended is not None and ended <= seen.number):
            return
        cursor = seen.cursor if seen.number >= state.answer_began else None
        active = self._active = _Active()
        active.task = self._live.spawn(self._go_on(active, plan, cursor))

    async def cancel(self, reason: CutReason, response_id: str | None = None) -> bool:
        """Stop a response, the conversation's without an id. False: there is none."""
        active = self._named(response_id) if response_id else self._active
        if active is None or active.task is None:
            return False
        active.task.cancel()
        await asyncio.wait({active.task})
        answer = active.answer
        self._forget(active)
        if answer is None:
            return True
        events = answer.cut(reason)
        if answer.plan.conversation_id is not None:
            await self._settle()
        await self._live.outbox.send(*events)
        self._live.spawn(self._stop(answer.plan.response_id))
        return True

    def _named(self, response_id: str) -> _Active | None:
        everything = {*self._beside, self._active} - {None}
        return next(
            (
                active
                for active in everything
                if active and active.answer and active.answer.plan.response_id == response_id
            ),
            None,
        )

    def is_telling(self, item_id: str) -> bool:
        """Whether the conversation's response is at work on this item."""
        answer = self._active.answer if self._active is not None else None
        return answer is not None and answer.is_telling(item_id)

    async def _stop(self, response_id: str) -> None:
        with suppress(NotFound):
            await self._live.ports.runs.cancel(self._live.caller, response_id)

    def _forget(self, active: _Active) -> None:
        self._beside.discard(active)
        active.answer = None
        if self._active is active:
            self._active = None
            self._live.outbox.cursor = None

    async def _settle(self) -> None:
        """The conversation's response is told to its end with the next event."""
        self._live.state.answer_ended = self._live.next_event
        await self._live.keep()
        await self._live.store()

    # --- one response -------------------------------------------------------------------------

    async def _respond(
        self, active: _Active, params: ResponseParams, clock: RequestClock | None
    ) -> None:
        try:
            await self._ready()
            await self._count()
            ask = await self._ask(params, clock)
            await self._check_content(ask)
            planned = self._plan(params, ask)
            run = await self._live.ports.runs.start(self._live.caller, ask)
            plan = replace(planned, response_id=run.record.id)
            state = self._live.state
            if plan.conversation_id is not None:
                state.due = False
                state.answer, state.answer_ended = plan, None
                state.answer_began = self._live.next_event
                await self._live.keep()
                await self._live.store()
            batches = self._live.ports.runs.follow(plan.response_id)
            await self._deliver(active, plan, batches)
        finally:
            self._drop_unless_cut(active)

    async def _go_on(self, active: _Active, plan: AnswerPlan, cursor: Cursor | None) -> None:
        live = self._live
        try:
            try:
                record = await live.ports.responses.get(live.caller, plan.response_id)
                batches = batches_of(live.ports, record)
            except NotFound:
                # Refused, and so forgotten: its log still says why.
                batches = live.ports.runs.follow(plan.response_id)
            await self._deliver(active, plan, batches, cursor=cursor)
        finally:
            self._drop_unless_cut(active)

    def _drop_unless_cut(self, active: _Active) -> None:
        """Whoever cuts a response still needs to know what it was."""
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            self._forget(active)

    async def _deliver(
        self,
        active: _Active,
        plan: AnswerPlan,
        batches: Batches,
        *,
        cursor: Cursor | None = None,
    ) -> None:
        live = self._live
        in_conversation = plan.conversation_id is not None
        active.answer = Answer(
            plan,
            live.ports.speech,
            live.outbox,
            live.state.conversation if in_conversation else Conversation(),
            live.keep,
            cursor=cursor,
        )
        try:
            ending = [await active.answer.tell(batches)]
        except (WebSocketDisconnect, TakenOver):
            raise
        except Exception as error:  # noqa: BLE001 - the border of a response: log, tell
            ending = active.answer.broken(as_error(error))
        # From here on it can only end.
        self._forget(active)
        if in_conversation:
            await self._settle()
        await live.outbox.send(*ending)

    async def _count(self) -> None:
        ports = self._live.ports
        limit = ports.limits.requests_per_minute
        left = await limited(ports, quota_subject(self._live.caller), limit)
        told = {
            "name": "requests",
            "limit": left.limit,
            "remaining": left.remaining,
            "reset_seconds": left.reset_after_s,
        }
        await self._live.outbox.send({"type": "rate_limits.updated", "rate_limits": [told]})

    async def _ask(self, params: ResponseParams, clock: RequestClock | None) -> Ask:
        config = self._live.state.config
        bound = params.max_output_tokens or config.max_output_tokens
        parallel = params.parallel_tool_calls
        body = CreateResponse(
            instructions=config.instructions
            if params.instructions is None
            else params.instructions,
            max_output_tokens=bound if isinstance(bound, int) else None,
            tools=config.tools if params.tools is None else params.tools,
            tool_choice=params.tool_choice or config.tool_choice,
            parallel_tool_calls=config.parallel_tool_calls if parallel is None else parallel,
            metadata=params.metadata,
        )
        items = await self._input(params)
        if not items and not body.instructions:
            raise InvalidRequest("there is nothing to answer: add an item or instructions")
        model = self._live.ports.models.choose("generator", config.model).name
        return to_ask(body, model=model, items=items, clock=clock)

    async def _check_content(self, ask: Ask) -> None:
        """What the person said since the last answer must be allowed here."""
        policy = self._live.ports.moderation
        if policy.covers_responses:
            await policy.check_text("\n".join(new_texts(ask.input_items)), param="input")

    async def _input(self, params: ResponseParams) -> tuple[Item, ...]:
        if params.input is None:
            return await self._live.prompt()
        bodies: list[JsonObject] = []
        for item in params.input:
            if isinstance(item, ItemReference):
                bodies.append(self._live.state.conversation.get(item.id))
            elif media_of(item):
                raise InvalidRequest(
                    "add media with conversation.item.create and refer to the item", param="input"
                )
            else:
                bodies.append(new_item(item, ()))
        return prompt_items(bodies)

    def _plan(self, params: ResponseParams, ask: Ask) -> AnswerPlan:
        """What is decided before there is an id."""
        config = self._live.state.config
        speaker = self._live.ports.models.choose("speech_generator", None)
        once, usual = params.audio.output, config.audio.output
        wanted = once.voice_name or usual.voice_name or ""
        in_conversation = params.conversation == "auto"
        return AnswerPlan(
            response_id="",
            modality=(params.output_modalities or config.output_modalities)[0],
            voice=choose_voice(speaker.voices, wanted).name,
            speech_model=speaker.name,
            speed=usual.speed,
            format=wire_format(once.format or usual.format),
            max_output_tokens=ask.sampling.max_output_tokens,
            conversation_id=self._live.state.conversation.id if in_conversation else None,
            metadata=params.metadata,
        )
