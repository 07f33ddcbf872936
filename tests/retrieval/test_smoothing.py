"""Smoothing: similar passages get similar scores."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.smoothing import NEIGHBOURS, SHARE, smoothed

EAST, NORTH = np.eye(2, dtype=np.float32)
IDS = ["a", "b", "c"]


def scores(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(values, np.float32)


def test_equal_passages_move_towards_each_other_and_others_stay() -> None:
    found = smoothed(scores(1, 0, 5), IDS, {"a": EAST, "b": EAST, "c": NORTH})
    assert found.tolist() == pytest.approx([1 - SHARE, SHARE, 5])


def test_the_nearest_have_the_larger_share() -> None:
    between = np.array([0.8, 0.6], np.float32)
    found = smoothed(scores(0, 7, 0), IDS, {"a": EAST, "b": NORTH, "c": between})
    assert found[2] == pytest.approx(SHARE * 7 * 0.6 / 1.4)


def test_opposite_passages_are_no_neighbours() -> None:
    found = smoothed(scores(1, 0), IDS[:2], {"a": EAST, "b": -EAST})
    assert found.tolist() == [1, 0]


def test_only_the_nearest_count() -> None:
    ids = [str(n) for n in range(NEIGHBOURS + 2)]
    angles = np.linspace(0, 1, len(ids))
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    values = np.zeros(len(ids), np.float32)
    values[-1] = 1
    found = smoothed(values, ids, dict(zip(ids, rows, strict=True)))
    assert found[0] == 0
    assert found[-2] > 0


@pytest.mark.parametrize("vectors", [{}, {"a": EAST}, {"a": EAST, "b": EAST}])
def test_a_passage_without_a_vector_keeps_its_score(
    vectors: dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]],
) -> None:
    assert smoothed(scores(1, 1, 3), IDS, vectors).tolist() == pytest.approx([1, 1, 3])


def test_no_candidates_have_no_scores() -> None:
    assert smoothed(scores(), [], {}).tolist() == []
