"""Shows the days, times and durations of a spreadsheet as its number formats say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

Part = Callable[[datetime, Decimal], str]
"""Shows a part of a moment, whose seconds since the epoch are given exactly, too."""

_MONTHS = "January February March April May June July August September October November December"
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_LAST_DAY, _LEAP_DAY = 2_958_466, 60
_NOON = 12
_EPOCH_1904 = datetime(1904, 1, 1)  # noqa: DTZ001 - a cell has no zone
# Spreadsheets count a 29th of February 1900, which there was not.
_EPOCH, _EPOCH_BEFORE_LEAP_DAY = datetime(1899, 12, 30), datetime(1899, 12, 31)  # noqa: DTZ001


def moments(tokens: Sequence[tuple[str, str]], *, from_1904: bool) -> Callable[[float], str]:
    """Returns a function that shows days since the epoch of spreadsheets.

    It raises ValueError or OverflowError for a number that is no day.

    Args:
        tokens: Kind and text of each piece of one section of a format.
        from_1904: Whether days are counted from 1904.
    """
    dates = [text for kind, text in tokens if kind == "date"]
    fraction = max((len(_fraction(text)) for text in dates if text[0] == "s"), default=0)
    smallest = Decimal(1).scaleb(-fraction)
    is_elapsed = any(text[0] == "[" for text in dates)
    half_day = any(kind == "noon" for kind, _ in tokens)
    parts = [_part(kind, text, half_day=half_day) for kind, text in tokens]

    def show(value: float) -> str:
        if (value < 0 and not is_elapsed) or abs(value) >= _LAST_DAY:
            raise ValueError(value)
        exact = Decimal(repr(abs(value))) * 86400
        seconds = exact.quantize(smallest, rounding=ROUND_HALF_UP)
        moment = _moment(seconds, from_1904=from_1904)
        text = "".join([part if isinstance(part, str) else part(moment, seconds) for part in parts])
        return f"-{text.strip()}" if value < 0 else text.strip()

    return show


def _moment(seconds: Decimal, *, from_1904: bool) -> datetime:
    if from_1904:
        epoch = _EPOCH_1904
    else:
        epoch = _EPOCH_BEFORE_LEAP_DAY if seconds < _LEAP_DAY * 86400 else _EPOCH
    return epoch + timedelta(seconds=float(seconds))


def _part(kind: str, text: str, *, half_day: bool) -> str | Part:  # noqa: PLR0911 - a line for each
    if kind == "noon":
        return _noon(is_short=len(text) < len("am/pm"))
    if kind != "date":
        return text
    size = len(text)
    match text[0]:
        case "[":
            return _elapsed(text[1], width=size - 2)
        case "y":
            return lambda moment, _: f"{moment.year:04d}"[-4 if size > 2 else -2 :]  # noqa: PLR2004
        case "m":
            names = _names(_MONTHS, size)
            return lambda moment, _: names[moment.month - 1] if names else f"{moment.month:0{size}}"
        case "d":
            days = _names(_DAYS, size)
            return lambda moment, _: days[moment.weekday()] if days else f"{moment.day:0{size}}"
        case "h":
            return _hour(half_day=half_day, width=min(2, size))
        case "n":
            return lambda moment, _: f"{moment.minute:0{size}}"
        case _:
            return _second(text)


def _noon(*, is_short: bool) -> Part:
    def show(moment: datetime, _: Decimal) -> str:
        name = "AM" if moment.hour < _NOON else "PM"
        return name[0] if is_short else name

    return show


def _hour(*, half_day: bool, width: int) -> Part:
    def show(moment: datetime, _: Decimal) -> str:
        return f"{(moment.hour + 11) % 12 + 1 if half_day else moment.hour:0{width}}"

    return show


def _elapsed(unit: str, *, width: int) -> Part:
    length = {"h": 3600, "n": 60, "s": 1}[unit]
    return lambda _, seconds: f"{int(seconds // length):0{width}}"


def _second(text: str) -> Part:
    width, places = min(2, len(text.partition(".")[0])), len(_fraction(text))

    def show(_: datetime, seconds: Decimal) -> str:
        second = seconds % 60
        whole = f"{int(second):0{width}}"
        return f"{whole}.{str(second % 1)[2:].ljust(places, '0')}" if places else whole

    return show


def _fraction(text: str) -> str:
    return text.partition(".")[2]


def _names(names: str, size: int) -> list[str]:
    """Returns the names of months or days: three letters, in full, or the first; [] for numbers."""
    if size < 3:  # noqa: PLR2004
        return []
    last = {3: 3, 5: 1}.get(size)
    return [name[:last] for name in names.split()]
