"""Ideas for the ranked lists, each against the default: what pays is built, what does not is not.

- hops: a second search for what three hits name, `retrieval.hops`
- titles: their terms count twice (the fields of BM25F: Robertson et al. 2004,
  https://doi.org/10.1145/1031171.1031181)
- vocabulary: a word that no passage has brings the most similar ones that some have
- weights: the dense leg's is learned for each question, from the other sets
- documents: a chunk's score is raised by a share of those that its document's other chunks have
- script: what the default gains by BM25 alone where the embedder cannot read the question

    python -m benchmarks.run lists
    python -m benchmarks.lists FOLDER …

The first measures on the handed sets and on questions that need two PEPs each, the second on
folders in the BEIR layout. A difference is of nDCG@10, question by question, with its 95 %
interval; `all` is that of the share of questions whose documents are all among the first ten.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks._common import Report, data_folder, temporary_service
from benchmarks._linked_peps import linked_peps
from benchmarks._question_weights import USUAL, WEIGHTS, features_of, learned
from benchmarks._rankings import Ingested, Run, by_question, corpus_of, ingest_corpus
from benchmarks._vocabulary import ExtendingEncoder
from eval.calibration.evidence_runs import MemoEmbedder
from eval.datasets.corpus import Corpus, read_corpus
from eval.measures.statistics import difference_interval
from rag.build.retrieval import build_late_interaction, build_retriever
from rag.settings.retrieval import LateInteractionSettings, LegWeights, RetrievalSettings
from rag.telemetry.trace import Trace
from rag.text.passages import passage_text
from rag.types import Floats, Hit, Query, Scope
from retrieval.bm25 import Bm25Encoder

SETS = ("cranfield", "squad2-dev-a", "xquad-en", "xquad-de", "xquad-es", "xquad-zh")
ASKED = 300
"""Questions of a set, at most."""
HOPS = 3
SHARES = (0.03, 0.1, 0.3)
"""Of the scores of a document's other chunks, added to that of each."""
TOP_K = 30
"""Chunks of a question: ten documents are among them."""
DEFAULT = RetrievalSettings()
SECONDS = 600.0
"""Time limit of embedder and reranker: nothing is left out on a busy machine."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The report, and of each set the features of its questions, and nDCG@10 by dense weight."""

    report: Report = field(default_factory=Report)
    features: dict[str, Floats] = field(default_factory=dict)
    gains: dict[str, Floats] = field(default_factory=dict)

    def add(self, name: str, differences: Floats) -> None:
        """Adds the mean of differences, with its interval as a note."""
        mean = float(differences.mean())
        low, high = difference_interval(differences, most=1)
        self.report.add(name, mean)
        self.report.notes.append(f"{name}: {mean:+.4f} ({low:+.4f} … {high:+.4f})")


def run() -> Report:
    """The handed sets, and the linked PEPs."""
    corpora = [corpus_of(name) for name in SETS]
    return asyncio.run(_run([*corpora, linked_peps(data_folder("peps"))]))


async def _run(corpora: list[Corpus]) -> Report:
    measured = Measured()
    async with temporary_service() as (service, queue):
        embedder = MemoEmbedder(service.embedder)
        for corpus in corpora:
            with_text = tuple(passage for passage in corpus.passages if passage.text)
            sample = replace(corpus, passages=with_text).sample(ASKED)
            await _compare(measured, await ingest_corpus(service, queue, embedder, sample))
    if len(corpora) > 1:
        for name, gains in measured.gains.items():
            found = learned(measured.features, measured.gains, name)
            measured.add(f"{name}, weights", found - gains[:, USUAL])
            measured.add(f"{name}, weights: best of each", gains.max(axis=1) - gains[:, USUAL])
    return measured.report


async def _compare(measured: Measured, ingested: Ingested) -> None:
    corpus, scope, index = ingested.corpus, ingested.scope, ingested.service.index
    encoder, texts = Bm25Encoder(), [question.text for question in corpus.questions]
    settings = [RetrievalSettings(weights=LegWeights(dense=weight)) for weight in WEIGHTS]
    weighted = [await _ask(ingested, each) for each in settings]
    measured.gains[corpus.name] = np.stack([_ndcg(corpus, each) for each in weighted], axis=1)
    count_tokens = ingested.service.embedder.count_tokens
    measured.features[corpus.name] = await features_of(
        texts, index=index, scope=scope, encoder=encoder, count_tokens=count_tokens
    )
    default = weighted[USUAL]
    before, complete = _ndcg(corpus, default), _all_found(corpus, default)
    measured.report.add(f"{corpus.name}, default: nDCG@10", float(before.mean()))
    measured.report.add(f"{corpus.name}, default: all", float(complete.mean()))
    passages = [passage_text(chunk) async for part in index.pages(scope) for chunk in part]
    hopped = await _ask(ingested, RetrievalSettings(hops=HOPS))
    titled = await _ask(await _titles_twice(ingested, encoder))
    extended = await _ask(ingested, encoder=ExtendingEncoder(texts, passages))
    measured.add(f"{corpus.name}, hops", _ndcg(corpus, hopped) - before)
    measured.add(f"{corpus.name}, hops: all", _all_found(corpus, hopped) - complete)
    measured.add(f"{corpus.name}, titles", _ndcg(corpus, titled) - before)
    measured.add(f"{corpus.name}, vocabulary", _ndcg(corpus, extended) - before)
    found = await _hits(ingested)
    for share in SHARES:
        raised = {id_: _documents_of(_raised(hits, share)) for id_, hits in found.items()}
        measured.add(f"{corpus.name}, documents: {share}", _ndcg(corpus, raised) - before)
    if not all(map(ingested.service.embedder.reads, texts)):
        unread = await _ask(ingested, reads_all=True)
        measured.add(f"{corpus.name}, script", before - _ndcg(corpus, unread))


async def _titles_twice(ingested: Ingested, encoder: Bm25Encoder) -> Ingested:
    """Returns a copy of the collection with each chunk's title encoded twice."""
    index = ingested.service.index
    scope = Scope(tenant=ingested.scope.tenant, collection=f"{ingested.scope.collection}-titles")
    async for points in index.points(ingested.scope):
        texts = [f"{p.chunk.title}\n{passage_text(p.chunk)}" for p in points]
        bags = encoder.encode(texts)
        copies = [replace(p, sparse=bag) for p, bag in zip(points, bags, strict=True)]
        await index.upsert(scope, copies)
    await index.maintain(scope)
    return replace(ingested, scope=scope)


async def _ask(
    ingested: Ingested,
    settings: RetrievalSettings = DEFAULT,
    *,
    encoder: Bm25Encoder | None = None,
    reads_all: bool = False,
) -> Run:
    found = await _hits(ingested, settings, encoder=encoder, reads_all=reads_all)
    return {id_: _documents_of(hits) for id_, hits in found.items()}


async def _hits(
    ingested: Ingested,
    settings: RetrievalSettings = DEFAULT,
    *,
    encoder: Bm25Encoder | None = None,
    reads_all: bool = False,
) -> dict[str, Sequence[Hit]]:
    """Returns the hits of each question, best first."""
    service = ingested.service
    index, encoder = service.index, encoder or Bm25Encoder()
    retriever = build_retriever(
        settings,
        LateInteractionSettings(seconds=SECONDS),
        SECONDS,
        reranker=build_late_interaction(ingested.embedder, encoder, index),
        embedder=ingested.embedder,
        encoder=encoder,
        index=index,
        reads=None if reads_all else service.embedder.reads,
    )
    found: dict[str, Sequence[Hit]] = {}
    for question in ingested.corpus.questions:
        query = Query(text=question.text, scope=ingested.scope, top_k=TOP_K)
        found[question.id] = (await retriever.retrieve(query, Trace())).hits
    return found


def _documents_of(hits: Iterable[Hit]) -> list[str]:
    return list(dict.fromkeys(hit.chunk.document_id for hit in hits))


def _raised(hits: Sequence[Hit], share: float) -> list[Hit]:
    """Returns the hits in the order of their raised scores."""
    together: defaultdict[str, float] = defaultdict(float)
    for hit in hits:
        together[hit.chunk.document_id] += hit.score
    others = {hit.chunk.id: together[hit.chunk.document_id] - hit.score for hit in hits}
    return sorted(hits, key=lambda hit: hit.score + share * others[hit.chunk.id], reverse=True)


def _ndcg(corpus: Corpus, run: Run) -> Floats:
    return by_question(corpus, run)["nDCG@10"]


def _all_found(corpus: Corpus, run: Run) -> Floats:
    """Returns float64[questions], in the order of `by_question`."""
    return np.array([_is_complete(corpus.qrels[id_], run[id_]) for id_ in sorted(corpus.qrels)])


def _is_complete(gains: Mapping[str, int], found: list[str]) -> float:
    return float({id_ for id_, gain in gains.items() if gain > 0} <= {*found[:10]})


def main() -> None:
    """Prints the differences on sets of one's own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lists")
    parser.add_argument("folders", nargs="+", type=Path, help="in the BEIR layout")
    report = asyncio.run(_run([read_corpus(folder) for folder in parser.parse_args().folders]))
    print("\n".join(report.notes))


if __name__ == "__main__":
    main()
