"""Finds the passages' best sentences for a question, and measures how well they fit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from generation.grounding.presence import Missing, Wanted, missing_words, names
from rag.inference.arithmetic import product
from rag.protocols import SparseEncoder, StoredVectors, TokenEmbedder
from rag.text.passages import heading_text, passage_text, token_ranges
from rag.text.sentences import sentence_spans
from rag.types import Chunk, Float32Array, Prompt, Span, SparseVector, TokenVectors

MAX_SENTENCES = 3
MAX_PASSAGES = 10
"""Passages that are read: encoding them takes most of the time of an answer."""
COVERAGE_WEIGHT = 0.5
"""Weight of term coverage. Late interaction counts twice, for the sentence and for its passage."""
WEAKER_BY = 0.3
"""Distance to the best score beyond which a sentence is left out. Answers get shorter by a quarter,
and one in a hundred loses the sentence that mattered."""
SAME_TERMS = 0.75
"""Jaccard similarity of their terms from which two sentences count as saying the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """Characters `start` to `end` of the chunk text of `prompt.hits[place]`."""

    place: int
    start: int
    end: int
    score: float

    @property
    def span(self) -> Span:
        """The characters."""
        return self.start, self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Measures how well the best sentence and its passage fit the question, for the confidence.

    Attributes:
        sentence: late interaction of question and sentence, -1 to 1.
        coverage: IDF-weighted share of the question's terms in the sentence, the sentence before it
            and the titles above it, 0 to 1.
        name_missing: 1 if the question has a name or a number that the passage has not, else 0.
    """

    sentence: float
    coverage: float
    name_missing: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """At most `MAX_SENTENCES` sentences, best first, and the features of the first."""

    sentences: tuple[Sentence, ...]
    features: Features
    absent: tuple[str, ...] = ()
    """Identifiers of the question that no passage has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """`terms` are the ids of its terms, ascending, `weights` their IDF divided by its sum."""

    tokens: Float32Array
    terms: npt.NDArray[np.int32]
    weights: Float32Array
    names: npt.NDArray[np.bool_]

    def has(self, bags: Sequence[SparseVector]) -> npt.NDArray[np.bool_]:
        """Returns bool[bags, terms]: True if the question's term is in the bag."""
        has = np.zeros((len(bags), len(self.terms)), np.bool_)
        if len(self.terms):
            ids = np.concatenate([bag.indices for bag in bags])
            of = np.repeat(np.arange(len(bags)), [len(bag.indices) for bag in bags])
            place = np.searchsorted(self.terms, ids).clip(max=len(self.terms) - 1)
            same = self.terms[place] == ids
            has[of[same], place[same]] = True
        return has


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    sentence: Sentence
    terms: frozenset[int]
    features: Features


class EvidenceFinder:
    """Ranks the sentences of a prompt's passages by how well they answer its question.

    A sentence scores the late interaction of its tokens with the question's, plus that of its whole
    passage, plus `COVERAGE_WEIGHT` times its coverage (see `Features`). Late interaction is the
    mean over the question's tokens of the best cosine with any token of the other text (Khattab &
    Zaharia 2020, https://arxiv.org/abs/2004.12832). A sentence's tokens are those of its passage
    encoded whole, so that "he" has the meaning of the name it stands for.
    """

    def __init__(
        self, *, embedder: TokenEmbedder, encoder: SparseEncoder, index: StoredVectors
    ) -> None:
        self._embedder = embedder
        self._encoder = encoder
        self._index = index

    async def find(self, prompt: Prompt) -> Evidence | None:
        """Returns the sentences to answer with; None if question or passages have no words.

        1. encode question and passages  2. score their sentences  3. choose among them
        """
        chunks = [hit.chunk for hit in prompt.hits[:MAX_PASSAGES]]
        question, passages = await asyncio.gather(  # 1.
            self._question(prompt),
            self._embedder.embed_tokens([passage_text(c) for c in chunks], kind="passage"),
        )
        if not len(question.tokens):
            return None
        candidates: list[_Candidate] = []
        for place, (chunk, tokens) in enumerate(zip(chunks, passages, strict=True)):
            candidates += self._candidates(question, place, chunk, tokens)  # 2.
        if not candidates:
            return None
        wanted = Wanted(prompt.question, chunks)
        about = [c for c in candidates if wanted.allows(c.sentence.place, *c.sentence.span)]
        chosen = _choose(about or candidates)  # 3.
        return Evidence(
            sentences=tuple(c.sentence for c in chosen),
            features=chosen[0].features,
            absent=wanted.absent,
        )

    def missing(self, prompt: Prompt) -> Missing:
        """Returns the words of the question that none of its passages has."""
        chunks = [hit.chunk for hit in prompt.hits[:MAX_PASSAGES]]
        return missing_words(prompt.question, chunks, self._encoder)

    async def _question(self, prompt: Prompt) -> _Question:
        text = prompt.question
        (tokens,) = await self._embedder.embed_tokens([text], kind="query")
        whole, named = self._encoder.encode([text, " ".join(names(text))])
        idf = np.array(await self._index.idf(prompt.scope, whole.indices.tolist()), np.float32)
        return _Question(
            tokens=tokens.vectors,
            terms=whole.indices,
            weights=idf / (idf.sum() or 1),
            names=np.isin(whole.indices, named.indices),
        )

    def _candidates(
        self, question: _Question, place: int, chunk: Chunk, tokens: TokenVectors
    ) -> Iterator[_Candidate]:
        prefix = heading_text(chunk)
        spans = sentence_spans(chunk.text)
        texts = [chunk.text[start:end] for start, end in spans]
        bags = self._encoder.encode([prefix, *texts])
        above, *has = found = question.has(bags)
        name_missing = float((question.names & ~found.any(axis=0)).any())
        cosines = product(question.tokens, tokens.vectors)
        passage = float(cosines.max(axis=1).mean()) if cosines.size else 0.0
        ranges = token_ranges(tokens, chunk, spans)
        for i, (first, last) in enumerate(ranges):
            terms = frozenset(bags[i + 1].indices.tolist())
            if first == last or not terms:  # past the encoder's window, or without terms
                continue
            before = has[i - 1] if i else above
            features = Features(
                sentence=float(cosines[:, first:last].max(axis=1).mean()),
                coverage=float(question.weights @ (has[i] | before | above)),
                name_missing=name_missing,
            )
            score = features.sentence + passage + COVERAGE_WEIGHT * features.coverage
            yield _Candidate(
                sentence=Sentence(place=place, start=spans[i][0], end=spans[i][1], score=score),
                terms=terms,
                features=features,
            )


def _choose(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Returns the best few sentences that differ, best first."""
    ranked = sorted(candidates, key=lambda c: -c.sentence.score)
    weakest = ranked[0].sentence.score - WEAKER_BY
    chosen: list[_Candidate] = []
    for candidate in ranked:
        if len(chosen) == MAX_SENTENCES or candidate.sentence.score < weakest:
            break
        if not any(_same(candidate.terms, other.terms) for other in chosen):
            chosen.append(candidate)
    return chosen


def _same(a: frozenset[int], b: frozenset[int]) -> bool:
    return len(a & b) >= SAME_TERMS * len(a | b)
