"""Settings of the routes, which choose a question's generator."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from rag.settings.base import Part
from rag.settings.generation import GeneratorSettings
from rag.types import QuestionKind

RouteLanguage = Literal["en", "de", "fr", "es", "it", "pt", "nl"]
MAIN = "main"
"""The name of the route to `generator`, where no other fits."""


class RouteSettings(Part):
    """A generator for questions that meet all conditions that are set."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$", description="As answers name it.")
    generator: GeneratorSettings
    tenants: tuple[str, ...] = Field((), description="One of them asks; none given: any.")
    tags: tuple[str, ...] = Field((), description="The request has one of them.")
    languages: tuple[RouteLanguage, ...] = Field((), description="The question is in one of them.")
    kinds: tuple[QuestionKind, ...] = Field((), description="It asks for one of them.")
    json_only: bool | None = Field(None, description="It asks for JSON (true), or not (false).")
    max_chars: int | None = Field(None, ge=1, description="Characters of the message, at most.")
    min_confidence: float | None = Field(None, ge=0, le=1, description="Of the evidence, at least.")
    max_spread: int | None = Field(
        None, ge=1, description="Passages that the evidence is in, at most."
    )

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name == MAIN:
            raise ValueError(f"{MAIN!r} is the route to `generator`: take another name")
        return name

    @model_validator(mode="after")
    def _has_a_condition(self) -> Self:
        conditions = set(type(self).model_fields) - {"name", "generator"}
        if all(getattr(self, name) in (None, ()) for name in conditions):
            raise ValueError("a route needs a condition: without one, it is `generator` itself")
        return self
