"""Random calls that ask questions, or bring texts, and feedback on answers."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.isolation_calls import TARGET, Call, Calls, is_refused
from tests.isolation_world import Caller, Document, Json


def asks(path: str, body: Callable[[str, str], Json], *, streams: bool = True) -> Call:
    """Returns the call of a route that answers a question from a collection.

    The collection is in the body, or `TARGET` stands for it in the path.
    """

    def call(calls: Calls) -> None:
        caller, question = calls.caller(), calls.question()
        stream = {"stream": calls.rng.random() < 0.5} if streams else {}
        if calls.rng.random() < 0.3:
            sent, hidden = body(question, TARGET) | stream, calls.beyond(caller)
            is_refused(calls.same(caller, "POST", path, hidden=hidden, body=sent))
            return
        collection = calls.collection(caller)
        sent = body(question, collection) | stream
        response = calls.send(caller, "POST", path.replace(TARGET, collection), json=sent)
        assert response.status_code == 200, response.text
        calls.answered(caller, response)

    return call


def search(calls: Calls) -> None:
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


def takes_texts(path: str, body: Json) -> Call:
    """Returns the call of a route that embeds or ranks texts that come with it."""

    def call(calls: Calls) -> None:
        caller = calls.caller()
        if calls.rng.random() < 0.5:
            hidden = calls.beyond(caller)
            is_refused(calls.same(caller, "POST", path, hidden=hidden, body=body))
            return
        name = calls.collection(caller)
        sent = json.loads(json.dumps(body).replace(TARGET, name))
        assert calls.send(caller, "POST", path.replace(TARGET, name), json=sent).is_success

    return call


def feedback(calls: Calls) -> None:
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
