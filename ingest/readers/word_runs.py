"""Reads the words of a Word paragraph in their final state: insertions in, deletions out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ingest.readers.formulas import formula
from ingest.readers.package import Element, local
from ingest.readers.word_styles import Styles, W, is_hidden

_AS_THEIR_CONTENT = frozenset(
    {"ins", "moveTo", "hyperlink", "smartTag", "fldSimple", "customXml", "sdt", "sdtContent",
     "dir", "bdo", "rubyBase", "ruby"}
)  # fmt: skip
_CHARACTERS = {"tab": "\t", "ptab": "\t", "cr": "\n", "noBreakHyphen": "-"}
_BOXES = frozenset({"drawing", "pict", "object"})
_PAGE_FIELDS = frozenset({"PAGE", "NUMPAGES", "SECTIONPAGES"})


@dataclass(slots=True)
class Words:
    """The content of a paragraph.

    `boxes` are the contents of its text boxes; `notes` the parts ("footnotes", "endnotes",
    "comments") and ids that it refers to; `charts` the ids of charts. `hidden` counts passages.
    """

    text: str = ""
    boxes: list[Element] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    charts: list[str] = field(default_factory=list)
    breaks_before: int = 0
    breaks_after: int = 0
    hidden: int = 0
    has_page_number: bool = False


class RunReader:
    """Reads paragraphs.

    Args:
        styles: The document's styles.
        keep_hidden: Whether hidden text is read too.
        laid_out: Whether Word marked where its pages ended when it last showed the document.
    """

    def __init__(self, styles: Styles, *, keep_hidden: bool, laid_out: bool) -> None:
        self._styles = styles
        self._keep_hidden = keep_hidden
        self._laid_out = laid_out

    def read(self, paragraph: Element, *, hidden: bool = False) -> Words:
        """Returns a paragraph's words; `hidden` is what its style says."""
        return _Paragraph(self._styles, hidden, self._keep_hidden, self._laid_out).read(paragraph)


class _Paragraph:
    def __init__(self, styles: Styles, hidden: bool, keep_hidden: bool, laid_out: bool) -> None:
        self._styles = styles
        self._hidden = hidden
        self._keep_hidden = keep_hidden
        self._laid_out = laid_out
        self._words = Words()
        self._parts: list[str] = []
        self._was_hidden = False
        self._codes: list[str] = []
        """The codes of the fields that are open; "" in one whose result is being read."""
        self._results: list[str] = []

    def read(self, paragraph: Element) -> Words:
        self._walk(paragraph)
        self._words.text = "".join(self._parts)
        return self._words

    def _walk(self, element: Element) -> None:
        for child in element:
            tag = local(child)
            if tag == "r":
                self._run(child)
            elif tag == "fldSimple" and self._is_page_field(child.get(W + "instr", "")):
                self._words.has_page_number = True
            elif tag in _AS_THEIR_CONTENT:
                self._walk(child)
            elif tag in {"oMath", "oMathPara"}:
                self._parts.append(formula(child))
            elif tag == "AlternateContent":
                self._alternate(child)

    def _alternate(self, element: Element) -> None:
        """Reads the first of several forms of the same: text boxes, charts or runs."""
        if any(True for _ in boxes_in(element)):
            self._boxes(element)
            return
        for choice in element[:1]:
            self._walk(choice)
            for child in choice:
                self._part(child, local(child), shown=True)

    def _run(self, run: Element) -> None:
        properties = run.find(W + "rPr")
        hidden = is_hidden(properties)
        if hidden is None:
            hidden = self._hidden or self._styles.of(properties, "rStyle").is_hidden
        holds_text = run.find(W + "t") is not None
        if hidden and holds_text and not self._was_hidden:
            self._words.hidden += 1
        self._was_hidden = hidden if holds_text else self._was_hidden
        for child in run:
            self._part(child, local(child), shown=not hidden or self._keep_hidden)

    def _part(self, child: Element, tag: str, *, shown: bool) -> None:
        if tag == "fldChar":
            self._field(child.get(W + "fldCharType", ""))
        elif tag == "instrText":
            if self._codes:
                self._codes[-1] += child.text or ""
        elif tag == "lastRenderedPageBreak" or (tag == "br" and child.get(W + "type") == "page"):
            self._break(rendered=tag == "lastRenderedPageBreak")
        elif not shown or (self._results and self._is_page_field(self._results[-1])):
            return
        elif tag == "t":
            self._parts.append(child.text or "")
        elif tag in _CHARACTERS:
            self._parts.append(_CHARACTERS[tag])
        elif tag == "br":
            self._parts.append("\n")
        elif tag in {"footnoteReference", "endnoteReference", "commentReference"}:
            part = tag.removesuffix("Reference") + "s"
            self._words.notes.append((part, child.get(W + "id", "")))
        elif tag == "AlternateContent":
            self._alternate(child)
        elif tag in _BOXES:
            self._boxes(child)
        elif tag == "ruby":
            self._walk(child)

    def _field(self, kind: str) -> None:
        if kind == "begin":
            self._codes.append("")
        elif kind == "separate" and self._codes:
            self._results.append(self._codes[-1])
        elif kind == "end" and self._codes:
            code = self._codes.pop()
            if len(self._results) > len(self._codes):
                self._results.pop()
            if self._is_page_field(code):
                self._words.has_page_number = True

    @staticmethod
    def _is_page_field(code: str) -> bool:
        return bool(_PAGE_FIELDS & set(code.upper().split()[:1]))

    def _break(self, *, rendered: bool) -> None:
        if rendered != self._laid_out:
            return
        if any(part.strip() for part in self._parts):
            self._words.breaks_after += 1
        else:
            self._words.breaks_before += 1

    def _boxes(self, element: Element) -> None:
        for found in boxes_in(element):
            if local(found) == "chart":
                ids = (value for key, value in found.attrib.items() if key.endswith("}id"))
                self._words.charts += ids
            else:
                self._words.boxes.append(found)


def boxes_in(element: Element) -> Iterator[Element]:
    """Yields the contents of text boxes, and charts; of two forms of a drawing the newer one."""
    if next(element.iter("{*}txbxContent", "{*}chart"), None) is None:  # as in most
        return
    tag = local(element)
    if tag in {"txbxContent", "chart"}:
        yield element
    elif tag == "AlternateContent":
        for choice in element:
            found = list(boxes_in(choice))
            if found:
                yield from found
                return
    else:
        for child in element:
            yield from boxes_in(child)
