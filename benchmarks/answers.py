"""Whether extractive answers hold the answer, and whether they know when there is none.

Measured on squad2-dev-a. Citations: the share of answerable questions of which a cited quote has a
gold answer in it, letter case and white space aside; an abstention counts as a miss. No answer has
more than three quotes, so quoting everything does not pass. AUROCs: how well the confidence tells
questions with an answer in the collection from those without, by `eval.calibration.abstention` on
articles it was not fitted on; adversarial questions were written to look answerable. Their floor is
a coin.
"""

from __future__ import annotations

import asyncio

from benchmarks._common import Report, Target, data_folder, p50, percentile, temporary_service
from benchmarks._rankings import corpus_of, ingest_corpus
from eval.calibration.abstention import calibrate
from eval.calibration.evidence_runs import MemoEmbedder
from eval.datasets.corpus import Question, read_corpus
from rag.telemetry.trace import Trace
from rag.types import Answer, Query

SET = "squad2-dev-a"
ASKED = 500
"""Answerable questions, evenly taken: a share's standard error is 1.3 points there."""
COIN = 0.5


def run() -> Report:
    """Ask the product, then calibrate anew."""
    report = Report()
    asyncio.run(_citations(report))
    record, _ = asyncio.run(
        calibrate(read_corpus(data_folder(SET)), elsewhere=read_corpus(data_folder("xquad")))
    )
    figures = record["figures"]
    for name, bound in (("auroc_outside", 0.98), ("auroc_adversarial", 0.64)):
        target = Target(bound=bound, at_least=True)
        report.add(name, figures[name], floor=COIN, target=target)
    return report


async def _citations(report: Report) -> None:
    corpus = corpus_of(SET)
    every = max(1, len(corpus.questions) // ASKED)
    sample = corpus.questions[::every]
    async with temporary_service() as (service, queue):
        ingested = await ingest_corpus(service, queue, MemoEmbedder(service.embedder), corpus)
        answers = [
            await service.query.answer(Query(text=q.text, scope=ingested.scope), Trace())
            for q in sample
        ]
    found = [_has_gold(answer, question) for answer, question in zip(answers, sample, strict=True)]
    target = Target(bound=0.90, at_least=True)
    report.add("gold answer in a citation", sum(found) / len(found), target=target)
    report.add("sentences cited, at most", max(len(a.citations) for a in answers),
               target=Target(bound=3))  # fmt: skip
    generate = [answer.timings["generate"] for answer in answers]
    report.add("generate p50", p50(generate), unit="ms")
    report.add("generate p95", percentile(generate, 95), unit="ms")
    abstained = sum(answer.abstained for answer in answers)
    report.notes.append(f"{len(answers)} answerable questions, of which {abstained} abstained from")


def _has_gold(answer: Answer, question: Question) -> bool:
    quotes = [_folded(citation.quote) for citation in answer.citations]
    return any(_folded(gold) in quote for gold in question.answers for quote in quotes)


def _folded(text: str) -> str:
    return " ".join(text.lower().split())
