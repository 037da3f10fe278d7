"""Fixtures of all areas; each file of ``tests/fixtures`` says what its own are for."""

from __future__ import annotations

pytest_plugins = [
    "tests.fixtures.checkpoints",
    "tests.fixtures.database",
    "tests.fixtures.encoders",
    "tests.fixtures.hearing",
    "tests.fixtures.models",
    "tests.fixtures.running",
    "tests.fixtures.browsing",
    "tests.fixtures.stores",
]
