"""Fits the confidence of a language model's answers on what SmolLM2-135M-Instruct writes.

    python -m benchmarks.answer_confidence [--out FILE] [--docs DIR]

The questions are about every second article of squad2-dev-a, with and without an answer, and those
of `examples/near-misses/fit`; all figures are measured with questions about the other articles, and
with `examples/near-misses/test`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from benchmarks._common import data_folder, ingest, temporary_service
from benchmarks._rankings import submission
from eval.calibration.answers import Sentence, Written, record_of
from eval.calibration.command import write_record
from eval.calibration.near_misses import NEAR_MISSES
from eval.calibration.plots import draw_reliability
from eval.datasets.corpus import Corpus, Question, read_corpus
from generation.drafts.segments import Segments
from generation.grounding.answer_confidence import WEIGHTS, given_answer
from generation.grounding.claims import claim_in, declines, stated_in
from generation.grounding.quotes import quotes_for
from rag.build.service import Service
from rag.protocols import Queue
from rag.telemetry.trace import Trace
from rag.types import Prompt, Query, Scope
from tests.smollm2 import smollm2

SET = "squad2-dev-a"
ANSWERABLE, UNANSWERABLE = 75, 25
"""Questions about the articles of each half of `SET`."""
NEAR_ANSWERABLE, NEAR_MISSED = 30, 25
"""Questions of each set of near misses."""
AT_ONCE = 6
GENERATOR = {
    "kind": "vllm",
    "max_tokens": 200,
    "engine": {"enforce_eager": True, "max_model_len": 4096, "kv_cache_memory_bytes": 256 << 20},
}
PATIENT = {"limits": {"query_seconds": 600}, "reranker": {"seconds": 600}}
"""On a busy machine, too, nothing is left out."""

Chosen = Mapping[str, tuple[str, Sequence[Question]]]
"""Questions by what is asked, and the collections that they are asked of."""


def main(argv: Sequence[str] | None = None) -> int:
    """Asks, fits, and writes record and picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m benchmarks.answer_confidence"
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the picture")
    options = parser.parse_args(argv)
    record, judged = record_of(*asyncio.run(_asked()))
    write_record(record, options.out)
    draw_reliability(options.docs / "reliability-answers.png", judged)
    return 0


async def _asked() -> tuple[dict[str, list[Written]], dict[str, list[Written]]]:
    """Returns the answers that are fitted on, and those that are measured."""
    corpus = read_corpus(data_folder(SET))
    near = {part: read_corpus(NEAR_MISSES / part) for part in ("fit", "test")}
    generator = GENERATOR | {"model": str(smollm2())}
    async with temporary_service(generator=generator, **PATIENT) as (service, queue):
        await _ingest(service, queue, {SET: corpus, **near})
        asker = _Asker(service)
        fitted, measured = [
            {
                kind: await asker.ask(collection, questions)
                for kind, (collection, questions) in _chosen(corpus, part, near[part]).items()
            }
            for part in ("fit", "test")
        ]
    return fitted, measured


async def _ingest(service: Service, queue: Queue, corpora: Mapping[str, Corpus]) -> None:
    for name, corpus in corpora.items():
        submissions = [submission(service, p.id, p.title, p.text) for p in corpus.passages]
        await ingest(service, queue, submissions, collection=name)


def _chosen(corpus: Corpus, part: str, near: Corpus) -> Chosen:
    """Returns the questions of a part; the articles of `SET` are in each part by turns."""
    articles = sorted({str(passage.meta["article"]) for passage in corpus.passages})
    own = set(articles[("fit", "test").index(part) :: 2])
    about = [q for q in corpus.questions if q.meta["source_doc"].partition("#")[0] in own]
    return {
        "SQuAD, answerable": (SET, _some(about, ANSWERABLE, answerable=True)),
        "SQuAD, adversarial": (SET, _some(about, UNANSWERABLE, answerable=False)),
        "near misses, answerable": (part, _some(near.questions, NEAR_ANSWERABLE, answerable=True)),
        "near misses": (part, _some(near.questions, NEAR_MISSED, answerable=False)),
    }


def _some(questions: Sequence[Question], most: int, *, answerable: bool) -> list[Question]:
    kept = [question for question in questions if question.answerable == answerable]
    Random(7).shuffle(kept)
    return kept[:most]


class _Asker:
    """Asks questions without a check, and then checks each sentence by itself."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def ask(self, collection: str, questions: Sequence[Question]) -> list[Written]:
        """Returns what the model wrote about those questions that it was asked."""
        scope = Scope(tenant="default", collection=collection)
        found = await asyncio.gather(*(self._ask(scope, question) for question in questions))
        return [written for written in found if written]

    async def _ask(self, scope: Scope, question: Question) -> Written | None:
        async with self._slots:
            query = Query(text=question.text, scope=scope, claims="off")
            answer = await self._service.query.answer(query, Trace())
            if answer.abstained:
                return None
            answering = self._service.answering
            prompt = Prompt(question=answer.question, scope=scope, hits=answer.passages)
            quotes = quotes_for(prompt, answering.extractive)
            checker = answering.drafts.checker(answer.question, answer.passages, quotes)
            quoted = await quotes()
            sentences = []
            for segment in _segments(answer.text):
                claim = claim_in(segment)
                if claim is None or declines(claim):
                    continue
                verdict = await checker.check_in(segment, claim)
                if verdict.objection is None:
                    stated = stated_in(claim)
                    given = given_answer(answer.question, stated, quoted)
                    sentences.append(Sentence(given=given, right=_has_answer(claim, question)))
            return Written(
                answerable=question.answerable,
                sentences=tuple(sentences),
                confidence=quoted.confidence,
                quotes_right=_has_answer(quoted.text, question),
            )


def _segments(text: str) -> list[str]:
    segments = Segments()
    return [*segments.add(text), *segments.finish()]


def _has_answer(text: str, question: Question) -> bool:
    """True if a text has a gold answer, letter case and spacing aside."""
    folded = " ".join(text.lower().split())
    return any(" ".join(answer.lower().split()) in folded for answer in question.answers)


if __name__ == "__main__":
    sys.exit(main())
