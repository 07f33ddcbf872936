from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text.folding import folded, without_accents


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("cafe\u0301", "café"),
        ("o\ufb03ce", "office"),
        ("ＡＢＣ－１２３", "ABC-123"),  # noqa: RUF001
        ("co\u00adoperation", "cooperation"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("\u202eabc\u202c", "abc"),
        ("كِتَابٌ", "كتاب"),
        ("كـــتاب", "كتاب"),
        ("שָׁלוֹם", "שלום"),
        ("İzmir", "izmir"),
        ("i\u0307zmir", "izmir"),
        ("ılık", "ilik"),  # noqa: RUF001
        ("SO\u201351137", "SO-51137"),
        ("Straße", "Strasse"),
        ("ｻｰﾊﾞｰ", "サーバー"),
        ("plain", "plain"),
    ],
)
def test_what_reads_the_same_is_the_same(written: str, same: str) -> None:
    assert folded(written) == unicodedata.normalize("NFC", same)


@given(st.text())
def test_folding_again_changes_nothing(text: str) -> None:
    once = folded(folded(text))
    assert folded(once) == once


def test_accents_are_left_out() -> None:
    assert without_accents("Besançon, Kücükdeveci, Weiß, Łódź, İzmir") == (
        "Besancon, Kucukdeveci, Weiss, Łodz, Izmir"
    )


def test_a_long_text_stays_as_it_is() -> None:
    assert folded("word " * 200_000) == "word " * 200_000
