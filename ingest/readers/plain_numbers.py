"""Shows numbers by the formats that most cells have, such as `#,##0.00 "EUR"` and `0.0%`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from itertools import dropwhile

Show = Callable[[float], str]

_DIGITS = re.compile(r"(?:(#*)|(#,##))0(?:\.(?=[0#?])(0*)([#?]*))?")
_LITERALS = frozenset({"quoted", "escaped", "other"})
_PERCENT = ("mark", "%")


def plain(tokens: Sequence[tuple[str, str]]) -> Show | None:
    """Returns a function that shows numbers; None if the format is not plain.

    A plain format has digits in one piece, and texts and percent signs before and after them.

    Args:
        tokens: Kind and text of each piece of one section of a format.
    """
    rest = list(dropwhile(_is_literal, tokens))
    digits = list(dropwhile(_is_literal, reversed(rest)))[::-1]
    found = _DIGITS.fullmatch("".join(text for _, text in digits))
    if not found or any(kind not in {"digit", "mark"} for kind, _ in digits):
        return None
    return _shower(
        "".join(text for _, text in tokens[: len(tokens) - len(rest)]),
        "".join(text for _, text in rest[len(digits) :]),
        grouped=found[2] is not None,
        places=len(found[3] or "") + len(found[4] or ""),
        droppable=len(found[4] or ""),
        percents=sum(token == _PERCENT for token in tokens),
    )


def _is_literal(token: tuple[str, str]) -> bool:
    return token[0] in _LITERALS or token == _PERCENT


def _shower(
    before: str, after: str, *, grouped: bool, places: int, droppable: int, percents: int
) -> Show:
    smallest = Decimal(1).scaleb(-places)
    factor = 100**percents
    form = ",f" if grouped else "f"

    def show(value: float) -> str:
        exact = Decimal(repr(value))
        if percents:
            exact *= factor
        rounded = exact.quantize(smallest, rounding=ROUND_HALF_UP)
        digits = format(rounded, form)
        sign = ""
        if digits[0] == "-":
            digits, sign = digits[1:], "-" if rounded else ""
        if droppable:
            digits = (digits[:-droppable] + digits[-droppable:].rstrip("0")).removesuffix(".")
        return f"{sign}{before}{digits}{after}"

    has_space = any(map(str.isspace, before + after))
    return (lambda value: " ".join(show(value).split())) if has_space else show
