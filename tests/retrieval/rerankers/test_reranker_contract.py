"""The contract of `Reranker`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.offline.stage_cache import CachedReranker, SharedStages
from rag.protocols import Reranker
from rag.text.passages import passage_text
from rag.types import Query, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.embedders.embedder import ColbertModel
from retrieval.embedders.token_cache import TokenCache
from retrieval.rerankers.colbert import ColbertReranker
from retrieval.rerankers.cross_encoder import CrossEncoderReranker
from retrieval.rerankers.http import HttpReranker
from retrieval.rerankers.late_interaction import LateInteraction
from retrieval.rerankers.onnx_cross_encoder import OnnxCrossEncoder
from tests.fakes import HashEmbedder, MemoryIndex, make_chunk, make_points
from tests.model_server import PATIENCE, model_server
from tests.tiny_bert import make_tiny_judge
from tests.weights import colbert, weights

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

TEXTS = ["the cat sat", "a dog runs", "cat", "", "the dog sat by a cat"]
CHUNKS = [make_chunk(text, position=i) for i, text in enumerate(TEXTS)]


def judge(handler: BaseHTTPRequestHandler) -> None:
    """Answers as a reranker's server; a score is the number of words shared with the question."""
    state: Any = handler
    asked = state.server_state.requests[-1]
    words = set(asked["query"].split())
    results = [
        {"index": i, "relevance_score": float(len(words & set(text.split())))}
        for i, text in enumerate(asked["documents"])
    ]
    body = json.dumps({"results": results}).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


async def late_interaction(scope: Scope, *, stored: bool) -> LateInteraction:
    index = MemoryIndex()
    await index.upsert(scope, make_points(CHUNKS[:2], by_token=True))
    return LateInteraction(
        embedder=HashEmbedder(), encoder=Bm25Encoder(), index=index, stored=stored
    )


@contextlib.asynccontextmanager
async def opened(kind: str, scope: Scope, folder: Path) -> AsyncIterator[Reranker]:
    match kind:
        case "late":
            yield await late_interaction(scope, stored=False)
        case "stored":
            yield await late_interaction(scope, stored=True)
        case "cached":
            inner = await late_interaction(scope, stored=False)
            yield CachedReranker(inner, SharedStages(folder), fingerprint="1")
        case "cross_encoder":
            words = sorted({word for text in TEXTS for word in text.split()})
            checkpoint = make_tiny_judge(folder / "judge", words, num_labels=1)
            reader = CrossEncoderReranker(
                str(checkpoint), library="sentence_transformers", device="cpu"
            )
            yield reader
            reader.close()
        case "onnx":
            graph = OnnxCrossEncoder(str(weights("reranker_en")))
            yield graph
            graph.close()
        case "onnx_colbert":
            model = ColbertModel(str(colbert(folder / "colbert")))
            yield ColbertReranker(TokenCache(model, max_bytes=1 << 20))
            model.close()
        case _:
            with model_server(judge) as server:
                remote = HttpReranker(
                    f"{server.url}/v1/rerank",
                    dialect="cohere",
                    model="judge",
                    api_key=None,
                    seconds=PATIENCE,
                )
                yield remote
                await remote.close()


@pytest.mark.parametrize(
    "kind", ["late", "stored", "cached", "cross_encoder", "onnx", "onnx_colbert", "http"]
)
async def test_each_chunk_gets_a_score_that_does_not_depend_on_the_others(
    kind: str, scope: Scope, folder: Path
) -> None:
    query = Query(text="the cat", scope=scope)
    async with opened(kind, scope, folder) as reranker:
        scores = await reranker.score(query, CHUNKS)
        assert scores.dtype == np.float32
        assert scores.shape == (len(CHUNKS),)
        assert np.isfinite(scores).all()
        assert len(set(scores.tolist())) > 1
        turned = await reranker.score(query, CHUNKS[::-1])
        np.testing.assert_allclose(turned[::-1], scores, atol=1e-3)
        for chunk, score in zip(CHUNKS, scores, strict=True):
            [alone] = await reranker.score(query, [chunk])
            assert alone == pytest.approx(score, abs=1e-3), passage_text(chunk)
        assert (await reranker.score(query, [])).shape == (0,)
