"""A model over servers that answer, hang, break off, or are killed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing

import pytest
from prometheus_client import REGISTRY

from generation.replicas import checks, hedging, outliers
from generation.replicas.model import ReplicatedModel
from generation.replicas.pool import Pool
from rag.errors import BusyError, InputError, UpstreamError
from rag.telemetry.trace import Trace
from rag.types import Sampling, Usage
from tests.model_server import (
    PATIENCE,
    ModelServer,
    chunk,
    cut,
    model_server,
    refuses,
    says,
    sends,
    silent,
    slowly,
)
from tests.replicas import Clock, ask, chat, degraded, engines, replicated, text

pytestmark = pytest.mark.anyio
WELL = says("Be", "cause.")
TOPICS = [f"topic {number}" for number in range(40)]


def urls(servers: list[ModelServer]) -> list[str]:
    return [server.base_url for server in servers]


def counts(servers: list[ModelServer]) -> list[int]:
    return [len(server.requests) for server in servers]


def counted(pool: Pool, replica: int, kind: str, outcome: str) -> float:
    labels = {"replica": pool.names[replica], "kind": kind, "outcome": outcome}
    return REGISTRY.get_sample_value("plumbline_replica_requests_total", labels) or 0


def gauge(pool: Pool, replica: int, name: str) -> float | None:
    labels = {"replica": pool.names[replica]}
    return REGISTRY.get_sample_value(f"plumbline_replica_{name}", labels)


async def owner(model: ReplicatedModel, pool: Pool, topic: str = "a") -> int:
    """Returns the replica that a topic belongs to."""
    choice = pool.choose(model._asked(chat(topic), Sampling(max_tokens=9)).key, 1)
    assert choice is not None
    return choice.replica


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


# Affinity


async def test_prompts_that_begin_alike_go_to_one_replica_and_all_replicas_get_some() -> None:
    with engines(*[WELL] * 4) as servers:
        async with replicated(urls(servers)) as (model, _):
            for topic in TOPICS:
                for _ in range(3):
                    assert text(await ask(model, topic)) == "Because."
        assert all(counts(servers))
        for server in servers:
            asked = Counter(str(request["messages"]) for request in server.requests)
            assert set(asked.values()) == {3}


async def test_a_conversation_stays_on_its_replica_and_others_go_by_their_prompts() -> None:
    async def in_session(model: ReplicatedModel, trace: Trace, topic: str) -> str:
        span = trace.open("generate", "generation")
        with trace.inside(span):
            await ask(model, topic)
        return str(span.attributes["replica"])

    with engines(*[WELL] * 4) as servers:
        async with replicated(urls(servers), affinity="session") as (model, _):
            talk = Trace(tenant="acme", session="talk-1")
            assert len({await in_session(model, talk, topic) for topic in TOPICS}) == 1
            others = [Trace(tenant=f"tenant {n}", session="talk-1") for n in range(20)]
            assert len({await in_session(model, other, "a") for other in others}) > 1
            nameless = Trace(tenant="acme")
            assert len({await in_session(model, nameless, topic) for topic in TOPICS}) == 4


async def test_without_affinity_the_least_loaded_replica_is_asked() -> None:
    with engines(*[slowly(WELL, seconds=0.3)] * 4) as servers:
        async with replicated(urls(servers), affinity="none") as (model, _):
            await asyncio.gather(*(ask(model) for _ in range(8)))
        assert counts(servers) == [2, 2, 2, 2]


async def test_requests_in_an_engines_queue_count_as_load() -> None:
    with engines(WELL, WELL) as servers:
        servers[0].pages["/metrics"] = (
            'vllm:num_requests_waiting{engine="0"} 5.0\n'
            'vllm:kv_cache_usage_perc{engine="0"} 0.75\n'
            'vllm:prefix_cache_hits_total{engine="0"} 30\n'
        )
        async with replicated(urls(servers), affinity="none") as (model, pool):
            for _ in range(3):
                await ask(model)
            assert counts(servers) == [0, 3]
            assert pool.load(0) > pool.load(1) == 0
            assert gauge(pool, 0, "waiting") == 5
            assert gauge(pool, 0, "kv_cache_usage") == 0.75
            assert gauge(pool, 1, "waiting") is None


# Faults


async def test_a_replica_that_is_killed_in_mid_traffic_costs_no_answer() -> None:
    with engines(*[slowly(WELL, seconds=0.02)] * 8) as servers:
        async with replicated(urls(servers)) as (model, pool):
            answers = []

            async def client(number: int) -> None:
                for turn in range(12):
                    answers.append(await ask(model, f"topic {number} {turn}"))
                    if (number, turn) == (0, 4):
                        await asyncio.to_thread(servers[1].stop)

            await asyncio.gather(*map(client, range(8)))
            assert len(answers) == 96
            assert {text(pieces) for pieces in answers} == {"Because."}
            told = {each for pieces in answers for each in degraded(pieces)}
            assert told <= {
                "generate: replica 2 of 8 of the model tiny failed, and another was asked"
            }
            await until(lambda: not pool.is_in(1))
            assert [pool.load(replica) for replica in range(8)] == [0.0] * 8


async def test_one_that_accepts_and_never_answers_costs_one_question_its_time() -> None:
    with engines(WELL, WELL, WELL) as servers:
        async with replicated(urls(servers), first_token_seconds=0.3) as (model, pool):
            hung = await owner(model, pool)
            servers[hung].script = silent
            pieces = await ask(model)
            assert text(pieces) == "Because."
            who = f"replica {hung + 1} of 3 of the model tiny"
            assert degraded(pieces) == (
                f"generate: {who} sent nothing in its time, and another was asked",
            )
            assert "http" not in str(degraded(pieces))
            assert pool.is_ejected(hung)
            assert gauge(pool, hung, "ejected") == 1
            for _ in range(5):
                assert degraded(await ask(model)) == ()
            assert counts(servers)[hung] == 1
            assert counted(pool, hung, "first", "late") == 1


async def test_one_without_the_model_gets_no_question() -> None:
    with engines(WELL, refuses(404, "no model tiny"), WELL) as servers:
        servers[1].pages["/v1/models"] = '{"data": [{"id": "another"}]}'
        async with replicated(urls(servers)) as (model, pool):
            for topic in TOPICS:
                assert degraded(await ask(model, topic)) == ()
            assert counts(servers)[1] == 0
            assert gauge(pool, 1, "ready") == 0


async def test_one_that_is_slow_is_left_out() -> None:
    with engines(*[WELL] * 4) as servers:
        async with replicated(urls(servers)) as (model, pool):
            slow = await owner(model, pool)
            servers[slow].script = slowly(WELL, seconds=0.4)
            for topic in TOPICS:
                await ask(model, topic)
            for _ in range(outliers.SLOW_TOKENS):
                assert degraded(await ask(model)) == ()
            assert pool.is_ejected(slow)
            before = counts(servers)[slow]
            for topic in TOPICS:
                await ask(model, topic)
            assert counts(servers)[slow] == before


async def test_an_ejected_replica_comes_back_by_one_question() -> None:
    clock = Clock()
    with engines(WELL, WELL, WELL) as servers:
        async with replicated(urls(servers), checked=False, clock=clock) as (model, pool):
            bad = await owner(model, pool)
            servers[bad].script = refuses(500, "it broke")
            for _ in range(outliers.FAILURES):
                assert text(await ask(model)) == "Because."
            assert pool.is_ejected(bad)
            servers[bad].script = WELL
            await ask(model)
            assert counts(servers)[bad] == outliers.FAILURES
            clock.now = outliers.PAUSE_SECONDS
            assert degraded(await ask(model)) == ()
            assert counts(servers)[bad] == outliers.FAILURES + 1
            assert not pool.is_ejected(bad)
            assert counted(pool, bad, "first", "failed") == outliers.FAILURES


async def test_one_that_was_away_is_back_when_it_answers_checks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "CHECK_SECONDS", 0.02)
    with engines(WELL, WELL) as servers:
        async with replicated(urls(servers)) as (model, pool):
            port = int(servers[0].url.rpartition(":")[2])
            await asyncio.to_thread(servers[0].stop)
            await until(lambda: not pool.is_in(0))
            for topic in TOPICS[:5]:
                assert degraded(await ask(model, topic)) == ()
            with model_server(WELL, at=port):
                await until(lambda: pool.is_in(0))
                for topic in TOPICS:
                    await ask(model, topic)
                assert counted(pool, 0, "first", "answered") > 0


async def test_when_all_are_out_the_least_bad_is_asked_and_the_answer_says_so() -> None:
    with engines(WELL, WELL) as servers:
        for server in servers:
            server.pages["/v1/models"] = '{"data": []}'
        async with replicated(urls(servers)) as (model, pool):
            assert not any(map(pool.is_in, (0, 1)))
            pieces = await ask(model)
            assert text(pieces) == "Because."
            assert degraded(pieces) == (
                "generate: no replica of the model tiny was left in rotation, and replica 1 of 2"
                " was asked all the same",
            )


async def test_after_the_first_token_nothing_is_retried() -> None:
    with engines(*[sends(chunk("Be"), then=cut)] * 3) as servers:
        async with replicated(urls(servers)) as (model, pool):
            async with aclosing(model.stream(chat(), sampling=Sampling(max_tokens=9))) as pieces:
                assert (await anext(pieces)).text == "Be"
                with pytest.raises(UpstreamError):
                    await anext(pieces)
            assert sum(counts(servers)) == 1
            assert sum(map(pool.load, range(3))) == 0


async def test_three_replicas_are_tried_and_no_more() -> None:
    with engines(*[refuses(500, "it broke")] * 5) as servers:
        async with replicated(urls(servers)) as (model, _):
            with pytest.raises(UpstreamError, match="it broke"):
                await ask(model)
        assert sorted(counts(servers)) == [0, 0, 1, 1, 1]


async def test_what_the_request_is_to_blame_for_is_asked_of_one() -> None:
    too_long = refuses(400, "Too much.", code="context_length_exceeded")
    with engines(*[too_long] * 3) as servers:
        async with replicated(urls(servers)) as (model, pool):
            for _ in range(outliers.FAILURES + 1):
                with pytest.raises(InputError):
                    await ask(model)
            assert sum(counts(servers)) == outliers.FAILURES + 1
            assert not any(map(pool.is_ejected, range(3)))


async def test_one_that_is_busy_is_passed_over_and_not_ejected() -> None:
    with engines(*[refuses(429, "slow down")] * 3) as servers:
        async with replicated(urls(servers)) as (model, pool):
            first = await owner(model, pool)
            for _ in range(outliers.FAILURES + 1):
                with pytest.raises(BusyError):
                    await ask(model)
            servers[(first + 1) % 3].script = WELL
            pieces = await ask(model)
            assert text(pieces) == "Because."
            assert "has too many requests, and another was asked" in degraded(pieces)[0]
            assert not any(map(pool.is_ejected, range(3)))


async def test_a_caller_who_leaves_ends_the_request_and_its_load() -> None:
    with engines(silent, silent) as servers:
        async with replicated(urls(servers)) as (model, pool):
            asking = asyncio.create_task(ask(model))
            await until(lambda: sum(counts(servers)) == 1)
            assert sum(map(pool.load, (0, 1))) > 0
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            assert sum(map(pool.load, (0, 1))) == 0
            assert not any(map(pool.is_ejected, (0, 1)))


# Hedging


async def test_a_late_replica_is_hedged_and_the_tokens_of_both_count() -> None:
    with engines(*[WELL] * 3) as servers:
        async with replicated(urls(servers), hedge=True) as (model, pool):
            for _ in range(hedging.LEAST_SAMPLES):
                await ask(model)
            late = await owner(model, pool)
            servers[late].script = silent
            pieces = await ask(model)
            assert text(pieces) == "Because."
            alone = Usage(input_tokens=70, output_tokens=7)
            prompt = await model.count_tokens(chat())
            assert pieces[-1].usage == Usage(
                input_tokens=alone.input_tokens + prompt, output_tokens=7, estimated=True
            )
            assert degraded(pieces) == ()
            assert counted(pool, late, "first", "lost") == 1
            hedged = [counted(pool, each, "hedge", "answered") for each in range(3) if each != late]
            assert sum(hedged) == 1
            assert sum(map(pool.load, range(3))) == 0
            assert not pool.is_ejected(late)
            for _ in range(outliers.SLOW_TOKENS - 1):
                await ask(model)
            assert pool.is_ejected(late)


async def test_a_hedge_that_fails_leaves_the_first_to_answer() -> None:
    with engines(*[WELL] * 2) as servers:
        async with replicated(urls(servers), hedge=True) as (model, pool):
            for _ in range(hedging.LEAST_SAMPLES):
                await ask(model)
            first = await owner(model, pool)
            servers[first].script = slowly(WELL, seconds=0.4)
            servers[1 - first].script = refuses(500, "it broke")
            pieces = await ask(model)
            assert text(pieces) == "Because."
            assert counted(pool, first, "first", "answered") == hedging.LEAST_SAMPLES + 1
            assert counted(pool, 1 - first, "hedge", "failed") == 1


async def test_without_the_option_nothing_is_hedged() -> None:
    with engines(*[WELL] * 2) as servers:
        async with replicated(urls(servers)) as (model, pool):
            for _ in range(hedging.LEAST_SAMPLES):
                await ask(model)
            first = await owner(model, pool)
            servers[first].script = slowly(WELL, seconds=0.3)
            before = sum(counts(servers))
            await ask(model)
            assert sum(counts(servers)) == before + 1


# What is told


async def test_the_span_says_which_replica_answered_and_why() -> None:
    with engines(WELL, WELL, WELL) as servers:
        async with replicated(urls(servers)) as (model, pool):
            trace = Trace()
            span = trace.open("generate", "generation")
            with trace.inside(span):
                await ask(model)
            (answered,) = (server for server in servers if server.requests)
            assert span.attributes == {
                "replica": answered.base_url,
                "replica_reason": "affinity",
                "replica_requests": 1,
                "replica_hedged": False,
            }
            assert pool.names == tuple(urls(servers))
            assert answered.headers[0]["traceparent"].startswith(f"00-{trace.id}-{span.id}")


async def test_passwords_of_addresses_and_keys_are_nowhere_to_be_seen() -> None:
    with engines(refuses(500, "bad hunter2"), refuses(500, "bad")) as servers:
        secret = [url.replace("http://", "http://user:hunter2@") for url in urls(servers)]
        async with replicated(secret, api_key="sk-hunter2") as (model, pool):
            trace = Trace()
            with trace.inside(trace.root), pytest.raises(UpstreamError) as caught:
                await ask(model)
            told = "".join((*pool.names, str(trace), caught.value.detail))
            assert "hunter2" not in told
            assert all("***@127.0.0.1" in name for name in pool.names)
            samples = [s for m in REGISTRY.collect() for s in m.samples if "replica" in m.name]
            assert "hunter2" not in str(samples)
