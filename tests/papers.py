"""Small generated documents of every kind."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from email.message import EmailMessage
from io import BytesIO
from xml.sax.saxutils import escape

ODP = "application/vnd.oasis.opendocument.presentation"
_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/'
    'content-types"><Default Extension="xml" ContentType="application/xml"/><Default '
    'Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    "{overrides}</Types>"
)
_RELATIONS = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
    'relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/'
    '2006/relationships/{kind}" Target="{target}"/></Relationships>'
)
_MAIN = "application/vnd.openxmlformats-officedocument.{}.main+xml"


def zipped(members: Mapping[str, str | bytes]) -> bytes:
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return target.getvalue()


def _override(part: str, kind: str) -> str:
    return f'<Override PartName="{part}" ContentType="{_MAIN.format(kind)}"/>'


def paragraph(text: str, style: str = "") -> str:
    styled = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f'<w:p>{styled}<w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r></w:p>'


def docx(*blocks: str, footnotes: str = "") -> bytes:
    """Blocks: paragraphs, as `paragraph` makes them, and tables, as `word_table` does."""
    body = f'<?xml version="1.0"?><w:document {_W}><w:body>{"".join(blocks)}</w:body></w:document>'
    members = {
        "[Content_Types].xml": _TYPES.format(
            overrides=_override("/word/document.xml", "wordprocessingml.document")
        ),
        "_rels/.rels": _RELATIONS.format(kind="officeDocument", target="word/document.xml"),
        "word/document.xml": body,
    }
    if footnotes:
        related = _RELATIONS.format(kind="footnotes", target="footnotes.xml")
        members |= {"word/footnotes.xml": footnotes, "word/_rels/document.xml.rels": related}
    return zipped(members)


def word_table(*rows: tuple[str, ...]) -> str:
    cells = ("".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) for row in rows)
    return f"<w:tbl>{''.join(f'<w:tr>{row}</w:tr>' for row in cells)}</w:tbl>"


def xlsx(sheet: str, *rows: tuple[str | int, ...]) -> bytes:
    def cell(value: str | int, row: int, column: int) -> str:
        at = f"{chr(65 + column)}{row}"
        if isinstance(value, int):
            return f'<c r="{at}"><v>{value}</v></c>'
        return f'<c r="{at}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'

    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    lines = "".join(
        f'<row r="{n}">{"".join(cell(value, n, c) for c, value in enumerate(row))}</row>'
        for n, row in enumerate(rows, start=1)
    )
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    return zipped(
        {
            "[Content_Types].xml": _TYPES.format(
                overrides=_override("/xl/workbook.xml", "spreadsheetml.sheet")
                + _override("/xl/worksheets/sheet1.xml", "spreadsheetml.worksheet").replace(
                    ".main+xml", "+xml"
                )
            ),
            "_rels/.rels": _RELATIONS.format(kind="officeDocument", target="xl/workbook.xml"),
            "xl/_rels/workbook.xml.rels": _RELATIONS.format(
                kind="worksheet", target="worksheets/sheet1.xml"
            ),
            "xl/workbook.xml": f'<?xml version="1.0"?><workbook {main} xmlns:r="{relations}">'
            f'<sheets><sheet name="{sheet}" sheetId="1" r:id="r1"/></sheets></workbook>',
            "xl/worksheets/sheet1.xml": f'<?xml version="1.0"?><worksheet {main}><sheetData>'
            f"{lines}</sheetData></worksheet>",
        }
    )


def epub(title: str, *chapters: tuple[str, str]) -> bytes:
    """Chapters of (heading, text), in the order of the spine."""
    names = [f"c{n}.xhtml" for n in range(len(chapters))]
    manifest = "".join(
        f'<item id="{name}" href="{name}" media-type="application/xhtml+xml"/>' for name in names
    )
    spine = "".join(f'<itemref idref="{name}"/>' for name in names)
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<?xml version="1.0"?><container version="1.0" xmlns="urn:'
            'oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="p.opf" '
            'media-type="application/oebps-package+xml"/></rootfiles></container>',
            "p.opf": '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" '
            'version="3.0"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
            f"<dc:title>{title}</dc:title><dc:creator>A. Writer</dc:creator></metadata>"
            f"<manifest>{manifest}</manifest><spine>{spine}</spine></package>",
        }
        | {
            name: f'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body>'
            f"<h1>{heading}</h1><p>{text}</p></body></html>"
            for name, (heading, text) in zip(names, chapters, strict=True)
        }
    )


def pdf(*pages: str, encrypt: bool = False) -> bytes:
    """A page for each text; no text, no text layer."""
    from pypdf import PdfWriter
    from pypdf.generic import (
        DecodedStreamObject,
        DictionaryObject,
        NameObject,
    )

    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
    for text in pages:
        page = writer.add_blank_page(612, 792)
        lines = " T* ".join(f"({line}) Tj" for line in text.split("\n"))
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 14 TL 72 700 Td {lines} ET".encode("latin-1"))
        page[NameObject("/Contents")] = writer._add_object(stream)
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    if encrypt:
        writer.encrypt("secret", algorithm="RC4-128")
    target = BytesIO()
    writer.write(target)
    return target.getvalue()


def odp(*slides: str) -> bytes:
    from odf import draw, opendocument, style, text

    document = opendocument.OpenDocumentPresentation()
    layout = style.PageLayout(name="L")
    document.automaticstyles.addElement(layout)
    master = style.MasterPage(name="M", pagelayoutname=layout)
    document.masterstyles.addElement(master)
    for words in slides:
        page = draw.Page(masterpagename=master)
        frame = draw.Frame(width="10cm", height="5cm")
        box = draw.TextBox()
        box.addElement(text.P(text=words))
        frame.addElement(box)
        page.addElement(frame)
        document.presentation.addElement(page)
    target = BytesIO()
    document.write(target)
    return target.getvalue()


def mail(subject: str, body: str, *attachments: tuple[str, bytes]) -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = (
        subject,
        "ann@example.com",
        "bo@example.com",
    )
    message["Date"] = "Tue, 01 Oct 2024 12:34:56 -0500"
    message.set_content(body)
    for name, data in attachments:
        message.add_attachment(data, maintype="application", subtype="x", filename=name)
    return message
