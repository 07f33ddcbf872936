"""Random calls of the tools and resources of MCP, in either version of the protocol."""

from __future__ import annotations

from tests.isolation_calls import ERRORS, TARGET, Calls
from tests.isolation_world import Caller, Json

_META = "io.modelcontextprotocol/"
_VERSIONS = ("2026-07-28", "2025-11-25")


def call(calls: Calls) -> None:
    """Searches, asks, reads what the caller may read, or looks for what it may not know of."""
    caller = calls.caller()
    collection = calls.collection(caller)
    kind = calls.rng.choice(("search", "answer", "fetch", "hidden", "beyond", "list"))
    if kind in ("search", "answer"):
        arguments: Json = {"query": calls.question(), "collection": collection}
        _send(calls, caller, _tool(kind, arguments))
    elif kind == "beyond":
        body = _tool("search", {"query": calls.question(), "collection": TARGET})
        _same(calls, caller, body, hidden=calls.beyond(caller))
    elif kind == "list":
        _send(calls, caller, calls.rng.choice((_read(collection), _tool("list_collections", {}))))
    elif kind == "fetch":
        if readable := [d for d in calls.world.readable(caller, collection) if d.text]:
            id_ = f"{collection}/{calls.rng.choice(readable).id}"
            _send(calls, caller, _tool("fetch", {"id": id_}))
    elif hidden := calls.world.hidden(caller, collection):
        target = calls.rng.choice(hidden).id
        uri = f"plumbline://documents/{collection}/{TARGET}"
        body = calls.rng.choice(
            (
                _tool("fetch", {"id": f"{collection}/{TARGET}"}),
                {"method": "resources/read", "params": {"uri": uri}},
            )
        )
        _same(calls, caller, body, hidden=target)


def _send(calls: Calls, caller: Caller, body: Json) -> None:
    sent, headers = _sent(calls, body)
    response = calls.send(caller, "POST", "/mcp", headers, json=sent)
    assert response.status_code == 200, response.text
    assert '"isError":true' not in response.text, response.text
    calls.answered(caller, response)


def _same(calls: Calls, caller: Caller, body: Json, *, hidden: str) -> None:
    sent, headers = _sent(calls, body)
    status = calls.same(caller, "POST", "/mcp", hidden=hidden, body=sent, headers=headers)
    assert status == 200 or status in ERRORS


def _sent(calls: Calls, body: Json) -> tuple[Json, Json]:
    """Returns a request of JSON-RPC, and its headers."""
    version = calls.rng.choice(_VERSIONS)
    meta = {f"{_META}protocolVersion": version, f"{_META}clientCapabilities": {}}
    params = body["params"] | {"_meta": meta}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": version,
        "Mcp-Method": body["method"],
        "Mcp-Name": params.get("name") or params["uri"],
    }
    return {"jsonrpc": "2.0", "id": 1, "method": body["method"], "params": params}, headers


def _tool(name: str, arguments: Json) -> Json:
    return {"method": "tools/call", "params": {"name": name, "arguments": arguments}}


def _read(collection: str) -> Json:
    return {"method": "resources/read", "params": {"uri": f"plumbline://collections/{collection}"}}
