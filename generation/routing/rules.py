"""The conditions of routes: what they ask of a question, and why they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from generation.grounding.answer_types import kind_of
from generation.grounding.answerability import Verdict
from rag.settings.routing import RouteSettings
from rag.text.languages import language_of
from rag.types import Prompt, QuestionKind

Condition = tuple[bool, str]
"""Whether a condition holds, and the reason to give if it does."""


@dataclass(frozen=True)
class Question:
    """A prompt, and what the conditions ask about it, found when first asked."""

    prompt: Prompt
    verdict: Verdict | None
    """None if no route asks for the evidence, or there are no passages."""

    @cached_property
    def language(self) -> str | None:
        """The language of the question; None if none is likeliest."""
        return language_of(self.prompt.question)

    @cached_property
    def kind(self) -> QuestionKind | None:
        """The kind of thing that it asks for; None without such a word."""
        return kind_of(self.prompt.question)

    @property
    def confidence(self) -> float:
        """The calibrated confidence that the passages answer it."""
        return self.verdict.confidence if self.verdict else 0.0

    @property
    def spread(self) -> int | None:
        """The number of passages that the evidence is in; None without evidence."""
        if self.verdict is None or self.verdict.evidence is None:
            return None
        return len({sentence.place for sentence in self.verdict.evidence.sentences})


def asks_for_evidence(settings: RouteSettings) -> bool:
    """Returns True if a condition of the route is about the evidence."""
    return settings.min_confidence is not None or settings.max_spread is not None


def reasons_for(settings: RouteSettings, question: Question) -> tuple[str, ...] | None:
    """Returns the reason of each condition that is set; None if one of them does not hold."""
    reasons = []
    for check in _CHECKS:
        for holds, reason in check(settings, question):
            if not holds:
                return None
            reasons.append(reason)
    return tuple(reasons)


def _by_request(settings: RouteSettings, question: Question) -> Iterator[Condition]:
    prompt = question.prompt
    is_json = prompt.sampling.schema is not None
    if is_json and settings.generator.kind == "extractive":
        yield False, "no JSON can be quoted"
    if settings.tenants:
        yield prompt.scope.tenant in settings.tenants, f"tenant {prompt.scope.tenant}"
    if settings.tags:
        tags = [tag for tag in settings.tags if tag in prompt.tags]
        yield bool(tags), f"tag {', '.join(tags)}"
    if settings.json_only is not None:
        yield is_json is settings.json_only, "JSON asked for" if is_json else "no JSON asked for"


def _by_question(settings: RouteSettings, question: Question) -> Iterator[Condition]:
    if settings.max_chars is not None:
        length = len(question.prompt.message or question.prompt.question)
        yield length <= settings.max_chars, f"{length} characters"
    if settings.languages:
        yield question.language in settings.languages, f"language {question.language}"
    if settings.kinds:
        yield question.kind in settings.kinds, f"asks for a {question.kind}"


def _by_evidence(settings: RouteSettings, question: Question) -> Iterator[Condition]:
    if settings.min_confidence is not None:
        holds = question.confidence >= settings.min_confidence
        yield holds, f"confidence {question.confidence:.2f}"
    if settings.max_spread is not None:
        spread = question.spread
        yield spread is not None and spread <= settings.max_spread, f"evidence in {spread} passages"


_CHECKS: tuple[Callable[[RouteSettings, Question], Iterator[Condition]], ...] = (
    _by_request,
    _by_question,
    _by_evidence,
)
"""The cheap ones first."""
