"""Reads the figures of a text, numbers with units, days, times and codes, so that they compare.

"£50" is "50 GBP" and "fifty pounds", "2.5 k" is "2,500", "1 May" is "01.05.", "90 minutes" is
"1.5 hours". In which way "1.000" is read depends on the language of the text.
"""

# ruff: noqa: RUF001 - signs of numbers
from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from text_to_num import alpha2digit

from rag.text.dates import DATE, MONTHS, YEAR, date_forms
from rag.text.languages import language_of
from rag.text.units import AFTER, BEFORE, CURRENCIES, MULTIPLE, MULTIPLES, base_units

LONGEST = 20_000
"""Characters of a text that are read; passages and answers are shorter."""
_SPELLED_FROM = 2
"""Smallest number that is read in words: "one" is a pronoun more often than a number."""

DECEMBER = 12
_MONTH_NAMES = "|".join(sorted(MONTHS, key=len, reverse=True))
_DAYS = (
    rf"(?P<day>{DATE})"
    rf"|(?P<month>(?i:\b(?:{_MONTH_NAMES})\.? {YEAR}\b))"
    rf"|(?P<dotted>(?<![\d.])(?:0?[1-9]|[12]\d|3[01])\.(?:0?[1-9]|1[0-2])\.(?![\d]))"
    rf"|(?P<slashed>(?<![\d/])\d{{1,2}}/\d{{1,2}}/{YEAR}\b)"
)
_CLOCK = (
    r"(?P<clock>(?<![\d.,:])(?P<hour>[01]?\d|2[0-4])(?:[:.](?P<minute>[0-5]\d))?"
    r"[ \u00a0]?(?P<half>[ap]\.?m\b\.?|Uhr\b|(?<=:\d\d)(?![:\d])))"
)
_VERSION = r"(?P<version>(?<![\w.])(?!\d{1,3}(?:\.\d{3})+(?!\.?\d))\d+(?:\.\d+){2,}(?!\w))"
_HAS_DIGIT = r"(?=[^\W\d_]{0,32}[-_/.]?\w{0,32}\d)"
"""Bounded: a long word without a digit would be looked through from each of its letters."""
_CODE = rf"(?P<code>(?<!\w){_HAS_DIGIT}[^\W\d_]\w*(?:[-_./]\w+)*(?!\w))"
_DIGITS = r"(?:\d{1,3}(?:[.,'’ \u00a0\u202f]\d{3})+(?!\d)|\d+)(?:[.,]\d+)?"
_MINUS = "[-−–‑]"
_PARTS = "¼½¾⅐-⅞①-⑳¹²³⁰⁴-⁹"
"""Signs with a value that are no digits."""
_NUMBER = (
    rf"(?P<minus>(?<![\w)]){_MINUS})?(?:{BEFORE}(?P<inner>{_MINUS})?)?"
    rf"(?P<number>(?<![\w.,]){_DIGITS})"
    rf"(?:(?:st|nd|rd|th)\b)?{MULTIPLE}?{AFTER}?(?![\w{_PARTS}])"
)
_ODD = rf"(?P<odd>(?<!\w)[\w.,]{{0,32}}[\d{_PARTS}][\w.,{_PARTS}]{{0,64}})"
"""Anything else with a digit: it is compared as it is written."""
_FIGURE = re.compile(rf"{_DAYS}|{_CLOCK}|{_VERSION}|{_NUMBER}|{_CODE}|{_ODD}")
_GROUPS = re.compile(r"[.,'’ \u00a0\u202f]")
_COMMA_LANGUAGES = frozenset({"de", "fr", "es", "it", "pt", "nl"})
"""Languages whose decimals stand behind a comma."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure at `start` to `end` of a text.

    Attributes:
        text: as written.
        values: its readings: numbers in base units, or forms of days and codes.
        units: the base units that it may have; empty if it has none.
        plain: its readings without a unit.
    """

    text: str
    start: int
    end: int
    values: frozenset[Decimal | str]
    units: frozenset[str]
    plain: frozenset[Decimal | str]

    def equals(self, other: Figure) -> bool:
        """True if one of its readings is one of the other's, and no unit contradicts."""
        if self.units and other.units:
            return bool(self.units & other.units) and not self.values.isdisjoint(other.values)
        return not self.plain.isdisjoint(other.plain)


@lru_cache(maxsize=512)
def figures(text: str) -> tuple[Figure, ...]:
    """Returns the figures of a text, in its order; `start` and `end` count in `in_digits(text)`.

    The last texts are remembered: the same passages are read for each claim.
    """
    text = text[:LONGEST]
    language = language_of(text)
    return tuple(_figures(in_digits(text, language), language))


def in_digits(text: str, language: str | None = None) -> str:
    """Returns the text with the numbers in words as digits, from two on.

    If its language is not known, English and German numbers are.
    """
    text = text.encode(errors="replace").decode()  # half a character is no text to the module
    language = language or language_of(text)
    for each in [language] if language else ["en", "de"]:
        text = alpha2digit(text, each, threshold=_SPELLED_FROM)
    return text


def _figures(text: str, language: str | None) -> Iterator[Figure]:
    for match in _FIGURE.finditer(text):
        plain, sizes = _read(match, language)
        values = {v * s for v in plain if isinstance(v, Decimal) for s in sizes.values()}
        yield Figure(
            text=match[0],
            start=match.start(),
            end=match.end(),
            values=frozenset(values or plain),
            units=frozenset(sizes),
            plain=frozenset(plain),
        )


def _read(
    match: re.Match[str], language: str | None
) -> tuple[set[Decimal | str], Mapping[str, Decimal]]:
    """Returns the readings of a match of `_FIGURE`, and the sizes of its base units."""
    for kind, read in _FORMS.items():
        if match[kind]:
            return {*read(match[0].lower())}, {}
    if match["clock"]:
        return _clock(match), {"clock": Decimal(1)}
    return _number(match, language)


def _day(written: str) -> set[str]:
    """Returns `d20250502` with a year, `d0502` without one."""
    return {date_forms(written)[0].removesuffix("n")}


def _month(written: str) -> set[str]:
    name, year = written.split()
    return {f"m{year}{MONTHS[name.rstrip('.')]:02}"}


def _dotted(written: str) -> set[str]:
    day, month, _ = written.split(".")
    return {f"d{int(month):02}{int(day):02}"}


def _slashed(written: str) -> set[str]:
    """Returns both days that "1/2/2025" may be."""
    first, second, year = (int(part) for part in written.split("/"))
    days = {(first, second), (second, first)}
    return {f"d{year}{month:02}{day:02}" for day, month in days if month <= DECEMBER}


def _code(written: str) -> set[str]:
    return {"".join(filter(str.isalnum, written))}


def _odd(written: str) -> set[str]:
    return {written.rstrip(".,")}


_FORMS: dict[str, Callable[[str], set[str]]] = {
    "day": _day,
    "month": _month,
    "dotted": _dotted,
    "slashed": _slashed,
    "version": _code,
    "code": _code,
    "odd": _odd,
}
"""Readings of the figures that are no numbers, by the group of `_FIGURE` that has them."""


def _clock(match: re.Match[str]) -> set[Decimal | str]:
    """Returns the minutes since midnight; of a full hour, the hour as well."""
    hour, minute = int(match["hour"]), int(match["minute"] or 0)
    half = match["half"].lower().replace(".", "")
    if half in ("am", "pm"):
        hour = hour % 12 + 12 * (half == "pm")
    return {Decimal(60 * hour + minute), *([] if minute else [Decimal(hour)])}


def _number(
    match: re.Match[str], language: str | None
) -> tuple[set[Decimal | str], Mapping[str, Decimal]]:
    multiple = match["multiple"]
    sizes = base_units(match["before"]) or base_units(match["after"])
    if multiple in ("m", "M") and not sizes.keys() & CURRENCIES:
        multiple, sizes = None, base_units("m")  # a metre
    factor = MULTIPLES[multiple.lower()] if multiple else 1
    sign = -1 if match["minus"] or match["inner"] else 1
    return {sign * factor * value for value in _readings(match["number"], language)}, sizes


def _readings(written: str, language: str | None) -> set[Decimal]:
    """Returns the numbers that digits with separators may be."""
    digits = written
    separators = _GROUPS.findall(digits)
    if not separators:
        return {Decimal(digits)}
    last = separators[-1]
    whole, _, rest = digits.rpartition(last)
    decimal = Decimal(f"{_GROUPS.sub('', whole)}.{rest}")
    grouped = Decimal(_GROUPS.sub("", digits))
    if last not in ".,":
        return {grouped}
    if len(set(separators)) > 1 or len(rest) != 3 or whole == "0":  # noqa: PLR2004
        return {decimal}
    if len(separators) > 1:
        return {grouped}
    if language is None:
        return {decimal, grouped}
    return {decimal} if (last == ",") == (language in _COMMA_LANGUAGES) else {grouped}
