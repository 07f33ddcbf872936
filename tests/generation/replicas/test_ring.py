from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from generation.replicas.ring import Ring

KEYS = [f"key {number}".encode() for number in range(4000)]
NAMES = [f"http://engine-{number}:8000/v1" for number in range(8)]


def owners(names: list[str]) -> list[str]:
    ring = Ring(names)
    return [names[next(ring.walk(key))] for key in KEYS]


def test_a_fourth_node_takes_a_quarter_of_the_keys_and_moves_no_other() -> None:
    before, after = owners(NAMES[:3]), owners(NAMES[:4])
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {NAMES[3]}
    assert 0.18 < len(moved) / len(KEYS) < 0.32


def test_the_keys_of_a_node_that_is_away_go_to_those_after_it() -> None:
    ring = Ring(NAMES)
    inherited = Counter[int]()
    for key in KEYS:
        first, second, *_ = ring.walk(key)
        if first == 0:
            inherited[second] += 1
    assert len(inherited) == len(NAMES) - 1


def test_each_node_has_its_share_of_the_keys() -> None:
    shares = Counter(owners(NAMES))
    assert all(0.7 < count * len(NAMES) / len(KEYS) < 1.3 for count in shares.values())


@given(st.binary(max_size=20), st.permutations(range(5)))
def test_a_walk_meets_every_node_once_whatever_their_order(key: bytes, order: list[int]) -> None:
    names = NAMES[:5]
    met = [names[node] for node in Ring(names).walk(key)]
    assert sorted(met) == names
    shuffled = [names[number] for number in order]
    assert [shuffled[node] for node in Ring(shuffled).walk(key)] == met
