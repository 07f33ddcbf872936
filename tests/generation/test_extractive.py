from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from generation.extractive import ExtractiveGenerator
from generation.grounding.answerability import Judge
from generation.grounding.calibration import Calibration, load_calibration
from generation.grounding.choice import Features
from generation.grounding.citations import CitationChecker
from generation.grounding.evidence import EvidenceFinder
from rag.errors import InputError
from rag.types import (
    Chunk,
    Citation,
    Delta,
    Hit,
    Kind,
    Prompt,
    SamplingOverrides,
    Scope,
    TokenVectors,
)
from retrieval.bm25 import Bm25Encoder
from retrieval.embedders.embedder import BertEmbedder
from retrieval.embedders.loading import minilm_folder
from tests.fakes import CharacterSupport

pytestmark = pytest.mark.anyio

SCOPE = Scope(tenant="t", collection="c")
WATT = (
    "James Watt was a Scottish inventor. In 1769 he patented an engine\n"
    "with a separate condenser. He never built locomotives."
)
NORMANS = "The Normans gave their name to Normandy. Their leader was Rollo, a raider from Norway."
BREAD = "A sourdough starter is flour and water. It is fed every day."


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def embedder() -> Any:
    embedder = BertEmbedder(minilm_folder())
    yield embedder
    embedder.close()


class EqualIdf:
    """An index in which all terms have the same IDF."""

    async def idf(self, scope: Scope, terms: Sequence[int]) -> list[float]:
        return [1.0] * len(terms)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"generation has no business with Index.{name}")


@pytest.fixture
def finder(embedder: BertEmbedder) -> EvidenceFinder:
    return EvidenceFinder(embedder=embedder, encoder=Bm25Encoder(), index=EqualIdf())


@pytest.fixture
def generator(finder: EvidenceFinder) -> ExtractiveGenerator:
    return ExtractiveGenerator(Judge(finder=finder, calibration=load_calibration()))


def prompt(question: str, *texts: str, title: str = "") -> Prompt:
    hits = [
        Hit(
            chunk=Chunk(
                id=str(i),
                document_id=str(i),
                version="v",
                position=0,
                text=text,
                start=100,
                end=100 + len(text),
                title=title,
                uri=f"file:///{i}.txt",
            ),
            score=1.0,
            source="fused",
            ranks={"dense": i},
        )
        for i, text in enumerate(texts, start=1)
    ]
    return Prompt(question=question, scope=SCOPE, hits=tuple(hits))


async def collect(stream: AsyncIterator[Delta]) -> list[Delta]:
    return [delta async for delta in stream]


async def test_answers_with_the_sentence_and_its_marker(generator: ExtractiveGenerator) -> None:
    asked = prompt("What did James Watt patent in 1769?", NORMANS, WATT)
    *sentences, last = await collect(generator.stream(asked))
    text = "".join(delta.text for delta in sentences)
    assert "In 1769 he patented an engine with a separate condenser. [2]" in text
    assert len(sentences) <= 3
    assert last.text == ""
    assert last.abstained is None
    assert last.confidence is not None
    assert load_calibration().threshold < last.confidence < 1
    assert all(delta.confidence is None for delta in sentences)


async def test_every_sentence_is_verbatim(generator: ExtractiveGenerator) -> None:
    asked = prompt("Who was James Watt, the inventor of an engine?", WATT, NORMANS)
    *sentences, _ = await collect(generator.stream(asked))
    checker = CitationChecker(asked.hits, CharacterSupport())
    for delta in sentences:
        *text, citation = await checker.feed(delta.text)
        assert "".join(str(piece) for piece in text) == delta.text
        assert isinstance(citation, Citation)
        quoted, marker = re.fullmatch(r" ?(.+) \[(\d)\]", delta.text, re.DOTALL).groups()  # type: ignore[union-attr]
        assert citation.support == 1
        assert citation.marker == int(marker)
        assert " ".join(citation.quote.split()) == quoted
        assert (
            citation.quote
            == asked.hits[citation.marker - 1].chunk.text[citation.start - 100 : citation.end - 100]
        )


async def test_a_quotes_own_marker_is_told_apart(generator: ExtractiveGenerator) -> None:
    asked = prompt(
        "What did James Watt patent in 1769?", NORMANS, WATT.replace("engine", "engine [1]")
    )
    *sentences, _ = await collect(generator.stream(asked))
    text = "".join(delta.text for delta in sentences)
    events = await CitationChecker(asked.hits, CharacterSupport()).feed(text)
    assert {event.marker for event in events if isinstance(event, Citation)} == {2}


async def test_json_is_refused(generator: ExtractiveGenerator) -> None:
    asked = replace(prompt("Who?", WATT), sampling=SamplingOverrides(schema={"type": "object"}))
    with pytest.raises(InputError, match=r"Leave it out, or set generator\.kind"):
        await collect(generator.stream(asked))


async def test_without_hits_there_are_no_documents(generator: ExtractiveGenerator) -> None:
    assert await collect(generator.stream(prompt("Who was James Watt?"))) == [
        Delta(confidence=0.0, abstained="no_documents")
    ]


@pytest.mark.parametrize(
    ("question", "text", "reason"),
    [
        ("", WATT, "no_question"),
        (" \n", WATT, "no_question"),
        ("Who was James Watt?", "* * *\n\n----", "no_match"),
    ],
)
async def test_without_words_nothing_matches(
    generator: ExtractiveGenerator, question: str, text: str, reason: str
) -> None:
    (delta,) = await collect(generator.stream(prompt(question, text)))
    assert (delta.text, delta.abstained) == ("", reason)


async def test_what_is_nowhere_mentioned_does_not_match(generator: ExtractiveGenerator) -> None:
    (delta,) = await collect(generator.stream(prompt("How do I bake sourdough?", WATT, NORMANS)))
    assert (delta.text, delta.abstained) == ("", "no_match")
    assert delta.confidence is not None
    assert delta.confidence < load_calibration().threshold


async def test_what_is_only_mentioned_is_weak_evidence(generator: ExtractiveGenerator) -> None:
    asked = prompt("What does an engine mechanic in Peru earn?", WATT)
    (delta,) = await collect(generator.stream(asked))
    assert (delta.text, delta.abstained) == ("", "weak_evidence")


async def test_the_threshold_can_be_set(finder: EvidenceFinder) -> None:
    judge = Judge(finder=finder, calibration=load_calibration(), threshold=1.0)
    strict = ExtractiveGenerator(judge)
    (delta,) = await collect(strict.stream(prompt("Who was James Watt?", WATT)))
    assert delta.abstained == "weak_evidence"


async def test_sentences_read_in_the_order_of_their_passage(
    generator: ExtractiveGenerator,
) -> None:
    text = "Rollo led the Normans. He came from Norway. Rollo the Norman was a raider."
    *sentences, _ = await collect(generator.stream(prompt("Who was Rollo of the Normans?", text)))
    places = [text.index(delta.text.strip().removesuffix(" [1]")) for delta in sentences]
    assert len(places) > 1
    assert places == sorted(places)


async def test_the_same_sentence_is_said_once(finder: EvidenceFinder) -> None:
    again = WATT.replace("In 1769 he", "In 1769, he")
    evidence = await finder.find(prompt("What did James Watt patent in 1769?", WATT, again))
    assert evidence is not None
    quoted = [(WATT, again)[s.place][s.start : s.end].replace(",", "") for s in evidence.sentences]
    assert len(quoted) == len(set(quoted))


async def test_titles_above_a_sentence_count(finder: EvidenceFinder) -> None:
    question, text = "When did James Watt die?", "He died in 1819."
    without = await finder.find(prompt(question, text))
    titled = await finder.find(prompt(question, text, title="James Watt"))
    assert without is not None
    assert titled is not None
    assert titled.features[0].coverage > without.features[0].coverage
    assert (without.features[0].name_missing, titled.features[0].name_missing) == (1, 0)


async def test_each_quote_has_features_of_what_it_lacks(finder: EvidenceFinder) -> None:
    text = "Mill Bridge is closed from 7 April. The works on Mill Bridge cost 2 million pounds."
    evidence = await finder.find(prompt("What do the works on Mill Bridge cost?", text))
    assert evidence is not None
    missing = {
        text[s.start : s.end].split(maxsplit=1)[0]: features.type_missing
        for s, features in zip(evidence.sentences, evidence.features, strict=True)
    }
    assert missing["The"] == 0
    assert missing.get("Mill", 1) == 1


async def test_a_near_miss_has_less_confidence_than_an_answer(finder: EvidenceFinder) -> None:
    text = "Mill Bridge is closed from 7 April to 27 June. It can be crossed on a footbridge."
    judge = Judge(finder=finder, calibration=load_calibration())
    answered, *near = [
        (await judge.judge(prompt(question, text))).confidence
        for question in (
            "When is Mill Bridge closed?",
            "How much does Mill Bridge cost?",
            "How many cars cross Mill Bridge?",
        )
    ]
    assert max(near) < answered / 2


class NoTokens:
    """An encoder that returns no token vectors for passages: its window was full."""

    async def embed_tokens(self, texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        import numpy as np

        rows = 2 if kind == "query" else 0
        vectors, spans = np.eye(2, 4, dtype=np.float32), np.zeros((2, 2), np.int32)
        return [TokenVectors(vectors=vectors[:rows], spans=spans[:rows]) for _ in texts]


async def test_what_the_encoder_did_not_see_is_no_evidence() -> None:
    finder = EvidenceFinder(embedder=NoTokens(), encoder=Bm25Encoder(), index=EqualIdf())
    assert await finder.find(prompt("Who was James Watt?", WATT)) is None


def test_probability_is_the_logistic_function() -> None:
    calibration = Calibration(
        intercept=-1.0, coefficients={"sentence": 2.0, "name_missing": -1.0}, threshold=0.5
    )
    features = Features(sentence=0.25, coverage=1.0, name_missing=1.0)
    assert calibration.probability(features) == pytest.approx(1 / (1 + math.exp(1.5)))


def test_the_calibration_that_ships_knows_every_feature(tmp_path: Path) -> None:
    calibration = load_calibration()
    assert calibration.coefficients.keys() == Features.__dataclass_fields__.keys()
    assert 0 < calibration.threshold < 1
