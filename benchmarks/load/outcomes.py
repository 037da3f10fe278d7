"""What became of one request. Times are seconds of ``time.perf_counter`` unless they are spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

OK = "ok"


@dataclass(slots=True, kw_only=True)
class Outcome:
    """One request, answered or not.

    Attributes:
        intended_at_s: when the plan wanted it sent. Every latency counts from here, so that a
            client that comes late because the server is slow does not flatter the server.
        started_at_s: when it was sent.
        ended_at_s: when the last event was there, or when it was given up.
        kind: ``ok`` or why it failed, one of few words: ``connect``, ``broken``, ``timeout``,
            ``http_500``, ``rate_limited``, ``error_event:code``, ``incomplete``, ``sequence``,
            ``mismatch``, ``malformed``.
        frame_times_s: arrival of each piece of text; a piece may hold several tokens.
        n_refusals: replies 429 (or 503 with ``Retry-After``) that were waited out.
        n_resumes: broken streams that went on after a reconnection.
        n_sequence_faults: events that repeated or skipped a sequence number.
        queued_s: how long the server said that the request waits; None if it told nothing.
    """

    intended_at_s: float
    started_at_s: float
    ended_at_s: float = 0.0
    kind: str = OK
    detail: str = ""
    frame_times_s: Sequence[float] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    n_refusals: int = 0
    n_resumes: int = 0
    n_sequence_faults: int = 0
    queued_s: float | None = None
    n_bytes: int = 0
    text: str = ""
    response_id: str = ""
    turn: int = 0
    media: tuple[str, ...] = ()

    @property
    def is_ok(self) -> bool:
        """Answered whole."""
        return self.kind == OK

    @property
    def ttft_s(self) -> float:
        """To the first text; to the whole answer where it is not streamed."""
        first = self.frame_times_s[0] if len(self.frame_times_s) else self.ended_at_s
        return first - self.intended_at_s

    @property
    def total_s(self) -> float:
        """To the end of the answer."""
        return self.ended_at_s - self.intended_at_s

    @property
    def gaps_s(self) -> list[float]:
        """Between one piece of text and the next."""
        return [later - earlier for earlier, later in pairwise(self.frame_times_s)]

    @property
    def tpot_s(self) -> float | None:
        """Mean time per output token after the first; None for answers of one token."""
        times = self.frame_times_s
        if len(times) < 2 or self.output_tokens < 2:
            return None
        return (times[-1] - times[0]) / (self.output_tokens - 1)


@dataclass(frozen=True, slots=True)
class Measured:
    """All requests of one round.

    Attributes:
        wall_s: from the first intended start to the last end.
        lag_s: how late the client itself was in starting, at worst; large means that the load
            tester is the bottleneck.
    """

    outcomes: Sequence[Outcome]
    wall_s: float
    lag_s: float = 0.0
