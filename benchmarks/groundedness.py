"""Whether groundedness tells claims that a passage supports from those that it does not.

Claims are made of squad2-dev-a's questions (see `eval.datasets.claims`), and measured are those
about the articles that the score was not fitted on; then those of XQuAD's English part. In its
other languages a claim is a question with its answer behind it. The floor is the support score that
checks citations, at its best sentence; a note has shared characters and numbers. Then an answer of
three sentences is scored against five passages; the floor is encoding them.

    python -m benchmarks.groundedness

does the same as `python -m benchmarks.run groundedness` and keeps no record.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmarks._common import Report, Target, data_folder, p50, table
from benchmarks._rankings import corpus_of
from benchmarks.support import CharacterSupport
from eval.calibration.command import DATASET, ELSEWHERE
from eval.calibration.confidence import Names, auroc, auroc_interval
from eval.calibration.evidence_runs import MemoEmbedder
from eval.calibration.groundedness import GROUPS, chunk_of, english, halves
from eval.datasets.claims import PARAGRAPH, Claim, make_claims
from eval.datasets.corpus import Corpus, read_corpus
from generation.grounding.groundedness import (
    ClaimScorer,
    EntailedGrounding,
    Grounding,
    load_grounding,
)
from generation.grounding.support import BlendedSupport
from rag.protocols import TokenEmbedder
from rag.text.passages import passage_text
from rag.types import Chunk, Floats
from retrieval.embedders.embedder import BertEmbedder
from retrieval.embedders.loading import minilm_folder
from retrieval.embedders.token_cache import TokenCache

ANSWERS = 50
SENTENCES = 3
PASSAGES = 5
CACHE_BYTES = 256 << 20
FEWEST = 10
"""Claims of a kind; of less it is left out."""
TARGETS: Mapping[str, Target] = {
    **dict.fromkeys(map(str, PARAGRAPH), Target(bound=0.97, at_least=True)),
    **dict.fromkeys(
        ("number changed", "negation added", "all that were changed"),
        Target(bound=0.85, at_least=True),
    ),
    **dict.fromkeys(("another answer", "negation left out"), Target(bound=0.70, at_least=True)),
}
LANGUAGES = ("de", "es", "zh")


def run() -> Report:
    """Score claims with the passages that support them, and with others."""
    report = Report()
    asyncio.run(_measure(report))
    return report


async def _measure(report: Report) -> None:
    ours, xquad = (read_corpus(data_folder(name)) for name in (DATASET, ELSEWHERE))
    elsewhere = english(xquad, without=ours)
    claims = make_claims(ours)
    _, rest = halves(claims)
    claims = [claim for claim in claims if claim.article in rest]
    embedder = BertEmbedder(minilm_folder())
    try:
        for corpus, some in ((ours, claims), (elsewhere, make_claims(elsewhere))):
            await _discriminate(report, corpus, some, MemoEmbedder(embedder), targets=TARGETS)
        for language in LANGUAGES:
            corpus = corpus_of(f"{ELSEWHERE}-{language}")
            some = _put_behind(corpus)
            await _discriminate(report, corpus, some, MemoEmbedder(embedder), targets={})
        await _time(report, ours, claims, embedder)
    finally:
        embedder.close()


async def _discriminate(
    report: Report,
    corpus: Corpus,
    claims: Sequence[Claim],
    embedder: MemoEmbedder,
    *,
    targets: Mapping[str, Target],
) -> None:
    """Adds the AUROC between supported claims and each group of others."""
    chunks = {passage.id: chunk_of(passage) for passage in corpus.passages}
    grounded, blended, characters = [
        await _scores(grounding, claims, chunks)
        for grounding in (
            Grounding(embedder, load_grounding()),
            EntailedGrounding(BlendedSupport(embedder)),
            EntailedGrounding(CharacterSupport()),
        )
    ]
    kinds = np.array([claim.kind for claim in claims])
    about = _paragraphs(claims)
    supported = kinds == "supported"
    plain = []
    for name, group in GROUPS.items():
        others = np.isin(kinds, group)
        if others.sum() < FEWEST:
            continue
        low, high = auroc_interval(
            grounded[supported], grounded[others], (about[supported], about[others])
        )
        report.add(
            f"{corpus.name}: {name}",
            auroc(grounded[supported], grounded[others]),
            unit=f"({low:.3f}–{high:.3f})",
            floor=auroc(blended[supported], blended[others]),
            target=targets.get(name),
        )
        plain.append(f"{name} {auroc(characters[supported], characters[others]):.3f}")
    report.notes.append(
        f"{corpus.name}: AUROC, and where 95 % of samples of its paragraphs have it, of"
        f" {supported.sum()} claims against {len(claims) - supported.sum()}"
    )
    report.notes.append(f"by characters and numbers: {', '.join(plain)}")


def _put_behind(corpus: Corpus) -> list[Claim]:
    """Questions with their answers behind them, and the same against another paragraph."""
    ids = [passage.id for passage in corpus.passages]
    claims = []
    for question in corpus.questions:
        text = f"{question.text.rstrip('?？ ')} {question.answers[0]}."  # noqa: RUF001 - Chinese
        (own,) = corpus.qrels[question.id]
        other = ids[(ids.index(own) + len(ids) // 2) % len(ids)]
        claim = Claim(text=text, kind="supported", passage=own, question=question.id, article=own)
        claims += [claim, replace(claim, kind=PARAGRAPH[0], passage=other)]
    return claims


def _paragraphs(claims: Sequence[Claim]) -> Names:
    """str[claims]: the paragraph that each one's question was asked about."""
    own = {claim.question: claim.passage for claim in claims if claim.kind == "supported"}
    return np.array([own[claim.question] for claim in claims])


async def _scores(
    grounding: ClaimScorer, claims: Sequence[Claim], chunks: Mapping[str, Chunk]
) -> Floats:
    """float64[claims], each held against its own passage alone."""
    places: Mapping[str, list[int]] = defaultdict(list)
    for i, claim in enumerate(claims):
        places[claim.passage].append(i)
    scores = np.zeros(len(claims))
    for passage, some in places.items():
        scores[some] = await grounding.score([claims[i].text for i in some], [chunks[passage]])
    return scores


async def _time(
    report: Report, corpus: Corpus, claims: Sequence[Claim], embedder: BertEmbedder
) -> None:
    cache = TokenCache(embedder, max_bytes=CACHE_BYTES)
    alone: dict[str, list[float]] = defaultdict(list)
    whole: dict[str, list[float]] = defaultdict(list)
    for claims_, chunks in _answers(corpus, claims):
        texts = [passage_text(chunk) for chunk in chunks]
        await cache.embed_tokens(texts, kind="passage")
        for name, read, tokens in (
            ("all read anew", texts, embedder),
            ("passages read before", [], cache),
        ):
            started = time.perf_counter()
            await asyncio.gather(
                embedder.embed_tokens(claims_, kind="query"),
                embedder.embed_tokens(read, kind="passage"),
            )
            encoded = time.perf_counter()
            await _grounding(tokens).score(claims_, chunks)
            alone[name].append((encoded - started) * 1000)
            whole[name].append((time.perf_counter() - encoded) * 1000)
    for name, times in whole.items():
        report.add(f"p50 of an answer, {name}", p50(times), unit="ms", floor=p50(alone[name]))
    report.notes.append(f"{ANSWERS} answers of {SENTENCES} sentences, {PASSAGES} passages each")


def _grounding(tokens: TokenEmbedder) -> Grounding:
    return Grounding(tokens, load_grounding())


def _answers(corpus: Corpus, claims: Sequence[Claim]) -> list[tuple[list[str], list[Chunk]]]:
    """Claims about one paragraph, as sentences; that one, and the next ones of the collection."""
    by_passage: Mapping[str, list[str]] = defaultdict(list)
    for claim in claims:
        if claim.kind == "supported":
            by_passage[claim.passage].append(claim.text)
    chunks = [chunk_of(passage) for passage in corpus.passages]
    answers = [
        (by_passage[chunk.id][:SENTENCES], chunks[i : i + PASSAGES])
        for i, chunk in enumerate(chunks[: 1 - PASSAGES])
        if len(by_passage[chunk.id]) >= SENTENCES
    ]
    return answers[:: len(answers) // ANSWERS][:ANSWERS]


if __name__ == "__main__":
    found = run()
    print("\n".join([table(found.figures), *found.notes]))
