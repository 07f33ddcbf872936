"""The options of reading documents."""

from __future__ import annotations

from dataclasses import dataclass

from ingest.readers.ocr import DEFAULT_OCR, Ocr


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """`hidden`: whether what nobody sees is read too: hidden sheets, rows, slides and text.

    If it is left out, a note in the document's record counts it.
    """

    ocr: Ocr = DEFAULT_OCR
    hidden: bool = False


DEFAULT_OPTIONS = ReadOptions()
