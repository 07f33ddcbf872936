"""Rollouts of a service whose error budget is spent, or not known."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from rag.api.app import create_app
from rag.cli.in_process import client_of
from rag.operations.slo import freeze
from rag.operations.slo.error_budgets import query
from rag.rollouts import controller
from rag.settings.slo import SloSettings
from rag.settings.tree import load_settings
from rag.types import DEFAULT_TENANT, Principal
from retrieval.embedders.embedder import BertEmbedder
from tests.model_server import ModelServer, model_server, says
from tests.rag.rollouts.test_variants import act, ask, put, rolled_out, started, until
from tests.slo import answer_of

pytestmark = pytest.mark.anyio
VARIANTS = {"deeper": {"retrieval": {"depth": 120}}}
WHY = "the variant is the fix"


@pytest.fixture(autouse=True)
def _ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freeze, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(controller, "ASK_SECONDS", 0.1)


def leaves(prometheus: ModelServer, remaining: float) -> SloSettings:
    """Has the server say what is left of each budget."""
    settings = SloSettings(prometheus_url=prometheus.url)
    asked = httpx.Request(
        "GET", f"{prometheus.url}/api/v1/query", params={"query": query(settings)}
    )
    answer = json.dumps(answer_of(settings, remaining=remaining))
    prometheus.pages[asked.url.raw_path.decode()] = answer
    return settings


async def test_what_reaches_more_users_is_refused_and_an_override_is_kept(
    folder: Path, embedder: BertEmbedder
) -> None:
    with model_server(says("")) as prometheus:
        slo = leaves(prometheus, 0.0)
        async with rolled_out(folder, embedder, VARIANTS, slo=slo) as (http, service):
            refused = await put(http, kind="canary", variant="deeper")
            assert (refused.status_code, refused.json()["code"]) == (409, "budget_spent")
            assert "requests of plumbline" in refused.json()["detail"]
            listed = (await http.get("/v1/rollouts")).json()
            assert listed["rollouts"] == []
            assert "the error budget is spent" in listed["frozen"]

            made = await started(http, kind="canary", variant="deeper", override_freeze=WHY)
            assert made["reason"] == f"in a freeze: {WHY}"
            promoting = await act(http, "promote", 1)
            assert promoting.json()["code"] == "budget_spent"
            promoted = (await act(http, "promote", 1, override_freeze=WHY)).json()
            assert promoted["percent"] == 5
            assert promoted["reason"].endswith(f", in a freeze: {WHY}")
            # What takes questions back from the variant always may.
            assert (await act(http, "kill", 2)).status_code == 200
            assert (await act(http, "resume", 3)).json()["code"] == "budget_spent"
            leaves(prometheus, 0.2)
            assert (await act(http, "resume", 3)).status_code == 200
            assert (await http.get("/v1/rollouts")).json()["frozen"] is None
            prometheus.stop()
            unknown = await act(http, "promote", 4)
            assert unknown.json()["code"] == "budget_unknown"
            assert (await act(http, "rollback", 4)).status_code == 200

            async with client_of(service, caller=Principal(), audits=True) as client:
                await client.start_rollout("other", "flag", "deeper", 0, override_freeze=WHY)
            rows = [row async for row in service.catalog.audit.entries(DEFAULT_TENANT)]
            (row,) = (each.row for each in rows if each.row.action == "rollout.start")
            assert (row.outcome, row.detail) == ("success", f"in a freeze: {WHY}")


class Fetched(dict[str, str]):
    """Pages that count how often one is fetched."""

    count = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.count += 1
        return super().get(key, default)


async def test_a_process_asks_prometheus_once_for_its_rollouts_and_its_canaries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freeze, "FRESH_SECONDS", 60.0)
    with model_server(says("")) as prometheus:
        slo = leaves(prometheus, 0.5)
        prometheus.pages = pages = Fetched(prometheus.pages)
        settings = load_settings(data_dir=tmp_path / "data", variants=VARIANTS, slo=slo)
        app = create_app(
            settings, url="http://localhost", host="localhost", on_failure=lambda: None, waits=True
        )
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
        ):
            for _ in range(3):
                assert (await http.get("/v1/rollouts")).json()["frozen"] is None
                await anyio.sleep(controller.ASK_SECONDS)
    gc.unfreeze()  # the start of a server freezes what is loaded
    assert pages.count == 1


async def test_a_canary_does_not_grow_by_itself_in_a_freeze(
    folder: Path, embedder: BertEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    with model_server(says("")) as prometheus:
        slo = leaves(prometheus, -0.5)
        async with rolled_out(folder, embedder, VARIANTS, slo=slo) as (http, _):
            plan: dict[str, Any] = {"steps": [50, 100], "dwell_seconds": 0, "questions": 3}
            await started(http, kind="canary", variant="deeper", plan=plan, override_freeze=WHY)

            async def enough() -> dict[str, Any] | None:
                await ask(http)
                found = (await http.get("/v1/rollouts/new")).json()
                seen = [each for each in found["evidence"] if each["arm"] == "variant"]
                return found if seen and seen[0]["questions"] > 5 else None

            assert (await until(enough))["percent"] == 50
            assert "Canaries do not grow: the error budget is spent" in caplog.text
            leaves(prometheus, 0.5)

            async def promoted() -> bool:
                await ask(http)
                state: str = (await http.get("/v1/rollouts/new")).json()["state"]
                return state == "promoted"

            await until(promoted)
