"""The documents' own sentences are found once for the generator and the check."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from generation.grounding.answer_confidence import given_answer
from generation.grounding.evidence import Evidence
from generation.grounding.presence import Missing
from generation.grounding.quotes import Quoted, quotes_for
from generation.grounding.shared_evidence import KNOWN, SharedEvidence
from rag.types import Delta, Hit, Prompt, SamplingOverrides, Scope
from tests.fakes import make_chunk

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

QUOTE = "A taxi ride is refunded up to £50. [1]"


class Counting:
    """A finder that finds nothing, and counts."""

    def __init__(self) -> None:
        self.asked = 0

    async def find(self, prompt: Prompt) -> Evidence | None:
        self.asked += 1
        return None

    def missing(self, prompt: Prompt) -> Missing:
        return Missing(words=("taxi",), everything=True)


class Generator:
    """Quotes, or abstains."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self.asked: list[Prompt] = []

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        self.asked.append(prompt)
        for text in self.texts:
            yield Delta(text=text)
        yield Delta(confidence=0.7)


def prompt(text: str = "A taxi ride is refunded up to £50.") -> Prompt:
    hits = (Hit(chunk=make_chunk(text), score=1.0, source="fused", ranks={}),)
    return Prompt(question="What is refunded?", scope=Scope(tenant="t", collection="c"), hits=hits)


async def test_evidence_is_found_once_for_a_question_and_its_passages() -> None:
    finder = Counting()
    shared = SharedEvidence(finder)
    first = prompt()
    for each in (first, replace(first, message="the same"), first):
        await shared.find(each)
    assert finder.asked == 1
    await shared.find(replace(first, question="Another?"))
    await shared.find(prompt())  # equal passages of another search
    assert finder.asked == 3
    for _ in range(KNOWN):
        await shared.find(prompt())
    await shared.find(first)
    assert finder.asked == 3 + KNOWN + 1
    assert shared.missing(first).words == ("taxi",)


async def test_quotes_are_made_once_and_as_text() -> None:
    generator = Generator(QUOTE, " More. [1]")
    sampling = SamplingOverrides(schema={"type": "object"})
    quotes = quotes_for(replace(prompt(), sampling=sampling), generator)
    assert await quotes() == await quotes()
    assert (await quotes()).text == f"{QUOTE} More. [1]"
    assert (await quotes()).confidence == 0.7
    assert [asked.sampling.schema for asked in generator.asked] == [None]


@pytest.mark.parametrize(
    ("sentence", "told", "type_missing"),
    [
        ("It is up to £50 for a taxi ride.", 1.0, 0.0),
        ("Hotels are booked early.", 0.0, 1.0),
    ],
)
def test_a_sentence_is_compared_with_the_quotes(
    sentence: str, told: float, type_missing: float
) -> None:
    question = "How much does a ride cost to be refunded?"
    given = given_answer(question, sentence, Quoted(deltas=(Delta(text=QUOTE),), confidence=1))
    assert given.type_missing == type_missing
    assert given.told == told
    assert 6 < given.evidence < 8  # certainty has no infinite odds


@pytest.mark.parametrize("text", ["", "Is a taxi ride refunded? [1]"])
def test_quotes_without_words_of_their_own_are_not_told_by_any_sentence(text: str) -> None:
    quoted = Quoted(deltas=(Delta(text=text),), confidence=0.2)
    question = "Is a taxi ride refunded?"
    assert given_answer(question, "Bob wrote it.", quoted).told == 0
    assert given_answer(question, "A taxi ride is refunded.", quoted).told == (
        0.0 if not text else 1.0
    )
