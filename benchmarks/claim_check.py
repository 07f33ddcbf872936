"""The check of claims without a language model: its CPU time, and what it shows of made claims.

Answers of two sentences to questions of squad2-dev-a go through a strict draft, sentence by
sentence, beside the ten passages that search finds: a question with its answer in it, and another
number, negation or answer in that. The time is that of this process; the encoder has its own.
Claims of each kind, made from the same set, are then checked beside their own paragraph. All are
about the articles that no score was fitted on. So are claims made of questions that the paragraph
does not answer, and claims made from the English questions of XQuAD and of
`examples/near-misses/test`.

    python -m benchmarks.run claim_check
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from benchmarks._common import Report, Target, data_folder, p50, temporary_service
from benchmarks._rankings import corpus_of, ingest_corpus
from eval.calibration.command import ELSEWHERE
from eval.calibration.evidence_runs import MemoEmbedder
from eval.calibration.groundedness import chunk_of, english, halves
from eval.calibration.near_misses import NEAR_MISSES
from eval.datasets.claims import PARAGRAPH, Claim, make_claims, unanswered_claims
from eval.datasets.corpus import Corpus, read_corpus
from generation.drafts.strict import Remedies
from generation.grounding.answer_confidence import load_answer_confidence
from generation.grounding.claims import ClaimChecker
from generation.grounding.groundedness import Grounding, load_grounding
from generation.grounding.quotes import Quoted, quotes_for
from rag.build.service import Service
from rag.telemetry.trace import Trace
from rag.types import Delta, Hit, Prompt, Query, Scope

SET = "squad2-dev-a"
ANSWERS = 100
MADE = 200
"""Claims of each kind, at most."""
TARGETS: Mapping[str, Target] = {
    "supported": Target(bound=0.95, at_least=True),
    **dict.fromkeys((*map(str, PARAGRAPH), "number changed", "negation added"), Target(bound=0.01)),
}


def run() -> Report:
    """Measures the CPU time of answers, then checks the claims made.

    Raises:
        SkippedError: The set is not there.
    """
    data_folder(SET)
    report = Report()
    asyncio.run(_measure(report))
    return report


async def _measure(report: Report) -> None:
    asked = read_corpus(data_folder(SET))
    claims = make_claims(asked)
    _, articles = halves(claims)
    measured = [claim for claim in claims if claim.article in articles]
    corpus = corpus_of(SET)
    questions = {question.id: question.text for question in corpus.questions}
    async with temporary_service() as (service, queue):
        ingested = await ingest_corpus(service, queue, MemoEmbedder(service.embedder), corpus)
        times = await _times(service, ingested.scope, measured, questions)
        report.add("CPU of the check p50", p50(times), unit="ms", target=Target(bound=15))
        report.notes.append(f"{len(times)} answers of two sentences")
        unanswered = [claim for claim in unanswered_claims(asked) if claim.article in articles]
        await _shown(report, service, asked, [*measured, *unanswered])
        elsewhere = english(read_corpus(data_folder(ELSEWHERE)), without=corpus)
        for other in (elsewhere, read_corpus(NEAR_MISSES / "test")):
            await _shown(report, service, other, make_claims(other))


async def _times(
    service: Service, scope: Scope, claims: Sequence[Claim], questions: Mapping[str, str]
) -> list[float]:
    """Returns the CPU time of the check of each answer, in milliseconds."""
    by_question: dict[str, list[str]] = defaultdict(list)
    for claim in claims:
        if not claim.kind.startswith(("paragraph", "other paragraph")):
            by_question[claim.question].append(claim.text)
    answers = [(id_, texts) for id_, texts in by_question.items() if len(texts) > 1]
    times: list[float] = []
    for id_, texts in answers[:: max(1, len(answers) // ANSWERS)][:ANSWERS]:
        query = Query(text=questions.get(id_, texts[0]), scope=scope)
        hits = (await service.query.search(query, Trace())).hits
        prompt = Prompt(question=query.text, scope=scope, hits=hits)
        quotes = quotes_for(prompt, service.answering.extractive)
        await quotes()  # is there before a model writes
        remedies = Remedies(may_revise=lambda: False, quotes=quotes)
        draft = service.answering.drafts.make(prompt, "strict", remedies)
        started = time.process_time()
        await draft.take(Delta(text=" ".join(texts[:2]), model="its"))
        await draft.finish()
        times.append(1e3 * (time.process_time() - started))
    return times


async def _shown(report: Report, service: Service, corpus: Corpus, claims: Sequence[Claim]) -> None:
    """Reports, for the claims made of each kind, the share that would be shown."""
    passages = {passage.id: passage for passage in corpus.passages}
    questions = {question.id: question.text for question in corpus.questions}
    grounding = Grounding(service.tokens, load_grounding())
    kinds: dict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        kinds[claim.kind].append(claim)
    for kind, made in kinds.items():
        taken = made[:: max(1, len(made) // MADE)][:MADE]
        shown = 0
        for claim in taken:
            chunk = chunk_of(passages[claim.passage])
            hit = Hit(chunk=chunk, score=1.0, source="fused", ranks={})

            async def quotes(text: str = chunk.text) -> Quoted:
                return Quoted(deltas=(Delta(text=text),), confidence=1.0)

            question = questions[claim.question]
            checker = ClaimChecker(question, [hit], grounding, quotes, load_answer_confidence())
            shown += (await checker.check(claim.text)).objection is None
        name = f"{corpus.name}: shown of {len(taken)} claims made: {kind}"
        report.add(name, shown / len(taken), target=TARGETS.get(kind))
