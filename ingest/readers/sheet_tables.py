"""Finds the tables on a sheet: empty rows and columns may separate them, or lie within one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile, islice
from typing import NamedTuple

_LOOKED_AT = 20
_MOST_LABEL_ROWS = 4
_LETTER, _DIGIT = re.compile(r"[^\W\d_]"), re.compile(r"\d")
_YEAR = re.compile(r"(?:19|20)\d\d")


class Shown(NamedTuple):
    """A cell's text as it is displayed; whether it is a number, no date, and in bold type."""

    text: str
    number: bool = False
    bold: bool = False


Cells = Mapping[int, Mapping[int, Shown]]
Covered = Mapping[int, Sequence[range]]


@dataclass(slots=True)
class Block:
    """The rows of a table by their numbers, and its columns: from `left` to before `right`.

    `header_rows` counts the rows at the top that are the header; None if the header is to be
    found in them.
    """

    numbers: list[int]
    left: int
    right: int
    header_rows: int | None = 0


def tables_in(cells: Cells, covered: Covered) -> Iterator[Block]:
    """Yields the tables of a sheet in reading order; lines of single cells are blocks, too.

    Rows that begin without a header of their own go on with the table above them.

    Args:
        cells: The filled cells by row and column, in order.
        covered: The columns that merged regions cover, by row.
    """
    last: Block | None = None
    for block in _blocks(cells, covered, list(cells), 1, 1 << 15):
        strength = _header_strength(_rows(cells, block))
        again = last is not None and _repeats_labels(cells, last, block)
        if last and not again and _goes_on(last, block, strength):
            last.numbers += block.numbers
            continue
        if last and _heads(_rows(cells, last), last, block, strength):
            last.header_rows = len(last.numbers)
            last.numbers += block.numbers
            last.right = max(last.right, block.right)
            continue
        if last:
            yield last
        block.header_rows = None if strength else 0
        last = block
    if last:
        yield last


def _goes_on(last: Block, block: Block, strength: int) -> bool:
    """Tells whether a block is more of the table above it, behind an empty row."""
    wide = block.right - block.left > 1
    within = last.left <= block.left and block.right <= last.right
    return wide and within and last.header_rows != 0 and not strength


def _repeats_labels(cells: Cells, last: Block, block: Block) -> bool:
    """Tells whether a block is the header of the table above it once more, for other rows."""
    if len(block.numbers) > _MOST_LABEL_ROWS or not last.header_rows:
        return False
    rows = _rows(cells, block)
    if any(_is_data(cell) for row in rows for cell in row.values()):
        return False
    header = _rows(cells, last)[: last.header_rows]
    labels = {cell.text for row in header for cell in row.values()}
    return sum(cell.text in labels for row in rows for cell in row.values()) > 1


def _heads(rows: Sequence[Mapping[int, Shown]], last: Block, block: Block, strength: int) -> bool:
    """Tells whether a block of a few rows of labels is the header of the block below it."""
    if len(last.numbers) > _MOST_LABEL_ROWS or block.right - block.left == 1:
        return False
    labels = [cell for row in rows for cell in row.values()]
    beside = max(map(len, rows)) > 1 and last.left <= block.left and block.right <= last.right + 1
    plain = not strength or (strength < _STRONG and len(last.numbers) == 1)
    return beside and plain and not any(map(_is_data, labels))


def _blocks(
    cells: Cells, covered: Covered, numbers: Iterable[int], left: int, right: int
) -> Iterator[Block]:
    """Cuts a part of a sheet at its empty rows, then at columns that separate tables."""
    filled = [n for n in numbers if any(_columns(cells, covered, n, left, right))]
    for band in _runs(filled):
        parts = list(_parts(cells, covered, band, left, right))
        if len(parts) == 1:
            yield Block(band, *parts[0])
            continue
        for part in parts:
            yield from _blocks(cells, covered, band, *part)


def _parts(
    cells: Cells, covered: Covered, band: Sequence[int], left: int, right: int
) -> Iterator[tuple[int, int]]:
    """Yields the columns of each table in a band of rows."""
    used = _used(cells, covered, band, left, right)
    runs = [(run[0], run[-1] + 1) for run in _runs(used)]
    part = runs[0]
    for run in runs[1:]:
        if _are_separate(cells, covered, band, part, run):
            yield part
            part = run
        else:
            part = part[0], run[1]
    yield part


def _are_separate(
    cells: Cells,
    covered: Covered,
    band: Sequence[int],
    one: tuple[int, int],
    two: tuple[int, int],
) -> bool:
    """Tells whether the columns on both sides of an empty one are two tables.

    Each needs two columns and a header. If the headers stand in one row, the second must also begin
    with labels, and repeat a label of the first or end elsewhere: an empty column in a table is
    more likely.
    """
    if one[1] - one[0] == 1 or two[1] - two[0] == 1:
        return False
    sides = [[n for n in band if any(_columns(cells, covered, n, *side))] for side in (one, two)]
    first, second = (Block(numbers, *side) for numbers, side in zip(sides, (one, two), strict=True))
    rows = [_rows(cells, block) for block in (first, second)]
    if not all(map(_header_strength, rows)):
        return False
    if first.numbers[0] != second.numbers[0]:
        return True
    labels = [{shown.text for shown in side[0].values()} for side in rows]
    starts_with_labels = not any(_is_figure(row[two[0]]) for row in rows[1][1:] if two[0] in row)
    ends_elsewhere = first.numbers[-1] != second.numbers[-1]
    return starts_with_labels and bool(ends_elsewhere or labels[0] & labels[1])


_WEAK, _STRONG = 1, 2


def _header_strength(rows: Sequence[Mapping[int, Shown]]) -> int:
    """Returns how surely rows begin with a header, after captions of one cell.

    `_STRONG`: labels above figures, or bold type above plain type. `_WEAK`: words above words.
    """
    table = list(dropwhile(lambda row: len(row) < 2, rows))  # noqa: PLR2004 - a caption has one
    if len(table) < 2:  # noqa: PLR2004 - a header heads a row
        return 0
    header = table[0].values()
    if all(cell.bold for cell in header) and not all(cell.bold for cell in table[1].values()):
        return _STRONG
    if any(map(_is_data, header)):
        return 0
    if any(_is_figure(cell) for row in table[1:] for cell in row.values()):
        return _STRONG
    return 0 if any(_DIGIT.search(cell.text) for cell in header) else _WEAK


def _is_data(cell: Shown) -> bool:
    return _is_figure(cell) and not _YEAR.fullmatch(cell.text)


def _is_figure(cell: Shown) -> bool:
    return cell.number or bool(_DIGIT.search(cell.text) and not _LETTER.search(cell.text))


def _rows(cells: Cells, block: Block) -> list[Mapping[int, Shown]]:
    """Returns the cells of a block's first rows."""
    return [
        {n: cell for n, cell in cells[number].items() if block.left <= n < block.right}
        for number in islice(block.numbers, _LOOKED_AT)
    ]


def columns_of(cells: Cells, covered: Covered, block: Block) -> list[int]:
    """Returns the columns of a block that are not empty."""
    return _used(cells, covered, block.numbers, block.left, block.right)


def _used(
    cells: Cells, covered: Covered, numbers: Iterable[int], left: int, right: int
) -> list[int]:
    """Returns the columns from `left` to before `right` that are not empty in all of the rows."""
    used: set[int] = set()
    for number in numbers:
        used.update(cells[number])
        used.update(*covered.get(number, ()))
    return sorted(n for n in used if left <= n < right)


def _columns(cells: Cells, covered: Covered, number: int, left: int, right: int) -> Iterator[int]:
    yield from (n for n in cells[number] if left <= n < right)
    for span in covered.get(number, ()):
        yield from range(max(left, span.start), min(right, span.stop))


def _runs(numbers: Iterable[int]) -> Iterator[list[int]]:
    """Yields the runs of numbers that follow each other."""
    run: list[int] = []
    for number in numbers:
        if run and number != run[-1] + 1:
            yield run
            run = []
        run.append(number)
    if run:
        yield run
