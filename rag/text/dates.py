"""Reads dates as people write them, in several languages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter

_NAMES = {
    1: "january jan januar jänner janvier enero gennaio janeiro januari stycznia января",
    2: "february feb februar février febrero febbraio fevereiro februari lutego февраля",
    3: "march mar märz mars marzo março maart marca марта",
    4: "april apr avril abril aprile kwietnia апреля",
    5: "may mai mayo maggio maio mei maja мая",
    6: "june jun juni juin junio giugno junho czerwca июня",
    7: "july jul juli juillet julio luglio julho lipca июля",
    8: "august aug août agosto augustus sierpnia августа",
    9: "september sep sept septembre septiembre settembre setembro września сентября",
    10: "october oct oktober okt octobre octubre ottobre outubro października октября",
    11: "november nov novembre noviembre novembro listopada ноября",
    12: "december dec dezember dez décembre diciembre dicembre dezembro grudnia декабря",
}
MONTHS = {name: month for month, names in _NAMES.items() for name in names.split()}


def _alternatives(names: Iterable[str]) -> str:
    """Returns a pattern for the names, by their first letters: most words fail at these."""
    by_letter = groupby(sorted(names), key=itemgetter(0))
    return "|".join(
        f"{letter}(?:{'|'.join(sorted((name[1:] for name in group), key=len, reverse=True))})"
        for letter, group in by_letter
    )


_MONTH = _alternatives(MONTHS)
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
YEAR = r"(?:1[0-9]|20)\d\d"
DATE = (
    rf"\b{YEAR}[-/.](?:0[1-9]|1[0-2])[-/.](?:0[1-9]|[12]\d|3[01])\b"
    rf"|\b{_DAY}\.(?:0?[1-9]|1[0-2])\.{YEAR}\b"
    rf"|(?i:\b{_DAY}(?:st|nd|rd|th|er|\.)?(?: of| de)? (?:{_MONTH})\b\.?(?:,? (?:de )?{YEAR}\b)?)"
    rf"|(?i:\b(?:{_MONTH})\.? {_DAY}(?:st|nd|rd|th)?\b(?:,? {YEAR}\b)?)"
)
"""The pattern of a day: in numbers with its year, or with the month's name."""
_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"[^\W\d_]+")


def date_forms(written: str) -> tuple[str, ...]:
    """Returns the forms of a text that `DATE` matches: `d20250502` and `d0502`.

    A day without a year has the forms `d0502n` alone, so that it is not taken for another year's.
    """
    numbers = [int(number) for number in _NUMBER.findall(written)]
    named = [MONTHS[word] for word in map(str.lower, _WORD.findall(written)) if word in MONTHS]
    if named:
        day = numbers[0]
        if len(numbers) == 1:
            return (f"d{named[0]:02}{day:02}n",)
        year, month = numbers[1], named[0]
    elif numbers[0] > 31:  # noqa: PLR2004 - the year comes first
        year, month, day = numbers
    else:
        day, month, year = numbers
    return f"d{year}{month:02}{day:02}", f"d{month:02}{day:02}"
