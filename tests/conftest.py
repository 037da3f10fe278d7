"""Fixtures of all areas; each file of ``tests/fixtures`` says what its own are for."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about us.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

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
