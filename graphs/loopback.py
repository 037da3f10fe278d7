"""Keeps the last of Ray Serve's servers, the replica's own, off the network.

Ray 2.60.0 binds the server for calls between deployments to every interface and offers no
setting; all its other servers follow the node's address. Ray runs ``install`` in each worker
before anything else (``worker_process_setup_hook``), so Serve finds the guarded function.
Remove this file once Ray binds that server to the node's address.
"""

from __future__ import annotations

from typing import Any

import ray._common.tls_utils as tls_utils

_EVERYWHERE = "[::]:"
_HERE = "127.0.0.1:"


def install() -> None:
    """Make gRPC servers that ask for every interface get loopback."""
    add_port = tls_utils.add_port_to_grpc_server

    def add_loopback_port(server: Any, address: str) -> int:
        port: int = add_port(server, address.replace(_EVERYWHERE, _HERE))
        return port

    tls_utils.add_port_to_grpc_server = add_loopback_port
