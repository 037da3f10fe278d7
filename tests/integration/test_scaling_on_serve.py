"""The scaling policy on a real Serve, with replicas that report what a file tells them."""

from __future__ import annotations

from tests.fixtures.scripts import told_by


def test_replicas_follow_the_reported_load_up_and_down() -> None:
    counts = told_by("tests.integration.scaled_graph")
    at_start, between_the_marks, busy, still_used, idle = counts
    assert (at_start, between_the_marks, busy, still_used, idle) == (1, 1, 2, 2, 1)
