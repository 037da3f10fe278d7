"""``polymodal train``: make the models that no package ships."""

from __future__ import annotations

import argparse
import subprocess
import sys

from serve.config.settings import Settings


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare ``train``. It reads its own words, where the training code is."""
    # No option starts with "+": all words, --help too, belong to the training.
    command = commands.add_parser(
        "train", help="train emoji-flow, the small picture model", add_help=False, prefix_chars="+"
    )
    command.add_argument("words", nargs=argparse.REMAINDER)
    command.set_defaults(run=run_train)


def run_train(options: argparse.Namespace, settings: Settings) -> int:
    """Train in a process of its own; its exit code."""
    here = f"--models-dir={settings.models_dir}"
    command = [sys.executable, "-m", "deployments.painting.training", here, *options.words]
    return subprocess.run(command, check=False).returncode
