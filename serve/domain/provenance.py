"""What a medium says of its own making, and whether that can be believed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceAction:
    """One step of a medium's making, in C2PA's words.

    ``digital_source_type`` is the last part of the IPTC address, such as
    "trainedAlgorithmicMedia"; empty when the step names none.
    """

    action: str
    software_agent: str = ""
    digital_source_type: str = ""
    parameters: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceIngredient:
    """What a medium was made from. ``relationship``: parentOf, componentOf or inputTo."""

    title: str
    mime_type: str
    relationship: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceProblem:
    """A check that failed, by its C2PA code, such as "assertion.dataHash.mismatch"."""

    code: str
    explanation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceReport:
    """What the manifest of a file says.

    ``is_signed``: there is a manifest. ``is_valid``: its signature and every hash hold, so
    neither the file nor the statement was changed. ``is_ours``: this deployment's key signed it.
    Anybody can make a valid manifest: whom to believe is what ``issuer`` is for.
    """

    is_signed: bool
    is_valid: bool = False
    is_ours: bool = False
    issuer: str = ""
    claim_generator: str = ""
    title: str = ""
    actions: tuple[ProvenanceAction, ...] = ()
    ingredients: tuple[ProvenanceIngredient, ...] = ()
    problems: tuple[ProvenanceProblem, ...] = ()
