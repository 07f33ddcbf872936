"""The measures of a run: every measure by its name, question by question.

A measure that compares with gold applies to a question if the set has the gold for it, whatever
was answered: runs of one set are compared on the same questions, and a question that failed, or was
not answered though it could be, counts as 0. docs/measures.md defines all measures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

from eval.datasets.corpus import Question, Span
from eval.measures.correctness import correct
from eval.measures.ranking import ranking_measure, ranking_measures, ranking_names
from eval.measures.spans import first_characters, overlap, span_scores
from eval.measures.squad import answer_scores, language_of
from eval.runs.run_folder import Cited, Found, Outcome
from generation.grounding.citations import without_markers
from rag.errors import InputError

Gains = Mapping[str, int]
"""Document id → gain, of one question; documents with a gain above 0 are relevant."""

RETRIEVAL = ("nDCG@10", "R@10", "R@100", "RR", "AP", "P@5", "Success@1", "Success@5", "Judged@10")
SPANS = ("span_recall@5", "span_precision@5", "span_iou@5", "span_iou@2000c")
CONTEXT = ("context_precision@10", "context_recall@10")
ANSWERS = ("exact_match", "f1", "contains_gold", "correct")
CITATIONS = (
    *("cited_document_precision", "cited_document_recall"),
    *("cited_span_precision", "cited_span_recall", "cited_span_iou"),
    "support",
)
CLAIMS = ("claims_supported", "claims_wrongly_refused", "answers_rescued", "wrong_figures")
CONDUCT = ("abstained", "failed")
DEFAULT = (*RETRIEVAL, *SPANS, *CONTEXT, *ANSWERS, *CITATIONS, *CLAIMS, *CONDUCT)
"""The measures that are computed by default."""
SCORED = (
    *("groundedness", "citation_precision", "citation_coverage"),
    *("context_relevance", "answer_relevance"),
)
"""Measures that live answers have, too: `eval.online.scorer.OnlineScorer` computes them."""
JUDGED = ("judge_groundedness", "judge_relevance", "judge_failed")
"""Measures by a language model: `eval.online.judge.AnswerJudge` computes them."""

_FIXED = frozenset({*ANSWERS, *CITATIONS, *CLAIMS, *CONDUCT, *SCORED, *JUDGED})
_SPAN = re.compile(r"span_(?:recall|precision|iou)@([1-9]\d*c?)")
_CONTEXT = re.compile(r"context_(?:precision|recall)@([1-9]\d*)")


def known(names: Iterable[str]) -> tuple[str, ...]:
    """Returns measures by the names that `measure` gives them, each once: `MRR` is `RR`.

    Raises:
        InputError: There is no such measure.
        ConfigError: It needs `ir_measures`, which is not installed.
    """
    return tuple(dict.fromkeys(_known(name) for name in names))


def usual(*, answers: bool, top_k: int) -> tuple[str, ...]:
    """Returns the default measures that can be computed.

    Args:
        answers: True if questions are answered, False if they are only searched for.
        top_k: the number of hits.
    """
    return known(n for n in DEFAULT if (answers or not of_answers(n)) and _hits(n) <= top_k)


def check_made(names: Iterable[str], *, answers: bool, top_k: int) -> None:
    """Checks that `measure` can compute these measures, by names as `known` returns them.

    Raises:
        InputError: One needs more hits, or answers if there are none, or is computed elsewhere.
    """
    for name in names:
        if name in {*SCORED, *JUDGED}:
            raise InputError(
                f"{name!r} cannot be measured from a set: only live answers and --scores have it."
            )
        if of_answers(name) and not answers:
            raise InputError(f"{name!r} is of answers, and there are none with --search.")
        if _hits(name) > top_k:
            raise InputError(
                f"{name!r} is of {_hits(name):,} hits, and there are {top_k:,}: raise --top-k."
            )


def of_answers(name: str) -> bool:
    """True if a measure needs answers; the places of hits are known without them."""
    return name in {*ANSWERS, *CITATIONS, *CLAIMS, "abstained"}


def _hits(name: str) -> int:
    """Returns the number of hits that a measure looks at; 0 for all hits, or for characters."""
    cut = name.partition("@")[2]
    return int(cut) if cut.isdigit() else 0


def _known(name: str) -> str:
    if not is_ranking(name):
        return name
    if found := ranking_measure(name):
        return found
    raise InputError(f"There is no measure {name!r} here; did you mean {_nearest(name)!r}?")


def _nearest(name: str) -> str:
    """Returns the name with the most similar letters, ignoring case, with or without cut-off."""
    there_are = (*ranking_names(), *sorted(_FIXED), *reversed(DEFAULT))
    forms = {form.lower(): each for each in there_are for form in (each, each.partition("@")[0])}
    (near,) = get_close_matches(name.lower(), forms, n=1, cutoff=0)
    return forms[near]


def is_ranking(name: str) -> bool:
    """True for a measure of the ranking of documents."""
    return not (name in _FIXED or _SPAN.fullmatch(name) or _CONTEXT.fullmatch(name))


def measure(
    question: Question, gains: Gains, outcome: Outcome, names: Sequence[str] = DEFAULT
) -> dict[str, float]:
    """Computes the measures that apply to a question, by name, in the order of `names`.

    Args:
        question: as the set has it; `meta["lang"]` is its language, if it has one.
        gains: the question's judgements; empty if it has none.
        outcome: the outcome of the question.
        names: as `known` returns them; `SCORED` and `JUDGED` are computed elsewhere.
    """
    evidence = [span for span in question.spans if span.end > span.start]
    found = [_span(hit) for hit in outcome.hits]
    relevant = {document for document, gain in gains.items() if gain > 0}
    values = {
        **ranking_measures([name for name in names if is_ranking(name)], gains, outcome.documents),
        **_answers(question, outcome),
        **_citations(relevant, evidence, outcome.citations),
        **_claims(question, outcome),
        **_conduct(outcome),
    }
    for cut in _cuts(_SPAN, names):
        values |= _spans(evidence, found, cut)
    for cut in _cuts(_CONTEXT, names):
        values |= _context(relevant, evidence, outcome.hits[: int(cut)], cut)
    return {name: values[name] for name in names if name in values}


def _cuts(pattern: re.Pattern[str], names: Iterable[str]) -> Iterator[str]:
    """Returns the cut-offs after the @ in a family's names, each once."""
    return iter(dict.fromkeys(m[1] for name in names if (m := pattern.fullmatch(name))))


def _answers(question: Question, outcome: Outcome) -> dict[str, float]:
    if question.answerable and not question.answers:
        return {}
    if outcome.error:
        return dict.fromkeys(ANSWERS, 0.0)
    golds = question.answers if question.answerable else ()
    answer, language = without_markers(outcome.answer), language_of(question)
    scores = answer_scores(answer, golds, language)._asdict()
    return {**scores, "correct": correct(answer, golds, language)}


def _citations(
    relevant: set[str], evidence: Sequence[Span], citations: Sequence[Cited]
) -> dict[str, float]:
    values = {}
    if relevant:
        right = [cited.document_id in relevant for cited in citations]
        among = relevant & {cited.document_id for cited in citations}
        values["cited_document_precision"] = _mean(right)
        values["cited_document_recall"] = len(among) / len(relevant)
    if evidence:
        scores = span_scores(evidence, [_span(cited) for cited in citations])
        values["cited_span_precision"] = scores.precision
        values["cited_span_recall"] = scores.recall
        values["cited_span_iou"] = scores.iou
    if citations:
        values["support"] = _mean([cited.support for cited in citations])
    return values


def _claims(question: Question, outcome: Outcome) -> dict[str, float]:
    """Measures the claims of a language model; nothing if none was checked."""
    written = sum(outcome.claims.values())
    if not written:
        return {}
    refused = written - outcome.claims.get("supported", 0)
    values = {
        "claims_supported": outcome.claims.get("supported", 0) / written,
        "wrong_figures": float(outcome.wrong_figures),
    }
    if refused and question.answers:
        right = answer_scores(
            without_markers(outcome.answer), question.answers, language_of(question)
        ).contains_gold
        values["claims_wrongly_refused"] = outcome.refused_right / refused
        values["answers_rescued"] = float(right and not outcome.refused_right)
    return values


def _conduct(outcome: Outcome) -> dict[str, float]:
    failed = bool(outcome.error)
    return {"abstained": float(not outcome.answer and not failed), "failed": float(failed)}


def _spans(evidence: Sequence[Span], found: Sequence[Span], cut: str) -> dict[str, float]:
    """Scores the spans of the first chunks or, with a `c`, of the first characters."""
    if not evidence:
        return {}
    room = int(cut.removesuffix("c"))
    first = first_characters(found, room) if cut.endswith("c") else found[:room]
    scores = span_scores(evidence, first)
    return {
        f"span_recall@{cut}": scores.recall,
        f"span_precision@{cut}": scores.precision,
        f"span_iou@{cut}": scores.iou,
    }


def _context(
    relevant: set[str], evidence: Sequence[Span], hits: Sequence[Found], cut: str
) -> dict[str, float]:
    """Scores the first chunks, by the evidence if it is known, else by the documents."""
    if evidence:
        found = [_span(hit) for hit in hits]
        useful = [any(overlap(hit, span) for span in evidence) for hit in found]
        recall = span_scores(evidence, found).recall
    elif relevant:
        useful = [hit.document_id in relevant for hit in hits]
        recall = len(relevant.intersection(hit.document_id for hit in hits)) / len(relevant)
    else:
        return {}
    precisions = [_mean(useful[:rank]) for rank, is_useful in enumerate(useful, 1) if is_useful]
    return {f"context_precision@{cut}": _mean(precisions), f"context_recall@{cut}": recall}


def _span(place: Found | Cited) -> Span:
    return Span(document_id=place.document_id, start=place.start, end=place.end)


def _mean(values: Sequence[float]) -> float:
    """Returns the mean; 0 of no values."""
    return sum(values) / len(values) if values else 0.0
