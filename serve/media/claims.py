"""What is said of a medium made here, as C2PA's manifest definition; and what a reader found.

Source: https://spec.c2pa.org (C2PA 2.x) and the JSON of the ``c2pa`` library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from serve.domain.media import Making, MediaRef
from serve.domain.provenance import (
    ProvenanceAction,
    ProvenanceIngredient,
    ProvenanceProblem,
    ProvenanceReport,
)

_SOURCE_TYPES: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_MADE: Final = f"{_SOURCE_TYPES}trainedAlgorithmicMedia"
_MIXED: Final = f"{_SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"
_EDITED: Final = "c2pa.edited"
# Reverse-domain labels of our own, as C2PA wants them.
_PROMPT_HASH: Final = "org.polymodal.prompt_sha256"
_RECIPE: Final = "org.polymodal.recipe"
_PROMPT_KEYS: Final = ("prompt", "input", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignJob:
    """Head of a request to sign; the medium and its parents follow, one behind the other."""

    definition: dict[str, Any]
    mime_type: str
    n_bytes: int
    parents: list[dict[str, Any]]
    parent_types: list[str]
    parent_bytes: list[int]
    private_key: str
    chain: str
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadJob:
    """Head of a request to read; the file follows. ``root``: the certificate that is ours."""

    root: str
    cpu_s: float


def claim_of(making: Making, mime_type: str, *, tells_recipe: bool) -> dict[str, Any]:
    """The manifest's definition, without its ingredients.

    The prompt itself stays out unless ``tells_recipe``: a hash of it lets its owner prove it.
    """
    ids = [_instance_id(parent) for parent in making.parents]
    is_edit = making.action == _EDITED and bool(ids)
    step: dict[str, Any] = {
        "action": making.action,
        "digitalSourceType": _MIXED if is_edit else _MADE,
        "softwareAgent": {"name": making.model},
        "parameters": _parameters(making, tells_recipe=tells_recipe),
    }
    if is_edit:
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ids[:1]}}
        actions = [opened, step]
    else:
        actions = [step]
    return {
        "claim_generator_info": [{"name": "Polymodal", "version": version("polymodal")}],
        "format": mime_type,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
    }


def ingredients_of(making: Making, parents: Sequence[MediaRef]) -> list[dict[str, Any]]:
    """The parents' definitions, in order: what was edited is a parent, all else is an input."""
    is_edit = making.action == _EDITED
    return [
        {
            "title": parent.filename or parent.asset_id,
            "format": parent.mime_type,
            "instance_id": _instance_id(parent.asset_id),
            "relationship": "parentOf" if is_edit and index == 0 else "inputTo",
        }
        for index, parent in enumerate(parents)
    ]


def _instance_id(asset_id: str) -> str:
    return f"polymodal:{asset_id}"


def _parameters(making: Making, *, tells_recipe: bool) -> dict[str, Any]:
    prompts = [making.recipe[key] for key in _PROMPT_KEYS if key in making.recipe]
    found: dict[str, Any] = {}
    if prompts:
        found[_PROMPT_HASH] = hashlib.sha256(str(prompts[0]).encode()).hexdigest()
    if tells_recipe:
        found[_RECIPE] = json.dumps(making.recipe, sort_keys=True)
    return found


# --- reading ----------------------------------------------------------------------------------


def report_of(store: dict[str, Any]) -> ProvenanceReport:
    """From the library's JSON of a manifest store whose only trust anchor is ours."""
    manifest = store["manifests"][store["active_manifest"]]
    signature = manifest.get("signature_info", {})
    generators = manifest.get("claim_generator_info") or [{}]
    state = store.get("validation_state", "")
    return ProvenanceReport(
        is_signed=True,
        is_valid=state in ("Valid", "Trusted"),
        is_ours=state == "Trusted",
        issuer=_text(signature.get("issuer")),
        claim_generator=_text(generators[0].get("name")),
        title=_text(manifest.get("title")),
        actions=tuple(_actions(manifest.get("assertions", ()))),
        ingredients=tuple(
            ProvenanceIngredient(
                title=_text(each.get("title")),
                mime_type=_text(each.get("format")),
                relationship=_text(each.get("relationship")),
            )
            for each in manifest.get("ingredients", ())
        ),
        problems=tuple(_problems(store.get("validation_results", {}))),
    )


def _actions(assertions: Iterable[dict[str, Any]]) -> Iterable[ProvenanceAction]:
    for assertion in assertions:
        if not assertion.get("label", "").startswith("c2pa.actions"):
            continue
        for step in assertion["data"].get("actions", ()):
            agent = step.get("softwareAgent", "")
            parameters = step.get("parameters", {})
            yield ProvenanceAction(
                action=_text(step.get("action")),
                software_agent=_text(agent.get("name") if isinstance(agent, dict) else agent),
                digital_source_type=_text(step.get("digitalSourceType")).rpartition("/")[2],
                parameters={
                    name: _text(value)
                    for name, value in parameters.items()
                    if isinstance(value, str | int | float)
                },
            )


def _problems(results: dict[str, Any]) -> Iterable[ProvenanceProblem]:
    groups = [results.get("activeManifest", {})]
    groups += [each.get("validationDeltas", {}) for each in results.get("ingredientDeltas", ())]
    for group in groups:
        for failure in group.get("failure", ()):
            yield ProvenanceProblem(
                code=_text(failure.get("code")), explanation=_text(failure.get("explanation"))
            )


def _text(value: object) -> str:
    """Strangers write these: any length, any type."""
    return "" if value is None else str(value)[:1000]
