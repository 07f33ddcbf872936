"""Answers made of the passages' own sentences, verbatim and cited, without a language model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

from generation.grounding.answerability import Judge
from generation.grounding.choice import Sentence
from generation.grounding.citations import escape_markers
from generation.grounding.evidence import Evidence
from rag.errors import InputError
from rag.text.table_cells import row_at
from rag.types import Delta, Prompt


class ExtractiveGenerator:
    """`Generator` that answers with a few sentences, lists or rows, or says that it cannot."""

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
            before: Sentence | None = None
            dates = dict(verdict.evidence.dates)
            for sentence in _reading_order(verdict.evidence):
                date = f" ({dates[sentence.place]})" if sentence.place in dates else ""
                yield Delta(text=_gap(before, sentence) + _cited(sentence, prompt) + date)
                before = sentence
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


def _gap(before: Sentence | None, sentence: Sentence) -> str:
    """Returns what stands before a quote: a list and a row begin and end a line."""
    if before is None:
        return ""
    lines = any(s.kind != "sentence" for s in (before, sentence))
    return "\n" if lines else " "


def _cited(sentence: Sentence, prompt: Prompt) -> str:
    """Returns a quote and its marker: a list with its lines, a row as "column: value"."""
    chunk = prompt.hits[sentence.place].chunk
    quote = chunk.text[sentence.start : sentence.end]
    if sentence.kind == "row":
        quote = row_at(chunk, sentence.start).written
    lines = quote.splitlines() if sentence.kind == "list" else [quote]
    text = "\n".join(" ".join(line.split()) for line in lines if line.strip())
    cut = f" ({sentence.more} more)" if sentence.more else ""
    return f"{escape_markers(text)} [{sentence.place + 1}]{cut}"
