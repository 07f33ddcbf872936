"""Limits and budgets of callers of a real server."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import openai
import pytest

from tests.charging import DOCUMENT, MODEL, QUESTION, client, key
from tests.flood import Flood
from tests.model_server import ModelServer, chunk, model_server, says, sends, silent
from tests.redis_server import redis_server
from tests.servers import Json, Server, serving, submit, wait_for

KINDS = {
    "fast": "requests = 6000\ntokens = 100000000\nat_once = 100",
    "slow": "requests = 60\nrequests_burst = 2",
    "tokens": "tokens = 60000\ntokens_burst = 2000",
    "tiny": "tokens = 50",
    "none": "requests = 0",
    "single": "at_once = 1",
}
BUDGETS = {"cheap": "day = 100.0", "spent": "month = 0.0", "filing": "day = 10.0"}


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with model_server(says("In 1769 James Watt patented an engine. [1]")) as running:
        yield running


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Keys on a data folder, by the name of their tier or budget."""
    data = tmp_path_factory.mktemp("limits") / "data"
    made = {name: key(data, name) for name in (*KINDS, "cheap", "spent")}
    made["filing"] = key(data, "filing", "--scopes", "ask,read,write")
    made["admin"] = key(data, "admin", "--scopes", "ask,read,write,admin,metrics")
    made["data"] = (str(data), "")
    return made


@pytest.fixture(scope="module")
def server(keys: dict[str, tuple[str, str]], model: ModelServer) -> Iterator[Server]:
    data = Path(keys["data"][0])
    tiers = "".join(f"[gateway.limits.tiers.{name}]\n{text}\n" for name, text in KINDS.items())
    named = "".join(f'{keys[name][0]} = "{name}"\n' for name in KINDS)
    budgets = "".join(f"[gateway.costs.keys.{keys[n][0]}]\n{text}\n" for n, text in BUDGETS.items())
    (data.parent / "rag.toml").write_text(
        f"[generator]{MODEL.format(url=model.url, name='tiny')}\n"
        "[embedder]\ninput_price = 1000000.0\n[reranker]\ninput_price = 2000000.0\n"
        "[gateway]\nenabled = true\n"
        f"{tiers}[gateway.limits.keys]\n{named}{budgets}"
    )
    with serving(data) as running, client(running, keys["admin"][1]) as http:
        submit(http, DOCUMENT)
        yield running


@pytest.fixture(autouse=True)
def _says(model: ModelServer) -> None:
    model.script = says("In 1769 James Watt patented an engine. [1]")


def ask(http: httpx.Client, text: str = QUESTION) -> httpx.Response:
    return http.post("/v1/query", json={"query": text})


def test_a_response_tells_the_limits(server: Server, keys: dict[str, tuple[str, str]]) -> None:
    with client(server, keys["fast"][1]) as http:
        response = ask(http)
    assert response.status_code == 200
    assert response.headers["ratelimit-policy"] == (
        '"key-requests";q=6000;w=60, "key-tokens";q=100000000;w=60;qu="tokens",'
        ' "key-at-once";q=100;qu="concurrent-requests"'
    )
    assert re.fullmatch(
        r'"key-requests";r=5999;t=1, "key-tokens";r=\d+;t=1, "key-at-once";r=99',
        response.headers["ratelimit"],
    )
    assert response.headers["x-ratelimit-limit-requests"] == "6000"
    assert response.headers["x-ratelimit-remaining-requests"] == "5999"
    assert re.fullmatch(r"\d+ms", response.headers["x-ratelimit-reset-requests"])
    assert int(response.headers["x-ratelimit-remaining-tokens"]) < 100_000_000


def test_one_past_the_burst_is_told_when_to_come_again(
    server: Server, keys: dict[str, tuple[str, str]]
) -> None:
    with client(server, keys["slow"][1]) as http:
        responses = [http.get("/v1/collections") for _ in range(6)]
        refused = responses[-1]
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["code"] == "rate_limited"
        assert refused.headers["retry-after"] == "1"
        assert 0 < int(refused.headers["retry-after-ms"]) <= 1000
        assert '"key-requests";r=0;t=1' in refused.headers["ratelimit"]
        assert "x-should-retry" not in refused.headers
        time.sleep(int(refused.headers["retry-after-ms"]) / 1000 + 0.01)
        assert http.get("/v1/collections").status_code == 200


def test_openais_client_waits_as_it_is_told(
    server: Server, keys: dict[str, tuple[str, str]]
) -> None:
    """Its own loop of retries gets every answer, and is not refused over and over."""
    refused: list[str] = []

    def note(response: object) -> None:
        if getattr(response, "status_code", 0) == 429:
            refused.append(getattr(response, "headers")["retry-after-ms"])  # noqa: B009

    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=keys["slow"][1], max_retries=2) as ai:
        ai._client.event_hooks = {"response": [note]}
        for _ in range(6):
            answer = ai.chat.completions.create(
                model="default", messages=[{"role": "user", "content": QUESTION}]
            )
            assert answer.choices[0].message.content
    assert 3 <= len(refused) <= 8
    assert all(0 < int(wait) <= 1000 for wait in refused)


def test_openais_client_does_not_retry_what_never_fits(
    server: Server, keys: dict[str, tuple[str, str]]
) -> None:
    for name, message in (("tiny", "Make it smaller"), ("none", "no requests are allowed")):
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key=keys[name][1]) as ai:
            with pytest.raises(openai.RateLimitError, match=message) as refused:
                ai.chat.completions.create(
                    model="default", messages=[{"role": "user", "content": QUESTION}]
                )
            assert refused.value.code == "rate_limit_exceeded"
            assert refused.value.response.headers["x-should-retry"] == "false"
            assert "retry-after" not in refused.value.response.headers
            assert refused.value.response.request.headers["x-stainless-retry-count"] == "0"


def test_tokens_are_settled_after_an_answer(
    server: Server, keys: dict[str, tuple[str, str]]
) -> None:
    """Each question reserves most of the bucket and uses 77 tokens: all are answered."""
    with client(server, keys["tokens"][1]) as http:
        for _ in range(5):
            response = ask(http)
            assert response.status_code == 200
            wait_for(lambda: remaining(http) > 1800)


def test_tokens_are_settled_after_a_hang_up(
    server: Server, keys: dict[str, tuple[str, str]], model: ModelServer
) -> None:
    model.script = sends(*[chunk(" word") for _ in range(5)], then=silent)
    with client(server, keys["tokens"][1]) as http:
        with http.stream("POST", "/v1/query", json={"query": QUESTION, "stream": True}) as stream:
            for line in stream.iter_lines():
                if "token" in line:
                    break
        wait_for(lambda: remaining(http) > 1700)


def remaining(http: httpx.Client) -> int:
    """Returns the tokens that a question too long to be let in is told."""
    refused = http.post("/v1/query", json={"query": "why " * 3000})
    assert refused.status_code == 429
    return int(refused.headers["x-ratelimit-remaining-tokens"])


def test_a_permit_is_held_to_the_last_byte(
    server: Server, keys: dict[str, tuple[str, str]], model: ModelServer
) -> None:
    done = threading.Event()

    def wait(_: BaseHTTPRequestHandler) -> None:
        done.wait(60)

    model.script = sends(chunk("In 1769 "), then=wait)
    with client(server, keys["single"][1]) as http, client(server, keys["single"][1]) as other:
        try:
            body = {"query": QUESTION, "stream": True, "claims": "off"}
            with http.stream("POST", "/v1/query", json=body) as stream:
                lines = stream.iter_lines()  # kept: the response is closed with it
                next(line for line in lines if "token" in line)
                refused = other.get("/v1/collections")
                assert refused.status_code == 429
                assert refused.headers["retry-after"] == "1"
                assert '"key-at-once";r=0' in refused.headers["ratelimit"]
        finally:
            done.set()
        wait_for(lambda: other.get("/v1/collections").status_code == 200)


class TestBudgets:
    def test_one_is_warned_of_and_then_refused(
        self, server: Server, keys: dict[str, tuple[str, str]]
    ) -> None:
        """An answer costs 77; the budget is 100 a day."""
        with client(server, keys["cheap"][1]) as http:
            assert "x-budget" not in ask(http).headers
            second = ask(http)
            assert second.status_code == 200
            third = ask(http)
        assert third.status_code == 402
        assert third.json()["code"] == "quota_exceeded"
        assert "begins anew in" in third.json()["detail"]
        assert 0 < int(third.headers["retry-after"]) <= 86_400
        assert third.headers["x-should-retry"] == "false"

    def test_documents_embeddings_and_reranking_count_for_one(
        self, server: Server, keys: dict[str, tuple[str, str]]
    ) -> None:
        """A token that is embedded costs 1, one that is read for an order 2."""
        document = DOCUMENT | {"id": "filed", "text": "A steam engine works at a lower pressure."}
        with client(server, keys["filing"][1]) as http:
            assert http.post(
                "/v1/rerank", json={"model": "default", "query": "Why?", "documents": ["So."]}
            ).is_success
            submit(http, document)

            def refused() -> Json | None:
                response = http.post("/v1/documents", json={"documents": [document]})
                return response.json() if response.status_code == 402 else None

            problem = wait_for(refused, pause=1.0)  # the ledger is read every five seconds
            assert problem["code"] == "quota_exceeded"
            assert http.get("/v1/documents/filed").is_success

            def by_feature() -> list[Json]:
                own = http.get("/v1/usage", params={"by": ["key", "feature"]}).json()
                return [each for each in own["groups"] if each["feature"] == "ingest"]

            wait_for(by_feature)
            groups = http.get("/v1/usage", params={"by": ["key", "feature"]}).json()["groups"]
        spent = {each["feature"]: (each["input_tokens"], each["cost"]) for each in groups}
        tokens = spent["ingest"][0]
        assert tokens >= 10
        assert spent["ingest"] == (tokens, float(tokens))
        read, cost = spent["rerank"]
        assert cost == 2.0 * read > 0

    def test_openais_client_gets_its_own_form(
        self, server: Server, keys: dict[str, tuple[str, str]]
    ) -> None:
        with (
            openai.OpenAI(base_url=f"{server.url}/v1", api_key=keys["spent"][1]) as ai,
            pytest.raises(openai.APIStatusError, match="is spent") as refused,
        ):
            ai.embeddings.create(model="default", input="Why?")
        assert refused.value.status_code == 402
        assert refused.value.code == "insufficient_quota"

    def test_a_key_sees_its_own_use_and_an_administrator_the_tenants(
        self, server: Server, keys: dict[str, tuple[str, str]]
    ) -> None:
        with client(server, keys["cheap"][1]) as http:

            def by_model() -> list[Json]:
                own = http.get("/v1/usage", params={"by": ["key", "model"]}).json()
                return [each for each in own["groups"] if each["model"]]

            (group,) = wait_for(by_model)  # the ledger is written behind the answers
        assert group["key"] == keys["cheap"][0]
        assert (group["model"], group["requests"], group["cost"]) == ("tiny", 2, 154.0)
        with client(server, keys["admin"][1]) as http:
            tenants = http.get("/v1/usage", params={"by": "key"}).json()
            assert http.get("/v1/usage", params={"by": "shop"}).status_code == 422
        found = {each["key"] for each in tenants["groups"]}
        assert {keys[name][0] for name in ("cheap", "slow", "fast", "tokens")} <= found


RATE, BURST = 10, 40
"""So little that clients on a busy machine ask for more."""


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.attack)])
def test_two_servers_on_one_redis_let_in_what_one_bucket_allows(
    tmp_path: Path, seconds: int
) -> None:
    with redis_server(tmp_path / "redis", durable=False) as redis, ExitStack() as stack:
        places = []
        for name in ("a", "b"):
            data = tmp_path / name / "data"
            _, secret = key(data, "floods")
            (data.parent / "rag.toml").write_text(
                f'[gateway]\nenabled = true\n[gateway.limits]\nredis_url = "{redis.url}"\n'
                'tenant = "one"\nrequests_without_redis = "closed"\n'
                f"[gateway.limits.tiers.one]\nrequests = {60 * RATE}\nrequests_burst = {BURST}\n"
            )
            places.append((stack.enter_context(serving(data)), secret))
        clients = [stack.enter_context(client(*places[n % 2])) for n in range(32)]
        for http in clients[:2]:
            http.get("/v1/usage")  # the first use of a key reads the catalog
        flood, waits = Flood(time.time()), list[int]()

        def ask_on(http: httpx.Client) -> None:
            while time.time() < end:
                response = http.get("/v1/collections")
                if response.status_code == 200:
                    flood.admitted.append(time.time())
                elif response.status_code == 503:  # Redis was late on a busy machine
                    flood.unknown = True
                else:
                    assert response.status_code == 429
                    flood.refused.append(time.time())
                    waits.append(int(response.headers["retry-after-ms"]))

        end = time.time() + seconds
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(ask_on, clients))
    flood.check(burst=BURST, rate=RATE)
    assert max(waits) <= 1000 / RATE + 1
