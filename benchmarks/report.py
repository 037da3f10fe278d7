"""Where and on what something was measured, and how it is kept."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

_RESULTS = Path(__file__).with_name("results")


def machine() -> dict[str, object]:
    """What the numbers depend on beside the code."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "n_cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_1_min": os.getloadavg()[0],
    }


def commit() -> str:
    """The commit that was measured, marked when the tree had changes; "unknown" without git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=_RESULTS.parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "unknown"
    return described.stdout.strip() or "unknown"


def keep(name: str, numbers: dict[str, object]) -> Path:
    """Write ``results/<day>-<name>.json``, replacing the day's earlier one."""
    now = datetime.now(UTC)
    path = _RESULTS / f"{now:%Y-%m-%d}-{name}.json"
    path.parent.mkdir(exist_ok=True)
    content = {
        "scenario": name,
        "measured_at": now.isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        **numbers,
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path
