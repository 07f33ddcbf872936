"""Two versions of a model in one service, each with its own engine."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rag.build.model_folders import registry_of
from rag.build.running import start
from rag.model_registry.references import parse
from rag.model_registry.upkeep import add, promote, verify
from rag.settings.tree import Settings
from rag.telemetry.trace import Trace
from rag.types import Query, Scope
from tests.forked_vllm import fork_engines
from tests.tiny_llama import make_adapter, make_tiny_llama

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed: docs/vllm.md"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::FutureWarning:vllm"),
    pytest.mark.timeout(1800),  # three engines, on a busy machine
]
TEXT = "The pump of the Falcon weighs 40 kg."
ENGINE = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 64 << 20}


def part(version: str, **more: Any) -> dict[str, Any]:
    model = f"registry:tiny{version}"
    return {"kind": "vllm", "model": model, "engine": ENGINE, "max_tokens": 16, **more}


async def answered(service: Any, tenant: str) -> object:
    """Returns the model that wrote a tenant's answer, as the trace names it."""
    trace = Trace()
    query = Query(text="How heavy is the pump?", scope=Scope(tenant=tenant, collection="default"))
    await service.query.answer(query, trace)
    return [s.attributes["model"] for s in trace.spans if "model" in s.attributes][-1]


async def test_a_route_writes_with_another_version_and_a_tenant_with_its_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_engines(monkeypatch)
    settings = Settings(
        data_dir=tmp_path / "data",
        generator=part("", adapters={"acme": "registry:style@1"}),
        routes=({"name": "next", "tenants": ["beta"], "generator": part("@2")},),
        citations={"claims": "off"},
    )
    registry = registry_of(settings)
    make_tiny_llama(tmp_path / "tiny", context=1024)
    for version in ("1", "2"):
        add(registry, parse(f"tiny@{version}"), tmp_path / "tiny", "generator", quantized=False)
        verify(registry, parse(f"tiny@{version}"))
        registry.update(parse(f"tiny@{version}"), warmed="then")
    promote(registry, "tiny", "1")
    adapter = make_adapter(tmp_path / "adapter")
    add(registry, parse("style@1"), adapter, "adapter", quantized=False)
    async with start(settings) as (service, queue):
        for tenant in ("acme", "beta", "initech"):
            scope = Scope(tenant=tenant, collection="default")
            given = service.spool.of(tenant).put(TEXT.encode(), uri="note.txt", name="note.txt")
            await service.ingest.accept(scope, [given], Trace(sampled=False))
        await queue.drain()
        assert await answered(service, "acme") == "tiny@1+style@1"
        assert await answered(service, "beta") == "tiny@2"
        assert await answered(service, "initech") == "tiny@1"
