"""Cursors of listings in the order of time: the place of the last row that was returned."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

from fastapi import Query

from rag.errors import InputError

_FORM = r"^(?P<at>[0-9]{1,10}(\.[0-9]{1,9})?)-(?P<id>[0-9a-f]{32})$"
PATTERN = re.sub(r"\?P<\w+>", "", _FORM)
"""The form of a cursor as JSON Schema has it, which knows no names of groups."""
TimedCursor = Annotated[str | None, Query(max_length=2000, json_schema_extra={"pattern": PATTERN})]


class Place(NamedTuple):
    """The place of a row: seconds since 1970, and its id."""

    at: float
    id: str


def place_of(cursor: str | None) -> Place | None:
    """Returns the place that a cursor names; None without one.

    Raises:
        InputError: It is no cursor of such a listing.
    """
    if cursor is None:
        return None
    found = re.fullmatch(_FORM, cursor)
    if found is None:
        raise no_cursor()
    return Place(float(found["at"]), found["id"])


def cursor_of(at: float, id_: str) -> str:
    """Returns the cursor of the row at this time, with this id."""
    return f"{at!r}-{id_}"


def no_cursor() -> InputError:
    """Returns the error for what is no cursor of the listing."""
    return InputError("The cursor is not one that this listing gave.", code="invalid_cursor")


def iso(at: float) -> str:
    """Returns a time in ISO 8601, UTC, with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
