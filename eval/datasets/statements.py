"""Statements of documents, sentences and rows of tables, that claims are made of."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from random import Random

from eval.datasets.excerpts import draw_excerpts, section_chunks
from rag.text.table_cells import Row, table_lines
from rag.types import Document

LONGEST_CELL = 80
"""Characters of a cell: a longer one is a text of its own."""

_WORD_OR_DIGIT = re.compile(r"\w")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A sentence or a row of a document.

    Attributes:
        document_id: the document.
        text: the sentence, or the row as "column: value; column: value".
        sentence: the sentence, or one cell of the row as "For ROW, COLUMN is VALUE."
        passage: the text around it; of a row, the rows of its table.
        other_row: `sentence` with the value of another row; None for a sentence.
    """

    document_id: str
    text: str
    sentence: str
    passage: str
    other_row: str | None = None


def draw_statements(documents: Sequence[Document], *, seed: int) -> Iterator[Statement]:
    """Yields sentences and rows of tables by turns, in an order that the seed decides.

    The sentences are those of `draw_excerpts`. Rows are left out if no other row of their table has
    another value in the same column.
    """
    sentences = (
        Statement(
            document_id=excerpt.document_id,
            text=" ".join(excerpt.text.split()),
            sentence=" ".join(excerpt.text.split()),
            passage=" ".join(excerpt.passage.split()),
        )
        for excerpt in draw_excerpts(documents, seed=seed)
    )
    rows = list(chain.from_iterable(_rows(document, seed) for document in documents))
    Random(seed).shuffle(rows)  # noqa: S311 - it guards no secret
    for pair in zip_longest(sentences, rows):
        yield from filter(None, pair)


def _rows(document: Document, seed: int) -> Iterator[Statement]:
    tables: dict[str, list[Row]] = defaultdict(list)
    for chunk in section_chunks(document):
        for row in table_lines(chunk)[0]:
            tables[row.above].append(row)
    random = Random(f"{seed} {document.id}")  # noqa: S311 - it guards no secret
    for table in tables.values():
        passage = "\n".join(row.written for row in table)
        for row in table:
            if sentences := _row_sentences(row, table, random):
                sentence, other = sentences
                yield Statement(
                    document_id=document.id,
                    text=row.written,
                    sentence=sentence,
                    passage=passage,
                    other_row=other,
                )


def _row_sentences(row: Row, table: Sequence[Row], random: Random) -> tuple[str, str] | None:
    """Returns a sentence about a cell, and the same with the value of another row; None if none is.

    The first cell names the row. Values of rows with the same name are left out: they are right.
    """
    name, *cells = row.cells
    columns = {cell.column: cell.value for cell in cells if cell.column and _is_value(cell.value)}
    if not columns or not _is_value(name.value):
        return None
    column = random.choice(list(columns))
    values = {other: _value(other, column) for other in table}
    right = {value for other, value in values.items() if other.cells[0].value == name.value}
    wrong = [v for v in dict.fromkeys(values.values()) if v and _is_value(v) and v not in right]
    if not wrong:
        return None
    about = f"For {name.value}, {column} is"
    right_one, wrong_one = columns[column].rstrip("."), random.choice(wrong).rstrip(".")
    return f"{about} {right_one}.", f"{about} {wrong_one}."


def _value(row: Row, column: str) -> str | None:
    return next((cell.value for cell in row.cells[1:] if cell.column == column), None)


def _is_value(text: str) -> bool:
    return len(text) <= LONGEST_CELL and _WORD_OR_DIGIT.search(text) is not None
