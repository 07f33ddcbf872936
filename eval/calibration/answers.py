"""Fits the confidence of a language model's answers, and measures how far it can be trusted.

`python -m benchmarks.answer_confidence` lets a model write the answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np

from eval.calibration.confidence import (
    Judged,
    Logistic,
    Names,
    auroc,
    auroc_interval,
    calibration_error,
    fit_logistic,
)
from eval.measures.statistics import difference_interval
from generation.grounding.answer_confidence import FEATURES, GivenAnswer
from rag.types import Floats

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence of a model that the passages support; `right` if it has a gold answer."""

    given: GivenAnswer
    right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a model wrote about a question.

    Attributes:
        question: its id.
        answerable: True if the documents answer it.
        sentences: those of the model that the passages support.
        confidence: that of the quotes, 0 to 1.
        quotes_right: True if a quote has a gold answer.
    """

    question: str
    answerable: bool
    sentences: tuple[Sentence, ...]
    confidence: float
    quotes_right: bool


Groups = Mapping[str, Sequence[Written]]
"""Answers by what was asked."""


def record_of(fitted: Groups, measured: Groups) -> tuple[Record, Judged]:
    """Returns the content of answer_confidence.json, and the sentences that are measured."""
    model = _fit(fitted)
    sentences = [(w, s) for w in chain(*measured.values()) for s in w.sentences]
    right = np.array([float(sentence.right) for _, sentence in sentences])
    judged = Judged(
        confidence=model.probability(_features([s for _, s in sentences])),
        correct=right,
        weights=np.ones(len(right)),
    )
    record = {
        "intercept": model.intercept,
        "coefficients": dict(zip(FEATURES, model.weights.tolist(), strict=True)),
        "fitted_on": _summary(fitted),
        "measured_on": _summary(measured),
        "sentences": {
            "mean_confidence": round(float(judged.confidence.mean()), 4),
            "calibration_error": round(calibration_error(judged), 4),
            **_separation(judged, np.array([written.question for written, _ in sentences])),
        },
        "answers": _answers(model, [w for w in chain(*measured.values()) if w.answerable]),
    }
    return record, judged


def _fit(groups: Groups) -> Logistic:
    """Fits a model to the sentences; each group of questions has the same weight."""
    of_groups = [[s for written in group for s in written.sentences] for group in groups.values()]
    sentences = list(chain(*of_groups))
    right = np.array([float(sentence.right) for sentence in sentences])
    weights = np.concatenate([np.full(len(some), 1 / max(1, len(some))) for some in of_groups])
    return fit_logistic(_features(sentences), right, weights)


def _features(sentences: Sequence[Sentence]) -> Floats:
    """Returns float64[sentences, features]."""
    rows = [list(asdict(sentence.given).values()) for sentence in sentences]
    return np.array(rows, np.float64).reshape(-1, len(FEATURES))


def _separation(judged: Judged, questions: Names) -> Record:
    """Returns how well right sentences score above others; the interval draws whole questions."""
    right = judged.correct == 1
    ours, others = judged.confidence[right], judged.confidence[~right]
    interval = auroc_interval(ours, others, (questions[right], questions[~right]))
    return {
        "auroc": round(auroc(ours, others), 4),
        "auroc_interval": [round(each, 3) for each in interval],
    }


def _answers(model: Logistic, answers: Sequence[Written]) -> Record:
    """Returns the shares of right answers: the quotes, the model's sentences, the likelier ones."""
    likelier = [_is_likelier(model, written) for written in answers]
    quotes = np.array([float(written.quotes_right) for written in answers])
    by_model = np.array([float(_right(w, bool(w.sentences))) for w in answers])
    chosen = np.array([float(_right(w, c)) for w, c in zip(answers, likelier, strict=True)])
    low, high = difference_interval(chosen - quotes, most=1)
    return {
        "quotes": round(float(quotes.mean()), 4),
        "supported_sentences_before_quotes": round(float(by_model.mean()), 4),
        "the_likelier": round(float(chosen.mean()), 4),
        "difference_to_quotes": [round(low, 4), round(high, 4)],
        "by_the_model": round(float(np.mean(likelier)), 4),
    }


def _is_likelier(model: Logistic, written: Written) -> bool:
    """True if a sentence of the model is as likely to answer as the quotes."""
    found = model.probability(_features(written.sentences))
    return bool((found >= written.confidence).any())


def _right(written: Written, by_model: bool) -> bool:
    return any(s.right for s in written.sentences) if by_model else written.quotes_right


def _summary(groups: Groups) -> Record:
    sentences = [s for written in chain(*groups.values()) for s in written.sentences]
    return {
        "questions": {name: len(answers) for name, answers in groups.items()},
        "sentences": len(sentences),
        "right": sum(sentence.right for sentence in sentences),
    }
