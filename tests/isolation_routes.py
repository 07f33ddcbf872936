"""A random call for each route of the API, by its method and path."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rag.api.docs_pages import ASSETS
from tests.isolation_calls import ACLS, ERRORS, MOST_DOCUMENTS, TARGET, Calls
from tests.isolation_world import Caller, Document, Json
from tests.servers import encoded

Call = Callable[[Calls], None]
_DOCUMENT = "/v1/documents/{document_id:path}"


def _is_refused(status: int) -> None:
    assert status in ERRORS, status


# Documents


def _at(caller: Caller, calls: Calls) -> tuple[str, Document | None, str | None]:
    """Returns a collection, a document in it that the caller may read, or a hidden one's id."""
    collection = calls.collection(caller)
    mine = calls.world.readable(caller, collection)
    hidden = calls.world.hidden(caller, collection)
    if hidden and (not mine or calls.rng.random() < 0.7):
        return collection, None, calls.rng.choice(hidden).id
    return collection, calls.rng.choice(mine) if mine else None, None


def _document_call(
    method: str, end: str = "", *, done: Callable[[Calls, Document, Any], None] | None = None
) -> Call:
    """Returns the call of a route of one document; `done` follows a change that was made."""

    def call(calls: Calls) -> None:
        caller, rng = calls.caller(), calls.rng
        body = rng.choice(ACLS[1:]) if method == "PUT" else None
        ends = [f"{end}?", f"{end}?as=text&", f"{end}?as=original&"]
        tail = rng.choice(ends) if end == "/content" else f"{end}?"
        headers = rng.choice([{}, {"If-None-Match": "*"}, {"Range": "bytes=0-9"}])
        headers = headers if method == "GET" else {}
        if rng.random() < 0.15:  # a collection that the caller may not know of
            path = f"/v1/documents/d01{tail}collection={TARGET}"
            _is_refused(calls.same(caller, method, path, hidden=calls.beyond(caller), body=body))
            return
        collection, mine, hidden = _at(caller, calls)
        path = f"/v1/documents/{TARGET}{tail}collection={collection}"
        if hidden:
            status = calls.same(caller, method, path, hidden=hidden, body=body, headers=headers)
            assert status == 404
        elif mine:
            path = path.replace(TARGET, encoded(mine.id))
            response = calls.send(caller, method, path, headers, json=body)
            if response.is_success and done:
                done(calls, mine, body)
            if method == "GET" and not end:
                _names_only_readable(calls, caller, mine, response.json())

    return call


def _names_only_readable(calls: Calls, caller: Caller, mine: Document, body: Json) -> None:
    assert body["id"] == mine.id
    for name in ("parent", "duplicate_of"):
        if body[name]:
            other = calls.world.documents[mine.tenant, mine.collection, body[name]]
            assert calls.world.may_read(caller, other), (mine, other)


def _deleted(calls: Calls, document: Document, _: Any) -> None:
    del calls.world.documents[document.place]


def _list_documents(calls: Calls) -> None:
    caller = calls.caller()
    if calls.rng.random() < 0.3:
        hidden = calls.beyond(caller)
        path = f"/v1/documents?collection={TARGET}"
        _is_refused(calls.same(caller, "GET", path, hidden=hidden))
        return
    collection = calls.collection(caller)
    readable = {each.id for each in calls.world.readable(caller, collection)}
    narrow = calls.rng.choice(["", "&uri_prefix=doc:", "&state=failed", "&state=succeeded"])
    path, cursor = f"/v1/documents?collection={collection}{narrow}", None
    limit, listed = calls.rng.choice([7, 1000]), []
    while True:
        after = f"&cursor={encoded(cursor)}" if cursor else ""
        page = calls.send(caller, "GET", f"{path}&limit={limit}{after}")
        listed += [each["id"] for each in page.json()["documents"]]
        if (cursor := page.json()["next_cursor"]) is None:
            break
    assert listed == sorted(set(listed))
    assert set(listed) <= readable
    assert narrow or set(listed) == readable


def _submit(calls: Calls) -> None:
    """Sends a document: a new one, or under an id that is the caller's, hidden, or elsewhere."""
    caller, rng, world = calls.caller(), calls.rng, calls.world
    if caller.collections is not None and rng.random() < 0.2:
        body = {"collection": TARGET, "documents": [{"id": "d01", "text": "It is mine."}]}
        hidden = calls.beyond(caller)
        _is_refused(calls.same(caller, "POST", "/v1/documents", hidden=hidden, body=body))
        return
    collection = calls.collection(caller)
    taken = sorted(d.id for d in world.documents.values() if d.collection == collection)
    known = sum(d.tenant == caller.tenant for d in world.documents.values())
    is_new = known < MOST_DOCUMENTS and rng.random() < 0.5
    id_ = f"d{rng.randint(0, 99):02}" if is_new or not taken else rng.choice(taken)
    secret = calls.secret()
    document = Document(
        tenant=caller.tenant, collection=collection, id=id_, text=calls.text(secret),
        title=f"Notes of {secret}", uri=f"doc:{secret}", acl=rng.choice(ACLS),
    )  # fmt: skip
    kind = rng.random()
    if rng.random() < 0.2:  # the bytes of another document
        other = rng.choice([each for each in world.documents.values() if each.text])
        document = replace(document, text=other.text, title=other.title)
    if kind > 0.85:  # a uri that cannot be fetched
        document = replace(document, text="", title="", uri="")
    if 0.4 < kind < 0.6:
        _send_file(calls, caller, document)
    else:
        calls.upload(caller, document, cancel=0.6 < kind < 0.7)


def _send_file(calls: Calls, caller: Caller, document: Document) -> None:
    uri = f"file-{calls.rng.randint(0, 9)}.txt"
    form = {"collection": document.collection}
    form |= {} if calls.rng.random() < 0.5 else {"uri": uri}
    form |= {} if document.acl is None else {"acl": json.dumps(document.acl)}
    files = {"files": (uri, document.text.encode())}
    accepted = calls.send(caller, "POST", "/v1/documents", data=form, files=files)
    assert accepted.status_code == 202, accepted.text
    document = replace(document, id=accepted.json()["documents"][0]["id"], title="", uri="")
    before = calls.world.documents.get(document.place)
    if accepted.json()["notices"]:
        assert before
        assert calls.world.may_read(caller, before)
    calls.settle(caller, document, accepted.json()["job_id"])


# Collections and models


def _list_collections(calls: Calls) -> None:
    caller = calls.caller()
    found = calls.send(caller, "GET", "/v1/collections").json()["collections"]
    seen = {each["name"]: each["documents"] for each in found}
    assert seen == _counts(calls, caller)


def _list_models(calls: Calls) -> None:
    caller = calls.caller()
    found = calls.send(caller, "GET", "/v1/models").json()["data"]
    assert {each["id"]: each["plumbline"]["documents"] for each in found} == _counts(calls, caller)


def _get_model(calls: Calls) -> None:
    caller = calls.caller()
    if calls.rng.random() < 0.7:
        hidden = calls.beyond(caller)
        _is_refused(calls.same(caller, "GET", f"/v1/models/{TARGET}", hidden=hidden))
        return
    name = calls.collection(caller)
    model = calls.send(caller, "GET", f"/v1/models/{name}").json()
    assert model["plumbline"]["documents"] == _counts(calls, caller)[name]


def _tags(calls: Calls) -> None:
    caller = calls.caller()
    models = calls.send(caller, "GET", "/api/tags").json()["models"]
    assert {each["name"] for each in models} == calls.world.collections(caller)


def _counts(calls: Calls, caller: Caller) -> dict[str, int]:
    names = calls.world.collections(caller)
    return {name: len(calls.world.readable(caller, name)) for name in names}


def _delete_collection(calls: Calls) -> None:
    caller, path = calls.caller(), f"/v1/collections/{TARGET}"
    if not caller.admin or calls.rng.random() < 0.8:
        _is_refused(calls.same(caller, "DELETE", path, hidden=calls.beyond(caller)))
        return
    secret, name = calls.secret(), "brief"
    document = Document(
        tenant=caller.tenant, collection=name, id="d01", text=calls.text(secret), title=secret,
        uri=f"doc:{secret}", acl=calls.rng.choice(ACLS),
    )  # fmt: skip
    calls.upload(caller, document)
    for each in calls.world.callers:
        calls.send(each, "POST", "/v1/search", json={"query": calls.question(), "collection": name})
    assert calls.send(caller, "DELETE", f"/v1/collections/{name}").status_code == 204
    calls.world.remove_collection(caller.tenant, name)
    calls.jobs[caller.name].pop()


def _default_acl(calls: Calls) -> None:
    caller = calls.caller()
    if not caller.admin or calls.rng.random() < 0.7:
        path = f"/v1/collections/{TARGET}/acl"
        _is_refused(calls.same(caller, "GET", path, hidden=calls.beyond(caller)))
    else:
        name = calls.collection(caller)
        seen = calls.send(caller, "GET", f"/v1/collections/{name}/acl").json()
        assert seen["users"] == sorted(calls.world.defaults[caller.tenant, name].get("users", []))


def _put_default_acl(calls: Calls) -> None:
    caller, acl = calls.caller(), calls.rng.choice([*ACLS[1:5], {"public": True}])
    if not caller.admin:
        path, hidden = f"/v1/collections/{TARGET}/acl", calls.beyond(caller)
        _is_refused(calls.same(caller, "PUT", path, hidden=hidden, body=acl))
        return
    name = calls.collection(caller)
    assert calls.send(caller, "PUT", f"/v1/collections/{name}/acl", json=acl).status_code == 200
    calls.world.defaults[caller.tenant, name] = acl or {}


# Questions


def _asks(path: str, body: Callable[[str, str], Json], *, streams: bool = True) -> Call:
    """Returns the call of a route that answers a question from a collection."""

    def call(calls: Calls) -> None:
        caller, question = calls.caller(), calls.question()
        stream = {"stream": calls.rng.random() < 0.5} if streams else {}
        if calls.rng.random() < 0.3:
            sent, hidden = body(question, TARGET) | stream, calls.beyond(caller)
            _is_refused(calls.same(caller, "POST", path, hidden=hidden, body=sent))
            return
        sent = body(question, calls.collection(caller)) | stream
        response = calls.send(caller, "POST", path, json=sent)
        assert response.status_code == 200, response.text
        calls.answered(caller, response)

    return call


def _search(calls: Calls) -> None:
    """Searches; sometimes with a filter that only a hidden document meets."""
    caller, rng = calls.caller(), calls.rng
    collection = calls.collection(caller)
    body: Json = {"query": calls.question(), "collection": collection, "top_k": rng.randint(1, 50)}
    hidden = calls.world.hidden(caller, collection)
    if hidden and rng.random() < 0.5:
        _filtered(calls, caller, rng.choice(hidden), body)
        return
    response = calls.send(caller, "POST", "/v1/search", json=body)
    calls.answered(caller, response)
    readable = {each.id for each in calls.world.readable(caller, collection)}
    assert {hit["document_id"] for hit in response.json()["hits"]} <= readable


def _filtered(calls: Calls, caller: Caller, hidden: Document, body: Json) -> None:
    condition: Json = {"field": "document_id", "op": "eq", "value": TARGET}
    target, absent = hidden.id, calls.unknown(hidden.id)
    if hidden.fields and calls.rng.random() < 0.5:
        condition, target = {"field": TARGET, "op": "eq", "value": 1}, hidden.fields[0]
        absent = calls.field()
    body |= {"filters": [condition]}
    calls.same(caller, "POST", "/v1/search", hidden=target, absent=absent, body=body)


def _takes_texts(path: str, body: Json) -> Call:
    """Returns the call of a route that embeds or ranks texts that come with it."""

    def call(calls: Calls) -> None:
        caller = calls.caller()
        if calls.rng.random() < 0.5:
            hidden = calls.beyond(caller)
            _is_refused(calls.same(caller, "POST", path, hidden=hidden, body=body))
            return
        name = calls.collection(caller)
        sent = json.loads(json.dumps(body).replace(TARGET, name))
        assert calls.send(caller, "POST", path.replace(TARGET, name), json=sent).is_success

    return call


def _feedback(calls: Calls) -> None:
    caller = calls.caller()
    theirs, mine = calls.others(caller, calls.answers), calls.answers.get(caller.name)
    sent: Json = {"rating": "up", "comment": "It is right."}
    if theirs and calls.rng.random() < 0.7:
        body = sent | {"answer_id": TARGET}
        hidden = calls.rng.choice(theirs)
        assert calls.same(caller, "POST", "/v1/feedback", hidden=hidden, body=body) == 404
    elif mine:
        body = sent | {"answer_id": mine[-1]}
        assert calls.send(caller, "POST", "/v1/feedback", json=body).status_code == 204


# Jobs, keys, usage


def _job_call(method: str, end: str = "") -> Call:
    def call(calls: Calls) -> None:
        caller = calls.caller()
        theirs, mine = calls.others(caller, calls.jobs), calls.jobs.get(caller.name)
        if theirs and calls.rng.random() < 0.7:
            path, hidden = f"/v1/jobs/{TARGET}{end}", calls.rng.choice(theirs)
            assert calls.same(caller, method, path, hidden=hidden) == 404
        elif mine:  # it has ended: nothing is left to cancel, and what failed fails again
            job_id = calls.rng.choice(mine[-20:])
            response = calls.send(caller, method, f"/v1/jobs/{job_id}{end}")
            assert response.is_success, (caller, response.text)
            calls.ended(caller, job_id)

    return call


def _list_keys(calls: Calls) -> None:
    caller = calls.caller()
    response = calls.send(caller, "GET", "/v1/keys")
    assert response.is_success == caller.admin
    if caller.admin:
        assert {key["tenant"] for key in response.json()["keys"]} == {caller.tenant}


def _create_key(calls: Calls) -> None:
    caller = calls.caller()
    body = {"name": "more", "scopes": ["ask"], "expires_in": 60}
    made = calls.send(caller, "POST", "/v1/keys", json=body)
    assert made.is_success == caller.admin
    if caller.admin:
        calls.world.owners[made.json()["id"]] = caller


def _key_call(method: str, end: str = "") -> Call:
    def call(calls: Calls) -> None:
        caller = calls.caller()
        ids = [each.key_id for each in calls.world.callers if each.tenant != caller.tenant]
        path, hidden = f"/v1/keys/{TARGET}{end}", calls.rng.choice(ids)
        _is_refused(calls.same(caller, method, path, hidden=hidden))

    return call


def _usage(calls: Calls) -> None:
    caller = calls.caller()
    by = calls.rng.sample(["tenant", "key", "subject", "model", "feature", "outcome", "day"], 3)
    report = calls.send(caller, "GET", "/v1/usage", params={"by": by}).json()
    near = [each for each in calls.world.callers if each.tenant == caller.tenant]
    seen = near if caller.admin else [caller]
    for group in report["groups"]:
        assert group["tenant"] in (None, caller.tenant) if "tenant" in group else True
        if "subject" in by:
            assert group["subject"] in {each.subject for each in seen}, group
        if "key" in by:
            assert group["key"] in {each.key_id for each in seen}, group


def _open(method: str, path: str) -> Call:
    def call(calls: Calls) -> None:
        calls.send(calls.caller(), method, path)

    return call


def _chat(question: str, collection: str) -> Json:
    return {"model": collection, "messages": [{"role": "user", "content": question}]}


_QUESTION_CALLS: dict[str, Call] = {
    "POST /v1/search": _search,
    "POST /v1/query": _asks("/v1/query", lambda q, c: {"query": q, "collection": c}),
    "POST /v1/chat/completions": _asks("/v1/chat/completions", _chat),
    "POST /api/chat": _asks("/api/chat", _chat),
    "POST /retrieval": _asks(
        "/retrieval", lambda q, c: {"query": q, "knowledge_id": c}, streams=False
    ),
}
_TEXTS = ["The harbour opens at nine.", "The kitchen is warm."]
CALLS: dict[str, Call] = {
    **_QUESTION_CALLS,
    "POST /v1/documents": _submit,
    "GET /v1/documents": _list_documents,
    f"GET {_DOCUMENT}": _document_call("GET"),
    f"DELETE {_DOCUMENT}": _document_call("DELETE", done=_deleted),
    f"GET {_DOCUMENT}/chunks": _document_call("GET", "/chunks"),
    f"GET {_DOCUMENT}/content": _document_call("GET", "/content"),
    f"GET {_DOCUMENT}/acl": _document_call("GET", "/acl"),
    f"PUT {_DOCUMENT}/acl": _document_call(
        "PUT", "/acl", done=lambda calls, document, acl: calls.world.change(document, acl)
    ),
    f"DELETE {_DOCUMENT}/acl": _document_call(
        "DELETE", "/acl", done=lambda calls, document, _: calls.world.change(document, None)
    ),
    "GET /v1/collections": _list_collections,
    "DELETE /v1/collections/{collection}": _delete_collection,
    "GET /v1/collections/{collection}/acl": _default_acl,
    "PUT /v1/collections/{collection}/acl": _put_default_acl,
    "GET /v1/models": _list_models,
    "GET /v1/models/{model:path}": _get_model,
    "GET /api/tags": _tags,
    "GET /api/version": _open("GET", "/api/version"),
    "POST /v1/embeddings": _takes_texts("/v1/embeddings", {"model": TARGET, "input": _TEXTS}),
    "POST /v1/rerank": _takes_texts(
        "/v1/rerank", {"model": TARGET, "query": "harbour", "documents": _TEXTS}
    ),
    "POST /v2/rerank": _takes_texts(
        "/v2/rerank", {"model": TARGET, "query": "harbour", "documents": _TEXTS}
    ),
    "POST /rerank": _takes_texts(
        f"/rerank?collection={TARGET}", {"query": "harbour", "texts": _TEXTS}
    ),
    "POST /embed": _takes_texts(f"/embed?collection={TARGET}", {"inputs": _TEXTS}),
    "POST /v1/feedback": _feedback,
    "GET /v1/jobs/{job_id}": _job_call("GET"),
    "DELETE /v1/jobs/{job_id}": _job_call("DELETE"),
    "POST /v1/jobs/{job_id}/retry": _job_call("POST", "/retry"),
    "GET /v1/keys": _list_keys,
    "POST /v1/keys": _create_key,
    "POST /v1/keys/{key_id}/rotate": _key_call("POST", "/rotate"),
    "DELETE /v1/keys/{key_id}": _key_call("DELETE"),
    "GET /v1/usage": _usage,
    "GET /metrics": _open("GET", "/metrics"),
    "GET /healthz": _open("GET", "/healthz"),
    "GET /readyz": _open("GET", "/readyz"),
    f"* {ASSETS}": _open("GET", f"{ASSETS}/swagger-ui.css"),
    **{
        f"{method} {path}": _open(method, path)
        for path in ("/openapi.json", "/docs", "/redoc")
        for method in ("GET", "HEAD")
    },
}
_WEIGHTS: dict[str, float] = {
    **dict.fromkeys(_QUESTION_CALLS, 20),
    **{name: 10 for name in CALLS if _DOCUMENT in name or "jobs" in name},
    f"DELETE {_DOCUMENT}": 4,
    "POST /v1/documents": 15,
    "GET /v1/documents": 10,
    "POST /v1/feedback": 10,
    "POST /v1/keys": 0.3,
    "DELETE /v1/collections/{collection}": 1,
    "PUT /v1/collections/{collection}/acl": 2,
    **{name: 0.3 for name in CALLS if "docs" in name or "redoc" in name},
}


def one(calls: Calls) -> str:
    """Makes one random call, or a pair; returns the route."""
    weights = [_WEIGHTS.get(name, 5) for name in CALLS]
    [name] = calls.rng.choices(list(CALLS), weights)
    CALLS[name](calls)
    return name
