from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.types import Hit
from retrieval.fusion import RRF_K, fuse_hits, rrf
from tests.fakes import make_chunk


def scores(lists: dict[str, list[str]], **options: object) -> dict[str, float]:
    return {f.chunk_id: f.score for f in rrf(lists, **options)}  # type: ignore[arg-type]


def test_a_score_is_the_sum_of_one_over_k_plus_rank() -> None:
    fused = scores({"dense": ["a", "b"], "sparse": ["b", "c", "a"]})
    assert fused == pytest.approx(
        {"a": 1 / 61 + 1 / 63, "b": 1 / 62 + 1 / 61, "c": 1 / 62}, rel=1e-12
    )
    assert list(fused) == ["b", "a", "c"]


def test_k_is_60_unless_another_is_given() -> None:
    assert RRF_K == 60
    assert scores({"dense": ["a"]}, k=1) == {"a": 1 / 2}


def test_ranks_count_from_one_in_each_list_that_has_the_chunk() -> None:
    ranks = {f.chunk_id: f.ranks for f in rrf({"dense": ["a", "b"], "sparse": ["b"]})}
    assert ranks == {"a": {"dense": 1}, "b": {"dense": 2, "sparse": 1}}


def test_a_list_counts_by_its_weight() -> None:
    lists = {"dense": ["a"], "sparse": ["b"]}
    assert scores(lists, weights={"sparse": 2.0}) == {"b": 2 / 61, "a": 1 / 61}


def test_ties_are_broken_by_chunk_id() -> None:
    assert list(scores({"dense": ["b"], "sparse": ["a"], "third": ["c"]})) == ["a", "b", "c"]


def test_no_lists_and_empty_lists_have_no_result() -> None:
    assert rrf({}) == rrf({"dense": [], "sparse": []}) == []


def hit(text: str, **ranks: int) -> Hit:
    return Hit(chunk=make_chunk(text, document_id=text), score=0.5, source="fused", ranks=ranks)


def test_one_search_is_left_as_it_is() -> None:
    hits = [hit("a", dense=1), hit("b", sparse=1)]
    assert fuse_hits([hits], k=60, limit=1) == hits


def test_several_searches_are_fused_by_their_order() -> None:
    first = [hit("a", dense=1), hit("b", dense=2, sparse=3)]
    second = [hit("b", dense=5, sparse=1), hit("c", sparse=2)]
    fused = fuse_hits([first, second, []], k=10, limit=2)
    assert [h.chunk.text for h in fused] == ["b", "a"]
    assert fused[0].score == pytest.approx(1 / 12 + 1 / 11)
    assert fused[0].ranks == {"dense": 2, "sparse": 1}
    assert fused[1].ranks == {"dense": 1}
    assert fuse_hits([[], []], k=10, limit=2) == []


ids = st.lists(st.sampled_from("abcdefgh"), unique=True)
lists_ = st.dictionaries(st.sampled_from(["dense", "sparse", "x", "y"]), ids)


@given(lists_, st.randoms(use_true_random=False))
def test_the_order_of_the_lists_makes_no_difference(
    lists: dict[str, list[str]], random: object
) -> None:
    names = list(lists)
    random.shuffle(names)  # type: ignore[attr-defined]
    assert rrf({name: lists[name] for name in names}) == rrf(lists)


@given(lists_)
def test_every_chunk_comes_once_and_best_first(lists: dict[str, list[str]]) -> None:
    fused = rrf(lists)
    assert sorted(f.chunk_id for f in fused) == sorted({i for each in lists.values() for i in each})
    assert [(-f.score, f.chunk_id) for f in fused] == sorted((-f.score, f.chunk_id) for f in fused)
