"""Reads images with tesseract, if its language data are installed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kreuzberg import OcrConfig

_FOLDERS = (
    "/usr/share/tesseract-ocr/*/tessdata",
    "/usr/share/tessdata",
    "/usr/local/share/tessdata",
    "/opt/homebrew/share/tessdata",
)


@dataclass(frozen=True, slots=True)
class Ocr:
    """Settings for reading images; `languages` as tesseract names them: `eng`, `deu+fra`."""

    languages: str = "eng"

    def config(self) -> OcrConfig | None:
        """Returns kreuzberg's settings; None if the data of one of the languages are missing."""
        from kreuzberg import OcrConfig

        folder = self._folder()
        if folder is None:
            return None
        os.environ["TESSDATA_PREFIX"] = str(folder)  # its tesseract looks nowhere else
        return OcrConfig(backend="tesseract", language=self.languages)

    def _folder(self) -> Path | None:
        named = os.environ.get("TESSDATA_PREFIX")
        root = Path("/")
        folders = [Path(named)] if named else []
        folders += [f for pattern in _FOLDERS for f in sorted(root.glob(pattern.lstrip("/")))]
        for folder in folders:
            wanted = [folder / f"{language}.traineddata" for language in self.languages.split("+")]
            if all(file.is_file() for file in wanted):
                return folder
        return None


DEFAULT_OCR = Ocr()
