"""Tells text of a PDF that nobody sees."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

_STROKED_MODES = {1, 2, 5, 6}
_INVISIBLE_MODES = {3, 7}
"""Text render modes that paint nothing; 7 only clips."""
_WHITE = 245
_OPAQUE = 10
"""Colours count from 0 to 255; a lower opacity is none."""
_TINY_SHARE = 1 / 350
"""Text is tiny if it is smaller than this share of the page's shorter side: 1.7 points on A4. A web
page that was printed on one long page is read at its width."""
_DEEPEST_FORM = 4
_MOST_OBJECTS = 100_000


class Box(NamedTuple):
    """A rectangle in points, from the page's lower left corner."""

    left: float
    bottom: float
    right: float
    top: float

    def around(self, other: Box) -> Box:
        """Returns the smallest box around both."""
        return Box(
            min(self.left, other.left),
            min(self.bottom, other.bottom),
            max(self.right, other.right),
            max(self.top, other.top),
        )

    def meets(self, other: Box) -> bool:
        """Checks that the boxes have a point in common."""
        return (
            self.left <= other.right
            and other.left <= self.right
            and self.bottom <= other.top
            and other.bottom <= self.top
        )

    def holds_middle(self, other: Box) -> bool:
        """Checks that the middle of `other` lies in this box."""
        x, y = (other.left + other.right) / 2, (other.bottom + other.top) / 2
        return self.left <= x <= self.right and self.bottom <= y <= self.top


class Visibility:
    """Why nobody sees a piece of text of one page."""

    def __init__(self, page: Box, background: Background) -> None:
        import pypdfium2.raw as pdfium

        self._pdfium = pdfium
        self._page = page
        self._background = background
        self._tiny = _TINY_SHARE * min(page.right - page.left, page.top - page.bottom)

    def reason(self, object_: Any, box: Box, size: float) -> str:
        """Returns "off the page", "tiny", "invisible" or "white"; "" if the text is seen.

        Invisible text on an image is seen: it is what a program read in the image.
        """
        if not self._page.meets(box):
            return "off the page"
        if size < self._tiny:
            return "tiny"
        mode = self._pdfium.FPDFTextObj_GetTextRenderMode(object_)
        if mode in _INVISIBLE_MODES:
            return "" if self._background.has_image(box) else "invisible"
        return "" if mode in _STROKED_MODES else self._faint(object_, box)

    def _faint(self, object_: Any, box: Box) -> str:
        """Returns "invisible" or "white" if the text's colour is, and nothing dark is behind it."""
        red, green, blue, opacity = _colour(self._pdfium, object_)
        if opacity < _OPAQUE:
            return "invisible"
        white = min(red, green, blue) >= _WHITE
        return "white" if white and not self._background.is_dark(box) else ""


class Background:
    """Shapes and images on a page. It is looked at if a text asks for it."""

    def __init__(self, page: Any) -> None:
        import pypdfium2.raw as pdfium

        self._pdfium = pdfium
        self._page = page.raw

    @property
    def images(self) -> bool:
        """True if the page has an image."""
        return bool(self._painted[0])

    def has_image(self, box: Box) -> bool:
        """Checks that the middle of the box lies on an image."""
        return any(image.holds_middle(box) for image in self._painted[0])

    def is_dark(self, box: Box) -> bool:
        """Checks that the middle of the box lies on an image, or on an area that is not white."""
        return self.has_image(box) or any(area.holds_middle(box) for area in self._painted[1])

    @cached_property
    def _painted(self) -> tuple[list[Box], list[Box]]:
        """The boxes of images and shadings, and of areas filled with a colour."""
        pdfium = self._pdfium
        images, areas = [], []
        for kind, object_, box in self._objects():
            if kind in {pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_SHADING}:
                images.append(box)
            elif kind == pdfium.FPDF_PAGEOBJ_PATH and self._is_filled(object_):
                areas.append(box)
        return images, areas

    def _objects(self) -> Iterator[tuple[int, Any, Box]]:
        pdfium = self._pdfium
        level = [
            (pdfium.FPDFPage_GetObject(self._page, n), (1.0, 0.0, 0.0, 1.0, 0.0, 0.0))
            for n in range(min(pdfium.FPDFPage_CountObjects(self._page), _MOST_OBJECTS))
        ]
        for _ in range(_DEEPEST_FORM):
            inner = []
            for object_, matrix in level:
                kind = pdfium.FPDFPageObj_GetType(object_)
                if kind == pdfium.FPDF_PAGEOBJ_FORM:
                    whole = _product(_matrix(pdfium, object_), matrix)
                    count = min(pdfium.FPDFFormObj_CountObjects(object_), _MOST_OBJECTS)
                    inner += [
                        (pdfium.FPDFFormObj_GetObject(object_, n), whole) for n in range(count)
                    ]
                elif kind != pdfium.FPDF_PAGEOBJ_TEXT:
                    yield kind, object_, _bounds(pdfium, object_, matrix)
            level = inner[:_MOST_OBJECTS]

    def _is_filled(self, path: Any) -> bool:
        mode, stroke = ctypes.c_int(), ctypes.c_int()
        self._pdfium.FPDFPath_GetDrawMode(path, mode, stroke)
        *colour, opacity = _colour(self._pdfium, path)
        return bool(mode.value) and opacity >= _OPAQUE and min(colour) < _WHITE


_Matrix = tuple[float, float, float, float, float, float]


def _colour(pdfium: Any, object_: Any) -> tuple[int, int, int, int]:
    """Returns red, green, blue and opacity of the filling; black if it has none of its own."""
    parts = [ctypes.c_uint() for _ in range(4)]
    if not pdfium.FPDFPageObj_GetFillColor(object_, *parts):
        return 0, 0, 0, 255
    red, green, blue, opacity = (part.value for part in parts)
    return red, green, blue, opacity


def _matrix(pdfium: Any, object_: Any) -> _Matrix:
    found = pdfium.FS_MATRIX()
    pdfium.FPDFPageObj_GetMatrix(object_, found)
    return found.a, found.b, found.c, found.d, found.e, found.f


def _product(inner: _Matrix, outer: _Matrix) -> _Matrix:
    a, b, c, d, e, f = inner
    p, q, r, s, t, u = outer
    return (
        a * p + b * r,
        a * q + b * s,
        c * p + d * r,
        c * q + d * s,
        e * p + f * r + t,
        e * q + f * s + u,
    )


def _bounds(pdfium: Any, object_: Any, matrix: _Matrix) -> Box:
    sides = [ctypes.c_float() for _ in range(4)]
    pdfium.FPDFPageObj_GetBounds(object_, *sides)
    left, bottom, right, top = (side.value for side in sides)
    a, b, c, d, e, f = matrix
    corners = [(a * x + c * y + e, b * x + d * y + f) for x in (left, right) for y in (bottom, top)]
    xs, ys = zip(*corners, strict=True)
    return Box(min(xs), min(ys), max(xs), max(ys))
