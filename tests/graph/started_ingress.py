"""What an ingress process has loaded once it serves, beyond what Ray Serve loads anywhere."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import ray.serve.handle  # noqa: F401

_RAYS = frozenset(sys.modules)

# After those of Ray: nothing else shows what is ours.
from graphs.online import ingress_node, ingress_ports  # noqa: E402
from serve.config.settings import load_settings  # noqa: E402
from serve.ingress.app import create_app  # noqa: E402
from serve.ingress.context import IngressPorts  # noqa: E402
from serve.ingress.server import AppServer  # noqa: E402


@asynccontextmanager
async def _closed() -> AsyncIterator[IngressPorts]:
    yield cast("IngressPorts", None)


async def _serve() -> int:
    """The status of an answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    limits = ingress_ports.ingress_limits(load_settings({}), Path("metrics"))
    server = AppServer(create_app(_closed, limits), listener, grace_s=1)
    await server.start()
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"GET /-/healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    reply = await reader.read()
    writer.close()
    await server.stop()
    return int(reply.split()[1])


if __name__ == "__main__":
    told = {
        "node": ingress_node.__name__,
        "status": asyncio.run(_serve()),
        "loaded": sorted(set(sys.modules) - _RAYS),
    }
    print(json.dumps(told))
