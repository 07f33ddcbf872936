"""Fits the confidence of extractive answers, and measures how far it can be trusted.

    python -m eval.calibration.abstention [--data DIR] [--out FILE] [--docs DIR] [--every N]

The questions about every second article are fitted on, put as people put them in messages, and so
are those of `examples/near-misses/fit`; all figures are measured with the questions about the other
articles, and with `examples/near-misses/test`, whose documents are others.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eval.calibration.asking import Asked, Cases, ask
from eval.calibration.best_quote import FEATURES, Groups, confidence, fit, rescaled
from eval.calibration.command import options_of, read_data, write_record
from eval.calibration.confidence import Judged, Logistic, auroc, calibration_error
from eval.calibration.evidence_runs import Retrieved
from eval.calibration.near_misses import NEAR_MISSES, Near, near_figures
from eval.calibration.plots import draw_reliability, draw_risk_coverage
from eval.datasets.corpus import Corpus
from generation.grounding.calibration import CALIBRATION
from generation.grounding.choice import MAX_SENTENCES

WITHOUT_ADVERSARIAL = "every second\nquestion outside\nthe collection"
WITH_ADVERSARIAL = "a third outside,\na third adversarial"
KEPT = 0.95
"""Share of the fitted questions whose article is in the collection that the threshold answers."""

INSIDE_WEIGHT, OUTSIDE_WEIGHT = 2, 4
"""Weights in fitting of the questions with and without their article; other questions have 1. With
equal weights the AUROC between those two falls by 0.01, and that of near misses rises."""

Record = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Calibrates, writes record and pictures; if the data is missing, prints that and stops."""
    prog = "python -m eval.calibration.abstention"
    options = options_of(argv, prog=prog, description=__doc__, out=CALIBRATION)
    data = read_data(options.data)
    if data is None:
        return 0
    corpus, elsewhere = data
    sampled = _sampled(corpus, options.every)
    record, curves = asyncio.run(calibrate(sampled, elsewhere=elsewhere))
    write_record(record, options.out)
    draw_risk_coverage(options.docs / "risk-coverage.png", curves, threshold=record["threshold"])
    draw_reliability(options.docs / "reliability.png", curves[WITH_ADVERSARIAL])
    return 0


async def calibrate(corpus: Corpus, *, elsewhere: Corpus) -> tuple[Record, dict[str, Judged]]:
    """Returns the content of calibration.json, and the answers behind its figures."""
    asked = await ask(corpus, elsewhere=elsewhere)
    return record_of(asked, data=corpus.name, elsewhere=elsewhere.name)


def record_of(asked: Asked, *, data: str, elsewhere: str) -> tuple[Record, dict[str, Judged]]:
    """Returns the record and the answers behind its figures.

    1. fit on half the articles  2. choose the threshold with them  3. measure on the rest
    """
    fitted, rest = asked.fitted, asked.rest
    model = _fit(asked)  # 1.
    threshold = float(np.quantile(confidence(model, fitted.inside), 1 - KEPT))  # 2.
    curves = {  # 3.
        WITHOUT_ADVERSARIAL: _judge(model, Groups(inside=[rest.inside], outside=[rest.outside])),
        WITH_ADVERSARIAL: _judge(model, _mixture(rest)),
    }
    record = {
        "intercept": model.intercept,
        "coefficients": dict(zip(FEATURES, model.weights.tolist(), strict=True)),
        "threshold": threshold,
        "rule": f"answers {KEPT:.0%} of the fitted questions whose article is in the collection",
        "fitted_on": {
            "data": data,
            **_summary(asked.articles[0], fitted),
            "near_misses": f"{NEAR_MISSES / 'fit'}, {len(asked.near.misses)} of them",
        },
        "measured_on": {"data": data, **_summary(asked.articles[1], rest)},
        "figures": {
            **_separation(model, threshold, rest.inside, rest.outside),
            **_adversarial(model, threshold, rest),
        },
        "near_misses": near_figures(model, threshold, asked.near_test),
        "calibration_error": round(calibration_error(curves[WITH_ADVERSARIAL]), 4),
        "elsewhere": {
            lang: {
                "data": f"{elsewhere}, {len(inside)} questions",
                **_separation(model, threshold, inside, outside),
            }
            for lang, (inside, outside) in asked.languages.items()
        },
        "phrased": _phrased(model, threshold, asked.phrased),
        "without_feature": {
            name: _aurocs(_fit(asked, without=name), rest, asked.near_test) for name in FEATURES
        },
        "answer_in_quotes": _answer_in_quotes(rest.whole),
    }
    return record, curves


def _fit(asked: Asked, *, without: str | None = None) -> Logistic:
    """Fits the ranking on all kinds of questions, and its scale on those of SQuAD."""
    fitted, near = asked.fitted, asked.near
    groups = Groups(
        inside=[fitted.inside] * INSIDE_WEIGHT + [near.answerable],
        outside=[fitted.outside] * OUTSIDE_WEIGHT + [fitted.adversarial, near.misses],
    )
    return rescaled(fit(groups, without=without), _mixture(fitted))


def _mixture(cases: Cases) -> Groups:
    """Returns the mixture that the confidence is a probability for."""
    return Groups(inside=[cases.inside], outside=[cases.outside, cases.adversarial])


def _judge(model: Logistic, groups: Groups) -> Judged:
    return Judged(
        confidence=confidence(model, groups.all()),
        correct=groups.correct(),
        weights=groups.weights(),
    )


def _separation(
    model: Logistic, threshold: float, inside: list[Retrieved], outside: list[Retrieved]
) -> dict[str, float]:
    ours, others = confidence(model, inside), confidence(model, outside)
    answered = ours >= threshold
    found = np.array([retrieved.found() for retrieved in inside])
    figures = {
        "auroc_outside": auroc(ours, others),
        "inside_answered": answered.mean(),
        "inside_answered_without_gold": 1 - found[answered].mean(),
        "outside_declined": (others < threshold).mean(),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def _adversarial(model: Logistic, threshold: float, cases: Cases) -> dict[str, float]:
    scores = confidence(model, cases.adversarial)
    return {
        "auroc_adversarial": round(auroc(confidence(model, cases.whole), scores), 4),
        "adversarial_declined": round(float((scores < threshold).mean()), 4),
    }


def _phrased(
    model: Logistic, threshold: float, phrased: Mapping[str, list[Retrieved]]
) -> dict[str, dict[str, float]]:
    """Returns how far the confidence moves from that of the question as it is."""
    plain = confidence(model, phrased["as it is"])
    figures: dict[str, dict[str, float]] = {}
    for name, asked in phrased.items():
        scores = confidence(model, asked)
        figures[name] = {
            "median_change": round(float(np.median(np.abs(scores - plain))), 4),
            "answered": round(float((scores >= threshold).mean()), 4),
            "gold_in_quotes": round(float(np.mean([a.found() for a in asked])), 4),
        }
    return figures


def _aurocs(model: Logistic, cases: Cases, near: Near) -> dict[str, float]:
    return {
        **{f"auroc_near_{k}": v["auroc"] for k, v in near_figures(model, 0, near).items()},
        "auroc_outside": _separation(model, 0, cases.inside, cases.outside)["auroc_outside"],
        "auroc_adversarial": _adversarial(model, 0, cases)["auroc_adversarial"],
    }


def _answer_in_quotes(retrieved: Sequence[Retrieved]) -> dict[str, float]:
    """Returns the share of answerable questions whose first n quotes have a gold answer.

    The questions were asked of the whole collection.
    """
    shares = {
        f"first_{n}": round(float(np.mean([a.found(n) for a in retrieved])), 4)
        for n in range(1, MAX_SENTENCES + 1)
    }
    quotes = float(np.mean([len(a.quotes()) for a in retrieved]))
    return {"questions": len(retrieved), **shares, "quotes_each": round(quotes, 2)}


def _summary(articles: Sequence[str], cases: Cases) -> dict[str, Any]:
    return {
        "articles": list(articles),
        "answerable": len(cases.whole),
        "adversarial": len(cases.adversarial),
    }


def _sampled(corpus: Corpus, every: int) -> Corpus:
    return replace(corpus, questions=corpus.questions[::every])


if __name__ == "__main__":
    sys.exit(main())
