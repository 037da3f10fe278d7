"""The engine beside the bare server: no model, words at a fixed rate.

python -m benchmarks.load.bare_engine FD TOKENS_PER_S
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time

import orjson


def word(index: int) -> str:
    """Four characters that no neighbour repeats: some clients cut streams that do."""
    return f" {index * 7919 % 1000:03d}"


async def engine(fd: int, tokens_per_s: float) -> None:
    """Write the next word of every answer once per step.

    Lines in: ``[id, n_words]`` begins an answer, ``[id, 0]`` drops it. Lines out: one per step,
    ``{id: [word, is_last]}``.
    """
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=fd))
    left: dict[int, tuple[int, int]] = {}

    async def listen() -> None:
        while line := await reader.readline():
            name, n_words = orjson.loads(line)
            if n_words:
                left[name] = (0, n_words)
            else:
                left.pop(name, None)

    async def step() -> None:
        next_s = time.monotonic()
        while True:
            next_s += 1 / tokens_per_s
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))
            if left:
                writer.write(orjson.dumps([*_step(left)]) + b"\n")

    async with asyncio.TaskGroup() as group:
        stepping = group.create_task(step())
        await listen()
        stepping.cancel()


def _step(left: dict[int, tuple[int, int]]) -> list[tuple[int, str, bool]]:
    made = []
    for name, (index, n_words) in list(left.items()):
        is_last = index + 1 >= n_words
        made.append((name, word(index), is_last))
        if is_last:
            del left[name]
        else:
            left[name] = (index + 1, n_words)
    return made


if __name__ == "__main__":
    asyncio.run(engine(int(sys.argv[1]), float(sys.argv[2])))
