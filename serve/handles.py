"""Typed clients around Ray handles. Time budgets are set here and Ray's errors stop here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import cycle
from typing import Any

from ray.exceptions import RayActorError, RayError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, RayServeException, RequestCancelledError
from ray.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator

from serve.domain.batching import Batcher
from serve.domain.errors import (
    EngineDead,
    NodeTimeout,
    Overloaded,
    PolymodalError,
)
from serve.domain.media import MediaRef
from serve.domain.messages import (
    AudioPerception,
    DocumentPerception,
    Embeddings,
    FeatureRef,
    Filmed,
    FilmRequest,
    FilmStep,
    GenerationRequest,
    Heard,
    ImagePerception,
    Judgement,
    Painted,
    PaintRequest,
    PaintStep,
    PartHeard,
    Progress,
    SoundPart,
    SpeechRequest,
    SpokenSentence,
    TextBatch,
    Transcript,
    TranscriptionOptions,
    VideoPerception,
)

_RAY_ERRORS = (
    BackPressureError,
    TaskCancelledError,
    RequestCancelledError,
    RayTaskError,
    RayActorError,
    RayServeException,
    RayError,
)

# As many calls as the replica embeds together, and how many texts one of them may have.
_MAX_JOINED = 64
_FEW_TEXTS = 16


class _NodeClient:
    """What all clients share: one budget, one translation."""

    def __init__(self, handle: DeploymentHandle[Any], *, node: str, timeout_s: float) -> None:
        self._handle = handle
        self._node = node
        self._timeout_s = timeout_s

    @property
    def _streaming(self) -> DeploymentHandle[Any]:
        return self._handle.options(stream=True)

    async def ping(self) -> str:
        """Revision of the model behind the node. Raises when no replica answers."""
        revision: str = await self._call(self._handle.ping.remote(), timeout_s=5.0)
        return revision

    async def _call(
        self, response: DeploymentResponse[Any], *, timeout_s: float | None = None
    ) -> Any:  # a handle is untyped; each client names what comes back
        budget_s = timeout_s or self._timeout_s
        try:
            async with asyncio.timeout(budget_s):
                return await _undisguised(response)
        except TimeoutError as exc:
            response.cancel()
            raise self._too_slow(budget_s) from exc
        except asyncio.CancelledError:
            # Serve cancels by itself only when the HTTP request that called goes away.
            response.cancel()
            raise
        except PolymodalError:
            raise
        except _RAY_ERRORS as exc:
            raise self._translated(exc) from exc

    def _too_slow(self, budget_s: float) -> NodeTimeout:
        return NodeTimeout(
            f"the {self._node} did not answer within {budget_s:g} s; try again", budget_s=budget_s
        )

    def _translated(self, error: Exception) -> Exception:
        """Ray's word for a failure in ours."""
        match error:
            case RayTaskError():
                # The replica raised something that is not ours: a bug there, not a dead node.
                cause: Exception = error.as_instanceof_cause()
                return cause
            case BackPressureError():
                message = f"the queue of the {self._node} is full; try again shortly"
                return Overloaded(message, retry_after_s=1)
            case TaskCancelledError() | RequestCancelledError():
                return EngineDead(f"the {self._node} dropped the work; try again")
            case _:
                return EngineDead(f"the {self._node} is restarting; nothing was lost, try again")

    async def _stream(
        self, response: DeploymentResponseGenerator[Any]
    ) -> AsyncGenerator[Any, None]:
        """What a streaming call yields; closing this closes the replica's generator too.

        The budget holds for each wait, since progress shows that the node lives.
        """
        pending = aiter(response)
        try:
            while True:
                try:
                    async with asyncio.timeout(self._timeout_s):
                        item = await anext(pending)
                except StopAsyncIteration:
                    return
                except TimeoutError as exc:
                    raise self._too_slow(self._timeout_s) from exc
                except PolymodalError:
                    raise
                except _RAY_ERRORS as exc:
                    raise self._translated(exc) from exc
                yield item
        finally:
            response.cancel()


async def _undisguised(response: DeploymentResponse[Any]) -> Any:
    """The answer; when it is our own task that is cancelled, say so in asyncio's words.

    Serve turns the cancellation of the waiting task into an exception of its own, which would
    hide a timeout or a cancel from everything above.
    """
    try:
        return await response
    except RequestCancelledError as exc:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from exc
        raise


class TextEncoderClient(_NodeClient):
    """``domain.ports.TextEncoder``, answered by a deployment.

    A call costs milliseconds, whatever it carries: batches of few texts travel together while
    others are on their way.
    """

    def __init__(self, handle: DeploymentHandle[Any], *, node: str, timeout_s: float) -> None:
        super().__init__(handle, node=node, timeout_s=timeout_s)
        # The replica has one call to work on while the next is on its way.
        self._ways = cycle(Batcher(self._encode_each, max_items=_MAX_JOINED) for _ in range(2))

    async def encode(self, batch: TextBatch) -> Embeddings:
        """Embed on whichever replica is least busy."""
        if len(batch.texts) > _FEW_TEXTS:
            [answer] = await self._encode_each([batch])
        else:
            answer = await self._together(batch)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def _together(self, batch: TextBatch) -> Embeddings | BaseException:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await next(self._ways).submit(batch)
        except TimeoutError as exc:
            raise self._too_slow(self._timeout_s) from exc

    async def _encode_each(
        self, batches: Sequence[TextBatch]
    ) -> Sequence[Embeddings | BaseException]:
        answers: Sequence[Embeddings | BaseException] = await self._call(
            self._handle.encode_each.remote(tuple(batches))
        )
        return answers


class _FeatureEncoderClient(_NodeClient):
    """``domain.ports.FeatureEncoder``, answered by a deployment."""

    async def features(self, media: MediaRef, model: str) -> FeatureRef:
        """Compute generator-ready features."""
        answer: FeatureRef = await self._call(self._handle.features.remote(media, model))
        return answer


class ImageEncoderClient(_FeatureEncoderClient):
    """``domain.ports.ImageEncoder``, answered by a deployment."""

    async def perceive(self, media: MediaRef) -> ImagePerception:
        """Look at a picture."""
        answer: ImagePerception = await self._call(self._handle.perceive.remote(media))
        return answer


class AudioEncoderClient(_FeatureEncoderClient):
    """``domain.ports.AudioEncoder``, answered by a deployment."""

    def listen(self, media: MediaRef, options: TranscriptionOptions) -> AsyncGenerator[Heard, None]:
        """Listen to a recording."""
        return self._stream(self._streaming.listen.remote(media, options))

    async def perceive(self, media: MediaRef, options: TranscriptionOptions) -> AudioPerception:
        """Listen to a recording to its end, which may take longer than any one step of it."""
        async with aclosing(self.listen(media, options)) as steps:
            async for step in steps:
                if isinstance(step, AudioPerception):
                    return step
        raise EngineDead(f"the {self._node} stopped before it was done; try again")

    async def hear_on(self, part: SoundPart, options: TranscriptionOptions) -> PartHeard:
        """Listen to the next part of a recording."""
        answer: PartHeard = await self._call(self._handle.hear_on.remote(part, options))
        return answer

    async def transcribe(self, pcm: bytes, options: TranscriptionOptions) -> Transcript:
        """Write down one turn of a conversation; also ``domain.ports.UtteranceTranscriber``."""
        answer: Transcript = await self._call(self._handle.transcribe.remote(pcm, options))
        return answer


class VideoEncoderClient(_FeatureEncoderClient):
    """``domain.ports.VideoEncoder``, answered by a deployment."""

    def perceive(
        self, media: MediaRef, options: TranscriptionOptions
    ) -> AsyncGenerator[Progress | VideoPerception, None]:
        """Watch a video."""
        return self._stream(self._streaming.perceive.remote(media, options))


class DocumentEncoderClient(_NodeClient):
    """``domain.ports.DocumentEncoder``, answered by a deployment."""

    def perceive(self, media: MediaRef) -> AsyncGenerator[Progress | DocumentPerception, None]:
        """Read a document."""
        return self._stream(self._streaming.perceive.remote(media))


class SpeechGeneratorClient(_NodeClient):
    """``domain.ports.SpeechGenerator``, answered by a deployment."""

    def speak(self, request: SpeechRequest) -> AsyncGenerator[SpokenSentence, None]:
        """Say a text."""
        return self._stream(self._streaming.speak.remote(request))


class ImageGeneratorClient(_NodeClient):
    """``domain.ports.ImageGenerator``, answered by a deployment."""

    def paint(self, request: PaintRequest) -> AsyncGenerator[PaintStep | Painted, None]:
        """Make a picture."""
        return self._stream(self._streaming.paint.remote(request))


class VideoGeneratorClient(_NodeClient):
    """``domain.ports.VideoGenerator``, answered by a deployment."""

    def film(self, request: FilmRequest) -> AsyncGenerator[FilmStep | Filmed, None]:
        """Make a clip."""
        return self._stream(self._streaming.film.remote(request))


class ModeratorClient(_NodeClient):
    """``domain.ports.Moderator``, answered by a deployment."""

    async def judge_texts(self, texts: tuple[str, ...]) -> tuple[Judgement, ...]:
        """Judge texts."""
        answer: tuple[Judgement, ...] = await self._call(self._handle.judge_texts.remote(texts))
        return answer

    async def judge_picture(self, content: bytes) -> Judgement:
        """Judge a picture."""
        answer: Judgement = await self._call(self._handle.judge_picture.remote(content))
        return answer


class GeneratorClient(_NodeClient):
    """``domain.ports.Generator``, answered by a deployment."""

    async def generate(self, request: GenerationRequest) -> None:
        """Generate; cancelling this call cancels the replica's, which frees the sequence."""
        await self._call(self._handle.generate.remote(request))
