"""Finds the passages' best sentences for a question, and measures how well they fit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from generation.grounding.agreement import AskedWord, content_words, with_agreement
from generation.grounding.choice import WEAKER_BY, Candidate, Features, Sentence, choose
from generation.grounding.editions import Editions
from generation.grounding.presence import Missing, Wanted, missing_words, names
from generation.grounding.typing_errors import mended
from generation.grounding.units import Unit, units
from rag.inference.arithmetic import product
from rag.protocols import SparseEncoder, StoredVectors, TokenEmbedder
from rag.text.passages import heading_text, passage_text, token_ranges
from rag.text.quoted import Overtaken, is_quoted
from rag.types import Chunk, Float32Array, Prompt, Span, SparseVector, TokenVectors

MAX_PASSAGES = 10
"""Passages that are read: encoding them takes most of the time of an answer."""
KNOWN_PASSAGES = 1024
"""Passages whose units and terms are kept: the same ones are found for many questions."""
COVERAGE_WEIGHT = 0.5
"""Weight of term coverage. Late interaction counts twice, for the sentence and for its passage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The few sentences, lists and rows to answer with, best first, and the features of each."""

    sentences: tuple[Sentence, ...]
    features: tuple[Features, ...]
    absent: tuple[str, ...] = ()
    """Identifiers of the question that no passage has."""
    dates: tuple[tuple[int, str], ...] = ()
    """The places of passages that are editions of one document, and their dates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """`terms` are the ids of its terms, ascending, `weights` their IDF divided by its sum.

    `words` are its content words.
    """

    tokens: Float32Array
    spans: npt.NDArray[np.int32]
    terms: npt.NDArray[np.int32]
    weights: Float32Array
    names: npt.NDArray[np.bool_]
    words: tuple[AskedWord, ...]

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


@dataclass(frozen=True, slots=True)
class _Passage:
    """A chunk; it is equal to others of which the same is read."""

    title: str
    headings: tuple[str, ...]
    text: str
    is_first: bool
    chunk: Chunk = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """The units of a passage, and the terms of the lines above it and of each unit."""

    units: list[Unit]
    bags: list[SparseVector]
    terms: list[frozenset[int]]


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
        self._read = lru_cache(maxsize=KNOWN_PASSAGES)(self._read_anew)

    async def find(self, prompt: Prompt) -> Evidence | None:
        """Returns the sentences to answer with; None if question or passages have no words.

        1. encode question and passages  2. score their sentences  3. choose among them
        """
        chunks = [hit.chunk for hit in prompt.hits[:MAX_PASSAGES]]
        texts = [passage_text(chunk) for chunk in chunks]
        question, passages = await asyncio.gather(  # 1.
            self._question(prompt), self._embedder.embed_tokens(texts, kind="passage")
        )
        if not len(question.tokens):
            return None
        text = mended(prompt.question, question.spans, texts)
        if text != prompt.question:
            question = await self._question(replace(prompt, question=text))
        candidates: list[Candidate] = []
        nearest: list[Float32Array] = []
        for place, (chunk, tokens) in enumerate(zip(chunks, passages, strict=True)):
            cosines = product(question.tokens, tokens.vectors)
            nearest.append(cosines.max(axis=1, initial=-1.0))
            candidates += self._candidates(question, place, chunk, tokens, cosines)  # 2.
        if not candidates:
            return None
        wanted = Wanted(prompt.question, chunks)
        about = [c for c in candidates if wanted.allows(c.sentence.place, *c.sentence.span)]
        overtaken = Overtaken(prompt.question, chunks)
        standing = [
            c for c in about or candidates if (c.sentence.place, *c.sentence.span) not in overtaken
        ]
        editions = Editions(prompt.question, chunks)
        preferred = editions.preferred(standing or about or candidates)
        chosen = choose(preferred, prompt.question)  # 3.
        chosen += editions.contradicting(chosen, preferred)
        quoted = editions.newest_first(chosen)
        return Evidence(
            sentences=tuple(c.sentence for c in quoted),
            features=tuple(
                with_agreement(c, text, question.words, nearest[c.sentence.place]) for c in quoted
            ),
            absent=wanted.absent,
            dates=editions.shown(chosen),
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
        weight = dict(zip(whole.indices.tolist(), idf.tolist(), strict=True))
        content = content_words(text)
        bags = self._encoder.encode([word[0] for word in content])
        return _Question(
            tokens=tokens.vectors,
            spans=tokens.spans,
            terms=whole.indices,
            weights=idf / (idf.sum() or 1),
            names=np.isin(whole.indices, named.indices),
            words=tuple(
                AskedWord(
                    text=word[0],
                    tokens=(tokens.spans[:, 0] >= word.start())
                    & (tokens.spans[:, 1] <= word.end()),
                    weight=max((weight.get(term, 0.0) for term in bag.indices.tolist()), default=0),
                )
                for word, bag in zip(content, bags, strict=True)
            ),
        )

    def _read_anew(self, passage: _Passage) -> _Read:
        chunk = passage.chunk
        found = units(chunk)
        texts = (chunk.text[unit.start : unit.end] for unit in found)
        bags = self._encoder.encode([heading_text(chunk), *texts])
        terms = [frozenset(bag.indices.tolist()) for bag in bags[1:]]
        return _Read(units=found, bags=bags, terms=terms)

    def _candidates(
        self,
        question: _Question,
        place: int,
        chunk: Chunk,
        tokens: TokenVectors,
        cosines: Float32Array,
    ) -> Iterator[Candidate]:
        read = self._read(_passage(chunk))
        found = read.units
        above, *has = asked = question.has(read.bags)
        name_missing = float((question.names & ~asked.any(axis=0)).any())
        passage = float(cosines.max(axis=1).mean()) if cosines.size else 0.0
        near = _Near(cosines, tokens, chunk)
        by_span = {unit.span: row for unit, row in zip(found, has, strict=True)}
        # What a mail quotes was said before: it is left out beside what is new and as good.
        weaker_by = WEAKER_BY if is_quoted(chunk) else 0.0
        ranges = token_ranges(tokens, chunk, [unit.span for unit in found])
        for i, (unit, (first, last)) in enumerate(zip(found, ranges, strict=True)):
            terms = read.terms[i]
            if not unit.answers or first == last or not terms:  # or past the encoder's window
                continue
            own = asked_for = has[i]
            read_with = above if unit.listing or unit.row or not i else above | has[i - 1]
            for span in unit.context:
                known = by_span.get(span, above)
                read_with, asked_for = read_with | known, asked_for & ~known
            features = Features(
                sentence=near.interaction(first, last, unit.context),
                coverage=float(question.weights @ (own | read_with)),
                name_missing=name_missing,
            )
            score = features.sentence + passage + COVERAGE_WEIGHT * features.coverage - weaker_by
            yield Candidate(
                sentence=Sentence(
                    place=place,
                    start=unit.start,
                    end=unit.end,
                    score=score,
                    kind="row" if unit.row else "sentence",
                ),
                unit=unit,
                chunk=chunk,
                terms=terms,
                asked=asked_for,
                features=features,
            )


def _passage(chunk: Chunk) -> _Passage:
    return _Passage(chunk.title, chunk.headings, chunk.text, chunk.start == 0, chunk)


class _Near:
    """Late interaction of the question's tokens with those of a passage."""

    def __init__(self, cosines: Float32Array, tokens: TokenVectors, chunk: Chunk) -> None:
        self._cosines = cosines
        self._tokens = tokens
        self._chunk = chunk
        self._contexts: dict[Span, Float32Array] = {}

    def interaction(self, first: int, last: int, context: Sequence[Span]) -> float:
        """Returns it with the tokens `first` to `last`, and those of the context."""
        best = self._cosines[:, first:last].max(axis=1)
        for span in context:
            best = np.maximum(best, self._context(span))
        return float(best.mean())

    def _context(self, span: Span) -> Float32Array:
        if span not in self._contexts:
            ((first, last),) = token_ranges(self._tokens, self._chunk, [span])
            self._contexts[span] = self._cosines[:, first:last].max(axis=1, initial=-1.0)
        return self._contexts[span]
