"""Questions to a service in which too many are under way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.in_process import ingested, serving_here
from tests.model_server import model_server, says, slowly
from tests.waiting import until

if TYPE_CHECKING:
    import httpx

    from retrieval.embedders.embedder import BertEmbedder

pytestmark = pytest.mark.anyio
FACT = "In 1769 James Watt patented an engine with a separate condenser."
ASKED = "What did James Watt patent in 1769?"


async def ask(http: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await http.post("/v1/query", json={"query": ASKED, **body})


async def test_questions_wait_for_a_place_by_their_class_and_say_so(
    tmp_path: Path, embedder: BertEmbedder
) -> None:
    with model_server(slowly(says(f"{FACT} [1]"), seconds=0.2)) as model:
        generator = {"kind": "openai", "base_url": model.base_url, "model": "tiny"}
        settings: dict[str, Any] = {
            "generator": generator,
            "limits": {"questions": 1},
            "admission": {
                "standard": {"wait_seconds": 60},
                "interactive": {"wait_seconds": 60},
                "batch": {"waiting": 1, "query_seconds": 0.01},
            },
        }
        async with serving_here(tmp_path, embedder, **settings) as (http, _):
            document = {"id": "watt", "text": FACT, "uri": "https://docs.example/watt"}
            await ingested(http, await http.post("/v1/documents", json={"documents": [document]}))
            ended: list[str] = []

            async def one(name: str, priority: str) -> httpx.Response:
                response = await ask(http, priority=priority)
                ended.append(name)
                return response

            asked = []
            for name in ("first", "standard", "interactive"):
                asked.append(asyncio.create_task(one(name, name.replace("first", "standard"))))
                await until(lambda: model.requests)
            waiting = asyncio.create_task(ask(http, priority="batch"))
            await asyncio.sleep(0)
            refused = await ask(http, priority="batch")
            assert (refused.status_code, refused.json()["code"]) == (503, "busy")
            assert "admission.batch" in refused.json()["detail"]

            answers = [(await each).json() for each in asked]
            assert [answer["answer"] for answer in answers] == [f"{FACT} [1]"] * 3
            assert ended == ["first", "interactive", "standard"]
            assert "queue" not in answers[0]["timings"]
            assert min(answer["timings"]["queue"] for answer in answers[1:]) > 0
            late = await waiting  # its own deadline, from the moment it has its place
            assert (late.status_code, late.json()["code"]) == (503, "deadline")
            assert "within 0.01 s" in late.json()["detail"]
            page = (await http.get("/metrics")).text
            assert 'plumbline_questions_waiting{class="standard"} 0.0' in page
            assert 'plumbline_question_wait_seconds_count{class="batch"} ' in page


async def test_a_class_that_is_none_is_refused(tmp_path: Path, embedder: BertEmbedder) -> None:
    async with serving_here(tmp_path, embedder) as (http, _):
        response = await ask(http, priority="now")
        assert response.status_code == 422
        assert "priority" in response.json()["detail"]
