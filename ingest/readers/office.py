"""Reads PDF, Office, OpenDocument and RTF by their own readers, others by kreuzberg."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from ingest.readers import media_types, rtf
from ingest.readers.decoding import clean
from ingest.readers.media_types import damaged, encrypted
from ingest.readers.ocr import Ocr
from ingest.readers.options import ReadOptions
from ingest.readers.outline import Outline
from ingest.readers.pdf import document as pdf
from ingest.readers.text_builder import TextBuilder
from rag.errors import ReadError
from rag.types import Meta

# A hyphen at a line's end, as pdfium marks it.
_SOFT_HYPHEN = re.compile("\u0002\\s*")
_LONGEST_HEADING = 120
_WORKBOOK = "xl/workbook.xml"


def outline(data: bytes, media_type: str, *, name: str, options: ReadOptions) -> Outline:
    """Reads with headings, tables, pages and metadata as far as the format has them.

    Raises:
        ReadError: The file is encrypted (`code="encrypted"`), damaged, or has images without text
            and no character recognition is installed (`code="needs_ocr"`).
    """
    match media_type:
        case media_types.PNG | media_types.JPEG | media_types.TIFF:
            found = _recognised(data, media_type, name=name, ocr=options.ocr)
        case media_types.PDF:
            found = pdf.outline(data, name=name, hidden=options.hidden)
            if not found.text:
                found = _recognised(data, media_type, name=name, ocr=options.ocr)
        case media_types.RTF:
            found = rtf.outline(data, options=options)
        case media_types.XLS:
            from ingest.readers import xls

            found = xls.outline(data, name=name, options=options)
        case _:
            found = _marked_up(data, media_type, name=name, options=options)
    return found


def _marked_up(data: bytes, media_type: str, *, name: str, options: ReadOptions) -> Outline:
    """Reads the formats that are XML in a zip container, and by kreuzberg what is left."""
    match media_type:
        case media_types.DOCX:
            from ingest.readers import word

            found = word.outline(data, name=name, options=options)
        case media_types.XLSX if zipfile.ZipFile(BytesIO(data)).NameToInfo.get(_WORKBOOK):
            from ingest.readers import xlsx

            found = xlsx.outline(data, name=name, options=options)
        case media_types.PPTX:
            from ingest.readers import pptx

            found = pptx.outline(data, name=name, options=options)
        case media_types.ODT:
            from ingest.readers import odt

            found = odt.outline(data, name=name, options=options)
        case media_types.ODS:
            from ingest.readers import ods

            found = ods.outline(data, name=name, options=options)
        case media_types.ODP:
            from ingest.readers import odp

            found = odp.outline(data, name=name, options=options)
        case _:
            found = _extract(data, media_type, name=name)
    return found


def _extract(data: bytes, media_type: str, *, name: str, ocr: Any = None) -> Outline:
    import kreuzberg

    config = kreuzberg.ExtractionConfig(
        use_cache=False,
        enable_quality_processing=False,
        include_document_structure=True,
        output_format="markdown",
        pages=kreuzberg.PageConfig(extract_pages=True),
        ocr=ocr,
    )
    try:
        result = kreuzberg.extract_bytes_sync(data, media_type, config=config)
    except kreuzberg.KreuzbergError as error:
        if "password" in str(error).lower():
            raise encrypted(name) from error
        raise damaged(name, str(error).removeprefix("ParsingError: ")) from error
    nodes = result.document["nodes"] if result.document else []
    text = TextBuilder()
    for node in nodes:
        _add(text, node)
    return text.outline(title=_title(result.metadata), meta=_meta(result.metadata))


def _add(text: TextBuilder, node: Mapping[str, Any]) -> None:
    """Adds a node of kreuzberg's document structure; groups come before their children."""
    content = node["content"]
    if node.get("content_layer") in {"header", "footer"}:
        return
    text.turn_to(node.get("page") or 0)
    match content["node_type"]:
        case "page_break":
            text.turn_to(max(1, text.page) + 1)
        case "title" | "heading" if _is_heading(content["text"]):
            text.heading(_joined(content["text"]), content.get("level", 1))
        case "table":
            text.table(_rows(content["grid"]))
        case "list_item":
            text.item(_joined(content["text"]))
        case "metadata_block":
            text.paragraph("\n".join(f"{key}: {value}" for key, value in content["entries"]))
        case "group" | "list" | "quote" | "image" | "slide":
            pass
        case _:
            text.paragraph(_joined(content.get("text") or ""))


def _rows(grid: Mapping[str, Any]) -> list[list[str]]:
    rows = [[""] * grid["cols"] for _ in range(grid["rows"])]
    for cell in grid["cells"]:
        rows[cell["row"]][cell["col"]] = _joined(cell["content"])
    return rows


def _joined(text: str) -> str:
    """Returns the text with words joined that a line's end divides."""
    return _SOFT_HYPHEN.sub("", text)


def _is_heading(text: str) -> bool:
    """Checks a heading that PDF readers guessed by its size: a line of a paragraph is none."""
    plain = text.strip()
    return (
        0 < len(plain) <= _LONGEST_HEADING
        and not plain[0].islower()
        and not plain.endswith((".", ",", ";", "\u0002", "-"))
    )


def _title(metadata: Mapping[str, Any]) -> str:
    return clean(str(metadata.get("title") or "")).strip()


def _meta(metadata: Mapping[str, Any]) -> Meta:
    """Returns author and day of creation, if the document names them."""
    authors = [author for author in metadata.get("authors") or () if isinstance(author, str)]
    created = str(metadata.get("created_at") or "")
    day = re.match(r"\d{4}-\d\d-\d\d", created)
    found = {"author": ", ".join(authors), "created": day[0] if day else ""}
    return {key: value for key, value in found.items() if value}


def _recognised(data: bytes, media_type: str, *, name: str, ocr: Ocr) -> Outline:
    config = ocr.config()
    if config is None:
        raise ReadError(
            f"{name}: holds images and no text, and reading images (OCR) needs tesseract's"
            f" language data {ocr.languages!r}, which are not installed. Install tesseract-ocr, or"
            " set TESSDATA_PREFIX to their folder.",
            code="needs_ocr",
        )
    return _extract(data, media_type, name=name, ocr=config)
