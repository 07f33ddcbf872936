"""Random calls of every route by several callers, each checked against the model of them."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from string import ascii_lowercase
from typing import Any

import httpx

from tests.isolation_world import ID, SECRET, Caller, Document, Json, World
from tests.servers import encoded, wait_for

TOPICS = ("harbour", "orchard", "railway", "library", "kitchen")
ACLS: tuple[Json | None, ...] = (
    None,
    {"public": True},
    {"groups": ["sales"]},
    {"groups": ["law"], "users": ["carl"]},
    {"users": ["anna"]},
    {"users": []},
)
MOST_DOCUMENTS = 60
"""New documents beyond this many replace others."""
TARGET = "TARGET"
"""Stands for an id in a path or a body."""
ERRORS = range(400, 500)
_VARYING = re.compile(r'"(timings|trace_id)":(\{[^}]*\}|"[^"]*")')
_JSON = {"Content-Type": "application/json"}
_UNREACHABLE = "http://127.0.0.1:9/"


class Calls:
    """Sends calls and checks each response; `counts` has their numbers, by kind."""

    def __init__(self, http: httpx.Client, world: World, seed: int) -> None:
        self.http = http
        self.world = world
        self.rng = random.Random(seed)
        self.counts = Counter[str]()
        self.jobs: dict[str, list[str]] = {}
        self.answers: dict[str, list[str]] = {}
        self.files: dict[str, list[str]] = {}
        self.batches: dict[str, list[str]] = {}
        self._made = seed * 100_000

    # One call, and two that must be answered alike

    def send(
        self, caller: Caller, method: str, path: str, headers: Json | None = None, **request: Any
    ) -> httpx.Response:
        """Sends a call; its response shows nothing that the caller may not see."""
        own = {"Authorization": f"Bearer {caller.key}", "X-Request-ID": "1", **(headers or {})}
        sent = self.http.build_request(method, path, headers=own, **request)
        asked = f"{sent.url} {sent.read().decode(errors='replace')}"
        response = self.http.send(sent)
        self.counts["calls"] += 1
        self.counts[f"{response.status_code // 100}xx"] += 1
        assert response.status_code < 500, (method, path, response.text)
        seen = f"{response.headers} {response.content.decode(errors='replace')}"
        what = f"{caller.name}: {method} {path} {request}: {response.text[:2000]}"
        leaked = set(SECRET.findall(seen)) - self.world.secrets(caller) - set(SECRET.findall(asked))
        self.counts["secrets of one's own"] += len(set(SECRET.findall(seen)) - leaked)
        assert not leaked, f"{leaked} in {what}"
        foreign = self.world.foreign(caller, set(ID.findall(seen)) - set(ID.findall(asked)))
        assert not foreign, f"{foreign} in {what}"
        return response

    def same(
        self,
        caller: Caller,
        method: str,
        path: str,
        *,
        hidden: str,
        absent: str | None = None,
        body: Any = None,
        headers: Json | None = None,
    ) -> int:
        """Sends a call for what the caller may not know of, and one for what does not exist.

        They are answered alike, with the status that is returned.
        """
        pair = [hidden, absent or self.unknown(hidden)]
        content = None if body is None else json.dumps(body)
        seen: dict[str, Any] = {}
        for each in self.rng.sample(pair, 2):
            response = self.send(
                caller,
                method,
                path.replace(TARGET, encoded(each)),
                (headers or {}) | (_JSON if content else {}),
                content=content and content.replace(TARGET, each),
            )
            varying = {"date", "content-length"} if response.is_success else {"date"}
            kept = {k: v for k, v in response.headers.items() if k not in varying}
            text = _VARYING.sub("", response.text).replace(each, TARGET)
            seen[each] = response.status_code, kept, text
        self.counts["pairs"] += 1
        self.counts[f"pairs {caller.name}"] += 1
        what = f"{caller.name}: {method} {path} {body}"
        assert seen[pair[0]] == seen[pair[1]], f"{what}: {seen}"
        return int(seen[hidden][0])

    # What is chosen

    def unknown(self, like: str) -> str:
        """Returns an id of the same length that nobody has ever used."""
        return "f" + "".join(self.rng.choices("0123456789abcdef", k=len(like) - 1))

    def caller(self) -> Caller:
        return self.rng.choice(self.world.callers)

    def others(self, of: Caller, made: dict[str, list[str]]) -> list[str]:
        """Returns ids that the caller may not know of: of jobs, answers."""
        return self.world.foreign(of, (i for ids in made.values() for i in ids[-50:]))

    def collection(self, of: Caller) -> str:
        return self.rng.choice(sorted(self.world.collections(of)))

    def beyond(self, caller: Caller) -> str:
        """Returns a collection that the caller may not know of."""
        mine = self.world.collections(caller)
        return self.rng.choice(sorted({name for _, name in self.world.defaults} - mine))

    def secret(self) -> str:
        self._made += 1
        return f"zq{self._made:06}z"

    def field(self) -> str:
        """Returns a name for a field of meta, which is like no other name."""
        return "fx" + "".join(self.rng.choices(ascii_lowercase, k=10))

    def text(self, secret: str) -> str:
        topic, other = self.rng.sample(TOPICS, 2)
        return (
            f"The {topic} opens at {self.rng.randint(5, 11)} and is looked after by {secret}. Its"
            f" code is E-{self.rng.randint(1200, 1260)}.\n\nThe {topic} has a second paragraph"
            f" about the {other}, which {secret} wrote."
        )

    def question(self) -> str:
        topic = self.rng.choice(TOPICS)
        return self.rng.choice(
            (
                f"When does the {topic} open?",
                f"Who looks after the {topic}?",
                f"E-{self.rng.randint(1200, 1260)}",
                f"{topic} paragraph {self.rng.choice(TOPICS)}",
                f"Who wrote about the {topic}, and what is its code?",
            )
        )

    # What changes the world

    def upload(self, caller: Caller, document: Document, *, cancel: bool = False) -> str:
        """Sends a document as JSON; returns the state of its job when it has ended.

        A document without a text is one that cannot be fetched.
        """
        sent: Json = {"id": document.id, "uri": document.uri or _UNREACHABLE}
        if document.text:
            meta = {"n": 7} | dict.fromkeys(document.fields, 1)
            sent |= {"text": document.text, "title": document.title, "meta": meta}
        if document.acl is not None:
            sent["acl"] = document.acl
        body = {"collection": document.collection, "documents": [sent]}
        accepted = self.send(caller, "POST", "/v1/documents", json=body)
        assert accepted.status_code == 202, accepted.text
        return self.settle(caller, document, accepted.json()["job_id"], cancel=cancel)

    def settle(
        self, caller: Caller, document: Document, job_id: str, *, cancel: bool = False
    ) -> str:
        """Waits for a job of one document, and takes its result into the model."""
        self.world.owners[job_id] = caller
        self.jobs.setdefault(caller.name, []).append(job_id)
        if cancel:
            assert self.send(caller, "DELETE", f"/v1/jobs/{job_id}").status_code == 200
        job = self.ended(caller, job_id)
        state: str = job["state"]
        before = self.world.documents.get(document.place)
        if before is None or not self.world.may_read(caller, before):
            assert "unchanged" not in job["outcomes"], (caller, document, before)
        if before and document.acl is None:
            document = replace(document, acl=before.acl)
        if before:  # its first uri stays in the catalog
            document = replace(document, uri=f"{before.uri} {document.uri}")
        listed = before or replace(document, text="")
        self.world.put(document if state == "succeeded" else listed)
        self.counts[f"documents {state}"] += 1
        return state

    def ended(self, caller: Caller, job_id: str) -> Json:
        """Waits for a job to end; returns it."""

        def look() -> Json | None:
            job: Json = self.send(caller, "GET", f"/v1/jobs/{job_id}").json()
            self.counts["calls"] -= 1  # it is none of the random ones
            self.counts["polls"] += 1
            return None if job["state"] in ("pending", "running") else job

        return wait_for(look)

    def answered(self, caller: Caller, response: httpx.Response) -> None:
        """Notes whose an answer is, and its trace."""
        for id_ in re.findall(r'"answer_id":"([0-9a-f]{32})"', response.text):
            self.world.owners[id_] = caller
            self.answers.setdefault(caller.name, []).append(id_)
        for id_ in re.findall(r'"trace_id":"([0-9a-f]{32})"', response.text):
            self.world.owners[id_] = caller


Call = Callable[[Calls], None]
"""A random call of one route."""


def is_refused(status: int) -> None:
    assert status in ERRORS, status
