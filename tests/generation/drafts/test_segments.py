"""Sentences of a text, cut while it is being written."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from generation.drafts.segments import LONGEST, Segments

TEXT = (
    "The limit is £50. [1] It is e.g. paid [2][3]. Also:\n- one thing [1]\n- two things\n\n"
    "| a | b |\n|---|---|\n| x | 5 |\n\n# Heading\nHe paid 3.5 km. Is it so? [4]"
)
SEGMENTS = [
    "The limit is £50. [1]",
    " It is e.g. paid [2][3].",
    " Also:",
    "\n- one thing [1]",
    "\n- two things",
    "\n\n| a | b |\n|---|---|",
    "\n| x | 5 |",
    "\n\n# Heading",
    "\nHe paid 3.5 km.",
    " Is it so? [4]",
]


def cut(text: str, places: list[int]) -> list[str]:
    """Returns the segments of a text that comes in pieces, cut at these places."""
    segments, found = Segments(), list[str]()
    edges = [0, *sorted(places), len(text)]
    for start, end in pairwise(edges):
        found += segments.add(text[start:end])
    return [*found, *segments.finish()]


@given(st.lists(st.integers(0, len(TEXT))))
def test_segments_do_not_depend_on_the_pieces_a_text_comes_in(places: list[int]) -> None:
    assert cut(TEXT, places) == SEGMENTS


@given(st.text(max_size=200), st.lists(st.integers(0, 200)))
def test_segments_are_the_whole_text(text: str, places: list[int]) -> None:
    assert "".join(cut(text, [min(place, len(text)) for place in places])) == text


def test_a_sentence_is_complete_with_the_first_word_behind_it() -> None:
    segments = Segments()
    assert segments.add("It is £50. [1] T") == []
    assert segments.add("hen ") == ["It is £50. [1]"]
    assert segments.unfinished == " Then "
    assert segments.finish() == [" Then "]


def test_a_sentence_that_does_not_end_is_cut() -> None:
    segments = Segments()
    found = [piece for _ in range(900) for piece in segments.add("word ")]
    assert len(found) == 2
    assert all(LONGEST - 9 < len(piece) <= LONGEST for piece in found)
    assert "".join([*found, segments.unfinished]) == "word " * 900


def test_one_long_piece_is_cut_like_many() -> None:
    segments = Segments()
    found = segments.add("and 1,500 " * 900)
    assert max(map(len, found)) <= LONGEST
    assert not any(piece.endswith(("1", "1,")) for piece in found)
