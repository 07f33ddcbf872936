from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from eval.calibration.best_quote import FEATURES, Groups, confidence, fit, rescaled
from eval.calibration.confidence import Logistic
from eval.calibration.evidence_runs import Retrieved
from eval.calibration.near_misses import LANGUAGES, NEAR_MISSES, Near, near_figures
from eval.datasets.corpus import Question, read_corpus
from generation.grounding.choice import Features, Sentence
from generation.grounding.evidence import Evidence
from rag.types import Chunk, Hit

GOLD = "blue"
MODEL = Logistic(intercept=-1.0, weights=np.array([2.0] + [0.0] * (len(FEATURES) - 1)))


def answer(*quotes: tuple[str, float], answerable: bool, lang: str = "en") -> Retrieved:
    """An answer with these quotes, and the late interaction of each with its question."""
    text = " ".join(quote for quote, _ in quotes)
    chunk = Chunk(
        id="c",
        document_id="d",
        version="",
        position=0,
        text=text,
        start=0,
        end=len(text),
        title="",
        uri="",
    )
    starts = [text.index(quote) for quote, _ in quotes]
    evidence = Evidence(
        sentences=tuple(
            Sentence(place=0, start=start, end=start + len(quote), score=1.0)
            for start, (quote, _) in zip(starts, quotes, strict=True)
        ),
        features=tuple(Features(sentence=s, coverage=0, name_missing=0) for _, s in quotes),
    )
    hit = Hit(chunk=chunk, score=1.0, source="reranked", ranks={})
    question = Question(
        id="q",
        text="?",
        answers=(GOLD,),
        answerable=answerable,
        meta={"lang": lang, "domain": "colours"},
    )
    return Retrieved(question=question, hits=(hit,), evidence=evidence)


def test_the_confidence_is_that_of_the_best_quote() -> None:
    each = [answer(("It is red.", 0.1), ("It is blue.", 0.5), answerable=True)]
    assert confidence(MODEL, each) == pytest.approx([0.5])
    nothing = Retrieved(question=each[0].question, hits=(), evidence=None)
    assert confidence(MODEL, [nothing])[0] < 0.5


def test_of_a_right_answer_only_quotes_with_the_gold_answer_are_fitted_on() -> None:
    right = [answer(("It is red.", 0.9), ("It is blue.", 0.2), answerable=True)] * 4
    wrong = [answer(("It is red.", 0.9), answerable=False)] * 4
    groups = Groups(inside=[right], outside=[wrong])
    assert groups.correct().tolist() == [1.0] * 4 + [0.0] * 4
    assert fit(groups).weights[FEATURES.index("sentence")] < 0


def test_a_feature_that_is_left_out_has_no_weight() -> None:
    groups = Groups(
        inside=[[answer(("blue", 0.9), answerable=True)]],
        outside=[[answer(("red", 0.1), answerable=False)]],
    )
    assert fit(groups, without="sentence").weights[FEATURES.index("sentence")] == 0
    assert fit(groups).weights[FEATURES.index("sentence")] > 0


def test_a_rescaled_model_ranks_as_before_and_is_right_as_often_as_it_says() -> None:
    levels = [place / 10 for place in range(1, 9)]
    right = [answer(("It is blue.", level), answerable=True) for level in levels[3:]]
    wrong = [answer(("It is red.", level), answerable=False) for level in levels]
    groups = Groups(inside=[right], outside=[wrong, wrong])
    model = rescaled(MODEL, groups)
    before, after = (confidence(each, groups.all()) for each in (MODEL, model))
    assert np.array_equal(np.argsort(before, kind="stable"), np.argsort(after, kind="stable"))
    assert np.average(after, weights=groups.weights()) == pytest.approx(1 / 3)


def test_figures_are_those_of_each_language() -> None:
    sure = [answer(("It is blue.", 0.9), answerable=True, lang=lang) for lang in LANGUAGES]
    unsure = answer(("It is red.", 0.1), answerable=False)
    wrong = answer(("It is red.", 0.8), answerable=False, lang="de")
    figures = near_figures(MODEL, 0.5, Near(answerable=sure, misses=[unsure, wrong]))
    assert figures["en"]["near_misses_declined"] == 1
    assert figures["de"]["near_misses_declined"] == 0
    assert figures["en"]["auroc_interval"] == [1, 1]
    assert figures["de"]["answerable_answered"] == 1


def test_the_sets_have_different_documents_and_enough_questions() -> None:
    fitted, test = (read_corpus(NEAR_MISSES / part) for part in ("fit", "test"))
    assert not {p.title for p in fitted.passages} & {p.title for p in test.passages}
    counts = Counter((q.meta["lang"], q.answerable) for q in test.questions)
    assert min(counts.values()) >= 125
    texts = {p.id: p.text for p in test.passages}
    for question in test.questions:
        for span in question.spans:
            assert texts[span.document_id][span.start : span.end] == question.answers[0]
