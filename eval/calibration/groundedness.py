"""Fits the groundedness of claims, and measures what it can tell apart.

    python -m eval.calibration.groundedness [--data DIR] [--out FILE] [--docs DIR]

Claims about every second article are fitted on; all figures are measured with the claims about the
other articles, and with another collection.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from eval.calibration.command import options_of, read_data, write_record
from eval.calibration.confidence import auroc, fit_logistic
from eval.calibration.plots import draw_roc
from eval.datasets.claims import HARD, PARAGRAPH, SWAPPED, Claim, Kind, make_claims
from eval.datasets.corpus import Corpus, Passage
from generation.grounding.answer_fit import Answer, answer_of
from generation.grounding.calibration import Regression
from generation.grounding.comparison import FEATURES, ReadClaim, compare
from generation.grounding.groundedness import WEIGHTS, GroundingModel, Parts, read_parts
from rag.protocols import TokenEmbedder
from rag.types import Chunk, Floats
from retrieval.embedders.embedder import BertEmbedder
from retrieval.embedders.loading import minilm_folder

RELEVANCE = ("likeness", "astray")
RELATIONS = ("astray", "rivals", "number_rivals", "standing", "number_astray")
ANSWERS = ("answer_astray", "answer_rivals", "answer_standing")
DETAIL: tuple[Kind, ...] = ("number changed", "negation added", "negation left out")
DETAILS = ("number_missing", "negated", "denied")
AT_ONCE = 256
"""Texts passed to the encoder at once: it accepts at most 1,024."""
GROUPS: Mapping[str, tuple[Kind, ...]] = {
    **{kind: (kind,) for kind in PARAGRAPH},
    "another answer": SWAPPED,
    **{kind: (kind,) for kind in HARD},
    "all that were changed": HARD,
}
"""Kinds of claims that supported ones are compared with, by their name in figures."""
DRAWN = (*PARAGRAPH, "number changed", "negation added", *SWAPPED)

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Claims compared with their passages.

    `features` are float64[claims, features] in the order of `FEATURES`.
    """

    claims: Sequence[Claim]
    features: Floats

    def where(self, *kinds: Kind) -> Floats:
        """Returns the features of claims of these kinds."""
        return self.features[[claim.kind in kinds for claim in self.claims]]

    def answering(self, *kinds: Kind) -> Floats:
        """Returns the features of those of them that restate their question."""
        features = self.where(*kinds)
        answering: Floats = features[features[:, FEATURES.index("answers")] == 1]
        return answering

    def about(self, articles: Set[str]) -> Compared:
        """Returns the claims about these articles, with their features."""
        kept = [i for i, claim in enumerate(self.claims) if claim.article in articles]
        return Compared(claims=[self.claims[i] for i in kept], features=self.features[kept])


def main(argv: Sequence[str] | None = None) -> int:
    """Fits, writes record and picture; if the data is missing, prints that and stops."""
    prog = "python -m eval.calibration.groundedness"
    options = options_of(argv, prog=prog, description=__doc__, out=WEIGHTS)
    data = read_data(options.data)
    if data is None:
        return 0
    corpus, elsewhere = data
    record, scores = asyncio.run(fit(corpus, elsewhere=english(elsewhere, without=corpus)))
    write_record(record, options.out)
    draw_roc(options.docs / "groundedness.png", scores["supported"], {n: scores[n] for n in DRAWN})
    return 0


async def fit(corpus: Corpus, *, elsewhere: Corpus) -> tuple[Record, dict[str, Floats]]:
    """Returns the content of grounding.json, and the scores behind its figures, by kind of claim.

    1. compare all claims with their passages  2. fit on half the articles  3. measure on the rest
    """
    embedder = BertEmbedder(minilm_folder())
    try:
        ours, asked = await _compare(corpus, make_claims(corpus), embedder)  # 1.
        others, asked_others = await _compare(elsewhere, make_claims(elsewhere), embedder)
    finally:
        embedder.close()
    fitted, rest = (ours.about(articles) for articles in halves(ours.claims))
    fitted_asked, rest_asked = (asked.about(articles) for articles in halves(ours.claims))
    model = _model(fitted, fitted_asked)  # 2.
    scores = {  # 3.
        name: _scores(model, rest.where(*kinds))
        for name, kinds in {"supported": ("supported",), **GROUPS}.items()
    }
    record = {
        **asdict(model),
        "fitted_on": {"data": corpus.name, **_summary(fitted)},
        "measured_on": {"data": corpus.name, **_summary(rest)},
        "auroc": _aurocs(model, rest),
        "mean_score": {name: round(float(of.mean()), 4) for name, of in scores.items()},
        "half_or_more": {
            name: round(float((of >= 1 / 2).mean()), 4) for name, of in scores.items()
        },
        "five_percent": _at_five_percent(scores),
        "auroc_where_fitted": _aurocs(model, fitted),
        "elsewhere": {"data": elsewhere.name, **_summary(others), "auroc": _aurocs(model, others)},
        "with_question": {
            "auroc": _aurocs(model, rest_asked),
            "auroc_elsewhere": _aurocs(model, asked_others),
        },
        "without_feature": {
            name: _aurocs(_model(fitted, fitted_asked, without=name), rest)
            for name in dict.fromkeys((*RELEVANCE, *RELATIONS, *DETAILS))
        },
    }
    return record, scores


def halves(claims: Iterable[Claim]) -> tuple[set[str], set[str]]:
    """Returns every second article in alphabetical order to fit on, and the rest to measure on."""
    articles = sorted({claim.article for claim in claims})
    return set(articles[::2]), set(articles[1::2])


def english(corpus: Corpus, *, without: Corpus) -> Corpus:
    """Returns the English part of a collection, without the questions that `without` has too."""
    asked_before = {q.text.strip() for q in without.questions}
    return replace(
        corpus,
        name=f"{corpus.name}, English",
        passages=tuple(p for p in corpus.passages if p.id.startswith("en/")),
        questions=tuple(
            q
            for q in corpus.questions
            if q.meta["lang"] == "en" and q.text.strip() not in asked_before
        ),
    )


def chunk_of(passage: Passage) -> Chunk:
    """Returns the whole passage as one chunk."""
    return Chunk(
        id=passage.id,
        document_id=passage.id,
        version="",
        position=0,
        text=passage.text,
        start=0,
        end=len(passage.text),
        title=passage.title,
        uri=passage.id,
    )


async def _compare(
    corpus: Corpus, claims: Sequence[Claim], embedder: TokenEmbedder
) -> tuple[Compared, Compared]:
    """Compares every claim with its passage, as `Grounding` does, without and with its question.

    Of the parts of a long passage the one that is most like the claim counts.
    """
    passages: dict[str, Parts] = {}
    for i in range(0, len(corpus.passages), AT_ONCE):
        chunks = [chunk_of(passage) for passage in corpus.passages[i : i + AT_ONCE]]
        read = await read_parts(embedder, chunks)
        passages |= {chunk.id: parts for chunk, parts in zip(chunks, read, strict=True)}
    texts = {question.id: question.text for question in corpus.questions}
    alone, asked = [], []
    for i in range(0, len(claims), AT_ONCE):
        some = claims[i : i + AT_ONCE]
        vectors, questions = [
            await embedder.embed_tokens(each, kind="query")
            for each in ([c.text for c in some], [texts[c.question] for c in some])
        ]
        for claim, tokens, of_question in zip(some, vectors, questions, strict=True):
            read_claim = ReadClaim(claim.text, tokens)
            answer = answer_of(read_claim, ReadClaim(texts[claim.question], of_question))
            parts = passages[claim.passage]
            alone.append(_features(read_claim, parts, None))
            asked.append(_features(read_claim, parts, answer))
    return (
        Compared(claims=claims, features=np.array(alone)),
        Compared(claims=claims, features=np.array(asked)),
    )


def _features(claim: ReadClaim, parts: Parts, answer: Answer | None) -> list[float]:
    found = [each for part in parts if (each := compare(claim, part, answer))]
    if not found:
        return [0.0] * len(FEATURES)
    nearest = max(found, key=lambda each: each.likeness)
    return [float(getattr(nearest, name)) for name in FEATURES]


def _model(fitted: Compared, asked: Compared, *, without: str = "") -> GroundingModel:
    """Fits each regression to the claims that it has to distinguish, without one feature.

    `asked` are the same claims compared with their questions, too.

    In the mixture half of the passages are a claim's own paragraph. Of the claims beside their own
    half are supported, a quarter have another answer, a quarter another number or negation.
    """
    supported = fitted.where("supported")

    def regression(names: Sequence[str], kinds: Sequence[Kind], *, odds: float) -> Regression:
        kept = [name for name in names if name != without]
        return _regression(kept, supported, fitted.where(*kinds), odds=odds)

    return GroundingModel(
        relevance=regression(RELEVANCE, PARAGRAPH, odds=1),
        relations=regression(RELATIONS, SWAPPED, odds=2),
        answers=_regression(
            ANSWERS, asked.answering("supported"), asked.answering(*SWAPPED), odds=2
        ),
        details=regression(DETAILS, DETAIL, odds=2),
    )


def _regression(
    names: Sequence[str], supported: Floats, unsupported: Floats, *, odds: float
) -> Regression:
    """Fits a regression that separates the two by these features; the first weigh `odds` to 1."""
    columns = [FEATURES.index(name) for name in names]
    x = np.concatenate([supported, unsupported])[:, columns]
    sizes = [len(supported), len(unsupported)]
    fitted = fit_logistic(
        x, np.repeat([1.0, 0.0], sizes), np.repeat([odds / sizes[0], 1 / sizes[1]], sizes)
    )
    weights = dict(zip(names, fitted.weights.tolist(), strict=True))
    return Regression(intercept=fitted.intercept, coefficients=weights)


def _scores(model: GroundingModel, features: Floats) -> Floats:
    rows = (SimpleNamespace(**dict(zip(FEATURES, row, strict=True))) for row in features.tolist())
    return np.array([model.probability(row) for row in rows])


def _at_five_percent(scores: Mapping[str, Floats]) -> Record:
    """Returns the score that 5 % of supported claims are below, and the others that are not."""
    threshold = float(np.quantile(scores["supported"], 0.05))
    above = {name: round(float((of >= threshold).mean()), 4) for name, of in scores.items()}
    return {"threshold": round(threshold, 4), "above": above}


def _aurocs(model: GroundingModel, compared: Compared) -> dict[str, float]:
    supported = _scores(model, compared.where("supported"))
    return {
        name: round(auroc(supported, _scores(model, compared.where(*kinds))), 4)
        for name, kinds in GROUPS.items()
    }


def _summary(compared: Compared) -> Record:
    kinds = [claim.kind for claim in compared.claims]
    return {
        "articles": len({claim.article for claim in compared.claims}),
        "claims": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
    }


if __name__ == "__main__":
    sys.exit(main())
