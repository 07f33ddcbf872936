"""Shows the numbers of a spreadsheet as its number formats say (ECMA-376, part 1, 18.8.31)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

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
_MONTHS = "January February March April May June July August September October November December"
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_LONGEST_CODE = 255
_WHOLE = 10**15
_SMALL, _LARGE = 1e-4, 1e11
_LAST_DAY, _LEAP_DAY = 2_958_466, 60


class _Token(NamedTuple):
    """A piece of a format code; `kind` is the name of its group in `_TOKEN`."""

    kind: str
    text: str


class _Section(NamedTuple):
    tokens: tuple[_Token, ...]
    holds: Callable[[float], bool] | None


def shown(value: float, code: str, *, from_1904: bool = False) -> str:
    """Returns a number as the format shows it; one that the format cannot show, as it is.

    Args:
        value: A number; of a date, the days since the epoch of spreadsheets.
        code: A format code, with up to four sections; "" is General.
        from_1904: Whether days are counted from 1904, as old files of a Macintosh do.
    """
    plain = not code or code.lower() == "general" or len(code) > _LONGEST_CODE
    if plain or not math.isfinite(value):
        return general(value)
    sections = _sections(code)
    section, magnitude = _chosen(sections, value)
    if not section.tokens:
        return ""
    if any(token.kind == "date" for token in section.tokens):
        return _date(value, section, from_1904=from_1904)
    try:
        return " ".join(_number(magnitude, section).split())
    except (ArithmeticError, ValueError):
        return general(value)


def is_date(code: str) -> bool:
    """Tells whether a format shows days or times."""
    return any(token.kind == "date" for token in _sections(code)[0].tokens)


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
def _sections(code: str) -> tuple[_Section, ...]:
    sections: list[_Section] = []
    tokens: list[_Token] = []
    holds: Callable[[float], bool] | None = None
    for found in _TOKEN.finditer(code):
        kind = str(found.lastgroup)
        text = found[kind]
        if kind == "other" and text == ";":
            sections.append(_Section(_minutes(tokens), holds))
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
    return (*sections, _Section(_minutes(tokens), holds))[:4]


def _condition(sign: str, bound: float) -> Callable[[float], bool]:
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


def _chosen(sections: tuple[_Section, ...], value: float) -> tuple[_Section, float]:
    """Returns the section for a value, and the value without the sign that the section writes."""
    if any(section.holds for section in sections):
        for section in sections[:-1]:
            if section.holds is None or section.holds(value):
                return section, value
        return sections[-1], value
    if value > 0 or len(sections) == 1:
        return sections[0], value
    if value < 0:
        return sections[1], -value
    return sections[2 if len(sections) > 2 else 0], value  # noqa: PLR2004 - the third is for zero


def _number(value: float, section: _Section) -> str:
    tokens = section.tokens
    kinds = {token.kind for token in tokens}
    if "general" in kinds:
        return "".join(general(value) if t.kind == "general" else _literal(t) for t in tokens)
    if "digit" not in kinds:
        sign = "-" if value < 0 else ""
        return sign + "".join(general(value) if t.text == "@" else _literal(t) for t in tokens)
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


def _date(value: float, section: _Section, *, from_1904: bool) -> str:
    """Shows a day, a time of day or a duration."""
    tokens = section.tokens
    fraction = max((len(t.text.partition(".")[2]) for t in tokens if t.text[:1] == "s"), default=0)
    elapsed = any(t.kind == "date" and t.text[0] == "[" for t in tokens)
    if (value < 0 and not elapsed) or abs(value) >= _LAST_DAY:
        return general(value)
    seconds = Decimal(repr(abs(value))) * 86400
    smallest = Decimal(1).scaleb(-fraction)
    seconds = seconds.quantize(smallest, rounding=ROUND_HALF_UP)
    moment = _moment(seconds, from_1904=from_1904)
    half_day = any(token.kind == "noon" for token in tokens)
    text = "".join(
        _date_part(token, moment, seconds, half_day=half_day)
        if token.kind in {"date", "noon"}
        else token.text
        for token in tokens
    )
    return " ".join(("-" if value < 0 else "", text.strip())).strip().replace("- ", "-", 1)


def _moment(seconds: Decimal, *, from_1904: bool) -> datetime:
    days = int(seconds // 86400)
    # Spreadsheets count a 29th of February 1900, which there was not.
    first = (1904, 1, 1) if from_1904 else (1899, 12, 31 if days < _LEAP_DAY else 30)
    epoch = datetime(*first)  # noqa: DTZ001 - a cell has no zone
    return epoch + timedelta(seconds=float(seconds))


def _date_part(  # noqa: PLR0911 - a line for each kind
    token: _Token, moment: datetime, seconds: Decimal, *, half_day: bool
) -> str:
    text = token.text
    if token.kind == "noon":
        name = "AM" if moment.hour < 12 else "PM"  # noqa: PLR2004
        return name if len(text) > 3 else name[0]  # noqa: PLR2004
    if text[0] == "[":
        unit = {"h": 3600, "n": 60, "s": 1}[text[1]]
        return str(int(seconds // unit)).zfill(len(text) - 2)
    size = len(text)
    hour = (moment.hour + 11) % 12 + 1 if half_day else moment.hour
    match text[0]:
        case "y":
            return f"{moment.year:04d}" if size > 2 else f"{moment.year % 100:02d}"  # noqa: PLR2004
        case "m":
            return _named(_MONTHS, moment.month - 1, size) or str(moment.month).zfill(size)
        case "d":
            return _named(_DAYS, moment.weekday(), size) or str(moment.day).zfill(size)
        case "h":
            return str(hour).zfill(min(2, size))
        case "n":
            return str(moment.minute).zfill(size)
        case _:
            places = len(text.partition(".")[2])
            shown_seconds = seconds % 60
            width = len(text.partition(".")[0].lstrip("s")) or len(text.partition(".")[0])
            whole = str(int(shown_seconds)).zfill(min(2, width))
            return f"{whole}.{str(shown_seconds % 1)[2:].ljust(places, '0')}" if places else whole


def _named(names: str, index: int, size: int) -> str:
    """Returns a name of a month or a day: three letters, in full, or its first letter."""
    if size < 3:  # noqa: PLR2004
        return ""
    name = names.split()[index]
    return name[:3] if size == 3 else name[0] if size == 5 else name  # noqa: PLR2004
