"""``/api/v1/provenance`` and an asset's lineage, on the wire."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from serve.domain.media import Making, MediaRef
from serve.domain.provenance import ProvenanceReport
from serve.protocol.native import AssetView


class ActionView(BaseModel):
    """One step of a medium's making, in C2PA's words."""

    action: str
    software_agent: str
    digital_source_type: str
    parameters: dict[str, str]


class IngredientView(BaseModel):
    """What a medium says it was made from."""

    title: str
    mime_type: str
    relationship: str


class ProblemView(BaseModel):
    """A check that failed, by its C2PA code."""

    code: str
    explanation: str


class ProvenanceView(BaseModel):
    """What a file's manifest says and whether it holds.

    ``signed`` false: there is no manifest, which proves nothing either way. ``valid``: neither
    file nor manifest was changed. ``signed_by_us``: with this deployment's key.
    """

    signed: bool
    valid: bool
    signed_by_us: bool
    issuer: str
    claim_generator: str
    title: str
    actions: list[ActionView]
    ingredients: list[IngredientView]
    problems: list[ProblemView]

    @classmethod
    def of(cls, report: ProvenanceReport) -> ProvenanceView:
        """From the domain."""
        return cls(
            signed=report.is_signed,
            valid=report.is_valid,
            signed_by_us=report.is_ours,
            issuer=report.issuer,
            claim_generator=report.claim_generator,
            title=report.title,
            actions=[
                ActionView(
                    action=step.action,
                    software_agent=step.software_agent,
                    digital_source_type=step.digital_source_type,
                    parameters=step.parameters or {},
                )
                for step in report.actions
            ],
            ingredients=[
                IngredientView(
                    title=each.title, mime_type=each.mime_type, relationship=each.relationship
                )
                for each in report.ingredients
            ],
            problems=[
                ProblemView(code=each.code, explanation=each.explanation)
                for each in report.problems
            ],
        )


class MakingView(BaseModel):
    """How an asset came to be here, as our own database knows it."""

    action: str
    model: str
    recipe: dict[str, Any]

    @classmethod
    def of(cls, making: Making) -> MakingView:
        """From the domain."""
        return cls(action=making.action, model=making.model, recipe=making.recipe)


class LineageView(BaseModel):
    """What an asset was made from and what was made from it. ``making`` None: it was uploaded."""

    asset: AssetView
    making: MakingView | None
    parents: list[AssetView]
    children: list[AssetView]

    @classmethod
    def of(
        cls, media: MediaRef, parents: list[MediaRef], children: tuple[MediaRef, ...]
    ) -> LineageView:
        """From the domain."""
        return cls(
            asset=AssetView.of(media),
            making=MakingView.of(media.making) if media.making else None,
            parents=[AssetView.of(each) for each in parents],
            children=[AssetView.of(each) for each in children],
        )
