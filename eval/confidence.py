"""Fitting a confidence and measuring how good it is: pure functions on arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RIDGE = 1e-3
"""Keeps the weights finite where the classes can be told apart without error."""
NEWTON_STEPS = 25
"""It converges quadratically: after ten steps nothing moves in float64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic:
    """P(y = 1) = 1 / (1 + exp(-(intercept + x · weights)))."""

    intercept: float
    weights: Floats

    def probability(self, x: Floats) -> Floats:
        """float64[n, features] → float64[n]."""
        return _logistic(self.intercept + x @ self.weights)


def fit_logistic(x: Floats, y: Floats, sample_weights: Floats) -> Logistic:
    """Maximum likelihood by Newton's method, with a slight ridge on standardised features.

    Args:
        x: float64[n, features].
        y: float64[n], 0 or 1.
        sample_weights: float64[n], what each sample counts.
    """
    mean, scale = x.mean(axis=0), x.std(axis=0)
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
    """Probability that a positive scores above a negative, ties counting half.

    The Mann-Whitney U of Hanley & McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747.
    """
    ranked = np.sort(negatives)
    below = np.searchsorted(ranked, positives, side="left")
    up_to = np.searchsorted(ranked, positives, side="right")
    return float((below + up_to).mean() / 2 / len(ranked))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Answers that were checked; float64[n] each.

    Attributes:
        confidence: 0 to 1.
        correct: 0 or 1.
        weights: what each answer counts.
    """

    confidence: Floats
    correct: Floats
    weights: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Answers of like confidence: the mean of it, the share correct, and their share of all."""

    confidence: float
    correct: float
    share: float


def reliability(judged: Judged, *, bins: int = 10) -> list[Bin]:
    """Answers by equal intervals of confidence, lowest first, empty intervals left out."""
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
    """Expected calibration error over ten intervals: Σ share x |correct - confidence|.

    Naeini et al. 2015, https://doi.org/10.1609/aaai.v29i1.9602.
    """
    return sum(b.share * abs(b.correct - b.confidence) for b in reliability(judged))


def risk_coverage(judged: Judged) -> tuple[Floats, Floats]:
    """The curve that a threshold moves along (El-Yaniv & Wiener 2010, JMLR 11:1605-1641).

    Returns:
        float64[n] coverage, the share that is answered, ascending; and float64[n] risk, the share
        of those that is wrong.
    """
    order = np.argsort(-judged.confidence, kind="stable")
    answered = np.cumsum(judged.weights[order])
    wrong = np.cumsum((judged.weights * (1 - judged.correct))[order])
    return answered / answered[-1], wrong / answered


def _logistic(logit: Floats) -> Floats:
    return 0.5 + 0.5 * np.tanh(logit / 2)
