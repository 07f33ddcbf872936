"""Bounds of a mean that hold at all times at once, however often they are looked at.

The predictable plug-in empirical-Bernstein confidence sequence of Waudby-Smith & Ramdas 2024,
"Estimating means of bounded random variables by betting", theorem 2,
https://doi.org/10.1093/jrsssb/qkad009. It holds for any distribution on [0, 1], for any number of
values, without an assumption on its shape. A small variance makes it narrow.

Values come in batches, of which count, sum and sum of squares are known. The weight of a batch, and
the mean that its variance is taken about, depend on earlier batches alone: that is what the theorem
asks for. Values are assumed to be drawn independently of each other.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, replace

from rag.records import Tally

MAX_WEIGHT = 0.75
"""The most that is bet on one value, c of the theorem, of the range that its authors recommend."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """The sums that the bounds are made of.

    Attributes:
        n: values.
        total: their sum.
        spread: squared distances from the mean before each batch.
        weights: Σ λ.
        weighted: Σ λ x.
        variance: Σ v ψ(λ).
    """

    n: float = 0.0
    total: float = 0.0
    spread: float = 0.0
    weights: float = 0.0
    weighted: float = 0.0
    variance: float = 0.0

    @property
    def mean(self) -> float:
        """The mean of the values; 0 without any."""
        return self.total / self.n if self.n else 0.0

    def add(self, batch: Tally, *, alpha: float) -> Sequence:
        """Returns the sums with one more batch; `alpha` is that of the bounds."""
        if not batch.n:
            return self
        mean = (0.5 + self.total) / (self.n + 1)
        spread = max(batch.squares - 2 * mean * batch.total + batch.n * mean**2, 0.0)
        weight = self._weight(batch.n, alpha)
        cost = -math.log1p(-weight) - weight  # 4 ψ(λ); the 4 is that of v = 4 (x - mean)²
        return replace(
            self,
            n=self.n + batch.n,
            total=self.total + batch.total,
            spread=self.spread + spread,
            weights=self.weights + weight * batch.n,
            weighted=self.weighted + weight * batch.total,
            variance=self.variance + cost * spread,
        )

    def lower(self, alpha: float) -> float:
        """Returns a bound that the mean is never below, but for a probability of `alpha`."""
        return max(self._centre() - self._radius(alpha), 0.0)

    def upper(self, alpha: float) -> float:
        """Returns a bound that the mean is never above, but for a probability of `alpha`."""
        return min(self._centre() + self._radius(alpha), 1.0)

    def to_list(self) -> list[float]:
        """Returns the sums as JSON; `Sequence(*…)` reads them."""
        return list(astuple(self))

    def _weight(self, size: int, alpha: float) -> float:
        variance = (0.25 + self.spread) / (self.n + 1)
        time = self.n + size
        best = math.sqrt(2 * math.log(1 / alpha) / (variance * time * math.log1p(time)))
        return min(best, MAX_WEIGHT)

    def _centre(self) -> float:
        return self.weighted / self.weights if self.weights else 0.5

    def _radius(self, alpha: float) -> float:
        if not self.weights:
            return 1.0
        return (math.log(1 / alpha) + self.variance) / self.weights
