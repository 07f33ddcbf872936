"""The confidence in an answer, which is that of its best quote: its features and its fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain

import numpy as np

from eval.calibration.confidence import Logistic, fit_logistic
from eval.calibration.evidence_runs import Retrieved
from generation.grounding.choice import Features
from rag.types import Floats

FEATURES = [field.name for field in fields(Features)]
ROUNDS = 5
"""Fits in turn with the choice of each answer's best quote: the choice no longer changes then."""

_NOTHING = Features(sentence=0.0, coverage=0.0, name_missing=1.0, type_missing=1.0, unmatched=0.6)
"""The features of an answer without quotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Answers by what was asked; every list has the same weight.

    Attributes:
        inside: the collection has the answer.
        outside: it has not; a quote with the words of a gold answer has them by chance.
    """

    inside: Sequence[list[Retrieved]]
    outside: Sequence[list[Retrieved]]

    def all(self) -> list[Retrieved]:
        """Returns the answers, those inside first."""
        return list(chain(*self.inside, *self.outside))

    def correct(self) -> Floats:
        """Returns 1 for answers with a gold answer in a quote, 0 for others and those outside."""
        inside = [float(a.found()) for a in chain(*self.inside)]
        return np.array(inside + [0.0] * sum(map(len, self.outside)))

    def weights(self) -> Floats:
        """Returns the weight of each answer."""
        return np.concatenate([np.full(len(g), 1 / len(g)) for g in (*self.inside, *self.outside)])


def fit(groups: Groups, *, without: str | None = None) -> Logistic:
    """Fits the model; the weight of a feature that is left out is 0.

    Which quote is an answer's best depends on the model, and the model on the quotes that it is
    fitted on. As in multiple-instance learning (Andrews et al. 2002), both are found in turn. Of a
    right answer, only the quotes with a gold answer count.
    """
    answers, right = groups.all(), groups.correct()
    quotes = [_features(answer) for answer in answers]
    counts = [
        np.array(answer.right_quotes()) if is_right else np.ones(len(each), np.bool_)
        for answer, each, is_right in zip(answers, quotes, right, strict=True)
    ]
    kept = [name != without for name in FEATURES]
    model = Logistic(intercept=0.0, weights=np.zeros(len(FEATURES)))
    for _ in range(ROUNDS):
        best = [
            int(np.argmax(np.where(able, model.probability(each), -1.0)))
            for each, able in zip(quotes, counts, strict=True)
        ]
        x = np.array([each[place] for each, place in zip(quotes, best, strict=True)])
        fitted = fit_logistic(x[:, kept], right, groups.weights())
        weights = np.zeros(len(FEATURES))
        weights[kept] = fitted.weights
        model = Logistic(intercept=fitted.intercept, weights=weights)
    return model


def confidence(model: Logistic, answers: Iterable[Retrieved]) -> Floats:
    """Returns float64[answers]: the probability of each answer's best quote."""
    return np.array([model.probability(_features(answer)).max() for answer in answers])


def rescaled(model: Logistic, groups: Groups) -> Logistic:
    """Returns the model with its logits scaled and shifted to fit these answers best.

    Platt 1999, "Probabilistic outputs for support vector machines". The ranking stays the same.
    """
    answers = groups.all()
    logits = np.array([[model.logits(_features(answer)).max()] for answer in answers])
    scale = fit_logistic(logits, groups.correct(), groups.weights())
    (slope,) = scale.weights
    return Logistic(
        intercept=scale.intercept + slope * model.intercept, weights=slope * model.weights
    )


def _features(answer: Retrieved) -> Floats:
    """Returns float64[quotes, features]; without evidence, one row with the worst of them."""
    each = answer.evidence.features if answer.evidence else (_NOTHING,)
    return np.array([list(asdict(features).values()) for features in each])
