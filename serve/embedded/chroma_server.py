"""``chroma run`` without importing the rest of chromadb, which takes three seconds.

``python -m serve.embedded.chroma_server FOLDER PORT``
"""

from __future__ import annotations

import sys

import chromadb_rust_bindings


def main(folder: str, port: str) -> None:
    """Serve until told to stop."""
    chromadb_rust_bindings.cli(
        ["chroma", "run", "--path", folder, "--host", "127.0.0.1", "--port", port]
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
