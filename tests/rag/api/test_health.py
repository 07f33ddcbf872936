"""`/readyz` and `/v1/health` of real services, whose dependencies come and go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from rag.api.app import app_without_lifespan
from rag.api.deps import Running
from rag.build.health_checks import open_health
from rag.build.running import start
from rag.errors import UpstreamError
from rag.settings.tree import load_settings
from rag.telemetry import conditions
from rag.types import Principal
from tests.model_server import model_server, says
from tests.redis_server import redis_server

if TYPE_CHECKING:
    from rag.build.service import Service
    from retrieval.embedders.embedder import BertEmbedder

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def served(
    data: Path, embedder: BertEmbedder, *, caller: Principal | None = None, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Service]]:
    """Yields a client of a service with checks of its health."""
    tree = load_settings(data_dir=data, **settings)
    async with (
        start(tree, embedder=embedder) as (service, queue),
        contextlib.AsyncExitStack() as stack,
    ):
        running = Running(service, queue, health=open_health(service, stack))
        app = app_without_lifespan(tree, running, caller=caller)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield http, service


async def states(http: httpx.AsyncClient) -> tuple[str, dict[str, str]]:
    answered = await http.get("/v1/health")
    assert answered.status_code == 200, answered.text
    found = answered.json()
    return found["status"], {each["name"]: each["state"] for each in found["dependencies"]}


async def test_a_model_s_server_that_is_away_is_found(
    tmp_path: Path, embedder: BertEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "FRESH_SECONDS", 0.0)
    up = {"catalog": "up", "index": "up", "embedder": "up"}
    with model_server(says("x")) as model:
        generator = {"kind": "openai", "base_url": model.base_url, "model": "tiny"}
        fallbacks = [{"kind": "extractive"}]
        async with (
            served(tmp_path / "a", embedder, generator=generator) as (alone, _),
            served(tmp_path / "b", embedder, generator=generator, fallbacks=fallbacks) as (
                backed,
                _,
            ),
        ):
            for http in (alone, backed):
                assert await states(http) == ("ok", up | {"model tiny": "up"})
            await asyncio.to_thread(model.stop)
            assert await states(alone) == ("down", up | {"model tiny": "down"})
            assert await states(backed) == ("degraded", up | {"model tiny": "down"})
            # A process is not replaced because a server is away.
            assert (await alone.get("/readyz")).status_code == 200


async def test_broker_workers_and_limits_are_asked(
    tmp_path: Path, embedder: BertEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "FRESH_SECONDS", 0.0)
    with redis_server(tmp_path / "redis") as redis:
        settings: dict[str, Any] = {
            "queue": {"kind": "celery", "broker_url": redis.url},
            "gateway": {"enabled": True, "limits": {"redis_url": redis.url}},
            "answer_cache": {"kind": "redis", "url": redis.url},
            "model_cache": {"url": redis.url},
        }
        caller = Principal()
        async with served(tmp_path / "a", embedder, caller=caller, **settings) as (http, _):
            status, found = await states(http)
            assert status == "degraded"
            assert {name for name, state in found.items() if state == "down"} == {"workers"}
            redis.kill()
            _, found = await states(http)
            down = {name for name, state in found.items() if state == "down"}
            assert down == {"workers", "broker", "limits", "answer cache", "model cache"}
            body = (await http.get("/v1/health")).text
            assert redis.url not in body


async def test_only_those_who_may_see_metrics_see_it(
    tmp_path: Path, embedder: BertEmbedder
) -> None:
    caller = Principal(scopes=frozenset({"ask", "read", "write", "admin"}))
    async with served(tmp_path, embedder, caller=caller) as (http, _):
        assert (await http.get("/v1/health")).status_code == 403


async def test_without_its_engine_a_process_is_not_ready(
    tmp_path: Path, embedder: BertEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with model_server(says("x")) as model:
        generator = {"kind": "openai", "base_url": model.base_url, "model": "tiny"}
        async with served(tmp_path, embedder, generator=generator) as (http, service):
            assert (await http.get("/readyz")).status_code == 200

            async def died(*_: object) -> int:
                raise UpstreamError("The engine died and is not up again.")

            monkeypatch.setattr(type(service.model), "count_tokens", died)
            refused = await http.get("/readyz")
            assert (refused.status_code, refused.json()["code"]) == (503, "upstream")
