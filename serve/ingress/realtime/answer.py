"""One response on its way to a realtime client: written and said at the same time."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from enum import Enum, auto
from typing import Final

from serve.domain.errors import PolymodalError
from serve.domain.messages import (
    Failed,
    Generated,
    LogEntry,
    SpeechRequest,
    TextDelta,
    ToolCallStarted,
    Usage,
)
from serve.domain.ports import SpeechGenerator
from serve.domain.records import JsonObject
from serve.domain.sentences import SentenceStream
from serve.ingress.realtime.outbox import BEGINNING, Cursor, Outbox
from serve.ingress.realtime.state import Conversation
from serve.ingress.streaming import Batches
from serve.media.pcm import WireWriter
from serve.protocol.realtime_answer import AnswerEvents, AnswerPlan, CutReason
from serve.protocol.realtime_items import SpokenPiece

# So much sound goes into one event.
_PIECE_MS: Final = 400


class _Mark(Enum):
    """What else than a sentence comes to the voice."""

    ITEM_ENDS = auto()
    LOG_ENDS = auto()


class Answer:
    """Tells one response. The response itself goes on when nobody is told.

    Args:
        plan: what was decided before it began.
        speech: who says it.
        outbox: the client.
        conversation: where its items belong.
        keep: called when the conversation must not be lost before the client is told.
        cursor: what the client knows already; None for nothing.
    """

    def __init__(
        self,
        plan: AnswerPlan,
        speech: SpeechGenerator,
        outbox: Outbox,
        conversation: Conversation,
        keep: Callable[[], Awaitable[None]],
        *,
        cursor: Cursor | None = None,
    ) -> None:
        self.plan = plan
        self._speech = speech
        self._outbox = outbox
        self._conversation = conversation
        self._keep = keep
        self._is_new = cursor is None
        self._known = cursor or BEGINNING
        self._events = AnswerEvents(plan)
        self._sentences = SentenceStream(eager=True)
        self._to_say: asyncio.Queue[str | _Mark] = asyncio.Queue()
        self._cursor = self._known
        self._n_sentences = 0
        self._failed: Failed | None = None

    async def tell(self, batches: Batches) -> JsonObject:
        """Tell everything but the last event, which is returned.

        Raises ``StoreUnavailable`` when the log cannot be read on.
        """
        if self._is_new:
            await self._tell(self._events.opening())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(batches))
                if self.plan.modality == "audio":
                    group.create_task(self._say_all())
        except ExceptionGroup as failed:
            # Both ends of one connection: whatever broke it first is the reason.
            raise failed.exceptions[0] from failed
        return self._events.closing(failed=self._failed)

    def is_telling(self, item_id: str) -> bool:
        """Whether the item is one of this response."""
        return any(item["id"] == item_id for item in self._events.output)

    def cut(self, reason: CutReason) -> list[JsonObject]:
        """The events that end it here and now, the last one last."""
        events = list(self._events.cut(reason, Usage()))
        self._remember(events)
        return events

    async def _tell(self, *events: JsonObject) -> None:
        # Only the conversation's own response can be gone on with.
        is_own = self.plan.conversation_id is not None
        await self._outbox.send(*events, cursor=self._cursor if is_own else None)

    def broken(self, error: PolymodalError) -> list[JsonObject]:
        """The events that end it because it cannot be told on, the last one last."""
        failed = Failed(error.code, error.message, time.time())
        events = list(self._events.broken(failed))
        self._remember(events)
        return events

    # --- the text -----------------------------------------------------------------------------

    async def _write(self, batches: Batches) -> None:
        async with aclosing(batches):
            async for batch in batches:
                for entry in batch:
                    await self._tell_entry(entry)
        self._to_say.put_nowait(_Mark.LOG_ENDS)

    async def _tell_entry(self, entry: LogEntry) -> None:
        event = entry.event
        events = list(self._events.apply(event))
        is_news = entry.seq >= self._known.seq
        if self._remember(events) and is_news:
            await self._keep()
        if is_news:
            self._cursor = self._cursor._replace(seq=entry.seq + 1)
            await self._tell(*events)
        if isinstance(event, TextDelta):
            self._hand_over(self._sentences.push(event.text))
        elif isinstance(event, Generated):
            # No more text comes, and the commit that makes it final needs not be waited for.
            self._finish_text()
        elif isinstance(event, ToolCallStarted) or self._events.has_ended:
            self._finish_text()
            self._to_say.put_nowait(_Mark.ITEM_ENDS)

    def _finish_text(self) -> None:
        self._hand_over(self._sentences.rest())
        self._sentences = SentenceStream()

    def _hand_over(self, sentences: Iterable[str]) -> None:
        for sentence in sentences:
            self._to_say.put_nowait(sentence)

    def _remember(self, events: Iterable[JsonObject]) -> bool:
        """Put the items of the conversation where they belong. True if there were any."""
        has_changed = False
        for event in events:
            if event["type"] in ("conversation.item.added", "conversation.item.done"):
                version = self._outbox.n_sent + 1
                event["previous_item_id"] = self._conversation.put(event["item"], version)
                has_changed = True
        return has_changed

    # --- the voice ----------------------------------------------------------------------------

    async def _say_all(self) -> None:
        while (what := await self._to_say.get()) is not _Mark.LOG_ENDS:
            if what is _Mark.ITEM_ENDS:
                events = list(self._events.spoken())
                if self._remember(events):
                    await self._keep()
                await self._tell(*events)
            elif isinstance(what, str):
                await self._say(self._n_sentences, what)
                self._n_sentences += 1

    async def _say(self, number: int, sentence: str) -> None:
        item_id = self._events.speaking_item
        if number < self._known.sentence or self._failed is not None or item_id is None:
            return
        skipped = self._known.n_bytes if number == self._known.sentence else 0
        pieces = self._conversation.spoken.setdefault(item_id, [])
        # What was said of this sentence over an earlier connection is said again.
        pieces[:] = [piece for piece in pieces if piece.sentence < number]
        try:
            await self._speak(number, sentence, pieces, skipped)
        except PolymodalError as error:
            self._failed = Failed(error.code, error.message, time.time())

    async def _speak(
        self, number: int, sentence: str, pieces: list[SpokenPiece], skipped: int
    ) -> None:
        plan = self.plan
        request = SpeechRequest(
            text=sentence, model=plan.speech_model, voice=plan.voice, speed=plan.speed
        )
        writer: WireWriter | None = None
        n_sent = 0
        async with aclosing(self._speech.speak(request)) as said:
            async for piece in said:
                writer = writer or WireWriter(plan.format, piece.sample_rate_hz)
                content = writer.push(piece.pcm)
                start_ms = pieces[-1].end_ms if pieces else 0.0
                end_ms = start_ms + plan.format.duration_ms(len(content))
                pieces.append(SpokenPiece(number, piece.text, start_ms, end_ms))
                await self._keep()
                known = max(0, min(len(content), skipped - n_sent))
                n_sent += known
                await self._send(number, n_sent, content[known:])
                n_sent += len(content) - known
        self._cursor = self._cursor._replace(sentence=number + 1, n_bytes=0)

    async def _send(self, number: int, n_sent: int, content: bytes) -> None:
        form = self.plan.format
        step = _PIECE_MS * form.rate_hz // 1000 * form.bytes_per_sample
        for start in range(0, len(content), step):
            part = content[start : start + step]
            n_sent += len(part)
            self._cursor = self._cursor._replace(sentence=number, n_bytes=n_sent)
            event = self._events.audio(base64.b64encode(part).decode())
            await self._tell(event)
