"""The built web client, served beside the API so that its cookie is first-party."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

_PAGES = ("", "setup", "sign-in", "c", "keys", "settings", "studio")


def install_webclient(app: FastAPI, folder: Path) -> None:
    """Serve hashed assets for ever and ``index.html`` for every page of the client's router."""
    app.mount("/assets", StaticFiles(directory=folder / "assets"), name="webclient-assets")

    @app.get("/{path:path}", include_in_schema=False)
    def page(path: str, request: Request) -> Response:
        root = folder.resolve()
        asked = (root / path).resolve()
        if path and asked.is_file() and asked.is_relative_to(root):
            return FileResponse(asked)
        if path.partition("/")[0] in ("api", "v1"):
            raise HTTPException(404)
        if "text/html" not in request.headers.get("accept", "*/*") and path not in _PAGES:
            raise HTTPException(404)
        return FileResponse(root / "index.html", headers={"cache-control": "no-cache"})
