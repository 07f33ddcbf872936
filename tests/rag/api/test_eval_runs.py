"""The endpoints of evaluation runs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from eval.compare.comparison import compare, to_json
from eval.offline.summary import summarize
from eval.runs.run_folder import Outcome, RunFolder, read_run
from rag.api.app import app_without_lifespan
from rag.api.deps import Running
from rag.api.routes.eval_runs import RunDetails, RunPage
from rag.api.run_comparison import MOST_CHANGES, ComparisonsOut
from rag.settings.tree import load_settings
from rag.types import Principal
from tests.eval_runs import INFO, outcome, seeded

pytestmark = pytest.mark.anyio
CONFIG = {
    "run": {"collection": "handbook", "top_k": 10},
    "retrieval": {"depth": 100},
    "data_dir": "/var/secret",
    "generator": {"base_url": "http://a.internal"},
    "gateway": {"limits": {"tenants": {"globex": "pro"}}},
}
OTHER = {
    **CONFIG,
    "retrieval": {"depth": 200},
    "data_dir": "/var/other",
    "generator": {"base_url": "http://b.internal"},
    "gateway": {"limits": {"tenants": {"initech": "pro"}}},
}


def write(folder: Path, outcomes: list[Outcome], **info: Any) -> None:
    about = replace(INFO, questions=len(outcomes), **{"config": CONFIG} | info)
    with RunFolder(folder, about) as run:
        for each in outcomes:
            run.append(each)
        run.finish(summarize(outcomes), "", finished="2026-01-01T12:05:00+00:00")


@pytest.fixture
async def http(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with client(folder, "default") as made:
        yield made


def client(data: Path, tenant: str) -> httpx.AsyncClient:
    """Returns a client of an API of which nothing is open: runs are files."""
    caller = Principal(tenant=tenant)
    app = app_without_lifespan(load_settings(data_dir=data), Running(), caller=caller)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost")


async def got(http: httpx.AsyncClient, path: str, model: Any) -> Any:
    """Returns a body that has the form of the model."""
    response = await http.get(path)
    assert response.status_code == 200, response.text
    assert json.loads(model.model_validate(response.json()).model_dump_json()) == response.json()
    return response.json()


async def refused(http: httpx.AsyncClient, path: str) -> tuple[int, str]:
    response = await http.get(path)
    return response.status_code, response.json()["code"]


async def test_runs_are_listed_newest_first_and_shown_one_by_one(
    http: httpx.AsyncClient, folder: Path
) -> None:
    nothing: dict[str, Any] = {"runs": [], "unreadable": [], "next_cursor": None}
    assert await got(http, "/v1/eval-runs", RunPage) == nothing
    runs = folder / "runs"
    for day in (1, 3, 2):
        started = f"2026-01-0{day}T12:00:00+00:00"
        write(runs / f"r{day}", [outcome("a"), outcome("b", error="x: y")], started=started)
    write(runs / "theirs", [outcome("a")], tenant="acme")
    with RunFolder(runs / "begun", replace(INFO, started="2025-01-01T12:00:00+00:00")):
        pass
    first = await got(http, "/v1/eval-runs?limit=2", RunPage)
    assert [run["name"] for run in first["runs"]] == ["r3", "r2"]
    assert first["runs"][0] == {
        "name": "r3", "set": "otters", "questions": 2, "created": "2026-01-03T12:00:00+00:00",
        "finished": "2026-01-01T12:05:00+00:00", "version": "0.1.0", "collection": "handbook",
        "failed": 1, "measures": json.loads((runs / "r3/summary.json").read_text())["measures"],
    }  # fmt: skip
    assert first["runs"][0]["measures"]["f1"].keys() == {"n", "mean", "low", "high"}
    rest = await got(http, f"/v1/eval-runs?limit=2&cursor={first['next_cursor']}", RunPage)
    assert [run["name"] for run in rest["runs"]] == ["r1", "begun"]
    assert rest["next_cursor"] is None
    begun = rest["runs"][1]
    assert (begun["finished"], begun["failed"], begun["measures"]) == (None, None, {})
    details = await got(http, "/v1/eval-runs/r3", RunDetails)
    assert details["summary"] == json.loads((runs / "r3/summary.json").read_text())
    assert await refused(http, "/v1/eval-runs/theirs") == (404, "unknown_run")
    assert await refused(http, "/v1/eval-runs?cursor=x") == (422, "invalid_cursor")
    for path in ("..%2Fruns%2Fr1", "%2e%2e", "a%00b", "%2Fetc"):
        assert (await http.get(f"/v1/eval-runs/{path}")).status_code in (404, 422)
    async with client(folder, "acme") as theirs:
        listed = await got(theirs, "/v1/eval-runs", RunPage)
        assert [run["name"] for run in listed["runs"]] == ["theirs"]
        assert await refused(theirs, "/v1/eval-runs/compare?a=theirs&b=r1") == (404, "unknown_run")


async def test_two_runs_are_compared_as_the_command_does(
    http: httpx.AsyncClient, folder: Path
) -> None:
    runs = folder / "runs"
    write(runs / "a", seeded(1))
    write(runs / "b", seeded(2, f1=0.06), config=OTHER)
    path = "/v1/eval-runs/compare?a=a&b=b"
    [found] = (await got(http, path, ComparisonsOut))["comparisons"]
    [printed] = [to_json(each) for each in compare([read_run(runs / "a"), read_run(runs / "b")])]
    printed = json.loads(json.dumps(printed))
    assert found.pop("settings") == {"retrieval.depth": ["100", "200"]}
    assert printed.pop("settings").keys() > {"data_dir", "generator.base_url"}
    assert found.pop("changed") == len(printed["changes"]) > 0
    assert found.pop("changes") == printed.pop("changes")[:MOST_CHANGES]
    assert found == printed
    rows = {row["measure"]: row for row in found["rows"]}
    assert rows["f1"]["verdict"] == "better"
    text = (await http.get(path)).text
    for word in ("internal", "secret", "globex", "initech", str(folder)):
        assert word not in text


async def test_what_cannot_be_compared_is_told_without_a_path(
    http: httpx.AsyncClient, folder: Path
) -> None:
    runs = folder / "runs"
    write(runs / "a", [outcome("a")])
    write(runs / "other", [outcome("b")], set_name="seals", set_fingerprint="5ea")
    with RunFolder(runs / "begun", INFO):
        pass
    for b, code in (("other", "not_comparable"), ("a", "same_run"), ("begun", "run_not_finished")):
        response = await http.get(f"/v1/eval-runs/compare?a=a&b={b}")
        assert (response.status_code, response.json()["code"]) == (409, code)
        assert str(folder) not in response.text
    assert await refused(http, "/v1/eval-runs/compare?a=a&b=none") == (404, "unknown_run")
    assert (await http.get("/v1/eval-runs/compare?a=a")).status_code == 422
