"""Worker processes that decode media, kept warm, killed when they take too much."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import serve.media
from serve.media.frames import (
    MAX_HEAD_BYTES,
    PIECE,
    PREFIX,
    READY,
    Done,
    Part,
    Refused,
    packed,
    part_or_answer_from,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# No sanitised file is larger: 40 megapixels as an incompressible RGBA picture.
_MAX_ANSWER_BYTES = 256 * 1024 * 1024
_GOODBYE_S = 2.0
# Imports take a quarter of a second; on a starved machine, much longer.
_START_S = 60.0


class WorkerLost(Exception):
    """A worker was killed at a limit, or said something it should not."""


class Sandbox:
    """Up to ``max_workers`` processes at once; each serves ``jobs_per_worker`` jobs, then leaves.

    A fresh worker costs about a quarter of a second, a warm one a fraction of a millisecond.
    """

    def __init__(
        self,
        *,
        memory_bytes: int,
        timeout_s: float,
        max_workers: int,
        worker_env: Mapping[str, str],
        jobs_per_worker: int = 200,
        module: str = "serve.media.worker",
    ) -> None:
        """Nothing starts yet. ``worker_env`` is all of the environment that workers see.

        ``module`` is what they run: a call of ``serve.media.worker_loop.serve_jobs``.
        """
        self._memory_bytes = memory_bytes
        self._timeout_s = timeout_s
        self._worker_env = worker_env
        self._jobs_per_worker = jobs_per_worker
        self._module = module
        self._slots = asyncio.Semaphore(max_workers)
        self._idle: list[_Worker] = []

    async def warm_up(self) -> None:
        """Have one worker ready before the first job."""
        if not self._idle:
            self._idle.append(await self._start_worker())

    async def aclose(self) -> None:
        """Let idle workers go. Those at work go with their jobs."""
        while self._idle:
            await self._idle.pop().leave()

    async def run(self, job: DataclassInstance, content: bytes) -> tuple[Done | Refused, bytes]:
        """Give one file to a worker.

        Raises ``TimeoutError`` when it takes too long, ``WorkerLost`` when it dies of it.
        """
        async with self._slots:
            worker = self._take_idle()
            if worker is not None:
                try:
                    return await self._run_on(worker, job, content)
                except WorkerLost:
                    # It may have died of an earlier file: only a fresh one can tell.
                    pass
            return await self._run_on(await self._start_worker(), job, content)

    async def stream(
        self, job: DataclassInstance, content: bytes
    ) -> AsyncGenerator[tuple[Part | Done | Refused, bytes], None]:
        """Give one file to a fresh worker that answers in parts; the last one is no ``Part``.

        Closing this kills the worker. Raises like ``run``; the time limit holds for each part.
        """
        async with self._slots:
            worker = await self._start_worker()
            try:
                async with asyncio.timeout(self._timeout_s):
                    await worker.tell(job, content)
                while True:
                    async with asyncio.timeout(self._timeout_s):
                        answer = await worker.hear()
                    yield answer
                    if not isinstance(answer[0], Part):
                        break
            finally:
                await worker.kill()

    @property
    def has_room(self) -> bool:
        """Whether the next file need not wait for others."""
        return not self._slots.locked()

    async def follow(
        self,
        job: DataclassInstance,
        pieces: AsyncIterator[bytes],
        take: Callable[[Part, bytes], None],
    ) -> Done | Refused:
        """Give a file to a fresh worker while it arrives; ``take`` gets the parts of the answer.

        Reads ``pieces`` to their end, however soon the worker is done. The time limit holds for
        each piece and for what the end leaves to do. Raises like ``run``, and what ``pieces``
        and ``take`` raise.
        """
        async with self._slots:
            worker = await self._start_worker()
            try:
                async with asyncio.TaskGroup() as group:
                    answering = group.create_task(_answered(worker, take))
                    await self._feed(worker, job, pieces, answering)
                    async with asyncio.timeout(self._timeout_s):
                        await answering
            except* Exception as failed:  # noqa: BLE001 - one task's failure, as it was
                raise failed.exceptions[0] from None
            finally:
                await worker.kill()
        return answering.result()

    async def _feed(
        self,
        worker: _Worker,
        job: DataclassInstance,
        pieces: AsyncIterator[bytes],
        answering: asyncio.Task[Done | Refused],
    ) -> None:
        """A worker that is lost is for ``answering`` to tell."""
        with suppress(WorkerLost):
            await worker.tell(job, b"")
        async for piece in pieces:
            if piece and not answering.done():
                await self._feed_piece(worker, piece)
        await self._feed_piece(worker, b"")

    async def _feed_piece(self, worker: _Worker, piece: bytes) -> None:
        with suppress(WorkerLost):
            async with asyncio.timeout(self._timeout_s):
                await worker.tell_piece(piece)

    async def _run_on(
        self, worker: _Worker, job: DataclassInstance, content: bytes
    ) -> tuple[Done | Refused, bytes]:
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await worker.ask(job, content)
        except BaseException:
            # Also when our own caller left: nobody would read the answer.
            await worker.kill()
            raise
        if worker.n_jobs < self._jobs_per_worker:
            self._idle.append(worker)
        else:
            await worker.leave()
        return answer

    def _take_idle(self) -> _Worker | None:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive:
                return worker
        return None

    async def _start_worker(self) -> _Worker:
        # Only our own code's folder and what the caller allows: no secrets of this process.
        env = {"PYTHONPATH": str(Path(serve.media.__file__).parents[2]), **self._worker_env}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-s",
            "-P",
            "-m",
            self._module,
            str(self._memory_bytes),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=env,
            # A signal for our process group is for us to act on.
            start_new_session=True,
            limit=1024 * 1024,
        )
        worker = _Worker(process)
        try:
            async with asyncio.timeout(_START_S):
                await worker.wait_ready()
        except BaseException:
            await worker.kill()
            raise
        return worker


async def _answered(worker: _Worker, take: Callable[[Part, bytes], None]) -> Done | Refused:
    """Until the last answer; then there is no use for the worker."""
    while True:
        head, content = await worker.hear()
        if not isinstance(head, Part):
            await worker.kill()
            return head
        try:
            take(head, content)
        except ValueError as exc:
            raise WorkerLost("it answered nonsense") from exc


class _Worker:
    """One process. Whoever holds it has it alone."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise WorkerLost("started without pipes")
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self.n_jobs = 0

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    async def wait_ready(self) -> None:
        if await self._stdout.read(len(READY)) != READY:
            raise WorkerLost("it did not start")

    async def ask(self, job: DataclassInstance, content: bytes) -> tuple[Done | Refused, bytes]:
        await self.tell(job, content)
        head, sanitized = await self.hear()
        if isinstance(head, Part):
            raise WorkerLost("it answered in parts")
        return head, sanitized

    async def tell(self, job: DataclassInstance, content: bytes) -> None:
        self.n_jobs += 1
        await self._write(*packed(job, content))

    async def tell_piece(self, piece: bytes) -> None:
        """More of a file that is arriving; nothing: that was all."""
        await self._write(PIECE.pack(len(piece)), piece)

    async def _write(self, *parts: bytes) -> None:
        try:
            for part in parts:
                self._stdin.write(part)
            await self._stdin.drain()
        except OSError as exc:
            raise WorkerLost(f"it ended: {type(exc).__name__}") from exc

    async def hear(self) -> tuple[Part | Done | Refused, bytes]:
        try:
            head_bytes, content_bytes = PREFIX.unpack(await self._stdout.readexactly(PREFIX.size))
            if head_bytes > MAX_HEAD_BYTES or content_bytes > _MAX_ANSWER_BYTES:
                raise WorkerLost("its answer is too long")
            head = part_or_answer_from(await self._stdout.readexactly(head_bytes))
            return head, await self._stdout.readexactly(content_bytes)
        except (OSError, EOFError, ValueError) as exc:
            raise WorkerLost(f"it ended or answered nonsense: {type(exc).__name__}") from exc

    async def leave(self) -> None:
        """End in peace, or else."""
        self._stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self._process.wait()
                return
        await self.kill()

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._stdin.close()
