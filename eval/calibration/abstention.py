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
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eval.calibration.best_quote import FEATURES, Groups, confidence, fit
from eval.calibration.command import options_of, read_data, write_record
from eval.calibration.confidence import Judged, Logistic, auroc, calibration_error
from eval.calibration.evidence_runs import EvidenceRunner, Retrieved, open_evidence_runner
from eval.calibration.near_misses import NEAR_MISSES, Near, near_figures, run_near
from eval.calibration.phrasing import WAYS, put
from eval.calibration.plots import draw_reliability, draw_risk_coverage
from eval.datasets.corpus import Corpus, Question
from generation.grounding.calibration import CALIBRATION
from generation.grounding.choice import MAX_SENTENCES

WITHOUT_ADVERSARIAL = "every second\nquestion outside\nthe collection"
WITH_ADVERSARIAL = "a third outside,\na third adversarial"
KEPT = 0.96
"""Share of the fitted questions whose article is in the collection that the threshold answers.

The shares of other questions that it declines are measured, not chosen.
"""

INSIDE_WEIGHT, OUTSIDE_WEIGHT = 2, 4
"""Weights in fitting of the questions with and without their article; other questions have 1. With
equal weights the AUROC between those two falls by 0.01, and that of near misses rises."""

LANGUAGES = ("en", "de", "es", "zh")
PHRASED = 100
"""Questions that are put in every way."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """Questions about some articles, asked of two halves of the collection and of the whole.

    Attributes:
        inside: answerable questions, asked of the half that has their article.
        outside: the same questions, asked of the other half.
        adversarial: unanswerable questions, written to look answerable, asked of the whole.
        whole: the answerable questions, asked of the whole.
    """

    inside: list[Retrieved]
    outside: list[Retrieved]
    adversarial: list[Retrieved]
    whole: list[Retrieved]


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
    """Returns the content of calibration.json, and the answers behind its figures.

    1. ask  2. fit on half the articles  3. choose the threshold with them  4. measure on the rest
    """
    articles = sorted({_article(passage.meta) for passage in corpus.passages})
    first, second = articles[::2], articles[1::2]
    async with open_evidence_runner() as runner:  # 1.
        # Each half of the collection has articles of both groups, fitted on and measured on.
        halves = [{*first[i::2], *second[i::2]} for i in (0, 1)]
        fitted, rest = await _run_groups(runner, corpus, halves, groups=(first, second))
        languages = {
            lang: await _run_elsewhere(runner, elsewhere, known=corpus, lang=lang)
            for lang in LANGUAGES
        }
        phrased = await _run_phrased(runner, [a.question for a in rest.whole])
        near = [await run_near(runner, NEAR_MISSES / part) for part in ("fit", "test")]
    groups = Groups(
        inside=[fitted.inside] * INSIDE_WEIGHT + [near[0].answerable],
        outside=[fitted.outside] * OUTSIDE_WEIGHT + [fitted.adversarial, near[0].misses],
    )
    model = fit(groups)  # 2.
    threshold = float(np.quantile(confidence(model, fitted.inside), 1 - KEPT))  # 3.
    curves = {  # 4.
        WITHOUT_ADVERSARIAL: _judge(model, Groups(inside=[rest.inside], outside=[rest.outside])),
        WITH_ADVERSARIAL: _judge(
            model, Groups(inside=[rest.inside], outside=[rest.outside, rest.adversarial])
        ),
    }
    record = {
        "intercept": model.intercept,
        "coefficients": dict(zip(FEATURES, model.weights.tolist(), strict=True)),
        "threshold": threshold,
        "rule": f"answers {KEPT:.0%} of the fitted questions whose article is in the collection",
        "fitted_on": {
            "data": corpus.name,
            **_summary(first, fitted),
            "near_misses": f"{NEAR_MISSES / 'fit'}, {len(near[0].misses)} of them",
        },
        "measured_on": {"data": corpus.name, **_summary(second, rest)},
        "figures": {
            **_separation(model, threshold, rest.inside, rest.outside),
            **_adversarial(model, threshold, rest),
        },
        "near_misses": near_figures(model, threshold, near[1]),
        "calibration_error": round(calibration_error(curves[WITH_ADVERSARIAL]), 4),
        "elsewhere": {
            lang: {
                "data": f"{elsewhere.name}, {len(inside)} questions",
                **_separation(model, threshold, inside, outside),
            }
            for lang, (inside, outside) in languages.items()
        },
        "phrased": _phrased(model, threshold, phrased),
        "without_feature": {
            name: _aurocs(fit(groups, without=name), rest, near[1]) for name in FEATURES
        },
        "answer_in_quotes": _answer_in_quotes(rest.whole),
    }
    return record, curves


async def _run_groups(
    runner: EvidenceRunner,
    corpus: Corpus,
    halves: Sequence[set[str]],
    *,
    groups: Sequence[Sequence[str]],
) -> list[Cases]:
    """Asks the questions about each group of articles in `groups`."""
    scopes = [
        await runner.index(
            f"half {i}", [p for p in corpus.passages if _article(p.meta) in articles]
        )
        for i, articles in enumerate(halves)
    ]
    whole = await runner.index("whole", corpus.passages)
    cases = []
    for articles in groups:
        about = [q for q in corpus.questions if _article(q.meta) in articles]
        if articles is groups[0]:
            about = [replace(q, text=put(q.text, place)) for place, q in enumerate(about)]
        answerable = [q for q in about if q.answerable]
        by_half = [
            (half, await runner.run(scope, answerable))
            for half, scope in zip(halves, scopes, strict=True)
        ]
        pairs = [(_article(a.question.meta) in half, a) for half, some in by_half for a in some]
        cases.append(
            Cases(
                inside=[a for is_inside, a in pairs if is_inside],
                outside=[a for is_inside, a in pairs if not is_inside],
                adversarial=await runner.run(whole, [q for q in about if not q.answerable]),
                whole=await runner.run(whole, answerable),
            )
        )
    return cases


async def _run_phrased(
    runner: EvidenceRunner, questions: Sequence[Question]
) -> dict[str, list[Retrieved]]:
    """Asks some questions of the whole collection in each of the ways to put them."""
    some = questions[:: max(1, len(questions) // PHRASED)][:PHRASED]
    return {
        name: await runner.run(runner.scope("whole"), [replace(q, text=way(q.text)) for q in some])
        for name, way in WAYS.items()
    }


async def _run_elsewhere(
    runner: EvidenceRunner, corpus: Corpus, *, known: Corpus, lang: str
) -> tuple[list[Retrieved], list[Retrieved]]:
    """Asks questions in a language of the half that has their article, and of the other half.

    Both collections descend from SQuAD 1.1: questions that `known` has too are left out. The
    languages have the same passages in the same order; the English ones alone have titles.
    """
    english = [p for p in corpus.passages if p.id.startswith("en/")]
    passages = [p for p in corpus.passages if p.id.startswith(f"{lang}/")]
    about = {p.id: e.title for p, e in zip(passages, english, strict=True)}
    titles = sorted(set(about.values()))
    asked_before = {q.text.strip() for q in known.questions}
    old = {
        _number(q)
        for q in corpus.questions
        if q.meta["lang"] == "en" and q.text.strip() in asked_before
    }
    questions = [q for q in corpus.questions if q.meta["lang"] == lang and _number(q) not in old]
    inside: list[Retrieved] = []
    outside: list[Retrieved] = []
    for i in (0, 1):
        half = [p for p in passages if about[p.id] in titles[i::2]]
        scope = await runner.index(f"elsewhere {lang} {i}", half)
        for retrieved in await runner.run(scope, questions):
            (relevant,) = corpus.qrels[retrieved.question.id]
            (inside if about[relevant] in titles[i::2] else outside).append(retrieved)
    return inside, outside


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


def _number(question: Question) -> str:
    """Returns what the id of a question has in common in all languages."""
    return question.id.partition("-")[2]


def _article(meta: Mapping[str, Any]) -> str:
    """Returns the article of a passage, or of the passage that a question was written for."""
    return str(meta.get("article") or meta["source_doc"].partition("#")[0])


if __name__ == "__main__":
    sys.exit(main())
