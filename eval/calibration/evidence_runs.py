"""Runs the questions of a test collection through the embedded pipeline, up to the evidence."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.datasets.corpus import Passage, Question
from generation.grounding.choice import MAX_SENTENCES
from generation.grounding.evidence import Evidence, EvidenceFinder
from generation.query.core_question import core_question
from ingest.chunkers.strategies import SectionChunker
from rag.build.retrieval import build_late_interaction, build_retriever
from rag.settings.retrieval import LateInteractionSettings, RetrievalSettings
from rag.telemetry.trace import Trace
from rag.text.passages import passage_text
from rag.types import Document, Float32Array, Hit, Kind, Point, Prompt, Query, Scope, TokenVectors
from retrieval.bm25 import Bm25Encoder
from retrieval.embedders.embedder import BertEmbedder, ModelEmbedder
from retrieval.embedders.loading import minilm_folder
from retrieval.embedders.token_cache import TokenCache
from retrieval.indexes.edge import EdgeIndex

TOP_K = 10
CACHE_BYTES = 1 << 30
"""Enough for the token vectors of every passage: each is read for dozens of questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """A question with the hits and the evidence found; `evidence` is None if there is none."""

    question: Question
    hits: tuple[Hit, ...]
    evidence: Evidence | None

    def quotes(self) -> list[str]:
        """Returns the sentences that an answer would cite, best first."""
        sentences = self.evidence.sentences if self.evidence else ()
        return [self.hits[s.place].chunk.text[s.start : s.end] for s in sentences]

    def found(self, among: int = MAX_SENTENCES) -> bool:
        """True if one of the first quotes contains a gold answer, ignoring case and spacing."""
        return any(self.right_quotes()[:among])

    def right_quotes(self) -> list[bool]:
        """Returns, for each quote, True if it contains a gold answer."""
        answers = [_folded(answer) for answer in self.question.answers]
        return [any(answer in _folded(quote) for answer in answers) for quote in self.quotes()]


class EvidenceRunner:
    """The embedded pipeline's parts with their default settings, one collection at a time."""

    def __init__(self, folder: Path, embedder: MemoEmbedder) -> None:
        self._embedder = embedder
        self._encoder = Bm25Encoder()
        self._index = EdgeIndex(folder, dim=embedder.dim)
        self._chunker = SectionChunker(embedder.count_tokens)
        tokens = TokenCache(embedder, max_bytes=CACHE_BYTES)
        self._finder = EvidenceFinder(embedder=tokens, encoder=self._encoder, index=self._index)
        self._retriever = build_retriever(
            RetrievalSettings(),
            LateInteractionSettings(),
            reranker=build_late_interaction(tokens, self._encoder, self._index),
            embedder=embedder,
            encoder=self._encoder,
            index=self._index,
            reads=embedder.reads,
        )

    def scope(self, collection: str) -> Scope:
        """Returns the scope of a collection."""
        return Scope(tenant="eval", collection=collection)

    async def index(self, collection: str, passages: Sequence[Passage]) -> Scope:
        """Chunks and embeds passages, and writes them to a separate collection."""
        scope = self.scope(collection)
        chunks = [c for p in passages for c in self._chunker.chunk(_document(p))]
        texts = [passage_text(chunk) for chunk in chunks]
        dense = await self._embedder.embed(texts, kind="passage")
        points = [
            Point(chunk=c, dense=d, sparse=s)
            for c, d, s in zip(chunks, dense, self._encoder.encode(texts), strict=True)
        ]
        await self._index.upsert(scope, points)
        await self._index.maintain(scope)
        return scope

    async def run(self, scope: Scope, questions: Sequence[Question]) -> list[Retrieved]:
        """Returns hits and evidence for each question, in order."""
        return [await self._run(scope, question) for question in questions]

    async def close(self) -> None:
        """Closes the index."""
        await self._index.close()

    async def _run(self, scope: Scope, question: Question) -> Retrieved:
        text = core_question(question.text)
        query = Query(text=text, scope=scope, top_k=TOP_K)
        hits = (await self._retriever.retrieve(query, Trace())).hits
        prompt = Prompt(question=text, scope=scope, hits=hits)
        evidence = await self._finder.find(prompt)
        return Retrieved(question=question, hits=hits, evidence=evidence)


class MemoEmbedder:
    """An embedder that encodes each text once: every passage is read for dozens of questions."""

    def __init__(self, embedder: ModelEmbedder) -> None:
        self._embedder = embedder
        self.dim = embedder.dim
        self.fingerprint = embedder.fingerprint
        self.count_tokens = embedder.count_tokens
        self.reads = embedder.reads
        self._pooled: dict[tuple[Kind, str], Float32Array] = {}
        self._tokens: dict[tuple[Kind, str], TokenVectors] = {}

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        """See `Embedder.embed`."""
        new = [text for text in dict.fromkeys(texts) if (kind, text) not in self._pooled]
        found = await self._embedder.embed(new, kind=kind)
        self._pooled.update(zip([(kind, text) for text in new], found, strict=True))
        return np.stack([self._pooled[kind, text] for text in texts])

    async def embed_tokens(self, texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        """See `TokenEmbedder.embed_tokens`."""
        new = [text for text in dict.fromkeys(texts) if (kind, text) not in self._tokens]
        found = await self._embedder.embed_tokens(new, kind=kind)
        self._tokens.update(zip([(kind, text) for text in new], found, strict=True))
        return [self._tokens[kind, text] for text in texts]

    def close(self) -> None:
        """Ends the model's process."""
        self._embedder.close()


@asynccontextmanager
async def open_evidence_runner() -> AsyncIterator[EvidenceRunner]:
    """Opens an asker with the default encoder and an index in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        embedder = MemoEmbedder(BertEmbedder(minilm_folder()))
        runner = EvidenceRunner(Path(folder), embedder)
        try:
            yield runner
        finally:
            await runner.close()
            embedder.close()


def _document(passage: Passage) -> Document:
    return Document(
        id=passage.id,
        version="",
        uri=passage.id,
        media_type="text/plain",
        title=passage.title,
        text=passage.text,
    )


def _folded(text: str) -> str:
    return " ".join(text.lower().split())
