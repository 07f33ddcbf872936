"""Real words and real questions: of the test sets where they are, else of the shipped examples."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from benchmarks._common import DATA, EXAMPLES
from eval.datasets.corpus import read_corpus
from rag.text.sentences import sentence_spans

SHORTEST, LONGEST = 30, 150
"""Characters of a sentence that can pass for a question."""


def words() -> list[str]:
    """Every word there is, in the order of the texts."""
    folder = DATA / "peps" if (DATA / "peps").is_dir() else EXAMPLES
    texts = [file.read_text("utf-8") for file in sorted(folder.rglob("*.rst"))]
    for name in ("squad2-dev-a", "cranfield"):
        if (DATA / name).is_dir():
            texts += [passage.text for passage in read_corpus(DATA / name).passages]
    return list(chain.from_iterable(text.split() for text in texts))


def questions(count: int) -> list[str]:
    """Questions that differ, evenly taken from all there are."""
    folder = DATA / "squad2-dev-a"
    if folder.is_dir():
        texts = [question.text for question in read_corpus(folder).questions]
    else:
        texts = sentences()
    return [texts[i * len(texts) // count] for i in range(count)]


def sentences(folder: Path = EXAMPLES) -> list[str]:
    """Sentences of a folder's texts that can pass for questions."""
    found = []
    for file in sorted(folder.glob("*.rst")):
        text = file.read_text("utf-8")
        found += [" ".join(text[start:end].split()) for start, end in sentence_spans(text)]
    return [text for text in found if SHORTEST <= len(text) <= LONGEST]
