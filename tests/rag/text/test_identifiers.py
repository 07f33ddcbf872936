from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text import identifiers as module
from rag.text.identifiers import identifier_terms, identifiers, names_in


def forms(text: str) -> list[str]:
    return [each.forms[0] for each in identifiers(text)]


def strict(text: str) -> list[str]:
    return [each.text for each in identifiers(text) if each.strict]


@pytest.mark.parametrize(
    "spellings",
    [
        ["SO-51137", "so-51137", "SO51137", "SO 51137", "SO_51137", "SO/51137", "SO–51137"],
        ["KM-T40", "km-t40", "KMT40"],
        ["E17", "E-17", "E 17", "e17"],
        ["CVE-2024-3094", "cve-2024-3094", "CVE_2024_3094"],
        ["v1.2.3", "V1.2.3", "1.2.3"],
        ["ISO 27001", "ISO-27001", "iso27001"],
        ["§ 14", "§14"],
        ["Bob.Smith@kelmor.example", "bob.smith@kelmor.example"],
        ["2 May 2025", "2nd of May 2025", "May 2, 2025", "2025-05-02", "02.05.2025", "2. Mai 2025"],
        ["2 mai 2025", "2 de mayo de 2025", "2 maggio 2025", "2 maja 2025"],
        ["68,400", "68.400", "68'400"],
        ["4,812.50", "4.812,50"],
    ],
)
def test_an_identifier_has_one_form_however_it_is_written(spellings: list[str]) -> None:
    assert len({tuple(forms(written)) for written in spellings}) == 1
    assert len(forms(spellings[0])) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.2.3", "12.3"),
        ("1.23", "12.3"),
        ("SO-5113", "SO-51137"),
        ("§ 14", "§ 41"),
        ("E17", "E71"),
    ],
)
def test_different_identifiers_have_different_forms(one: str, other: str) -> None:
    assert forms(one) != forms(other)


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("What is the status of order SO-51137?", ["SO-51137"]),
        ("waht does eror E17 meen on the guage?", ["E17"]),
        ("WHAT DOES ERROR E17 MEAN ON THE GAUGE FOR 20 DAYS?", ["e17"]),
        ("so 51137 shipped?", ["51137"]),
        ("Compare T40/T50", ["T40", "T50"]),
        ("Was regelt § 14?", ["§ 14"]),
        ("What happened on 2 May 2025?", ["2 May 2025"]),
        ("Which invoice is for 4,812.50 euros?", ["4,812.50"]),
        ("When was Python 3.12 released?", ["3.12"]),
        ("What held as of 2 May 2025?", []),
        ("May I carry over 5 days, or 27?", []),
        ("Can I spend 5,000 euros?", []),
        ("What was the revenue in Q1 2025 and in 2019?", []),
        ("Is the 20th floor 10km away, mid-1990s, 24/7, a 19-year-old?", []),
        ("How many people lived there in 1914-1918?", []),
        ("Do we have MP3 or A4?", []),
    ],
)
def test_only_what_can_mean_nothing_else_is_strict(question: str, asked: list[str]) -> None:
    assert strict(question) == asked


def test_beginnings_and_long_numbers_within_are_terms_too() -> None:
    assert {"iso90012015", "iso9001"} <= set(identifier_terms("ISO 9001:2015"))
    assert names_in("SO51137, or T40") >= {"so51137", "51137", "t40"}
    assert identifier_terms("In 1984, 12 of 40 people") == []


@given(st.text(alphabet="aA1 -.,/@§:") | st.text())
def test_spans_are_those_of_the_folded_text(text: str) -> None:
    for each in identifiers(text):
        assert each.end - each.start == len(each.text)
        assert each.forms


_PARTS = (
    "the", "in", "on", "of", "de", "Article", "art.", "May", "mai", "March", "ISO", "E", "A", "x",
    "5", "12.", "2025", "27001", "T40", "B-7", "a@b.example", "§", "Müller", "Q1", "(", "/", "-",
)  # fmt: skip


@given(st.lists(st.sampled_from(_PARTS), max_size=20), st.sampled_from([" ", "  ", "\n", ""]))
def test_plain_words_are_passed_over_without_another_result(parts: list[str], space: str) -> None:
    text = space.join(f"{part} " if n % 2 else part for n, part in enumerate(parts))
    found = identifiers(text), identifier_terms(text)
    with pytest.MonkeyPatch.context() as patch:
        whole = re.compile(module._PATTERN.pattern.removeprefix(f"{module._WORDS}|"))
        patch.setattr(module, "_PATTERN", whole)
        patch.setattr(module, "_WITHOUT_MAIL", whole)
        assert (identifiers(text), identifier_terms(text)) == found


def test_data_without_spaces_is_read_in_linear_time() -> None:
    assert identifier_terms("1a2b-" * 50_000) == []
    identifier_terms("a@" * 50_000)
    identifier_terms("1,234" * 50_000)
    assert identifier_terms(("x" * 70 + "1") * 10_000) == []
