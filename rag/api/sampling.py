"""Sampling parameters of a request, in OpenAI's names."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from rag.api import shapes
from rag.text.numbers import IS_NUMBER, Count, Integer
from rag.types import SamplingOverrides

SCHEMA_BYTES = 120_000
"""Most bytes of a schema, OpenAI's own limit: the prompt holds it, and several copies are made."""


class JsonSchemaIn(BaseModel):
    """A JSON schema in OpenAI's form; other fields have no effect."""

    json_schema: dict[str, Any] = Field({"type": "object"}, alias="schema")

    @field_validator("json_schema")
    @classmethod
    def _is_json(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            written = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError) as error:
            raise ValueError(
                "it holds NaN, Infinity or half a character (a lone surrogate), or is too deep"
            ) from error
        if len(written) > SCHEMA_BYTES:
            raise ValueError(f"it has more than {SCHEMA_BYTES:,} bytes")
        return value


class ResponseFormat(BaseModel):
    """The format of the answer's text: `text`, any JSON object, or JSON that fits a schema."""

    model_config = ConfigDict(json_schema_extra=shapes.RESPONSE_FORMAT)

    type: Literal["text", "json_object", "json_schema"] = Field(
        json_schema_extra={"x-enum": "response_formats"}
    )
    json_schema: JsonSchemaIn | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("the type is `json_schema`, and there is no `json_schema` beside it")
        if self.type != "json_schema" and self.json_schema is not None:
            raise ValueError("`json_schema` goes with the type `json_schema` alone")
        return self

    def schema_of(self) -> dict[str, Any] | None:
        """Returns the schema that the answer must fit; None for text."""
        if self.type == "text":
            return None
        return (self.json_schema or JsonSchemaIn()).json_schema


LEAST_TOP_P = 1e-6
"""Stands for a `top_p` of 0, which servers of models refuse: the likeliest token alone is taken."""


def _as_list(value: Any) -> Any:
    """Returns one text or several as a list, without the empty ones."""
    texts = [value] if isinstance(value, str) else value
    return [text for text in texts if text != ""] if isinstance(texts, list) else texts


_Stop = Annotated[str, Field(min_length=1, max_length=256)]


class SamplingIn(BaseModel):
    """Sampling parameters of the language model; without one they have no effect."""

    max_tokens: Count | None = Field(
        None, description="At most the setting generator.max_tokens, its default."
    )
    temperature: Annotated[float, Field(ge=0, le=2), IS_NUMBER] | None = None
    top_p: Annotated[float, Field(ge=0, le=1), IS_NUMBER] | None = None
    seed: Annotated[Integer | None, WithJsonSchema(shapes.SEED)] = Field(
        None, ge=-(1 << 63), lt=1 << 63
    )
    stop: Annotated[list[_Stop] | None, BeforeValidator(_as_list), WithJsonSchema(shapes.STOP)] = (
        Field(None, max_length=16, description="The answer ends before any of these texts.")
    )
    response_format: ResponseFormat | None = None

    def overrides(self) -> SamplingOverrides:
        """Returns the parameters in the generator's form."""
        return SamplingOverrides(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=None if self.top_p is None else max(self.top_p, LEAST_TOP_P),
            seed=self.seed,
            stop=tuple(self.stop) if self.stop else None,
            schema=self.response_format.schema_of() if self.response_format else None,
        )
