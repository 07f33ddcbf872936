"""Measures of single questions: against `ir_measures`, the published rules, and by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.datasets.corpus import Question, Span
from eval.measures.correctness import correct
from eval.measures.ranking import to_trec
from eval.measures.registry import (
    ANSWERS,
    CITATIONS,
    CLAIMS,
    DEFAULT,
    JUDGED,
    RETRIEVAL,
    SCORED,
    known,
    measure,
)
from eval.measures.slices import slices_of
from eval.measures.spans import SpanScores, first_characters, span_scores
from eval.measures.squad import answer_scores, normalized
from eval.runs.run_folder import Cited, Found, Outcome
from rag.errors import ConfigError, InputError

SPAN = st.builds(
    lambda document, start, size: Span(document_id=document, start=start, end=start + size),
    *(st.sampled_from("ab"), st.integers(0, 30), st.integers(1, 12)),
)


def question(
    *answers: str, answerable: bool = True, spans: Sequence[Span] = (), **meta: str
) -> Question:
    return Question(
        id="q",
        text="Who?",
        answers=answers,
        answerable=answerable,
        meta=meta,
        spans=tuple(spans),
    )


def span(document: str, start: int, end: int) -> Span:
    return Span(document_id=document, start=start, end=end)


def hit(document: str, start: int = 0, end: int = 10) -> Found:
    id_ = f"{document}:{start}"
    return Found(chunk_id=id_, document_id=document, start=start, end=end, score=0.5)


def cited(document: str, start: int = 0, end: int = 10, support: float = 1.0) -> Cited:
    return Cited(document_id=document, start=start, end=end, support=support)


def outcome(*hits: Found, id_: str = "q", **more: Any) -> Outcome:
    ranked = tuple(dict.fromkeys(hit.document_id for hit in hits))
    return Outcome(
        id=id_,
        question="Who?",
        slices={},
        timings={},
        measures={},
        hits=hits,
        documents=ranked,
        **more,
    )


def outcomes(seed: int, questions: int = 60) -> tuple[list[Outcome], dict[str, dict[str, int]]]:
    """Rankings of chunks of 40 documents, some empty, with graded judgements of other lengths."""
    rng = np.random.default_rng(seed)
    found, gains = [], {}
    for i in range(questions):
        drawn = rng.integers(40, size=rng.integers(0, 150))
        hits = [hit(f"d{document}", start=place) for place, document in enumerate(drawn)]
        found.append(outcome(*hits, id_=f"q{i}"))
        judged = rng.choice(50, size=rng.integers(1, 12), replace=False)
        gains[f"q{i}"] = {f"d{document}": int(rng.integers(0, 4)) for document in judged}
    return found, gains


def test_rankings_agree_with_ir_measures_on_the_run_file() -> None:
    ir_measures: Any = import_module("ir_measures")
    found, gains = outcomes(seed=1)
    names = (*RETRIEVAL, "P@1", "R@5", "AP(rel=2)", "nDCG", "Rprec", "Bpref", "IPrec@0.1", "RR@10")
    ours = [measure(question(), gains[each.id], each, names) for each in found]
    run = list(ir_measures.read_trec_run(to_trec(found)))
    theirs = ir_measures.calc_aggregate([*map(ir_measures.parse_measure, names)], gains, run)
    for name in names:
        mean = np.mean([row[name] for row in ours])
        assert mean == pytest.approx(theirs[ir_measures.parse_measure(name)], abs=1e-9), name


def test_rankings_agree_with_pytrec_eval_question_by_question() -> None:
    ir_measures: Any = import_module("ir_measures")
    pytrec_eval: Any = import_module("pytrec_eval")
    found, gains = outcomes(seed=2)
    run: dict[str, dict[str, float]] = {}
    for scored in ir_measures.read_trec_run(to_trec(found)):
        run.setdefault(scored.query_id, {})[scored.doc_id] = scored.score
    theirs = {"nDCG@10": "ndcg_cut_10", "R@100": "recall_100", "RR": "recip_rank", "AP": "map"}
    evaluator = pytrec_eval.RelevanceEvaluator(gains, set(theirs.values()))
    for id_, expected in evaluator.evaluate(run).items():
        ours = measure(question(), gains[id_], found[int(id_[1:])], tuple(theirs))
        assert ours == {name: pytest.approx(expected[its]) for name, its in theirs.items()}


@pytest.mark.parametrize("seed", ["0", "2", "5"])
def test_measures_do_not_depend_on_the_hash_seed(seed: str) -> None:
    """nDCG with linear and with exponential gains, each computed by hand."""
    script = """
from eval.measures.ranking import ranking_measures
names = ["nDCG@10", "nDCG(gains={2:3,3:7})@10"]
found = ranking_measures(names, {"a": 2, "b": 1, "c": 0, "d": 3}, ["b", "a", "x", "d"])
print(*(found[name] for name in names))
"""
    environment = os.environ | {"PYTHONHASHSEED": seed}
    said = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, check=True, text=True
    ).stdout
    log3, log5 = np.log2([3, 5])
    linear = (1 + 2 / log3 + 3 / log5) / (3 + 2 / log3 + 1 / 2)
    exponential = (1 + 3 / log3 + 7 / log5) / (7 + 3 / log3 + 1 / 2)
    assert [*map(float, said.split())] == pytest.approx([linear, exponential])


def test_a_document_stands_where_its_best_chunk_does() -> None:
    hits = hit("a", 0), hit("b", 0), hit("a", 9), hit("c", 0)
    assert to_trec([outcome(*hits)]).splitlines() == [
        "q Q0 a 1 3 plumbline",
        "q Q0 b 2 2 plumbline",
        "q Q0 c 3 1 plumbline",
    ]
    assert measure(question(), {"c": 1}, outcome(*hits), ("RR",)) == {"RR": pytest.approx(1 / 3)}


def test_spaces_in_ids_do_not_break_the_run_file() -> None:
    (line,) = to_trec([outcome(hit("my file.pdf"), id_="q\u00a01")]).splitlines()
    assert line.split() == ["q%C2%A01", "Q0", "my%20file.pdf", "1", "1", "plumbline"]


def test_nothing_found_and_documents_that_nobody_judged_are_0() -> None:
    for found in (outcome(), outcome(hit("unknown"))):
        scores = measure(question(), {"d": 1}, found, RETRIEVAL)
        assert scores == dict.fromkeys(RETRIEVAL, 0.0)
    assert measure(question(), {}, outcome(hit("d")), RETRIEVAL) == {}


def test_names_are_those_of_the_field() -> None:
    assert known(("MRR", "RR", "Recall@20", "f1", "span_iou@3", "span_recall@800c")) == (
        "RR",
        "R@20",
        "f1",
        "span_iou@3",
        "span_recall@800c",
    )
    everything = (*DEFAULT, *SCORED, *JUDGED)
    assert known(everything) == everything


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("ndcg@10", "nDCG@10"),
        ("nDCG@ten", "nDCG@10"),
        ("ndcg", "nDCG@10"),
        ("exact_matches", "exact_match"),
        ("F1", "f1"),
        ("span_iou@0", "span_iou@5"),
        ("span_iou", "span_iou@5"),
        ("context_recall@5c", "context_recall@10"),
        ("R", "R@10"),
        ("RBP(q=1)", "P"),
        ("RR(**1)", "RR"),
        ("Accuracy", "exact_match"),
    ],
)
def test_an_unknown_name_names_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(InputError) as caught:
        known([wrong])
    assert str(caught.value).startswith(f"There is no measure {wrong!r} here; ")
    assert near in str(caught.value)


def test_without_ir_measures_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("eval.measures.ranking.importlib.import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install 'plumbline-rag\[eval\]'"):
        known(["ERR@7"])


SQUAD_TABLE = [
    # answer, gold answers, exact match, F1
    ("Denver Broncos", ["Denver Broncos"], 1, 1),
    ("the denver   broncos!", ["Denver Broncos"], 1, 1),
    ("Broncos", ["Denver Broncos", "Broncos of Denver", "The Broncos"], 1, 1),
    ("the Denver Broncos won", ["Denver Broncos"], 0, 4 / 5),
    ("in the 10th century", ["10th and 11th centuries", "in the 10th and 11th"], 0, 4 / 7),
    ("cat cat cat", ["cat cat dog"], 0, 2 / 3),
    ("theatre a", ["Theatre"], 1, 1),
    ("$5.00", ["500"], 1, 1),
    ("well-known", ["well known"], 0, 0),
    ("Beyoncé", ["Beyonce"], 0, 0),
    ("1914–1918", ["1914-1918"], 0, 0),
    ("nobody", ["Denver Broncos"], 0, 0),
    ("", ["Denver Broncos"], 0, 0),
    ("the", ["Denver Broncos"], 0, 0),
    ("", [], 1, 1),
    ("Denver", [], 0, 0),
    ("", ["a", "The!"], 1, 1),
    ("x", ["the", "x"], 1, 1),
    ("元朝 Some", ["元朝"], 0, 2 / 3),
]
MLQA_TABLE = [
    # language, answer, gold answer, exact match, F1
    ("zh", "丹佛野马队。", "丹佛野马队", 1, 1),
    ("zh", "丹佛队", "丹佛野马队", 0, 3 / 4),
    ("zh", "在2015年", "2015年", 0, 4 / 5),
    ("zh", "Super Bowl 50", "《super bowl》 50", 1, 1),
    ("zh", "Super Bowl 50", "《super bowl》50", 0, 2 / 5),
    ("de", "die „Broncos“", "Der Broncos", 1, 1),
    ("de-AT", "das Haus des Vaters", "Haus", 0, 2 / 3),
    ("es", "¿los Broncos?", "Broncos", 1, 1),
    ("es", "el equipo", "los equipos", 0, 0),
    ("vi", "những con mèo", "con mèo", 1, 1),
    ("ar", "الكتاب", "كتاب", 1, 1),
    ("fr", "« la Seine »", "la Seine", 1, 1),
    ("en", "“Broncos”", "Broncos", 0, 0),
]


@pytest.mark.parametrize(("answer", "golds", "exact", "f1"), SQUAD_TABLE)
def test_english_answers_are_scored_by_the_rules_of_squad(
    answer: str, golds: list[str], exact: float, f1: float
) -> None:
    scores = answer_scores(answer, golds)
    assert (scores.exact_match, scores.f1) == pytest.approx((exact, f1))


@pytest.mark.parametrize(("language", "answer", "gold", "exact", "f1"), MLQA_TABLE)
def test_other_languages_are_scored_by_the_rules_of_mlqa(
    language: str, answer: str, gold: str, exact: float, f1: float
) -> None:
    scores = answer_scores(answer, [gold], language)
    assert (scores.exact_match, scores.f1) == pytest.approx((exact, f1))


@pytest.mark.parametrize(
    ("language", "answer", "gold", "contained"),
    [
        ("en", "It was the Denver Broncos, who won.", "Denver  Broncos", 1),
        ("en", "In 1066.", "66", 0),
        ("en", "Denver and the Broncos", "Denver Broncos", 0),
        ("zh", "丹佛野马队在2015年赢了。", "2015年", 1),
    ],
)
def test_an_answer_contains_whole_words_in_a_row(
    language: str, answer: str, gold: str, contained: int
) -> None:
    assert answer_scores(answer, [gold], language).contains_gold == contained


@given(st.text(max_size=40), st.sampled_from(["en", "de", "zh", "ar"]))
def test_normalised_text_is_its_own(text: str, language: str) -> None:
    scores = answer_scores(text, [text], language)
    assert scores == (1, 1, 1)
    assert normalized(f"  {text}\n", language) == normalized(text, language)


@pytest.mark.parametrize(
    ("gold", "answer", "is_correct"),
    [
        ("£68,400", "The salary is 68,400.", 1),
        ("68,400", "The salary is £68,400 a year.", 1),
        ("£68,400", "The salary is 68.4k pounds.", 1),
        ("£68,400", "The salary is $68,400.", 0),
        ("£68,400", "The salary is £68,500.", 0),
        ("$50", "It costs 50 €.", 0),
        ("€50", "It costs 50 euros per night.", 1),
        ("5 km", "It is 5 miles away.", 0),
        ("5 km", "It is 5,000 m away.", 1),
        ("90 minutes", "It takes 1.5 hours.", 1),
        ("two", "There are 2 of them.", 1),
        ("20 %", "A share of 20.", 1),
        ("20 %", "It fell by 20 percent.", 1),
        ("5 March", "It opened on 5 March 2024.", 1),
        ("1509", "He was crowned on 21 April 1509.", 1),
        ("£68,400 a year", "It is 68,400 a year.", 1),
        ("£68,400 a year", "A year of it is 68,400.", 0),
        ("between 5 and 10 days", "It takes between five and ten days.", 1),
        ("between 5 and 10 days", "It takes between 5 and 12 days.", 0),
        ("5 March", "Es wurde am 05.03.2025 eröffnet.", 1),
        ("the 5th", "It opened on the 5th of May.", 1),
        ("32/45/2025", "The number is 32/45/2025.", 1),
        ("1.5", "There are 15.", 0),
        ("£68,400", "It is GBP 68,400.", 1),
        ("$1.5 million", "It cost 1,500,000 dollars.", 1),
        ("E-1207", "The code is E-1207.", 1),
        ("E-1207", "The code is E-1208.", 0),
        ("day", "It takes 7 days, or a day.", 1),
        ("Denver Broncos", "It was the Denver Broncos, who won.", 1),
        ("Denver Broncos", "Denver and the Broncos", 0),
        ("68,400", "", 0),
    ],
)
def test_a_figure_is_correct_by_its_value_and_its_unit(
    gold: str, answer: str, is_correct: int
) -> None:
    assert correct(answer, [gold]) == is_correct
    assert correct(answer, ["something else", gold]) == is_correct


def test_published_measures_do_not_change_by_figures() -> None:
    scores = answer_scores("It is £68,400.", ["68,400"])
    assert scores.contains_gold == 0
    said = outcome(answer="It is £68,400 [1].")
    assert measure(question("68,400"), {}, said, ANSWERS) == {**scores._asdict(), "correct": 1}


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_judged(answer: str, gold: str) -> None:
    assert correct(answer, [gold]) in (0, 1)


def test_markers_are_no_part_of_an_answer() -> None:
    said = outcome(answer="The Denver Broncos [1] [2].")
    assert measure(question("Denver Broncos"), {}, said, ANSWERS)["exact_match"] == 1


def test_answers_are_scored_where_the_set_says_what_is_right() -> None:
    assert measure(question(), {"d": 1}, outcome(answer="Denver"), ANSWERS) == {}
    nothing = question("what it is not", answerable=False)
    assert measure(nothing, {}, outcome(), ANSWERS) == dict.fromkeys(ANSWERS, 1.0)
    assert measure(nothing, {}, outcome(answer="No."), ANSWERS) == dict.fromkeys(ANSWERS, 0.0)
    german = question("Broncos", lang="de")
    assert measure(german, {}, outcome(answer="„die Broncos“"), ("exact_match",)) == {
        "exact_match": 1
    }


def test_what_failed_is_0_even_where_abstaining_was_right() -> None:
    failed = outcome(error="The model server is down.")
    unanswerable = question(answerable=False)
    assert measure(unanswerable, {}, failed, (*ANSWERS, "abstained", "failed")) == {
        **dict.fromkeys(ANSWERS, 0.0),
        "abstained": 0.0,
        "failed": 1.0,
    }
    known_well = question("x", spans=[span("d", 0, 5)])
    scores = measure(known_well, {"d": 1}, failed)
    assert scores.keys() == set(DEFAULT) - {"support", *CLAIMS}
    assert scores == {name: float(name == "failed") for name in scores}


@given(st.lists(SPAN, min_size=1, max_size=4), st.lists(SPAN, max_size=6))
def test_spans_count_characters(evidence: list[Span], retrieved: list[Span]) -> None:
    def characters(spans: list[Span]) -> list[tuple[str, int]]:
        return [(s.document_id, i) for s in spans for i in range(s.start, s.end)]

    wanted, got = set(characters(evidence)), characters(retrieved)
    both = len(wanted & set(got))
    assert span_scores(evidence, retrieved) == SpanScores(
        recall=both / len(wanted),
        precision=both / len(got) if got else 0,
        iou=both / (len(got) + len(wanted) - both),
        characters=len(got),
    )


def test_the_first_characters_of_a_ranking() -> None:
    ranked = [span("a", 5, 15), span("b", 0, 10), span("c", 0, 10)]
    assert first_characters(ranked, 14) == [span("a", 5, 15), span("b", 0, 4)]
    assert first_characters(ranked, 10) == ranked[:1]
    assert first_characters(ranked, 99) == ranked


def test_spans_of_the_first_chunks_or_characters() -> None:
    asked = question(spans=[span("d", 0, 10)])
    found = outcome(hit("d", 5, 15), hit("e", 0, 10), hit("d", 0, 5))
    names = ("span_recall@1", "span_recall@3", "span_precision@2", "span_iou@2", "span_recall@3c")
    assert measure(asked, {}, found, names) == {
        "span_recall@1": 0.5,
        "span_recall@3": 1.0,
        "span_precision@2": 0.25,
        "span_iou@2": 0.2,
        "span_recall@3c": 0.3,
    }


def test_citations_are_held_against_documents_and_evidence() -> None:
    asked = question(spans=[span("d", 0, 10)])
    gains = {"d": 2, "e": 1, "f": 0}
    citations = (cited("d", 0, 5, 0.5), cited("d", 20, 25, 1.0), cited("f"), cited("unknown"))
    found = outcome(answer="So [1].", citations=citations)
    assert measure(asked, gains, found, CITATIONS) == {
        "cited_document_precision": 0.5,
        "cited_document_recall": 0.5,
        "cited_span_precision": 5 / 30,
        "cited_span_recall": 0.5,
        "cited_span_iou": 5 / 35,
        "support": 0.875,
    }
    assert measure(question(), {}, outcome(), CITATIONS) == {}
    declined = measure(question(), gains, outcome(), CITATIONS)
    assert declined == {"cited_document_precision": 0, "cited_document_recall": 0}


@pytest.mark.parametrize(
    ("spans", "gains", "precision", "recall"),
    [
        ([], {"a": 1, "z": 1}, (1 + 2 / 3) / 2, 0.5),
        ([span("b", 0, 10)], {"a": 1}, 0.5, 1.0),
        ([span("z", 0, 10)], {"a": 1}, 0, 0),
        ([], {"z": 1}, 0, 0),
    ],
)
def test_context_is_judged_by_the_evidence_or_else_by_documents(
    spans: Sequence[Span], gains: Mapping[str, int], precision: float, recall: float
) -> None:
    found = outcome(hit("a"), hit("b"), hit("a", 20, 30), hit("z"))
    names = ("context_precision@3", "context_recall@3")
    assert measure(question(spans=spans), gains, found, names) == {
        "context_precision@3": pytest.approx(precision),
        "context_recall@3": pytest.approx(recall),
    }


def test_evidence_without_a_character_is_none() -> None:
    empty = question(spans=[span("d", 5, 5)])
    assert measure(empty, {}, outcome(hit("d")), ("span_recall@5", "context_recall@10")) == {}


def test_slices_say_what_kind_of_question_it_is() -> None:
    asked = replace(question(lang="en", level="3"), text="In what country is Normandy located?")
    assert slices_of(asked, ["lang", "team"]) == {
        "answerable": "yes",
        "length": "under 8 words",
        "type": "what",
        "lang": "en",
    }
    asked = replace(
        question(answerable=False, lang="zh"), text="丹佛野马队在哪一年赢得了超级碗比赛?"
    )
    assert slices_of(asked) == {"answerable": "no", "length": "over 10 words", "type": "other"}


def test_claims_of_a_model() -> None:
    asked = question("1769")
    assert measure(asked, {}, outcome(answer="In 1769."), CLAIMS) == {}
    written = {"supported": 1, "rewritten": 1, "replaced": 2}
    rescued = outcome(answer="In 1769. [1]", claims=written)
    assert measure(asked, {}, rescued, CLAIMS) == {
        "claims_supported": 0.25,
        "claims_wrongly_refused": 0.0,
        "answers_rescued": 1.0,
        "wrong_figures": 0.0,
    }
    wronged = outcome(answer="In 1769. [1]", claims=written, refused_right=1, wrong_figures=2)
    assert measure(asked, {}, wronged, CLAIMS) == {
        "claims_supported": 0.25,
        "claims_wrongly_refused": 1 / 3,
        "answers_rescued": 0.0,
        "wrong_figures": 2.0,
    }
