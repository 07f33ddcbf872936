"""Finds identifiers in a text: codes, versions, standards, paragraphs, addresses, dates, amounts.

Each has a form that does not depend on hyphens, spaces and case. Index and question are cut alike,
so that an identifier is a single term.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from rag.text.dates import DATE, date_forms
from rag.text.folding import folded

MAX_LENGTH = 64
"""Characters from which a run of letters and digits is no identifier, but data."""
_MAX_PREFIXES = 4
_AROUND = 24
"""Characters around a digit that may belong to it: the name of a month, `Article`."""
_MARK = re.compile(r"\d+|@")
_SPACE = re.compile(r"\s")
_CHAR = r"[0-9A-Za-z\u00c0-\u052f]"
"""Letters and digits of which codes are made; other scripts write them in these."""
_LETTER = r"[^\W\d_]"
_PARAGRAPH = (
    r"(?P<kind>§{1,2}|\b(?:articles?|artikel|art\.|sections?|sec\.|clauses?|paragraphs?|para\.|"
    r"absatz|abs\.|abschnitt|ziffer|klausel|chapters?|kapitel|annex|appendix|anhang|"
    r"artículo|articolo|chapitre)) ?(?P<number>\d{1,4}(?:\.\d{1,3})*[a-z]?)\b"
)
_CODE = (
    rf"(?<!{_CHAR})(?:[A-Z]{{1,6}}[ \u00a0](?=\d))?"  # ISO 27001, E 17
    rf"{_CHAR}+(?:[-_./:,']{_CHAR}+)*"
)
_MAIL = r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+"
_WORDS = r"(?P<words>(?:[A-Za-z]+ )+(?=[A-Za-z]))"
"""Plain words before another: no identifier begins in them, and most of a text is consumed."""
_OTHERS = rf"(?P<paragraph>(?i:{_PARAGRAPH}))|(?P<date>{DATE})|(?P<code>{_CODE})"
_PATTERN = re.compile(rf"{_WORDS}|(?P<mail>{_MAIL})|{_OTHERS}")
_WITHOUT_MAIL = re.compile(rf"{_WORDS}|(?P<mail>(?!))|{_OTHERS}")
"""Finds the same in a text without an "@", without looking for addresses in each word."""
_ASCII_DIGIT = re.compile("[0-9]")
_SEPARATOR = re.compile(r"[-_./:,' \u00a0]")
_THOUSANDS = re.compile(r"\d{1,3}(?:[.,'\u00a0]\d{3})+(?:[.,]\d{1,2})?")
_DECIMAL = re.compile(r"\d+[.,]\d+")
_DIGITS = re.compile(r"\d{5,}")
_WORD = re.compile(r"[^\W_]+")
_VERSION = re.compile(r"(?i:v)(\d+(?:\.\d+)*)")
_DOTTED = re.compile(r"\d+(?:\.\d+){2,}")
_YEAR = re.compile(r"(?:1[0-9]|20)\d\d")
_COMMON = frozenset(
    ["a3", "a4", "a5", "b2b", "b2c", "c2c", "p2p", "h2o", "co2", "mp3", "mp4", "g7", "g20", "w3c"]
)
"""Words with digits that name no one thing."""
_PERIOD = re.compile(r"[qht][1-4]|(?:fy|cy|kw)\d{1,4}")
_AFFIXED_YEAR = re.compile(rf"(?:mid|pre|post|early|late)-{_YEAR.pattern}s?")
_WORDS_BEFORE = frozenset(["A", "I", "AT", "BY", "IN", "OF", "ON", "OR", "TO", "AND", "FOR", "TOP"])
_LONG = 5
"""Digits from which a number is one of a kind."""
_SPAN = re.compile(rf"(?:{_YEAR.pattern}|\d{{1,2}})[^\d](?:{_YEAR.pattern}|\d{{1,2}})")
_QUANTITY = re.compile(rf"\d(?!\d*{_LETTER}+\d|.*[-_.:]\w*{_LETTER}\w*\d|\d*-[A-Z]+$)")
"""20th, 10km, 19-year; not 7741-B."""
_COMPOUND = re.compile(r"[a-z]{2,}-\w*[a-z]{2,}")
_CENTS = re.compile(r"\d.+[.,](?!00)\d\d")
_SHORT_DECIMAL = re.compile(r"\d{1,2}\.\d{1,3}")
_NAME_BEFORE = re.compile(rf"(?<!^)(?<![.!?] )\b[A-Z]{_LETTER}+ $")
_MOSTLY = 0.7
_FEW = 12
_UNIT = re.compile(
    r"\s*(?:%|°|percent|per\s|million|billion|Mio|Mrd|k?m\b|[cm]m\b|kg\b|g\b|l\b|h\b|hours?|days?|"
    r"Tage?n?\b|Stunden|years?|Jahre?n?\b|weeks?|months?|minutes?|seconds?|people|employees)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """An identifier as written at `start` to `end` of the folded text.

    Attributes:
        text: as written.
        forms: its forms, the exact one first; a text that has one of them has the identifier.
        strict: True if no other can be meant, so that a text without it does not answer.
    """

    text: str
    start: int
    end: int
    forms: tuple[str, ...]
    strict: bool


def identifiers(text: str) -> list[Identifier]:
    """Returns the identifiers of a text, in its order; numbers and plain words are none."""
    text = folded(text)
    letters = [char for char in text if char.isalpha()]
    capitals = sum(map(str.isupper, letters))
    if capitals > max(_MOSTLY * len(letters), _FEW):
        text = text.lower()  # in capitals throughout: they mark nothing
    return list(_found(text))


def identifier_terms(text: str) -> list[str]:
    """Returns the terms by which the identifiers of a folded text are indexed.

    Beside the whole form these are its beginnings, up to each separator. The terms of a form are
    itself.
    """
    if not _has_any(text):
        return []
    terms: list[str] = []
    for match in _matches(text):
        terms += _terms(match)
    return terms


@lru_cache(maxsize=1024)
def names_in(text: str) -> frozenset[str]:
    """Returns the forms that a text has: those of its identifiers, its words, and long numbers.

    Those of the last passages are kept: the same ones are found for many questions.
    """
    text = folded(text)
    words = {word.lower() for word in _WORD.findall(text)}
    numbers = {run for word in words if not word.isdigit() for run in _DIGITS.findall(word)}
    return frozenset(words | numbers | set(identifier_terms(text)))


def _has_any(text: str) -> bool:
    if text.isascii():
        return "@" in text or _ASCII_DIGIT.search(text) is not None
    return "@" in text or any(map(str.isdigit, text))


def _matches(text: str) -> Iterator[re.Match[str]]:
    pattern = _PATTERN if "@" in text else _WITHOUT_MAIL
    for start, end in _windows(text):
        for match in pattern.finditer(text, start, end):
            written = match[0]
            if match.lastgroup != "words" and len(written) <= MAX_LENGTH and _has_any(written):
                yield match


def _windows(text: str) -> Iterator[tuple[int, int]]:
    """Yields the stretches around digits and addresses, without overlap: the rest has none."""
    start, end = 0, -1
    for found in _MARK.finditer(text):
        if found.start() - _AROUND > end:
            if end >= 0:
                yield start, end
            start = _word_edge(text, max(found.start() - _AROUND, end, 0))
        if found.end() + _AROUND > end:
            end = _word_edge(text, found.end() + _AROUND)
    if end >= 0:
        yield start, end


def _word_edge(text: str, place: int) -> int:
    """Returns the next white space from a place on, at most `MAX_LENGTH` further."""
    space = _SPACE.search(text, place, place + MAX_LENGTH)
    return space.start() if space else min(place + MAX_LENGTH, len(text))


def _terms(match: re.Match[str]) -> list[str]:
    if match["mail"]:
        return [_mail(match["mail"])]
    if match["date"]:
        return list(date_forms(match["date"]))
    if match["paragraph"]:
        number = _form(match["number"])
        return [f"sec{number}", number] if "x" in number else [f"sec{number}"]
    written = match["code"]
    whole = _form(written)
    terms = [whole] if whole != written.lower() else []
    if not _is_number(written):
        edges = [edge.start() for edge in _SEPARATOR.finditer(written)][1 : _MAX_PREFIXES + 1]
        terms += [form for edge in edges if _has_any(form := _form(written[:edge]))]
    return terms


def _found(text: str) -> Iterator[Identifier]:
    if not _has_any(text):
        return
    for match in _matches(text):
        if match["code"] and "/" in match[0] and all(map(_is_mixed, match[0].split("/"))):
            yield from _alternatives(text, match)
            continue
        forms, strict = _judge(text, match)
        if forms:
            yield Identifier(
                text=match[0], start=match.start(), end=match.end(), forms=forms, strict=strict
            )


def _alternatives(text: str, match: re.Match[str]) -> Iterator[Identifier]:
    """Yields the parts of `T40/T50`, each by itself."""
    start = match.start()
    for part in match[0].split("/"):
        strict = _is_strict_code(text, part, start)
        end = start + len(part)
        yield Identifier(text=part, start=start, end=end, forms=(_form(part),), strict=strict)
        start += len(part) + 1


def _judge(text: str, match: re.Match[str]) -> tuple[tuple[str, ...], bool]:
    if match["mail"]:
        return (_mail(match["mail"]),), True
    if match["date"]:
        return _judge_date(text, match)
    if match["paragraph"]:
        number = _form(match["number"])
        bare = () if match["kind"].startswith("§") else (number,)
        return (f"sec{number}", *bare), True
    written = match["code"]
    if _YEAR.fullmatch(written):
        return (), False
    strict = _is_strict_code(text, written, match.start())
    joined = bool(_SEPARATOR.search(written)) or not written.isdigit()
    return ((_form(written),), strict) if strict or joined else ((), False)


def _judge_date(text: str, match: re.Match[str]) -> tuple[tuple[str, ...], bool]:
    forms = date_forms(match["date"])
    whole, *yearless = forms
    if not yearless:
        return (whole,), False
    # "on 2 May 2025" asks for that day, "as of 2 May 2025" for what held then.
    asked = re.search(
        r"\b(?:on|(?<!as )of|dated|vom|am|du|le|del)(?: the)? $", _before(text, match.start())
    )
    return (whole, f"{yearless[0]}n"), bool(asked)


def _is_strict_code(text: str, written: str, start: int) -> bool:
    form = _form(written)
    if form in _COMMON or _PERIOD.fullmatch(form) or _AFFIXED_YEAR.fullmatch(written.lower()):
        return False
    if _VERSION.fullmatch(written) or _DOTTED.fullmatch(written):
        return True
    if _is_number(written):
        return _is_strict_number(text, written, start)
    if form.isdigit():
        return len(form) >= _LONG and not _SPAN.fullmatch(written)
    if written.partition(" ")[0] in _WORDS_BEFORE or _QUANTITY.match(written):
        return False
    return not _COMPOUND.search(written) or sum(map(str.isdigit, form)) > 1


def _is_strict_number(text: str, written: str, start: int) -> bool:
    """True for long numbers, amounts to the cent, and a name's version: round ones are limits."""
    if _UNIT.match(text, start + len(written)):
        return False
    if written.isdigit():
        return len(written) >= _LONG and not written.endswith("00")
    if _SHORT_DECIMAL.fullmatch(written) and _NAME_BEFORE.search(_before(text, start)):
        return True
    return bool(_CENTS.fullmatch(written))


def _before(text: str, place: int) -> str:
    return text[max(0, place - MAX_LENGTH) : place]


def _is_mixed(written: str) -> bool:
    return any(map(str.isdigit, written)) and any(map(str.isalpha, written))


def _is_number(written: str) -> bool:
    return written.isdigit() or bool(_THOUSANDS.fullmatch(written) or _DECIMAL.fullmatch(written))


def _mail(written: str) -> str:
    return "mail0" + "".join(char for char in written.lower() if char.isalnum())


def _form(written: str) -> str:
    """Returns the form without separators; `x` stays for a decimal point: 1.23 is not 12.3."""
    if _THOUSANDS.fullmatch(written):
        head, tail = written, ""
        if cents := re.search(r"[.,]\d{1,2}$", written):
            head, tail = written[: cents.start()], "x" + cents[0][1:]
        return "".join(filter(str.isdigit, head)) + tail
    if version := _VERSION.fullmatch(written):
        written = version[1]
    lower = re.sub(r"(?<=\d)[.,](?=\d)", "x", written.lower())
    return "".join(char for char in lower if char.isalnum())
