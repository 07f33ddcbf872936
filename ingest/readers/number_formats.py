"""Shows the numbers of a spreadsheet as its number formats say (ECMA-376, part 1, 18.8.31)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

from ingest.readers.date_formats import moments
from ingest.readers.plain_numbers import Show, plain

# Formats 14 and 22 follow the reader's country: an ISO date is the same everywhere.
BUILT_IN = MappingProxyType({
    1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 5: "$#,##0;-$#,##0", 6: "$#,##0;-$#,##0",
    7: "$#,##0.00;-$#,##0.00", 8: "$#,##0.00;-$#,##0.00", 9: "0%", 10: "0.00%", 11: "0.00E+00",
    12: "# ?/?", 13: "# ??/??", 14: "yyyy-mm-dd", 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy",
    18: "h:mm AM/PM", 19: "h:mm:ss AM/PM", 20: "h:mm", 21: "h:mm:ss", 22: "yyyy-mm-dd h:mm",
    37: "#,##0;-#,##0", 38: "#,##0;-#,##0", 39: "#,##0.00;-#,##0.00", 40: "#,##0.00;-#,##0.00",
    41: "#,##0;-#,##0;-", 42: "$#,##0;-$#,##0;-", 43: "#,##0.00;-#,##0.00;-",
    44: "$#,##0.00;-$#,##0.00;-", 45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0", 48: "##0.0E+0",
    49: "@",
})  # fmt: skip
"""The format codes that files name by number only; number 0 is General."""

_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"?|\\(?P<escaped>.)|_(?P<blank>.)|\*(?P<fill>.)|\[(?P<bracket>[^\]]*)\]'
    r"|(?P<general>general)|(?P<noon>am/pm|a/p)|(?P<date>y+|m+|d+|h+|s+(?:\.0+)?)"
    r"|(?P<power>e[+-])|(?P<digit>[0#?])|(?P<mark>[.,%/@])|(?P<other>.)",
    re.IGNORECASE | re.DOTALL,
)
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=)\s*(-?\d+(?:\.\d*)?)")
_LONG_DATES = re.compile(r"[hms]+", re.IGNORECASE)
_LONGEST_CODE = 255
_WHOLE = 10**15
_SMALL, _LARGE = 1e-4, 1e11
_MOST_SECTIONS = 4

Condition = Callable[[float], bool]


class _Token(NamedTuple):
    """A piece of a format code; `kind` is the name of its group in `_TOKEN`."""

    kind: str
    text: str


_AS_TEXT = _Token("mark", "@")


class _Section(NamedTuple):
    """A part of a format, for the values for which `holds` is true, if it is not None."""

    holds: Condition | None
    show: Show
    is_date: bool


def shown(value: float, code: str, *, from_1904: bool = False) -> str:
    """Returns a number as the format shows it; see `shower`."""
    return shower(code, from_1904=from_1904)(value)


@lru_cache(maxsize=1024)
def shower(code: str, *, from_1904: bool) -> Show:
    """Returns a function that shows numbers; one that the format cannot show, as it is.

    Of a date, the number is the days since the epoch of spreadsheets.

    Args:
        code: A format code, with up to four sections; "" is General.
        from_1904: Whether days are counted from 1904, as old files of a Macintosh do.
    """
    if not code or code.lower() == "general" or len(code) > _LONGEST_CODE:
        return general
    sections = _sections(code, from_1904=from_1904)
    show = sections[0].show if len(sections) == 1 else _chooser(sections)

    def show_any(value: float) -> str:
        try:
            return show(value) if math.isfinite(value) else general(value)
        except (ArithmeticError, ValueError):
            return general(value)

    return show_any


def _chooser(sections: Sequence[_Section]) -> Show:
    """Returns a function that shows a number by the section that holds for it."""
    has_conditions = any(section.holds for section in sections)

    def show(value: float) -> str:
        section, magnitude = _chosen(sections, value, has_conditions=has_conditions)
        return section.show(value if section.is_date else magnitude)

    return show


def is_date(code: str) -> bool:
    """Tells whether a format shows days or times."""
    return _sections(code, from_1904=False)[0].is_date


def general(value: float) -> str:
    """Returns a number without a format: up to 11 characters, whole numbers in full."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < _WHOLE:
        return str(int(value))
    if abs(value) < 1:
        if abs(value) >= _SMALL or round(value, 9) == value:
            return _stripped(f"{value:.9f}")
    elif abs(value) < _LARGE:
        return _stripped(f"{value:.{max(0, 9 - int(math.log10(abs(value))))}f}")
    mantissa, _, power = f"{value:.5E}".partition("E")
    return f"{_stripped(mantissa)}E{power}"


def _stripped(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


@lru_cache(maxsize=1024)
def _sections(code: str, *, from_1904: bool) -> list[_Section]:
    return [
        _Section(holds, *_shower(tokens, from_1904=from_1904)) for tokens, holds in _pieces(code)
    ]


def _shower(tokens: tuple[_Token, ...], *, from_1904: bool) -> tuple[Show, bool]:
    """Returns the function that shows numbers by a section, and whether it shows days or times."""
    if not tokens:
        return lambda _: "", False
    if tokens == (_AS_TEXT,):
        return general, False
    if any(token.kind == "date" for token in tokens):
        return moments(tokens, from_1904=from_1904), True
    return plain(tokens) or (lambda value: " ".join(_number(value, tokens).split())), False


def _pieces(code: str) -> list[tuple[tuple[_Token, ...], Condition | None]]:
    """Returns the tokens of each section, and the condition of its values."""
    sections: list[tuple[tuple[_Token, ...], Condition | None]] = []
    tokens: list[_Token] = []
    holds: Condition | None = None
    for found in _TOKEN.finditer(code):
        kind = str(found.lastgroup)
        text = found[kind]
        if kind == "other" and text == ";":
            sections.append((_minutes(tokens), holds))
            tokens, holds = [], None
        elif kind == "bracket":
            if condition := _CONDITION.fullmatch(text):
                holds = _condition(condition[1], float(condition[2]))
            elif _LONG_DATES.fullmatch(text) and len(set(text.lower())) == 1:
                tokens.append(_Token("date", f"[{text.lower()}]"))
            elif text.startswith("$"):
                tokens.append(_Token("quoted", text[1:].partition("-")[0]))
        elif kind == "blank":
            tokens.append(_Token("quoted", " "))
        elif kind != "fill":
            tokens.append(_Token(kind, text.lower() if kind == "date" else text))
    return [*sections, (_minutes(tokens), holds)][:_MOST_SECTIONS]


def _condition(sign: str, bound: float) -> Condition:
    return {
        "<": lambda value: value < bound,
        ">": lambda value: value > bound,
        "=": lambda value: value == bound,
        "<=": lambda value: value <= bound,
        ">=": lambda value: value >= bound,
        "<>": lambda value: value != bound,
    }[sign]


def _minutes(tokens: list[_Token]) -> tuple[_Token, ...]:
    """Returns the tokens with each "m" that stands for minutes as "n": beside hours or seconds."""
    places = [n for n, token in enumerate(tokens) if token.kind == "date"]
    for order, place in enumerate(places):
        text = tokens[place].text
        if text.strip("[]") in {"m", "mm"}:
            before = tokens[places[order - 1]].text.strip("[") if order else ""
            after = tokens[places[order + 1]].text.strip("[") if order + 1 < len(places) else ""
            if text[0] == "[" or before.startswith("h") or after.startswith("s"):
                tokens[place] = _Token("date", text.replace("m", "n"))
    return tuple(tokens)


def _chosen(
    sections: Sequence[_Section], value: float, *, has_conditions: bool
) -> tuple[_Section, float]:
    """Returns the section for a value, and the value without the sign that the section writes."""
    if has_conditions:
        for section in sections[:-1]:
            if section.holds is None or section.holds(value):
                return section, value
        return sections[-1], value
    if value > 0 or len(sections) == 1:
        return sections[0], value
    if value < 0:
        return sections[1], -value
    return sections[2 if len(sections) > 2 else 0], value  # noqa: PLR2004 - the third is for zero


@lru_cache(maxsize=4096)
def _number(value: float, tokens: tuple[_Token, ...]) -> str:
    """Shows a number by any format without days and times."""
    kinds = {token.kind for token in tokens}
    if "general" in kinds:
        return "".join(general(value) if t.kind == "general" else _literal(t) for t in tokens)
    if "digit" not in kinds:
        sign = "-" if value < 0 else ""
        shown_value = general(abs(value))
        return sign + "".join(shown_value if t.text == "@" else _literal(t) for t in tokens)
    slash = next((n for n, t in enumerate(tokens) if t == _Token("mark", "/")), None)
    if slash is not None and any(t.kind == "digit" for t in tokens[:slash]):
        return _fraction(value, tokens, slash)
    return _decimal(value, tokens)


def _decimal(value: float, tokens: tuple[_Token, ...]) -> str:
    """Shows digits, thousands, percents and powers of ten."""
    exact = Decimal(repr(value)) * 100 ** sum(t == _Token("mark", "%") for t in tokens)
    last = max(n for n, token in enumerate(tokens) if token.kind == "digit")
    power = next((n for n, token in enumerate(tokens) if token.kind == "power"), len(tokens))
    before = tokens[:power]
    point = next((n for n, t in enumerate(before) if t == _Token("mark", ".")), len(before))
    first = next((n for n, t in enumerate(tokens) if t.kind == "digit"), 0)
    commas = [n for n, t in enumerate(before) if t == _Token("mark", ",") and n > first]
    end = max((n for n, t in enumerate(before[:point]) if t.kind == "digit"), default=-1)
    scaling = [n for n in commas if (end < n < point) or n > last]
    exact = exact.scaleb(-3 * len(scaling))
    places = sum(t.kind == "digit" for t in before[point:])
    exponent = 0
    if power < len(tokens) and exact:
        width = max(1, sum(t.kind == "digit" for t in before[:point]))
        exponent = exact.adjusted() // width * width if width > 1 else exact.adjusted()
        exact = exact.scaleb(-exponent)
    rounded = exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
    whole, _, part = f"{abs(rounded):f}".partition(".")
    grouped = any(n < end for n in commas)
    shown_whole = _whole(before[:point], whole, grouped=grouped)
    shown_part = _part(before[point:], part)
    sign = "-" if rounded < 0 else ""
    rest = _exponent(tokens[power:], exponent) if power < len(tokens) else ""
    return sign + shown_whole + shown_part + rest


def _whole(tokens: tuple[_Token, ...], digits: str, *, grouped: bool) -> str:
    """Fills the places before the point from the right; the first place takes all that is left."""
    left = "" if digits == "0" else digits
    places = sum(token.kind == "digit" for token in tokens)
    written = [] if places else [left]
    count = 0

    def put(digit: str) -> None:
        nonlocal count
        if grouped and count and count % 3 == 0:
            written.append(",")
        written.append(digit)
        count += 1

    for token in reversed(tokens):
        if token.kind != "digit":
            written.append("" if token.text == "," and token.kind == "mark" else _literal(token))
            continue
        places -= 1
        if left:
            put(left[-1])
            left = left[:-1]
        elif token.text == "0":
            put("0")
        while left and not places:
            put(left[-1])
            left = left[:-1]
    return "".join(reversed(written))


def _part(tokens: tuple[_Token, ...], digits: str) -> str:
    """Fills the places behind the point; those marked "#" are dropped if only zeros follow."""
    wanted = [token for token in tokens if token.kind == "digit"]
    needed = len(wanted)
    while needed and wanted[needed - 1].text != "0" and digits[needed - 1] == "0":
        needed -= 1
    written, place = "", 0
    for token in tokens:
        if token.kind == "digit":
            written += digits[place] if place < needed else ""
            place += 1
        elif token == _Token("mark", "."):
            written += "." if needed or not wanted else ""
        elif token != _Token("mark", ","):
            written += _literal(token)
    return written


def _exponent(tokens: tuple[_Token, ...], exponent: int) -> str:
    places = sum(token.kind == "digit" for token in tokens)
    sign = "-" if exponent < 0 else "+" if tokens[0].text[-1] == "+" else ""
    rest = "".join(_literal(t) for t in tokens[1:] if t.kind not in {"digit"})
    return f"E{sign}{abs(exponent):0{places}d}{rest}"


def _fraction(value: float, tokens: tuple[_Token, ...], slash: int) -> str:
    """Shows "# ?/?" as a whole number and a fraction, "?/8" with that denominator."""
    below = "".join(t.text for t in tokens[slash + 1 :] if t.kind in {"digit", "other"}).strip()
    digits = [n for n, t in enumerate(tokens[:slash]) if t.kind == "digit"]
    mixed = any(b - a > 1 for a, b in pairwise(digits))
    exact = abs(Fraction(repr(value)))
    if below.isdigit() and int(below):
        nearest = Fraction(round(exact * int(below)), 1) / int(below)
        denominator = int(below)
    else:
        nearest = exact.limit_denominator(10 ** min(4, max(1, len(below))) - 1)
        denominator = nearest.denominator
    whole, rest = divmod(nearest, 1) if mixed else (0, nearest)
    numerator = rest * denominator
    sign = "-" if value < 0 and nearest else ""
    if mixed and not numerator:
        return f"{sign}{whole}"
    return f"{sign}{whole or ''} {numerator}/{denominator}".replace("- ", "-").strip()


def _literal(token: _Token) -> str:
    return token.text if token.kind in {"quoted", "escaped", "other"} or token.text in "%/." else ""
