"""Decodes the bytes of a text file, or says why they are no text."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from rag.errors import ReadError

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatch

_BOMS = (  # UTF-32-LE begins with the mark of UTF-16-LE, so it goes first
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_MAGIC = (
    (b"\x7fELF", "a program"),
    (b"GIF8", "a GIF image"),
    (b"RIFF", "an audio, video or WebP file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"SQLite format 3", "an SQLite database"),
)
# The legacy encodings of real documents. Guessing among all that Python knows would be unreliable.
_LEGACY = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257"),
    *("iso8859_2", "koi8_r", "cp866", "cp850"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
]
# What browsers read these labels as (WHATWG Encoding Standard): the wider code page.
_WIDER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "shift_jis": "cp932",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
}
_SAMPLE = 1 << 16
_CHAOS_ALLOWED = 0.15
_CHAOS_TIE = 0.01
_NULS_OF_UTF16 = 0.6
_CONTROLS_ALLOWED = 0.005

_HIGH_BYTE = re.compile(rb"[\x80-\xff]")
_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\r\f\x08\x1b"))
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_LINE_ENDS = ("\r\n", "\r", "\f", "\x85", "\u2028", "\u2029")
_UNWANTED = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff\ufeff]")
_NOTHING = dict.fromkeys(
    (*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0xD800, 0xE000), 0xFEFF)
)


def decode(data: bytes, *, name: str, declared: str | None = None) -> str:
    r"""The text of a file, with `\n` line ends and without control characters.

    A byte order mark decides; then UTF-8 where the bytes are that; then the encoding the document
    itself declares; then what charset-normalizer finds, where it is sure.

    Args:
        data: The whole file.
        name: What to call the file in errors.
        declared: The label of an encoding, as in HTML's `<meta charset>`.

    Raises:
        ReadError: The bytes are no text, or in an encoding that cannot be detected.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return clean(_strict(data, encoding, name=name))
    _refuse_formats(data, name=name)
    if b"\0" in data:
        return clean(_strict(data, _utf16(data, name=name), name=name))
    _refuse_controls(data, name=name)
    try:
        return clean(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        text = _declared(data, declared) or _detected(data, bad=error.start, name=name)
        return clean(text)


def clean(text: str) -> str:
    """Unifies line ends, and removes characters that cannot be stored or sent as UTF-8."""
    if text.isprintable():  # most lines are: none of the characters below is printable
        return text
    # Not by `re.sub`: it stores a separate string for each text between two line ends.
    for end in _LINE_ENDS:
        text = text.replace(end, "\n")
    return text.translate(_NOTHING) if _UNWANTED.search(text) else text


def storable(text: str) -> str:
    """Removes NUL and lone surrogates from the text, the only characters that cannot be stored."""
    return _UNSTORABLE.sub("", text)


def _strict(data: bytes, encoding: str, *, name: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ReadError(
            f"{name}: the file begins as {encoding.upper()} but is damaged at byte {error.start}. "
            "Save it again as UTF-8."
        ) from error


def _refuse_formats(data: bytes, *, name: str) -> None:
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            raise ReadError(
                f"{name}: the bytes are {kind}, not text. "
                "Convert it to a document and ingest that.",
                code="unsupported_type",
            )


def _refuse_controls(data: bytes, *, name: str) -> None:
    sample = data[:_SAMPLE]
    controls = len(sample) - len(sample.translate(None, _CONTROL_BYTES))
    if controls > max(1, _CONTROLS_ALLOWED * len(sample)):
        raise _binary(name)


def _utf16(data: bytes, *, name: str) -> str:
    """Returns the UTF-16 kind of a file without a byte order mark, from the places of its NULs."""
    sample = data[:_SAMPLE]
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    most = _NULS_OF_UTF16 * (len(sample) // 2)
    if odd > most and not even:
        return "utf-16-le"
    if even > most and not odd:
        return "utf-16-be"
    raise _binary(name)


def _declared(data: bytes, label: str | None) -> str | None:
    """Returns the text by the declared encoding; None if that is unknown or wrong."""
    try:
        encoding = codecs.lookup(label or "").name
        return str(codecs.decode(data, _WIDER.get(encoding, encoding)))
    except (LookupError, ValueError, TypeError, AssertionError):
        return None


def _detected(data: bytes, *, bad: int, name: str) -> str:
    """Returns the text by the likeliest legacy encoding; `bad` is the first byte not in UTF-8."""
    from charset_normalizer import from_bytes  # here: few files need it

    first = _HIGH_BYTE.search(data)
    begin = max(0, first.start() - _SAMPLE // 4) if first else 0
    matches = from_bytes(
        data[begin : begin + _SAMPLE], cp_isolation=_LEGACY, threshold=_CHAOS_ALLOWED
    )
    encoding = _likeliest(list(matches))
    if encoding is None:
        raise ReadError(
            f"{name}: not UTF-8 at byte {bad}, and no other encoding can be detected with "
            "confidence; the file may be damaged or binary. If it is text, save it as UTF-8."
        )
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ReadError(
            f"{name}: looks like {encoding} but byte {error.start} does not fit. Save it as UTF-8."
        ) from error


def _likeliest(matches: list[CharsetMatch]) -> str | None:
    """Returns the likeliest encoding; None if two are about as likely.

    Western European text reads about as well as Central European; the commoner one wins.
    """
    if not matches:
        return None
    least = min(match.chaos for match in matches)
    close = [match for match in matches if match.chaos <= least + _CHAOS_TIE]
    if any("cp1252" in match.could_be_from_charset for match in close):
        return "cp1252"
    best = max(close, key=lambda match: match.coherence)
    return best.encoding if best.coherence > 0 or len(close) == 1 else None


def _binary(name: str) -> ReadError:
    return ReadError(
        f"{name}: the bytes are binary (NULs or control characters), not text. "
        "Convert it to a document and ingest that.",
        code="unsupported_type",
    )
