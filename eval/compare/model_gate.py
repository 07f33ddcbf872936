"""The gate of a quantized model: perplexity and score beside its reference, and its answers.

Perplexity is exp(mean negative log-likelihood per token), over the tokens of all texts together;
the first token of each text, which nothing precedes, is left out (Jurafsky and Martin, Speech and
Language Processing, 3rd ed. draft, section 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from eval.measures.squad import normalized
from eval.measures.statistics import difference_interval
from eval.runs.run_folder import Outcome
from generation.grounding.citations import without_markers
from rag.errors import InputError

MOST_PERPLEXITY = 0.01
"""Share by which the perplexity may be above that of the reference."""
MOST_SCORE = 0.02
"""Share by which the score may be below that of the reference."""
_ROUNDING = 1e-9
"""Share that a difference of equal decimal numbers may have."""
MOST_UNLIKE = 10
"""Differing answers in the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The measurements of one model.

    `losses` are the negative log-likelihoods of the texts' tokens, in nats. `scores` are by the
    question's id. `answers` are the outcomes of one's own questions, by id.
    """

    losses: Sequence[float]
    scores: Mapping[str, float]
    answers: Mapping[str, Outcome]


def judge(reference: Measured, candidate: Measured) -> dict[str, Any]:
    """Compares a model with its reference; `faults` of the report are empty if it passes.

    Raises:
        InputError: There are no tokens, or no question has a score.
    """
    if not reference.losses or not reference.scores:
        raise InputError(
            "There is nothing to compare: the texts have no second token, or no question of the set"
            " has a gold answer."
        )
    perplexity, score = _perplexity(reference, candidate), _score(reference, candidate)
    return {
        "perplexity": perplexity,
        "score": score,
        "answers": _agreement(reference.answers, candidate.answers),
        "faults": [*_too_perplexed(perplexity), *_too_low(score)],
    }


def _perplexity(reference: Measured, candidate: Measured) -> dict[str, Any]:
    before, after = (math.exp(math.fsum(m.losses) / len(m.losses)) for m in (reference, candidate))
    return {
        "reference": before,
        "candidate": after,
        "rise": after / before - 1,
        "tokens": len(reference.losses),
    }


def _too_perplexed(perplexity: Mapping[str, Any]) -> list[str]:
    if perplexity["rise"] <= MOST_PERPLEXITY + _ROUNDING:
        return []
    return [f"its perplexity is {perplexity['rise']:.1%} higher ({MOST_PERPLEXITY:.0%} is allowed)"]


def _score(reference: Measured, candidate: Measured) -> dict[str, Any]:
    ids = sorted(reference.scores)
    before = np.array([reference.scores[id_] for id_ in ids])
    after = np.array([candidate.scores[id_] for id_ in ids])
    mean = float(before.mean())
    interval = difference_interval(after - before, most=1.0)
    return {
        "reference": mean,
        "candidate": float(after.mean()),
        "loss": 1 - float(after.mean()) / mean if mean else None,
        "questions": len(ids),
        "difference": {"low": interval.low, "high": interval.high},
    }


def _too_low(score: Mapping[str, Any]) -> list[str]:
    if score["loss"] is None:
        return ["the reference answers no question of the set: choose an easier set"]
    if score["loss"] <= MOST_SCORE + _ROUNDING:
        return []
    return [f"its score is {score['loss']:.1%} lower ({MOST_SCORE:.0%} is allowed)"]


def _agreement(
    reference: Mapping[str, Outcome], candidate: Mapping[str, Outcome]
) -> dict[str, Any]:
    """Compares answers to the same questions; shares are None without questions.

    `equal` is the share of those with the same words (`normalized`), `similarity` the mean of
    2 M / T, with M the characters in common blocks and T those of both (Ratcliff and Obershelp),
    `citations` the share of those with the same cited spans.
    """
    pairs = [(reference[id_], candidate[id_]) for id_ in sorted(reference)]
    words = [tuple(normalized(without_markers(each.answer)) for each in pair) for pair in pairs]
    spans = [
        tuple({(c.document_id, c.start, c.end) for c in each.citations} for each in pair)
        for pair in pairs
    ]
    alike = [_similarity(*pair) for pair in words]
    least = sorted(range(len(pairs)), key=lambda place: alike[place])[:MOST_UNLIKE]
    return {
        "questions": len(pairs),
        "equal": _mean([float(a == b) for a, b in words]),
        "similarity": _mean(alike),
        "citations": _mean([float(a == b) for a, b in spans]),
        "unlike": [
            {
                "question": pairs[place][0].question,
                "reference": pairs[place][0].answer,
                "candidate": pairs[place][1].answer,
            }
            for place in least
            if alike[place] < 1
        ],
    }


def _similarity(first: str, second: str) -> float:
    return SequenceMatcher(None, first, second, autojunk=False).ratio()


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
