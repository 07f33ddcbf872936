"""Decides, before an answer is written, whether the passages answer the question at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from generation.grounding.calibration import Calibration
from generation.grounding.evidence import Evidence
from generation.grounding.presence import Missing
from rag.types import Prompt, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The calibrated `confidence`, 0 to 1, and its evidence, or the reason to abstain."""

    confidence: float
    evidence: Evidence | None = None
    abstained: Reason | None = None
    missing: tuple[str, ...] = ()
    """If it abstains, the words of the question that no passage has."""


class Finder(Protocol):
    """Finds the passages' evidence about a question."""

    async def find(self, prompt: Prompt) -> Evidence | None:
        """Returns the sentences to answer with; None if question or passages have no words."""

    def missing(self, prompt: Prompt) -> Missing:
        """Returns the words of the question that none of its passages has."""


class Judge:
    """Converts a prompt's evidence to a confidence, and abstains below a threshold."""

    def __init__(
        self, *, finder: Finder, calibration: Calibration, threshold: float | None = None
    ) -> None:
        """Make a judge.

        Args:
            finder: finds the evidence.
            calibration: converts evidence to confidence.
            threshold: confidence below which it abstains; the calibration's own if None.
        """
        self._finder = finder
        self._calibration = calibration
        self._threshold = calibration.threshold if threshold is None else threshold

    async def judge(self, prompt: Prompt) -> Verdict:
        """Returns the verdict; it has `evidence` unless it abstains."""
        if not prompt.question.strip():
            return Verdict(confidence=0.0, abstained="no_question")
        if not prompt.hits:
            return Verdict(confidence=0.0, abstained="no_documents")
        evidence = await self._finder.find(prompt)
        if evidence is None:
            return self._abstain(prompt, confidence=0.0)
        if evidence.absent:
            unknown: Reason = "unknown_identifier"
            return Verdict(confidence=0.0, abstained=unknown, missing=evidence.absent)
        confidence = max(map(self._calibration.probability, evidence.features))
        if confidence < self._threshold:
            return self._abstain(prompt, confidence=confidence)
        return Verdict(confidence=confidence, evidence=evidence)

    def _abstain(self, prompt: Prompt, *, confidence: float) -> Verdict:
        missing = self._finder.missing(prompt)
        reason: Reason = "no_match" if missing.everything else "weak_evidence"
        return Verdict(confidence=confidence, abstained=reason, missing=missing.words)
