"""Descriptions of database errors for operators, without the values of rows.

PostgreSQL's messages about data quote it, and so do its DETAIL and its driver if a value has the
wrong type: for such errors only the name and the code are reported.
"""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa

from rag.privacy.redaction import one_line

CONNECTION_LOST = ("08", "57P01", "57P02", "57P03")
"""First characters of PostgreSQL's codes for a connection that failed, or a server that stops or
starts."""
_ABOUT_NO_DATA = ("08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58")
"""The same, for messages that name connections, users, limits, tables and statements."""
_POSTGRES_FULL = "53100"
_SQLITE_FULL = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMMAP,
)


def lost_connection(error: BaseException) -> bool:
    """Returns True if the driver raised the error because the connection is lost."""
    return isinstance(error, OSError) or _state(error).startswith(CONNECTION_LOST)


def disk_full(error: Exception) -> bool:
    """Returns True if the database could not write for lack of space."""
    cause = original(error)
    return _state(cause) == _POSTGRES_FULL or getattr(cause, "sqlite_errorcode", 0) in _SQLITE_FULL


def reason(error: Exception) -> str:
    """Returns the error's name, its code, and its message unless that may quote a value."""
    cause = original(error)
    name, state = type(cause.__cause__ or cause).__name__, _state(cause)
    text = f"{name} {state}".rstrip()
    is_safe = isinstance(cause, (sqlite3.Error, OSError, sa.exc.TimeoutError))
    if is_safe or (state and state.startswith(_ABOUT_NO_DATA)):
        text += f": {one_line(str(cause if isinstance(cause, OSError) else cause.args[0]))}"
    return text


def original(error: Exception) -> BaseException:
    """Returns the driver's own error."""
    return getattr(error, "orig", None) or error


def _state(error: BaseException) -> str:
    return getattr(error, "sqlstate", None) or ""
