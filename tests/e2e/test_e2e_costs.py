"""The ledger of a real server agrees with what the servers of its models counted."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.charging import DOCUMENT, MODEL, Provider, client, key, question
from tests.model_server import ModelServer, model_server
from tests.ports import free_port
from tests.servers import Server, rag, serving, submit, wait_for

CLIENTS = 8
KINDS = ("answer", "answer", "stream", "hang up", "fail", "break", "chat", "unknown")


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def model(provider: Provider) -> Iterator[ModelServer]:
    with model_server(provider) as running:
        yield running


@contextlib.contextmanager
def charged_server(data: Path, model: ModelServer, port: str = "0") -> Iterator[Server]:
    first, second = (MODEL.format(url=model.url, name=name) for name in ("first", "second"))
    (data.parent / "rag.toml").write_text(
        f"[generator]{first}\n[[fallbacks]]{second}\n[gateway]\nenabled = true\n"
        '[citations]\nclaims = "off"\n'  # each question is one call, told as it comes
        '[gateway.limits]\nkey = "large"\n'
        "[gateway.limits.tiers.large]\nrequests = 600000\ntokens = 1000000000\nat_once = 1000\n"
    )
    with serving(data, port=port) as running:
        yield running


def ask(http: httpx.Client, kind: str, dice: random.Random, trace: str) -> None:
    """Asks a question of this kind, and hangs up if it is one of those."""
    http.headers["traceparent"] = f"00-{trace}-{'1' * 16}-01"
    text = question(kind, dice)
    if kind == "chat":
        body = {"model": "default", "messages": [{"role": "user", "content": text}]}
        assert http.post("/v1/chat/completions", json=body).status_code == 200
        return
    collection = "none" if kind == "unknown" else "default"
    stream = kind in ("stream", "hang up")
    question_body = {"query": text, "collection": collection, "stream": stream}
    if not stream:
        status = http.post("/v1/query", json=question_body).status_code
        assert status == {"break": 503, "unknown": 404}.get(kind, 200)
        return
    with http.stream("POST", "/v1/query", json=question_body) as response:
        pieces = 0
        for line in response.iter_lines():
            pieces += line == "event: token"
            if kind == "hang up" and pieces == 4:  # the server has written no more
                return


def rows(data: Path) -> list[sqlite3.Row]:
    with contextlib.closing(
        sqlite3.connect(f"file:{data / 'catalog.sqlite'}?mode=ro", uri=True)
    ) as db:
        db.row_factory = sqlite3.Row
        return db.execute("SELECT * FROM usage").fetchall()


def counted(data: Path) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Returns the tokens of the ledger by trace and model."""
    return {
        (row["trace_id"], row["model"]): (
            row["input_tokens"],
            row["output_tokens"],
            row["cached_tokens"],
        )
        for row in rows(data)
        if row["feature"] == "ask" and row["model"] and row["outcome"] != "interrupted"
    }


def provided(provider: Provider) -> dict[tuple[str, str], tuple[int, int, int]]:
    return {
        of: (tokens, provider.output_tokens[of], tokens // 2)
        for of, tokens in provider.input_tokens.items()
    }


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.attack)])
def test_sums_are_those_of_the_provider_to_the_token(
    tmp_path: Path, provider: Provider, model: ModelServer, count: int
) -> None:
    data = tmp_path / "data"
    _, secret = key(data, "asks", "--scopes", "ask,read,write,admin")
    kinds = [KINDS[n % len(KINDS)] for n in range(count)]
    with charged_server(data, model) as server:
        with client(server, secret) as http:
            submit(http, DOCUMENT)
            assert http.post("/v1/search", json={"query": "engine"}).status_code == 200

        def run(part: int) -> None:
            own = random.Random(part)
            with client(server, secret) as http:
                for n in range(part, count, CLIENTS):
                    ask(http, kinds[n], own, f"{n + 1:032x}")

        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(run, range(CLIENTS)))
        wait_for(lambda: not any(row["outcome"] == "open" for row in rows(data)))
        assert counted(data) == provided(provider)
        with client(server, secret) as http:
            body = http.get("/v1/usage", params={"by": "feature"}).json()
    features = {each["feature"]: each for each in body["groups"]}
    assert features["ask"]["input_tokens"] == sum(provider.input_tokens.values())
    assert features["ask"]["output_tokens"] == sum(provider.output_tokens.values())
    assert features["ingest"]["requests"] == 1
    assert features["ingest"]["input_tokens"] > len(DOCUMENT["text"].split())
    assert body["total"]["requests"] == count + 1  # and the document, but not the search
    found: Counter[str] = Counter()
    for row in rows(data):
        if row["part"] == 0 and row["feature"] == "ask":
            found[row["outcome"]] += 1
    of = Counter(kinds)
    assert found == {
        "ok": of["answer"] + of["stream"] + of["chat"] + of["fail"],
        "hung_up": of["hang up"],
        "failed": of["break"],
        "refused": of["unknown"],
    }
    # What the first model failed was answered by the second, as was what came in the pauses.
    assert sum(row["model"] == "second" for row in rows(data)) >= of["fail"]
    told = rag("usage", "--by", "model", "--json", data=data)
    assert json.loads(told.stdout)["total"]["cost"] == body["total"]["cost"]


def _more_than(done: set[str], count: int) -> bool:
    return len(done) > count


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.attack)])
def test_a_killed_server_loses_at_most_the_requests_under_way(
    tmp_path: Path, provider: Provider, model: ModelServer, kills: int
) -> None:
    """Whatever was answered is in the ledger with its tokens, and once."""
    data, port = tmp_path / "data", str(free_port())
    _, secret = key(data, "asks", "--scopes", "ask,read,write")
    done: set[str] = set()
    lock, stop = threading.Lock(), threading.Event()
    number = iter(range(1, 10**9))

    def run(part: int) -> None:
        dice = random.Random(part)
        while not stop.is_set():
            with lock:
                trace = f"{next(number):032x}"
            with contextlib.suppress(httpx.TransportError), client(server, secret) as http:
                ask(http, dice.choice(("answer", "stream", "chat", "fail")), dice, trace)
                with lock:
                    done.add(trace)

    dice = random.Random(kills)
    for turn in range(kills):
        with charged_server(data, model, port) as server:
            if not turn:
                with client(server, secret) as http:
                    submit(http, DOCUMENT)
            stop.clear()
            with ThreadPoolExecutor(CLIENTS) as pool:
                running = [pool.submit(run, part + 100 * turn) for part in range(CLIENTS)]
                enough = len(done) + 10
                wait_for(partial(_more_than, done, enough))
                time.sleep(dice.uniform(0, 0.3))
                stop.set()
                server.kill()
            for each in running:
                assert not isinstance(each.exception(), AssertionError)
    with charged_server(data, model, port) as server:
        text = server.log.read_text()
    found, expected = counted(data), provided(provider)
    assert {of: found[of] for of in found} == {of: expected[of] for of in found}
    missing = {trace for trace, _ in expected} - {trace for trace, _ in found}
    assert not missing & done, "answered, and not in the ledger"
    assert len(missing) <= kills * CLIENTS
    closed = [row for row in rows(data) if row["outcome"] == "interrupted"]
    assert len(closed) <= kills * CLIENTS
    assert not any(row["outcome"] == "open" for row in rows(data))
    assert "died while it wrote the ledger" in text
