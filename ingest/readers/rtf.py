r"""Reads RTF: the text in its code pages, tables, notes; what is deleted or hidden is left out."""

from __future__ import annotations

from ingest.readers.header_rows import header_rows
from ingest.readers.options import ReadOptions
from ingest.readers.outline import Outline
from ingest.readers.rtf_state import (
    CHARACTERS,
    CODE_PAGES,
    HEADERS,
    INFO,
    KNOWN,
    SKIPPED,
    SYMBOLS,
    TARGETS,
    TOKEN,
    Fonts,
    State,
)
from ingest.readers.rtf_tables import RtfTable
from ingest.readers.running import Running
from ingest.readers.tables import spread
from ingest.readers.text_builder import TextBuilder

_DEEPEST = 10_000


def outline(data: bytes, *, options: ReadOptions) -> Outline:
    """Reads the paragraphs, tables and notes, and headers and footers once, before the text.

    Raises:
        ValueError: A character does not exist, or groups nest deeper than a document does.
    """
    return _Reader(options).read(data)


class _Reader:
    def __init__(self, options: ReadOptions) -> None:
        self._keep_hidden = options.hidden
        self._states = [State()]
        self._fonts = Fonts()
        self._raw = bytearray()
        """Bytes of one encoding: a character may have two of them."""
        self._units: list[str] = []
        """The paragraph as it grows; halves of a character stand beside each other."""
        self._to_skip = 0
        self._starred = False
        self._level = 0
        self._is_item = False
        self._was_hidden = False
        self._hidden = 0
        self._beside: list[str] = []
        self._table = RtfTable()
        self._blocks: list[tuple[str, str, int]] = []
        self._text = TextBuilder()
        self._running = Running()
        self._info: dict[str, str] = {}
        self._created: dict[str, int] = {}

    def read(self, data: bytes) -> Outline:
        place = 0
        while found := TOKEN.match(data, place):
            place = found.end()
            kind = found.lastgroup
            if kind in {"word", "number"}:
                word = found["word"].decode()
                number = int(found["number"]) if kind == "number" else None
                if word == "bin":
                    place += max(0, number or 0)
                else:
                    self._word(word, number)
            elif kind == "text":
                self._add(found["text"])
            elif kind == "open":
                self._open()
            elif kind == "close":
                self._close()
            elif kind == "byte":
                self._add(bytes([int(found["byte"], 16)]))
            elif kind == "symbol":
                self._symbol(found["symbol"])
        self._end_paragraph()
        self._end_table()
        return self._outline()

    @property
    def _state(self) -> State:
        return self._states[-1]

    def _open(self) -> None:
        self._flush()
        if len(self._states) > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} groups are open at once")
        self._states.append(self._state.inherited())
        self._starred = False

    def _close(self) -> None:
        self._flush()
        if len(self._states) == 1:
            return
        state = self._states.pop()
        if state.owns_target:
            words = "".join(state.words).strip()
            if state.target in {"note", "comment", "box"}:
                self._beside.append(f"Comment: {words}" if state.target == "comment" else words)
            elif state.target in {"header", "footer"}:
                for line in words.split("\n"):
                    self._text.paragraph(self._running.add(state.target, _joined(line)))
            elif state.target in INFO:
                self._info[state.target] = words

    def _symbol(self, symbol: bytes) -> None:
        if symbol == b"*":
            self._starred = True
        elif symbol in SYMBOLS:
            self._write(SYMBOLS[symbol])
        elif symbol in b"\r\n":
            self._word("par", None)

    def _word(self, word: str, number: int | None) -> None:
        if word not in KNOWN and not self._starred:
            self._flush()
            return
        state = self._state
        if word in SKIPPED or (self._starred and word not in TARGETS):
            self._is_item = self._is_item or word in {"listtext", "pntext"}
            state.target, state.owns_target = "skip", False
        elif state.target == "fonts":
            self._fonts.define(word, number)
        elif word == "fonttbl":
            state.target = "fonts"
        elif word in TARGETS and state.target != "skip":
            state.begin(HEADERS.get(word, TARGETS[word]))
        elif word == "u":
            self._flush()
            code = number or 0
            self._write(chr(code + 0x10000 if code < 0 else code))
            self._to_skip = state.skip
        elif word in CHARACTERS:
            self._write(CHARACTERS[word])
        elif word in {"yr", "mo", "dy"} and state.target == "creatim":
            self._created[word] = number or 0
        else:
            self._format(word, number)
        self._starred = False

    def _format(self, word: str, number: int | None) -> None:  # noqa: PLR0912 - a line for each
        """Follows a control word that changes how text is read, or ends a paragraph or cell."""
        state = self._state
        on = number != 0
        self._flush()
        match word:
            case "ansicpg" | "mac" | "pc" | "pca":
                page = CODE_PAGES.get(word, f"cp{number}")
                self._fonts.document = page
            case "deff":
                self._fonts.default = number or 0
            case "f":
                state.font = number
            case "plain":
                state.font, state.hidden, state.deleted = None, False, False
            case "uc":
                state.skip = max(0, number or 0)
            case "v":
                state.hidden = on
            case "deleted" | "mvf":
                state.deleted = on
            case "pard":
                state.in_table, self._level = False, 0
            case "intbl":
                state.in_table = True
            case "outlinelevel":
                self._level = (number or 0) + 1 if (number or 0) < 9 else 0  # noqa: PLR2004
            case "par" | "sect" | "page":
                self._end_line()
            case "cell" | "nestcell":
                if state.target == "body":
                    self._table.end_cell(self._taken())
            case "row":
                self._table.end_row()
            case _:
                self._table.define(word, number)

    def _add(self, data: bytes) -> None:
        """Takes bytes of text, without those that stand for the Unicode character before them."""
        skipped = min(self._to_skip, len(data))
        self._to_skip -= skipped
        self._raw += data[skipped:]

    def _flush(self) -> None:
        if self._raw:
            encoding = self._fonts.encoding(self._state.font)
            data, self._raw = bytes(self._raw), bytearray()
            self._write(data.decode(encoding, "replace"), flushed=True)

    def _write(self, text: str, *, flushed: bool = False) -> None:
        if not flushed:
            self._flush()
        state = self._state
        if state.target in {"skip", "fonts", "creatim", "outer"} or state.deleted:
            return
        if state.hidden:
            self._hidden += not self._was_hidden
            self._was_hidden = True
            if not self._keep_hidden:
                return
        elif text.strip():
            self._was_hidden = False
        (self._units if state.target == "body" else state.words).append(text)

    def _taken(self) -> str:
        """Returns the paragraph, and begins another."""
        text = _joined("".join(self._units))
        self._units = []
        return text

    def _end_line(self) -> None:
        state = self._state
        if state.target != "body":
            state.words.append("\n")
        elif state.in_table:
            self._units.append("\n")
        elif not state.deleted:
            self._end_paragraph()

    def _end_paragraph(self) -> None:
        if self._state.target != "body":
            return
        text = self._taken()
        if text.strip() or self._beside:
            self._end_table()
        if self._level:
            self._text.heading(text, self._level)
        elif self._is_item:
            self._text.item(text)
        else:
            self._text.paragraph(text)
        self._is_item = False
        self._end_beside()

    def _end_beside(self) -> None:
        for words in self._beside:
            self._text.paragraph(_joined(words))
        self._beside = []

    def _end_table(self) -> None:
        rows, marked = self._table.taken()
        if not rows:
            return
        beside, self._beside = self._beside, []
        grid = spread(rows)
        self._text.table(grid.rows, header_rows=marked or header_rows(rows))
        self._text.notes += grid.notes
        self._beside = beside

    def _outline(self) -> Outline:
        if self._hidden:
            done = "Read although hidden" if self._keep_hidden else "Left out"
            plural = "s" if self._hidden > 1 else ""
            self._text.notes.append(f"{done}: {self._hidden:,} hidden passage{plural} of text.")
        day = "-".join(f"{self._created.get(part, 0):02d}" for part in ("yr", "mo", "dy"))
        found = {"author": _joined(self._info.get("author", "")), "created": day}
        meta = {key: value for key, value in found.items() if value and value != "00-00-00"}
        title = _joined(self._info.get("title", ""))
        return self._text.outline(title=title, meta={**meta, **self._running.meta})


def _joined(text: str) -> str:
    """Returns a text whose halves of characters are joined; a half alone is dropped."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
