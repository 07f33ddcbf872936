"""Variants of a real service: built, routed to, shadowed and administered over its API."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from rag.build.queue_backends import queue_backend
from rag.build.running import rolling_out
from rag.build.service import Service
from rag.errors import BusyError
from rag.operations.slo.freeze import freeze_of
from rag.records import Arm
from rag.telemetry.trace import Trace
from rag.types import DEFAULT_TENANT, Permission, Principal, Query, Scope
from retrieval.embedders.embedder import BertEmbedder
from tests.in_process import client_as, ingested, serving_here
from tests.model_server import model_server, quotes, refuses

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
QUESTION = {"query": "When does the office open?"}
OPENS = "The office opens at nine in the morning."


@contextlib.asynccontextmanager
async def rolled_out(
    folder: Path, embedder: BertEmbedder, variants: Json, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Service]]:
    opening = serving_here(folder / "data", embedder, variants=variants, **settings)
    async with opening as (http, service), rolling_out(service, freeze_of(service.settings.slo)):
        document = {"id": "office", "text": OPENS + "\n\nIt closes at five in the afternoon."}
        await ingested(http, await http.post("/v1/documents", json={"documents": [document]}))
        yield http, service


async def put(http: httpx.AsyncClient, name: str = "new", **body: Any) -> httpx.Response:
    return await http.put(f"/v1/rollouts/{name}", json={"version": 0, **body})


async def started(http: httpx.AsyncClient, **body: Any) -> Json:
    response = await put(http, **body)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def act(http: httpx.AsyncClient, action: str, version: int, **body: Any) -> httpx.Response:
    sent = {"action": action, "version": version, **body}
    return await http.post("/v1/rollouts/new", json=sent)


async def ask(http: httpx.AsyncClient, **body: Any) -> Json:
    response = await http.post("/v1/query", json=QUESTION | body)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def until(look: Callable[[], Any]) -> Any:
    with anyio.fail_after(60):
        while not (seen := await look()):  # noqa: ASYNC110 - of another process, perhaps
            await anyio.sleep(0.05)
    return seen


async def by_variant(http: httpx.AsyncClient, name: str, **body: Any) -> Json:
    """Returns the first answer that the variant gave: a change holds a moment later."""

    async def look() -> Json | None:
        answer = (await http.post("/v1/query", json=QUESTION | body)).json()
        return answer if answer.get("variant") == name else None

    return dict(await until(look))


def openai(url: str) -> Json:
    return {"kind": "openai", "base_url": url, "model": "tiny"}


async def test_a_flag_sends_questions_to_another_engine_and_a_kill_switch_takes_them_back(
    folder: Path, embedder: BertEmbedder
) -> None:
    with model_server(quotes()) as server:
        variants = {"llm": {"generator": openai(server.base_url)}}
        async with rolled_out(folder, embedder, variants) as (http, service):
            assert (await ask(http))["variant"] == "base"
            assert not server.requests
            await started(http, kind="flag", variant="llm")
            answer = await by_variant(http, "llm")
            assert server.requests
            assert answer["degraded"] == []
            assert service.observer.recorder is not None
            await service.observer.recorder.flush()
            listed = (await http.get("/v1/answers")).json()["answers"]
            assert listed[0]["variant"] == "llm"
            assert (await act(http, "kill", 1)).json()["state"] == "killed"
            await by_variant(http, "base")
            assert (await act(http, "resume", 2)).json()["state"] == "running"
            await by_variant(http, "llm")
            chat = await http.post(
                "/v1/chat/completions",
                json={
                    "model": "default",
                    "messages": [{"role": "user", "content": QUESTION["query"]}],
                },
            )
            assert chat.json()["plumbline"]["variant"] == "llm"
            scrape = (await http.get("/metrics")).text
            assert 'plumbline_variant_questions_total{outcome="ok",variant="llm"}' in scrape
            assert 'plumbline_variant_available{variant="llm"} 1.0' in scrape


async def test_a_variant_that_does_not_build_is_left_out_and_the_answer_says_so(
    folder: Path, embedder: BertEmbedder
) -> None:
    broken = openai("http://127.0.0.1:9/v1") | {"templates": str(folder / "nowhere")}
    async with rolled_out(folder, embedder, {"broken": {"generator": broken}}) as (http, _):
        listed = (await http.get("/v1/rollouts")).json()["variants"]
        assert [each["available"] for each in listed] == [False]
        assert "nowhere" in listed[0]["problem"]
        made = await started(http, kind="flag", variant="broken")
        assert made["available"] is False

        async def degraded() -> Json | None:
            answer = await ask(http)
            return answer if answer["degraded"] else None

        answer = await until(degraded)
        assert answer["variant"] == "base"
        assert answer["answer"]
        assert answer["degraded"] == ["variant: broken is not available"]


async def test_a_variant_with_another_price_has_the_embedder_that_is_open(
    folder: Path, embedder: BertEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    monkeypatch.setattr("rag.build.variants.build_embedder", opened.append)
    variants = {"dear": {"embedder": {"input_price": 0.02}}}
    opening = serving_here(folder / "data", embedder, variants=variants)
    async with opening as (http, service), rolling_out(service, None):
        [listed] = (await http.get("/v1/rollouts")).json()["variants"]
        assert listed["available"]
    assert opened == []


async def test_a_shadow_is_compared_and_never_shown(folder: Path, embedder: BertEmbedder) -> None:
    with model_server(quotes()) as server:
        variants = {"quiet": {"generator": openai(server.base_url)}}
        opening = rolled_out(folder, embedder, variants, online={"rate": 1.0})
        async with opening as (http, _):
            await started(http, kind="shadow", variant="quiet")

            async def seen() -> dict[tuple[str, str], Json]:
                assert (await ask(http))["variant"] == "base"
                evidence = (await http.get("/v1/rollouts/new")).json()["evidence"]
                return {(each["arm"], each["measure"]): each for each in evidence}

            evidence = await until(seen)
            assert evidence["paired", "overlap"]["mean"] == 1.0
            assert abs(evidence["paired", "loss"]["mean"]) < 0.2  # both quote the same sentence
            for arm in ("base", "variant"):
                assert evidence[arm, "errors"]["mean"] == 0.0
                assert evidence[arm, "seconds"]["mean"] > 0
            answers = (await http.get("/v1/answers")).json()["answers"]
            assert all("[1]" in each["answer"] for each in answers)
            scrape = (await http.get("/metrics")).text
            assert 'plumbline_variant_questions_total{outcome="ok",variant="quiet"} 0.0' in scrape


async def test_a_shadow_takes_no_answer_from_the_cache(
    folder: Path, embedder: BertEmbedder
) -> None:
    with model_server(quotes()) as server:
        variants = {"quiet": {"generator": openai(server.base_url)}}
        opening = rolled_out(folder, embedder, variants, answer_cache={"kind": "memory"})
        async with opening as (http, service):
            scope = Scope(tenant=DEFAULT_TENANT, collection="default")
            asked = Query(text=QUESTION["query"], scope=scope)
            pipeline = service.router.variants["quiet"].pipeline

            async def cached() -> bool:
                return (await pipeline.answer(asked, Trace())).cached is not None

            await until(cached)
            before = len(server.requests)
            await started(http, kind="shadow", variant="quiet")

            async def followed() -> bool:
                return bool(service.router._shadows)

            await until(followed)
            await ask(http)

            async def compared() -> list[Json]:
                return list((await http.get("/v1/rollouts/new")).json()["evidence"])

            await until(compared)
            assert len(server.requests) == before + 1


async def test_what_a_shadow_waits_for_its_place_is_not_its_time(
    folder: Path, embedder: BertEmbedder
) -> None:
    settings = {"admission": {"batch": {"at_once": 1}}}
    async with rolled_out(folder, embedder, {"deeper": {}}, **settings) as (http, service):
        await started(http, kind="shadow", variant="deeper")

        async def followed() -> bool:
            return bool(service.router._shadows)

        await until(followed)
        async with service.admission.take("batch", "other"):
            await ask(http)
            await anyio.sleep(5)

        async def seconds() -> float:
            evidence = (await http.get("/v1/rollouts/new")).json()["evidence"]
            found = [e for e in evidence if (e["arm"], e["measure"]) == ("variant", "seconds")]
            return float(found[0]["mean"]) if found else 0.0

        assert 0 < await until(seconds) < 4


@pytest.mark.parametrize("status", [500, 429])
async def test_a_failing_shadow_harms_no_answer(
    folder: Path, embedder: BertEmbedder, status: int
) -> None:
    with model_server(refuses(status)) as server:
        variants = {"llm": {"generator": openai(server.base_url)}}
        async with rolled_out(folder, embedder, variants) as (http, _):
            await started(http, kind="shadow", variant="llm")

            async def seen() -> Json | None:
                assert (await ask(http))["answer"]
                evidence = (await http.get("/v1/rollouts/new")).json()["evidence"]
                found = [e for e in evidence if (e["arm"], e["measure"]) == ("variant", "errors")]
                return found[0] if found else None

            assert (await until(seen))["mean"] == 1.0


async def test_a_canary_whose_engine_fails_is_rolled_back_held_and_restored(
    folder: Path, embedder: BertEmbedder
) -> None:
    with model_server(refuses(400)) as server:
        variants = {"llm": {"generator": openai(server.base_url)}}
        async with rolled_out(folder, embedder, variants) as (http, _):
            plan = {"steps": [50, 100], "dwell_seconds": 3600, "questions": 10}
            await started(http, kind="canary", variant="llm", plan=plan)

            async def back() -> Json | None:
                for _ in range(10):
                    await http.post("/v1/query", json=QUESTION)
                found = (await http.get("/v1/rollouts/new")).json()
                return found if found["state"] == "rolled_back" else None

            found = await until(back)
            assert found["reason"].startswith("errors: 1 of ")
            assert found["percent"] == 0
            await by_variant(http, "base")
            again = await put(http, kind="canary", variant="llm", version=found["version"])
            assert (again.status_code, again.json()["code"]) == (409, "rollout_held")
            held = await act(http, "restore", found["version"])
            assert held.json()["code"] == "rollout_held"
            restored = await act(http, "restore", found["version"], force=True)
            assert (restored.json()["state"], restored.json()["percent"]) == ("running", 50)


async def test_an_equal_canary_is_promoted_by_itself(folder: Path, embedder: BertEmbedder) -> None:
    variants = {"deeper": {"retrieval": {"depth": 120}}}
    async with rolled_out(folder, embedder, variants) as (http, _):
        plan = {"steps": [50, 100], "dwell_seconds": 0, "questions": 5}
        await started(http, kind="canary", variant="deeper", plan=plan)

        async def promoted() -> Json | None:
            await ask(http)
            found = (await http.get("/v1/rollouts/new")).json()
            return found if found["state"] == "promoted" else None

        found = await until(promoted)
        assert [each["percent"] for each in found["history"]] == [50, 100]
        await by_variant(http, "deeper")


async def test_of_two_promotions_at_once_one_is_refused(
    folder: Path, embedder: BertEmbedder
) -> None:
    async with rolled_out(folder, embedder, {"deeper": {"retrieval": {"depth": 120}}}) as (http, _):
        await started(http, kind="canary", variant="deeper")
        both: list[httpx.Response] = []

        async def promote() -> None:
            both.append(await act(http, "promote", 1))

        async with anyio.create_task_group() as group:
            group.start_soon(promote)
            group.start_soon(promote)
        assert sorted(each.status_code for each in both) == [200, 409]
        (refused,) = (each.json() for each in both if each.status_code == 409)
        assert refused["code"] == "stale_rollout"
        assert (await http.get("/v1/rollouts/new")).json()["percent"] == 5


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"variant": "nobody"}, "unknown_variant"),
        ({"variant": "deeper", "tenants": ["strangers"]}, "unknown_tenant"),
        ({"variant": "deeper", "keys": ["0123456789ab"]}, "unknown_key"),
        ({"variant": "deeper", "version": 3}, "unknown_rollout"),
        ({"variant": "deeper", "plan": {"steps": []}}, "invalid_input"),
    ],
)
async def test_what_is_not_there_is_refused(
    folder: Path, embedder: BertEmbedder, body: Json, code: str
) -> None:
    async with rolled_out(folder, embedder, {"deeper": {"retrieval": {"depth": 120}}}) as (http, _):
        response = await put(http, kind="flag", **body)
        assert response.json()["code"] == code, response.text
        assert (await http.get("/v1/rollouts")).json()["rollouts"] == []


async def test_rollouts_are_for_operators_who_may_see_the_whole_service(
    folder: Path, embedder: BertEmbedder
) -> None:
    variants = {"deeper": {"retrieval": {"depth": 120}}}
    async with rolled_out(folder, embedder, variants) as (_, service):
        queue = queue_backend(service.settings).queue(service)
        allowed: list[tuple[frozenset[Permission], int]] = [
            (frozenset({"admin"}), 403),
            (frozenset({"metrics"}), 403),
            (frozenset({"admin", "metrics"}), 200),
        ]
        for scopes, status in allowed:
            async with client_as(service, queue, Principal(scopes=scopes)) as http:
                assert (await http.get("/v1/rollouts")).status_code == status
                made = await put(http, kind="flag", variant="deeper")
                assert made.status_code == status


async def test_a_variant_reads_its_own_version_of_a_collection(
    folder: Path, embedder: BertEmbedder
) -> None:
    variants = {"next": {"collections": {"default": "default-2"}}}
    async with rolled_out(folder, embedder, variants) as (http, _):
        document = {"id": "office", "text": "The office opens at ten in the morning."}
        body = {"documents": [document], "collection": "default-2"}
        await ingested(http, await http.post("/v1/documents", json=body))
        await started(http, kind="flag", variant="next")
        answer = await by_variant(http, "next")
        assert "opens at ten" in answer["answer"]


async def test_a_variant_whose_collection_is_missing_fails_and_the_base_answers(
    folder: Path, embedder: BertEmbedder
) -> None:
    variants = {"next": {"collections": {"default": "nowhere"}}}
    async with rolled_out(folder, embedder, variants) as (http, _):
        plan = {"steps": [50, 100], "questions": 5}
        await started(http, kind="canary", variant="next", plan=plan)
        seen: set[str] = set()

        async def back() -> bool:
            for _ in range(10):
                answer = await ask(http)
                assert answer["variant"] == "base"
                assert answer["answer"].startswith(OPENS)
                seen.update(answer["degraded"])
            return bool((await http.get("/v1/rollouts/new")).json()["state"] == "rolled_back")

        await until(back)
        assert seen == {"variant: next has no version of default"}


async def test_a_place_that_is_refused_says_nothing_of_a_variant(
    folder: Path, embedder: BertEmbedder
) -> None:
    limits = {"limits": {"questions": 1}, "admission": {"standard": {"wait_seconds": 0}}}
    async with rolled_out(folder, embedder, {"deeper": {}}, **limits) as (_, service):
        scope = Scope(tenant=DEFAULT_TENANT, collection="default")
        asked = Query(text=QUESTION["query"], scope=scope)
        async with service.admission.take("standard", "other"):
            with pytest.raises(BusyError):
                await service.query.answer(asked, Trace(arm=Arm("new", 1, "deeper")))
        assert service.observations._seen == {}


async def test_an_ab_test_compares_its_arms_and_states_its_power(
    folder: Path, embedder: BertEmbedder
) -> None:
    variants = {"deeper": {"retrieval": {"depth": 120}}}
    async with rolled_out(folder, embedder, variants) as (http, service):
        few = await http.get("/v1/rollout-power", params={"questions": 1000})
        assert few.json()["code"] == "too_few_answers"
        for n in range(40):
            await ask(http, query=QUESTION["query"] if n % 2 else "Who ate the moon of Jupiter?")
        assert service.observer.recorder is not None
        await service.observer.recorder.flush()
        power = (await http.get("/v1/rollout-power", params={"questions": 1000})).json()
        rows = {row["measure"]: row for row in power["rows"]}
        assert rows["abstained"]["mean"] == 0.5
        # (z(1 - 0.05 / 2k) + z(0.8)) sd 2 / sqrt(1000), of as many measures as vary
        assert 0.09 < rows["abstained"]["smallest_difference"] < 0.14
        await started(http, kind="ab", variant="deeper", percent=50)

        async def both() -> Json | None:
            await ask(http)
            assert service.observer.recorder is not None
            await service.observer.recorder.flush()
            arms = (await http.get("/v1/rollouts/new/arms")).json()
            return arms if min(arms["questions"]) >= 5 else None

        arms = await until(both)
        assert {"seconds", "abstained", "confidence"} <= {row["measure"] for row in arms["rows"]}
        assert all(row["verdict"] == "" for row in arms["rows"] if row["measure"] == "confidence")


async def test_the_steps_of_a_plan_rise_to_all_questions(
    folder: Path, embedder: BertEmbedder
) -> None:
    async with rolled_out(folder, embedder, {"deeper": {"retrieval": {"depth": 120}}}) as (http, _):
        plan = {"steps": [50, 0, 5, 50]}
        response = await put(http, kind="canary", variant="deeper", plan=plan)
        assert response.json()["plan"]["steps"] == [5, 50, 100]
