"""Random calls of batches and their files, each by a caller of those who may know of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from tests.isolation_calls import TARGET, Call, Calls, is_refused
from tests.isolation_world import ID, Caller, Json
from tests.servers import wait_for

Made = Callable[[Calls], dict[str, list[str]]]
"""Returns the ids of objects of a kind, by the names of those who made them."""
ENDED = ("completed", "failed", "expired", "cancelled")


def _file(calls: Calls, caller: Caller, questions: int) -> str:
    """Sends a file of questions, one to a collection beyond the caller; returns its id."""
    names = [calls.collection(caller) for _ in range(questions)] + [calls.beyond(caller)]
    lines = (
        {"custom_id": str(n), "method": "POST", "url": "/v1/query",
         "body": {"query": calls.question(), "collection": name}}
        for n, name in enumerate(names)
    )  # fmt: skip
    content = "\n".join(map(json.dumps, lines)).encode()
    made = calls.send(
        caller, "POST", "/v1/files", files={"file": content}, data={"purpose": "batch"}
    )
    assert made.is_success, made.text
    id_: str = made.json()["id"]
    _own(calls, caller, id_)
    calls.files.setdefault(caller.name, []).append(id_)
    return id_


def _own(calls: Calls, caller: Caller, id_: str) -> None:
    calls.world.owners |= dict.fromkeys(ID.findall(id_), caller)


def create_file(calls: Calls) -> None:
    _file(calls, calls.caller(), 1)


def create_batch(calls: Calls) -> None:
    """Makes a batch, and reads what it has made; or one of a file of another caller."""
    caller = calls.caller()
    body: Json = {"endpoint": "/v1/query", "completion_window": "24h", "input_file_id": TARGET}
    theirs = _others(calls, caller, calls.files)
    if theirs and calls.rng.random() < 0.5:
        hidden = calls.rng.choice(theirs)
        absent = f"file-{calls.unknown(hidden.removeprefix('file-'))}"
        status = calls.same(caller, "POST", "/v1/batches", hidden=hidden, absent=absent, body=body)
        assert status == 404
        return
    body["input_file_id"] = _file(calls, caller, 3)
    made = calls.send(caller, "POST", "/v1/batches", json=body)
    assert made.is_success, made.text
    batch_id: str = made.json()["id"]
    _own(calls, caller, batch_id)
    calls.batches.setdefault(caller.name, []).append(batch_id)

    def ended() -> Json | None:
        batch: Json = calls.send(caller, "GET", f"/v1/batches/{batch_id}").json()
        calls.counts["calls"] -= 1  # it is none of the random ones
        return batch if batch["status"] in ENDED else None

    done = wait_for(ended)
    assert done["request_counts"] == {"total": 4, "completed": 3, "failed": 1}, done
    for name in ("output_file_id", "error_file_id"):
        calls.files[caller.name].append(done[name])
        calls.answered(caller, calls.send(caller, "GET", f"/v1/files/{done[name]}/content"))


def file_call(method: str, end: str = "") -> Call:
    return _call("/v1/files", method, end, lambda calls: calls.files)


def batch_call(method: str, end: str = "") -> Call:
    return _call("/v1/batches", method, end, lambda calls: calls.batches)


def _call(path: str, method: str, end: str, made: Made) -> Call:
    """Returns the call of a route of one object, of the caller or of another one."""

    def call(calls: Calls) -> None:
        caller, found = calls.caller(), made(calls)
        theirs, mine = _others(calls, caller, found), found.get(caller.name)
        if theirs and calls.rng.random() < 0.7:
            hidden = calls.rng.choice(theirs)
            known = re.search(ID, hidden)
            assert known
            absent = hidden.replace(known[0], calls.unknown(known[0]))
            status = calls.same(
                caller, method, f"{path}/{TARGET}{end}", hidden=hidden, absent=absent
            )
            assert status == 404
        elif mine:
            calls.send(caller, method, f"{path}/{calls.rng.choice(mine)}{end}")

    return call


def list_files(calls: Calls) -> None:
    _list(calls, "/v1/files", calls.files)


def list_batches(calls: Calls) -> None:
    _list(calls, "/v1/batches", calls.batches)


def _list(calls: Calls, path: str, made: dict[str, list[str]]) -> None:
    """Lists; sometimes behind an object of another caller."""
    caller = calls.caller()
    theirs = _others(calls, caller, made)
    if theirs and calls.rng.random() < 0.5:
        hidden = calls.rng.choice(theirs)
        known = re.search(ID, hidden)
        assert known
        absent = hidden.replace(known[0], calls.unknown(known[0]))
        is_refused(
            calls.same(caller, "GET", f"{path}?after={TARGET}", hidden=hidden, absent=absent)
        )
        return
    calls.send(caller, "GET", f"{path}?limit={calls.rng.randint(1, 20)}")


def _others(calls: Calls, caller: Caller, made: dict[str, list[str]]) -> list[str]:
    """Returns ids that the caller may not know of."""
    return [
        id_
        for ids in made.values()
        for id_ in ids[-50:]
        if calls.world.foreign(caller, ID.findall(id_))
    ]
