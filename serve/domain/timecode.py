"""Times as players show them."""

from __future__ import annotations


def clock(at_s: float) -> str:
    """Minutes and seconds: 1:07."""
    return f"{int(at_s) // 60}:{int(at_s) % 60:02d}"


def span(start_s: float, end_s: float) -> str:
    """From when to when; one time where both look the same."""
    start, end = clock(start_s), clock(end_s)
    return start if start == end else f"{start}-{end}"
