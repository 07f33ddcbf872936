"""Answers made of the passages' own sentences, verbatim and cited, without a language model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

from generation.grounding.answerability import Judge
from generation.grounding.citations import escape_markers
from generation.grounding.evidence import Evidence, Sentence
from rag.errors import InputError
from rag.types import Delta, Prompt


class ExtractiveGenerator:
    """`Generator` that answers with at most three sentences, or says that it cannot."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """One delta for each sentence with its marker, then one with the confidence.

        Sentences of one passage stay together and in its order; the passage with the best sentence
        comes first.

        Raises:
            InputError: JSON is requested.
        """
        if prompt.sampling.schema is not None:
            raise InputError(
                "Answers in JSON (response_format) are written by a language model, and here are"
                " the documents' own sentences alone. Leave it out, or set generator.kind.",
                code="no_json",
            )
        verdict = await self._judge.judge(prompt)
        if verdict.evidence:
            gap = ""
            for sentence in _reading_order(verdict.evidence):
                yield Delta(text=gap + _cited(sentence, prompt))
                gap = " "
        yield Delta(
            confidence=verdict.confidence,
            abstained=verdict.abstained,
            missing=verdict.missing,
        )


def _reading_order(evidence: Evidence) -> Iterator[Sentence]:
    places = dict.fromkeys(sentence.place for sentence in evidence.sentences)
    for place in places:
        inside = (s for s in evidence.sentences if s.place == place)
        yield from sorted(inside, key=lambda s: s.start)


def _cited(sentence: Sentence, prompt: Prompt) -> str:
    quote = prompt.hits[sentence.place].chunk.text[sentence.start : sentence.end]
    return f"{escape_markers(' '.join(quote.split()))} [{sentence.place + 1}]"
