"""Calls that arrive while others are under way go together next time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Batcher(Generic[ItemT, ResultT]):
    """Joins concurrent calls of one event loop, with no task of its own and no waiting time.

    Whoever finds the way free runs what has gathered, for itself and for the others.
    ``run`` gives one result per item, in order; if it fails, all its items fail alike.
    """

    def __init__(
        self, run: Callable[[Sequence[ItemT]], Awaitable[Sequence[ResultT]]], *, max_items: int
    ) -> None:
        self._run = run
        self._max_items = max_items
        self._waiting: deque[tuple[ItemT, asyncio.Future[ResultT]]] = deque()
        self._free = asyncio.Lock()

    async def submit(self, item: ItemT) -> ResultT:
        """The result for one item."""
        answer: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        try:
            async with self._free:
                while not answer.done():
                    await self._run_next()
            return answer.result()
        finally:
            answer.cancel()

    async def _run_next(self) -> None:
        batch: list[tuple[ItemT, asyncio.Future[ResultT]]] = []
        while self._waiting and len(batch) < self._max_items:
            item, answer = self._waiting.popleft()
            if not answer.done():
                batch.append((item, answer))
        try:
            results = await self._run([item for item, _ in batch])
        except asyncio.CancelledError:
            # Only the caller that was running it left: the others take over.
            self._waiting.extendleft(reversed(batch))
            raise
        except Exception as error:  # noqa: BLE001 - handed to every caller of the batch
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), result in zip(batch, results, strict=True):
            if not answer.done():
                answer.set_result(result)
