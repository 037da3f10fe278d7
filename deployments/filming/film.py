"""What a model that films takes and tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import PIL.Image
from torch import Tensor

if TYPE_CHECKING:
    from serve.domain.messages import FilmRequest


@dataclass(frozen=True, slots=True)
class Reached:
    """The state of a clip after ``done`` steps: all that is needed to go on from there.

    ``look`` draws a frame as it is now, where the model can do that cheaply.
    """

    done: int
    of_steps: int
    latents: Tensor
    look: Callable[[], PIL.Image.Image] | None = None


OnStep = Callable[[Reached], None]
"""Is told after each step, and raises to stop."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Where an earlier attempt at the same clip got."""

    done: int
    latents: Tensor


class FilmModel(Protocol):
    """A model and how it is fed. Used by one thread at a time."""

    def check(self, request: FilmRequest) -> None:
        """Raises ``InvalidRequest`` when this model cannot film that."""
        ...

    def film(
        self,
        request: FilmRequest,
        source: PIL.Image.Image | None,
        resume: Resume | None,
        on_step: OnStep,
    ) -> Iterator[PIL.Image.Image]:
        """Denoise, then give the frames of the size that was asked for, in order.

        The same request gives the same frames, whether or not it was resumed.
        """
        ...
