"""Reads OpenDocument presentations (ODP)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ingest.readers.odt import cells_of
from ingest.readers.open_text import (
    CONTENT,
    DRAW,
    OFFICE,
    PRESENTATION,
    SVG,
    TABLE,
    TEXT,
    OpenStyles,
    ParagraphReader,
    comment_of,
    meta_of,
)
from ingest.readers.options import ReadOptions
from ingest.readers.outline import Outline
from ingest.readers.package import Element, Package, local
from ingest.readers.slides import Shape, Slide, write
from ingest.readers.text_builder import TextBuilder

_NUMBERS = frozenset({"page-number", "page", "date-time"})
_FOOTERS = frozenset({"footer", "header"})


def outline(data: bytes, *, name: str, options: ReadOptions) -> Outline:
    """Reads the slides in their order, a page each.

    Raises:
        ReadError: A part is too large (`code="too_large"`).
    """
    package = Package(data, name=name)
    root = package.tree(CONTENT)
    styles = OpenStyles(root)
    paragraphs = ParagraphReader(styles, keep_hidden=options.hidden)
    footers = {
        each.get(PRESENTATION + "name"): each.text or ""
        for each in root.iter(PRESENTATION + "footer-decl", PRESENTATION + "header-decl")
    }
    pages = root.iterfind(f"{OFFICE}body/{OFFICE}presentation/{DRAW}page")
    slides = [_slide(page, styles, paragraphs, footers) for page in pages]
    text = TextBuilder()
    running = write(slides, text, options)
    title, meta = meta_of(package)
    return text.outline(title=title, meta={**meta, **running.meta})


def _slide(
    page: Element, styles: OpenStyles, paragraphs: ParagraphReader, footers: dict[str, str]
) -> Slide:
    slide = Slide(hidden=styles.hide(page.get(DRAW + "style-name")))
    for kind in ("header", "footer"):
        if words := footers.get(page.get(f"{PRESENTATION}use-{kind}-name", "")):
            slide.shapes.append(Shape("footer", lines=[(words, False)]))
    for child in page:
        if local(child) == "notes":
            slide.notes = [
                line
                for shape in _shapes(child, paragraphs)
                for line, _ in shape.lines
                if line.strip()
            ]
        elif local(child) == "annotation":
            slide.comments += filter(None, [comment_of(paragraphs, child)])
        else:
            slide.shapes += _shapes_of(child, paragraphs)
    return slide


def _shapes(parent: Element, paragraphs: ParagraphReader) -> Iterator[Shape]:
    for child in parent:
        yield from _shapes_of(child, paragraphs)


def _shapes_of(element: Element, paragraphs: ParagraphReader) -> Iterator[Shape]:
    """Yields the texts and tables of a frame or a shape, and of those within it."""
    if not element.tag.startswith(DRAW):
        return
    kind = element.get(PRESENTATION + "class", "")
    if kind in _NUMBERS:
        return
    if local(element) == "g":
        yield from _shapes(element, paragraphs)
        return
    lines: list[tuple[str, bool]] = []
    inner: list[Element] = []
    for child in element:
        if child.tag == TABLE + "table":
            yield Shape("table", rows=cells_of(child, paragraphs), has_header=True)
        else:
            source = child if local(child) == "text-box" else [child]
            _gather(source, lines, inner, paragraphs)
    place = f"{element.get(SVG + 'x')},{element.get(SVG + 'y')}" if not kind else ""
    what: Literal["title", "footer", "text"] = (
        "title" if kind == "title" else "footer" if kind in _FOOTERS else "text"
    )
    yield Shape(what, lines=lines, place=place)
    for frame in inner:
        yield from _shapes_of(frame, paragraphs)


def _gather(
    parent: Element | list[Element],
    lines: list[tuple[str, bool]],
    inner: list[Element],
    paragraphs: ParagraphReader,
    *,
    listed: bool = False,
) -> None:
    """Gathers the lines of a text box, and the frames that stand in them."""
    for child in parent:
        if child.tag in {TEXT + "p", TEXT + "h"}:
            words = paragraphs.read(child)
            lines.append((words.text, listed))
            inner += words.frames
        elif child.tag in {TEXT + "list", TEXT + "list-item", TEXT + "list-header"}:
            _gather(child, lines, inner, paragraphs, listed=True)
        elif child.tag.startswith(DRAW):
            inner.append(child)
