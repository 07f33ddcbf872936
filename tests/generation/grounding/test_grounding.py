"""Groundedness, with the default encoder and the weights that are shipped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from eval.calibration.confidence import auroc, auroc_interval, roc
from eval.calibration.groundedness import main
from generation.grounding.citations import claims_of
from generation.grounding.groundedness import (
    MOST_PARTS,
    EntailedGrounding,
    Grounding,
    load_grounding,
    read_parts,
)
from rag.types import Kind, TokenVectors
from retrieval.embedders.embedder import BertEmbedder
from tests.fakes import CharacterSupport, make_chunk

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

WATT = make_chunk(
    "James Watt patented his engine in 1769. It used a separate condenser, which saved three"
    " quarters of the coal. Richard Trevithick built the first steam locomotive in 1804.",
    title="Steam engine",
)
ROME = make_chunk("Rome was not built in a day. Its walls are nineteen kilometres long.")
CHINESE = make_chunk("詹姆斯·瓦特于1769年获得蒸汽机专利。它使用独立的冷凝器。")


@pytest.fixture
def grounding(embedder: BertEmbedder) -> Grounding:
    return Grounding(embedder, load_grounding())


async def test_a_quote_is_grounded_and_without_passages_nothing_is(grounding: Grounding) -> None:
    quotes = [
        "It used a separate condenser, which saved three quarters of the coal.",
        "它使用独立的冷凝器。",
    ]
    assert (await grounding.score(quotes, [ROME, CHINESE, WATT])).tolist() == [1.0, 1.0]
    assert (await grounding.score(quotes, [])).tolist() == [0.0, 0.0]
    assert (await grounding.score([], [WATT])).shape == (0,)
    assert (await grounding.score(["", "..."], [WATT, make_chunk("...")])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "unsupported",
    [
        "Rome has a steam engine with nineteen condensers.",
        "Watt's patent on the engine is from 1796.",
        "Watt's patent on the engine is from 1804.",
        "Watt's patent on the engine is not from 1769.",
        "The separate condenser saved four quarters of the coal.",
    ],
)
async def test_what_was_changed_is_grounded_less(grounding: Grounding, unsupported: str) -> None:
    supported = "Watt's patent on the engine is from 1769."
    right, wrong = await grounding.score([supported, unsupported], [ROME, WATT])
    assert wrong < 0.5 < right


async def test_the_passage_that_carries_a_claim_best_counts(grounding: Grounding) -> None:
    claims = [
        "The engine of Watt was patented in 1769.",
        "The walls of Rome are 19 kilometres long.",
    ]
    together = await grounding.score(claims, [WATT, ROME])
    alone = [await grounding.score(claims, [chunk]) for chunk in (WATT, ROME)]
    assert together.dtype == np.float32
    assert together == pytest.approx(np.maximum(*alone), abs=1e-5)
    assert min(together) > 0.4


async def test_scores_tell_the_passages_apart(grounding: Grounding) -> None:
    claims = [
        "The engine of Watt was patented in 1769.",
        "The walls of Rome are 19 kilometres long.",
    ]
    chunks = [ROME, WATT, CHINESE]
    for scorer in (grounding, EntailedGrounding(CharacterSupport())):
        scores = await scorer.scores(claims, chunks)
        assert scores.dtype == np.float32
        assert scores.shape == (2, 3)
        assert scores.argmax(axis=1).tolist() == [1, 0]
        assert (await scorer.score(claims, chunks)).tolist() == scores.max(axis=1).tolist()
        assert (await scorer.scores(claims, [])).shape == (2, 0)
        assert (await scorer.scores([], chunks)).shape == (0, 3)


async def test_numbers_compare_in_words_and_with_their_units(grounding: Grounding) -> None:
    bill = make_chunk("The repair of the boiler took ninety minutes and cost £50.", title="Bill")
    same, more = await grounding.score(
        [
            "For the repair of the boiler, 50 pounds were paid.",
            "For the repair of the boiler, 60 pounds were paid.",
        ],
        [bill],
    )
    assert more < 0.3 < same


async def test_a_negation_that_was_left_out_counts(grounding: Grounding) -> None:
    plain = make_chunk("Rome was built in a day. Its walls are nineteen kilometres long.")
    claim = ["In a day, Rome was built."]
    (denied,), (said,) = [await grounding.score(claim, [chunk]) for chunk in (ROME, plain)]
    assert denied < 0.5 * said


async def test_german_negations_count(grounding: Grounding) -> None:
    wall = make_chunk("Die Mauer von Rom ist neunzehn Kilometer lang.")
    claims = ["Neunzehn Kilometer lang ist Roms Mauer.", "Neunzehn Kilometer ist sie nicht lang."]
    plain, negated = await grounding.score(claims, [wall])
    assert negated < 0.5 * plain


async def test_a_negation_that_the_passage_has_is_no_mismatch(grounding: Grounding) -> None:
    denied, affirmed = await grounding.score(
        ["In a day, Rome was not built.", "In 1769, Watt's engine was not patented."], [ROME, WATT]
    )
    assert affirmed < 0.2 < denied


async def test_each_negation_of_a_claim_needs_its_own(grounding: Grounding) -> None:
    rules = make_chunk("Dogs that are not vaccinated must not enter the garden.", title="Garden")
    once, twice = await grounding.score(
        [
            "Dogs must not enter the garden.",
            "The garden must not be entered by dogs not vaccinated.",
        ],
        [make_chunk("Dogs must not enter the garden, even on a leash.", title="Garden"), rules],
    )
    assert min(once, twice) > 0.4
    more = "The garden must not be entered by dogs not vaccinated and never by others."
    (denied,) = await grounding.score([more], [rules])
    assert denied < 0.1


async def test_the_end_of_a_passage_longer_than_the_window_is_read(grounding: Grounding) -> None:
    filler = " ".join(f"The pump of house {n} was checked by the team in May." for n in range(60))
    long = make_chunk(f"{filler} {WATT.text}", title="Pumps")
    (score,) = await grounding.score(["Watt's patent on the engine is from 1769."], [long])
    (alone,) = await grounding.score(["Watt's patent on the engine is from 1769."], [WATT])
    assert alone > 0.4
    assert score > 0.4


async def test_a_passage_has_a_bounded_number_of_parts(embedder: BertEmbedder) -> None:
    facts = " ".join(f"The pump of house {n} was checked in May." for n in range(30))
    full = make_chunk(facts, headings=("A heading that fills the window of the encoder. " * 30,))
    ((part,),) = await read_parts(embedder, [full])
    assert part.sentences == []
    tight = make_chunk(facts, headings=(" ".join(["pump"] * 225),))
    (parts,) = await read_parts(embedder, [tight])
    assert len(parts) == MOST_PARTS
    assert all(part.sentences for part in parts)


async def test_a_question_is_read_once_for_the_claims_of_an_answer(
    embedder: BertEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    embed = embedder.embed_tokens

    async def counted(texts: Sequence[str], *, kind: Kind) -> list[TokenVectors]:
        encoded.extend(texts)
        return await embed(texts, kind=kind)

    monkeypatch.setattr(embedder, "embed_tokens", counted)
    question = "Who built the first steam locomotive?"
    claim = "The first steam locomotive was built by Richard Trevithick."
    once, again = Grounding(embedder, load_grounding()), Grounding(embedder, load_grounding())
    await once.scores(["Its walls are long."], [WATT, ROME], question=question)
    kept = await once.scores([claim], [WATT, ROME], question=question)
    assert encoded.count(question) == 1
    assert kept.tolist() == (await again.scores([claim], [WATT, ROME], question=question)).tolist()
    other = "Who patented the engine?"
    changed = await once.scores([claim], [WATT], question=other)
    fresh = Grounding(embedder, load_grounding())
    assert changed.tolist() == (await fresh.scores([claim], [WATT], question=other)).tolist()


async def test_an_answer_has_to_stand_where_the_question_is_answered(grounding: Grounding) -> None:
    question = "Who built the first steam locomotive?"
    right, wrong = (
        await grounding.scores(
            [
                "The first steam locomotive was built by Richard Trevithick.",
                "The first steam locomotive was built by James Watt.",
            ],
            [WATT],
            question=question,
        )
    )[:, 0]
    assert wrong < 0.4 < right


async def test_a_negation_of_the_question_is_given(grounding: Grounding) -> None:
    claim = "Rome could not be built in a day."
    question = "Which city could not be built in a day?"
    rome = make_chunk("It is impossible to build a city like Rome in a day. Its walls are long.")
    ((asked,),) = await grounding.scores([claim], [rome], question=question)
    ((alone,),) = await grounding.scores([claim], [rome])
    assert alone < 0.1 < asked


@pytest.mark.parametrize(
    ("question", "claim", "denied"),
    [
        (
            "Don't library members pay an annual fee in January?",
            "In January, library members pay an annual fee of 25 euros.",
            "In January, library members do not pay an annual fee of 25 euros.",
        ),
        (
            "Zahlen Mitglieder der Bibliothek im Januar nicht eine Gebühr?",
            "Im Januar zahlen Mitglieder der Bibliothek eine Gebühr von 25 Euro.",
            "Im Januar zahlen Mitglieder der Bibliothek eine Gebühr von 25 Euro nicht.",
        ),
    ],
)
async def test_a_negation_of_a_question_for_yes_or_no_is_not_given(
    grounding: Grounding, question: str, claim: str, denied: str
) -> None:
    fee = make_chunk(
        "Library members pay an annual fee of 25 euros in January."
        if question.endswith("January?")
        else "Mitglieder der Bibliothek zahlen eine Gebühr von 25 Euro im Januar."
    )
    right, wrong = await grounding.scores([claim, denied], [fee], question=question)
    assert wrong < 0.1
    assert right > 0.4


async def test_what_claims_nothing_is_not_scored(grounding: Grounding) -> None:
    answer = "## Steam\n\nThe condenser of Watt's engine was separate. [1] Rome sank. Why?"
    claims = claims_of(answer)
    assert claims[1:] == ("Rome sank.",)
    one, other = await grounding.score(claims, [WATT])
    assert one > other
    assert claims_of("# Steam\n\nWhy?") == ()


async def test_what_checks_citations_can_judge_instead() -> None:
    judged = EntailedGrounding(CharacterSupport())
    claims = ["It used a separate condenser.", "Its walls are nineteen kilometres long."]
    both = await judged.score(claims, [WATT, ROME])
    first = await judged.score(claims, [WATT])
    assert both.shape == (2,)
    assert both[0] == first[0]
    assert both[1] > first[1]
    assert (await judged.score(claims, [])).tolist() == [0.0, 0.0]


def test_the_curve_goes_through_what_each_threshold_lets_pass() -> None:
    false, true = roc(np.array([0.9, 0.5]), np.array([0.5, 0.1]))
    assert false.tolist() == [0.0, 0.0, 0.5, 1.0]
    assert true.tolist() == [0.0, 0.5, 1.0, 1.0]
    assert np.trapezoid(true, false) == auroc(np.array([0.9, 0.5]), np.array([0.5, 0.1]))


def test_the_interval_is_as_wide_as_groups_are_few() -> None:
    random = np.random.default_rng(1)
    positives, negatives = random.normal(1, 1, 200), random.normal(0, 1, 200)
    each = np.arange(400).astype(str)
    few = (np.arange(400) % 20).astype(str)
    inside = auroc(positives, negatives)
    low, high = auroc_interval(positives, negatives, (each[:200], each[200:]))
    assert low < inside < high < low + 0.12
    repeated = np.repeat(positives[:10], 20), np.repeat(negatives[:10], 20)
    groups = np.repeat(few[:10], 20)
    low, high = auroc_interval(*repeated, (groups, groups))
    assert high > low + 0.2


def test_without_data_fitting_says_that_it_was_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "grounding.json"
    assert main(["--data", str(tmp_path), "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith("Skipped: ")
    assert not out.exists()


async def test_a_negation_alone_is_no_answer(grounding: Grounding) -> None:
    question = "The separate condenser saved three quarters of the coal."
    claim = "The separate condenser never saved three quarters of the coal."
    ((asked,),) = await grounding.scores([claim], [WATT], question=question)
    ((alone,),) = await grounding.scores([claim], [WATT])
    assert asked == alone < 0.1
