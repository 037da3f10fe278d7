"""The engine's worker for models that see pictures, on machines without torchvision."""

from __future__ import annotations

from typing import Any

from deployments.generation.cpu_worker import SeedKeepingWorker
from deployments.generation.pillow_only import offer_pillow_processing


class PictureWorker(SeedKeepingWorker):
    """It runs in a process of its own, which must know our model class too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        offer_pillow_processing()
        from deployments.generation.vision_language import register

        register()
        super().__init__(*args, **kwargs)
