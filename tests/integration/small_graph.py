"""The smallest thing that Serve can run, to test how graphs start and stop."""

# No future annotations import: Serve reads the annotation of ``build``.

import subprocess

from fastapi import FastAPI
from pydantic import BaseModel
from ray import serve as ray_serve


class AppArgs(BaseModel, extra="forbid"):
    marker: str


def create_app() -> FastAPI:
    app = FastAPI()

    @app.get("/readyz")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    return app


class Ingress:
    def __init__(self, marker: str) -> None:
        # Leaves its replica's session, as some engines' helpers do.
        self._stray = subprocess.Popen(["/bin/sleep", "100000"], start_new_session=True)
        self.marker = marker


def build(args: AppArgs) -> ray_serve.Application:
    node = ray_serve.deployment(name="Ingress")(ray_serve.ingress(create_app)(Ingress))
    return node.bind(args.marker)
