from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from generation.replicas.balancer import LIGHT_TOKENS, SPREAD, Balancer, Choice

NAMES = [f"engine {number}" for number in range(8)]


def chosen(
    balancer: Balancer, key: bytes | None, tokens: float = 1, tried: tuple[int, ...] = ()
) -> Choice:
    choice = balancer.choose(key, tokens, tried)
    assert choice is not None
    return choice


@given(
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(0, 20), st.floats(1, 20_000), st.booleans()), max_size=80),
)
def test_no_load_exceeds_the_bound_and_one_request(
    count: int, requests: list[tuple[int, float, bool]]
) -> None:
    """Each request finds a replica below the bound, so the bound holds as loads come and go."""
    balancer, open_ = Balancer(NAMES[:count]), list[tuple[int, float]]()
    for key, tokens, ends in requests:
        mean = (sum(map(balancer.load, range(count))) + tokens) / count
        bound = max(LIGHT_TOKENS, SPREAD * mean)
        replica = chosen(balancer, bytes([key]), tokens).replica
        assert balancer.load(replica) < bound
        balancer.add(replica, tokens)
        open_.append((replica, tokens))
        if ends:
            ended, its_tokens = open_.pop(0)
            balancer.add(ended, -its_tokens)


def test_a_key_keeps_its_replica_while_there_is_room_and_then_has_a_second() -> None:
    balancer = Balancer(NAMES)
    first = chosen(balancer, b"key")
    assert first.reason == "affinity"
    for _ in range(20):
        assert chosen(balancer, b"key") == first
    balancer.add(first.replica, LIGHT_TOKENS)
    second = chosen(balancer, b"key")
    assert second.reason == "overflow"
    assert {chosen(balancer, b"key") for _ in range(20)} == {second}
    balancer.add(first.replica, -LIGHT_TOKENS)
    assert chosen(balancer, b"key") == first


def test_one_hot_key_is_spread_within_the_bound() -> None:
    balancer = Balancer(NAMES)
    for _ in range(800):
        balancer.add(chosen(balancer, b"hot", 1000).replica, 1000)
    loads = [balancer.load(replica) for replica in range(8)]
    assert sum(loads) == 800_000
    assert max(loads) <= SPREAD * 100_000 + 1000


def test_without_a_key_the_least_loaded_is_chosen() -> None:
    balancer = Balancer(NAMES[:3])
    for replica, tokens in enumerate((50, 20, 30)):
        balancer.add(replica, tokens)
    assert chosen(balancer, None) == Choice(1, "least loaded")
    assert chosen(balancer, None, tried=(1,)) == Choice(2, "least loaded")


def test_a_replica_that_is_out_gets_nothing_and_its_load_does_not_count() -> None:
    balancer = Balancer(NAMES[:3])
    away = chosen(balancer, b"key").replica
    balancer.add(away, 1_000_000)
    balancer.put(away, is_in=False)
    counts = Counter[int]()
    rng = random.Random(0)
    for _ in range(200):
        replica = chosen(balancer, rng.randbytes(8), 1000).replica
        balancer.add(replica, 1000)
        counts[replica] += 1
    assert away not in counts
    assert max(counts.values()) <= SPREAD * 100 + 1
    balancer.put(away, is_in=True)
    balancer.add(away, -1_000_000)
    assert chosen(balancer, b"key").replica == away


def test_when_all_were_tried_or_are_out_there_is_none() -> None:
    balancer = Balancer(NAMES[:2])
    assert balancer.choose(b"key", 1, (0, 1)) is None
    balancer.put(0, is_in=False)
    assert balancer.choose(b"key", 1, (1,)) is None
    balancer.put(1, is_in=False)
    assert balancer.choose(None, 1) is None
