"""Batches of callers with keys, limits and prices, and on a server that is killed."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import NotFoundError, OpenAI

from tests.charging import DOCUMENT, MODEL, client, key
from tests.e2e.test_e2e_batches import chat, client_of, ended, read, sent
from tests.e2e.test_e2e_costs import rows
from tests.model_server import ModelServer, model_server, says
from tests.ports import free_port
from tests.servers import Server, rag, serving, submit, wait_for

SECRETS = ("admin", "anna", "bert", "limited", "ends")


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with model_server(says("In 1769 James Watt patented an engine. [1]")) as running:
        yield running


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    data = tmp_path_factory.mktemp("callers") / "data"
    made = {name: key(data, name) for name in SECRETS}
    made["admin"] = key(data, "admin", "--scopes", "ask,read,write,admin,metrics")
    made["rival"] = key(data, "rival", "--scopes", "ask,admin", "--tenant", "rival")
    made["data"] = (str(data), "")
    return made


@pytest.fixture(scope="module")
def server(keys: dict[str, tuple[str, str]], model: ModelServer) -> Iterator[Server]:
    data = Path(keys["data"][0])
    (data.parent / "rag.toml").write_text(
        f"[generator]{MODEL.format(url=model.url, name='tiny')}\n[gateway]\nenabled = true\n"
        "[gateway.limits.tiers.slow]\nrequests = 60\nrequests_burst = 2\n"
        f'[gateway.limits.keys]\n{keys["limited"][0]} = "slow"\n'
    )
    env = {"RAG_BATCHES__AT_ONCE": "0"}
    with serving(data, env=env) as waiting, client_of(waiting.url, keys["ends"][1]) as ends:
        sent(ends, chat(1))
        rag("keys", "revoke", keys["ends"][0], data=data)
    with serving(data) as running:
        with client(running, keys["admin"][1]) as http:
            assert submit(http, DOCUMENT)["state"] == "succeeded"
        yield running


def openai_of(server: Server, keys: dict[str, tuple[str, str]], name: str) -> OpenAI:
    return client_of(server.url, keys[name][1])


def test_lines_cost_half_in_the_ledger(server: Server, keys: dict[str, tuple[str, str]]) -> None:
    with openai_of(server, keys, "anna") as anna:
        assert ended(anna, sent(anna, *(chat(n) for n in range(3)))).status == "completed"
        anna.chat.completions.create(model="default", messages=chat(9)["body"]["messages"])
    data, anna_id = Path(keys["data"][0]), keys["anna"][0]

    def settled() -> list[float] | None:
        mine = [row for row in rows(data) if row["key_id"] == anna_id]
        if len(mine) < 4 or any(row["outcome"] == "open" for row in mine):
            return None
        return sorted(row["cost"] / (row["input_tokens"] + row["output_tokens"]) for row in mine)

    assert wait_for(settled) == [0.5, 0.5, 0.5, 1.0]


def test_nobody_else_sees_a_batch_but_an_admin_of_the_tenant(
    server: Server, keys: dict[str, tuple[str, str]]
) -> None:
    with openai_of(server, keys, "anna") as anna:
        done = ended(anna, sent(anna, chat(1), "{"))
    ids = [done.input_file_id, done.output_file_id or "", done.error_file_id or ""]
    for name in ("bert", "rival"):
        with openai_of(server, keys, name) as other:
            for id_ in ids:
                for call in (other.files.retrieve, other.files.content, other.files.delete):
                    with pytest.raises(NotFoundError):
                        call(id_)
            with pytest.raises(NotFoundError):
                other.batches.retrieve(done.id)
            assert done.id not in [each.id for each in other.batches.list()]
            assert ids[0] not in [each.id for each in other.files.list()]
            with pytest.raises(NotFoundError):
                other.batches.create(
                    input_file_id=ids[0], endpoint="/v1/embeddings", completion_window="24h"
                )
    with openai_of(server, keys, "admin") as admin:
        assert len(read(admin, ids[1])) == len(read(admin, ids[2])) == 1
        assert done.id in [each.id for each in admin.batches.list()]


def test_lines_of_a_revoked_key_fail_with_that_reason(
    server: Server, keys: dict[str, tuple[str, str]]
) -> None:
    with openai_of(server, keys, "admin") as admin:
        oldest = list(admin.batches.list())[-1]
        done = ended(admin, oldest)
        [line] = read(admin, done.error_file_id)
    assert line["response"]["status_code"] == 401
    assert line["response"]["body"]["error"]["code"] == "key_ended"


def test_lines_over_a_limit_of_their_caller_wait_for_it(
    server: Server, keys: dict[str, tuple[str, str]]
) -> None:
    with openai_of(server, keys, "limited") as limited, openai_of(server, keys, "admin") as admin:
        done = ended(admin, sent(limited, *(chat(n) for n in range(5))))
    assert done.request_counts is not None
    assert (done.status, done.request_counts.completed) == ("completed", 5)
    with client(server, keys["admin"][1]) as http:
        counts = http.get("/metrics").text
    [postponed] = [s for s in counts.splitlines() if 'lines_total{outcome="postponed"}' in s]
    assert float(postponed.split()[-1]) >= 1


def test_a_server_that_is_killed_again_and_again_answers_every_line_once(tmp_path: Path) -> None:
    data, port, dice, count = tmp_path / "data", str(free_port()), random.Random(7), 300
    with serving(data, port=port) as server:
        with server.client() as http:
            submit(http, {"id": "a", "text": "The office opens at nine."})
        with client_of(server.url) as openai:
            batch = sent(openai, *(chat(n) for n in range(count)))
        server.kill()  # before, or while, its file is read
    before = 0
    for _ in range(4):
        with serving(data, port=port) as server, client_of(server.url) as openai:
            time.sleep(dice.uniform(0.0, 1.0))
            counts = openai.batches.retrieve(batch.id).request_counts
            server.kill()
            assert counts is not None
            assert counts.completed >= before  # nothing is lost
            before = counts.completed
    with serving(data, port=port) as server, client_of(server.url) as openai:
        done = ended(openai, batch)
        output = read(openai, done.output_file_id)
    assert (done.status, done.error_file_id) == ("completed", None)
    assert [line["custom_id"] for line in output] == [f"line-{n}" for n in range(count)]
    assert {line["response"]["status_code"] for line in output} == {200}
