"""Splits text into sentences: spans of the original text, never a rewritten copy.

A text is split in two steps. `block_spans` follows the lines: a paragraph's hard-wrapped lines are
one block, a list item with its continuation is one, and a line of code or of a table stands alone.
`sentence_spans` then cuts each block after the full stops that end a sentence. Both are linear in
the length of the text.
"""

# ruff: noqa: RUF001 - the marks that end sentences and items, in their own scripts
from __future__ import annotations

import re
from collections.abc import Iterator

from rag.text.plain import plain
from rag.types import Span


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_BULLET = re.compile(r"\s*[-*+•‣·▪◦–]\s+\S")
_ENUMERATOR = re.compile(r"\s*(?:\(?(?:\d{1,3}|[a-zA-Z])\)|\d{1,3}\.|#\.)\s+\S")
_STANDALONE = re.compile(
    r"\s*(?:>>>|\.\.\. |\$ |#{1,6} |\||\+[-=+])|[^|]*\S \| \S|\W*$|.*\S {3,}\S"
)
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

_STOP = re.compile(r"(?:[。！？｡]|[.!?…])+[\"'”’»)\]」』）】*_]*(?:\[\w{1,4}\])*")
_CJK_STOPS = frozenset("。！？｡")
_LAST_WORD = re.compile(r"[\w.&-]*$")
_LONGEST_WORD = 24
_NEXT_WORD = re.compile(r"\s+([\"'“‘«(\[]*)(\w*)")
_LIST_MARKER = re.compile(r"\(?(?:\d{1,3}|[a-zA-Z])[.)]+|\.\.")
_LETTERS_AND_DOTS = re.compile(r"(?:\w\.)*[^\W\d]")

_TITLES = "dr mr mrs ms prof gen sen rep gov hon rev sgt capt lt col messrs mme mlle"
_REFERENCES = "fig figs eq eqs sec secs ch chap vol pp ed eds ref refs cf vs viz approx ca resp"
NEVER_LAST = _words(f"{_TITLES} {_REFERENCES} e.g eg i.e ie")
"""Abbreviations that never end a sentence."""
SELDOM_LAST = _words(
    "etc inc ltd co corp st bros jr sr al ph.d a.m p.m dept univ est jan feb apr aug sept oct nov "
    "dec mon tue wed thu fri sat sun"
)
"""Abbreviations that end a sentence only if the next word is one that begins sentences."""
_BEFORE_NUMBERS = _words("no nos p art")
_OPENERS = _words(
    "a after all also although an and another any as at because before both but by each even for "
    "from given have he her here his how however i if in instead is it its let many more most my "
    "no not note now on once one only other our see she since so some such that the their then "
    "there therefore these they this those though thus to under until use we what when where "
    "which while who why with without yes you your"
)
"""Words that, with a capital letter, begin a sentence far more often than a name."""


def sentence_spans(text: str) -> list[Span]:
    """Returns the sentences of `text` as (start, end) character offsets.

    They are in text order and do not overlap; together they contain every character that is not
    white space, and none begins or ends with white space.
    """
    spans: list[Span] = []
    text = plain(text)
    for start, end, alone in _blocks(text):
        spans.extend([(start, end)] if alone else _sentences(text, start, end))
    return spans


def block_spans(text: str) -> list[Span]:
    """Returns paragraphs, list items, and single lines of code and tables, in text order."""
    return [(start, end) for start, end, _ in _blocks(plain(text))]


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


def _blocks(text: str) -> Iterator[tuple[int, int, bool]]:
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


def _begins_item(line: str, *, listed: bool, before: str) -> bool:
    r"""Returns True if a line begins a list item; `before` is the line above it.

    A number at the start of a hard-wrapped line ("in version\n3. Then") begins none.
    """
    if _BULLET.match(line):
        return True
    if not _ENUMERATOR.match(line):
        return False
    return listed or not before or before.rstrip().endswith((".", ":", ";"))


def _sentences(text: str, start: int, end: int) -> Iterator[Span]:
    """Yields the sentences of one block, which has no white space around it."""
    for stop in _STOP.finditer(text, start, end):
        if stop.end() < end and _ends_sentence(text, start, stop):
            yield start, stop.end()
            start = stop.end()
            while text[start].isspace():
                start += 1
    yield start, end


def _ends_sentence(text: str, start: int, stop: re.Match[str]) -> bool:
    """Returns True if the stop, not the last of its block, ends the sentence begun at `start`."""
    if not _CJK_STOPS.isdisjoint(stop.group()):
        return True
    following = _NEXT_WORD.match(text, stop.end())
    if following is None or following[2][:1].islower():
        return False
    if _LIST_MARKER.fullmatch(text, start, stop.end()):
        return False
    if stop.group()[0] != "." or stop.group().startswith(".."):
        return True
    behind = text[max(start, stop.start() - _LONGEST_WORD) : stop.start()]
    last = _LAST_WORD.search(behind)
    return last is None or _word_ends_sentence(last.group(), following[2])


def _word_ends_sentence(word: str, following: str) -> bool:
    """Returns True if a full stop after `word` ends the sentence; False for an abbreviation."""
    lowered = word.lower()
    if lowered in NEVER_LAST:
        return False
    if lowered in _BEFORE_NUMBERS:
        return not following[:1].isdigit()
    if lowered in SELDOM_LAST or _LETTERS_AND_DOTS.fullmatch(word):
        return following.lower() in _OPENERS
    return True


def _strip(text: str, start: int, end: int) -> Span:
    """Returns the span without white space at its ends; it must contain another character."""
    while text[start].isspace():
        start += 1
    while text[end - 1].isspace():
        end -= 1
    return start, end
