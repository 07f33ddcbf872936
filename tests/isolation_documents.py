"""Random calls of documents and collections, and of what lists them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.isolation_calls import ACLS, MOST_DOCUMENTS, TARGET, Call, Calls, is_refused
from tests.isolation_world import Caller, Document, Json
from tests.servers import encoded


def _at(caller: Caller, calls: Calls) -> tuple[str, Document | None, str | None]:
    """Returns a collection, a document in it that the caller may read, or a hidden one's id."""
    collection = calls.collection(caller)
    mine = calls.world.readable(caller, collection)
    hidden = calls.world.hidden(caller, collection)
    if hidden and (not mine or calls.rng.random() < 0.7):
        return collection, None, calls.rng.choice(hidden).id
    return collection, calls.rng.choice(mine) if mine else None, None


def document_call(
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
            is_refused(calls.same(caller, method, path, hidden=calls.beyond(caller), body=body))
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


def deleted(calls: Calls, document: Document, _: Any) -> None:
    del calls.world.documents[document.place]


def list_documents(calls: Calls) -> None:
    caller = calls.caller()
    if calls.rng.random() < 0.3:
        hidden = calls.beyond(caller)
        path = f"/v1/documents?collection={TARGET}"
        is_refused(calls.same(caller, "GET", path, hidden=hidden))
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


def submit(calls: Calls) -> None:
    """Sends a document: a new one, or under an id that is the caller's, hidden, or elsewhere."""
    caller, rng, world = calls.caller(), calls.rng, calls.world
    if caller.collections is not None and rng.random() < 0.2:
        body = {"collection": TARGET, "documents": [{"id": "d01", "text": "It is mine."}]}
        hidden = calls.beyond(caller)
        is_refused(calls.same(caller, "POST", "/v1/documents", hidden=hidden, body=body))
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


def list_collections(calls: Calls) -> None:
    caller = calls.caller()
    found = calls.send(caller, "GET", "/v1/collections").json()["collections"]
    seen = {each["name"]: each["documents"] for each in found}
    assert seen == _counts(calls, caller)


def list_models(calls: Calls) -> None:
    caller = calls.caller()
    found = calls.send(caller, "GET", "/v1/models").json()["data"]
    assert {each["id"]: each["plumbline"]["documents"] for each in found} == _counts(calls, caller)


def get_model(calls: Calls) -> None:
    caller = calls.caller()
    if calls.rng.random() < 0.7:
        hidden = calls.beyond(caller)
        is_refused(calls.same(caller, "GET", f"/v1/models/{TARGET}", hidden=hidden))
        return
    name = calls.collection(caller)
    model = calls.send(caller, "GET", f"/v1/models/{name}").json()
    assert model["plumbline"]["documents"] == _counts(calls, caller)[name]


def tags(calls: Calls) -> None:
    caller = calls.caller()
    models = calls.send(caller, "GET", "/api/tags").json()["models"]
    assert {each["name"] for each in models} == calls.world.collections(caller)


def _counts(calls: Calls, caller: Caller) -> dict[str, int]:
    names = calls.world.collections(caller)
    return {name: len(calls.world.readable(caller, name)) for name in names}


def delete_collection(calls: Calls) -> None:
    caller, path = calls.caller(), f"/v1/collections/{TARGET}"
    if not caller.admin or calls.rng.random() < 0.8:
        is_refused(calls.same(caller, "DELETE", path, hidden=calls.beyond(caller)))
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


def default_acl(calls: Calls) -> None:
    caller = calls.caller()
    if not caller.admin or calls.rng.random() < 0.7:
        path = f"/v1/collections/{TARGET}/acl"
        is_refused(calls.same(caller, "GET", path, hidden=calls.beyond(caller)))
    else:
        name = calls.collection(caller)
        seen = calls.send(caller, "GET", f"/v1/collections/{name}/acl").json()
        assert seen["users"] == sorted(calls.world.defaults[caller.tenant, name].get("users", []))


def put_default_acl(calls: Calls) -> None:
    caller, acl = calls.caller(), calls.rng.choice([*ACLS[1:5], {"public": True}])
    if not caller.admin:
        path, hidden = f"/v1/collections/{TARGET}/acl", calls.beyond(caller)
        is_refused(calls.same(caller, "PUT", path, hidden=hidden, body=acl))
        return
    name = calls.collection(caller)
    assert calls.send(caller, "PUT", f"/v1/collections/{name}/acl", json=acl).status_code == 200
    calls.world.defaults[caller.tenant, name] = acl or {}
