"""A generator replica without a model, for load tests of everything around the engine.

It writes as many tokens per second into each answer as its spec says, all answers in one step.
The first word depends on what was asked, so that answers that were mixed up show; the others on
nothing but their place, so that any replica can go on with another one's answer. None repeats,
because some clients take a stream that repeats itself for a broken one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final
from zlib import crc32

from deployments.generation.publisher import ResponseWriter, StepPublisher
from deployments.generation.pulse import Pulse, Rate
from serve.direct_calls.server import CallServer, loopback
from serve.domain.errors import UnknownModel
from serve.domain.messages import (
    ChatMessage,
    FinishReason,
    Generated,
    GenerationRequest,
    LogEvent,
    TextDelta,
    TextPart,
    ToolSpec,
    Usage,
)
from serve.domain.ports import JournalWriter, Notices
from serve.registry.specs import ModelSpec

_DEFAULT_OUTPUT_TOKENS: Final = 256
_BYTES_PER_TOKEN: Final = 4
_FIRST_IDS: Final = 1 << 20
_SYLLABLES: Final = tuple(c + v for c in "bdfgklmnprstvz" for v in "aeiou")


def first_token_id(messages: Sequence[ChatMessage]) -> int:
    """Beyond the places in any answer, and another one for nearly every conversation."""
    return _FIRST_IDS + crc32(b"\0".join(_texts(messages)))


def _texts(messages: Sequence[ChatMessage]) -> list[bytes]:
    return [
        part.text.encode() for each in messages for part in each.parts if isinstance(part, TextPart)
    ]


def echo_text(token_id: int) -> str:
    """The text of a token; after the first, its id is its place. Four characters or more."""
    text, rest = " ", token_id
    while True:
        rest, which = divmod(rest, len(_SYLLABLES))
        text += _SYLLABLES[which]
        if rest == 0:
            return text + "." if len(text) == 3 else text


class EchoGenerator:
    """``Generator`` that says ``echo_text`` of one id after the other, at a steady pace."""

    def __init__(
        self,
        spec: ModelSpec,
        open_journal: Callable[[], JournalWriter],
        open_notices: Callable[[], Notices],
        find_host: Callable[[], str] = loopback,
    ) -> None:
        self._spec = spec
        self._step_s = 1.0 / spec.traits.echo_tokens_per_s
        self._open_journal = open_journal
        self._publisher: StepPublisher | None = None
        self._running: dict[int, _EchoAnswer] = {}
        self._n_begun = 0
        self._n_tokens = 0
        self._rate = Rate()
        self._calls = CallServer(self.generate, find_host)
        self._pulse = Pulse(
            open_notices,
            model=spec.name,
            working_on=self._response_ids,
            load=self._load,
            stop=self._stop,
            calls=self._calls,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def generate(self, request: GenerationRequest) -> None:
        """See ``Generator``. ``StoreUnavailable`` comes from the journal."""
        self.live()
        if request.model not in (self._spec.name, *self._spec.aliases):
            raise UnknownModel(
                f"no model {request.model!r} here; choose one of: {self._spec.name}", param="model"
            )
        writer = ResponseWriter(self._published(), request)
        writer.begin()
        answer = _EchoAnswer(request, writer, n_prompt=await self.count_tokens(request.messages))
        self._n_begun += 1
        place = self._n_begun
        self._running[place] = answer
        try:
            await answer.over
        finally:
            del self._running[place]
        await writer.flushed()

    async def count_tokens(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSpec] = ()
    ) -> int:
        """A guess from the length of the text."""
        return 1 + sum(map(len, _texts(messages))) // _BYTES_PER_TOKEN

    async def check_health(self) -> None:
        """It cannot be ill."""
        self.live()

    async def ping(self) -> str:
        """The model's name."""
        self.live()
        return self._spec.name

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """As ``GeneratorReplica`` reports them."""
        self.live()
        return self._load()

    def shutdown(self) -> None:
        """Stop; twice is harmless."""
        for task in self._tasks:
            task.cancel()

    def live(self) -> None:
        """Beat and step, from the first call on in the loop that runs this one."""
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(self._pulse.live()), loop.create_task(self._step())]

    def _published(self) -> StepPublisher:
        if self._publisher is None:
            self._publisher = StepPublisher(self._open_journal())
        return self._publisher

    async def _step(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            # Steps that could not be taken in time are not caught up with.
            due = max(due + self._step_s, loop.time())
            await asyncio.sleep(due - loop.time())
            running = tuple(self._running.values())
            self._n_tokens += len(running)
            for answer in running:
                answer.say_more()

    async def _stop(self, response_id: str, before_epoch: int) -> None:
        for answer in self._running.values():
            if answer.response_id == response_id and answer.epoch < before_epoch:
                answer.end(FinishReason.CANCELLED)

    def _response_ids(self) -> list[str]:
        return [answer.response_id for answer in self._running.values()]

    def _load(self) -> dict[str, float]:
        n_running = len(self._running)
        max_running = self._spec.traits.max_num_seqs
        return {
            "running": float(n_running),
            "waiting": 0.0,
            "waiting_tokens": 0.0,
            "kv_use": min(1.0, n_running / max_running),
            "capacity_tokens": float(max_running * self._spec.max_input_tokens),
            "max_running": float(max_running),
            "tokens_per_s": self._rate.of(self._n_tokens, is_busy=n_running > 0),
        }


class _EchoAnswer:
    """One answer. ``over`` is done when its last word is written."""

    def __init__(
        self, request: GenerationRequest, writer: ResponseWriter, *, n_prompt: int
    ) -> None:
        self.response_id = request.response_id
        self.epoch = request.epoch
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writer = writer
        self._n_prompt = n_prompt
        self._n_said = len(request.emitted_ids)
        self._first_id = first_token_id(request.messages)
        self._n_wanted = request.sampling.max_output_tokens or _DEFAULT_OUTPUT_TOKENS
        self._started_at = time.perf_counter()
        self._first_at = 0.0

    def say_more(self) -> None:
        """Write the next token, or the last word."""
        if self._n_said < self._n_wanted:
            self._first_at = self._first_at or time.perf_counter()
            token_id = self._n_said or self._first_id
            self._write(TextDelta(echo_text(token_id), (token_id,)))
            self._n_said += 1
        if self._n_said >= self._n_wanted:
            self.end(FinishReason.LENGTH)

    def end(self, reason: FinishReason) -> None:
        """Write the last word; again is harmless."""
        self._write(self._generated(reason))
        if not self.over.done():
            self.over.set_result(None)

    def _write(self, event: LogEvent) -> None:
        if self.over.done():
            return
        try:
            self._writer.write([event])
        except Exception as error:  # noqa: BLE001 - its caller hears it, not others of this step
            self.over.set_exception(error)

    def _generated(self, reason: FinishReason) -> Generated:
        now = time.perf_counter()
        first_at = self._first_at or now
        return Generated(
            reason,
            Usage(input_tokens=self._n_prompt, output_tokens=self._n_said),
            queue_s=0.0,
            prefill_s=first_at - self._started_at,
            decode_s=now - first_at,
        )
