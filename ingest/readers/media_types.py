"""Detects the media type of bytes; a name decides only between kinds of text."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import PurePath
from types import MappingProxyType

from ingest.readers.decoding import decode
from rag.errors import ReadError

TEXT, MARKDOWN, RST, HTML = "text/plain", "text/markdown", "text/x-rst", "text/html"
ASCIIDOC = "text/asciidoc"
CSV, MAIL, MBOX, XML = "text/csv", "message/rfc822", "application/mbox", "application/xml"
JATS = "application/x-jats+xml"
PDF, RTF, EPUB = "application/pdf", "application/rtf", "application/epub+zip"
_OPEN = "application/vnd.oasis.opendocument."
ODT, ODS, ODP = _OPEN + "text", _OPEN + "spreadsheet", _OPEN + "presentation"
_OOXML = "application/vnd.openxmlformats-officedocument."
DOCX, PPTX = _OOXML + "wordprocessingml.document", _OOXML + "presentationml.presentation"
XLSX = _OOXML + "spreadsheetml.sheet"
DOC, PPT, XLS = "application/msword", "application/vnd.ms-powerpoint", "application/vnd.ms-excel"
MSG = "application/vnd.ms-outlook"
LATEX, NOTEBOOK, NDJSON = "application/x-latex", "application/x-ipynb+json", "application/x-ndjson"
PNG, JPEG, TIFF = "image/png", "image/jpeg", "image/tiff"

_TEXTS = {
    ".txt": TEXT, ".text": TEXT, ".log": TEXT, ".asciidoc": ASCIIDOC, ".adoc": ASCIIDOC,
    ".org": TEXT, ".yaml": TEXT, ".yml": TEXT, ".json": TEXT, ".vtt": TEXT, ".srt": TEXT,
    ".md": MARKDOWN, ".markdown": MARKDOWN, ".rst": RST, ".html": HTML, ".htm": HTML,
    ".xhtml": HTML, ".csv": CSV, ".tsv": CSV, ".eml": MAIL, ".mbox": MBOX, ".xml": XML,
    ".nxml": JATS, ".tex": LATEX, ".ipynb": NOTEBOOK, ".ndjson": NDJSON, ".jsonl": NDJSON,
}  # fmt: skip
_IMAGES = {".png": PNG, ".jpg": JPEG, ".jpeg": JPEG, ".tif": TIFF, ".tiff": TIFF}
_BINARY = _IMAGES | {
    ".pdf": PDF, ".docx": DOCX, ".pptx": PPTX, ".xlsx": XLSX, ".doc": DOC, ".ppt": PPT,
    ".xls": XLS, ".odt": ODT, ".ods": ODS, ".odp": ODP, ".epub": EPUB, ".rtf": RTF,
    ".msg": MSG,
}  # fmt: skip
BINARY = frozenset(_BINARY.values())
"""Media types that are not text."""
MEDIA_TYPES: Mapping[str, str] = MappingProxyType(_TEXTS | _BINARY)
"""The readable media types by file extension, in lower case."""

DOCUMENTS = frozenset(MEDIA_TYPES) - frozenset(_IMAGES)
"""Extensions that a folder is searched for: pictures lie beside most documents, but are not
documents."""
READABLE = (
    "PDF, Word, Excel, PowerPoint, OpenDocument, EPUB, RTF, HTML, Markdown, reStructuredText,"
    " e-mail, CSV, XML, LaTeX, notebooks, images and plain text"
)
"""The readable types, for messages."""

_SIGNATURES = (
    (b"{\\rtf", RTF),
    (b"\x89PNG", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
)
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_STREAMS = (
    ("WordDocument", DOC),
    ("PowerPoint Document", PPT),
    ("Workbook", XLS),
    ("Book", XLS),
    ("__properties_version1.0", MSG),
)
_ZIP_MEMBERS = (("word/document.xml", DOCX), ("ppt/presentation.xml", PPTX))
_ZIP_MIMETYPES = frozenset({ODT, ODS, ODP, EPUB})
_HEAD = 4096
_LONGEST_TYPE = 100
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError)
_MARKUP = re.compile(r"<!doctype html|<html|<head|<body", re.IGNORECASE)
_ARTICLE = re.compile(r"<!DOCTYPE article|<article[\s/>]")
_MAIL = re.compile(
    r"(?:(?:Return-Path|Received|MIME-Version|Message-ID|Delivered-To|From|To|Subject|Date|Cc"
    r"|Content-[\w-]+|X-[\w-]+): .*\n(?:[ \t].*\n)*){3}"
)
_MBOX = re.compile(r"From \S+.* \d\d:\d\d")


def essence(content_type: str) -> str:
    """Returns the media type in a Content-Type header, in lower case, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def media_type(data: bytes, *, name: str) -> str:
    """Returns the media type, one of the values of `MEDIA_TYPES`.

    Raises:
        ReadError: The file is encrypted, damaged, or of a type that cannot be read.
    """
    if b"%PDF-" in data[:1024]:
        return PDF
    for signature, found in _SIGNATURES:
        if data.startswith(signature):
            return found
    if data.startswith(_OLE):
        return _ole(data, name=name)
    if data.startswith(_ZIP):
        return _zip(data, name=name)
    return _text(data, name=name)


def _ole(data: bytes, *, name: str) -> str:
    import olefile  # here: few files need it

    try:
        with olefile.OleFileIO(BytesIO(data)) as file:
            streams = {"/".join(path) for path in file.listdir()}
    except (OSError, ValueError, IndexError, RecursionError) as error:
        raise damaged(name, f"an older Office file that cannot be opened ({error})") from error
    if "EncryptedPackage" in streams:
        raise encrypted(name)
    for stream, found in _OLE_STREAMS:
        if stream in streams:
            return found
    raise unsupported(name, "an OLE container of an unknown kind")


def _zip(data: bytes, *, name: str) -> str:
    try:
        with zipfile.ZipFile(BytesIO(data)) as file:
            members = set(file.namelist())
            mimetype = _beginning(file, "mimetype") if "mimetype" in members else b""
    except _ZIP_ERRORS as error:
        raise damaged(name, f"a zip container that cannot be opened ({error})") from error
    if (declared := mimetype.decode("ascii", "replace").strip()) in _ZIP_MIMETYPES:
        return declared
    for member, found in _ZIP_MEMBERS:
        if member in members:
            return found
    if any(member.startswith("xl/workbook.") for member in members):
        return XLSX
    if "META-INF/container.xml" in members:
        return EPUB
    raise unsupported(name, "an archive: unpack it and ingest what is inside")


def _beginning(file: zipfile.ZipFile, member: str) -> bytes:
    """Returns the beginning of a member, which may be a bomb, up to the length of a media type."""
    with file.open(member) as opened:
        return opened.read(_LONGEST_TYPE)


def _text(data: bytes, *, name: str) -> str:
    suffix = PurePath(name).suffix.lower()
    head = _head(data, name=name).lstrip()
    if _MARKUP.match(head) or (head.startswith("<?xml") and _MARKUP.search(head)):
        return HTML
    if suffix in _TEXTS:
        return JATS if _TEXTS[suffix] == XML and _ARTICLE.search(head) else _TEXTS[suffix]
    for mark, found in ((_MBOX, MBOX), (_MAIL, MAIL)):
        if mark.match(head):
            return found
    if head.startswith("<?xml"):
        return JATS if _ARTICLE.search(head) else XML
    return TEXT


def _head(data: bytes, *, name: str) -> str:
    """Returns the first characters in any encoding; a character cut at the end does not matter."""
    part = data[:_HEAD]
    while part:
        try:
            return decode(part, name=name)
        except ReadError:
            if len(data) <= _HEAD or len(part) <= _HEAD - 4:
                break
            part = part[:-1]
    return decode(data, name=name)[:_HEAD]


def encrypted(name: str) -> ReadError:
    """Returns the error of a file that needs a password."""
    return ReadError(
        f"{name}: encrypted with a password. Save it without one and ingest that.",
        code="encrypted",
    )


def damaged(name: str, fault: str) -> ReadError:
    """Returns the error of a file that is cut short or broken.

    `fault` says why: it may be the message of a library, which some of them end with a full stop.
    """
    return ReadError(
        f"{name}: the file is damaged: {fault.removesuffix('.')}. Save or send it again.",
        code="damaged",
    )


def unsupported(name: str, fault: str) -> ReadError:
    """Returns the error of a file that is complete, but of a type without a reader."""
    return ReadError(
        f"{name}: cannot be read: {fault}. Readable: {READABLE}.",
        code="unsupported_type",
    )
