from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.calibration.abstention import main
from eval.calibration.confidence import (
    Judged,
    auroc,
    calibration_error,
    fit_logistic,
    risk_coverage,
)
from eval.datasets.corpus import read_corpus
from rag.errors import InputError

SCORES = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=20).map(np.array)


@given(SCORES, SCORES)
def test_auroc_counts_pairs(positives: np.ndarray, negatives: np.ndarray) -> None:
    pairs = [(p > n) + (p == n) / 2 for p in positives for n in negatives]
    assert auroc(positives, negatives) == pytest.approx(np.mean(pairs))


def test_logistic_regression_finds_the_odds_of_each_class() -> None:
    x = np.array([[0.0]] * 4 + [[1.0]] * 4)
    y = np.array([1.0, 0, 0, 0, 1, 1, 1, 0])
    model = fit_logistic(x, y, np.ones(8))
    assert model.probability(np.array([[0.0], [1.0]])) == pytest.approx([0.25, 0.75], abs=0.01)
    tripled = fit_logistic(x, y, np.array([3.0, 1, 1, 1, 1, 1, 1, 1]))
    assert tripled.probability(np.array([[0.0]])) == pytest.approx([0.5], abs=0.02)


def test_calibration_error_is_the_mean_distance_from_the_truth() -> None:
    judged = Judged(
        confidence=np.array([0.85, 0.85, 0.15, 1.0]),
        correct=np.array([1.0, 0.0, 0.0, 1.0]),
        weights=np.array([1.0, 1.0, 1.0, 1.0]),
    )
    assert calibration_error(judged) == pytest.approx((2 * 0.35 + 0.15) / 4)


def test_risk_grows_along_the_least_confident_answers() -> None:
    judged = Judged(
        confidence=np.array([0.2, 0.9, 0.5]),
        correct=np.array([0.0, 1.0, 0.0]),
        weights=np.array([2.0, 1.0, 1.0]),
    )
    coverage, risk = risk_coverage(judged)
    assert coverage.tolist() == [0.25, 0.5, 1.0]
    assert risk.tolist() == [0.0, 0.5, 0.75]


def test_a_collection_is_read_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tp\t2\n")
    (tmp_path / "corpus.jsonl").write_text('{"_id": "p", "text": "A\u2028B"}\n', encoding="utf-8")
    queries = '{"_id": "q", "text": "?", "metadata": {"answers": ["B"], "answerable": false}}\n'
    (tmp_path / "queries.jsonl").write_text(queries)
    corpus = read_corpus(tmp_path)
    assert (corpus.passages[0].title, corpus.passages[0].text) == ("", "A\u2028B")
    assert (corpus.questions[0].answers, corpus.questions[0].answerable) == (("B",), False)
    assert corpus.qrels == {"q": {"p": 2}}


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"corpus\.jsonl is missing"):
        read_corpus(tmp_path)
    (tmp_path / "corpus.jsonl").write_text('{"_id": "p", "text": ""}\n[]\n')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "queries.jsonl").touch()
    (tmp_path / "qrels" / "test.tsv").touch()
    with pytest.raises(InputError, match=r"corpus\.jsonl, line 2"):
        read_corpus(tmp_path)


def test_without_data_calibration_says_that_it_was_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "calibration.json"
    assert main(["--data", str(tmp_path), "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith("Skipped: ")
    assert not out.exists()
