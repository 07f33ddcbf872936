"""Scores live answers in the background, not while a question is answered.

Scores that need no judge (names as in Prometheus and Langfuse), each 0 to 1:

- `groundedness`: how well the passages support the answer's sentences, on average
  (`generation.grounding`).
- `citation_precision`: share of the markers that were written whose passage supports the text
  before them.
- `citation_coverage`: share of the sentences that have a citation. Both as in ALCE (Gao et al.
  2023, https://arxiv.org/abs/2305.14627), by the check that every answer goes through.
- `context_relevance`: likeness of the question and the passages, weighted by their place (by
  1 / log2(place + 1), as in nDCG).
- `answer_relevance`: likeness of question and answer.
- `abstained`: 0 or 1.

Likeness is late interaction (Khattab & Zaharia 2020, https://arxiv.org/abs/2004.12832): the
similarity of each of the question's tokens with the nearest token of the text, on average. A
language model as a judge adds `judge_groundedness` and `judge_relevance`.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from eval.online.judge import AnswerJudge, Verdict
from generation.grounding.citations import claims_of, count_markers
from generation.grounding.groundedness import (
    ClaimScorer,
    EntailedGrounding,
    Grounding,
    load_grounding,
)
from rag.build.generation import open_judge, open_support
from rag.build.ingest import Ingesting
from rag.catalog.answers import Answers
from rag.errors import UpstreamError
from rag.feedback.observer import Traces
from rag.gateway.charges import charge_of
from rag.inference.arithmetic import product
from rag.protocols import ChatModel, Embedder, SupportScorer, TokenEmbedder
from rag.records import LiveAnswer
from rag.telemetry import metrics
from rag.telemetry.metering import Meter
from rag.telemetry.trace import Score, trace_from
from rag.text.passages import passage_text
from rag.types import Chunk, Float32Array
from retrieval.embedders.token_cache import TokenCache

MAX_CLAIMS = 32
"""Sentences of an answer that are compared with its passages, at most: the first ones."""
CACHE_BYTES = 8 << 20
"""Bytes of cached token vectors: an answer's passages are read several times."""
LOW = {
    *("groundedness", "citation_precision", "citation_coverage"),
    *("judge_groundedness", "judge_relevance"),
}
"""Scores that a limit applies to: not likeness, which is low in some languages, high in others."""
_SPANS = {
    "groundedness": "generate",
    "answer_relevance": "generate",
    "judge_groundedness": "generate",
    "judge_relevance": "generate",
    "citation_precision": "cite",
    "citation_coverage": "cite",
    "context_relevance": "retrieve",
}
_log = logging.getLogger(__name__)


class OnlineScorer:
    """Scores answers, and reports scores to the catalog, Prometheus and Langfuse."""

    def __init__(
        self,
        *,
        answers: Answers,
        embedder: Embedder,
        tokens: TokenEmbedder,
        grounding: ClaimScorer,
        judge: AnswerJudge | None,
        traces: Traces,
        low: float,
        meter: Callable[[str], Meter] = lambda _: Meter(),
    ) -> None:
        """Make a scorer.

        Args:
            answers: the store of answers.
            embedder: makes the question's vector, by which drift is detected.
            tokens: makes token vectors; nobody waits for them.
            grounding: scores sentences.
            judge: adds scores, if there is one.
            traces: receives the scores.
            low: if a score of `LOW` is below this, the trace is sent, whatever the sampling rate.
            meter: returns what the judge of a tenant's answer is charged by.
        """
        self._answers = answers
        self._embedder = embedder
        self._tokens = tokens
        self._grounding = grounding
        self._judge = judge
        self._traces = traces
        self._low = low
        self._meter = meter

    async def score(self, ids: Sequence[str]) -> None:
        """Scores those of these answers that have no scores yet; a failure does not stop the rest.

        Answers that fail temporarily stay unscored, and are tried again later.

        Raises:
            StorageError, UpstreamError: The catalog cannot be used.
        """
        for answer in await self._answers.unscored(ids):
            try:
                found = await self._found(answer)
            except UpstreamError as error:
                _log.warning("An answer is not scored yet: %s", error.in_full())
                metrics.scored("postponed")
            except Exception as error:  # noqa: BLE001 - one failure must not stop the rest
                # Without its message, which may hold the answer's words.
                _log.error("An answer cannot be scored (%s).", type(error).__name__)
                metrics.scored("failed")
                tenant, content = answer.scope.tenant, answer.content
                await self._answers.scored(tenant, answer.id, {}, embedding=None, content=content)
            else:
                await self._store(answer, *found)

    async def _found(
        self, answer: LiveAnswer
    ) -> tuple[dict[str, float], dict[str, str], Float32Array]:
        """Returns scores and comments by name, and the question's vector."""
        content = answer.content or {}
        question, text = content["question"], content["answer"]
        passages = [_chunk(passage) for passage in content["passages"]]
        scores = await self.measure(
            question,
            text,
            passages,
            is_json=content["is_json"],
            unsupported=content["unsupported"],
            uncited=len(content["uncited"]),
        )
        verdict = await self.judge(question, text, passages, self._meter(answer.scope.tenant))
        metrics.cost("judge", verdict.cost, answer.scope.tenant)
        if verdict.failed or verdict.scores:
            metrics.judged("failed" if verdict.failed else "scored")
        scores |= verdict.scores
        comments = dict.fromkeys(verdict.scores, f"{verdict.prompt}: {verdict.reason}")
        # Embedded like a passage, because passages wait for questions that users wait for.
        vectors = await self._embedder.embed([question], kind="passage")
        return scores, comments, vectors[0]

    async def _store(
        self,
        answer: LiveAnswer,
        scores: Mapping[str, float],
        comments: Mapping[str, str],
        embedding: Float32Array,
    ) -> None:
        """Writes scores to the catalog, to Prometheus, and to the place of the trace."""
        kept = {name: value for name, value in scores.items() if name != "abstained"}  # it is known
        content = _without_texts(answer.content or {})
        if not await self._answers.scored(
            answer.scope.tenant, answer.id, kept, embedding=embedding, content=content
        ):
            return  # another process scored it first
        metrics.scored("scored")
        for name, value in scores.items():
            metrics.score(name, value)
        if answer.trace:
            if all(scores[name] >= self._low for name in LOW & scores.keys()):
                return  # its trace was not sent
            self._traces.send(replace(trace_from(answer.trace), sampled=True))
        self._traces.score(
            [
                Score(
                    name=name,
                    value=value,
                    trace_id=answer.trace_id,
                    tenant=answer.scope.tenant,
                    span_id=answer.spans.get(_SPANS.get(name, ""), ""),
                    comment=comments.get(name, ""),
                )
                for name, value in scores.items()
            ]
        )

    async def judge(
        self, question: str, answer: str, passages: Sequence[Chunk], meter: Meter | None = None
    ) -> Verdict:
        """Returns the judge's verdict; an empty one if there is no judge or no answer."""
        if self._judge is None or not answer:
            return Verdict()
        return await self._judge.judge(question, answer, passages, meter)

    async def measure(
        self,
        question: str,
        answer: str,
        passages: Sequence[Chunk],
        *,
        is_json: bool,
        unsupported: int,
        uncited: int,
    ) -> dict[str, float]:
        """Computes the scores that need no judge, by name; without a text, not those of the text.

        Args:
            question: the question.
            answer: the answer with its markers; empty if it abstained.
            passages: the passages that the generator was given, best first.
            is_json: True if the answer is JSON; then its strings are scored.
            unsupported: the number of markers that were removed.
            uncited: the number of sentences without a marker.
        """
        scores = {"abstained": float(not answer)}
        if passages:
            scores["context_relevance"] = await self._context_relevance(question, passages)
        claims = _claims(answer, is_json=is_json)
        if not claims:
            return scores
        grounded = await self._grounding.score(claims[:MAX_CLAIMS], passages)
        scores["groundedness"] = float(grounded.mean())
        held = count_markers(answer)
        if held + unsupported:
            scores["citation_precision"] = held / (held + unsupported)
        if not is_json:  # short strings of JSON need no citation
            scores["citation_coverage"] = 1 - uncited / len(claims)
        (likeness,) = await self._likeness(question, [" ".join(claims)])
        scores["answer_relevance"] = likeness
        return scores

    async def _context_relevance(self, question: str, passages: Sequence[Chunk]) -> float:
        found = await self._likeness(question, [passage_text(chunk) for chunk in passages])
        weights = 1 / np.log2(np.arange(len(found)) + 2)
        return float(np.average(found, weights=weights))

    async def _likeness(self, question: str, texts: Sequence[str]) -> list[float]:
        (question_vectors,) = await self._tokens.embed_tokens([question], kind="query")
        vectors = await self._tokens.embed_tokens(texts, kind="passage")
        return [_max_sim(question_vectors.vectors, each.vectors) for each in vectors]


def _max_sim(question: Float32Array, text: Float32Array) -> float:
    if not len(question) or not len(text):
        return 0.0
    return float(np.clip(product(question, text).max(axis=1).mean(), 0, 1))


def _claims(answer: str, *, is_json: bool) -> tuple[str, ...]:
    """Returns the claims of an answer's sentences; for JSON, those of its strings."""
    return claims_of("\n\n".join(_strings(json.loads(answer))) if is_json else answer)


def _without_texts(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content to store after scoring: the documents hold the passages' texts."""
    return {**content, "passages": [{**p, "text": ""} for p in content["passages"]]}


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list() | dict():
            for item in value.values() if isinstance(value, dict) else value:
                yield from _strings(item)
        case _:
            return


def _chunk(passage: Mapping[str, Any]) -> Chunk:
    return Chunk(
        id=passage["chunk_id"],
        document_id=passage["document_id"],
        version="",
        position=0,
        text=passage["text"],
        start=passage["start"],
        end=passage["end"],
        title=passage["title"],
        headings=tuple(passage["headings"]),
        uri="",
    )


@contextlib.asynccontextmanager
async def open_scorer(
    holder: Ingesting,
    *,
    model: ChatModel | None = None,
    support: SupportScorer | None = None,
    tokens: TokenEmbedder | None = None,
    judged: bool = True,
) -> AsyncIterator[OnlineScorer]:
    """Opens a scorer that uses the open parts of a process.

    Args:
        holder: the process's parts.
        model: the language model that writes, if this process has one open.
        support: the checker of citations, if this process has one open.
        tokens: the embedder by which the answers' passages were read, if this process has one
            open: if it caches token vectors, they are not made again.
        judged: False to open no judge.

    Raises:
        ConfigError: The judge cannot be opened.
    """
    settings, observer = holder.settings, holder.observer
    async with contextlib.AsyncExitStack() as stack:
        judging = await open_judge(settings, model, stack) if judged else None
        beside = tokens if isinstance(tokens, TokenCache) else None
        background = holder.embedder.in_background()
        tokens = TokenCache(background, max_bytes=CACHE_BYTES, beside=beside)
        grounding: ClaimScorer = Grounding(tokens, load_grounding())
        if settings.citations.entailment:
            support = support or await open_support(settings.citations, tokens, stack)
            grounding = EntailedGrounding(support)
        yield OnlineScorer(
            answers=observer.answers,
            embedder=holder.embedder,
            tokens=tokens,
            grounding=grounding,
            judge=AnswerJudge(judging) if judging else None,
            traces=observer.traces,
            low=settings.online.low,
            meter=partial(charge_of, holder.ledger),
        )
