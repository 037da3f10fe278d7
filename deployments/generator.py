"""A text generator replica: vLLM's engine behind ``serve.domain.ports.Generator``."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from deployments.feature_store import FeatureFolder
from deployments.generation.constraints import Constraint, offered_tools, output_constraint
from deployments.generation.engine import start_engine
from deployments.generation.prompts import ChatPrompts
from deployments.generation.publisher import ResponseWriter, StepPublisher
from deployments.generation.tool_calls import FoundCall, Piece, PlainText, ToolCallParser
from serve.domain.errors import (
    ContextLengthExceeded,
    EngineDead,
    InternalError,
    InvalidRequest,
    UnknownModel,
)
from serve.domain.messages import (
    ChatMessage,
    FinishReason,
    GenerationOutcome,
    GenerationRequest,
    LogEvent,
    NativeMediaPart,
    Sampling,
    TextDelta,
    ToolArgumentsDelta,
    ToolCall,
    ToolCallStarted,
    ToolSpec,
    Usage,
)
from serve.domain.ports import StreamLog
from serve.registry.specs import ModelSpec

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams

_log = logging.getLogger(__name__)

# What an answer may take when the caller does not say: small models rarely stop by themselves.
_DEFAULT_OUTPUT_TOKENS: Final = 1024


class GeneratorReplica:
    """One engine. All responses in flight share its steps (continuous batching)."""

    def __init__(
        self,
        spec: ModelSpec,
        models_dir: str,
        open_log: Callable[[], StreamLog],
        feature_dir: str | None = None,
    ) -> None:
        self._is_shut_down = True  # until there is an engine to shut down
        self._spec = spec
        self._open_log = open_log
        self._features = FeatureFolder(feature_dir) if feature_dir else None
        started_at = time.perf_counter()
        self._engine = start_engine(spec, models_dir, feature_dir)
        self._window: int = self._engine.model_config.max_model_len
        self._defaults: dict[str, Any] = self._engine.model_config.get_diff_sampling_param()
        self._prompts = ChatPrompts(self._engine.get_tokenizer())
        # One thread: a fast tokenizer may not be used by two at a time.
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._publisher: StepPublisher | None = None
        self._is_shut_down = False
        _log.info(
            "generator ready",
            extra={"model": spec.name, "duration_s": time.perf_counter() - started_at},
        )

    async def generate(self, request: GenerationRequest) -> GenerationOutcome:
        """See ``Generator``. ``StoreUnavailable`` and ``Conflict`` come from the stream log."""
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        self._check_model(request.model)
        tools = offered_tools(request)
        if tools and not self._spec.traits.tool_parser:
            raise InvalidRequest(f"{self._spec.name} cannot call tools", param="tools")
        constraint = output_constraint(request)
        prompt, n_prompt_tokens = await self._prompt(request.messages, tools)
        params = self._sampling(request.sampling, constraint, n_prompt_tokens)
        answer = _Answer(self._writer(request), ToolCallParser(frozenset(t.name for t in tools)))
        try:
            await self._run(request, prompt, params, answer, has_tools=bool(tools))
        except EngineDeadError as error:
            raise EngineDead("the generator's engine died; try again") from error
        except VLLMClientError as error:
            raise InvalidRequest(str(error)) from error
        except EngineGenerateError as error:
            cause = error.__cause__
            if isinstance(cause, ValueError):
                raise InvalidRequest(str(cause)) from error
            raise InternalError("the generator failed on this request") from error
        return answer.outcome(n_prompt_tokens)

    async def count_tokens(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSpec] = ()
    ) -> int:
        """Tokens of the prompt that these messages make."""
        return (await self._prompt(messages, tools))[1]

    async def check_health(self) -> None:
        """Raise ``EngineDead`` once the engine is gone, so that Serve replaces the replica."""
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            await self._engine.check_health()
        except EngineDeadError as error:
            raise EngineDead("the generator's engine died") from error

    async def ping(self) -> str:
        """The model's name, if its engine lives."""
        await self.check_health()
        return self._spec.name

    def shutdown(self) -> None:
        """Stop the engine process; twice is harmless. The replica cannot be used afterwards."""
        if not self._is_shut_down:
            self._is_shut_down = True
            self._tokenizing.shutdown(wait=False, cancel_futures=True)
            self._engine.shutdown()

    def __del__(self) -> None:
        # Serve calls this when it stops a replica.
        self.shutdown()

    # --- one request ------------------------------------------------------------------------

    def _check_model(self, name: str) -> None:
        if name not in (self._spec.name, *self._spec.aliases):
            raise UnknownModel(
                f"no model {name!r} here; choose one of: {self._spec.name}", param="model"
            )

    def _writer(self, request: GenerationRequest) -> ResponseWriter:
        if self._publisher is None:
            # Late: connections belong to the event loop that uses them.
            self._publisher = StepPublisher(self._open_log())
        return ResponseWriter(self._publisher, request.response_id, request.first_seq)

    async def _prompt(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSpec]
    ) -> tuple[dict[str, Any], int]:
        loop = asyncio.get_running_loop()
        ids = await loop.run_in_executor(self._tokenizing, self._prompts.token_ids, messages, tools)
        pictures = [
            part
            for message in messages
            for part in message.parts
            if isinstance(part, NativeMediaPart)
        ]
        # A picture's placeholder grows to the picture's own tokens inside the engine.
        n_tokens = len(ids) + sum(part.features.n_tokens - 1 for part in pictures)
        if n_tokens >= self._window:
            raise ContextLengthExceeded(
                f"the prompt has {n_tokens} tokens, but {self._spec.name} takes at most "
                f"{self._window} tokens for prompt and answer together",
                param="input",
                prompt_tokens=n_tokens,
                window_tokens=self._window,
            )
        prompt: dict[str, Any] = {"prompt_token_ids": ids}
        if pictures:
            prompt |= await asyncio.to_thread(self._picture_inputs, pictures)
        return prompt, n_tokens

    def _picture_inputs(self, pictures: Sequence[NativeMediaPart]) -> dict[str, Any]:
        """Only shapes: the features themselves go from the store to the engine."""
        import torch

        if self._features is None:
            raise InvalidRequest(f"{self._spec.name} cannot see pictures", param="input")
        keys = [part.features.key for part in pictures]
        grids = torch.stack([self._features.grid(key) for key in keys])
        return {
            "multi_modal_data": {"image": {"image_grid_thw": grids}},
            "multi_modal_uuids": {"image": keys},
        }

    def _sampling(
        self, sampling: Sampling, constraint: Constraint | None, n_prompt_tokens: int
    ) -> SamplingParams:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        wanted = sampling.max_output_tokens or _DEFAULT_OUTPUT_TOKENS
        try:
            return SamplingParams(
                **(self._defaults | _given(sampling)),
                max_tokens=min(wanted, self._window - n_prompt_tokens),
                stop=list(sampling.stop),
                output_kind=RequestOutputKind.DELTA,
                structured_outputs=None
                if constraint is None
                else StructuredOutputsParams(
                    json=constraint.json_schema, structural_tag=constraint.structural_tag
                ),
            )
        except ValueError as error:
            raise InvalidRequest(str(error)) from error

    async def _run(
        self,
        request: GenerationRequest,
        prompt: dict[str, Any],
        params: SamplingParams,
        answer: _Answer,
        *,
        has_tools: bool,
    ) -> None:
        # Ours is not unique enough: a resubmitted response may meet its own aborted ghost.
        engine_id = f"{request.response_id}-{secrets.token_hex(4)}"
        async with aclosing(self._engine.generate(prompt, params, engine_id)) as outputs:
            async for output in outputs:
                await answer.take(output, has_tools=has_tools)
                if answer.calls and not request.parallel_tool_calls:
                    answer.reason = FinishReason.TOOL_CALLS
                    return


def _given(sampling: Sampling) -> dict[str, Any]:
    """What the request decides; the rest is the model's own default."""
    choices: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
    }
    return {name: value for name, value in choices.items() if value is not None}


@dataclass(slots=True)
class _Answer:
    """What came of a request so far."""

    writer: ResponseWriter
    parser: ToolCallParser
    calls: list[ToolCall] = field(default_factory=list)
    reason: FinishReason = FinishReason.STOP
    started_at: float = field(default_factory=time.perf_counter)
    first_at: float | None = None
    last_at: float = 0.0
    queue_s: float = 0.0
    n_cached: int = 0
    n_output: int = 0
    texts: list[str] = field(default_factory=list)
    pending_ids: tuple[int, ...] = ()

    async def take(self, output: RequestOutput, *, has_tools: bool) -> None:
        """Log what the step brought."""
        step = output.outputs[0]
        if step.finish_reason == "error":
            raise EngineDead("the engine gave this request up; try again")
        now = time.perf_counter()
        if step.token_ids:
            self.first_at = self.first_at or now
            self.last_at = now
        self.n_output += len(step.token_ids)
        self.n_cached = output.num_cached_tokens or self.n_cached
        if output.metrics is not None:
            self.queue_s = max(0.0, output.metrics.scheduled_ts - output.metrics.queued_ts)
        pieces: list[Piece] = [PlainText(step.text)] if step.text else []
        if has_tools:
            pieces = self.parser.feed(step.text) if step.text else []
            if output.finished:
                pieces += self.parser.close()
        self.pending_ids += tuple(step.token_ids)
        await self.writer.write(self._events(pieces))
        if output.finished:
            self.reason = _reason(step.finish_reason, has_calls=bool(self.calls))

    def _events(self, pieces: Sequence[Piece]) -> list[LogEvent]:
        events: list[LogEvent] = []
        for piece in pieces:
            ids, self.pending_ids = self.pending_ids, ()
            match piece:
                case PlainText(text):
                    self.texts.append(text)
                    events.append(TextDelta(text, ids))
                case FoundCall(name, arguments):
                    call = ToolCall(
                        call_id=f"call_{secrets.token_hex(12)}", name=name, arguments=arguments
                    )
                    index = len(self.calls)
                    self.calls.append(call)
                    events.append(ToolCallStarted(index, call.call_id, name))
                    events.append(ToolArgumentsDelta(index, arguments, ids))
        return events

    def outcome(self, n_prompt_tokens: int) -> GenerationOutcome:
        """The summary, once the engine is done."""
        first_at = self.first_at or self.started_at
        return GenerationOutcome(
            text="".join(self.texts),
            tool_calls=tuple(self.calls),
            reason=self.reason,
            usage=Usage(
                input_tokens=n_prompt_tokens,
                cached_tokens=self.n_cached,
                output_tokens=self.n_output,
            ),
            next_seq=self.writer.next_seq,
            queue_s=self.queue_s,
            prefill_s=max(0.0, first_at - self.started_at - self.queue_s),
            decode_s=max(0.0, self.last_at - first_at),
        )


def _reason(engine_says: str | None, *, has_calls: bool) -> FinishReason:
    if engine_says == "length":
        return FinishReason.LENGTH
    if engine_says == "abort":
        return FinishReason.CANCELLED
    return FinishReason.TOOL_CALLS if has_calls else FinishReason.STOP
