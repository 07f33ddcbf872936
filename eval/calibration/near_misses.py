"""Near misses: questions about what the documents are about, which they do not answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.calibration.best_quote import confidence
from eval.calibration.confidence import RESAMPLES, Logistic, Names, auroc, auroc_interval
from eval.calibration.evidence_runs import EvidenceRunner, Retrieved
from eval.datasets.corpus import read_corpus

NEAR_MISSES = Path("examples/near-misses")
"""Sets: `fit`, and `test` with other documents."""
LANGUAGES = ("en", "de")


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """The questions of a set that its documents answer, and the near misses."""

    answerable: list[Retrieved]
    misses: list[Retrieved]

    def only(self, lang: str) -> Near:
        """Returns those in a language."""
        return Near(
            answerable=[a for a in self.answerable if a.question.meta["lang"] == lang],
            misses=[a for a in self.misses if a.question.meta["lang"] == lang],
        )


async def run_near(runner: EvidenceRunner, folder: Path) -> Near:
    """Asks the questions of a set of the collection of all its documents."""
    corpus = read_corpus(folder)
    scope = await runner.index(f"near {folder.name}", corpus.passages)
    answers = await runner.run(scope, corpus.questions)
    return Near(
        answerable=[a for a in answers if a.question.answerable],
        misses=[a for a in answers if not a.question.answerable],
    )


def near_figures(model: Logistic, threshold: float, near: Near) -> dict[str, Any]:
    """Returns the figures of each language; the 95 % intervals draw whole documents."""
    return {lang: _figures(model, threshold, near.only(lang)) for lang in LANGUAGES}


def _figures(model: Logistic, threshold: float, near: Near) -> dict[str, Any]:
    ours, others = confidence(model, near.answerable), confidence(model, near.misses)
    groups = _documents(near.answerable), _documents(near.misses)
    answered, declined = ours >= threshold, others < threshold
    found = np.array([answer.found() for answer in near.answerable])
    return {
        "answerable": len(ours),
        "near_misses": len(others),
        "auroc": round(auroc(ours, others), 4),
        "auroc_interval": _rounded(auroc_interval(ours, others, groups)),
        "answerable_answered": round(float(answered.mean()), 4),
        "answerable_answered_interval": _share_interval(answered, groups[0]),
        "answered_without_gold": round(float(1 - found[answered].mean()), 4),
        "near_misses_declined": round(float(declined.mean()), 4),
        "near_misses_declined_interval": _share_interval(declined, groups[1]),
    }


def _documents(answers: Iterable[Retrieved]) -> Names:
    """Returns the domain of each question: a set has one document of each in a language."""
    return np.array([answer.question.meta["domain"] for answer in answers])


def _share_interval(yes: npt.NDArray[np.bool_], groups: Names) -> list[float]:
    """Returns the 95 % percentile interval of a share, with whole groups drawn."""
    _, group = np.unique(groups, return_inverse=True)
    asked, counted = np.bincount(group), np.bincount(group, weights=yes)
    random = np.random.default_rng(0)
    drawn = random.integers(len(asked), size=(RESAMPLES, len(asked)))
    shares = counted[drawn].sum(axis=1) / asked[drawn].sum(axis=1)
    low, high = np.percentile(shares, [2.5, 97.5])
    return _rounded((float(low), float(high)))


def _rounded(interval: tuple[float, float]) -> list[float]:
    return [round(each, 3) for each in interval]
