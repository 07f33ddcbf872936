"""Callers with ACLs: each sees a service that holds only the documents that it may read."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from rag.build.running import start
from rag.build.service import Service
from rag.protocols import Queue
from rag.settings.tree import load_settings
from rag.types import Permission, Principal
from retrieval.embedders.embedder import BertEmbedder
from tests.in_process import Json, client_as, ingested

pytestmark = pytest.mark.anyio

EVERYTHING: frozenset[Permission] = frozenset({"ask", "read", "write"})
ADMIN = Principal()
ANNA = Principal(subject="anna", groups=frozenset({"sales"}), scopes=EVERYTHING)
BERT = Principal(subject="bert", groups=frozenset({"law", "sales"}), scopes=EVERYTHING)
CLEO = Principal(subject="cleo", scopes=EVERYTHING)
BOT = Principal(key_id="bot", groups=frozenset({"law"}), scopes=EVERYTHING)
CALLERS = {"anna": ANNA, "bert": BERT, "cleo": CLEO, "bot": BOT}
ACLS: tuple[Json | None, ...] = (
    None,
    {"public": True},
    {"groups": ["sales"]},
    {"groups": ["law"], "users": ["cleo"]},
    {"users": ["anna"]},
    {"users": []},
)
TOPICS = ("harbour", "orchard", "railway", "library", "kitchen")
QUESTIONS = (
    "When does the harbour open?",
    "Who looks after the orchard?",
    "railway library",
    "E-1207",
)
LISTS = (
    "/v1/documents",
    "/v1/documents?limit=3",
    "/v1/documents?uri_prefix=doc",
    "/v1/collections",
)
VARYING = re.compile(
    r'"(request_id|trace_id|answer_id|id|created|created_at|updated_at|timings|score|confidence|embedder)":'
    r' ?("[^"]*"|\{[^}]*\}|[-0-9.e]+|null)'
)


@dataclass(frozen=True)
class Bench:
    """A service, a client for each caller, and the documents of its collections."""

    service: Service
    queue: Queue
    clients: dict[str, httpx.AsyncClient]

    @property
    def admin(self) -> httpx.AsyncClient:
        return self.clients["admin"]

    async def send(self, collection: str, *documents: Json) -> None:
        body = {"collection": collection, "documents": list(documents)}
        job = await ingested(self.admin, await self.admin.post("/v1/documents", json=body))
        assert job["state"] == "succeeded", job

    async def found(self, caller: str, query: str, collection: str, top_k: int = 50) -> list[str]:
        """Returns the ids of the documents of the hits, best first."""
        body = {"query": query, "collection": collection, "top_k": top_k}
        response = await self.clients[caller].post("/v1/search", json=body)
        assert response.status_code == 200, response.text
        return [hit["document_id"] for hit in response.json()["hits"]]


@pytest.fixture(scope="module")
async def bench(
    tmp_path_factory: pytest.TempPathFactory, embedder: BertEmbedder
) -> AsyncIterator[Bench]:
    tree = load_settings(
        data_dir=tmp_path_factory.mktemp("acl") / "data",
        retrieval={"context_chars": 4000},
        online={"rate": 1.0},
    )
    async with (
        start(tree, embedder=embedder) as (service, queue),
        queue.started(),
        contextlib.AsyncExitStack() as stack,
    ):
        clients = {
            name: await stack.enter_async_context(client_as(service, queue, caller))
            for name, caller in {"admin": ADMIN, **CALLERS}.items()
        }
        yield Bench(service, queue, clients)


def words_of(caller: Principal, acl: Json | None) -> bool:
    """True if a caller may read by an ACL; None is that of a collection that is public."""
    if acl is None or acl.get("public"):
        return True
    groups = caller.groups & set(acl.get("groups", []))
    return bool(groups) or caller.subject in acl.get("users", [])


def documents_of(seed: int) -> list[tuple[Json, Json | None]]:
    """Returns random documents, some with equal texts, and their ACLs."""
    rng = random.Random(seed)
    made: list[tuple[Json, Json | None]] = []
    for i in range(30):
        topic = rng.choice(TOPICS)
        mark = f"zq{seed}x{i}z" if i % 5 else f"zq{seed}shared{i // 10}z"
        text = (
            f"The {topic} opens at {rng.randint(5, 11)} and is looked after by {mark}. Its code is"
            f" E-{1200 + i}.\n\nThe {topic} has a second paragraph about {rng.choice(TOPICS)}."
        )
        acl = rng.choice(ACLS)
        made.append(({"id": f"doc-{i:02}", "text": text, "meta": {"topic": topic, "n": i}}, acl))
    return made


def masked(response: httpx.Response, collection: str) -> tuple[int, str, dict[str, str]]:
    """Returns status, body and headers without what differs from one request to the next."""
    text = VARYING.sub(r"\1", response.text.replace(f'"{collection}"', '"COLLECTION"'))
    ignored = ("x-request-id", "date", "content-length", "etag", "last-modified")
    headers = {k: v for k, v in response.headers.items() if k not in ignored}
    return response.status_code, text.replace(collection, "COLLECTION"), headers


@pytest.mark.parametrize("name", CALLERS)
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_caller_sees_a_collection_of_what_it_may_read_and_nothing_else(
    bench: Bench, seed: int, name: str
) -> None:
    caller, http = CALLERS[name], bench.clients[name]
    mixed, alone = f"mixed{seed}", f"only-{name}{seed}"
    documents = documents_of(seed)
    if not (await bench.admin.get("/v1/documents", params={"collection": mixed})).is_success:
        sent = [doc | ({} if acl is None else {"acl": acl}) for doc, acl in documents]
        await bench.send(mixed, *sent)
    readable = [doc for doc, acl in documents if words_of(caller, acl)]
    await bench.send(alone, *readable)
    hidden = [doc for doc, acl in documents if not words_of(caller, acl)]
    assert readable
    assert hidden
    marks = {re.findall(r"zq\w+z", doc["text"])[0] for doc in hidden}
    marks -= {re.findall(r"zq\w+z", doc["text"])[0] for doc in readable}
    seen = ""

    for path in LISTS:
        mine = await http.get(path, params={"collection": mixed})
        only = await bench.admin.get(path, params={"collection": alone})
        seen += mine.text
        if path == "/v1/collections":
            both = [
                next(c for c in r.json()["collections"] if c["name"] == which)
                for r, which in ((mine, mixed), (only, alone))
            ]
            assert both[0]["documents"] == both[1]["documents"] == len(readable)
            assert both[0]["chunks"] == both[1]["chunks"]
        else:
            assert masked(mine, mixed)[:2] == masked(only, alone)[:2]
    for question in QUESTIONS:
        hits = await bench.found(name, question, mixed)
        assert sorted(hits) == sorted(await bench.found("admin", question, alone))
    for doc in readable[:4]:
        for end in ("", "/chunks", "/content", "/content?as=text"):
            path = f"/v1/documents/{doc['id']}{end}"
            mine = await http.get(path, params={"collection": mixed})
            only = await bench.admin.get(path, params={"collection": alone})
            assert mine.status_code == 200
            assert masked(mine, mixed)[:2] == masked(only, alone)[:2]
            seen += mine.text
    seen += await _asked(http, mixed)
    for mark in marks:
        assert mark not in seen
    for doc in hidden:
        assert f'"{doc["id"]}"' not in seen
        await _is_as_none(http, mixed, doc["id"])


async def _asked(http: httpx.AsyncClient, collection: str) -> str:
    """Returns the bytes of answers to all kinds of questions."""
    seen = ""
    for question in QUESTIONS:
        body = {"query": question, "collection": collection, "top_k": 20}
        for sent in (body, body | {"stream": True}):
            seen += (await http.post("/v1/query", json=sent)).text
        chat = {"model": collection, "messages": [{"role": "user", "content": question}]}
        for path in ("/v1/chat/completions", "/api/chat"):
            seen += (await http.post(path, json=chat)).text
        dify = {
            "knowledge_id": collection,
            "query": question,
            "retrieval_setting": {"top_k": 20, "score_threshold": 0},
        }
        seen += (await http.post("/retrieval", json=dify)).text
        web = {"query": question, "count": 20}
        seen += (await http.post(f"/websearch?collection={collection}", json=web)).text
    for path in ("/v1/models", f"/v1/models/{collection}", "/api/tags"):
        seen += (await http.get(path)).text
    return seen


async def _is_as_none(http: httpx.AsyncClient, collection: str, hidden: str) -> None:
    """Checks that a document's routes answer as those of one that there is none of."""
    absent = "doc-99"
    for method, end, body in (
        ("GET", "", None),
        ("GET", "/chunks", None),
        ("GET", "/content", None),
        ("GET", "/content?as=text", None),
        ("GET", "/content?as=original", None),
        ("GET", "/acl", None),
        ("PUT", "/acl", {"public": True}),
        ("DELETE", "/acl", None),
        ("DELETE", "", None),
    ):
        answers = []
        for id_ in (hidden, absent):
            url = f"/v1/documents/{id_}{end}"
            response = await http.request(method, url, params={"collection": collection}, json=body)
            status, text, headers = masked(response, collection)
            answers.append((status, text.replace(id_, "ID"), headers))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404


async def test_a_changed_acl_holds_from_the_next_question_on_and_embeds_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "The vault opens with the code V-4411 on Mondays."
    await bench.send("vault", {"id": "v", "text": text}, {"id": "w", "text": "Nothing about it."})
    embedded: list[str] = []
    embed = bench.service.embedder.embed

    async def noted(texts: Any, *, kind: Any) -> Any:
        if kind == "passage":
            embedded.extend(texts)
        return await embed(texts, kind=kind)

    monkeypatch.setattr(bench.service.embedder, "embed", noted)
    in_vault = {"collection": "vault"}
    for acl, allowed in (
        ({"groups": ["sales"]}, {"anna", "bert"}),
        ({"users": ["cleo"], "groups": ["law"]}, {"bert", "cleo", "bot"}),
        ({"users": []}, set[str]()),
        ({"public": True}, set(CALLERS)),
        ({"users": ["anna"]}, {"anna"}),
        (None, set(CALLERS)),
    ):
        path = "/v1/documents/v/acl"
        if acl is None:
            put = await bench.admin.delete(path, params=in_vault)
        else:
            put = await bench.admin.put(path, params=in_vault, json=acl)
        assert put.status_code == 200, put.text
        assert put.json()["inherited"] is (acl is None)
        assert (await bench.admin.get(path, params=in_vault)).json() == put.json()
        for name in CALLERS:
            found = await bench.found(name, "vault V-4411", "vault")
            assert ("v" in found) is (name in allowed), (acl, name)
            listed = await bench.clients[name].get("/v1/documents", params=in_vault)
            assert ('"id":"v"' in listed.text) is (name in allowed)
    assert embedded == []


async def test_the_default_of_a_collection_holds_for_documents_without_an_acl(
    bench: Bench,
) -> None:
    text = "The greenhouse is warm."
    own = {"id": "own", "text": f"{text} It has its own list.", "acl": {"users": ["cleo"]}}
    await bench.send("garden", {"id": "plain", "text": text}, own)
    path = "/v1/collections/garden/acl"
    assert (await bench.admin.get(path)).json()["public"] is True
    for acl, allowed in (({"groups": ["law"]}, {"bert", "bot"}), ({"public": True}, set(CALLERS))):
        assert (await bench.admin.put(path, json=acl)).status_code == 200
        for name in CALLERS:
            expected = {"plain"} if name in allowed else set[str]()
            expected |= {"own"} if name == "cleo" else set()
            assert set(await bench.found(name, "greenhouse", "garden")) == expected
    for name in CALLERS:
        refused = await bench.clients[name].put(path, json={"public": True})
        assert refused.status_code == 403


async def test_documents_with_equal_bytes_are_found_by_their_own_readers_alone(
    bench: Bench,
) -> None:
    same = b"The lighthouse keeper is called Ingrid."
    files = {
        "a.txt": {"users": ["anna"]},
        "b.txt": {"users": ["bert"]},
        "c.txt": {"users": ["anna"]},
    }
    for name, acl in files.items():
        form = {"collection": "light", "uri": name, "acl": httpx.Response(200, json=acl).text}
        accepted = await bench.admin.post("/v1/documents", files={"files": (name, same)}, data=form)
        assert (await ingested(bench.admin, accepted))["state"] == "succeeded"

    async def uris(caller: str) -> set[str]:
        body = {"query": "lighthouse keeper", "collection": "light"}
        hits = (await bench.clients[caller].post("/v1/search", json=body)).json()["hits"]
        return {hit["uri"] for hit in hits}

    listed = (await bench.admin.get("/v1/documents", params={"collection": "light"})).json()
    ids = {doc["uri"]: doc["id"] for doc in listed["documents"]}
    assert {doc["uri"] for doc in listed["documents"] if doc["duplicate_of"]} == {"c.txt"}
    assert (await uris("anna"), await uris("bert"), await uris("cleo")) == (
        {"a.txt"}, {"b.txt"}, set()
    )  # fmt: skip

    async def put(uri: str, acl: Json) -> None:
        path = f"/v1/documents/{ids[uri]}/acl"
        response = await bench.admin.put(path, params={"collection": "light"}, json=acl)
        assert response.status_code == 200, response.text

    await put("a.txt", {"users": ["cleo"]})  # its duplicate keeps its readers, and gets the chunks
    assert (await uris("anna"), await uris("cleo")) == ({"c.txt"}, {"a.txt"})
    await put("c.txt", {"users": ["cleo"]})
    assert await uris("anna") == set()
    assert await uris("cleo") <= {"a.txt", "c.txt"}
    assert await uris("cleo")
    await put("b.txt", {"users": ["cleo"]})
    await bench.admin.delete(f"/v1/documents/{ids['a.txt']}", params={"collection": "light"})
    assert await uris("cleo") <= {"b.txt", "c.txt"}
    assert await uris("cleo")
    assert await uris("bert") == set()


async def test_a_document_that_is_sent_again_keeps_its_acl_unless_one_comes_with_it(
    bench: Bench,
) -> None:
    async def seen() -> set[str]:
        found = {name: await bench.found(name, "windmill", "mill") for name in CALLERS}
        return {name for name, hits in found.items() if hits}

    await bench.send("mill", {"id": "m", "text": "The windmill turns.", "acl": {"users": ["anna"]}})
    assert await seen() == {"anna"}
    await bench.send("mill", {"id": "m", "text": "The windmill stands."})
    assert await seen() == {"anna"}
    again = {"id": "m", "text": "The windmill stands."}
    await bench.send("mill", again | {"acl": {"users": ["bert"]}})  # the same bytes
    assert await seen() == {"bert"}
    await bench.send("mill", {"id": "m", "text": "The windmill is gone.", "acl": {"public": True}})
    assert await seen() == set(CALLERS)


async def test_a_job_and_an_answer_belong_to_who_sent_and_asked(bench: Bench) -> None:
    body = {"collection": "jobs", "documents": [{"id": "j", "text": "The ferry sails at noon."}]}
    accepted = await bench.clients["anna"].post("/v1/documents", json=body)
    await ingested(bench.clients["anna"], accepted)
    job = accepted.json()["job_id"]
    assert (await bench.admin.get(f"/v1/jobs/{job}")).status_code == 200
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/retry")):
        theirs = await bench.clients["bert"].request(method, f"/v1/jobs/{job}{path}")
        absent = await bench.clients["bert"].request(method, f"/v1/jobs/{'0' * 32}{path}")
        assert masked(theirs, job)[0] == masked(absent, "0" * 32)[0] == 404
        assert masked(theirs, job)[1:] == masked(absent, "0" * 32)[1:]
    question = {"query": "When does the ferry sail?", "collection": "jobs"}
    answer = (await bench.clients["anna"].post("/v1/query", json=question)).json()["answer_id"]
    sent = {"rating": "up"}
    theirs = await bench.clients["bert"].post("/v1/feedback", json=sent | {"answer_id": answer})
    absent = await bench.clients["bert"].post("/v1/feedback", json=sent | {"answer_id": "0" * 32})
    assert theirs.status_code == absent.status_code == 404
    assert masked(theirs, answer)[1:] == masked(absent, "0" * 32)[1:]
    mine = await bench.clients["anna"].post("/v1/feedback", json=sent | {"answer_id": answer})
    assert mine.status_code == 204


async def test_a_job_tells_nothing_of_documents_that_its_sender_may_not_read(bench: Bench) -> None:
    same = {"id": "s", "text": "The safe is behind the map.", "uri": "doc:safe-of-bert"}
    file = {"files": ("s.txt", b"The safe is behind the map.")}
    await bench.send("safe", same | {"acl": {"users": ["bert"]}})
    form = {"collection": "safe", "uri": "file:s.txt", "acl": '{"users": ["bert"]}'}
    sent = await bench.admin.post("/v1/documents", data=form, files=file)
    assert (await ingested(bench.admin, sent))["state"] == "succeeded"

    for caller, knows in (("anna", False), ("bert", True)):
        http = bench.clients[caller]
        again = {"collection": "safe", "documents": [same]}
        job = await ingested(http, await http.post("/v1/documents", json=again))
        assert job["outcomes"] == {"unchanged" if knows else "stored": 1}
        copy = form | {"uri": f"file:{caller}.txt"}
        job = await ingested(http, await http.post("/v1/documents", data=copy, files=file))
        assert job["outcomes"] == {"duplicate" if knows else "stored": 1}

        lost = {"collection": "safe", "documents": [{"id": "s", "uri": "http://127.0.0.1:9/"}]}
        job = await ingested(http, await http.post("/v1/documents", json=lost))
        path = f"/v1/jobs/{job['id']}"
        for method, end in (("GET", ""), ("DELETE", ""), ("POST", "/retry")):
            shown = await http.request(method, path + end)
            assert shown.is_success
            assert knows or "safe-of-bert" not in shown.text
        [failure] = job["failures"]
        assert failure["uri"] == ("doc:safe-of-bert" if knows else "")


@pytest.mark.parametrize(
    ("acl", "named"),
    [
        ({}, "users"),
        ({"user": ["anna"]}, "user"),
        ({"users": [""]}, "users"),
        ({"users": ["  "]}, "empty"),
        ({"groups": ["a\nb"]}, "control character"),
        ({"groups": ["x" * 257]}, "groups"),
        ({"users": ["u"] * 1001}, "1,001 entries"),
        ({"users": "anna"}, "users"),
        ({"users": [7]}, "users"),
        ({"public": "yes"}, "public"),
        ([], "acl"),
        ("public", "acl"),
    ],
)
async def test_an_acl_that_says_nothing_sensible_is_refused_by_name(
    bench: Bench, acl: Any, named: str
) -> None:
    await bench.send("refused", {"id": "r", "text": "A text."})
    before = (await bench.admin.get("/v1/documents/r/acl?collection=refused")).json()
    document = {"id": "r", "text": "Another text.", "acl": acl}
    form = {"collection": "refused", "acl": httpx.Response(200, json=acl).text}
    files = {"files": ("r.txt", b"A text.")}
    for response in (
        await bench.admin.put("/v1/documents/r/acl?collection=refused", json=acl),
        await bench.admin.put("/v1/collections/refused/acl", json=acl),
        await bench.admin.post(
            "/v1/documents", json={"collection": "refused", "documents": [document]}
        ),
        await bench.admin.post("/v1/documents", files=files, data=form),
    ):
        assert response.status_code == 422
        assert named in response.text or (named == "acl" and "body" in response.text)
        assert len(response.content) < 5000
    assert (await bench.admin.get("/v1/documents/r/acl?collection=refused")).json() == before
