"""Videos watched by replicas in processes of their own."""

from __future__ import annotations

import pytest

from tests.fixtures.scripts import told_by


def test_steps_cross_processes_and_closing_reaches_the_last_of_them() -> None:
    told = told_by("tests.integration.watched_graph")
    assert told["shots"] == pytest.approx([0, 1, 2], abs=0.15)
    assert told["progress"]
    assert told["has_sound"]
    assert told["end"] == "cancelled"
