"""The engine's worker on machines without a GPU."""

from __future__ import annotations

from typing import Any

import torch
from vllm.v1.worker.cpu_model_runner import CPUModelRunner
from vllm.v1.worker.cpu_worker import CPUWorker


class SeedKeepingRunner(CPUModelRunner):  # type: ignore[misc]  # vLLM is untyped here
    """Lets seeded requests have prompts that take several steps.

    After a step that read only a part of the prompt, vLLM rewinds the request's random generator.
    Those of a CPU cannot be rewound, and the engine dies of it. So we do not draw from them.
    """

    def _sample(self, logits: Any, spec_decode_metadata: Any) -> Any:
        generators = self.input_batch.generators
        is_partial = self.discard_request_mask.np
        self._resting = {row: each for row, each in generators.items() if is_partial[row]}
        for row in self._resting:
            del generators[row]
        return super()._sample(logits, spec_decode_metadata)

    def _bookkeeping_sync(self, *args: Any, **kwargs: Any) -> Any:
        kept = super()._bookkeeping_sync(*args, **kwargs)
        self.input_batch.generators.update(self._resting)
        return kept


class SeedKeepingWorker(CPUWorker):  # type: ignore[misc]  # vLLM is untyped here
    """vLLM's CPU worker with the runner above, where that is the runner it would choose."""

    model_runner: Any

    def init_device(self) -> None:
        """Called once, before the model is loaded."""
        super().init_device()
        if type(self.model_runner) is CPUModelRunner:
            self.model_runner = SeedKeepingRunner(self.vllm_config, torch.device("cpu"))
