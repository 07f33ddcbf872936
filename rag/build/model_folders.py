"""Replaces names of models in the registry by their folders, before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from rag.errors import ConfigError
from rag.model_registry.records import ModelKind
from rag.model_registry.references import is_reference, parse
from rag.model_registry.registry import Registry
from rag.process.private_folder import MODELS
from rag.settings.base import Part
from rag.settings.generation import OpenAIModelSettings, OpenAISettings, VllmModelSettings
from rag.settings.retrieval import HttpRerankerSettings
from rag.settings.tree import Settings

P = TypeVar("P", bound=Part)
_OF_GENERATOR: Mapping[str, ModelKind] = {
    "model": "generator",
    "lora": "adapter",
    "adapters": "adapter",
}
"""Settings that name a model, and its kind."""


def registry_of(settings: Settings) -> Registry:
    """Returns the registry of models."""
    return Registry(settings.models_dir or settings.data_dir / MODELS)


def with_model_folders(settings: Settings) -> Settings:
    """Returns the settings with folders for `registry:NAME` and `registry:NAME@VERSION`.

    A name without a version is that of the version that is promoted now.

    Raises:
        ConfigError: The registry has no such model, or its files are missing or have changed.
        StorageError: The registry cannot be read.
    """
    registry = registry_of(settings)
    routes = tuple(
        route.model_copy(update={"generator": resolved_part(route.generator, registry)})
        for route in settings.routes
    )
    judge = settings.online.judge and resolved_part(settings.online.judge, registry)
    update = {
        "embedder": _replaced(settings.embedder, {"model": "embedder"}, registry),
        "reranker": _reranker(settings.reranker, registry),
        "generator": resolved_part(settings.generator, registry),
        "citations": _replaced(settings.citations, {"entailment": "entailment"}, registry),
        "fallbacks": tuple(resolved_part(part, registry) for part in settings.fallbacks),
        "routes": routes,
        "online": settings.online.model_copy(update={"judge": judge}),
    }
    return settings.model_copy(update=update)


def _reranker(part: P, registry: Registry) -> P:
    if isinstance(part, HttpRerankerSettings):
        _refuse(part.model)
    return _replaced(part, {"model": "reranker"}, registry)


def resolved_part(part: P, registry: Registry) -> P:
    """Returns the settings of a generator or judge with folders; see `with_model_folders`."""
    if isinstance(part, OpenAIModelSettings):
        adapters = part.adapters if isinstance(part, OpenAISettings) else {}
        for name in (part.model, *adapters.values()):
            _refuse(name)
    if isinstance(part, VllmModelSettings):
        return _replaced(part, _OF_GENERATOR, registry)
    return part


def _refuse(name: str) -> None:
    if is_reference(name):
        raise ConfigError(f"{name!r} is a model on this machine: name it as the server names it.")


def _replaced(part: P, kinds: Mapping[str, ModelKind], registry: Registry) -> P:
    values = {name: getattr(part, name, None) for name in kinds}
    update = {
        name: _resolved(value, kinds[name], registry) for name, value in values.items() if value
    }
    return part.model_copy(update=update) if update else part


def _resolved(value: Any, kind: ModelKind, registry: Registry) -> Any:
    """Returns a value, or the values of a mapping, with folders; of the same type."""
    if isinstance(value, Mapping):
        return {key: _resolved(each, kind, registry) for key, each in value.items()}
    if not is_reference(value):
        return value
    folder = registry.resolve(parse(str(value)), kind)
    return folder if isinstance(value, Path) else str(folder)
