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
    auroc,
    calibration_error,
    fit_logistic,
)
from eval.measures.statistics import difference_interval, mean_interval
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
    """The text that a model wrote about a question.

    Attributes:
        answerable: True if the documents answer it.
        sentences: those of the model that the passages support.
        confidence: that of the quotes, 0 to 1.
        quotes_right: True if a quote has a gold answer.
    """

    answerable: bool
    sentences: tuple[Sentence, ...]
    confidence: float
    quotes_right: bool


Groups = Mapping[str, Sequence[Written]]
"""Answers by what was asked."""


def record_of(fitted: Groups, measured: Groups) -> tuple[Record, Judged]:
    """Returns the content of answer_confidence.json, and the sentences that are measured."""
    model = _fit(fitted)
    sentences = [s for written in chain(*measured.values()) for s in written.sentences]
    right = np.array([float(sentence.right) for sentence in sentences])
    judged = Judged(
        confidence=model.probability(_features(sentences)),
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
            "right": round(float(right.mean()), 4),
            "right_interval": [round(each, 4) for each in mean_interval(right, most=1)],
            "calibration_error": round(calibration_error(judged), 4),
            "auroc": round(auroc(judged.confidence[right == 1], judged.confidence[right == 0]), 4),
        },
        "answers": _answers(model, [w for w in chain(*measured.values()) if w.answerable]),
    }
    return record, judged


def _fit(groups: Groups) -> Logistic:
    """Fits a model to the sentences.

    Each group of questions has the same weight: half of them have no answer, as of those that the
    confidence of quotes, with which the model's is compared, is fitted on and that are answered.
    """
    weighed = [
        (sentence, 1 / len(group))
        for group in groups.values()
        for written in group
        for sentence in written.sentences
    ]
    right = np.array([float(sentence.right) for sentence, _ in weighed])
    weights = np.array([weight for _, weight in weighed])
    return fit_logistic(_features([sentence for sentence, _ in weighed]), right, weights)


def _features(sentences: Sequence[Sentence]) -> Floats:
    """Returns float64[sentences, features]."""
    rows = [list(asdict(sentence.given).values()) for sentence in sentences]
    return np.array(rows, np.float64).reshape(-1, len(FEATURES))


def _answers(model: Logistic, answers: Sequence[Written]) -> Record:
    """Returns the shares of right answers: of quotes, and of the model's sentences and quotes.

    Quotes follow the sentences of the model never if there are any, or where they are likelier.
    """
    quotes = np.array([float(written.quotes_right) for written in answers])
    sentences = np.array([float(any(s.right for s in w.sentences)) for w in answers])
    written = np.array([bool(w.sentences) for w in answers])
    alone = np.array([_is_likelier(model, w) for w in answers])
    followed = np.where(alone, sentences, np.maximum(sentences, quotes))
    low, high = difference_interval(followed - quotes, most=1)
    return {
        "quotes": round(float(quotes.mean()), 4),
        "sentences_alone": round(float(np.where(written, sentences, quotes).mean()), 4),
        "quotes_where_likelier": round(float(followed.mean()), 4),
        "difference_to_quotes": [round(low, 4), round(high, 4)],
        "with_sentences": round(float(written.mean()), 4),
        "without_quotes": round(float(alone.mean()), 4),
    }


def _is_likelier(model: Logistic, written: Written) -> bool:
    """True if a sentence of the model is as likely to answer as the quotes."""
    found = model.probability(_features(written.sentences))
    return bool((found >= written.confidence).any())


def _summary(groups: Groups) -> Record:
    sentences = [s for written in chain(*groups.values()) for s in written.sentences]
    return {
        "questions": {name: len(answers) for name, answers in groups.items()},
        "sentences": len(sentences),
        "right": sum(sentence.right for sentence in sentences),
    }
