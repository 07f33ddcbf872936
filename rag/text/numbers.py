"""Numbers and truth values of requests: in JSON, a string of digits is not a number."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictBool


def _number(value: Any) -> Any:
    if isinstance(value, str | bool):
        raise ValueError("it is no number")  # noqa: TRY004 - pydantic's kind of error
    return value


def _truth(value: Any) -> Any:
    if value not in ("true", "false"):
        raise ValueError("it is neither true nor false")
    return value


IS_NUMBER = BeforeValidator(_number)
Integer = Annotated[int, IS_NUMBER]
"""An integer; `10.0` is accepted as well."""
Count = Annotated[int, Field(ge=1), IS_NUMBER]
Flag = StrictBool
QueryFlag = Annotated[bool, BeforeValidator(_truth)]
"""A boolean of a query string, as JSON writes it: pydantic alone takes `1`, `yes` and `on`, too."""
