"""The load that a plan is for."""

from __future__ import annotations

from dataclasses import dataclass

from rag.errors import InputError

HOURS = 730
"""Of a month: 365 · 24 ÷ 12."""
_BOUNDS = {
    "qps": 1e6,
    "documents": 1e12,
    "document_tokens": 1e8,
    "tokens_in": 1e7,
    "tokens_out": 1e6,
    "token_ms": 1e6,
}
_NAMES = {
    "qps": "Questions in a second",
    "documents": "Documents",
    "document_tokens": "Tokens of a document",
    "tokens_in": "Tokens of a prompt",
    "tokens_out": "Tokens of an answer",
    "token_ms": "Milliseconds between tokens",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Questions and documents.

    Attributes:
        qps: questions in a second, at the peak.
        mean: the mean load, as a share of the peak.
        token_ms: time between tokens that is still fast enough, in ms.
    """

    qps: float
    documents: int
    document_tokens: int
    tokens_in: int
    tokens_out: int
    token_ms: float
    mean: float

    def __post_init__(self) -> None:
        for name, most in _BOUNDS.items():
            value = getattr(self, name)
            if not 0 < value <= most:
                raise InputError(
                    f"{_NAMES[name]}: {value:g} is not above 0 and at most {most:,.0f}."
                )
        if not 0 < self.mean <= 1:
            raise InputError(f"The mean load: {self.mean:g} is no share of the peak, 0 to 1.")

    @property
    def tokens(self) -> int:
        """Tokens of a request at its end."""
        return self.tokens_in + self.tokens_out

    @property
    def questions_each_month(self) -> float:
        """Questions in a month."""
        return self.qps * self.mean * HOURS * 3600
