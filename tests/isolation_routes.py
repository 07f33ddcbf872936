"""A random call for each route of the API, by its method and path."""

from __future__ import annotations

from rag.api.docs_pages import ASSETS
from rag.api.resource_metadata import METADATA
from rag.web.page import FOLDERS
from tests import isolation_batches as batches
from tests import isolation_documents as documents
from tests import isolation_mcp as mcp
from tests import isolation_questions as questions
from tests.isolation_calls import TARGET, Call, Calls, is_refused
from tests.isolation_world import Json

_DOCUMENT = "/v1/documents/{document_id:path}"
_REFUSED = "/v1/tokens/refused"


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
        is_refused(calls.same(caller, method, path, hidden=hidden))

    return call


def _refused_tokens(calls: Calls) -> None:
    caller = calls.caller()
    response = calls.send(caller, "GET", _REFUSED)
    assert response.is_success == caller.admin
    if caller.admin:
        named = {each["value"].partition("-")[0] for each in response.json()["refused"]}
        assert named <= {caller.tenant}


def _refuse_tokens(calls: Calls) -> None:
    caller = calls.caller()
    body = {"kind": "token", "value": f"{caller.tenant}-{calls.rng.randrange(20)}"}
    assert calls.send(caller, "POST", _REFUSED, json=body).is_success == caller.admin


def _allow_tokens(calls: Calls) -> None:
    caller = calls.caller()
    tenants = {each.tenant for each in calls.world.callers} - {caller.tenant}
    hidden = f"{calls.rng.choice(sorted(tenants))}-{calls.rng.randrange(20)}"
    is_refused(calls.same(caller, "DELETE", f"{_REFUSED}?kind=token&value={TARGET}", hidden=hidden))


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


def _me(calls: Calls) -> None:
    caller = calls.caller()
    me = calls.send(caller, "GET", "/v1/me").json()
    assert (me["tenant"], me["subject"], me["key_id"]) == (
        caller.tenant, caller.subject, caller.key_id
    )  # fmt: skip


def _list_jobs(calls: Calls) -> None:
    caller = calls.caller()
    state = calls.rng.choice(["", "&state=running", "&state=failed", "&state=succeeded"])
    path, cursor, seen = f"/v1/jobs?limit=7{state}", None, 0
    while cursor is not None or seen == 0:
        page = calls.send(caller, "GET", path + (f"&cursor={cursor}" if cursor else "")).json()
        for job in page["jobs"]:
            owner = calls.world.owners[job["id"]]
            assert caller.reaches(job["collection"])
            assert owner.name == caller.name or (caller.admin and owner.tenant == caller.tenant)
        cursor, seen = page["next_cursor"], seen + 1
        if seen == 5:
            return


def _list_answers(calls: Calls) -> None:
    caller = calls.caller()
    if calls.rng.random() < 0.3:
        hidden = calls.beyond(caller)
        is_refused(calls.same(caller, "GET", f"/v1/answers?collection={TARGET}", hidden=hidden))
        return
    narrow = calls.rng.choice(["", "&abstained=true", "&rating=up", "&low=false"])
    response = calls.send(caller, "GET", f"/v1/answers?limit=50{narrow}")
    assert response.is_success == caller.admin
    if caller.admin:
        for answer in response.json()["answers"]:
            owner = calls.world.owners.get(answer["id"])  # none: asked in a form without ids
            assert owner is None or owner.tenant == caller.tenant


def _of_a_collection(path: str) -> Call:
    def call(calls: Calls) -> None:
        caller = calls.caller()
        is_refused(calls.same(caller, "GET", path, hidden=calls.beyond(caller)))

    return call


def _for_admins(path: str, method: str = "GET", body: Json | None = None) -> Call:
    def call(calls: Calls) -> None:
        caller = calls.caller()
        assert (calls.send(caller, method, path, json=body).status_code == 403) != caller.admin

    return call


_PAGE_FILES = [f"{folder}/{{file:path}}" for folder in FOLDERS]


def _open(method: str, path: str) -> Call:
    def call(calls: Calls) -> None:
        calls.send(calls.caller(), method, path)

    return call


def _chat(question: str, collection: str) -> Json:
    return {"model": collection, "messages": [{"role": "user", "content": question}]}


_QUESTION_CALLS: dict[str, Call] = {
    "POST /v1/search": questions.search,
    "POST /v1/query": questions.asks("/v1/query", lambda q, c: {"query": q, "collection": c}),
    "POST /v1/chat/completions": questions.asks("/v1/chat/completions", _chat),
    "POST /api/chat": questions.asks("/api/chat", _chat),
    "POST /retrieval": questions.asks(
        "/retrieval", lambda q, c: {"query": q, "knowledge_id": c}, streams=False
    ),
    "POST /websearch": questions.asks(
        f"/websearch?collection={TARGET}", lambda q, _: {"query": q, "count": 20}, streams=False
    ),
}
_VIEWS: dict[str, Call] = {
    "GET /v1/me": _me,
    "GET /v1/jobs": _list_jobs,
    "GET /v1/answers": _list_answers,
    "GET /v1/drift": _of_a_collection(f"/v1/drift?collection={TARGET}"),
    "GET /v1/eval-runs": _for_admins("/v1/eval-runs"),
    "GET /v1/eval-runs/compare": _for_admins("/v1/eval-runs/compare?a=a&b=b"),
    "GET /v1/eval-runs/{name}": _for_admins("/v1/eval-runs/a"),
    "GET /v1/queue": _for_admins("/v1/queue"),
    "GET /v1/tenants": _for_admins("/v1/tenants"),
    "GET /v1/health": _for_admins("/v1/health"),
    "GET /v1/rollouts": _for_admins("/v1/rollouts"),
    "GET /v1/rollouts/{name}": _for_admins("/v1/rollouts/a"),
    "PUT /v1/rollouts/{name}": _for_admins(
        "/v1/rollouts/a", "PUT", {"kind": "flag", "variant": "v", "version": 0}
    ),
    "POST /v1/rollouts/{name}": _for_admins(
        "/v1/rollouts/a", "POST", {"action": "kill", "version": 1}
    ),
    "DELETE /v1/rollouts/{name}": _for_admins("/v1/rollouts/a?version=1", "DELETE"),
    "GET /v1/rollouts/{name}/arms": _for_admins("/v1/rollouts/a/arms"),
    "GET /v1/rollout-power": _for_admins("/v1/rollout-power?questions=100"),
}
_TEXTS = ["The harbour opens at nine.", "The kitchen is warm."]
CALLS: dict[str, Call] = {
    **_QUESTION_CALLS,
    "POST /mcp": mcp.call,
    "POST /v1/documents": documents.submit,
    "GET /v1/documents": documents.list_documents,
    f"GET {_DOCUMENT}": documents.document_call("GET"),
    f"DELETE {_DOCUMENT}": documents.document_call("DELETE", done=documents.deleted),
    f"GET {_DOCUMENT}/chunks": documents.document_call("GET", "/chunks"),
    f"GET {_DOCUMENT}/content": documents.document_call("GET", "/content"),
    f"GET {_DOCUMENT}/acl": documents.document_call("GET", "/acl"),
    f"PUT {_DOCUMENT}/acl": documents.document_call(
        "PUT", "/acl", done=lambda calls, document, acl: calls.world.change(document, acl)
    ),
    f"DELETE {_DOCUMENT}/acl": documents.document_call(
        "DELETE", "/acl", done=lambda calls, document, _: calls.world.change(document, None)
    ),
    "GET /v1/collections": documents.list_collections,
    "DELETE /v1/collections/{collection}": documents.delete_collection,
    "GET /v1/collections/{collection}/acl": documents.default_acl,
    "PUT /v1/collections/{collection}/acl": documents.put_default_acl,
    "GET /v1/models": documents.list_models,
    "GET /v1/models/{model:path}": documents.get_model,
    "GET /api/tags": documents.tags,
    "GET /api/version": _open("GET", "/api/version"),
    "POST /v1/embeddings": questions.takes_texts(
        "/v1/embeddings", {"model": TARGET, "input": _TEXTS}
    ),
    "POST /v1/rerank": questions.takes_texts(
        "/v1/rerank", {"model": TARGET, "query": "harbour", "documents": _TEXTS}
    ),
    "POST /v2/rerank": questions.takes_texts(
        "/v2/rerank", {"model": TARGET, "query": "harbour", "documents": _TEXTS}
    ),
    "POST /rerank": questions.takes_texts(
        f"/rerank?collection={TARGET}", {"query": "harbour", "texts": _TEXTS}
    ),
    "POST /embed": questions.takes_texts(f"/embed?collection={TARGET}", {"inputs": _TEXTS}),
    "POST /v1/feedback": questions.feedback,
    "GET /v1/jobs/{job_id}": _job_call("GET"),
    "DELETE /v1/jobs/{job_id}": _job_call("DELETE"),
    "POST /v1/jobs/{job_id}/retry": _job_call("POST", "/retry"),
    "POST /v1/files": batches.create_file,
    "GET /v1/files": batches.list_files,
    "GET /v1/files/{file_id}": batches.file_call("GET"),
    "GET /v1/files/{file_id}/content": batches.file_call("GET", "/content"),
    "DELETE /v1/files/{file_id}": batches.file_call("DELETE"),
    "POST /v1/batches": batches.create_batch,
    "GET /v1/batches": batches.list_batches,
    "GET /v1/batches/{batch_id}": batches.batch_call("GET"),
    "POST /v1/batches/{batch_id}/cancel": batches.batch_call("POST", "/cancel"),
    "DELETE /v1/batches/{batch_id}": batches.batch_call("DELETE"),
    "GET /v1/keys": _list_keys,
    "POST /v1/keys": _create_key,
    "POST /v1/keys/{key_id}/rotate": _key_call("POST", "/rotate"),
    "DELETE /v1/keys/{key_id}": _key_call("DELETE"),
    f"GET {_REFUSED}": _refused_tokens,
    f"POST {_REFUSED}": _refuse_tokens,
    f"DELETE {_REFUSED}": _allow_tokens,
    "GET /v1/usage": _usage,
    **_VIEWS,
    "GET /metrics": _open("GET", "/metrics"),
    "GET /healthz": _open("GET", "/healthz"),
    "GET /readyz": _open("GET", "/readyz"),
    f"* {ASSETS}": _open("GET", f"{ASSETS}/swagger-ui.css"),
    **{
        f"{method} {path}": _open(method, path.replace("{file:path}", "cmaps/78-EUC-H.bcmap"))
        for path in ("/", "/openapi.json", "/docs", "/redoc", METADATA, *_PAGE_FILES)
        for method in ("GET", "HEAD")
    },
}
_WEIGHTS: dict[str, float] = {
    **dict.fromkeys(_QUESTION_CALLS, 20),
    **{name: 10 for name in CALLS if _DOCUMENT in name or "jobs" in name},
    f"DELETE {_DOCUMENT}": 4,
    "POST /mcp": 15,
    "POST /v1/documents": 15,
    "GET /v1/documents": 10,
    "POST /v1/feedback": 10,
    **dict.fromkeys(_VIEWS, 2),
    "POST /v1/keys": 0.3,
    **{name: 1 for name in CALLS if _REFUSED in name},
    "POST /v1/batches": 1,
    "DELETE /v1/collections/{collection}": 1,
    "PUT /v1/collections/{collection}/acl": 2,
    **{name: 0.3 for name in CALLS if "docs" in name or "redoc" in name},
}


def one(calls: Calls) -> None:
    """Makes one random call, or a pair."""
    weights = [_WEIGHTS.get(name, 5) for name in CALLS]
    [name] = calls.rng.choices(list(CALLS), weights)
    CALLS[name](calls)
