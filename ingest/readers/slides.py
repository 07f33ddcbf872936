"""Writes the slides of a presentation: each on the page of its number, its notes as notes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ingest.readers.header_rows import header_rows
from ingest.readers.options import ReadOptions
from ingest.readers.running import Running, without_page
from ingest.readers.tables import Cell, spread
from ingest.readers.text_builder import TextBuilder

_LEVEL = 2
_LEAST_SLIDES = 3
_LONGEST_RUNNING = 200


@dataclass(slots=True)
class Shape:
    """A text or a table on a slide.

    `lines` are (text, whether it is an item of a list). `place` is where the slide itself puts the
    shape, "" if its layout does: only such shapes are compared with those of other slides.
    """

    kind: Literal["title", "text", "footer", "table"]
    lines: list[tuple[str, bool]] = field(default_factory=list)
    rows: list[list[Cell]] = field(default_factory=list)
    has_header: bool = False
    place: str = ""

    @property
    def text(self) -> str:
        """Returns the lines on one line."""
        return " ".join(" ".join(line.split()) for line, _ in self.lines if line.strip())


@dataclass(slots=True)
class Slide:
    """A slide; `notes` are what its speaker says, `comments` what reviewers wrote beside it."""

    hidden: bool = False
    shapes: list[Shape] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hidden_shapes: int = 0


def write(
    slides: Sequence[Slide], text: TextBuilder, options: ReadOptions, *, drawn: Iterable[str] = ()
) -> Running:
    """Appends the slides; what stands on most of them comes once, at the beginning.

    `drawn` are the texts that stand on all slides, but in none.

    Returns:
        The running headers and footers.
    """
    repeated = _repeated(slides, hidden=options.hidden)
    running = Running()
    for line in drawn:
        running.add("footer", line)
    for number, slide in enumerate(slides, start=1):
        for shape in slide.shapes if options.hidden or not slide.hidden else ():
            key = _key(shape, number)
            if shape.kind == "footer" or key in repeated:
                running.add("footer", key[0] if key[1] else shape.text)
    text.turn_to(1)
    for line in running.lines:
        text.paragraph(line)
    for number, slide in enumerate(slides, start=1):
        if options.hidden or not slide.hidden:
            text.turn_to(number)
            _write(slide, text, number, repeated)
    text.notes += _notes(slides, hidden=options.hidden)
    return running


def _write(slide: Slide, text: TextBuilder, number: int, repeated: set[tuple[str, str]]) -> None:
    titles = [shape.text for shape in slide.shapes if shape.kind == "title" and shape.text]
    body = [
        shape
        for shape in slide.shapes
        if shape.kind in {"text", "table"} and _key(shape, number) not in repeated
    ]
    if titles or slide.notes or any(shape.text or shape.rows for shape in body):
        title = " – ".join(titles)
        if not title and text.has_headings:  # the text is not below the title of another slide
            title = f"Slide {number}"
        text.heading(f"{title} (hidden)" if slide.hidden else title, _LEVEL)
    for shape in body:
        if shape.kind == "table":
            grid = spread(shape.rows)
            text.table(
                grid.rows, header_rows=header_rows(shape.rows) or (1 if shape.has_header else None)
            )
            text.notes += grid.notes
        for line, is_item in shape.lines:
            (text.item if is_item else text.paragraph)(line)
    for comment in slide.comments:
        text.paragraph(comment)
    if slide.notes:
        text.heading("Speaker notes", _LEVEL + 1)
        for note in slide.notes:
            text.paragraph(note)


def _repeated(slides: Sequence[Slide], *, hidden: bool) -> set[tuple[str, str]]:
    """Returns the texts that stand in one place on most of the slides, but for a page number."""
    keys = [
        {_key(shape, number) for shape in slide.shapes}
        for number, slide in enumerate(slides, start=1)
        if hidden or not slide.hidden
    ]
    counts = Counter(key for slide in keys for key in slide if key[1])
    return {key for key, count in counts.items() if count >= max(_LEAST_SLIDES, len(keys) / 2)}


def _key(shape: Shape, number: int) -> tuple[str, str]:
    """Returns the text without the number of the slide at its end, and its place if it has one."""
    if shape.kind != "text" or not shape.place:
        return "", ""
    text = shape.text
    if len(text) > _LONGEST_RUNNING:
        return "", ""
    bare = re.sub(rf"\s*[|/,;·•–—-]\s*{number}$", "", text)
    return without_page(bare), shape.place


def _notes(slides: Sequence[Slide], *, hidden: bool) -> Iterator[str]:
    numbers = [str(number) for number, slide in enumerate(slides, start=1) if slide.hidden]
    shapes = sum(slide.hidden_shapes for slide in slides if hidden or not slide.hidden)
    counts = []
    if numbers:
        listed = ", ".join(numbers[:10])
        counts.append(f"{len(numbers)} hidden slide{'s' * (len(numbers) > 1)} ({listed})")
    if shapes:
        counts.append(f"{shapes} hidden shape{'s' * (shapes > 1)}")
    if counts:
        yield f"{'Read although hidden' if hidden else 'Left out'}: {' and '.join(counts)}."
