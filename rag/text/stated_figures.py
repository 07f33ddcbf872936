"""Finds the figures of a claim that its evidence does not state."""

# ruff: noqa: RUF001 - signs of calculations
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal

from rag.text.figures import Figure, figures, in_digits

_DAY = re.compile(r"[dm](?P<year>(?:\d{4})?)(?P<rest>\d{4}|(?<=\d)\d\d)")
"""The forms of a day, with or without a year, and of a month of a year."""
_YEAR = re.compile(r"\d{4}")
_CENTURY = re.compile(
    r"(\d{1,2})(?:st|nd|rd|th|\.)[ -](?:century|centuries|Jahrhunderts?)\b(?! (?:B\.?C|v\. ?Chr))"
)
_DECADE = re.compile(r"([12]\d\d0)s")
_EQUALS = r"\s*(?:=|is|are|equals?|makes?|gives?|ist|sind|ergibt|ergeben|macht|font|égale)\s*"
_SIGNS = re.compile(r"\s*([-+−–×x*·/÷])\s*")


def missing_figures(claim: str, evidence: Iterable[str]) -> list[Figure]:
    """Returns the figures of a claim that none of the texts has, nor a calculation in the claim.

    A year of the texts states its century and its decade. A calculation is "3 × £50 = £150": its
    result counts if it is right and the evidence has at least one of its parts.
    """
    stated = figures(claim)
    if not stated:
        return []  # the evidence takes longer to read than all else
    known = [figure for text in evidence for figure in figures(text)]
    missing = [figure for figure in stated if not is_stated(figure, known)]
    return [
        figure
        for figure in missing
        if not _has_year(_period(figure, claim), known) and not _calculated(figure, claim, known)
    ]


def is_stated(figure: Figure, known: Sequence[Figure]) -> bool:
    """Returns True if a figure equals a known one, or is a part of a known day."""
    if any(figure.equals(other) for other in known):
        return True
    values = {value for other in known for value in other.values}
    if not _YEAR.fullmatch(figure.text) and not any(isinstance(v, str) for v in figure.values):
        return False
    return any(_day_stated(form, values) for form in figure.values)


def _period(figure: Figure, claim: str) -> range:
    """Returns the years of a century or decade; none for any other figure.

    "1600s" are the years of a century.
    """
    if decade := _DECADE.fullmatch(figure.text):
        first = int(decade[1])
        return range(first, first + (10 if first % 100 else 100))
    if century := _CENTURY.match(in_digits(claim), figure.start):
        last = 100 * int(century[1])
        return range(last - 99, last + 1)
    return range(0)


def _has_year(period: range, known: Iterable[Figure]) -> bool:
    """True if a known year, or the year of a known day, is in the period."""
    if not period:
        return False
    days = (day for figure in known for value in figure.values if (day := _parts(value)))
    written = (figure.text for figure in known if _YEAR.fullmatch(figure.text))
    return any(int(year) in period for year in [*written, *(year for year, _ in days if year)])


def _day_stated(value: Decimal | str, known: AbstractSet[Decimal | str]) -> bool:
    """True for a part of a known day, or of a known month, and for a day whose parts are known."""
    days = [day for each in known if (day := _parts(each))]
    if isinstance(value, Decimal):
        return any(year == str(value) for year, _ in days)
    wanted = _parts(value)
    if wanted is None:
        return False
    year, rest = wanted
    if any(year in ("", other) and known_rest.startswith(rest) for other, known_rest in days):
        return True
    return ("", rest) in days and Decimal(year) in known


def _parts(value: Decimal | str) -> tuple[str, str] | None:
    """Returns year and month or month and day of the form of a day; a year may be empty."""
    found = _DAY.fullmatch(value) if isinstance(value, str) else None
    return (found["year"], found["rest"]) if found else None


def _calculated(figure: Figure, claim: str, known: Sequence[Figure]) -> bool:
    """True if the claim states a right calculation with this result, from a known figure."""
    text = in_digits(claim)
    before = [f for f in figures(claim) if f.end <= figure.start]
    if not before or not re.fullmatch(_EQUALS, text[before[-1].end : figure.start]):
        return False
    parts, signs = _chain(text, before)
    if not signs or not any(is_stated(part, known) for part in parts):
        return False
    return not figure.values.isdisjoint(_results(parts, signs))


def _chain(text: str, before: Sequence[Figure]) -> tuple[list[Figure], list[str]]:
    """Returns the last figures that only signs separate, and these signs, in text order."""
    parts = [before[-1]]
    signs: list[str] = []
    for figure in reversed(before[:-1]):
        sign = _SIGNS.fullmatch(text[figure.end : parts[0].start])
        if sign is None:
            break
        parts.insert(0, figure)
        signs.insert(0, sign[1])
    return parts, signs


def _results(parts: Sequence[Figure], signs: Sequence[str]) -> set[Decimal | str]:
    """Returns the results of a calculation, from left to right, for each reading of its parts."""
    results = {value for value in parts[0].values if isinstance(value, Decimal)}
    for sign, part in zip(signs, parts[1:], strict=True):
        values = [value for value in part.values if isinstance(value, Decimal)]
        results = {
            result for left in results for right in values for result in _applied(left, sign, right)
        }
    return {*results}


def _applied(left: Decimal, sign: str, right: Decimal) -> Iterator[Decimal]:
    match sign:
        case "+":
            yield left + right
        case "-" | "−" | "–":
            yield left - right
        case "/" | "÷":
            if right:
                yield left / right
        case _:
            yield left * right
