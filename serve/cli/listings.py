"""Commands that only print: settings, models, the OpenAPI document."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap

from serve.config.settings import Settings, describe
from serve.registry.catalog import catalog


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare ``settings``, ``models`` and ``openapi``."""
    command = commands.add_parser("settings", help="every setting: value, default, meaning")
    command.set_defaults(run=run_settings)
    command = commands.add_parser("models", help="the catalog: licence and origin of every model")
    command.set_defaults(run=run_models)
    command = commands.add_parser("openapi", help="print the OpenAPI document as JSON")
    command.set_defaults(run=run_openapi)


def run_settings(_options: argparse.Namespace, settings: Settings) -> int:
    """Print the settings, secrets masked."""
    for row in describe(settings):
        print(f"{row.variable}={row.value}")
        print(_indented(f"{row.help} Default: {row.default}"))
    return 0


def run_models(_options: argparse.Namespace, settings: Settings) -> int:
    """Print the catalog of the profile."""
    for spec in catalog(settings.profile):
        print(f"{spec.name}  ({spec.role}, {spec.dtype}, {spec.quantization})")
        print(_indented(spec.description))
        print(_indented(f"Licence: {spec.licence}"))
        for source in spec.sources:
            print(_indented(f"Source: {source.name} {source.version}: {source.origin}"))
    return 0


def run_openapi(_options: argparse.Namespace, _settings: Settings) -> int:
    """Print the document from which the browser's types are generated."""
    from serve.ingress.app import openapi_document

    print(json.dumps(openapi_document(), indent=2, sort_keys=True))
    return 0


def _indented(text: str) -> str:
    width = max(shutil.get_terminal_size().columns, 40)
    return textwrap.fill(text, width=width, initial_indent="    ", subsequent_indent="      ")
