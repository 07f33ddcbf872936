"""Questions in other words are answered from the cache, from a threshold that is fitted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from eval.calibration.similarity import LEAST_HITS, MOST_FALSE, fit
from rag.answer_cache.answer_keys import Key
from rag.answer_cache.entries import UnreadableEntryError
from rag.answer_cache.redis_store import RedisStore
from rag.answer_cache.semantic import MOST_GROUPS, SimilarQuestions
from rag.answer_cache.stores import MemoryStore
from rag.build.service import Service
from rag.cli.main import main
from retrieval.embedders.embedder import BertEmbedder
from tests.in_process import Json, ingested, serving_here
from tests.redis_server import redis_server
from tests.waiting import until

pytestmark = pytest.mark.anyio

QUESTION = "When does the harbour open?"
HARBOUR = "The harbour opens at 6 in the morning. It is closed on Sundays."


@pytest.fixture
async def served(
    tmp_path: Path, embedder: BertEmbedder
) -> AsyncIterator[tuple[httpx.AsyncClient, Service]]:
    cache = {"kind": "memory", "similarity": 0.8}
    async with serving_here(tmp_path / "data", embedder, answer_cache=cache) as (http, service):
        documents = [{"id": "harbour", "title": "Harbour", "text": HARBOUR}]
        await ingested(http, await http.post("/v1/documents", json={"documents": documents}))
        yield http, service


async def ask(http: httpx.AsyncClient, query: str) -> Json:
    response = await http.post("/v1/query", json={"query": query})
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


async def test_other_words_get_the_answer_and_another_meaning_does_not(
    served: tuple[httpx.AsyncClient, Service],
) -> None:
    http, _ = served
    first = await ask(http, QUESTION)
    other = "Can you tell me when the harbour opens?"

    async def is_known() -> bool:  # it is kept a moment after it was given
        return (await ask(http, f"{other} Thanks!"))["cached"] is not None

    await until(is_known)
    again = await ask(http, other)
    assert again["cached"]["match"] == "semantic"
    assert again["cached"]["question"] == QUESTION
    assert again["cached"]["answer_id"] == first["answer_id"]
    assert (again["question"], again["answer"]) == (other, first["answer"])
    for near in (
        "When does the harbour not open?",
        "When does the harbour close?",
        "When did the harbour open?",
        "When does the harbour open on Sundays?",
        "Where does the harbour open?",
    ):
        assert (await ask(http, near))["cached"] is None, near
    documents = [{"id": "harbour", "text": HARBOUR.replace("6", "7")}]
    await ingested(http, await http.post("/v1/documents", json={"documents": documents}))
    assert (await ask(http, other))["cached"] is None


async def test_processes_learn_of_each_other_s_questions(
    tmp_path: Path, embedder: BertEmbedder
) -> None:
    now = 1000.0
    with redis_server(tmp_path / "redis", durable=False) as server:
        store = RedisStore(server.url, seconds=60)
        one, other = (
            SimilarQuestions(
                embedder=embedder, store=store, similarity=0.8, seconds=60, clock=lambda: now
            )
            for _ in range(2)
        )
        group = "a" * 64
        assert await other.find(Key(group, "0"), QUESTION) == []
        await one.add(Key(group, "1"), QUESTION)
        await one.add(Key(group, "2"), "Please, when does the harbour open?")
        assert await other.find(Key(group, "0"), QUESTION) == ["1", "2"]
        assert await other.find(Key("b" * 64, "0"), QUESTION) == []
        now += 60  # the list before is looked at, too
        await one.add(Key(group, "3"), QUESTION)
        assert set(await other.find(Key(group, "0"), QUESTION)) == {"1", "2", "3"}
        now += 60
        assert await other.find(Key(group, "0"), QUESTION) == ["3"]
        await store.close()


async def test_what_many_read_at_once_is_read_once(tmp_path: Path, embedder: BertEmbedder) -> None:
    with redis_server(tmp_path / "redis", durable=False) as server:
        store = RedisStore(server.url, seconds=60)
        similar = SimilarQuestions(embedder=embedder, store=store, similarity=0.8, seconds=60)
        key = Key("a" * 64, "0")
        await similar.add(Key(key.group, "1"), QUESTION)
        found = await asyncio.gather(*(similar.find(key, QUESTION) for _ in range(5)))
        assert found == [["1"]] * 5
        await similar.add(Key(key.group, "2"), QUESTION)
        assert sorted(await similar.find(key, QUESTION)) == ["1", "2"]
        await store.close()


async def test_a_process_knows_a_bounded_number_of_groups(embedder: BertEmbedder) -> None:
    store = MemoryStore(max_bytes=1 << 20, seconds=60)
    similar = SimilarQuestions(embedder=embedder, store=store, similarity=0.8, seconds=60)
    for i in range(MOST_GROUPS):
        await similar.find(Key(f"group {i}", "0"), QUESTION)
    assert len(similar._groups) <= MOST_GROUPS


@pytest.mark.parametrize("found", [b"", b"{}", b'{"question": "", "answer": "", "vector": "??"}'])
async def test_bytes_that_are_no_question_are_told(embedder: BertEmbedder, found: bytes) -> None:
    store = MemoryStore(max_bytes=1 << 20, seconds=60)
    similar = SimilarQuestions(embedder=embedder, store=store, similarity=0.8, seconds=60)
    key = Key("a", "b")
    for name in similar._names(key):
        await store.append(name, found, most=3)
    with pytest.raises(UnreadableEntryError):
        await similar.find(key, QUESTION)
    assert (await _found_after(similar, key)) == []


async def _found_after(similar: SimilarQuestions, key: Key) -> list[str]:
    """Returns what is found once everything unreadable was told."""
    while True:
        try:
            return await similar.find(key, QUESTION)
        except UnreadableEntryError:
            continue


async def test_a_threshold_is_fitted_only_to_enough_questions(embedder: BertEmbedder) -> None:
    questions = [
        f"{asked} did {name} build the {place} in {year}?"
        for asked in ("When", "Where", "Why")
        for name in ("Anna Berg", "Carl Dorn", "Ella Falk", "Gerd Hahn")
        for place in ("harbour", "largest mill", "northern bridge", "library")
        for year in (1850, 1901, 1966)
    ]
    few = await fit(questions[:5], embedder)
    assert few.threshold is None
    fitted = await fit(questions, embedder)
    assert fitted.threshold is not None
    (point,) = (point for point in fitted.curve if point.threshold == fitted.threshold)
    assert point.hits >= LEAST_HITS
    assert point.false_hits <= point.highest <= MOST_FALSE
    assert point.by_vector_alone[1] > MOST_FALSE
    assert fitted.own == ()


async def test_it_is_fitted_to_the_questions_that_were_asked(
    tmp_path: Path,
    embedder: BertEmbedder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAG_DATA_DIR", str(tmp_path / "data"))
    async with serving_here(tmp_path / "data", embedder) as (http, service):
        documents = [{"id": "harbour", "title": "Harbour", "text": HARBOUR}]
        await ingested(http, await http.post("/v1/documents", json={"documents": documents}))
        await ask(http, QUESTION)
        assert service.observer.recorder
        await service.observer.recorder.flush()
    assert await asyncio.to_thread(main, ["cache", "calibrate"]) == 1
    printed = capsys.readouterr().out
    assert "No threshold holds" in printed
    assert "negation: 0.0% of" in printed
    assert await asyncio.to_thread(main, ["cache", "calibrate", "--collection", "other"]) == 2


def test_the_command_prints_the_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"question": f"When did {name} build the largest mill in {year}?", "id": f"{name}{year}"}
        for name in ("Anna", "Carl", "Ella", "Gerd")
        for year in range(1800, 1850)
    ]
    (tmp_path / "set.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    arguments = ["cache", "calibrate", "--set", "set.jsonl"]
    assert main([*arguments, "--plot", "curve.png"]) == 0
    printed = capsys.readouterr().out
    assert "[answer_cache]" in printed
    assert "similarity = 0.8" in printed
    assert (tmp_path / "curve.png").stat().st_size > 1000
    assert main([*arguments, "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["similarity"] == 0.8
    assert {each["kind"] for each in body["kinds"]["near_misses"]} >= {"year", "name", "negation"}
