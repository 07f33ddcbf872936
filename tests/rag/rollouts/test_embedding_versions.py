"""A collection that another model embedded, as the collection of a variant."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.api.app import _warm
from rag.build.embedding import build_embedder
from rag.build.running import rolling_out
from rag.settings.retrieval import SentenceTransformersSettings
from retrieval.embedders.embedder import BertEmbedder
from tests.in_process import ingested, serving_here
from tests.rag.rollouts.test_variants import OPENS, by_variant, started
from tests.tiny_sentence import HIDDEN, bert

pytestmark = pytest.mark.anyio


async def test_a_reembedded_collection_is_switched_to_by_a_variant(
    folder: Path, embedder: BertEmbedder
) -> None:
    (folder / "tiny").mkdir()
    other = {"kind": "sentence_transformers", "model": str(bert(folder / "tiny"))}
    document = {"id": "office", "text": OPENS}
    tiny = build_embedder(SentenceTransformersSettings.model_validate(other))
    async with serving_here(folder / "data", tiny, embedder=other) as (http, _):  # type: ignore[arg-type]
        body = {"documents": [document], "collection": "default-2"}
        await ingested(http, await http.post("/v1/documents", json=body))
        assert tiny.dim == HIDDEN
    tiny.close()
    variants = {"tiny": {"embedder": other, "collections": {"default": "default-2"}}}
    opening = serving_here(folder / "data", embedder, variants=variants)
    async with opening as (http, service), rolling_out(service, None):
        await ingested(http, await http.post("/v1/documents", json={"documents": [document]}))
        await _warm(service)
        listed = (await http.get("/v1/rollouts")).json()["variants"]
        assert listed == [{"name": "tiny", "available": True, "problem": None}]
        await started(http, kind="flag", variant="tiny")
        answer = await by_variant(http, "tiny")
        assert [hit["document_id"] for hit in answer["hits"]] == ["office"]
        assert answer["degraded"] == []
