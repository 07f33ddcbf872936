"""Test sets through the product and through BM25 libraries: rankings of whole documents."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks._common import data_folder, ingest
from eval.calibration.evidence_runs import MemoEmbedder
from eval.datasets.corpus import Corpus, read_corpus
from rag.build.retrieval import build_retriever, open_reranker
from rag.build.service import Service
from rag.protocols import Queue, TokenEmbedder
from rag.records import Submission
from rag.settings.retrieval import RerankerSettings
from rag.telemetry.trace import Trace
from rag.types import DEFAULT_TENANT, Floats, Leg, Match, Query, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.hybrid import HybridRetriever

FOR_RECALL = 300
"""Chunks asked for, so that they come from 100 documents at least."""
EMBED_AT_ONCE = 512
_WORD = re.compile(r"\w+")

Run = dict[str, list[str]]
"""Question id → document ids, best first, each once."""
Scores = dict[str, float]
"""Measure → mean over the questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """A corpus in the product; `owners` maps chunk ids to passage ids."""

    corpus: Corpus
    service: Service
    scope: Scope
    embedder: MemoEmbedder
    owners: Mapping[str, str]


def corpus_of(name: str) -> Corpus:
    """A test set, with the questions that have judgements; `xquad-en` is XQuAD's English part."""
    family, _, language = name.partition("xquad-")
    corpus = read_corpus(data_folder("xquad" if language else family))
    prefix, folder = (f"{language}-", f"{language}/") if language else ("", "")
    qrels = {id_: gains for id_, gains in corpus.qrels.items() if id_.startswith(prefix)}
    return replace(
        corpus,
        name=name,
        passages=tuple(p for p in corpus.passages if p.id.startswith(folder) and p.text),
        questions=tuple(q for q in corpus.questions if q.id in qrels),
        qrels=qrels,
    )


async def ingest_corpus(
    service: Service, queue: Queue, embedder: MemoEmbedder, corpus: Corpus
) -> Ingested:
    """The corpus in a collection of its own, as if each passage had been sent as JSON."""
    submissions = [submission(service, p.id, p.title, p.text) for p in corpus.passages]
    scope = await ingest(service, queue, submissions, collection=corpus.name)
    ids = sorted(await service.index.chunk_ids(scope, None))
    owners = {chunk.id: chunk.document_id for chunk in await service.index.fetch(scope, ids)}
    texts = [question.text for question in corpus.questions]
    for i in range(0, len(texts), EMBED_AT_ONCE):
        await embedder.embed(texts[i : i + EMBED_AT_ONCE], kind="query")
    return Ingested(corpus=corpus, service=service, scope=scope, embedder=embedder, owners=owners)


def submission(service: Service, id_: str, title: str, text: str) -> Submission:
    data = json.dumps({"title": title, "text": text}).encode()
    return service.spool.of(DEFAULT_TENANT).put(data, uri=id_, document_id_=id_, title=title)


async def leg_runs(ingested: Ingested) -> dict[str, Run]:
    """Each leg alone, as the index ranks it."""
    encoder = Bm25Encoder()
    runs: dict[str, Run] = {"dense": {}, "bm25": {}}
    for question in ingested.corpus.questions:
        dense = (await ingested.embedder.embed([question.text], kind="query"))[0]
        sparse = encoder.encode([question.text])[0]
        legs = [
            Leg(name="dense", vector=dense, limit=FOR_RECALL),
            Leg(name="sparse", vector=sparse, limit=FOR_RECALL),
        ]
        ranked = await ingested.service.index.search(ingested.scope, legs)
        for run, matches in zip(runs.values(), ranked, strict=True):
            run[question.id] = _owners(ingested, matches)
    return runs


async def hybrid_run(ingested: Ingested, *, depth: int, rrf_k: int, top_k: int) -> Run:
    """`HybridRetriever` with these settings; it fetches `top_k` candidates a leg where that is
    more than `depth`.
    """  # noqa: D205
    retriever = HybridRetriever(
        embedder=ingested.embedder,
        encoder=Bm25Encoder(),
        index=ingested.service.index,
        depth=depth,
        rrf_k=rrf_k,
        reads=ingested.service.embedder.reads,
    )
    run = {}
    for question in ingested.corpus.questions:
        query = Query(text=question.text, scope=ingested.scope, top_k=top_k)
        hits = (await retriever.retrieve(query, Trace())).hits
        run[question.id] = list(dict.fromkeys(hit.chunk.document_id for hit in hits))
    return run


async def reranked_run(
    ingested: Ingested,
    settings: RerankerSettings,
    *,
    top_k: int,
    tokens: TokenEmbedder | None = None,
) -> Run:
    """Returns the service's rankings with this reranker and otherwise its own settings.

    Late interaction takes token vectors from `tokens`; None: from the embedder.
    """
    retrieval = ingested.service.settings.retrieval
    index, encoder = ingested.service.index, Bm25Encoder()
    run = {}
    async with contextlib.AsyncExitStack() as stack:
        reranker = await open_reranker(
            settings, stack, tokens=tokens or ingested.embedder, encoder=encoder, index=index
        )
        retriever = build_retriever(
            retrieval,
            settings,
            reranker=reranker,
            embedder=ingested.embedder,
            encoder=encoder,
            index=index,
            reads=ingested.service.embedder.reads,
        )
        for question in ingested.corpus.questions:
            query = Query(text=question.text, scope=ingested.scope, top_k=top_k)
            hits = (await retriever.retrieve(query, Trace())).hits
            run[question.id] = list(dict.fromkeys(hit.chunk.document_id for hit in hits))
    return run


def _owners(ingested: Ingested, matches: Iterable[Match]) -> list[str]:
    """Documents in the order of their best chunks."""
    return list(dict.fromkeys(ingested.owners[match.chunk_id] for match in matches))


def bm25s_run(corpus: Corpus, *, limit: int) -> Run:
    """bm25s over whole documents: Lucene's variant, English stop words, Snowball's stemmer."""
    import bm25s
    from Stemmer import Stemmer

    stemmer = Stemmer("english")

    def tokens(texts: Sequence[str]) -> list[list[str]]:
        return bm25s.tokenize(  # type: ignore[no-any-return]
            texts, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False
        )

    model = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    model.index(tokens(_texts(corpus)), show_progress=False)
    questions = tokens([q.text for q in corpus.questions])
    k = min(limit, len(corpus.passages))
    found, _ = model.retrieve(questions, k=k, show_progress=False)
    ids = [p.id for p in corpus.passages]
    return {q.id: [ids[i] for i in row] for q, row in zip(corpus.questions, found, strict=True)}


def rank_bm25_run(corpus: Corpus, *, limit: int) -> Run:
    """rank_bm25's Okapi as most programs use it: its own defaults, lower-cased words."""
    from rank_bm25 import BM25Okapi

    def tokens(text: str) -> list[str]:
        return _WORD.findall(text.lower())

    model = BM25Okapi([tokens(text) for text in _texts(corpus)])
    run = {}
    for question in corpus.questions:
        order = np.argsort(-model.get_scores(tokens(question.text)), kind="stable")
        run[question.id] = [corpus.passages[i].id for i in order[:limit]]
    return run


def _texts(corpus: Corpus) -> list[str]:
    return [f"{p.title} {p.text}" for p in corpus.passages]


def measure(corpus: Corpus, run: Run) -> Scores:
    """nDCG@10 and R@100 over the questions that have judgements, by ir_measures."""
    return {name: float(np.mean(values)) for name, values in by_question(corpus, run).items()}


def by_question(corpus: Corpus, run: Run) -> dict[str, Floats]:
    """The same, question by question: float64[questions with judgements]."""
    import ir_measures
    from ir_measures import R, nDCG

    # The rank is the score: ir_measures would order equal scores its own way.
    ranked = {
        question: {document: -float(rank) for rank, document in enumerate(documents)}
        for question, documents in run.items()
    }
    found: dict[str, dict[str, float]] = {}
    for each in ir_measures.iter_calc([nDCG @ 10, R @ 100], corpus.qrels, ranked):
        found.setdefault(str(each.measure), {})[each.query_id] = each.value
    return {
        name: np.array([values.get(id_, 0.0) for id_ in sorted(corpus.qrels)])
        for name, values in found.items()
    }
