"""How many questions it takes to see that some of them are about something new.

    python -m benchmarks.drift [--docs DIR]

Questions of squad2-dev-a, by turns with each of its 16 articles as what is new: the reference asks
about the 15 others, and so does the current window but for a share of its questions. The floor is
what is often done instead: comparing the questions' cosines with the centre of the reference. It
tests that alone; ours corrects for the other signals.

In bursts, both windows ask about the same articles, three questions in a row about one paragraph.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks._common import Report, SkippedError, data_folder, hardware, table
from eval.datasets.corpus import Question, read_corpus
from eval.measures.two_samples import numbers_p_value
from eval.online.drift import QUESTIONS, compare, to_text
from eval.online.drift_plot import draw
from rag.records import Signals
from rag.types import Float32Array
from retrieval.embedders.bulk import embed_all
from retrieval.embedders.embedder import BertEmbedder
from retrieval.embedders.loading import minilm_folder

SET = "squad2-dev-a"
REFERENCE = 1_000
ASKED = (50, 100, 200, 500, 1_000)
NEW = (0.0, 0.1, 0.2)
TRIALS = 48
"""Each article is what is new three times."""
BURST = 3
ALPHA = 0.01
SHOWN_BEFORE, SHOWN_OLD, SHOWN_NEW = 2_000, 640, 160
"""Questions of the picture's windows: of the reference, and of the current one."""

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TestSet:
    """The test set's questions in file order, their embeddings, float32[n, dim], and articles."""

    questions: Sequence[Question]
    embeddings: Float32Array
    articles: npt.NDArray[np.str_]


def run() -> Report:
    """How often questions of a new article are noticed, and how often there is a false alarm."""
    return _measure(asyncio.run(_test_set()))


def _measure(test_set: TestSet) -> Report:
    report = Report()
    for share in NEW:
        for n in ASKED:
            title = f"{share:.0%} of {n:,} questions new" if share else f"{n:,} questions, none new"
            found = np.mean(list(_alarms(test_set, share, n)), axis=0)
            report.add(f"alarms: {title}", float(found[0]), floor=float(found[1]))
    for n in ASKED:
        bursts = float(np.mean(list(_alarms_of_bursts(test_set, n))))
        report.add(f"alarms: {n:,} questions in bursts, none new", bursts)
    report.notes.append(f"{TRIALS} windows each, beside {REFERENCE:,} questions; alpha {ALPHA}")
    return report


async def _test_set() -> TestSet:
    questions = read_corpus(data_folder(SET)).questions
    embedder = BertEmbedder(minilm_folder())
    try:
        embeddings = await embed_all(embedder, [q.text for q in questions], kind="query")
    finally:
        embedder.close()
    articles = np.array([str(q.meta["source_doc"]).partition("#")[0] for q in questions])
    return TestSet(questions=questions, embeddings=embeddings, articles=articles)


def _alarms(test_set: TestSet, share: float, n: int) -> Iterator[tuple[bool, bool]]:
    """For each trial: whether ours says that the questions drifted, and whether the floor does."""
    articles = np.unique(test_set.articles)
    for trial in range(TRIALS):
        rng = np.random.default_rng(trial)
        is_new = test_set.articles == articles[trial % len(articles)]
        old, new = rng.permutation(np.flatnonzero(~is_new)), rng.permutation(np.flatnonzero(is_new))
        of_new = min(rng.binomial(n, share), len(new))
        reference = old[:REFERENCE]
        rest = old[REFERENCE : REFERENCE + n - of_new]
        current = rng.permutation(np.concatenate([rest, new[:of_new]]))
        yield (
            _drifted(test_set, reference, current),
            _centre_moved(test_set, reference, current, rng),
        )


def _alarms_of_bursts(test_set: TestSet, n: int) -> Iterator[bool]:
    """The test set lists the questions about one paragraph in a row."""
    bursts = np.arange(len(test_set.questions) // BURST * BURST).reshape(-1, BURST)
    for trial in range(TRIALS):
        order = np.random.default_rng(trial).permutation(bursts).ravel()
        yield _drifted(test_set, order[:REFERENCE], order[REFERENCE : REFERENCE + n])


def _drifted(test_set: TestSet, reference: Places, current: Places) -> bool:
    windows = ([_signals(test_set, place) for place in places] for places in (reference, current))
    rows = {row.signal: row for row in compare(*windows, alpha=ALPHA).rows}
    return rows[QUESTIONS].drifted


def _centre_moved(
    test_set: TestSet, reference: Places, current: Places, rng: np.random.Generator
) -> bool:
    """The floor. The centre is that of one half of the reference, compared is the other half."""
    centre = test_set.embeddings[reference[::2]].mean(axis=0)
    before, now = (test_set.embeddings[some] @ centre for some in (reference[1::2], current))
    return numbers_p_value(before.astype(float), now.astype(float), rng) <= ALPHA


def _signals(test_set: TestSet, place: int) -> Signals:
    return Signals(
        at=0.0,
        question_chars=len(test_set.questions[place].text),
        top_score=None,
        abstained=False,
        seconds=1.0,
        cost=0.0,
        scores={},
        embedding=test_set.embeddings[place],
    )


def _draw_example(test_set: TestSet, path: Path) -> str:
    """A fifth of the questions are new; what is drawn at random besides says docs/drift.md."""
    rng = np.random.default_rng(0)
    is_new = test_set.articles == "Normans"
    old, new = rng.permutation(np.flatnonzero(~is_new)), rng.permutation(np.flatnonzero(is_new))
    before, rest = old[:SHOWN_BEFORE], old[SHOWN_BEFORE : SHOWN_BEFORE + SHOWN_OLD]
    reference = [_live(test_set, place, rng, slower=1.0, abstain=0.05) for place in before]
    current = [
        *(_live(test_set, place, rng, slower=1.25, abstain=0.05) for place in rest),
        *(_live(test_set, place, rng, slower=1.25, abstain=0.4) for place in new[:SHOWN_NEW]),
    ]
    current = [current[i] for i in rng.permutation(len(current))]
    report = compare(reference, current, alpha=ALPHA)
    draw(report, reference, current, path)
    return "\n".join(to_text(report))


def _live(
    test_set: TestSet, place: int, rng: np.random.Generator, *, slower: float, abstain: float
) -> Signals:
    """An answer whose length and embedding are real; the rest is drawn."""
    return replace(
        _signals(test_set, place),
        top_score=float(rng.beta(6, 3)),
        abstained=bool(rng.random() < abstain),
        seconds=float(slower * rng.lognormal(-0.3, 0.5)),
        cost=float(rng.gamma(3, 0.0004)),
        scores={"faithfulness": float(rng.beta(9, 1))} if rng.random() < 0.2 else {},
    )


def main() -> None:
    """Prints the figures, and a report whose picture it draws."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the picture")
    options = parser.parse_args()
    print(hardware(), flush=True)
    try:
        test_set = asyncio.run(_test_set())
    except SkippedError as missing:
        print(f"skipped: {missing}")
        return
    print(_draw_example(test_set, options.docs / "drift.png"))
    report = _measure(test_set)
    print(table(report.figures))
    print("\n".join(report.notes))


if __name__ == "__main__":
    main()
