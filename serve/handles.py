"""Typed clients around Ray handles. Time budgets are set here and Ray's errors stop here."""

from __future__ import annotations

import asyncio
from typing import Any

from ray.exceptions import RayActorError, RayError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, RayServeException, RequestCancelledError
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from serve.domain.errors import (
    EngineDead,
    NodeTimeout,
    Overloaded,
    PolymodalError,
)
from serve.domain.media import MediaRef
from serve.domain.messages import (
    AudioPerception,
    Embeddings,
    FeatureRef,
    GenerationRequest,
    ImagePerception,
    TextBatch,
    TranscriptionOptions,
)


class _NodeClient:
    """What all clients share: one budget, one translation."""

    def __init__(self, handle: DeploymentHandle[Any], *, node: str, timeout_s: float) -> None:
        self._handle = handle
        self._node = node
        self._timeout_s = timeout_s

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
            raise NodeTimeout(
                f"the {self._node} did not answer within {budget_s:g} s; try again",
                budget_s=budget_s,
            ) from exc
        except asyncio.CancelledError:
            # Serve cancels by itself only when the HTTP request that called goes away.
            response.cancel()
            raise
        except PolymodalError:
            raise
        except BackPressureError as exc:
            raise Overloaded(
                f"the queue of the {self._node} is full; try again shortly", retry_after_s=1
            ) from exc
        except (TaskCancelledError, RequestCancelledError) as exc:
            raise EngineDead(f"the {self._node} dropped the work; try again") from exc
        except RayTaskError as exc:
            # The replica raised something that is not ours: a bug there, not a dead node.
            raise exc.as_instanceof_cause() from exc
        except (RayActorError, RayServeException, RayError) as exc:
            raise EngineDead(
                f"the {self._node} is restarting; nothing was lost, try again"
            ) from exc


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
    """``domain.ports.TextEncoder``, answered by a deployment."""

    async def encode(self, batch: TextBatch) -> Embeddings:
        """Embed on whichever replica is least busy."""
        answer: Embeddings = await self._call(self._handle.encode.remote(batch))
        return answer


class ImageEncoderClient(_NodeClient):
    """``domain.ports.ImageEncoder``, answered by a deployment."""

    async def perceive(self, media: MediaRef) -> ImagePerception:
        """Look at a picture."""
        answer: ImagePerception = await self._call(self._handle.perceive.remote(media))
        return answer

    async def features(self, media: MediaRef, model: str) -> FeatureRef:
        """Compute generator-ready features."""
        answer: FeatureRef = await self._call(self._handle.features.remote(media, model))
        return answer


class AudioEncoderClient(_NodeClient):
    """``domain.ports.AudioEncoder``, answered by a deployment."""

    async def perceive(self, media: MediaRef, options: TranscriptionOptions) -> AudioPerception:
        """Listen to a recording."""
        answer: AudioPerception = await self._call(self._handle.perceive.remote(media, options))
        return answer


class GeneratorClient(_NodeClient):
    """``domain.ports.Generator``, answered by a deployment."""

    async def generate(self, request: GenerationRequest) -> None:
        """Generate; cancelling this call cancels the replica's, which frees the sequence."""
        await self._call(self._handle.generate.remote(request))
