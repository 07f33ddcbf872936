"""`rag plan --measure`: the plan beside short measurements of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.build.embedding import build_embedder
from rag.operations.capacity.load_plan import Plan
from rag.operations.capacity.machine_checks import (
    CHUNKS,
    Compared,
    embedding_rate,
    files_bytes,
    fill_index,
    planned_bytes,
)
from rag.settings.generation import OpenAISettings, VllmSettings
from rag.settings.tree import Settings

if TYPE_CHECKING:
    from rag.protocols import ChatModel

ANSWER_TOKENS = 64


def measured(settings: Settings, plan: Plan) -> dict[str, Any]:
    """Returns the compared figures: embedder, index, and the engine if one is configured."""
    return asyncio.run(_measured(settings, plan))


async def _measured(settings: Settings, plan: Plan) -> dict[str, Any]:
    tokens = plan.chunk_tokens
    embedder = build_embedder(settings.embedder)
    try:
        rate = await embedding_rate(embedder, tokens=round(tokens))
        found = [
            Compared(
                name="embedding, in this process",
                planned=settings.capacity.embedder_tokens,
                measured=rate,
                unit="tokens/s",
            ),
            await _index(embedder.dim, tokens),
        ]
    finally:
        embedder.close()
    best = plan.best
    if best is not None and isinstance(settings.generator, OpenAISettings | VllmSettings):
        planned = 1 / best.serving.step_seconds(1, plan.load.tokens_in)
        found.append(await _engine(settings.generator, planned))
    lines = [each.line() for each in found]
    hours = plan.index.chunks * tokens / rate / 3600
    lines.append(f"So {plan.index.chunks:,} chunks are embedded in {hours:,.1f} hours here.")
    figures = {each.name: {"planned": each.planned, "measured": each.measured} for each in found}
    return {"figures": figures, "lines": lines}


async def _index(dim: int, tokens: float) -> Compared:
    """Returns the bytes of a chunk in an embedded index of generated chunks."""
    from retrieval.indexes.edge import EdgeIndex

    with tempfile.TemporaryDirectory(prefix="plumbline-plan-") as name:
        index = EdgeIndex(Path(name), dim=dim)
        try:
            await fill_index(index, dim=dim, tokens=tokens)
        finally:
            await index.close()
        size = files_bytes(Path(name))
    return Compared(
        name="embedded index, generated chunks",
        planned=planned_bytes(dim=dim, tokens=tokens) / CHUNKS,
        measured=size / CHUNKS,
        unit="bytes/chunk",
    )


async def _engine(settings: OpenAISettings | VllmSettings, planned: float) -> Compared:
    """Returns tokens/s of one answer by the engine that the settings name."""
    from rag.build.generation import open_model

    async with contextlib.AsyncExitStack() as stack:
        model = await open_model(settings, stack)
        await _write(model)
        seconds = await _write(model)
    return Compared(
        name=f"one answer by {settings.model}",
        planned=planned,
        measured=ANSWER_TOKENS / seconds,
        unit="tokens/s",
    )


async def _write(model: ChatModel) -> float:
    """Returns the seconds from the first piece of an answer to its last."""
    from rag.types import Message, Sampling

    prompt = [Message(role="user", content="Write a long story about the sea.")]
    first = last = time.perf_counter()
    pieces = 0
    async for _ in model.stream(prompt, sampling=Sampling(max_tokens=ANSWER_TOKENS)):
        last = time.perf_counter()
        first = first if pieces else last
        pieces += 1
    return (last - first) * ANSWER_TOKENS / max(pieces - 1, 1)
