"""What comes from one microphone: where turns are in it, and what is said in them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from serve.domain.errors import MediaTooLarge, PolymodalError
from serve.domain.messages import Transcript
from serve.domain.ports import VoiceListener
from serve.domain.realtime import FRAME_MS, Turn, TurnDetector, WireFormat
from serve.media.pcm import SPEECH_RATE_HZ, WireReader
from serve.protocol.realtime import TurnDetection

MAX_TURN_S: Final = 300
_BYTES_PER_MS: Final = SPEECH_RATE_HZ * 2 // 1000
# More at once is heard in a thread: a frame takes 0.1 to 0.2 ms.
_MAX_BYTES_ON_LOOP: Final = 8 * FRAME_MS * _BYTES_PER_MS
_KEPT_SILENCE_MS: Final = 3_000
_PARTIAL_EVERY_MS: Final = 700
_LEAST_PARTIAL_MS: Final = 600


class Ear:
    """The sound of a session, in milliseconds since its first."""

    def __init__(self, listener: VoiceListener) -> None:
        self._listener = listener
        self._form = WireFormat.PCM
        self._reader = WireReader(self._form)
        self._detection: TurnDetection | None = None
        self._detector: TurnDetector | None = None
        self._pcm = bytearray()
        self._start_ms = 0
        # Of the detector's first frame, and of the end of the last one that was heard.
        self._detector_ms = 0
        self._heard_ms = 0

    def configure(self, form: WireFormat, detection: TurnDetection | None) -> None:
        """Listen in this form and find turns in this way from now on."""
        if form is not self._form:
            self._form, self._reader = form, WireReader(form)
        if detection != self._detection:
            self._detection = detection
            self._detect_anew()

    def _detect_anew(self) -> None:
        self._detector_ms = self._heard_ms
        detection = self._detection
        self._detector = (
            None if detection is None else TurnDetector(detection.threshold, detection.silence_ms)
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept."""
        return not self._pcm

    async def append(self, content: bytes) -> list[float]:
        """Keep sound. Returns what ``feed`` is to be given. Raises ``MediaTooLarge``."""
        pcm = self._reader.push(content)
        kept_ms = (len(self._pcm) + len(pcm)) / _BYTES_PER_MS
        if self._detector is None and kept_ms > MAX_TURN_S * 1000:
            raise MediaTooLarge(
                f"more than {MAX_TURN_S} s in the buffer; commit or clear it", limit=MAX_TURN_S
            )
        self._pcm += pcm
        if len(pcm) > _MAX_BYTES_ON_LOOP:
            speech = await asyncio.to_thread(self._listener.hear, pcm)
        else:
            speech = self._listener.hear(pcm)
        return list(speech)

    def feed(self, probability: float) -> Turn | None:
        """Take the next frame of what was appended."""
        self._heard_ms += FRAME_MS
        if self._detector is None:
            return None
        turn = self._detector.feed(probability)
        if not self._detector.is_speech and turn is not Turn.ENDED:
            self._forget_before(self._heard_ms - _KEPT_SILENCE_MS)
        return turn

    @property
    def is_too_long(self) -> bool:
        """Whether the turn has lasted as long as one may."""
        detector = self._detector
        return (
            detector is not None
            and detector.is_speech
            and self._heard_ms - self.began_ms > MAX_TURN_S * 1000
        )

    @property
    def began_ms(self) -> int:
        """Where the current or last turn begins, with what is kept before it."""
        if self._detector is None or self._detection is None:
            return self._start_ms
        began_ms = self._detector_ms + self._detector.began_ms - self._detection.prefix_padding_ms
        return max(self._start_ms, began_ms)

    @property
    def ended_ms(self) -> int:
        """Where the last turn ended."""
        detector = self._detector
        if detector is None or detector.is_speech:
            return self._heard_ms
        return min(self._heard_ms, self._detector_ms + detector.ended_ms)

    def current(self) -> bytes:
        """The turn that is being said, so far."""
        return self._between(self.began_ms, self._heard_ms)

    def take_turn(self) -> bytes:
        """The turn that has ended; it is kept no longer."""
        pcm = self._between(self.began_ms, self.ended_ms)
        end_ms = self.ended_ms
        if self._detector is not None and self._detector.is_speech:
            self._detect_anew()
        self._forget_before(end_ms)
        return pcm

    def take_all(self) -> bytes:
        """Everything that is kept, which ends any turn; it is kept no longer."""
        pcm = bytes(self._pcm)
        self._start_ms += len(pcm) // _BYTES_PER_MS
        self._pcm.clear()
        self._detect_anew()
        return pcm

    def _between(self, start_ms: int, end_ms: int) -> bytes:
        first, last = (max(0, each - self._start_ms) * _BYTES_PER_MS for each in (start_ms, end_ms))
        return bytes(self._pcm[first:last])

    def _forget_before(self, at_ms: int) -> None:
        n_ms = min(at_ms - self._start_ms, len(self._pcm) // _BYTES_PER_MS)
        if n_ms > 0:
            del self._pcm[: n_ms * _BYTES_PER_MS]
            self._start_ms += n_ms


Transcribe = Callable[[bytes], Awaitable[Transcript]]
Tell = Callable[[str], Awaitable[None]]


class Hearing:
    """What one turn says, listened to again and again while it is being said.

    One transcription runs at a time. Words are told once two in a row agree on them.
    """

    def __init__(self, group: asyncio.TaskGroup, transcribe: Transcribe, tell: Tell | None) -> None:
        self._group = group
        self._transcribe = transcribe
        self._tell = tell
        self._partial: asyncio.Task[None] | None = None
        self._guess: asyncio.Task[Transcript] | None = None
        self._heard_ms = 0
        self._last: list[str] = []
        self._n_told = 0

    def grow(self, pcm: Callable[[], bytes], at_ms: int) -> None:
        """There is more of the turn. Nobody is told before there is something to agree on."""
        is_due = at_ms - self._heard_ms >= _PARTIAL_EVERY_MS
        if self._tell is None or self._is_busy or not is_due:
            return
        so_far = pcm()
        if len(so_far) >= _LEAST_PARTIAL_MS * _BYTES_PER_MS:
            self._heard_ms = at_ms
            self._partial = self._group.create_task(self._hear(so_far, self._tell))

    @property
    def _is_busy(self) -> bool:
        return self._guess is not None or not (self._partial is None or self._partial.done())

    def guess(self, pcm: bytes) -> None:
        """The turn may be over: begin with what would be its transcript."""
        self._guess = self._group.create_task(self._attempt(pcm))

    def drop_guess(self) -> None:
        """It was not over."""
        if self._guess is not None:
            self._guess.cancel()
            self._guess = None

    async def finish(self, pcm: bytes) -> Transcript:
        """The transcript of the whole turn. Raises what listening raised."""
        if self._guess is not None:
            heard = await self._guess
            if heard is not _FAILED:
                return heard
        return await self._transcribe(pcm)

    async def _attempt(self, pcm: bytes) -> Transcript:
        try:
            return await self._transcribe(pcm)
        except PolymodalError:
            # Whoever needs it tries again and hears why.
            return _FAILED

    async def _hear(self, pcm: bytes, tell: Tell) -> None:
        with suppress(PolymodalError):
            words = (await self._transcribe(pcm)).text.split()
            agreed = _n_agreed(self._last, words)
            self._last = words
            if agreed > self._n_told:
                new = " ".join(words[self._n_told : agreed])
                lead = " " if self._n_told else ""
                self._n_told = agreed
                await tell(lead + new)


_FAILED: Final = Transcript(text="", language="")


def _n_agreed(before: list[str], now: list[str]) -> int:
    """How many words both begin with, whatever their punctuation."""
    count = 0
    for one, other in zip(before, now, strict=False):
        if _bare(one) != _bare(other):
            break
        count += 1
    return count


def _bare(word: str) -> str:
    return "".join(letter for letter in word.casefold() if letter.isalnum())
