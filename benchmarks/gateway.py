"""The cost of the gateway: the same requests with it and without it, by turns.

Three `rag serve` over copies of one data folder: the gateway is off, it is on, and it is on with
its limits in a real Redis on the same machine. Limits of all kinds apply, and budgets, too high to
be reached. The key is an administrator's, so that all three search the same chunks: the cost of
ACLs is that of `benchmarks.acl`. Nothing reranks, and answers are extractive.

For a search, a key is checked and limits are taken. For an answer, budgets are looked at and rows
of the ledger are written as well. For the record of a document, a row of the audit log is written.

At the end, keys and tokens are checked in this process, without anything around it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from benchmarks._common import Report, Target, p50
from benchmarks._server import RAG, Server, examples, launched
from benchmarks._texts import sentences
from benchmarks.rest import CLIENTS, PLAIN, load
from rag.build.gateway import open_tokens
from rag.catalog.catalog import Catalog
from rag.catalog.sqlite_database import SqliteDatabase
from rag.gateway.api_keys import ApiKeys, Grant
from rag.gateway.key_authenticator import KeyAuthenticator
from rag.gateway.refusals import TokenRefusals
from rag.protocols import Authenticator
from rag.types import Principal
from tests.redis_server import redis_server
from tests.tokens import token_issuer

ROUNDS, ALONE_SECONDS, CROWD_SECONDS = 6, 2.0, 3.0
NOT_COUNTED = 0.2
"""Share of a turn's requests, at its start: the turn before had the caches."""
CHECKS = 2_000
OFF, LOCAL, REDIS = "off", "on", "on, limits in Redis"
ADDED_MS = {LOCAL: 0.5, REDIS: 1.5}
KEPT = 0.93
HIGH = {"requests": 10**9, "tokens": 10**9, "at_once": 10**6}
BUDGET = json.dumps({"day": 1e9, "month": 1e9})
ON = {
    "RAG_GATEWAY__ENABLED": "true",
    "RAG_GATEWAY__LIMITS__TIERS": json.dumps({"high": HIGH}),
    "RAG_GATEWAY__LIMITS__TENANT": "high",
    "RAG_GATEWAY__LIMITS__KEY": "high",
    "RAG_GATEWAY__LIMITS__SUBJECT": "high",
    "RAG_GATEWAY__COSTS__TENANT": BUDGET,
    "RAG_GATEWAY__COSTS__KEY": BUDGET,
}


def run() -> Report:
    """Searches, answers and records of documents by three servers; then keys and tokens alone."""
    report = Report()
    errors: list[str] = []
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as name:
        folder = Path(name)
        with _serving(folder) as (servers, headers):
            document = f"/v1/documents/{quote(_some_document(servers[OFF]), safe='')}"
            for asked in (
                _Asked("search", "/v1/search", sentences(), has_targets=True),
                _Asked("answer", "/v1/query", sentences()),
                _Asked("document", document),
            ):
                errors += _compare(report, asked, servers, headers)
        asyncio.run(_check(report, folder / "catalog.sqlite"))
    report.add("errors", len(errors), target=Target(bound=0))
    report.notes += [f"error: {error}" for error in errors[:3]]
    return report


@contextlib.contextmanager
def _serving(folder: Path) -> Iterator[tuple[Mapping[str, Server], Mapping[str, str]]]:
    """The three servers, and the headers with the key."""
    with (
        redis_server(folder / "redis", durable=False) as redis,
        examples() as env,
        contextlib.ExitStack() as stack,
    ):
        key = _new_key(env)
        in_redis = {**ON, "RAG_GATEWAY__LIMITS__REDIS_URL": redis.url}
        servers = {}
        for name, settings in ((OFF, {}), (LOCAL, ON), (REDIS, in_redis)):
            data = shutil.copytree(env["RAG_DATA_DIR"], folder / name)
            mine = {**env, **PLAIN, **settings, "RAG_DATA_DIR": str(data)}
            servers[name] = stack.enter_context(launched(mine))
            servers[name].wait_until_ready()
        yield servers, {"Authorization": f"Bearer {key}"}


def _new_key(env: Mapping[str, str]) -> str:
    grant = ("--scopes", "admin,ask,read", "--subject", "bench")
    command = [RAG, "keys", "create", "bench", "--json", *grant]
    made = subprocess.run(command, env=env, capture_output=True, check=True)
    key: str = json.loads(made.stdout)["key"]
    return key


def _some_document(server: Server) -> str:
    [record] = server.get("/v1/documents?limit=1")["documents"]
    id_: str = record["id"]
    return id_


@dataclass(frozen=True, slots=True)
class _Asked:
    """The requests that are made of all servers."""

    name: str
    path: str
    questions: Sequence[str] = ()
    has_targets: bool = False

    def turns(
        self, servers: Mapping[str, Server], headers: Mapping[str, str], **size: Any
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yields the name of a server and what a load on it returned, with its CPU time in ms."""
        names = list(servers)
        for number in range(ROUNDS):
            texts = [f"{text} {number}" for text in self.questions]  # else it has their vectors
            names.append(names.pop(0))
            for name in names:
                url, process = servers[name].url, psutil.Process(servers[name].pid)
                before = process.cpu_times()
                found = load(url, path=self.path, headers=headers, questions=texts, **size)
                after = process.cpu_times()
                cpu = after.user + after.system - before.user - before.system
                yield name, found | {"cpu": cpu * 1e3 / len(found["latencies"])}


def _compare(
    report: Report, asked: _Asked, servers: Mapping[str, Server], headers: Mapping[str, str]
) -> list[str]:
    """Adds p50 of one client, and the throughput of many; returns the errors."""
    alone: dict[str, list[float]] = defaultdict(list)
    crowd: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    errors: list[str] = []
    for name, found in asked.turns(servers, headers, clients=1, seconds=ALONE_SECONDS):
        latencies = found["latencies"]
        alone[name] += latencies[int(NOT_COUNTED * len(latencies)) :]
        errors += found["errors"]
    for name, found in asked.turns(servers, headers, clients=CLIENTS, seconds=CROWD_SECONDS):
        crowd[name].append(found["per_second"])
        cpu[name].append(found["cpu"])
        errors += found["errors"]
    for name, bound in ADDED_MS.items():
        added = Target(bound=bound, by="difference") if asked.has_targets else None
        values = p50(alone[name]), p50(alone[OFF])
        report.add(f"{asked.name} p50, {name}", values[0], unit="ms", floor=values[1], target=added)
    for name in ADDED_MS:
        kept = Target(bound=KEPT, by="ratio", at_least=True) if asked.has_targets else None
        report.add(
            f"{asked.name}, {CLIENTS} clients, {name}",
            p50(crowd[name]),
            unit="requests/s",
            floor=p50(crowd[OFF]),
            target=kept,
        )
    for name in ADDED_MS:
        title = f"{asked.name}, {CLIENTS} clients, {name}, API process"
        report.add(title, p50(cpu[name]), unit="ms CPU/request", floor=p50(cpu[OFF]))
    return errors


async def _check(report: Report, file: Path) -> None:
    """Adds what it takes to check a known key, and tokens whose issuer's keys are known."""
    catalog = Catalog(SqliteDatabase(file))
    await catalog.open()
    try:
        manager = ApiKeys(catalog.keys, changed=lambda _id: None)
        _, key = await manager.create(Principal(), Grant(name="bench", scopes=["ask"]))
        floor = await _checked(KeyAuthenticator(catalog.keys), key)
        report.add("key checked, in process, p50", floor, unit="ms")
        refusals = TokenRefusals(catalog.refused_tokens)
        with token_issuer() as issuer:
            async with open_tokens(issuer.settings(), refusals) as tokens:
                for algorithm in ("RS256", "ES256", "EdDSA"):
                    taken = await _checked(tokens, issuer.token(algorithm))
                    report.add(f"token checked, {algorithm}", taken, unit="ms", floor=floor)
    finally:
        await catalog.close()


async def _checked(authenticator: Authenticator, credential: str) -> float:
    """The median in ms; the first check, which looks keys up, is one of many."""
    taken = []
    for _ in range(CHECKS):
        started = time.perf_counter()
        await authenticator.authenticate(credential)
        taken.append((time.perf_counter() - started) * 1e3)
    return p50(taken)
