"""Divides a text by its lines into blocks: paragraphs, list items, lines of code and of tables.

A paragraph's hard-wrapped lines are one block, a list item with its continuation is one, and a line
of code or of a table stands alone. All of it is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag.text.abbreviations import BEFORE_NUMBERS, NEVER_LAST
from rag.text.plain import plain
from rag.types import Span

_BULLET = re.compile(r"\s*[-*+•‣·▪◦–]\s+\S")
_ENUMERATOR = re.compile(r"\s*(?:\(?(?:\d{1,3}|[a-zA-Z])\)|\d{1,3}\.|#\.)\s+\S")
_STANDALONE = re.compile(
    r"\s*(?:>>>|\.\.\. |\$ |#{1,6} |\||\+[-=+])|[^|]*\S \| \S|\W*$|.*\S {3,}\S"
)
_NUMBERED = NEVER_LAST | BEFORE_NUMBERS
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)(.*)", re.MULTILINE)
_LONGEST_WRAPPED = 200
_FENCE_LINE = re.compile(r"^[ \t]*(`{3,}|~{3,})(.*)", re.MULTILINE)
_CODE_DIRECTIVE = re.compile(r"\s*\.\. (?:code|code-block|sourcecode|parsed-literal)::")
_DIRECTIVE = re.compile(r"\s*\.\.(?:\s|$)")
_CODE_MARGIN = 3  # Markdown's: lines with more indentation may be code
_TABLE_BORDER = re.compile(r"^[ \t]*=+(?: +=+)+[ \t]*$", re.MULTILINE)
_INDENTED = re.compile(r"(?: {4}|\t)\s*\S")
_CODE_SYMBOL = re.compile(r"[(){}\[\]=<>;|\\]")
# Prose has brackets too. Indented lines need few symbols to be code, others many.
_INDENTED_CODE_SHARE = 0.02
_CODE_SHARE = 0.08


def block_spans(text: str) -> list[Span]:
    """Returns paragraphs, list items, and single lines of code and tables, in text order."""
    return [(start, end) for start, end, _ in blocks(plain(text))]


def paragraph_spans(text: str) -> list[Span]:
    """Returns runs of whole lines between blank lines, with the first line's indentation.

    A line that is too long to have been wrapped is a separate paragraph.
    """
    return [(lines[0][0], lines[-1][1]) for lines in _paragraphs(plain(text))]


def code_spans(text: str) -> list[Span]:
    """Returns blocks of code of whole lines, in text order: between fences, or indented.

    An indented block includes the blank lines within it. It is code by its characters, or because a
    line that ends with `::` or a code directive announces it, as in reStructuredText.
    """
    spans: list[Span] = []
    text = plain(text)
    at = 0
    for start, end in [*_fenced(text), (len(text), len(text))]:
        spans += [(at + a, at + b) for a, b in _indented(text[at:start])]
        if end > start:
            spans.append((start, end))
        at = end
    return spans


def _fenced(text: str) -> Iterator[Span]:
    """Yields blocks from an opening fence to the one that closes it; ignores an unclosed fence.

    https://spec.commonmark.org/0.31.2/#fenced-code-blocks
    """
    opened: re.Match[str] | None = None
    for fence in _FENCE_LINE.finditer(text):
        if opened is None:
            opened = None if "`" in fence[2] else fence
        elif fence[1].startswith(opened[1]) and not fence[2].strip():
            yield opened.start(), fence.end()
            opened = None


def _indented(text: str) -> Iterator[Span]:
    """Yields runs of indented paragraphs that are code."""
    run: list[Span] = []
    margin, announced = _CODE_MARGIN, False
    for lines in _paragraphs(text):
        indent = min(_indent(text, line) for line in lines)
        inside = indent > margin
        announces = not (inside and announced) and _announces_code(text, lines)
        if inside and not announces:
            run += lines
            continue
        if run and (announced or _is_code(text, run)):
            yield run[0][0], run[-1][1]
        margin, announced = (_margin(text, lines), True) if announces else (_CODE_MARGIN, False)
        run = [] if announces or indent <= margin else list(lines)
    if run and (announced or _is_code(text, run)):
        yield run[0][0], run[-1][1]


def _announces_code(text: str, lines: list[Span]) -> bool:
    """Returns True if the indented lines below a paragraph are a reStructuredText literal block."""
    first, last = text[slice(*lines[0])], text[slice(*lines[-1])]
    if _DIRECTIVE.match(first):
        return bool(_CODE_DIRECTIVE.match(first))
    return last.rstrip().endswith("::")


def _margin(text: str, lines: list[Span]) -> int:
    """Returns the column of a paragraph's text; for a list, of its last item's text."""
    for line in reversed(lines):
        if item := _BULLET.match(text, *line) or _ENUMERATOR.match(text, *line):
            return item.end() - 1 - line[0]
    return min(_indent(text, line) for line in lines)


def _indent(text: str, line: Span) -> int:
    """Returns the columns of white space at a line's start, with tab stops every 4 columns."""
    written = text[slice(*line)].expandtabs(4)
    return len(written) - len(written.lstrip())


def _paragraphs(text: str) -> Iterator[list[Span]]:
    """Yields lists of adjacent lines that are not blank; a line's span has no line break.

    A line longer than any wrapped line is a separate paragraph, also beside other such lines.
    """
    lines: list[Span] = []
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        blank = end == start or text[start:end].isspace()
        long = end - start > _LONGEST_WRAPPED
        if lines and (blank or long):
            yield lines
            lines = []
        if long and not blank:
            yield [(start, end)]
        elif not blank:
            lines.append((start, end))
        start = end + 1
    if lines:
        yield lines


def blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yields blocks as (start, end, alone); one with `alone` is never cut into sentences."""
    fenced = _begins_fenced(text)
    for lines in _paragraphs(text):
        code = _is_code(text, lines) or _is_table(text, lines)
        start = end = lines[0][0]
        alone = listed = False
        before = ""
        for line_start, line_end in lines:
            line = text[line_start:line_end]
            fence = _FENCE.match(line) is not None
            was_alone, alone = alone, code or fenced or fence or bool(_STANDALONE.match(line))
            fenced ^= fence
            item = not alone and _begins_item(line, listed=listed, before=before)
            if end > start and (alone or was_alone or item):
                yield *_strip(text, start, end), was_alone
                start, listed = line_start, False
            listed |= item
            end, before = line_end, line
        yield *_strip(text, start, end), alone


def _begins_fenced(text: str) -> bool:
    """Returns True if the text, a piece of a longer one, begins inside a fenced code block.

    The first fence then closes one: it names no language, and one fence is left over.
    """
    fences = _FENCE.findall(text)
    return len(fences) % 2 == 1 and not fences[0].strip()


def _is_code(text: str, lines: list[Span]) -> bool:
    """Returns True if indentation and the share of brackets and signs show that it is code."""
    start, end = lines[0][0], lines[-1][1]
    first = text[slice(*lines[0])]
    if _BULLET.match(first) or _ENUMERATOR.match(first):
        return False
    indented = all(_INDENTED.match(text, *line) for line in lines)
    if not indented and len(lines) == 1:
        return False
    symbols = len(_CODE_SYMBOL.findall(text, start, end))
    return symbols > (end - start) * (_INDENTED_CODE_SHARE if indented else _CODE_SHARE)


def _is_table(text: str, lines: list[Span]) -> bool:
    """Returns True if a paragraph has the border of a simple table of reStructuredText."""
    return _TABLE_BORDER.search(text, lines[0][0], lines[-1][1]) is not None


def begins_item(block: str) -> bool:
    """Returns True if a block is a list item, by the mark or the number that it begins with."""
    return bool(_BULLET.match(block) or _ENUMERATOR.match(block))


def _begins_item(line: str, *, listed: bool, before: str) -> bool:
    r"""Returns True if a line begins a list item; `before` is the line above it.

    A number at the start of a hard-wrapped line ("in version\n3. Then", "in No.\n3. Then")
    begins none.
    """
    if _BULLET.match(line):
        return True
    if not _ENUMERATOR.match(line):
        return False
    if listed or not before:
        return True
    *_, last = before.split()
    return last.endswith((".", ":", ";")) and last[:-1].lower() not in _NUMBERED


def _strip(text: str, start: int, end: int) -> Span:
    """Returns the span without white space at its ends; it must contain another character."""
    while text[start].isspace():
        start += 1
    while text[end - 1].isspace():
        end -= 1
    return start, end
