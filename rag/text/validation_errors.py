"""Validation errors of input: the first ten are reported, the others are only counted.

pydantic creates an object for every error before the first one is read. A body of 4 MiB can have
two million errors, which take gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticOmit, core_schema

FIRST = 10
"""Errors that are reported."""
_NAME_CHARS = 100


def shortened(text: str, chars: int = _NAME_CHARS) -> str:
    """Returns the text, cut after `chars` characters."""
    return text if len(text) <= chars else f"{text[:chars]}…"


def first(faults: Iterator[str], count: int, *, between: str) -> str:
    """Joins the first ten of `count` sentences, and takes only these from `faults`."""
    listed = list(islice(faults, FIRST))
    if more := count - len(listed):
        listed.append(f"And {more:,} more.")
    return between.join(listed)


def faults_of(error: ValidationError) -> Sequence[Any]:
    """Returns the faults that pydantic found, without the input and without addresses."""
    return error.errors(include_url=False, include_input=False, include_context=False)


class FewUnknown(BaseModel):
    """A model that rejects a large number of unknown fields with one error, not one for each."""

    @model_validator(mode="before")
    @classmethod
    def _has_few_unknown(cls, value: Any) -> Any:
        if not isinstance(value, dict) or len(value) <= len(cls.model_fields) + FIRST:
            return value
        known = {f.alias or name for name, f in cls.model_fields.items()}
        names = (shortened(str(name)) for name in value if name not in known)
        unknown = len(value) - len(known & value.keys())
        raise ValueError(f"{unknown:,} of its fields are unknown: {', '.join(islice(names, 10))} …")


class FirstFaults:
    """Annotation of a list: its items are checked until ten errors are found, and no further."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Returns the list's schema, with validators around list and items that count errors."""
        schema: dict[str, Any] = {**handler(source)}
        assert schema["type"] == "list"  # noqa: S101 - a bug of ours, found at import
        schema["items_schema"] = core_schema.no_info_wrap_validator_function(
            _check_item, schema["items_schema"]
        )
        schema["fail_fast"] = True
        return core_schema.no_info_wrap_validator_function(
            _check_list, cast(core_schema.ListSchema, schema)
        )


@dataclass(slots=True)
class _Found:
    """The errors of one list, each a kind, a sentence and a place; `seen` counts checked items."""

    seen: int = 0
    faults: list[tuple[str, str, tuple[int | str, ...]]] = field(default_factory=list)

    def add(self, error: ValidationError) -> None:
        """Stores kind, message and place of an item's errors, and not the item."""
        for fault in error.errors(include_url=False, include_input=False, include_context=False):
            self.faults.append((fault["type"], fault["msg"], (self.seen - 1, *fault["loc"])))

    def error(self, length: int) -> ValidationError:
        """Returns all errors as one, with the number of items that were not checked."""
        if unseen := length - self.seen:
            kind, message, place = self.faults[-1]
            self.faults[-1] = (kind, f"{message}; {unseen:,} more after it were not checked", place)
        return ValidationError.from_exception_data("list", [_line(*f) for f in self.faults])


def _line(kind: str, message: str, place: tuple[int | str, ...]) -> InitErrorDetails:
    error = PydanticCustomError(kind, message)
    return InitErrorDetails(type=error, loc=place, input=None)


_found: ContextVar[_Found] = ContextVar("_found")


def _check_list(value: Any, handler: core_schema.ValidatorFunctionWrapHandler) -> Any:
    found = _Found()
    token = _found.set(found)
    try:
        checked = handler(value)
    except ValidationError:
        if not found.faults:  # it is not a list, or too short
            raise
    finally:
        _found.reset(token)
    if found.faults:
        raise found.error(len(value))
    return checked


def _check_item(value: Any, handler: core_schema.ValidatorFunctionWrapHandler) -> Any:
    found = _found.get()
    found.seen += 1
    try:
        return handler(value)
    except ValidationError as error:
        found.add(error)
        if len(found.faults) < FIRST:
            raise PydanticOmit from None  # the check of the list continues
        raise
