"""`rag models warm`: loads a model as the service would, and runs one text through it."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rag.build.embedding import build_embedder
from rag.build.generation import open_chat_model, open_entailment
from rag.build.model_folders import registry_of, resolved_part
from rag.build.retrieval import open_model_reranker
from rag.cli import output
from rag.cli.progress import activity
from rag.errors import ConfigError
from rag.model_registry.records import ModelKind
from rag.model_registry.references import Reference, is_reference, parse
from rag.model_registry.registry import find
from rag.model_registry.upkeep import now
from rag.settings.base import Part
from rag.settings.generation import VllmSettings
from rag.settings.retrieval import (
    CrossEncoderSettings,
    OnnxColbertSettings,
    OnnxRerankerSettings,
)
from rag.settings.tree import Settings
from rag.types import DEFAULT_TENANT, Chunk, Message, Query, Sampling, Scope

TEXT = "What does the warranty cover?"
P = TypeVar("P", bound=Part)


async def warm(args: argparse.Namespace, settings: Settings) -> int:
    """Loads a model and runs a text through it; returns 0."""
    registry = registry_of(settings)
    reference = parse(args.name)
    model, version = find(registry.read(), reference)
    reference, kind = Reference(reference.name, version), model.versions[version].kind
    folder = registry.resolve(reference, kind)
    started = time.monotonic()
    with activity("Loading", quiet=args.json):
        await _WARMING[kind](folder, reference, settings)
    seconds = time.monotonic() - started
    registry.update(reference, warmed=now())
    body = {"model": str(reference), "kind": kind, "seconds": seconds}
    output.show(body, _lines, as_json=args.json)
    return 0


def _lines(body: output.Json) -> Iterator[str]:
    yield f"{body['model']}: loaded, and ran one text, in {body['seconds']:.1f} s."


async def _embedder(folder: Path, _: Reference, settings: Settings) -> None:
    embedder = build_embedder(settings_with(settings.embedder, model=folder))
    try:
        await embedder.embed([TEXT], kind="query")
    finally:
        embedder.close()


async def _reranker(folder: Path, reference: Reference, settings: Settings) -> None:
    part = settings.reranker
    if not isinstance(part, CrossEncoderSettings | OnnxRerankerSettings | OnnxColbertSettings):
        raise ConfigError(
            f"{reference} is a reranker, and reranker.kind is {part.kind!r}: set the kind that it"
            " is used with (cross_encoder, onnx, onnx_colbert), for this command alone by"
            " RAG_RERANKER__KIND."
        )
    query = Query(text=TEXT, scope=Scope(tenant=DEFAULT_TENANT, collection=""))
    async with contextlib.AsyncExitStack() as stack:
        reranker = await open_model_reranker(settings_with(part, model=str(folder)), stack)
        await reranker.score(query, [_chunk()])


async def _generator(folder: Path, reference: Reference, settings: Settings) -> None:
    await _write(generator_settings(settings, reference, folder))


async def _adapter(folder: Path, reference: Reference, settings: Settings) -> None:
    part = next(_engines(settings), None)
    if part is None:
        raise ConfigError(
            f"{reference} is an adapter, and the settings have no generator of the kind 'vllm' that"
            " could write with it: set generator.kind and generator.model."
        )
    part = settings_with(part, adapters={}, lora=folder)
    await _write(resolved_part(part, registry_of(settings)))


async def _entailment(folder: Path, _: Reference, settings: Settings) -> None:
    async with contextlib.AsyncExitStack() as stack:
        support = await open_entailment(str(folder), settings.citations.device, stack)
        await support.score(TEXT, _chunk(), [(0, len(TEXT))])


def _chunk() -> Chunk:
    return Chunk(
        id="", document_id="", version="", position=0, text=TEXT, start=0, end=len(TEXT), title="",
        uri="",
    )  # fmt: skip


_WARMING: Mapping[ModelKind, Callable[[Path, Reference, Settings], Awaitable[None]]] = {
    "embedder": _embedder,
    "reranker": _reranker,
    "generator": _generator,
    "adapter": _adapter,
    "entailment": _entailment,
}


async def _write(part: VllmSettings) -> None:
    async with open_chat_model(part) as model:
        messages = [Message(role="user", content=TEXT)]
        async for _ in model.stream(messages, sampling=Sampling(max_tokens=8)):
            """It writes."""


def generator_settings(settings: Settings, reference: Reference, folder: Path) -> VllmSettings:
    """Returns the settings with which the service would write with a model of the registry.

    They are those of the generator, fallback or route that names the model, else of the first of
    the kind 'vllm', else the defaults.
    """
    engines = list(_engines(settings))
    naming = [engine for engine in engines if _names(engine.model, reference.name)]
    if not engines:
        return VllmSettings(kind="vllm", model=str(folder))
    chosen = settings_with((*naming, *engines)[0], model=str(folder))
    return resolved_part(chosen, registry_of(settings))


def _names(model: str, name: str) -> bool:
    return is_reference(model) and parse(model).name == name


def _engines(settings: Settings) -> Iterator[VllmSettings]:
    routed = (route.generator for route in settings.routes)
    for part in (settings.generator, *settings.fallbacks, *routed):
        if isinstance(part, VllmSettings):
            yield part


def settings_with(part: P, **values: Any) -> P:
    """Returns a part of the settings with other values, which are checked."""
    return type(part).model_validate(part.model_dump() | values)
