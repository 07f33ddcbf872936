"""Fits a confidence and measures its quality: pure functions on arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rag.types import Floats

Names = npt.NDArray[np.str_]

RIDGE = 1e-3
"""Keeps the weights finite if the classes can be separated without error."""
RESAMPLES = 1000
NEWTON_STEPS = 25
"""Newton's method converges quadratically: after ten steps nothing changes in float64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic:
    """P(y = 1) = 1 / (1 + exp(-(intercept + x · weights)))."""

    intercept: float
    weights: Floats

    def probability(self, x: Floats) -> Floats:
        """Returns float64[n] for float64[n, features]."""
        return _logistic(self.logits(x))

    def logits(self, x: Floats) -> Floats:
        """Returns float64[n] for float64[n, features], without bounds."""
        logits: Floats = self.intercept + x @ self.weights
        return logits


def fit_logistic(x: Floats, y: Floats, sample_weights: Floats) -> Logistic:
    """Fits by maximum likelihood and Newton's method, with a slight ridge on standardised features.

    Args:
        x: float64[n, features].
        y: float64[n], 0 or 1.
        sample_weights: float64[n], the weight of each sample.
    """
    mean, spread = x.mean(axis=0), x.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)  # a constant feature gets the weight 0
    z = np.column_stack([np.ones(len(x)), (x - mean) / scale])
    counts = sample_weights / sample_weights.sum()
    ridge = RIDGE * np.diag([0.0, *np.ones(x.shape[1])])
    beta = np.zeros(z.shape[1])
    for _ in range(NEWTON_STEPS):
        p = _logistic(z @ beta)
        gradient = z.T @ (counts * (y - p)) - ridge @ beta
        hessian = (z * (counts * p * (1 - p))[:, None]).T @ z + ridge
        beta += np.linalg.solve(hessian, gradient)
    weights = beta[1:] / scale
    return Logistic(intercept=float(beta[0] - mean @ weights), weights=weights)


def auroc(positives: Floats, negatives: Floats) -> float:
    """Returns the probability that a positive scores above a negative; ties count half.

    The Mann-Whitney U of Hanley & McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747.
    """
    ranked = np.sort(negatives)
    below = np.searchsorted(ranked, positives, side="left")
    up_to = np.searchsorted(ranked, positives, side="right")
    return float((below + up_to).mean() / 2 / len(ranked))


def auroc_interval(
    positives: Floats, negatives: Floats, groups: tuple[Names, Names]
) -> tuple[float, float]:
    """Returns the 95 % confidence interval of the AUROC.

    The percentile bootstrap of Efron & Tibshirani 1993, chapter 13. Whole groups are drawn,
    because items made from one paragraph are alike.

    Args:
        positives: float64[n].
        negatives: float64[m].
        groups: str[n] and str[m], the group of each of them.
    """
    names, group = np.unique(np.concatenate(groups), return_inverse=True)
    of_positives, of_negatives = np.split(group, [len(positives)])
    random = np.random.default_rng(0)
    drawn = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    found = [
        auroc(np.repeat(positives, times[of_positives]), np.repeat(negatives, times[of_negatives]))
        for times in drawn
    ]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def roc(positives: Floats, negatives: Floats) -> tuple[Floats, Floats]:
    """Computes the ROC curve, with a point for each threshold.

    Fawcett 2006, https://doi.org/10.1016/j.patrec.2005.10.010.

    Returns:
        float64[thresholds]: the shares of the negatives and of the positives that score at least
        as high, both from 0 to 1.
    """
    thresholds = np.unique([*positives, *negatives])[::-1]
    shares = [
        1 - np.searchsorted(np.sort(scores), thresholds, side="left") / len(scores)
        for scores in (negatives, positives)
    ]
    return np.insert(shares[0], 0, 0.0), np.insert(shares[1], 0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Answers that were checked; float64[n] each.

    Attributes:
        confidence: 0 to 1.
        correct: 0 or 1.
        weights: the weight of each answer.
    """

    confidence: Floats
    correct: Floats
    weights: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Answers of similar confidence: its mean, the share correct, and their share of the whole."""

    confidence: float
    correct: float
    share: float


def reliability(judged: Judged, *, bins: int = 10) -> list[Bin]:
    """Groups answers by equal intervals of confidence, lowest first, without empty intervals."""
    interval = np.minimum((judged.confidence * bins).astype(int), bins - 1)
    found = []
    for i in np.unique(interval):
        inside = interval == i
        weights = judged.weights[inside]
        found.append(
            Bin(
                confidence=float(np.average(judged.confidence[inside], weights=weights)),
                correct=float(np.average(judged.correct[inside], weights=weights)),
                share=float(weights.sum() / judged.weights.sum()),
            )
        )
    return found


def calibration_error(judged: Judged) -> float:
    """Returns the expected calibration error over ten intervals: Σ share x |correct - confidence|.

    Naeini et al. 2015, https://doi.org/10.1609/aaai.v29i1.9602.
    """
    return sum(b.share * abs(b.correct - b.confidence) for b in reliability(judged))


def risk_coverage(judged: Judged) -> tuple[Floats, Floats]:
    """Computes the risk-coverage curve (El-Yaniv & Wiener 2010, JMLR 11:1605-1641).

    Returns:
        float64[n] coverage, the share of questions answered, ascending; and float64[n] risk, the
        share of those answers that is wrong.
    """
    order = np.argsort(-judged.confidence, kind="stable")
    answered = np.cumsum(judged.weights[order])
    wrong = np.cumsum((judged.weights * (1 - judged.correct))[order])
    return answered / answered[-1], wrong / answered


def _logistic(logit: Floats) -> Floats:
    return 0.5 + 0.5 * np.tanh(logit / 2)
