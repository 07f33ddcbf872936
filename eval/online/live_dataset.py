"""Makes an offline evaluation set from live questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from eval.online.scorer import LOW
from rag.records import LiveAnswer
from rag.telemetry.trace import is_sampled

Case = dict[str, Any]


def collect(answers: Sequence[LiveAnswer], *, low: float, sample: float) -> list[Case]:
    """Collects questions that went badly, those with feedback, and a share of the others.

    Each question is collected once, as it was asked last; answers stored without text are left out.

    Args:
        answers: oldest first.
        low: an answer with a score below this went badly (see `eval.online.scorer`).
        sample: the share of the others.

    Returns:
        One case for each question, in the order of `answers`. `answer` is the right one: the
        correction, or the given answer if a user rated it good; else None, to be filled in.
        `answerable` is False if an abstention was rated good. `evidence` are the spans that a good
        answer cited. `live` is the live answer, with its scores and the comment.
    """
    chosen: dict[str, Case] = {}
    for answer in answers:
        why = list(_reasons(answer, low))
        if not why and is_sampled(answer.id, sample):
            why = ["sample"]
        if why and answer.content:
            question = " ".join(answer.content["question"].split())
            chosen.pop(question.casefold(), None)  # the last one counts
            chosen[question.casefold()] = _case(answer, question, why)
    return list(chosen.values())


def _reasons(answer: LiveAnswer, low: float) -> Iterator[str]:
    if answer.feedback.rating:
        yield f"rated {answer.feedback.rating}"
    if answer.feedback.correction:
        yield "corrected"
    for name, value in answer.scores.items():
        if name in LOW and value < low:
            yield f"{name} {value:.2f}"


def _case(answer: LiveAnswer, question: str, why: list[str]) -> Case:
    content = answer.content or {}
    feedback = answer.feedback
    good = feedback.rating == "up" and not feedback.correction
    return {
        "id": answer.id,
        "question": question,
        "answer": feedback.correction or (content["answer"] or None if good else None),
        **({"answerable": False} if good and answer.reason else {}),
        "evidence": [
            {name: citation[name] for name in ("document_id", "start", "end", "quote")}
            for citation in (content["citations"] if good else ())
        ],
        "why": why,
        "live": {
            "answer": content["answer"],
            "reason": answer.reason,
            "scores": dict(answer.scores),
            "comment": feedback.comment,
            "answer_id": answer.id,
            "trace_id": answer.trace_id,
            "at": answer.at,
        },
    }
