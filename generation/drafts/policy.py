"""Makes the draft of an answer that a policy asks for."""

from __future__ import annotations

from collections.abc import Sequence

from generation.drafts.draft import Draft
from generation.drafts.json_draft import CheckedJsonDraft, JsonDraft
from generation.drafts.marked import MarkedDraft
from generation.drafts.strict import Remedies, StrictDraft
from generation.grounding.calibration import Regression
from generation.grounding.claims import ClaimChecker
from generation.grounding.groundedness import ClaimScorer
from generation.grounding.quotes import Quotes
from rag.protocols import SupportScorer
from rag.types import ClaimPolicy, Hit, Prompt

AnyDraft = Draft | JsonDraft


class Drafts:
    """Makes drafts of answers, each of which checks what is written."""

    def __init__(
        self,
        support: SupportScorer,
        scorer: ClaimScorer,
        confidence: Regression,
        *,
        entailed: bool = False,
    ) -> None:
        """Makes drafts.

        Args:
            support: Scores the support of citations.
            scorer: Scores the support of claims.
            confidence: The probability that a claim answers the question.
            entailed: True if that is a model for natural language inference.
        """
        self._entailed = entailed
        self._support = support
        self._scorer = scorer
        self._confidence = confidence

    def make(self, prompt: Prompt, policy: ClaimPolicy, remedies: Remedies) -> AnyDraft:
        """Returns an empty draft of the answer to a prompt."""
        support, passages = self._support, prompt.hits
        as_json = prompt.sampling.schema is not None
        if policy == "off":
            return JsonDraft(passages, support) if as_json else Draft(passages, support)
        checker = self.checker(prompt.question, passages, remedies.quotes)
        strict = policy == "strict"
        if as_json:
            may_revise = remedies.may_revise if strict else None
            return CheckedJsonDraft(passages, support, checker=checker, may_revise=may_revise)
        if strict:
            return StrictDraft(passages, support, checker=checker, remedies=remedies)
        return MarkedDraft(passages, support, checker=checker)

    def checker(self, question: str, passages: Sequence[Hit], quotes: Quotes) -> ClaimChecker:
        """Returns the checker of the claims of an answer to a question from these passages."""
        return ClaimChecker(
            question, passages, self._scorer, quotes, self._confidence, entailed=self._entailed
        )
