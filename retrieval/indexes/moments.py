"""Moments in the spellings of ISO 8601, and in the one spelling that indexes compare."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

_DAY = (
    r"(?P<year>\d{4})(?P<dash>-?)"
    r"(?:(?P<month>\d\d)(?P=dash)(?P<day>\d\d)"
    r"|W(?P<week>\d\d)(?P=dash)(?P<weekday>\d)"
    r"|(?P<ordinal>\d{3}))"
)
_TIME = (
    r"(?P<hour>[01]\d|2[0-4])(?::?(?P<minute>[0-5]\d)(?::?(?P<second>[0-5]\d|60))?)?"
    r"(?:[.,](?P<fraction>\d{1,30}))?"
)
_ZONE = r"[Zz]|(?P<sign>[+\u2212-])(?P<zone_hour>[01]\d|2[0-3])(?::?(?P<zone_minute>[0-5]\d))?"
_MOMENT = re.compile(rf"{_DAY}(?:[Tt ]{_TIME})?\s?(?:{_ZONE})?", re.ASCII)
_LONGEST = 80
_MICROSECOND = timedelta(microseconds=1)
_UNITS = {
    "hour": timedelta(hours=1),
    "minute": timedelta(minutes=1),
    "second": timedelta(seconds=1),
}


def moment_of(text: str) -> datetime | None:
    """Returns the moment that a text names in ISO 8601, in UTC; None if it names none.

    A day stands for its beginning, and a time without a zone is UTC. Days of the calendar, of a
    week and of the year are understood, in the basic and the extended form, and fractions of the
    last part, cut to microseconds. A month or a year alone is no moment.
    """
    found = _MOMENT.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        return None
    try:
        day = datetime.combine(_day(found), datetime.min.time(), UTC)
        return day + _since_midnight(found) - _offset(found)
    except (ValueError, OverflowError):  # on no calendar, or outside the years 1 to 9999
        return None


def iso_of(moment: datetime) -> str:
    """Returns the spelling of a moment in UTC that every index reads; it sorts by time."""
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _day(found: re.Match[str]) -> date:
    year = int(found["year"])
    if found["week"]:
        return date.fromisocalendar(year, int(found["week"]), int(found["weekday"]))
    if found["ordinal"]:
        day = date(year, 1, 1) + timedelta(days=int(found["ordinal"]) - 1)
        if day.year != year:
            raise ValueError("the year has no such day")
        return day
    return date(year, int(found["month"]), int(found["day"]))


def _since_midnight(found: re.Match[str]) -> timedelta:
    """Returns the time of day; 24:00 and a leap second belong to the next day and minute.

    Raises:
        ValueError: A clock never shows it.
    """
    parts = {unit: int(found[unit]) for unit in _UNITS if found[unit]}
    time = sum((_UNITS[unit] * n for unit, n in parts.items()), timedelta())
    if fraction := found["fraction"]:
        last = _UNITS[list(parts)[-1]] // _MICROSECOND
        time += _MICROSECOND * (last * int(fraction) // 10 ** len(fraction))
    if time > timedelta(days=1):
        raise ValueError("it is after midnight")
    return time


def _offset(found: re.Match[str]) -> timedelta:
    if not found["sign"]:
        return timedelta()
    offset = timedelta(hours=int(found["zone_hour"]), minutes=int(found["zone_minute"] or 0))
    return offset if found["sign"] == "+" else -offset
