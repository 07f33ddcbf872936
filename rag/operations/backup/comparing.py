"""Questions for a restored backup and for the running service, and the comparison of their hits."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from rag.catalog.sqlite_database import SqliteDatabase
from rag.catalog.tables import texts
from rag.errors import InputError
from rag.text.sentences import sentence_spans

QUESTIONS = 20
ENOUGH = 0.9
"""Mean share of equal hits from which a drill succeeds: documents may have changed since."""
_CHARS = range(20, 300)
"""Length of a sentence that is asked as a question, in characters."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and the ids of the chunks that each side found, best first."""

    collection: str
    question: str
    restored: Sequence[str]
    running: Sequence[str]

    @property
    def overlap(self) -> float:
        """The share of hits that both sides found; 1 if neither found any."""
        both = len(set(self.restored) & set(self.running))
        return both / (max(len(self.restored), len(self.running)) or 1) if self._any else 1.0

    @property
    def _any(self) -> bool:
        return bool(self.restored or self.running)


def read_questions(file: Path) -> list[str]:
    """Returns the questions of a file, one a line. Raises InputError if there are none."""
    try:
        found = [line for line in map(str.strip, file.read_text("utf-8").splitlines()) if line]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as questions: {error}.") from error
    if not found:
        raise InputError(f"{file} has no questions: it has one a line.")
    return found


async def sampled_questions(catalog: Path, tenant: str) -> list[tuple[str, str]]:
    """Returns collections with a sentence of one of their documents each, always the same ones."""
    database = SqliteDatabase(catalog)
    try:
        await database.open()
        ids = sa.select(texts.c.collection, texts.c.document_id).where(texts.c.tenant == tenant)
        rows = await database.rows(ids.order_by(texts.c.collection, texts.c.document_id))
        chosen = random.Random(0).sample(rows, min(QUESTIONS, len(rows)))  # noqa: S311 - no secret
        found = []
        for row in chosen:
            its = sa.select(texts.c.text).where(
                texts.c.tenant == tenant,
                texts.c.collection == row["collection"],
                texts.c.document_id == row["document_id"],
            )
            [read] = await database.rows(its)
            if sentence := _sentence(read["text"]):
                found.append((row["collection"], sentence))
        return found
    finally:
        await database.close()


def _sentence(text: str) -> str | None:
    """Returns the sentence in the middle of those that may be asked; None if there is none."""
    sentences = [" ".join(text[start:end].split()) for start, end in sentence_spans(text)]
    fitting = [sentence for sentence in sentences if len(sentence) in _CHARS]
    return fitting[len(fitting) // 2] if fitting else None
