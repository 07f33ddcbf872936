"""Numbers and truth values as JSON has them: a text of digits is none."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, StrictBool


def _number(value: Any) -> Any:
    if isinstance(value, str | bool):
        raise ValueError("it is no number")  # noqa: TRY004 - pydantic's kind of error
    return value


Integer = Annotated[int, BeforeValidator(_number)]
"""`10.0` is one as well."""
Real = Annotated[float, BeforeValidator(_number)]
Flag = StrictBool
