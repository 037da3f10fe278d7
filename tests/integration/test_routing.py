"""The request router on a real Serve: one home per key, room for bursts, and life after a death."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.scripts import told_by


@pytest.fixture(scope="module")
def seen() -> Any:
    return told_by("tests.integration.routed_graph")


def test_calls_of_one_key_go_to_one_replica(seen: dict[str, Any]) -> None:
    assert all(len(owners) == 1 for owners in seen["before"].values())
    assert len({owners[0] for owners in seen["before"].values()}) > 1


def test_a_burst_of_one_key_spreads_as_far_as_it_must(seen: dict[str, Any]) -> None:
    assert sum(seen["spilled"]) == 24
    assert len(seen["spilled"]) == 3
    # 1.25 times the average of 8, plus one, plus the call that was let in.
    assert max(seen["spilled"]) <= 12


def test_calls_without_a_key_use_all_replicas(seen: dict[str, Any]) -> None:
    assert seen["keyless"] == 3


def test_only_the_keys_of_a_dead_replica_move(seen: dict[str, Any]) -> None:
    for key, [owner] in seen["before"].items():
        if owner == seen["victim"]:
            assert seen["victim"] not in seen["after"][key]
        else:
            # Its replacement may take its share over while we ask.
            assert owner in seen["after"][key]
