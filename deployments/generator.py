"""A text generator replica: vLLM's engine behind ``serve.domain.ports.Generator``."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from deployments.feature_store import FeatureFolder
from deployments.generation.answer import Answer, AnswerSize
from deployments.generation.assembly import AnswerAssembler, Detokenizer
from deployments.generation.constraints import Constraint, offered_tools, output_constraint
from deployments.generation.engine import start_engine
from deployments.generation.liveness import end_this_process, end_when_hung
from deployments.generation.prompts import ChatPrompts
from deployments.generation.publisher import ResponseWriter, StepPublisher
from deployments.generation.pulse import Pulse, Rate
from serve.direct_calls.server import CallServer, loopback
from serve.domain.errors import (
    ContextLengthExceeded,
    EngineDead,
    InternalError,
    InvalidRequest,
    UnknownModel,
)
from serve.domain.media import MediaKind
from serve.domain.messages import (
    ChatMessage,
    GenerationRequest,
    NativeMediaPart,
    Sampling,
    TextPart,
    ToolSpec,
)
from serve.domain.ports import JournalWriter, Notices
from serve.registry.specs import ModelSpec

if TYPE_CHECKING:
    from vllm import SamplingParams

_log = logging.getLogger(__name__)

# What an answer may take when the caller does not say: small models rarely stop by themselves.
_DEFAULT_OUTPUT_TOKENS: Final = 1024
_DEAD: Final = "the generator's engine died; try again"
# Read in less time than a thread takes to be woken beside a busy event loop.
_SHORT_PROMPT_CHARACTERS: Final = 4096
# Long enough for an error to travel to those who wait for an answer.
_LAST_WORDS_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Job:
    """A request made ready for the engine."""

    prompt: dict[str, Any]
    params: SamplingParams
    answer: Answer


@dataclass(frozen=True, slots=True)
class _InWork:
    """A response in the engine. ``lifeline`` ends its call: some of vLLM's waits never would."""

    response_id: str
    epoch: int
    lifeline: asyncio.Timeout


class GeneratorReplica:
    """One engine. All responses in flight share its steps (continuous batching)."""

    def __init__(
        self,
        spec: ModelSpec,
        open_journal: Callable[[], JournalWriter],
        open_notices: Callable[[], Notices],
        models_dir: str,
        feature_dir: str | None = None,
        find_host: Callable[[], str] = loopback,
    ) -> None:
        """``find_host``: the address of this machine at which ingresses may call."""
        self._is_shut_down = True  # until there is an engine to shut down
        self._spec = spec
        self._open_journal = open_journal
        self._features = FeatureFolder(feature_dir) if feature_dir else None
        started_at = time.perf_counter()
        self._engine = start_engine(spec, models_dir, feature_dir)
        self._llm = self._engine.llm
        self._window: int = self._llm.model_config.max_model_len
        self._defaults: dict[str, Any] = self._llm.model_config.get_diff_sampling_param()
        self._tokenizer = self._llm.get_tokenizer()
        self._prompts = ChatPrompts(self._tokenizer)
        # One thread: a fast tokenizer may not be used by two at a time.
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._n_tokenizing = 0
        self._publisher: StepPublisher | None = None
        # By the engine's request ids.
        self._in_work: dict[str, _InWork] = {}
        self._rate = Rate()
        self._calls = CallServer(self.generate, find_host)
        self._pulse = Pulse(
            open_notices,
            model=spec.name,
            working_on=lambda: [each.response_id for each in self._in_work.values()],
            load=self._load,
            stop=self._stop,
            calls=self._calls,
        )
        self._life: asyncio.Task[None] | None = None
        self._is_dead = False
        self._is_shut_down = False
        _log.info(
            "generator ready",
            extra={"model": spec.name, "duration_s": time.perf_counter() - started_at},
        )

    async def generate(self, request: GenerationRequest) -> None:
        """See ``Generator``. ``StoreUnavailable`` comes from the journal."""
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        self.live()
        writer = ResponseWriter(self._published(), request)
        writer.begin()
        job = await self._job(request, writer)
        if job.answer.is_complete:
            job.answer.end_complete()
        else:
            try:
                await self._run(request, job)
            except EngineDeadError as error:
                raise EngineDead(_DEAD) from error
            except VLLMClientError as error:
                raise InvalidRequest(str(error)) from error
            except EngineGenerateError as error:
                cause = error.__cause__
                if isinstance(cause, ValueError):
                    raise InvalidRequest(str(cause)) from error
                raise InternalError("the generator failed on this request") from error
        await writer.flushed()

    async def count_tokens(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSpec] = ()
    ) -> int:
        """Tokens of the prompt that these messages make."""
        return (await self._prompt(messages, tools))[1]

    async def check_health(self) -> None:
        """Raise ``EngineDead`` once the engine is gone, so that Serve replaces the replica."""
        from vllm.v1.engine.exceptions import EngineDeadError

        self.live()
        try:
            await self._llm.check_health()
        except EngineDeadError as error:
            raise EngineDead(_DEAD) from error

    async def ping(self) -> str:
        """The model's name, if its engine lives."""
        await self.check_health()
        return self._spec.name

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve hands to the scaling policy; see ``_load``."""
        self.live()
        return self._load()

    def shutdown(self) -> None:
        """Stop the engine process; twice is harmless. The replica cannot be used afterwards."""
        if not self._is_shut_down:
            self._is_shut_down = True
            if self._life is not None:
                self._life.cancel()
            self._tokenizing.shutdown(wait=False, cancel_futures=True)
            self._llm.shutdown()

    def __del__(self) -> Coroutine[None, None, None] | None:
        # Serve calls this when it stops a replica, and awaits what comes back. It does not know
        # of the calls that reach us directly.
        if self._is_shut_down or self._life is None or self._life.done():
            self.shutdown()
            return None
        return self._leave()

    async def _leave(self) -> None:
        await self._calls.leave()
        self.shutdown()

    # --- the replica's own life -----------------------------------------------------------------

    def live(self) -> None:
        """Beat, and watch the engine, from the first call on in the loop that runs this one.

        Raises ``EngineDead`` when it is already known to be.
        """
        if self._is_dead:
            raise EngineDead(_DEAD)
        if self._life is None:
            self._life = asyncio.get_running_loop().create_task(self._live())

    async def _live(self) -> None:
        """Ends with the engine, and the process with it: so routers drop the replica at once."""
        loop = asyncio.get_running_loop()
        beside = [loop.create_task(self._pulse.live()), loop.create_task(self._engine.tie())]
        try:
            await end_when_hung(
                self._engine.pid,
                self._spec.traits.hang_after_s,
                has_work=lambda: bool(self._in_work),
                n_steps=lambda: self._engine.stats.n_steps,
            )
        finally:
            for task in beside:
                task.cancel()
        if not self._is_shut_down:
            _log.error("engine dead, replica ends", extra={"model": self._spec.name})
            self._is_dead = True
            for job in self._in_work.values():
                job.lifeline.reschedule(loop.time())
            await asyncio.sleep(_LAST_WORDS_S)
            end_this_process()

    async def _stop(self, response_id: str, before_epoch: int) -> None:
        """Have the engine end older sequences of a response; their calls then return."""
        ids = [
            engine_id
            for engine_id, each in self._in_work.items()
            if each.response_id == response_id and each.epoch < before_epoch
        ]
        if ids:
            await self._llm.abort(ids)

    def _load(self) -> dict[str, float]:
        """Requests, tokens, tokens per second; ``kv_use`` 0 to 1. For ``Beat`` and scaling."""
        stats, cache = self._engine.stats, self._llm.vllm_config.cache_config
        # As of the last step, which for an idle engine is long ago.
        n_running = min(stats.n_running, len(self._in_work))
        return {
            "running": float(n_running),
            "waiting": float(len(self._in_work) - n_running),
            "waiting_tokens": float(self._llm.get_num_queued_tokens()),
            "kv_use": stats.kv_use if self._in_work else 0.0,
            "capacity_tokens": float((cache.num_gpu_blocks or 0) * cache.block_size),
            "max_running": float(self._spec.traits.max_num_seqs),
            "tokens_per_s": self._rate.of(stats.n_tokens, is_busy=bool(self._in_work)),
        }

    # --- one request ------------------------------------------------------------------------

    def _check_model(self, name: str) -> None:
        if name not in (self._spec.name, *self._spec.aliases):
            raise UnknownModel(
                f"no model {name!r} here; choose one of: {self._spec.name}", param="model"
            )

    def _published(self) -> StepPublisher:
        if self._publisher is None:
            # Late: connections belong to the event loop that uses them.
            self._publisher = StepPublisher(self._open_journal())
        return self._publisher

    async def _job(self, request: GenerationRequest, writer: ResponseWriter) -> _Job:
        from deployments.generation.replay import replay_arguments

        self._check_model(request.model)
        tools = offered_tools(request)
        if tools and not self._spec.traits.tool_parser:
            raise InvalidRequest(f"{self._spec.name} cannot call tools", param="tools")
        constraint = output_constraint(request)
        options: dict[str, Any] = self._defaults | _given(request.sampling)
        prompt, n_prompt = await self._prompt(request.messages, tools)
        emitted = request.emitted_ids
        wanted = request.sampling.max_output_tokens or _DEFAULT_OUTPUT_TOKENS
        max_output = min(wanted, self._window - n_prompt)
        assembler = AnswerAssembler(
            Detokenizer(self._tokenizer.backend_tokenizer, prompt["prompt_token_ids"]),
            stop=request.sampling.stop,
            tools=(tool.name for tool in tools),
            one_call=not request.parallel_tool_calls,
        )
        n_replayed = 0
        options["max_tokens"] = max_output
        if emitted and (
            len(emitted) <= self._spec.traits.exact_resume_tokens
            or constraint is not None
            or _counts_its_samples(options)
        ):
            n_replayed = len(emitted)
            options["extra_args"] = replay_arguments(emitted)
        elif emitted:
            prompt["prompt_token_ids"] = [*prompt["prompt_token_ids"], *emitted]
            options["max_tokens"] = max(1, max_output - len(emitted))
        size = AnswerSize(n_prompt=n_prompt, max_output=max_output, n_replayed=n_replayed)
        answer = Answer(request, size, assembler, writer)
        return _Job(prompt, _sampling_params(options, constraint), answer)

    async def _prompt(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSpec]
    ) -> tuple[dict[str, Any], int]:
        ids = await self._token_ids(messages, tools)
        media = [
            part
            for message in messages
            for part in message.parts
            if isinstance(part, NativeMediaPart)
        ]
        # A medium's placeholder grows to the medium's own tokens inside the engine.
        n_tokens = len(ids) + sum(part.features.n_tokens - 1 for part in media)
        if n_tokens >= self._window:
            raise ContextLengthExceeded(
                f"the prompt has {n_tokens} tokens, but {self._spec.name} takes at most "
                f"{self._window} tokens for prompt and answer together",
                param="input",
                prompt_tokens=n_tokens,
                window_tokens=self._window,
            )
        prompt: dict[str, Any] = {"prompt_token_ids": ids}
        if media:
            prompt |= await asyncio.to_thread(self._media_inputs, media)
        return prompt, n_tokens

    async def _token_ids(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSpec]
    ) -> list[int]:
        if not self._n_tokenizing and _is_short(messages, tools):
            return self._prompts.token_ids(messages, tools)
        loop = asyncio.get_running_loop()
        self._n_tokenizing += 1
        job = self._tokenizing.submit(self._prompts.token_ids, messages, tools)
        # Of the thread's own future: who waits for it may leave while the thread goes on.
        job.add_done_callback(lambda _: loop.call_soon_threadsafe(self._tokenized))
        return await asyncio.wrap_future(job)

    def _tokenized(self) -> None:
        self._n_tokenizing -= 1

    def _media_inputs(self, media: Sequence[NativeMediaPart]) -> dict[str, Any]:
        """Only shapes: the features themselves go from the store to the engine."""
        import torch

        keys: dict[MediaKind, list[str]] = {}
        for part in media:
            keys.setdefault(part.media.kind, []).append(part.features.key)
        data: dict[str, dict[str, torch.Tensor]] = {}
        for kind, of_kind in keys.items():
            if self._features is None or not self._spec.takes(kind):
                raise InvalidRequest(f"{self._spec.name} takes no {kind}", param="input")
            shapes = [self._features.shape(key) for key in of_kind]
            data[kind.value] = {
                name: torch.stack([shape[name] for shape in shapes]) for name in shapes[0]
            }
        uuids = {kind.value: of_kind for kind, of_kind in keys.items()}
        return {"multi_modal_data": data, "multi_modal_uuids": uuids}

    async def _run(self, request: GenerationRequest, job: _Job) -> None:
        # A resubmitted response may meet its own ghost, which need not go on.
        await self._stop(request.response_id, request.epoch)
        engine_id = f"{request.response_id}-{secrets.token_hex(4)}"
        publisher = self._published()
        try:
            async with asyncio.timeout(None) as lifeline:
                self._in_work[engine_id] = _InWork(request.response_id, request.epoch, lifeline)
                async with aclosing(self._llm.generate(job.prompt, job.params, engine_id)) as steps:
                    async for output in steps:
                        job.answer.take(output)
                        if job.answer.is_over:
                            return
                        if publisher.is_full:
                            await publisher.next_append()
        except TimeoutError as error:
            raise EngineDead(_DEAD) from error
        finally:
            self._in_work.pop(engine_id, None)


def _is_short(messages: Sequence[ChatMessage], tools: Sequence[ToolSpec]) -> bool:
    n_characters = sum(
        len(part.text)
        for message in messages
        for part in message.parts
        if isinstance(part, TextPart)
    )
    return not tools and n_characters <= _SHORT_PROMPT_CHARACTERS


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


def _counts_its_samples(options: dict[str, Any]) -> bool:
    """Whether the next token depends on more than the tokens before it; see ``replay``."""
    is_random = options.get("temperature", 1.0) > 0
    return bool(
        (is_random and options.get("seed") is not None)
        or options.get("presence_penalty")
        or options.get("frequency_penalty")
    )


def _sampling_params(options: dict[str, Any], constraint: Constraint | None) -> SamplingParams:
    """Text is made from the tokens here, with its stop strings; see ``assembly``."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    try:
        return SamplingParams(
            **options,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            structured_outputs=None
            if constraint is None
            else StructuredOutputsParams(
                json=constraint.json_schema, structural_tag=constraint.structural_tag
            ),
        )
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
