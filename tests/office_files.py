"""Small Office files with what their own programs write: formats, merges, notes, redlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from tests.papers import zipped

_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_SHEET = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_WORD = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" xmlns:wps="http://'
    'schemas.microsoft.com/office/word/2010/wordprocessingShape" xmlns:mc="http://schemas.'
    'openxmlformats.org/markup-compatibility/2006" xmlns:v="urn:schemas-microsoft-com:vml" '
    f'xmlns:r="{_RELATIONS}"'
)
_SLIDE = (
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:p="http://schemas.'
    f'openxmlformats.org/presentationml/2006/main" xmlns:r="{_RELATIONS}"'
)
Value = str | float | bool | tuple[float, str] | None
"""A cell: a text, a number, a truth value, or a number and its format code."""


def _relations(targets: Mapping[str, tuple[str, str]]) -> str:
    """Targets: kind and path by id."""
    links = "".join(
        f'<Relationship Id="{id_}" Type="{_RELATIONS}/{kind}" Target="{path}"/>'
        for id_, (kind, path) in targets.items()
    )
    return f'<Relationships xmlns="{_PACKAGE}">{links}</Relationships>'


@dataclass(kw_only=True)
class Sheet:
    name: str
    rows: Sequence[Sequence[Value]]
    merged: Sequence[str] = ()
    state: str = "visible"
    hidden_rows: Sequence[int] = ()
    hidden_columns: Sequence[int] = ()
    comments: Mapping[str, str] | None = None


def xlsx(*sheets: Sheet, from_1904: bool = False) -> bytes:
    formats = sorted({c[1] for s in sheets for row in s.rows for c in row if isinstance(c, tuple)})
    codes = "".join(
        f'<numFmt numFmtId="{200 + n}" formatCode="{escape(code, {chr(34): "&quot;"})}"/>'
        for n, code in enumerate(formats)
    )
    styles = "".join(f'<xf numFmtId="{200 + n}"/>' for n in range(len(formats)))
    members = {
        "xl/workbook.xml": f'<workbook {_SHEET} xmlns:r="{_RELATIONS}"><workbookPr '
        f'date1904="{int(from_1904)}"/><sheets>'
        + "".join(
            f'<sheet name="{s.name}" sheetId="{n}" state="{s.state}" r:id="s{n}"/>'
            for n, s in enumerate(sheets, start=1)
        )
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": _relations(
            {f"s{n}": ("worksheet", f"worksheets/s{n}.xml") for n in range(1, len(sheets) + 1)}
            | {"st": ("styles", "styles.xml")}
        ),
        "xl/styles.xml": f"<styleSheet {_SHEET}><numFmts>{codes}</numFmts><cellXfs><xf "
        f'numFmtId="0"/>{styles}</cellXfs></styleSheet>',
    }
    for n, sheet in enumerate(sheets, start=1):
        members[f"xl/worksheets/s{n}.xml"] = _sheet(sheet, formats)
        if sheet.comments:
            members[f"xl/worksheets/_rels/s{n}.xml.rels"] = _relations(
                {"c": ("comments", f"../c{n}.xml")}
            )
            notes = "".join(
                f'<comment ref="{ref}"><text><t>{words}</t></text></comment>'
                for ref, words in sheet.comments.items()
            )
            members[f"xl/c{n}.xml"] = (
                f"<comments {_SHEET}><commentList>{notes}</commentList></comments>"
            )
    return zipped(members)


def _sheet(sheet: Sheet, formats: Sequence[str]) -> str:
    def cell(value: Value) -> str:
        match value:
            case None | "":
                written = "<c/>"
            case bool():
                written = f'<c t="b"><v>{int(value)}</v></c>'
            case str() if value.startswith("#"):
                written = f'<c t="e"><v>{value}</v></c>'
            case str() if value.startswith("="):
                formula, _, stored = escape(value[1:]).partition("→")
                written = f'<c t="str"><f>{formula}</f><v>{stored}</v></c>'
            case str():
                written = f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'
            case (number, code):
                written = f'<c s="{1 + formats.index(code)}"><v>{number}</v></c>'
            case _:
                written = f"<c><v>{value}</v></c>"
        return written

    columns = "".join(f'<col min="{n}" max="{n}" hidden="1"/>' for n in sheet.hidden_columns)
    rows = "".join(
        f'<row r="{n}" hidden="{int(n in sheet.hidden_rows)}">{"".join(map(cell, row))}</row>'
        for n, row in enumerate(sheet.rows, start=1)
    )
    merged = "".join(f'<mergeCell ref="{ref}"/>' for ref in sheet.merged)
    return (
        f"<worksheet {_SHEET}><cols>{columns}</cols><sheetData>{rows}</sheetData>"
        f"<mergeCells>{merged}</mergeCells></worksheet>"
    )


def run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{escape(text)}</w:t></w:r>'


def word(body: str, **parts: str) -> bytes:
    """A Word file.

    Parts: the content of `header`, `footer`, `footnotes`, `endnotes`, `styles`, `numbering`.
    """
    roots = {"header": "hdr", "footer": "ftr"}
    section = "".join(
        f'<w:{kind}Reference w:type="default" r:id="{kind}"/>' for kind in parts if kind in roots
    )
    members = {
        "word/document.xml": f"<w:document {_WORD}><w:body>{body}<w:sectPr>{section}</w:sectPr>"
        "</w:body></w:document>",
        "word/_rels/document.xml.rels": _relations({k: (k, f"{k}.xml") for k in parts}),
    }
    for kind, content in parts.items():
        root = roots.get(kind, kind)
        members[f"word/{kind}.xml"] = f"<w:{root} {_WORD}>{content}</w:{root}>"
    return zipped(members)


def shape(text: str, *, kind: str = "", at: tuple[int, int] = (0, 0)) -> str:
    """A shape of a slide: a placeholder of a kind, or a text box at a place."""
    placeholder = f'<p:ph type="{kind}"/>' if kind else ""
    lines = "".join(f"<a:p><a:r><a:t>{escape(t)}</a:t></a:r></a:p>" for t in text.split("\n"))
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr id="1" name="s"/><p:cNvSpPr/><p:nvPr>{placeholder}</p:nvPr>'
        f'</p:nvSpPr><p:spPr><a:xfrm><a:off x="{at[0]}" y="{at[1]}"/></a:xfrm></p:spPr>'
        f"<p:txBody>{lines}</p:txBody></p:sp>"
    )


def slide_table(*rows: Sequence[str]) -> str:
    """Cells may begin with attributes in brackets: `[gridSpan="2"]Label`."""

    def cell(text: str) -> str:
        attributes, _, words = text.rpartition("]")
        body = f"<a:txBody><a:p><a:r><a:t>{escape(words)}</a:t></a:r></a:p></a:txBody>"
        return f"<a:tc {attributes.lstrip('[')}>{body}</a:tc>"

    lines = "".join(f"<a:tr>{''.join(map(cell, row))}</a:tr>" for row in rows)
    return (
        "<p:graphicFrame><a:graphic><a:graphicData><a:tbl>"
        f'<a:tblPr firstRow="1"/>{lines}</a:tbl></a:graphicData></a:graphic></p:graphicFrame>'
    )


@dataclass(kw_only=True)
class Slide:
    shapes: str
    notes: str = ""
    shown: bool = True


def pptx(*slides: Slide, master: str = "") -> bytes:
    """A presentation; `master` are the shapes that its design draws on all slides."""
    listed = "".join(f'<p:sldId id="{n}" r:id="s{n}"/>' for n in range(len(slides)))
    drawn = f"<p:cSld><p:spTree>{master}</p:spTree></p:cSld>"
    members = {
        "ppt/master.xml": f"<p:sldMaster {_SLIDE}>{drawn}</p:sldMaster>",
        "ppt/presentation.xml": f"<p:presentation {_SLIDE}><p:sldIdLst>{listed}</p:sldIdLst>"
        "</p:presentation>",
        "ppt/_rels/presentation.xml.rels": _relations(
            {f"s{n}": ("slide", f"slides/s{n}.xml") for n in range(len(slides))}
            | {"m": ("slideMaster", "master.xml")}
        ),
    }
    for n, slide in enumerate(slides):
        members[f"ppt/slides/s{n}.xml"] = (
            f'<p:sld {_SLIDE} show="{int(slide.shown)}"><p:cSld><p:spTree>{slide.shapes}'
            "</p:spTree></p:cSld></p:sld>"
        )
        if slide.notes:
            members[f"ppt/slides/_rels/s{n}.xml.rels"] = _relations(
                {"n": ("notesSlide", f"../notes/n{n}.xml")}
            )
            members[f"ppt/notes/n{n}.xml"] = (
                f"<p:notes {_SLIDE}><p:cSld><p:spTree>{shape(slide.notes, kind='body')}"
                "</p:spTree></p:cSld></p:notes>"
            )
    return zipped(members)
