"""Settings of variants: what differs from the settings of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from rag.settings.base import Part
from rag.settings.generation import GeneratorSettings
from rag.settings.retrieval import EmbedderSettings, RerankerSettings, RetrievalSettings
from rag.types import BASE


def _not_base(name: str) -> str:
    if name == BASE:
        raise ValueError("it is the name of the pipeline of the settings themselves")
    return name


VariantName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,39}$"), AfterValidator(_not_base)
]
PARTS = ("generator", "retrieval", "reranker", "embedder")
"""The parts that a variant may change."""


class VariantSettings(Part):
    """A pipeline that differs from that of the settings; what is left out is as there."""

    generator: GeneratorSettings | None = Field(None, description="As `generator`.")
    retrieval: RetrievalSettings | None = Field(None, description="As `retrieval`.")
    reranker: RerankerSettings | None = Field(None, description="As `reranker`.")
    embedder: EmbedderSettings | None = Field(None, description="As `embedder`.")
    collections: Mapping[str, str] = Field(
        {}, description="Collections that it searches in the place of others: asked = searched."
    )


def completed(settings: Any) -> Any:
    """Returns raw settings whose variants have, in each part they change, the rest of the part.

    A part of another `kind` than the settings' own is left as it is.
    """
    variants = settings.get("variants") if isinstance(settings, dict) else None
    if not isinstance(variants, dict):
        return settings
    made = {name: _completed(variant, settings) for name, variant in variants.items()}
    return settings | {"variants": made}


def _completed(variant: Any, settings: Mapping[str, Any]) -> Any:
    if not isinstance(variant, dict):
        return variant
    parts = {name: _over(settings.get(name), variant[name]) for name in PARTS if name in variant}
    return variant | parts


def _over(part: Any, changes: Any) -> Any:
    """Returns a part with changes: the changes alone if they are of another kind."""
    if isinstance(part, BaseModel):
        part = part.model_dump(exclude_unset=True)
    if not isinstance(part, dict) or not isinstance(changes, dict):
        return changes
    if "kind" in changes and changes["kind"] != part.get("kind", changes["kind"]):
        return changes
    both = part.keys() & changes.keys()
    return part | changes | {name: _over(part[name], changes[name]) for name in both}
