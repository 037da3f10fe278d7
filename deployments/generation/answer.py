"""One answer on its way from the engine's steps to the journal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployments.generation.assembly import AnswerAssembler
from deployments.generation.publisher import ResponseWriter
from serve.domain.errors import EngineDead
from serve.domain.messages import FinishReason, Generated, GenerationRequest, LogEvent, Usage

if TYPE_CHECKING:
    from vllm import RequestOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSize:
    """Tokens. ``n_replayed`` of the answer's known beginning come out of the engine once more."""

    n_prompt: int
    max_output: int
    n_replayed: int = 0


class Answer:
    """What came of a request so far."""

    def __init__(
        self,
        request: GenerationRequest,
        size: AnswerSize,
        assembler: AnswerAssembler,
        writer: ResponseWriter,
    ) -> None:
        self._size = size
        self._assembler = assembler
        self._writer = writer
        self._n_to_skip = size.n_replayed
        self._n_stop_tokens = 0
        self._n_cached = 0
        self._started_at = time.perf_counter()
        self._first_at: float | None = None
        self._last_at = 0.0
        self._queue_s = 0.0
        self.is_over = False
        # To the state in which the last generator left it; the journal has these events.
        assembler.feed(request.emitted_ids)
        assembler.n_calls = request.emitted_calls

    @property
    def is_complete(self) -> bool:
        """Nothing is left to generate: the last generator died before it could say so."""
        return self._assembler.n_fed >= self._size.max_output or self._assembler.has_its_one_call

    def take(self, output: RequestOutput) -> None:
        """Write what the step brought. Raises what the writer raises, and ``EngineDead``."""
        step = output.outputs[0]
        if step.finish_reason == "error":
            raise EngineDead("the engine gave this request up; try again")
        self._note_times(output)
        ids = step.token_ids
        if self._n_to_skip:
            n_skipped = min(self._n_to_skip, len(ids))
            self._n_to_skip -= n_skipped
            ids = ids[n_skipped:]
        is_stopped = step.finish_reason == "stop"
        # The token that says so is no part of the answer.
        events = self._assembler.feed(ids[:-1] if is_stopped else ids)
        if self._assembler.is_over:
            self._end(events, FinishReason.STOP)
        elif output.finished:
            self._n_stop_tokens = int(is_stopped)
            self._end(events, _reason(step.finish_reason))
        else:
            self._writer.write(events)

    def end_complete(self) -> None:
        """Say the last word where no engine is needed for it."""
        has_called = self._assembler.has_its_one_call
        self._end([], FinishReason.STOP if has_called else FinishReason.LENGTH)

    def _end(self, events: Sequence[LogEvent], reason: FinishReason) -> None:
        self.is_over = True
        rest = [] if self._assembler.has_its_one_call else self._assembler.close()
        if reason is FinishReason.STOP and self._assembler.n_calls:
            reason = FinishReason.TOOL_CALLS
        self._writer.write([*events, *rest, self._generated(reason)])

    def _note_times(self, output: RequestOutput) -> None:
        now = time.perf_counter()
        if output.outputs[0].token_ids:
            self._first_at = self._first_at or now
            self._last_at = now
        self._n_cached = output.num_cached_tokens or self._n_cached
        if output.metrics is not None:
            self._queue_s = max(0.0, output.metrics.scheduled_ts - output.metrics.queued_ts)

    def _generated(self, reason: FinishReason) -> Generated:
        first_at = self._first_at or self._started_at
        return Generated(
            reason,
            Usage(
                input_tokens=self._size.n_prompt,
                cached_tokens=min(self._n_cached, self._size.n_prompt),
                output_tokens=self._assembler.n_fed + self._n_stop_tokens,
            ),
            queue_s=self._queue_s,
            prefill_s=max(0.0, first_at - self._started_at - self._queue_s),
            decode_s=max(0.0, self._last_at - first_at),
        )


def _reason(engine_says: str | None) -> FinishReason:
    if engine_says == "length":
        return FinishReason.LENGTH
    return FinishReason.CANCELLED if engine_says == "abort" else FinishReason.STOP
