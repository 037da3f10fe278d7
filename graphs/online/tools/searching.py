"""``file_search``: what the caller's own media say about a question."""

from __future__ import annotations

from typing import Final

import orjson

from graphs.online.assemble import notes_of
from graphs.online.tools.registry import Asked, Outcome
from serve.domain.asks import Perceiving, Watch
from serve.domain.errors import NotFound
from serve.domain.messages import Progress, Stage, TextBatch, ToolSpec
from serve.domain.ports import Assets, TextEncoder
from serve.domain.records import JsonObject
from serve.protocol.server_tools import FILE_SEARCH

_USUAL_RESULTS: Final = 5
# Of each result: the model is to read them all.
_MAX_CHARS: Final = 800


class Searching:
    """Finds by meaning, in all that has been perceived for the caller."""

    spec: Final = ToolSpec(
        name=FILE_SEARCH,
        description=(
            "Search the user's own pictures, recordings, videos and documents. "
            "Call it when the answer may be in one of them."
        ),
        parameters_json=(
            '{"type":"object","properties":{"query":{"type":"string","minLength":1,'
            '"maxLength":400,"description":"What to look for."}},'
            '"required":["query"],"additionalProperties":false}'
        ),
    )
    stage: Final = Stage.SEARCHING
    makes_assets: Final = False
    node: Final = "TextEncoder"

    def __init__(self, texts: TextEncoder, perceiving: Perceiving, assets: Assets) -> None:
        self._texts = texts
        self._perceiving = perceiving
        self._assets = assets

    async def run(self, asked: Asked, watch: Watch) -> Outcome:
        """See ``ServerTool``."""
        query = asked.text("query")
        embedded = await self._texts.encode(TextBatch((query,), "query"))
        n = int(asked.options.get("max_num_results", _USUAL_RESULTS))
        vector = embedded.vectors[0].tolist()
        found = await self._perceiving.nearest(asked.caller.user_id, vector, n)
        await watch(Progress(0.5, query))
        results = [
            result
            for asset_id, score in found
            if (result := await self._result(asked, asset_id, score)) is not None
        ]
        return Outcome(orjson.dumps({"query": query, "results": results}).decode())

    async def _result(self, asked: Asked, asset_id: str, score: float) -> JsonObject | None:
        try:
            media = await self._assets.get(asked.caller, asset_id)
        except NotFound:
            # Deleted, and the index does not know yet.
            return None
        perception = await self._perceiving.recall(media)
        return {
            "file_id": asset_id,
            "filename": media.filename or asset_id,
            "score": round(max(0.0, min(1.0, score)), 4),
            "text": notes_of(perception)[:_MAX_CHARS] if perception else "",
            "attributes": {"kind": media.kind.value},
        }
