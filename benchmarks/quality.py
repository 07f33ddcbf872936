"""Ranking quality of the product, next to BM25 libraries on the same documents.

Measured: nDCG@10 and R@100 (ir_measures) of the dense leg, the BM25 leg, `HybridRetriever`, and
that with the default reranker, after documents went through the queue, the readers, the chunker and
the pipeline. Hits are chunks; a document stands where its best chunk does.

The floors are what one gets without us: bm25s (Lucene's variant, k1 = 1.2, b = 0.75, English stop
words and stemmer) and rank_bm25 (lower-cased words) on whole documents, title first. They
get the same texts and questions, and all rankings are judged by the same call.

    python -m benchmarks.quality [--sets …] [--max-tokens …] [--rrf-k …] [--depth …]

tries variations of the settings; each chunker setting is ingested once.
"""

from __future__ import annotations

import argparse
import asyncio
from itertools import product

from benchmarks._common import Report, Target, temporary_service
from benchmarks._rankings import (
    FOR_RECALL,
    Ingested,
    Scores,
    bm25s_run,
    corpus_of,
    hybrid_run,
    ingest_corpus,
    leg_runs,
    measure,
    rank_bm25_run,
    reranked_run,
)
from eval.calibration.evidence_runs import MemoEmbedder
from eval.datasets.corpus import Corpus

SETS = ("cranfield", "squad2-dev-a", "xquad-en", "xquad-de", "xquad-es", "xquad-zh")
TARGETS = {
    ("cranfield", "hybrid"): Target(bound=0.41, at_least=True),
    ("squad2-dev-a", "hybrid"): Target(bound=0.885, at_least=True),
    ("cranfield", "bm25"): Target(bound=-0.005, by="difference", at_least=True),
    ("squad2-dev-a", "bm25"): Target(bound=-0.005, by="difference", at_least=True),
    ("cranfield", "reranked"): Target(bound=0.43, at_least=True),
    ("squad2-dev-a", "reranked"): Target(bound=0.94, at_least=True),
}
"""Of nDCG@10."""


def run() -> Report:
    """Every set with the settings in force."""
    return asyncio.run(_run([corpus_of(name) for name in SETS]))


async def _run(corpora: list[Corpus]) -> Report:
    report = Report()
    async with temporary_service() as (service, queue):
        embedder = MemoEmbedder(service.embedder)
        settings = service.settings
        for corpus in corpora:
            ingested = await ingest_corpus(service, queue, embedder, corpus)
            legs = await leg_runs(ingested)
            ours = {name: measure(corpus, run) for name, run in legs.items()}
            ours["hybrid"] = await _hybrid(
                ingested, depth=settings.retrieval.depth, rrf_k=settings.retrieval.rrf_k
            )
            reranked = await reranked_run(ingested, settings.reranker, top_k=FOR_RECALL)
            ours["reranked"] = measure(corpus, reranked)
            _add(report, corpus, ours)
    report.notes.append(
        f"max_tokens {settings.chunker.max_tokens}, depth {settings.retrieval.depth}, rrf_k"
        f" {settings.retrieval.rrf_k}; the floor is bm25s"
    )
    return report


def _add(report: Report, corpus: Corpus, ours: dict[str, Scores]) -> None:
    floor = measure(corpus, bm25s_run(corpus, limit=FOR_RECALL))
    other = {"rank_bm25": measure(corpus, rank_bm25_run(corpus, limit=FOR_RECALL))}
    for name in ("nDCG@10", "R@100"):
        for system, scores in (ours | other).items():
            target = TARGETS.get((corpus.name, system)) if name == "nDCG@10" else None
            title = f"{corpus.name} {name} {system}"
            report.add(title, scores[name], floor=floor[name], target=target)


async def _hybrid(ingested: Ingested, *, depth: int, rrf_k: int) -> Scores:
    """nDCG@10 of the candidates that `depth` brings, R@100 of as many as it takes."""
    usual = await hybrid_run(ingested, depth=depth, rrf_k=rrf_k, top_k=depth)
    deep = await hybrid_run(ingested, depth=depth, rrf_k=rrf_k, top_k=FOR_RECALL)
    ranking, recall = measure(ingested.corpus, usual), measure(ingested.corpus, deep)
    return {"nDCG@10": ranking["nDCG@10"], "R@100": recall["R@100"]}


def main() -> None:
    """Prints nDCG@10 and R@100 of each variation as it is found."""
    options = _options()
    for max_tokens in options.max_tokens:
        asyncio.run(_vary(options, max_tokens))


async def _vary(options: argparse.Namespace, max_tokens: int) -> None:
    async with temporary_service(chunker={"max_tokens": max_tokens}) as (service, queue):
        embedder = MemoEmbedder(service.embedder)
        for name in options.sets:
            ingested = await ingest_corpus(service, queue, embedder, corpus_of(name))
            for leg, found in (await leg_runs(ingested)).items():
                _show(name, max_tokens, leg, measure(ingested.corpus, found))
            for rrf_k, depth in product(options.rrf_k, options.depth):
                scores = await _hybrid(ingested, depth=depth, rrf_k=rrf_k)
                _show(name, max_tokens, f"hybrid k={rrf_k} depth={depth}", scores)


def _show(corpus: str, max_tokens: int, system: str, scores: Scores) -> None:
    values = " ".join(f"{name} {value:.4f}" for name, value in scores.items())
    print(f"{corpus:14} max_tokens={max_tokens:<4} {system:22} {values}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--max-tokens", nargs="+", type=int, default=[128, 200, 256, 320])
    parser.add_argument("--rrf-k", nargs="+", type=int, default=[10, 20, 60])
    parser.add_argument("--depth", nargs="+", type=int, default=[50, 100])
    return parser.parse_args()


if __name__ == "__main__":
    main()
