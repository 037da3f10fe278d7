"""Makes the engine write an answer's known beginning again, token by token.

A grammar, penalties and a seeded random generator count what the engine itself has sampled. To go
on exactly as an undisturbed run would, an answer that uses one of them is not prompted with its
beginning: the engine samples it once more, but has no choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vllm.v1.sample.logits_processor import LogitsProcessor, MoveDirectionality

if TYPE_CHECKING:
    import torch
    from vllm import SamplingParams
    from vllm.v1.sample.logits_processor import BatchUpdate

_REPLAY: Final = "polymodal_replay"
REPLAY_PROCESSOR: Final = "deployments.generation.replay:ReplayProcessor"


def replay_arguments(ids: tuple[int, ...]) -> dict[str, Any]:
    """``extra_args`` of sampling parameters whose answer begins with these tokens."""
    return {_REPLAY: list(ids)}


class ReplayProcessor(LogitsProcessor):  # type: ignore[misc]  # vLLM is untyped here
    """Runs in the engine; touches only the rows of answers that are still being replayed."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:  # noqa: FBT001 - vLLM's signature
        # By row of the batch: the tokens to replay, and those the engine has sampled.
        self._rows: dict[int, tuple[list[int], list[int]]] = {}

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Only we make them."""

    def is_argmax_invariant(self) -> bool:
        """Greedy answers are replayed too."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the requests through the batch; let go of those that have caught up."""
        rows = self._rows
        if batch_update is not None:
            for row in batch_update.removed:
                rows.pop(row, None)
            for row, params, _, sampled in batch_update.added:
                rows.pop(row, None)
                if params.extra_args and (ids := params.extra_args.get(_REPLAY)):
                    rows[row] = ids, sampled
            for source, target, direction in batch_update.moved:
                self._move(source, target, swap=direction is MoveDirectionality.SWAP)
        for row in [row for row, (ids, sampled) in rows.items() if len(sampled) >= len(ids)]:
            del rows[row]

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Leave each replayed row one finite value."""
        for row, (ids, sampled) in self._rows.items():
            token = ids[len(sampled)]
            logits[row].fill_(float("-inf"))
            logits[row, token] = 0.0
        return logits

    def _move(self, source: int, target: int, *, swap: bool) -> None:
        moved, replaced = self._rows.pop(source, None), self._rows.pop(target, None)
        if moved is not None:
            self._rows[target] = moved
        if swap and replaced is not None:
            self._rows[source] = replaced
