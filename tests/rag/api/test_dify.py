"""Dify's External Knowledge API, checked against the published contract.

https://docs.dify.ai/en/use-dify/knowledge/external-knowledge-api, as of June 2026
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import jsonschema_rs
import pytest

from rag.api.clients.dify import DifyResponse
from retrieval.embedders.embedder import BertEmbedder
from tests.in_process import Json, ingested, serving_here

pytestmark = pytest.mark.anyio
QUESTION = "When does the depot close on Fridays?"
DEPOT = {
    "id": "depot",
    "title": "Depot",
    "uri": "https://a.example/depot",
    "text": "The depot opens at seven. On Fridays it closes at four.",
    "meta": {"year": 2024, "topic": "hours", "day": "2024-06-01"},
}
OPERATORS = (
    *("contains", "not contains", "start with", "end with", "is", "is not", "in", "not in"),
    *("empty", "not empty", "=", "≠", ">", "<", "≥", "≤", "before", "after"),
)
SERVED = {"is", "=", "in", ">", "<", "≥", "≤", "before", "after"}
VALUES: dict[str, tuple[str, Any]] = {
    **dict.fromkeys(("=", "≠", ">", "<", "≥", "≤"), ("year", 2024)),
    **dict.fromkeys(("before", "after"), ("day", "2024-05-31")),
    **dict.fromkeys(("in", "not in"), ("topic", ["hours"])),
}
"""A field of the depot's meta, and a value to compare it with."""
_TEXT = {"type": "string"}
CONDITION = {
    "type": "object",
    "required": ["name", "comparison_operator"],
    "properties": {
        "name": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},  # Dify itself sends a list
        "comparison_operator": {"enum": list(OPERATORS)},
        "value": {"type": ["string", "number", "array"], "items": _TEXT},
    },
}
REQUEST = jsonschema_rs.validator_for(
    {
        "type": "object",
        "required": ["knowledge_id", "query", "retrieval_setting"],
        "properties": {
            "knowledge_id": _TEXT,
            "query": _TEXT,
            "retrieval_setting": {
                "type": "object",
                "required": ["top_k", "score_threshold"],
                "properties": {
                    "top_k": {"type": "integer"},
                    "score_threshold": {"type": "number", "minimum": 0, "maximum": 1},
                },
            },
            "metadata_condition": {
                "type": "object",
                "required": ["conditions"],
                "properties": {
                    "logical_operator": {"enum": ["and", "or"]},
                    "conditions": {"type": "array", "items": CONDITION},
                },
            },
        },
    }
)
RESPONSE = jsonschema_rs.validator_for(
    {
        "type": "object",
        "required": ["records"],
        "properties": {
            "records": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["content", "score", "title", "metadata"],
                    "properties": {
                        "content": _TEXT,
                        "score": {"type": "number", "minimum": 0, "maximum": 1},
                        "title": _TEXT,
                        "metadata": {"type": "object"},  # null breaks Dify's retrieval
                    },
                },
            }
        },
    }
)
ERROR = jsonschema_rs.validator_for(
    {
        "type": "object",
        "required": ["error_code", "error_msg"],
        "properties": {"error_code": {"type": "integer"}, "error_msg": _TEXT},
    }
)


@pytest.fixture(scope="module")
async def http(
    tmp_path_factory: pytest.TempPathFactory, embedder: BertEmbedder
) -> AsyncIterator[httpx.AsyncClient]:
    async with serving_here(tmp_path_factory.mktemp("dify") / "data", embedder) as (client, _):
        garden = {"id": "garden", "text": "Tomatoes are sown in March."}
        sent = {"collection": "docs", "documents": [DEPOT, garden]}
        await ingested(client, await client.post("/v1/documents", json=sent))
        yield client


async def post(http: httpx.AsyncClient, path: str, status: int = 200, **body: Any) -> Any:
    response = await http.post(path, json=body, headers={"Authorization": "Bearer any"})
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    (RESPONSE if status == 200 else ERROR).validate(response.json())
    return response.json()


def knowledge(**changed: Any) -> Json:
    setting = {"top_k": 2, "score_threshold": 0.0}
    return {"knowledge_id": "docs", "query": QUESTION, "retrieval_setting": setting} | changed


async def test_dify(http: httpx.AsyncClient) -> None:
    found = await post(http, "/retrieval", **knowledge())
    assert DifyResponse.model_validate(found).model_dump() == found
    first, second = found["records"]
    assert (first["title"], "closes at four" in first["content"]) == ("Depot", True)
    assert first["metadata"]["year"] == 2024
    assert first["metadata"]["path"] == DEPOT["uri"]
    assert isinstance(second["metadata"], dict)
    assert 1 >= first["score"] > second["score"] >= 0
    least = {"top_k": 2, "score_threshold": (first["score"] + second["score"]) / 2}
    assert (
        len((await post(http, "/retrieval", **knowledge(retrieval_setting=least)))["records"]) == 1
    )


def condition(operator: str, value: Any, name: Any = "year", logical: str = "and") -> Json:
    one = {"name": name, "comparison_operator": operator, "value": value}
    return {"logical_operator": logical, "conditions": [one]}


@pytest.mark.parametrize(
    ("given", "hits"),
    [(condition("≥", 2024), 1), (condition("<", 2024, ["year"]), 0), (condition("in", [2024]), 1),
     ({"conditions": None}, 2), (None, 2)],
)  # fmt: skip
async def test_dify_s_conditions_are_filters(
    http: httpx.AsyncClient, given: Json | None, hits: int
) -> None:
    found = await post(http, "/retrieval", **knowledge(metadata_condition=given))
    assert len(found["records"]) == hits


async def test_dify_s_errors(http: httpx.AsyncClient) -> None:
    unknown = await post(http, "/retrieval", 404, **knowledge(knowledge_id="nope"))
    assert unknown["error_code"] == 2001
    assert "nope" in unknown["error_msg"]
    for changed in (
        {"query": " "},
        {"metadata_condition": condition("contains", "x")},
        {"metadata_condition": condition("is", 1, logical="or")},
        {"metadata_condition": condition("is", 1, name="a b")},
        {"metadata_condition": condition("is", None)},
        {"retrieval_setting": {"top_k": 0}},
        {"retrieval_setting": {"top_k": 101}},
    ):
        error = await post(http, "/retrieval", 400, **knowledge(**changed))
        assert error.keys() == {"error_code", "error_msg"}


@pytest.mark.parametrize("operator", OPERATORS)
async def test_each_published_operator_filters_or_is_refused(
    http: httpx.AsyncClient, operator: str
) -> None:
    field, value = VALUES.get(operator, ("topic", "hours"))
    sent = knowledge(metadata_condition=condition(operator, value, field))
    REQUEST.validate(sent)
    served = await post(http, "/retrieval", 200 if operator in SERVED else 400, **sent)
    assert ("records" in served) == (operator in SERVED)


async def test_nothing_found_is_an_empty_list(http: httpx.AsyncClient) -> None:
    sent = knowledge(metadata_condition=condition("is", "none of them", "topic"))
    assert await post(http, "/retrieval", **sent) == {"records": []}
