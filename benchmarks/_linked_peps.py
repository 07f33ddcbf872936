"""Questions that need two PEPs, of which one names the other, made from their own sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from eval.datasets.corpus import Corpus, Passage, Question
from ingest.readers.registry import read
from rag.text.sentences import sentence_spans
from rag.types import Document

LONGEST = 15_000
"""Bytes of a PEP: half of them are no longer."""
SENTENCE = range(60, 251)
"""Characters of a sentence that names the other PEP."""
ASKED = (
    "Who wrote that proposal?",
    "When was that proposal created?",
    "Which version of Python has that proposal?",
)
_NAMED = re.compile(r":pep:`~?(?P<role>\d{1,4})`|\bPEP[ -]?(?P<number>\d{1,4})\b")


def linked_peps(folder: Path) -> Corpus:
    """Returns the PEPs of a folder, and questions that each have two relevant ones.

    A question is a sentence of the first, without the name of the second, and asks for a field in
    the second's header.
    """
    documents = dict(_read(folder))
    found = [
        (sentence, (first.id, documents[number].id))
        for first in documents.values()
        for sentence, number in _links(first)
        if number in documents and documents[number].id != first.id
    ]
    once = {pair: sentence for sentence, pair in reversed(found)}
    questions = {
        f"{first} {second}": (f"{sentence} {ASKED[n % len(ASKED)]}", (first, second))
        for n, ((first, second), sentence) in enumerate(sorted(once.items()))
    }
    return Corpus(
        name="linked-peps",
        passages=tuple(
            Passage(id=d.id, title=d.title, text=d.text, meta={}) for d in documents.values()
        ),
        questions=tuple(
            Question(id=id_, text=text, answers=(), answerable=True, meta={})
            for id_, (text, _) in questions.items()
        ),
        qrels={id_: dict.fromkeys(pair, 1) for id_, (_, pair) in questions.items()},
    )


def _read(folder: Path) -> Iterator[tuple[int, Document]]:
    for file in sorted(folder.glob("pep-*.rst")):
        data = file.read_bytes()
        if len(data) <= LONGEST:
            yield int(file.stem[4:]), read(data, id=file.stem, uri=file.stem, name=file.name)


def _links(document: Document) -> Iterator[tuple[str, int]]:
    """Yields the sentences that name one PEP, without its name, and its number."""
    for start, end in sentence_spans(document.text):
        sentence = " ".join(document.text[start:end].split())
        named = list(_NAMED.finditer(sentence))
        if len(sentence) in SENTENCE and len(named) == 1 and sentence[0].isalnum():
            number = named[0]["role"] or named[0]["number"]
            yield _NAMED.sub("another proposal", sentence), int(number)
