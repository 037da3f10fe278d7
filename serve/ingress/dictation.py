"""What a microphone hears, written down while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from serve.domain.errors import InvalidRequest
from serve.domain.messages import Transcript, TranscriptSegment
from serve.domain.ports import VoiceListener
from serve.domain.realtime import FRAME_MS, Turn, TurnDetector
from serve.ingress.realtime.listening import Hearing, Transcribe
from serve.media.pcm import SPEECH_RATE_HZ

_BYTES_PER_MS: Final = SPEECH_RATE_HZ * 2 // 1000
_MAX_MESSAGE_BYTES: Final = 1024 * 1024
# More at once is heard in a thread: a frame takes 0.1 to 0.2 ms.
_MAX_BYTES_ON_LOOP: Final = 8 * FRAME_MS * _BYTES_PER_MS
_THRESHOLD: Final = 0.5
_SILENCE_MS: Final = 600
_PREFIX_MS: Final = 250
_KEPT_SILENCE_MS: Final = 1_000
# Longer ones take several times as long to write down.
_MAX_STRETCH_MS: Final = 25_000
# Whoever sends faster than it can be written down, waits.
_MAX_UNWRITTEN: Final = 4

TellPartial = Callable[[float, str], Awaitable[None]]
TellSegment = Callable[[TranscriptSegment], Awaitable[None]]


class Dictation:
    """Writes down one stream of sound: signed 16-bit little-endian mono at 16 kHz.

    ``tell_partial`` gets where a stretch of speech begins and its words so far, ``tell_segment``
    each stretch in order, when it has ended.
    """

    def __init__(
        self,
        group: asyncio.TaskGroup,
        listener: VoiceListener,
        transcribe: Transcribe,
        tell_partial: TellPartial,
        tell_segment: TellSegment,
    ) -> None:
        self._group = group
        self._listener = listener
        self._transcribe = transcribe
        self._tell_partial = tell_partial
        self._tell_segment = tell_segment
        self._detector = TurnDetector(_THRESHOLD, _SILENCE_MS)
        self._pcm = bytearray()
        self._start_ms = 0
        self._now_ms = 0
        self._began_ms = 0
        self._hearing: Hearing | None = None
        self._partial = ""
        self._room = asyncio.Semaphore(_MAX_UNWRITTEN)
        self._in_order = asyncio.Lock()
        self._writing: set[asyncio.Task[None]] = set()

    @property
    def duration_s(self) -> float:
        """How much was heard."""
        return self._now_ms / 1000

    async def hear(self, pcm: bytes) -> None:
        """The next sound. Raises ``InvalidRequest`` for half samples, or too many of them."""
        if len(pcm) % 2 or len(pcm) > _MAX_MESSAGE_BYTES:
            raise InvalidRequest(
                "a message of sound is whole 16-bit samples, at most "
                f"{_MAX_MESSAGE_BYTES} bytes; this one has {len(pcm)}"
            )
        self._pcm += pcm
        if len(pcm) > _MAX_BYTES_ON_LOOP:
            speech = await asyncio.to_thread(self._listener.hear, pcm)
        else:
            speech = self._listener.hear(pcm)
        for probability in speech:
            self._now_ms += FRAME_MS
            await self._frame(self._detector.feed(probability))

    async def finish(self) -> None:
        """The microphone is off: wait until everything is written down."""
        if self._hearing is not None:
            await self._end(self._now_ms)
        while self._writing:
            await asyncio.wait(self._writing)

    async def _frame(self, turn: Turn | None) -> None:
        match turn:
            case Turn.BEGAN:
                self._begin(max(self._start_ms, self._detector.began_ms - _PREFIX_MS))
            case Turn.PAUSED if self._hearing is not None:
                self._hearing.guess(self._between(self._began_ms, self._now_ms))
            case Turn.RESUMED if self._hearing is not None:
                self._hearing.drop_guess()
            case Turn.ENDED:
                await self._end(min(self._now_ms, self._detector.ended_ms))
            case _:
                pass
        if self._hearing is None:
            self._forget_before(self._now_ms - _KEPT_SILENCE_MS)
        elif self._now_ms - self._began_ms >= _MAX_STRETCH_MS:
            await self._end(self._now_ms)
            self._begin(self._now_ms)
        else:
            now_ms = self._now_ms
            self._hearing.grow(lambda: self._between(self._began_ms, now_ms), now_ms)

    def _begin(self, at_ms: int) -> None:
        self._began_ms = at_ms
        self._partial = ""
        self._hearing = Hearing(self._group, self._transcribe, self._tell)

    async def _tell(self, words: str) -> None:
        self._partial += words
        await self._tell_partial(self._began_ms / 1000, self._partial)

    async def _end(self, ended_ms: int) -> None:
        hearing, self._hearing = self._hearing, None
        if hearing is None:
            return
        pcm = self._between(self._began_ms, ended_ms)
        self._forget_before(ended_ms)
        await self._room.acquire()
        task = self._group.create_task(self._write(hearing, pcm, self._began_ms, ended_ms))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, hearing: Hearing, pcm: bytes, began_ms: int, ended_ms: int) -> None:
        try:
            # First come, first served: an asyncio lock is fair.
            async with self._in_order:
                heard: Transcript = await hearing.finish(pcm)
                if heard.text:
                    segment = TranscriptSegment(began_ms / 1000, ended_ms / 1000, heard.text)
                    await self._tell_segment(segment)
        finally:
            self._room.release()

    def _between(self, start_ms: int, end_ms: int) -> bytes:
        first, last = (max(0, each - self._start_ms) * _BYTES_PER_MS for each in (start_ms, end_ms))
        return bytes(self._pcm[first:last])

    def _forget_before(self, at_ms: int) -> None:
        n_ms = min(at_ms - self._start_ms, len(self._pcm) // _BYTES_PER_MS)
        if n_ms > 0:
            del self._pcm[: n_ms * _BYTES_PER_MS]
            self._start_ms += n_ms
