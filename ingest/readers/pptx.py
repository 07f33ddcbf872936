"""Reads PowerPoint presentations (PPTX)."""

from __future__ import annotations

from collections.abc import Iterator

from ingest.readers.charts import chart_rows
from ingest.readers.formulas import formula
from ingest.readers.header_rows import fitted
from ingest.readers.options import ReadOptions
from ingest.readers.outline import Outline
from ingest.readers.package import Element, Package, child, is_on, local
from ingest.readers.slides import Shape, Slide, write
from ingest.readers.tables import Cell
from ingest.readers.text_builder import TextBuilder

_PRESENTATION = "ppt/presentation.xml"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_TITLES = frozenset({"title", "ctrTitle"})
_BODIES = frozenset({"obj", "body"})
_FOOTERS = frozenset({"ftr", "hdr", "dt"})
_BULLETS = frozenset({"buChar", "buAutoNum", "buBlip"})


def outline(data: bytes, *, name: str, options: ReadOptions) -> Outline:
    """Reads the slides in their order, a page each.

    Raises:
        ReadError: A part is too large (`code="too_large"`).
    """
    package = Package(data, name=name)
    related = package.related(_PRESENTATION)
    authors = dict(_authors(package))
    slides = []
    for entry in package.tree(_PRESENTATION).iterfind("{*}sldIdLst/{*}sldId"):
        relation = related.get(entry.get(_RELATION + "id", ""))
        if relation and relation.target in package:
            slides.append(_Reader(package, relation.target, options).slide(authors))
        else:
            slides.append(Slide())  # so that those after it keep their numbers
    text = TextBuilder()
    running = write(slides, text, options, drawn=_drawn_on_all(package))
    return text.outline(title=package.title(), meta={**package.meta(), **running.meta})


def _drawn_on_all(package: Package) -> Iterator[str]:
    """Yields the texts that the designs of slides draw on each of them."""
    for master in package.of_kind(_PRESENTATION, "slideMaster"):
        for shape in package.tree(master).iterfind("{*}cSld/{*}spTree/{*}sp"):
            if shape.find("{*}nvSpPr/{*}nvPr/{*}ph") is None:
                yield from (drawn.text for drawn in _text_shapes(shape))


def _authors(package: Package) -> Iterator[tuple[str, str]]:
    for kind in ("commentAuthors", "authors"):
        for path in package.of_kind(_PRESENTATION, kind):
            for each in package.tree(path):
                yield each.get("id", ""), each.get("name", "")


class _Reader:
    """Reads a slide."""

    def __init__(self, package: Package, path: str, options: ReadOptions) -> None:
        self._package = package
        self._path = path
        self._related = package.related(path)
        self._keep_hidden = options.hidden
        self._slide = Slide()

    def slide(self, authors: dict[str, str]) -> Slide:
        root = self._package.tree(self._path)
        slide = self._slide
        slide.hidden = not is_on(root.get("show", "1"))
        for tree in root.iterfind("{*}cSld/{*}spTree"):
            slide.shapes += self._shapes(tree)
        for path in self._package.of_kind(self._path, "notesSlide"):
            slide.notes += _speaker_notes(self._package.tree(path))
        for path in self._package.of_kind(self._path, "comments"):
            slide.comments += _comments(self._package.tree(path), authors)
        return slide

    def _shapes(self, parent: Element) -> Iterator[Shape]:
        for shape in parent:
            if self._is_hidden(shape):
                self._slide.hidden_shapes += 1
                if not self._keep_hidden:
                    continue
            match local(shape):
                case "sp" | "cxnSp":
                    yield from _text_shapes(shape)
                case "grpSp":
                    yield from self._shapes(shape)
                case "graphicFrame":
                    yield from self._graphics(shape)
                case "AlternateContent":
                    choices = (list(self._shapes(choice)) for choice in shape)
                    yield from next(filter(None, choices), [])
                case _:  # a picture, or a property
                    pass

    @staticmethod
    def _is_hidden(shape: Element) -> bool:
        return any(
            is_on(each.get("hidden")) for part in shape for each in part.iterchildren("{*}cNvPr")
        )

    def _graphics(self, frame: Element) -> Iterator[Shape]:
        """Yields tables, charts and the texts of diagrams."""
        for each in frame.iterfind("{*}graphic/{*}graphicData/*"):
            match local(each):
                case "tbl":
                    properties = each.find("{*}tblPr")
                    has_header = properties is not None and is_on(properties.get("firstRow"))
                    yield Shape("table", rows=_table(each), has_header=has_header)
                case "chart":
                    root = self._part(each.get(_RELATION + "id"))
                    if root is not None:
                        title, rows = chart_rows(root)
                        yield Shape("text", lines=[(title, False)])
                        cells = [[Cell(value) for value in row] for row in rows]
                        yield Shape("table", rows=cells, has_header=True)
                case "relIds":
                    root = self._part(each.get(_RELATION + "dm"))
                    texts = [] if root is None else root.iterfind("{*}ptLst/{*}pt/{*}t")
                    lines = [line for text in texts for line in _lines(text)]
                    yield Shape("text", lines=[(line, True) for line, _ in lines])
                case _:
                    pass

    def _part(self, relation_id: str | None) -> Element | None:
        relation = self._related.get(relation_id or "")
        exists = relation is not None and relation.target in self._package
        return self._package.tree(relation.target) if relation and exists else None


def _text_shapes(shape: Element) -> Iterator[Shape]:
    body = child(shape, "txBody")
    if body is None:
        return
    placeholder = shape.find("{*}nvSpPr/{*}nvPr/{*}ph")
    kind = "" if placeholder is None else placeholder.get("type", "obj")
    if kind in {"sldNum", "sldImg"}:
        return
    lines = list(_lines(body))
    if kind in _BODIES and sum(bool(line.strip()) for line, _ in lines) > 1:
        lines = [(line, item is not False) for line, item in lines]
    read = [(line, bool(item)) for line, item in lines]
    if kind in _TITLES:
        yield Shape("title", lines=read)
    elif kind in _FOOTERS:
        if body.find("{*}p/{*}fld") is None:  # the day of showing is no part of the document
            yield Shape("footer", lines=read)
    else:
        at = shape.find("{*}spPr/{*}xfrm/{*}off")
        place = "" if at is None or placeholder is not None else f"{at.get('x')},{at.get('y')}"
        yield Shape("text", lines=read, place=place)


def _lines(body: Element) -> Iterator[tuple[str, bool | None]]:
    """Yields the paragraphs, each with whether it has a bullet; None if its layout decides that."""
    for paragraph in body.iterchildren("{*}p"):
        properties = child(paragraph, "pPr")
        marks = set() if properties is None else {local(each) for each in properties}
        bullet = True if marks & _BULLETS else False if "buNone" in marks else None
        yield _words(paragraph), bullet


def _words(element: Element) -> str:
    parts = []
    for piece in element:
        match local(piece):
            case "r":
                parts += [each.text or "" for each in piece.iterchildren("{*}t")]
            case "fld":
                if piece.get("type") != "slidenum":
                    parts += [each.text or "" for each in piece.iterchildren("{*}t")]
            case "br":
                parts.append("\n")
            case "m":
                parts.append(formula(piece))
            case "AlternateContent":
                parts += [_words(choice) for choice in piece[:1]]
            case _:
                pass
    return "".join(parts)


def _table(table: Element) -> list[list[Cell]]:
    rows = []
    for row in table.iterchildren("{*}tr"):
        cells = []
        for cell in row.iterchildren("{*}tc"):
            if is_on(cell.get("hMerge")) or is_on(cell.get("vMerge")):
                continue
            body = child(cell, "txBody")
            text = "" if body is None else " ".join(line for line, _ in _lines(body))
            cells.append(Cell(text, int(cell.get("gridSpan", 1)), int(cell.get("rowSpan", 1))))
        rows.append(cells)
    return fitted(rows, columns=sum(1 for _ in table.iterfind("{*}tblGrid/{*}gridCol")))


def _speaker_notes(root: Element) -> Iterator[str]:
    for shape in root.iter("{*}sp"):
        placeholder = shape.find("{*}nvSpPr/{*}nvPr/{*}ph")
        body = child(shape, "txBody")
        if body is not None and placeholder is not None and placeholder.get("type") == "body":
            yield from (line for line, _ in _lines(body) if line.strip())


def _comments(root: Element, authors: dict[str, str]) -> Iterator[str]:
    for each in root.iter("{*}cm", "{*}reply"):
        old, new = each.find("{*}text"), each.find("{*}txBody")
        lines = [old.text or ""] if old is not None else []
        lines += [line for line, _ in _lines(new)] if new is not None else []
        author = authors.get(each.get("authorId", ""), "")
        if words := " ".join(" ".join(lines).split()):
            yield f"Comment by {author}: {words}" if author else f"Comment: {words}"
