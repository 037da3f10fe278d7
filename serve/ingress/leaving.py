"""What is done for a client ends when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

from starlette.requests import Request
from starlette.types import Receive

from serve.domain.errors import PolymodalError

ResultT = TypeVar("ResultT")


class ClientLeft(Exception):
    """The connection is gone; nobody reads the reply."""


async def unless_left(request: Request, work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """The result of ``work``, which is cancelled when the client leaves.

    The body must have been read. Raises ``ClientLeft``, and what ``work`` raises.
    """
    try:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(client_left(request.receive))
            result = group.create_task(work)
            result.add_done_callback(lambda _: watcher.cancel())
    except* ClientLeft as left:
        raise left.exceptions[0] from None
    except* PolymodalError as refused:
        raise refused.exceptions[0] from None
    return result.result()


async def client_left(receive: Receive) -> NoReturn:
    """Raise ``ClientLeft`` when it does. The body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
    raise ClientLeft
