"""The endpoints behind the views of administrators: who calls, answers, jobs, queue, tenants."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import rag
from rag.api.app import app_without_lifespan
from rag.api.deps import Running
from rag.api.drift import DriftOut
from rag.api.responses import JobPage
from rag.api.routes.answers import AnswerPage
from rag.api.routes.me import Me
from rag.api.routes.whole_service import QueueOut, TenantPage
from rag.build.gateway import open_gateway
from rag.build.storage import Storage, open_storage
from rag.build.telemetry import trace_page
from rag.catalog.answers import Answers
from rag.gateway.api_keys import ApiKeys, Grant
from rag.records import Feedback, LiveAnswer
from rag.settings.operations import NoTraceSettings, TraceSettings
from rag.settings.tree import load_settings
from rag.types import Permission, Principal, Scope
from tests.catalogs import submission
from tests.rag.catalog.test_answers import TRACE, given

pytestmark = pytest.mark.anyio
ACME = Scope(tenant="acme", collection="handbook")
RIVAL = Scope(tenant="rival", collection="handbook")
LANGFUSE = {
    "langfuse_url": "http://u:pw@langfuse.example/base/",
    "public_key": "pk",
    "secret_key": "sk",
}


class Api:
    """An API with the gateway over a catalog; it ingests and answers nothing."""

    def __init__(self, http: httpx.AsyncClient, storage: Storage) -> None:
        self.http = http
        self.storage = storage
        self.answers = Answers(storage.database)
        self.jobs = storage.catalog.jobs

    async def key(self, *scopes: Permission, tenant: str = "acme", **grant: Any) -> dict[str, str]:
        keys = ApiKeys(self.storage.catalog.keys, changed=lambda _: None)
        made = Grant(name="k", scopes=scopes, **grant)
        _, key = await keys.create(Principal(tenant=tenant), made)
        return {"Authorization": f"Bearer {key}"}

    async def get(self, path: str, key: dict[str, str], model: Any) -> Any:
        """Returns a body that has the form of the model."""
        response = await self.http.get(path, headers=key)
        assert response.status_code == 200, response.text
        assert model.model_validate(response.json()).model_dump(mode="json") == response.json()
        return response.json()

    async def refused(self, path: str, key: dict[str, str]) -> tuple[int, str]:
        response = await self.http.get(path, headers=key)
        return response.status_code, response.json()["code"]


@pytest.fixture
async def api(folder: Path) -> AsyncIterator[Api]:
    settings = load_settings(data_dir=folder, gateway={"enabled": True}, traces=LANGFUSE)
    async with open_storage(settings) as storage, open_gateway(storage) as gateway:
        for scope in (ACME, replace(ACME, collection="plans"), RIVAL):
            await storage.catalog.collections.claim(scope, "embedder-1")
        app = app_without_lifespan(settings, Running(opened=storage, gateway=gateway))
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield Api(http, storage)


def hexed(number: int) -> str:
    return f"{number:032x}"


# Who calls


async def test_callers_learn_who_they_are_with_any_key(api: Api) -> None:
    key = await api.key("metrics")
    me = await api.get("/v1/me", key, Me)
    assert len(me.pop("key_id")) == 12
    assert me == {
        "tenant": "acme", "subject": "", "scopes": ["metrics"], "collections": None,
        "authenticated": True, "version": rag.__version__,
    }  # fmt: skip
    bound = await api.key("read", "ask", subject="ann", collections=["plans", "handbook"])
    me = await api.get("/v1/me", bound, Me)
    assert (me["subject"], me["scopes"]) == ("ann", ["ask", "read"])
    assert me["collections"] == ["handbook", "plans"]
    document = (await api.http.get("/openapi.json")).json()
    assert document["paths"]["/v1/me"]["get"]["security"] == [{"bearer": []}, {"apiKey": []}]


async def test_without_a_gateway_everyone_is_told_so_before_anything_is_loaded() -> None:
    app = app_without_lifespan(load_settings(), Running())
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        me = (await http.get("/v1/me")).json()
    assert (me["tenant"], me["key_id"], me["authenticated"]) == ("default", "", False)
    assert me["scopes"] == ["admin", "ask", "metrics", "read", "write"]


# Answers


async def test_answers_are_those_of_the_tenant_with_a_link_to_their_trace(api: Api) -> None:
    await api.answers.keep(
        [
            given(hexed(1), ACME, at=1_700_000_000.125),
            given(hexed(2), ACME, at=1_700_000_001.5, reason="no_match", content=None),
            given(hexed(3), RIVAL),
        ]
    )
    key = await api.key("admin")
    body = await api.get("/v1/answers", key, AnswerPage)
    declined, answered = body["answers"]
    assert (answered["id"], answered["at"]) == (hexed(1), "2023-11-14T22:13:20.125+00:00")
    assert (answered["question"], answered["abstained"], answered["reason"]) == (
        "Who?", False, None
    )  # fmt: skip
    assert answered["trace_url"] == f"http://langfuse.example/base/trace/{TRACE}"
    assert (declined["question"], declined["abstained"]) == (None, True)
    assert body["next_cursor"] is None
    assert (await api.refused("/v1/answers", await api.key("read", "ask", "write")))[0] == 403


async def test_pages_of_answers_follow_each_other(api: Api) -> None:
    await api.answers.keep([given(hexed(n), ACME, at=1_700_000_000 + n / 7) for n in range(7)])
    key, path, found = await api.key("admin"), "/v1/answers?limit=3", []
    while path:
        page = await api.get(path, key, AnswerPage)
        found += [each["id"] for each in page["answers"]]
        path = page["next_cursor"] and f"/v1/answers?limit=3&cursor={page['next_cursor']}"
    assert found == [hexed(n) for n in reversed(range(7))]


async def test_answers_are_chosen_by_collection_rating_and_low_scores(api: Api) -> None:
    plans = replace(ACME, collection="plans")
    await api.answers.keep(
        [given(hexed(1), ACME, scores={"groundedness": 0.2}), given(hexed(2), plans)]
    )
    caller = Principal(tenant="acme")
    await api.answers.add_feedback(caller, hexed(2), Feedback(rating="down"))
    key = await api.key("admin")
    for query, expected in (
        ("collection=plans", [2]),
        ("rating=down", [2]),
        ("rating=up", []),
        ("low=true", [1]),
        ("low=false", [2]),
        ("abstained=true", []),
    ):
        body = await api.get(f"/v1/answers?{query}", key, AnswerPage)
        assert [each["id"] for each in body["answers"]] == [hexed(n) for n in expected], query
    assert await api.refused("/v1/answers?collection=x", key) == (404, "unknown_collection")
    for query in ("cursor=x", "cursor=17", f"cursor={hexed(1)}"):
        assert await api.refused(f"/v1/answers?{query}", key) == (422, "invalid_cursor")
    for query in ("limit=0", "limit=201", "abstained=1", "rating=good", "low=0.5"):
        assert (await api.refused(f"/v1/answers?{query}", key))[0] == 422


def test_the_page_of_a_trace_has_no_secret_and_is_told_only_if_traces_go_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert trace_page(TraceSettings()) is None
    assert trace_page(TraceSettings(**LANGFUSE | {"secret_key": None})) is None
    assert trace_page(TraceSettings(otlp_url="http://otlp.example/v1/traces")) is None
    assert trace_page(TraceSettings(**LANGFUSE)) == "http://langfuse.example/base/trace/"
    assert trace_page(NoTraceSettings(**LANGFUSE)) is None
    cloud = LANGFUSE | {"langfuse_url": None}
    assert trace_page(TraceSettings(**cloud)) == "https://cloud.langfuse.com/trace/"
    monkeypatch.setenv("LANGFUSE_BASE_URL", "https://own.example")
    assert trace_page(TraceSettings(**cloud)) == "https://own.example/trace/"


# Drift


def live(n: int, age: float, *, seconds: float) -> LiveAnswer:
    return given(hexed(n), ACME, at=time.time() - age - n / 1000, seconds=seconds)


async def test_drift_is_reported_with_the_questions_that_are_unlike(api: Api) -> None:
    rng = np.random.default_rng(1)
    before = [live(n, 4000, seconds=float(rng.normal(1, 0.1))) for n in range(60)]
    now = [live(n, 100, seconds=float(rng.normal(2, 0.1))) for n in range(100, 150)]
    await api.answers.keep([*before, *now, given(hexed(900), RIVAL, at=time.time() - 1)])
    for n in [*range(60), *range(100, 150)]:
        vector = np.eye(8)[1 if n >= 140 else 0] + rng.normal(0, 0.05, 8)  # the last: a new topic
        await api.answers.scored(
            "acme", hexed(n), {"groundedness": float(rng.random())},
            embedding=(vector / np.linalg.norm(vector)).astype(np.float32),
            content=None if n >= 145 else {"question": f"Q{n}?", "answer": "A."},
        )  # fmt: skip
    key = await api.key("admin")
    query = "collection=handbook&current=3600&reference=3600"
    body = await api.get(f"/v1/drift?{query}", key, DriftOut)
    assert body["answers"] == [60, 50]
    assert body["drifted"] is True
    rows = {row["signal"]: row for row in body["rows"]}
    assert rows["latency"]["drifted"] is True
    assert rows["groundedness"]["drifted"] is False
    assert len(body["unlike"]) == 5
    assert set(body["unlike"]) <= {None, *(f"Q{n}?" for n in range(140, 145))}
    assert body["since"] < body["begins"] < body["until"]


async def test_windows_with_too_few_or_too_many_answers_are_named(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.answers.keep([live(n, 100, seconds=1) for n in range(40)])
    key, path = await api.key("admin"), "/v1/drift?collection=handbook"
    refused = await api.http.get(path, headers=key)
    assert (refused.status_code, refused.json()["code"]) == (409, "too_few_answers")
    assert "40 now and 0 before, and each window takes 30" in refused.json()["detail"]
    monkeypatch.setattr("rag.api.drift.MOST_ANSWERS", 39)
    assert await api.refused(path, key) == (409, "too_many_answers")
    assert await api.refused("/v1/drift?collection=x", key) == (404, "unknown_collection")
    for wrong in ("current=0", "reference=-1", "current=1e9", "current=nan", "current=inf"):
        assert (await api.refused(f"{path}&{wrong}", key))[0] == 422
    assert (await api.refused(path, await api.key("read")))[0] == 403


# Jobs


async def test_jobs_are_listed_to_those_who_may_see_each(api: Api) -> None:
    anna = replace(ACME, readers=Principal(subject="anna", scopes=frozenset({"write"})).readers)
    plans = replace(ACME, collection="plans")
    mine = await api.jobs.submit(anna, [submission("a"), submission("b")])
    others = await api.jobs.submit(plans, [submission("c")])
    theirs = await api.jobs.submit(RIVAL, [submission("d")])

    async def ids(key: dict[str, str], query: str = "") -> set[str]:
        body = await api.get(f"/v1/jobs{query}", key, JobPage)
        assert body["next_cursor"] is None
        return {job["id"] for job in body["jobs"]}

    admin = await api.key("write", "admin")
    assert await ids(admin) == {mine, others}
    assert await ids(admin, "?state=pending") == {mine, others}
    assert await ids(admin, "?state=running") == set()
    assert await ids(await api.key("write", subject="anna")) == {mine}
    assert await ids(await api.key("write", subject="bert")) == set()
    assert await ids(await api.key("write", subject="anna", collections=["plans"])) == set()
    assert await ids(await api.key("write", "admin", tenant="rival")) == {theirs}
    assert (await api.refused("/v1/jobs", await api.key("read", "admin")))[0] == 403

    first = await api.get("/v1/jobs?limit=1", admin, JobPage)
    second = await api.get(f"/v1/jobs?limit=1&cursor={first['next_cursor']}", admin, JobPage)
    assert second["next_cursor"] is None
    listed = [*first["jobs"], *second["jobs"]]
    assert {job["id"] for job in listed} == {mine, others}
    for job in listed:
        assert (await api.http.get(f"/v1/jobs/{job['id']}", headers=admin)).json() == job
    assert await api.refused("/v1/jobs?cursor=x", admin) == (422, "invalid_cursor")


# The whole service


async def test_the_queue_is_counted_by_stage(api: Api) -> None:
    key = await api.key("metrics")
    empty = await api.get("/v1/queue", key, QueueOut)
    assert empty == {
        "backlog": {stage: {"pending": 0, "running": 0} for stage in ("parse", "embed")},
        "oldest_seconds": None, "dead_letters": 0, "to_score": 0,
        "workers": {"kind": "local", "concurrency": None},
    }  # fmt: skip
    await api.jobs.submit(ACME, [submission(name) for name in "abc"])
    await api.jobs.submit(RIVAL, [submission("d")], bulk=True)
    catalog = api.storage.catalog
    first, *_ = await catalog.tasks.claim(2)
    await catalog.outcomes.fail(first, "Broken.")
    queue = await api.get("/v1/queue", key, QueueOut)
    assert queue["backlog"]["parse"] == {"pending": 2, "running": 1}
    assert queue["dead_letters"] == 1
    assert queue["oldest_seconds"] >= 0
    assert (await api.refused("/v1/queue", await api.key("admin", "read")))[0] == 403


async def test_tenants_are_listed_with_what_they_have(api: Api) -> None:
    key = await api.key("metrics")
    await api.answers.keep([given(hexed(1), RIVAL)])
    body = await api.get("/v1/tenants", key, TenantPage)
    acme, rival = body["tenants"]
    assert (acme["name"], acme["collections"], acme["keys"]) == ("acme", 2, 1)
    assert (rival["name"], rival["answers"], rival["keys"]) == ("rival", 1, 0)
    first = await api.get("/v1/tenants?limit=1", key, TenantPage)
    assert (first["tenants"], first["next_cursor"]) == ([acme], "acme")
    rest = await api.get("/v1/tenants?limit=1&cursor=acme", key, TenantPage)
    assert (rest["tenants"], rest["next_cursor"]) == ([rival], None)
    assert (await api.refused("/v1/tenants", await api.key("admin")))[0] == 403
