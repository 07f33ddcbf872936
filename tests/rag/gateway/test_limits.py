"""Token buckets and permits, in memory and on a real Redis."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import RateLimitedError, UpstreamError
from rag.gateway.buckets import Bucket, LimitStore, LocalStore, Permits, Taken
from rag.gateway.buckets_redis import RedisStore
from rag.gateway.buckets_script import PREFIX
from rag.gateway.limits import Limiter, Tier, Tiers
from rag.types import Principal
from tests.flood import Flood
from tests.ports import free_port
from tests.redis_server import RedisServer, redis_server
from tests.waiting import until

pytestmark = pytest.mark.anyio
CALLER = Principal(tenant="acme", subject="jane", key_id="k1")
SLOW = Bucket("tenant-requests", "{acme}:tenant::requests", "requests", 6, 10)
TOKENS = Bucket("tenant-tokens", "{acme}:tenant::tokens", "tokens", 60, 1000)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("limits") / "redis", durable=False) as server:
        yield server


@pytest.fixture(params=["local", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[LimitStore]:
    if request.param == "local":
        yield LocalStore()
        return
    made = RedisStore(emptied(request.getfixturevalue("redis")), lease_seconds=0.6, call_seconds=60)
    yield made
    await made.close()


def emptied(server: RedisServer) -> str:
    from redis import Redis

    with Redis.from_url(server.url) as client:
        client.flushall()
    return server.url


def tiers(**limits: int | None) -> Tiers:
    return Tiers(tenant=Tier(**limits), tenants={}, keys={})


class TestStores:
    async def test_the_first_request_is_let_in_and_the_one_past_the_burst_is_not(
        self, store: LimitStore
    ) -> None:
        taken = [await store.take([(SLOW, 1)]) for _ in range(11)]
        assert [each.ok for each in taken] == [True] * 10 + [False]
        assert [round(each.levels[0]) for each in taken] == [*range(9, -1, -1), 0]

    async def test_a_refused_request_takes_nothing_from_any_bucket(self, store: LimitStore) -> None:
        permits = [Permits("at-once", "{acme}:at-once", 1)]
        assert (await store.take([(TOKENS, 900)])).ok
        for _ in range(20):
            refused = await store.take([(SLOW, 1), (TOKENS, 500)], permits, holder="a")
            assert not refused.ok
        after = await store.take([(SLOW, 10), (TOKENS, 50)], permits, holder="b")
        assert after.ok
        assert after.held == (0,)

    async def test_many_at_once_never_take_more_than_there_is(self, store: LimitStore) -> None:
        taken = await asyncio.gather(*(store.take([(SLOW, 1)]) for _ in range(200)))
        assert sum(each.ok for each in taken) == 10

    async def test_what_is_given_back_fills_a_bucket_up_to_its_burst(
        self, store: LimitStore
    ) -> None:
        await store.take([(TOKENS, 800)])
        await store.give([(TOKENS, 300)])
        assert round((await store.take([(TOKENS, 0)])).levels[0], -1) == 500
        await store.give([(TOKENS, 5000)])
        assert (await store.take([(TOKENS, 0)])).levels[0] == 1000

    async def test_more_than_was_reserved_leaves_a_debt(self, store: LimitStore) -> None:
        await store.take([(TOKENS, 1000)])
        await store.give([(TOKENS, -500)])
        taken = await store.take([(TOKENS, 1)])
        assert not taken.ok
        assert -501 < taken.levels[0] < -490
        assert TOKENS.wait(taken.levels[0], 1) == pytest.approx(500, abs=10)

    async def test_a_permit_is_held_until_it_is_released(self, store: LimitStore) -> None:
        permits = [Permits("a", "{acme}:a", 2), Permits("b", "{acme}:b", 5)]
        assert [(await store.take([], permits, holder=str(n))).ok for n in range(3)] == [
            *(True, True, False)
        ]
        await asyncio.sleep(1.5)  # longer than a lease: it is renewed
        assert not (await store.take([], permits, holder="3")).ok
        await store.release(permits, holder="0")
        await store.release(permits, holder="0")
        await store.release(permits, holder="unknown")
        assert (await store.take([], permits, holder="3")).ok
        assert not (await store.take([], permits, holder="4")).ok

    async def test_it_refills_at_its_rate(self, store: LimitStore) -> None:
        fast = Bucket("fast", "{acme}:fast", "tokens", 60_000, 1000)
        begun = time.monotonic()
        await store.take([(fast, 1000)])
        await asyncio.sleep(0.2)
        passed = time.monotonic() - begun
        level = (await store.take([(fast, 0)])).levels[0]
        assert 190 <= level <= 1000 * (time.monotonic() - begun + 0.001)
        assert passed >= 0.2


class TestTogether:
    """Operations that come while a call to Redis is under way go together in the next one."""

    @pytest.fixture
    async def store(self, redis: RedisServer) -> AsyncIterator[RedisStore]:
        made = RedisStore(emptied(redis), call_seconds=60)
        yield made
        await made.close()

    async def test_they_are_carried_out_in_order_and_by_few_calls(
        self, store: RedisStore, redis: RedisServer
    ) -> None:
        from redis import Redis

        await store.take([(SLOW, 0)])
        with Redis.from_url(redis.url) as client:
            client.config_resetstat()
            taken = await asyncio.gather(*(store.take([(SLOW, 1)]) for _ in range(200)))
            calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        assert [each.ok for each in taken] == [True] * 10 + [False] * 190
        assert [round(each.levels[0]) for each in taken[:11]] == [*range(9, -1, -1), 0]
        assert calls == 1

    async def test_a_permit_that_is_released_is_there_for_the_next(self, store: RedisStore) -> None:
        one = [Permits("a", "{acme}:a", 1)]
        assert (await store.take([], one, holder="0")).ok
        for n in range(20):
            _, next_, other = await asyncio.gather(
                store.release(one, holder=str(n)),
                store.take([], one, holder=str(n + 1)),
                store.take([], one, holder="other"),
            )
            assert (next_.ok, next_.held, other.ok, other.held) == (True, (0,), False, (1,))

    async def test_a_release_goes_with_the_next_operation_if_most_permits_are_free(
        self, store: RedisStore, redis: RedisServer
    ) -> None:
        from redis import Redis

        many = [Permits("a", "{acme}:a", 100)]
        with Redis.from_url(redis.url) as client:
            await store.take([], many, holder="0")
            client.config_resetstat()
            releases = []
            for n in range(20):
                releases.append(asyncio.create_task(store.release(many, holder=str(n))))
                await asyncio.sleep(0)
                assert (await store.take([], many, holder=str(n + 1))).held == (0,)
            assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == 20
            await asyncio.gather(*releases, store.release(many, holder="20"))
            assert client.zcard(f"{PREFIX}{many[0].key}") == 0

    async def test_tenants_have_their_own_buckets_and_kinds_do_not_mix(
        self, store: RedisStore
    ) -> None:
        theirs = Bucket("tenant-tokens", "{rival}:tenant::tokens", "tokens", 60, 500)
        await asyncio.gather(
            *(store.take([(bucket, 100)]) for bucket in (TOKENS, theirs, TOKENS)),
            *(store.give([(bucket, -50)]) for bucket in (theirs, TOKENS, theirs)),
        )
        mine, other = await asyncio.gather(store.take([(TOKENS, 0)]), store.take([(theirs, 0)]))
        assert (round(mine.levels[0], -1), round(other.levels[0], -1)) == (750, 300)

    async def test_nothing_is_taken_for_a_caller_who_is_gone_before_the_call(
        self, store: RedisStore
    ) -> None:
        waiting = [asyncio.create_task(store.take([(SLOW, 1)])) for _ in range(3)]
        await asyncio.sleep(0)  # they wait for a call that has not begun
        waiting[1].cancel()
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(done[1], asyncio.CancelledError)
        assert round((await store.take([(SLOW, 0)])).levels[0]) == 8

    async def test_an_error_of_one_tenant_s_run_is_no_other_one_s(
        self, store: RedisStore, redis: RedisServer
    ) -> None:
        from redis import Redis

        theirs = Bucket("tenant-tokens", "{rival}:tenant::tokens", "tokens", 60, 500)
        with Redis.from_url(redis.url) as client:
            client.set(PREFIX + theirs.key, "no hash")
            buckets = (TOKENS, theirs, TOKENS)
            for n in range(3):  # the connection serves on, with results in their order
                found = await asyncio.gather(
                    *(store.take([(bucket, 100)]) for bucket in buckets), return_exceptions=True
                )
                levels = [round(each.levels[0], -1) for each in found if isinstance(each, Taken)]
                assert levels == [900 - 200 * n, 800 - 200 * n]
                assert isinstance(found[1], UpstreamError)
                assert "WRONGTYPE" in str(found[1].detail)

    async def test_a_script_that_redis_forgot_is_loaded_again(
        self, store: RedisStore, redis: RedisServer
    ) -> None:
        from redis import Redis

        with Redis.from_url(redis.url) as client:
            for left in (9, 8):
                client.script_flush()
                assert round((await store.take([(SLOW, 1)])).levels[0]) == left

    async def test_a_connection_that_has_ended_is_replaced_before_anything_is_sent(
        self, store: RedisStore, redis: RedisServer
    ) -> None:
        """`give` is sent once: it must not be lost on a connection that Redis closed long ago."""
        from redis import Redis

        with Redis.from_url(redis.url) as client:
            await store.take([(SLOW, 5)])
            await store.give([(SLOW, 1)])
            assert client.client_kill_filter(_type="normal", skipme=True) == 2
            await asyncio.sleep(0.05)
            await store.give([(SLOW, 1)])
            assert round((await store.take([(SLOW, 0)])).levels[0]) == 7

    async def test_all_learn_that_redis_is_away(self) -> None:
        away = RedisStore(f"redis://127.0.0.1:{free_port()}/0")
        found = await asyncio.gather(
            *(away.take([(SLOW, 1)]) for _ in range(3)),
            away.give([(SLOW, 1)]),
            return_exceptions=True,
        )
        assert [getattr(each, "code", None) for each in found] == ["limits_unavailable"] * 4
        await away.close()


@given(st.data())
def test_a_local_bucket_is_exact(data: st.DataObject) -> None:
    """No schedule of requests and settlements gets more than burst + rate × time."""
    now = 0.0
    store = LocalStore(clock=lambda: now)
    bucket = Bucket(
        *("b", "b", "tokens"),
        data.draw(st.integers(1, 10_000)),
        data.draw(st.integers(1, 1000)),
    )

    async def run() -> None:
        nonlocal now
        used, largest = 0.0, 0.0
        for _ in range(data.draw(st.integers(1, 40))):
            now += data.draw(st.floats(0, 5))
            reserved = data.draw(st.integers(1, 300))
            if (await store.take([(bucket, reserved)])).ok:
                spent = data.draw(st.integers(0, reserved))
                await store.give([(bucket, reserved - spent)])
                used, largest = used + spent, max(largest, reserved)
            assert used <= bucket.burst + bucket.rate * now + 1e-6

    asyncio.run(run())


async def test_full_buckets_are_forgotten() -> None:
    now = 0.0
    store = LocalStore(clock=lambda: now)
    for n in range(5000):
        now += 1
        await store.take([(Bucket("b", str(n), "requests", 60, 1), 1)])
    assert len(store._levels) < 1100


async def test_permits_of_a_killed_process_are_free_again(redis: RedisServer) -> None:
    """The process holds a permit, renews it, and is killed."""
    script = """
import asyncio, sys
from rag.gateway.buckets import Permits
from rag.gateway.buckets_redis import RedisStore

async def main():
    store = RedisStore(sys.argv[1], lease_seconds=1)
    taken = await store.take([], [Permits("a", "{acme}:killed", 1)], holder="theirs")
    print(taken.ok, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, redis.url), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"True\n"
    permits = [Permits("a", "{acme}:killed", 1)]
    store = RedisStore(redis.url, lease_seconds=1, call_seconds=60)
    try:
        await asyncio.sleep(1.5)
        assert not (await store.take([], permits, holder="ours")).ok
        process.kill()
        await process.wait()

        async def is_free() -> bool:
            return (await store.take([], permits, holder="ours")).ok

        await until(is_free, seconds=30)
    finally:
        await store.close()


class TestLimiter:
    async def test_each_owner_has_its_own_limit(self) -> None:
        limiter = Limiter(
            Tiers(
                tenant=Tier(requests=60, requests_burst=5),
                key=Tier(requests=60, requests_burst=3),
                subject=Tier(requests=60, requests_burst=2),
                tenants={"big": Tier(requests=60, requests_burst=50)},
                keys={},
            )
        )
        for _ in range(2):
            await limiter.admit(CALLER, "a")
        with pytest.raises(RateLimitedError, match="subject-requests") as refused:
            await limiter.admit(CALLER, "a")
        assert 0 < (refused.value.retry_after or 0) <= 1
        await limiter.admit(Principal(tenant="acme", subject="joe", key_id="k1"), "a")
        with pytest.raises(RateLimitedError, match="key-requests"):
            await limiter.admit(Principal(tenant="acme", subject="ann", key_id="k1"), "a")
        for _ in range(2):
            await limiter.admit(Principal(tenant="acme", key_id="k2"), "a")
        with pytest.raises(RateLimitedError, match="tenant-requests"):
            await limiter.admit(Principal(tenant="acme", key_id="k3"), "a")
        for _ in range(3):
            await limiter.admit(Principal(tenant="big", key_id="k1"), "a")

    async def test_a_limit_of_zero_allows_nothing_and_waiting_does_not_help(self) -> None:
        for limits, message in (
            ({"requests": 0}, "no requests are allowed"),
            ({"at_once": 0}, "no request is allowed"),
        ):
            with pytest.raises(RateLimitedError, match=message) as refused:
                await Limiter(tiers(**limits)).admit(CALLER, "a")
            assert refused.value.retry_after is None
        admission = await Limiter(tiers(tokens=0)).admit(CALLER, "a")
        await admission.reserve(0)
        with pytest.raises(RateLimitedError, match="no tokens are allowed"):
            await admission.reserve(1)

    async def test_a_request_larger_than_the_bucket_is_never_let_in(self) -> None:
        admission = await Limiter(tiers(tokens=100)).admit(CALLER, "a")
        with pytest.raises(RateLimitedError, match="the request needs 101") as refused:
            await admission.reserve(101)
        assert refused.value.retry_after is None
        await admission.reserve(100)

    async def test_a_request_refused_for_its_tokens_is_not_counted(self) -> None:
        limiter = Limiter(tiers(requests=60, requests_burst=2, tokens=100))
        for n in range(10):
            admission = await limiter.admit(CALLER, str(n))
            with pytest.raises(RateLimitedError):
                await admission.reserve(500)
            admission.release()
            await asyncio.sleep(0.01)
        await limiter.close()

    async def test_reserved_tokens_are_settled_once(self) -> None:
        limiter = Limiter(tiers(tokens=1000))
        admission = await limiter.admit(CALLER, "a")
        await admission.reserve(800)
        for _ in range(3):
            admission.settle(100)
        await limiter.close()
        again = await limiter.admit(CALLER, "b")
        await again.reserve(900)
        with pytest.raises(RateLimitedError, match="Try again in"):
            await again.reserve(10)

    async def test_a_permit_is_released_once(self) -> None:
        limiter = Limiter(tiers(at_once=1))
        first = await limiter.admit(CALLER, "a")
        with pytest.raises(RateLimitedError, match="1 requests are under way"):
            await limiter.admit(CALLER, "b")
        first.release()
        first.release()
        await limiter.close()
        await limiter.admit(CALLER, "b")


class TestWithoutRedis:
    async def test_requests_go_on_within_the_limit_and_tokens_are_refused(self) -> None:
        store = RedisStore(f"redis://127.0.0.1:{free_port()}/0")
        limiter = Limiter(
            tiers(requests=60, requests_burst=3, tokens=100, at_once=5),
            store,
            without_store={"requests": "open", "tokens": "closed"},
        )
        admissions = [await limiter.admit(CALLER, str(n)) for n in range(3)]
        with pytest.raises(RateLimitedError):
            await limiter.admit(CALLER, "3")
        with pytest.raises(UpstreamError) as refused:
            await admissions[0].reserve(10)
        assert refused.value.code == "limits_unavailable"
        for each in admissions:
            each.settle(5)
            each.release()
        await limiter.close()

    async def test_they_can_be_closed_and_open_the_other_way_round(self) -> None:
        store = RedisStore(f"redis://127.0.0.1:{free_port()}/0")
        limiter = Limiter(
            tiers(requests=60), store, without_store={"requests": "closed", "tokens": "open"}
        )
        with pytest.raises(UpstreamError):
            await limiter.admit(CALLER, "a")
        tokens = Limiter(tiers(tokens=100), store, without_store={"tokens": "open"})
        admission = await tokens.admit(CALLER, "a")
        await admission.reserve(90)
        admission.settle(20)
        await tokens.close()
        await (await tokens.admit(CALLER, "b")).reserve(80)

    async def test_it_is_asked_again_when_it_is_back(self, tmp_path: Path) -> None:
        with redis_server(tmp_path / "redis") as server:
            store = RedisStore(server.url)
            limiter = Limiter(
                tiers(requests=60, requests_burst=5, tokens=1000),
                store,
                without_store={"requests": "open", "tokens": "closed"},
            )
            for n in range(3):
                await (await limiter.admit(CALLER, str(n))).reserve(100)
            server.kill()
            admission = await limiter.admit(CALLER, "a")
            with pytest.raises(UpstreamError):
                await admission.reserve(100)
            server.start()

            async def is_back() -> bool:
                try:
                    await admission.reserve(650)
                except UpstreamError:
                    return False
                return True

            await until(is_back, seconds=60)  # 700 of 1,000 were left, and are not forgotten
            with pytest.raises(RateLimitedError):
                await admission.reserve(900)
            await limiter.close()

    async def test_one_that_hangs_is_not_waited_for_again_and_again(
        self, redis: RedisServer
    ) -> None:
        store = RedisStore(emptied(redis))
        limiter = Limiter(tiers(requests=6000), store, without_store={"requests": "open"})
        with redis.hanging():
            for n in range(200):  # at half a second each, these would take a hundred
                await limiter.admit(CALLER, str(n))
        await limiter.close()


FLOOD = """
import asyncio, json, sys, time
from rag.errors import RateLimitedError
from rag.gateway.buckets_redis import RedisStore
from rag.gateway.limits import Limiter, Tier, Tiers
from rag.types import Principal

async def main(url, clients, seconds):
    limiter = Limiter(
        Tiers(tenant=Tier(requests=6000, requests_burst=300), tenants={}, keys={}),
        RedisStore(url, call_seconds=60),
    )
    begun, admitted, refused = time.time(), [], []

    async def client():
        while time.time() < begun + seconds:
            try:
                await limiter.admit(Principal(tenant="acme"), "")
                admitted.append(time.time())
            except RateLimitedError:
                refused.append(time.time())
            await asyncio.sleep(0.002)

    await asyncio.gather(*(client() for _ in range(clients)))
    await limiter.close()
    print(json.dumps({"begun": begun, "admitted": admitted, "refused": refused}))

asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
"""


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.attack)])
async def test_two_processes_on_one_redis_let_in_what_one_bucket_allows(
    redis: RedisServer, seconds: int
) -> None:
    url = emptied(redis)
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", FLOOD, url, "16", str(seconds)), stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    outputs = [json.loads((await process.communicate())[0]) for process in processes]
    Flood(
        min(each["begun"] for each in outputs),
        [at for each in outputs for at in each["admitted"]],
        [at for each in outputs for at in each["refused"]],
    ).check(burst=300, rate=100)


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.attack)])
async def test_32_clients_of_one_process_get_what_the_bucket_allows(seconds: int) -> None:
    limiter = Limiter(tiers(requests=6000, requests_burst=300))
    flood = Flood(time.time())

    async def client() -> None:
        while time.time() < flood.begun + seconds:
            try:
                await limiter.admit(CALLER, "")
                flood.admitted.append(time.time())
            except RateLimitedError:
                flood.refused.append(time.time())
            await asyncio.sleep(0.002)

    await asyncio.gather(*(client() for _ in range(32)))
    flood.check(burst=300, rate=100)
