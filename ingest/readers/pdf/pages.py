"""Reads the pages of a PDF with pdfium: pieces of text with their places, sizes and visibility."""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise, repeat
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.readers.media_types import damaged, encrypted
from ingest.readers.pdf.visibility import Background, Box, Visibility

_PDFIUM = Lock()
"""pdfium is not safe to be used by several threads."""
_PASSWORD_ERROR = 4
_BOLD = re.compile(r"bold|black|heavy", re.IGNORECASE)
_BOLD_WEIGHT = 600
_FILL_AND_STROKE = 2
_QUARTER = math.pi / 2
_SLANT = 0.05
"""Radians from a quarter turn at which text is slanted, as watermarks are."""
SLANTED = -1
WIDE = 0.7
"""In heights of the text: a gap that is wider separates pieces of a line."""
_SOMETHING = re.compile(r"[^\s\x00-\x1f]")
_SPACES = re.compile(r"\s+")


class Run(NamedTuple):
    r"""Text that was painted at once, along a line.

    `left` and `right` are points along the line, `base` is the line's distance downwards, all in
    the direction in which this text is read: `turn` quarter turns against the page's, or SLANTED.
    `gap` is the white space that pdfium sees before it: none, " " or "\n".
    """

    text: str
    left: float
    right: float
    base: float
    size: float
    bold: bool
    turn: int
    gap: str
    hidden: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it is painted; `hidden` counts its lines that nobody sees, by the reason."""

    number: int
    runs: Sequence[Run]
    box: Box
    hidden: Mapping[str, int] = field(default_factory=dict)
    images: bool = False


@contextmanager
def opened(data: bytes, *, name: str) -> Iterator[Any]:
    """Opens a PDF.

    Raises:
        ReadError: It needs a password (`code="encrypted"`), or is damaged.
    """
    import pypdfium2

    with _PDFIUM:
        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            if getattr(error, "err_code", None) == _PASSWORD_ERROR:
                raise encrypted(name) from error
            raise damaged(name, str(error)) from error
        try:
            yield document
        finally:
            document.close()


def pages(document: Any, *, hidden: bool) -> Iterator[Page | None]:
    """Yields the pages; None for one that is damaged. Text that nobody sees comes if `hidden`."""
    import pypdfium2

    for number in range(1, len(document) + 1):
        try:
            page = document[number - 1]
        except pypdfium2.PdfiumError:
            yield None
            continue
        try:
            text_page = page.get_textpage()
            yield _page(page, text_page, number=number, hidden=hidden)
            text_page.close()
        except pypdfium2.PdfiumError:
            yield None
        finally:
            page.close()


def _page(page: Any, text_page: Any, *, number: int, hidden: bool) -> Page:
    box = Box(*page.get_bbox())
    background = Background(page)
    reader = _RunReader(text_page, Visibility(box, background))
    runs = list(reader.runs())
    left_out: dict[str, int] = {}
    if any(run.hidden for run in runs) and not hidden:
        unseen = {(run.hidden, run.turn, round(run.base)) for run in runs if run.hidden}
        for reason, _, _ in sorted(unseen):
            left_out[reason] = left_out.get(reason, 0) + 1
        runs = [run for run in runs if not run.hidden]
    images = not runs and background.images
    return Page(number, runs, box, left_out, images)


class _RunReader:
    """Cuts a page's characters into runs: pdfium keeps those of a run together."""

    def __init__(self, text_page: Any, visibility: Visibility) -> None:
        import pypdfium2.raw as pdfium

        self._pdfium = pdfium
        self._page = text_page.raw
        self._visibility = visibility
        self._bold: dict[int, bool] = {}
        self._matrix = pdfium.FS_MATRIX()
        self._numbers = [ctypes.c_double() for _ in range(4)]
        self._mode = pdfium.FPDFTextObj_GetTextRenderMode

    def runs(self) -> Iterator[Run]:
        chars, objects = self._chars()
        edges = [*(np.flatnonzero(np.diff(objects)) + 1).tolist(), len(chars)]
        start, gap = 0, ""
        for end in edges if chars else ():
            text, object_ = chars[start:end], int(objects[start])
            if not object_:  # white space that pdfium adds between what was painted
                gap = "\n" if "\n" in text else gap or " "
            elif not _SOMETHING.search(text):
                gap = gap or " "
            else:
                yield from self._split(text, start, object_, gap)
                gap = " " if text[-1].isspace() else ""
            start = end

    def _split(self, text: str, start: int, address: int, gap: str) -> Iterator[Run]:
        """Yields a run, or several if it has gaps as wide as those between columns or cells."""
        whole = self._run(text, start, address, gap)
        cuts = [0]
        for space in _SPACES.finditer(text.rstrip()):
            before, after = space.start() - 1, space.end()
            if before >= 0 and self._distance(start + before, start + after) > WIDE * whole.size:
                cuts.append(after)
        if len(cuts) == 1:
            yield whole
            return
        for cut, end in pairwise([*cuts, len(text)]):
            yield self._run(text[cut:end], start + cut, address, " " if cut else gap)

    def _distance(self, before: int, after: int) -> float:
        """Returns the space between two characters, on a line in any direction."""
        one, other = self._box(before), self._box(after)
        return max(
            other.left - one.right,
            one.left - other.right,
            other.bottom - one.top,
            one.bottom - other.top,
        )

    def _chars(self) -> tuple[str, NDArray[np.uint64]]:
        """Returns the characters, and for each the address of the object that painted it."""
        pdfium, page = self._pdfium, self._page
        count = pdfium.FPDFText_CountChars(page)
        buffer = (ctypes.c_ushort * (count + 1))()
        pdfium.FPDFText_GetText(page, 0, count, buffer)
        chars = bytes(buffer)[: 2 * count].decode("utf-16-le", "surrogatepass")
        if len(chars) != count:  # characters of two units
            chars = "".join(chr(pdfium.FPDFText_GetUnicode(page, n)) for n in range(count))
        # Called for each character, so without the conversions of the general binding.
        signature = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int)
        object_of = signature(_address(pdfium.FPDFText_GetTextObject))
        objects = map(object_of, repeat(_address(page)), range(count))
        return chars, np.fromiter(objects, np.uint64, count)

    def _run(self, text: str, start: int, address: int, gap: str) -> Run:
        pdfium, matrix = self._pdfium, self._matrix
        lead = len(text) - len(text.lstrip())
        first = start + lead
        last = start + len(text.rstrip()) - 1
        pdfium.FPDFText_GetMatrix(self._page, first, matrix)
        scale = math.hypot(matrix.c, matrix.d) or math.hypot(matrix.a, matrix.b)
        size = abs(pdfium.FPDFText_GetFontSize(self._page, first) * scale)
        x, y, *_ = self._numbers
        pdfium.FPDFText_GetCharOrigin(self._page, first, x, y)
        origin = (x.value, y.value)
        box = self._box(last)
        turn = _turn(matrix.a, matrix.b)
        left, base = turned(*origin, turn)
        object_ = ctypes.cast(address, pdfium.FPDF_PAGEOBJECT)
        return Run(
            text=" ".join(text.split()),
            left=left,
            right=max(turned(box.left, box.bottom, turn)[0], turned(box.right, box.top, turn)[0]),
            base=base,
            size=size,
            bold=self._is_bold(object_),
            turn=turn,
            gap=" " if lead and not gap else gap,
            hidden=self._visibility.reason(object_, box.around(Box(*origin, *origin)), size),
        )

    def _box(self, index: int) -> Box:
        left, right, bottom, top = self._numbers
        self._pdfium.FPDFText_GetCharBox(self._page, index, left, right, bottom, top)
        return Box(left.value, bottom.value, right.value, top.value)

    def _is_bold(self, object_: Any) -> bool:
        pdfium = self._pdfium
        font = pdfium.FPDFTextObj_GetFont(object_)
        key = _address(font)
        if key not in self._bold:
            buffer = ctypes.create_string_buffer(256)
            pdfium.FPDFFont_GetBaseFontName(font, buffer, len(buffer))
            name = buffer.value.decode("utf-8", "replace")
            bold = pdfium.FPDFFont_GetWeight(font) >= _BOLD_WEIGHT
            self._bold[key] = bold or bool(_BOLD.search(name))
        return self._bold[key] or self._mode(object_) == _FILL_AND_STROKE


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


def _turn(along: float, up: float) -> int:
    """Returns the quarter turns of a text whose line goes by (`along`, `up`), or `SLANTED`."""
    if up == 0 and along > 0:
        return 0
    turns = math.atan2(up, along) / _QUARTER
    nearest = round(turns)
    return nearest % 4 if abs(turns - nearest) * _QUARTER < _SLANT else SLANTED


def turned(x: float, y: float, turn: int) -> tuple[float, float]:
    """Returns a point's distance along the lines of text turned so, and its distance downwards."""
    match turn:
        case 1:
            return y, x
        case 2:
            return -x, y
        case 3:
            return -y, -x
        case _:
            return x, -y
