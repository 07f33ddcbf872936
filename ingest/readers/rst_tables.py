"""Finds the tables of reStructuredText: grid and simple tables, list-table, csv-table."""

from __future__ import annotations

import csv
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ingest.readers.drawn_tables import GRID_BORDER, SIMPLE_BORDER, grids, simple
from ingest.readers.edits import Edit
from ingest.readers.outline import Line
from ingest.readers.tables import written

_BEGINNING = re.compile(
    r"^ *(?:=+(?: +=+)+ *$|\+(?:[-=:]+\+)+ *$|\.\. (?:list|csv)-table::)", re.MULTILINE
)
_MOST_ABOVE = 300
_DIRECTIVE = re.compile(r" *\.\. (list|csv)-table::(.*)")
_LITERAL = re.compile(
    r" *\.\. (?:code|code-block|sourcecode|parsed-literal|highlight|math|raw|productionlist)::"
)
_OTHER_DIRECTIVE = re.compile(r" *\.\. [\w:+.-]+::")
_OPTION = re.compile(r"\s*:([\w-]+):\s*(.*)")
_ROW = re.compile(r"[*+-](?:\s+([*+-])(?:\s+(.*))?)?")
_CELL = re.compile(r"\s+[*+-](?:\s+(.*))?")


def edits(text: str, lines: Sequence[Line]) -> Iterator[Edit]:
    """Yields the tables outside literal blocks, in text order."""
    after = 0
    starts = [start for start, _ in lines]
    for found in _BEGINNING.finditer(text):
        number = bisect_right(starts, found.start()) - 1
        if number >= after and not _is_literal(lines, number):
            after, edit = _table_at(lines, number)
            if edit:
                yield edit


def _is_literal(lines: Sequence[Line], number: int) -> bool:
    """True if one of the lines above that a line is indented below begins a literal block."""
    indent = _indent(lines[number][1])
    for above in range(number - 1, max(-1, number - _MOST_ABOVE), -1):
        line = lines[above][1]
        if not indent:
            return False
        if line.strip() and _indent(line) < indent:
            indent = _indent(line)
            ends = line.rstrip().endswith("::") and not _OTHER_DIRECTIVE.match(line)
            if ends or _LITERAL.match(line):
                return True
    return indent > 0


def _table_at(lines: Sequence[Line], number: int) -> tuple[int, Edit | None]:
    """Returns the line after a table and the table; the next line and None if it is none."""
    line = lines[number][1]
    if "-table::" in line and (directive := _DIRECTIVE.match(line)):
        after = _block_end(lines, number)
        return after, _directive(directive, lines[number:after])
    stripped = line.strip()
    if stripped.startswith("=") and SIMPLE_BORDER.fullmatch(stripped):
        end = _simple_end(lines, number)
        return (end, simple(lines[number:end])) if end else (number + 1, None)
    if stripped.startswith("+") and GRID_BORDER.fullmatch(stripped):
        for _, after, edit in grids(lines, within=range(number, _run_end(lines, number))):
            return after, edit
    return number + 1, None


def _simple_end(lines: Sequence[Line], top: int) -> int | None:
    """Returns the line after the last border: the second below the top, or one above a blank."""
    borders = 0
    width = len(lines[top][1].rstrip())
    for number in range(top + 1, len(lines)):
        line = lines[number][1].rstrip()
        if SIMPLE_BORDER.fullmatch(line.strip()) and len(line) == width:
            borders += 1
            last = number + 1 == len(lines) or not lines[number + 1][1].strip()
            if last or borders == 2:  # noqa: PLR2004 - below the header, and at the bottom
                return number + 1
    return None


def _run_end(lines: Sequence[Line], number: int) -> int:
    """Returns the first blank line from here on."""
    while number < len(lines) and lines[number][1].strip():
        number += 1
    return number


def _block_end(lines: Sequence[Line], number: int) -> int:
    """Returns the line after a directive and its indented block."""
    indent = _indent(lines[number][1])
    after = end = number + 1
    while after < len(lines):
        line = lines[after][1]
        after += 1
        if line.strip():
            if _indent(line) <= indent:
                break
            end = after
    return end


def _directive(directive: re.Match[str], lines: Sequence[Line]) -> Edit | None:
    """Returns a list-table or csv-table as rows, below its title; None if they lie elsewhere."""
    block = [line for _, line in lines[1:]]
    options = {}
    while block and (option := _OPTION.fullmatch(block[0])):
        options[option[1]] = option[2]
        del block[0]
    if directive[1] == "list":
        rows, header = _list_rows(block), 0
    elif {"file", "url"} & options.keys():
        return None
    else:
        rows = _csv_rows(block, options)
        header = int("header" in options)
    declared = options.get("header-rows", "")
    header += int(declared) if declared.isdecimal() else 0
    text, table = written(rows, header_rows=header)
    title = f"{directive[2].strip()}\n\n" if directive[2].strip() else ""
    if table:
        table = replace(table, start=table.start + len(title), end=table.end + len(title))
    end = lines[-1][0] + len(lines[-1][1])
    return Edit(lines[0][0], end, title + text, (table,) if table else ())


def _list_rows(block: Sequence[str]) -> list[list[str]]:
    """Reads a list of lists: `* - ` begins a row, `  - ` a further cell."""
    rows: list[list[str]] = []
    outer = next((_indent(line) for line in block if line.strip()), 0)
    inner = outer
    for line in block:
        begun = _ROW.fullmatch(line.strip()) if _indent(line) == outer else None
        if begun:
            rows.append([begun[2] or ""] if begun[1] else [])
            inner = line.index(begun[1], outer + 1) if begun[1] else outer + 2
        elif rows and _indent(line) == inner and (cell := _CELL.fullmatch(line)):
            rows[-1].append(cell[1] or "")
        elif rows and rows[-1]:
            rows[-1][-1] += f" {line.strip()}"
    return rows


def _csv_rows(block: Sequence[str], options: Mapping[str, str]) -> list[list[str]]:
    declared = options.get("delim", ",")
    delimiter = {"tab": "\t", "space": " "}.get(declared, declared)[:1] or ","
    header = [options["header"]] if "header" in options else []
    content = (line.strip() for line in block if line.strip())
    return list(csv.reader([*header, *content], delimiter=delimiter, skipinitialspace=True))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
