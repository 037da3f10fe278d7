"""The replica that serves HTTP by itself, without Serve's proxy (docs/adr/0007).

Only what prepares the process is imported here: the metrics of the rest find their folder at
import (``serve.observability.metrics``).
"""

from __future__ import annotations

import asyncio
import gc
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ray.serve.handle import DeploymentHandle

from graphs.online.listener import share_listener
from serve.config.settings import Settings
from serve.domain.catalogue import ServedModels
from serve.observability.logging import configure_logging

if TYPE_CHECKING:
    from serve.ingress.server import AppServer

# Whoever reads an answer whose connection is cut goes on at another replica.
_GRACE_S: Final = 5
_PRIVATE_FOLDER: Final = 0o700
# Every token leaves some small objects behind that live as long as its answer: by the interpreter's
# own thresholds, looking through them in vain costs a part of what delivering does.
_COLLECTION_THRESHOLDS: Final = (20_000, 20, 50)


def metrics_folder(settings: Settings) -> Path:
    """Where the ingress processes of this machine keep their counts for one another."""
    return settings.home / "run" / "metrics"


class IngressNode:
    """One ingress replica. Serve starts, checks and ends it; clients come by its own socket.

    ``generators`` is by catalog name, the default one first.
    """

    async def __init__(  # type: ignore[misc] # Serve awaits it, in the loop that serves
        self,
        *,
        text: DeploymentHandle[Any],
        image: DeploymentHandle[Any],
        audio: DeploymentHandle[Any],
        document: DeploymentHandle[Any],
        video: DeploymentHandle[Any],
        speech: DeploymentHandle[Any],
        painter: DeploymentHandle[Any],
        filmer: DeploymentHandle[Any],
        moderator: DeploymentHandle[Any],
        generators: dict[str, DeploymentHandle[Any]],
        settings: Settings,
        models: ServedModels,
    ) -> None:
        configure_logging(settings.log_level)
        self._server: AppServer | None = None
        # A home may be shared by machines, a socket may not.
        doors = settings.home / "run" / "ingress" / platform.node()
        self._shared = await asyncio.to_thread(share_listener, settings.host, settings.port, doors)
        folder = metrics_folder(settings)
        if self._shared.is_first:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)

        from graphs.online.ingress_ports import NodeHandles, ingress_app
        from serve.ingress.server import AppServer

        handles = NodeHandles(
            text=text,
            image=image,
            audio=audio,
            document=document,
            video=video,
            speech=speech,
            painter=painter,
            filmer=filmer,
            moderator=moderator,
            generators=generators,
        )
        app = ingress_app(handles, settings, models, metrics_dir=folder)
        self._server = AppServer(app, self._shared.socket, grace_s=_GRACE_S)
        await self._server.start()
        # What exists now stays: looking through it again and again would only delay answers.
        gc.freeze()
        gc.set_threshold(*_COLLECTION_THRESHOLDS)

    async def check_health(self) -> None:
        """Serve replaces a replica that raises here, or whose event loop does not get here."""
        if self._server is not None:
            self._server.check()

    async def __del__(self) -> None:
        """Serve's word for the orderly end."""
        self._shared.withdraw()
        if self._server is not None:
            await self._server.stop()
