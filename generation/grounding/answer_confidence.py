"""The probability that a sentence of a language model answers the question."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, fields
from pathlib import Path

from generation.grounding.answer_types import lacks_count, lacks_type
from generation.grounding.calibration import Regression
from generation.grounding.citations import without_markers
from generation.grounding.quotes import Quoted
from generation.grounding.support import shared_grams

WEIGHTS = Path(__file__).with_name("answer_confidence.json")
"""Written by `python -m eval.calibration.answers`; the file names the data it was fitted on."""
LEAST = 1e-3
"""Confidences are kept this far from 0 and 1, whose odds are infinite."""
SHORT_WORD = 3
"""Letters, at most, of a word that may be an article or a preposition."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAnswer:
    """A sentence that the passages support, beside the quotes that answer its question.

    Attributes:
        evidence: the logarithm of the odds that the quotes answer.
        told: the share of the quotes' own words, those that the question has not, that the sentence
            has, by trigrams; of all their words if they have no own.
        type_missing: 1 if it has nothing of the kind that is asked for, or no number close to what
            is counted.
    """

    evidence: float
    told: float
    type_missing: float


FEATURES = tuple(field.name for field in fields(GivenAnswer))


def given_answer(question: str, sentence: str, quoted: Quoted) -> GivenAnswer:
    """Compares a sentence with the quotes."""
    confidence = min(max(quoted.confidence, LEAST), 1 - LEAST)
    quotes = without_markers(quoted.text)
    own = _own_words(quotes, question) or quotes.strip()
    return GivenAnswer(
        evidence=math.log(confidence / (1 - confidence)),
        told=shared_grams(own, sentence) if own else 0.0,
        type_missing=float(lacks_type(question)(sentence) or lacks_count(question)(sentence)),
    )


def load_answer_confidence(path: Path = WEIGHTS) -> Regression:
    """Reads the file that `eval.calibration.answers` wrote."""
    record = json.loads(path.read_bytes())
    return Regression(intercept=record["intercept"], coefficients=record["coefficients"])


def _own_words(text: str, question: str) -> str:
    """Returns the numbers and the long words of a text that the question has not."""
    asked = {word.lower() for word in _WORD.findall(question)}
    said = (w for w in _WORD.findall(text) if len(w) > SHORT_WORD or not w.isalpha())
    return " ".join(word for word in said if word.lower() not in asked)
