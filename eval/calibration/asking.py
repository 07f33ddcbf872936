"""Asks the questions that the confidence is fitted on and measured with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eval.calibration.evidence_runs import EvidenceRunner, Retrieved, open_evidence_runner
from eval.calibration.near_misses import NEAR_MISSES, Near, run_near
from eval.calibration.phrasing import WAYS, put
from eval.datasets.corpus import Corpus, Question

LANGUAGES = ("en", "de", "es", "zh")
PHRASED = 100
"""Questions that are put in every way."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """All answers of a calibration.

    Attributes:
        articles: those fitted on, and those measured on.
        fitted: answers about the former.
        rest: answers about the latter.
        languages: answers inside and outside another collection, by language.
        phrased: answers to the same questions, by the way that they were put in.
        near: answers to the set of near misses that is fitted on.
        near_test: answers to the set that is measured on.
    """

    articles: tuple[list[str], list[str]]
    fitted: Cases
    rest: Cases
    languages: Mapping[str, tuple[list[Retrieved], list[Retrieved]]]
    phrased: Mapping[str, list[Retrieved]]
    near: Near
    near_test: Near


async def ask(corpus: Corpus, *, elsewhere: Corpus) -> Asked:
    """Asks all questions; the articles are fitted on and measured on in turn."""
    articles = sorted({_article(passage.meta) for passage in corpus.passages})
    first, second = articles[::2], articles[1::2]
    async with open_evidence_runner() as runner:
        # Each half of the collection has articles of both groups, fitted on and measured on.
        halves = [{*first[i::2], *second[i::2]} for i in (0, 1)]
        fitted, rest = await _run_groups(runner, corpus, halves, groups=(first, second))
        languages = {
            lang: await _run_elsewhere(runner, elsewhere, known=corpus, lang=lang)
            for lang in LANGUAGES
        }
        phrased = await _run_phrased(runner, [a.question for a in rest.whole])
        near, near_test = [await run_near(runner, NEAR_MISSES / part) for part in ("fit", "test")]
    return Asked(
        articles=(first, second),
        fitted=fitted,
        rest=rest,
        languages=languages,
        phrased=phrased,
        near=near,
        near_test=near_test,
    )


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


def _number(question: Question) -> str:
    """Returns what the id of a question has in common in all languages."""
    return question.id.partition("-")[2]


def _article(meta: Mapping[str, Any]) -> str:
    """Returns the article of a passage, or of the passage that a question was written for."""
    return str(meta.get("article") or meta["source_doc"].partition("#")[0])
