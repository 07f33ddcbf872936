"""Reads what OpenDocument files have in common: styles, metadata, the words of a paragraph."""

from __future__ import annotations

from dataclasses import dataclass, field

from ingest.readers.package import Element, Package, local
from rag.types import Meta

_URN = "{urn:oasis:names:tc:opendocument:xmlns:"
TEXT, TABLE, DRAW, STYLE = (f"{_URN}{part}:1.0}}" for part in ("text", "table", "drawing", "style"))
OFFICE, PRESENTATION = f"{_URN}office:1.0}}", f"{_URN}presentation:1.0}}"
SVG = f"{_URN}svg-compatible:1.0}}"
CONTENT = "content.xml"
_SPANS = frozenset(
    {"span", "a", "meta", "meta-field", "ruby", "ruby-base", "sequence", "bookmark-ref", "title",
     "reference-ref", "date", "time", "user-defined", "variable-get", "variable-set", "subject",
     "text-input", "user-field-get", "placeholder", "conditional-text", "hidden-text", "note-ref"}
)  # fmt: skip
_HIDDEN = frozenset({"hidden-text"})
_MOST_SPACES = 1000


@dataclass(slots=True)
class Words:
    """The content of a paragraph: its text, frames and shapes, notes and comments."""

    text: str = ""
    frames: list[Element] = field(default_factory=list)
    notes: list[Element] = field(default_factory=list)
    comments: list[Element] = field(default_factory=list)
    hidden: int = 0
    soft_breaks: int = 0


class OpenStyles:
    """The styles of a document that hide text, slides and tables."""

    def __init__(self, *roots: Element) -> None:
        self._hidden: set[str] = set()
        for root in roots:
            for style in root.iter(STYLE + "style"):
                if any(_hides(each) for each in style):
                    self._hidden.add(style.get(STYLE + "name", ""))

    def hide(self, name: str | None) -> bool:
        """Tells whether the style hides what has it."""
        return name in self._hidden


class ParagraphReader:
    """Reads the words of paragraphs; hidden ones are counted, and kept if asked."""

    def __init__(self, styles: OpenStyles, *, keep_hidden: bool) -> None:
        self._styles = styles
        self._keep_hidden = keep_hidden

    def read(self, paragraph: Element) -> Words:
        """Returns the words of a paragraph."""
        words = Words()
        parts: list[str] = []
        if paragraph.text and self._styles.hide(paragraph.get(TEXT + "style-name")):
            words.hidden += 1
            if not self._keep_hidden:
                return words
        self._walk(paragraph, parts, words)
        words.text = "".join(parts)
        return words

    def _walk(self, element: Element, parts: list[str], words: Words) -> None:
        parts.append(_spaced(element.text))
        for child in element:
            self._child(child, local(child), parts, words)
            parts.append(_spaced(child.tail))

    def _child(self, child: Element, tag: str, parts: list[str], words: Words) -> None:
        if tag == "s":
            parts.append(" " * min(_MOST_SPACES, int(child.get(TEXT + "c", "1"))))
        elif tag == "tab":
            parts.append("\t")
        elif tag == "line-break":
            parts.append("\n")
        elif tag == "soft-page-break":
            words.soft_breaks += 1
        elif tag == "note":
            words.notes.append(child)
        elif tag == "annotation":
            words.comments.append(child)
        elif child.tag.startswith(DRAW):
            words.frames.append(child)
        elif tag in _SPANS and child.tag.startswith(TEXT):
            if tag in _HIDDEN or self._styles.hide(child.get(TEXT + "style-name")):
                words.hidden += 1
                if not self._keep_hidden:
                    return
            self._walk(child, parts, words)


def meta_of(package: Package) -> tuple[str, Meta]:
    """Returns title, author and day of creation, as far as they are named."""
    if "meta.xml" not in package:
        return "", {}
    found = {
        local(each): " ".join((each.text or "").split()) for each in package.tree("meta.xml").iter()
    }
    author = found.get("initial-creator") or found.get("creator", "")
    meta = {"author": author, "created": found.get("creation-date", "")[:10]}
    return found.get("title", ""), {key: value for key, value in meta.items() if value}


def comment_of(reader: ParagraphReader, annotation: Element) -> str:
    """Returns a comment with its author; "" if it is empty."""
    lines = (reader.read(paragraph).text for paragraph in annotation.iter(TEXT + "p"))
    words = " ".join(" ".join(lines).split())
    author = annotation.findtext("{*}creator") or ""
    if not words:
        return ""
    return f"Comment by {author}: {words}" if author else f"Comment: {words}"


def _hides(properties: Element) -> bool:
    values = properties.attrib
    return (
        values.get(TEXT + "display") in {"none", "true-none"}
        or values.get(PRESENTATION + "visibility") == "hidden"
        or values.get(TABLE + "display") == "false"
    )


def _spaced(text: str | None) -> str:
    """Returns a text as XML shows it: white space is one space."""
    if not text:
        return ""
    if not text.strip():
        return " "
    before, after = text[:1].isspace(), text[-1:].isspace()
    return " " * before + " ".join(text.split()) + " " * after
