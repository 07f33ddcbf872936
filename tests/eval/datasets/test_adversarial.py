"""Wrong claims: each has its one change, and texts without anything to change yield none."""

from __future__ import annotations

import difflib
import re
from random import Random

import pytest

from eval.datasets.adversarial import (
    change_date,
    change_number,
    change_unit,
    changed,
    merge,
    names_of,
    negate,
    states_new_figure,
    swap_name,
    swap_number,
)
from eval.datasets.statements import Statement, draw_statements
from rag.text.stated_figures import missing_figures
from rag.types import Document

PLAIN = "The otters of the river sleep in the reeds for most of the day and of the night."
HOTEL = "The limit for a hotel night in Leeds is £50 from 2 May 2025, with three days of notice."
PASSAGE = f"{HOTEL} Harlsea Travel books it for 12 people, and Mira Quill pays within 30 days."
SEEDS = range(20)


def differences(one: str, other: str) -> list[tuple[str, str]]:
    """Returns the words that were replaced, and by which."""
    a, b = re.findall(r"[£€$]|[\w-]+|\S", one), re.findall(r"[£€$]|[\w-]+|\S", other)
    matcher = difflib.SequenceMatcher(a=a, b=b, autojunk=False)
    return [
        (" ".join(a[i:j]), " ".join(b[k:m]))
        for tag, i, j, k, m in matcher.get_opcodes()
        if tag != "equal"
    ]


def new(claim: str) -> bool:
    return states_new_figure(claim, HOTEL, [PASSAGE])


class TestFigures:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_number_is_one_that_no_passage_has(self, seed: int) -> None:
        claim = change_number(HOTEL, new, Random(seed))
        assert claim
        ((before, after),) = differences(HOTEL, claim)
        assert before in ("50", "three")
        assert len(missing_figures(claim, [PASSAGE])) == 1
        assert after.isdigit() is (before == "50")

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_number_of_the_passage_is_another_one(self, seed: int) -> None:
        claim = swap_number(HOTEL, PASSAGE, Random(seed))
        assert claim
        assert differences(HOTEL, claim) in ([("50", "12")], [("50", "30")])

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_unit_is_another_one_of_the_same_number(self, seed: int) -> None:
        claim = change_unit(HOTEL, new, Random(seed))
        assert claim
        assert differences(HOTEL, claim) in ([("£", "€")], [("days", "weeks")])

    @pytest.mark.parametrize(
        ("sentence", "claim"),
        [
            ("Wait for 12 seconds.", "Wait for 12 minutes."),
            ("It weighs 5 kg.", "It weighs 5 lb."),
            ("It has a five-day week.", "It has a five-week week."),
            ("Die Frist ist 14 Tage.", "Die Frist ist 14 Wochen."),
            ("Days pass, and a year too.", None),
        ],
    )
    def test_units(self, sentence: str, claim: str | None) -> None:
        assert change_unit(sentence, lambda _: True, Random(0)) == claim

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_date_has_another_day_or_year(self, seed: int) -> None:
        claim = change_date(HOTEL, new, Random(seed))
        assert claim
        ((before, after),) = differences(HOTEL, claim)
        assert before in ("2", "2025")
        assert before != after
        assert len(missing_figures(claim, [PASSAGE])) == 1

    def test_dates_in_numbers_keep_their_form(self) -> None:
        claims = {change_date("On 2025-05-02.", lambda _: True, Random(n)) for n in SEEDS}
        assert all(re.fullmatch(r"On \d{4}-\d\d-\d\d\.", claim or "") for claim in claims)
        assert "On 2025-05-02." not in claims

    @pytest.mark.parametrize(
        "sentence", ["It is as the report says [5]_ there.", "See SO-51207 and v3.11.2 of it."]
    )
    def test_markers_codes_and_versions_are_no_numbers(self, sentence: str) -> None:
        assert change_number(sentence, lambda _: True, Random(0)) is None


class TestNames:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_name_is_replaced_by_another(self, seed: int) -> None:
        claim = swap_name(HOTEL, names_of(PASSAGE), names_of(PASSAGE), Random(seed))
        assert claim
        assert differences(HOTEL, claim) == [("Leeds", "Mira Quill")]

    def test_names(self) -> None:
        text = "In May the Leeds office, which MUST be open, asks Mira Quill of KM-T40. The rest."
        assert names_of(text) == ["Leeds", "Mira Quill"]
        assert names_of("Das ist der Antrag, den die Firma für den Kunden stellt.") == []
        assert names_of("We say Zen, and what zen is.") == []

    def test_no_name_of_which_the_sentence_has_a_word(self) -> None:
        assert swap_name(HOTEL, ["Leeds"], ["Port of Leeds"], Random(0)) is None


@pytest.mark.parametrize(
    ("sentence", "claims"),
    [
        ("The limit is high.", {"The limit is not high.", "The limit is never high."}),
        ("The limit is not high for you.", {"The limit is high for you."}),
        ("Das Limit ist nicht hoch, und was war, ist der Rest.", {None}),
        ("We sleep in the reeds.", {None}),
        ("You cannot stay in the reeds.", {"You can stay in the reeds."}),
        ("It won't be in the reeds.", {"It will be in the reeds."}),
        ("It is not only in the reeds.", {None}),
    ],
)
def test_negations(sentence: str, claims: set[str | None]) -> None:
    assert {negate(sentence, Random(n)) for n in SEEDS} == claims


class TestMerged:
    def test_it_has_the_subject_of_one_and_the_fact_of_the_other(self) -> None:
        otters = statement("Otters are mammals of the river.", "a")
        same = statement("Reeds are plants of the river.", "a")
        verb = statement("The notice is three days.", "b")
        peps = statement("Peps are texts that propose a change.", "b")
        assert merge(otters, [same, verb, peps]) == (
            "Otters are texts that propose a change.",
            peps,
        )
        assert merge(otters, [same, verb]) is None

    @pytest.mark.parametrize("text", ["They are mammals.", "Otters that are wet sleep."])
    def test_it_needs_a_subject(self, text: str) -> None:
        assert merge(statement(text, "a"), [statement("Peps are texts.", "b")]) is None


def test_nothing_is_changed_where_nothing_can_be() -> None:
    plain = statement(PLAIN, "a")
    assert list(changed(plain, [PLAIN], ["Leeds"], Random(0))) == []
    everything = statement(HOTEL, "a", PASSAGE)
    kinds = [kind for kind, _ in changed(everything, [PASSAGE], ["Bram Oakhanger"], Random(0))]
    assert kinds == [
        *("number", "number of its passage", "unit", "date"),
        *("name of its passage", "name of another document", "negation added"),
    ]


class TestRows:
    TABLE = "Article | Price\nLamp | 40\nRope | 30\nRope | 35\n"

    def test_another_row_has_another_value(self) -> None:
        drawn = list(draw_statements([document(self.TABLE)], seed=0))
        sentences = {(each.text, each.sentence, each.other_row) for each in drawn}
        lamp = {(s, o) for t, s, o in sentences if t == "Article: Lamp; Price: 40"}
        assert lamp <= {("For Lamp, Price is 40.", f"For Lamp, Price is {n}.") for n in (30, 35)}
        assert len(lamp) == 1
        # Rope has both prices, so only the lamp's is wrong.
        ropes = {o for _, s, o in sentences if s.startswith("For Rope")}
        assert ropes == {"For Rope, Price is 40."}

    def test_the_row_is_a_wrong_claim_of_its_own_kind(self) -> None:
        (row, *_) = draw_statements([document(self.TABLE)], seed=0)
        kinds = dict(changed(row, [self.TABLE], ["Leeds"], Random(0)))
        assert kinds["row"] == row.other_row
        assert "number" in kinds
        assert kinds.keys().isdisjoint({"name of another document", "number of its passage"})

    def test_rows_that_say_the_same_yield_none(self) -> None:
        table = "Article | Price\nLamp | 40\nRope | 40\n"
        assert list(draw_statements([document(table)], seed=0)) == []

    def test_rows_and_sentences_by_turns_the_same_for_a_seed(self) -> None:
        text = f"{HOTEL}\n\n{PLAIN}\n\n{self.TABLE}"
        drawn = [each.text for each in draw_statements([document(text)], seed=0)]
        assert [": " in each for each in drawn] == [False, True, False, True, True]
        assert drawn == [each.text for each in draw_statements([document(text)], seed=0)]
        orders = {tuple(e.text for e in draw_statements([document(text)], seed=n)) for n in SEEDS}
        assert len(orders) > 1


def statement(text: str, document_id: str, passage: str = "") -> Statement:
    return Statement(document_id=document_id, text=text, sentence=text, passage=passage or text)


def document(text: str) -> Document:
    return Document(
        id="d", version="1", uri="d", media_type="text/plain", title="Zoo", text=text,
        headings=(), furniture=(),
    )  # fmt: skip
