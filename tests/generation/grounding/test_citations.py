from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.grounding.citations import (
    MIN_SUPPORT,
    CitationChecker,
    escape_markers,
    uncited,
    without_markers,
)
from rag.text.sentences import sentence_spans
from rag.types import Chunk, Citation, Hit
from tests.fakes import CharacterSupport

NORMANS = "The Normans gave their name\n    to Normandy.  They were descended from Norse raiders."
STEAM = "James Watt patented his engine in 1769. It used\ta separate condenser [1]_ to save coal."
# Characters of the document before the chunk: spans count from the document's start.
OFFSET = 1000


def hit(text: str) -> Hit:
    chunk = Chunk(
        id=f"id of {text[:8]}",
        document_id="d",
        version="v",
        position=0,
        text=text,
        start=OFFSET,
        end=OFFSET + len(text),
        title="A title",
        uri="file:///d.txt",
        page=3,
        headings=("One", "Two"),
    )
    return Hit(chunk=chunk, score=1.0, source="fused", ranks={"dense": 1})


HITS = [hit(NORMANS), hit(STEAM)]
GAVE = "The Normans gave their name to Normandy"
RAIDERS = "They were descended from Norse raiders."


def text_of(citation: Citation, hits: list[Hit]) -> str:
    text = hits[citation.marker - 1].chunk.text
    return text[citation.start - OFFSET : citation.end - OFFSET]


def checked(
    answer: str, size: int = 1000, hits: list[Hit] = HITS
) -> tuple[str, list[Citation], tuple[int, ...]]:
    """Returns the checked text, its citations, and the removed markers."""

    async def check() -> tuple[str, list[Citation], tuple[int, ...]]:
        checker = CitationChecker(hits, CharacterSupport())
        events: list[str | Citation] = []
        for start in range(0, len(answer), size):
            events += await checker.feed(answer[start : start + size])
        events += checker.finish()
        text = "".join(event for event in events if isinstance(event, str))
        return text, [event for event in events if isinstance(event, Citation)], checker.unsupported

    return asyncio.run(check())


def verify(answer: str, hits: list[Hit]) -> tuple[Citation, ...]:
    return tuple(checked(answer, hits=hits)[1])


def test_a_citation_has_the_page_of_its_quote() -> None:
    whole = hit(NORMANS)
    begins = OFFSET + NORMANS.index(RAIDERS)
    two_pages = replace(whole, chunk=replace(whole.chunk, page_starts=(begins,)))
    (above,) = verify(f"{GAVE} [1].", [two_pages])
    (below,) = verify(f"{RAIDERS} [1]", [two_pages])
    assert (above.page, below.page) == (3, 4)


def test_a_verbatim_sentence_is_cited_by_its_exact_span() -> None:
    (citation,) = verify("The Normans gave their name to Normandy. [1]", HITS)
    assert citation == Citation(
        marker=1,
        chunk_id=HITS[0].chunk.id,
        document_id="d",
        uri="file:///d.txt",
        title="A title",
        page=3,
        headings=("One", "Two"),
        start=OFFSET,
        end=OFFSET + NORMANS.index("  They"),
        quote="The Normans gave their name\n    to Normandy.",
        support=1.0,
    )


def test_a_paraphrase_is_cited_by_the_sentence_that_carries_it() -> None:
    (citation,) = verify("Watt patented the engine in 1769 [2].", HITS)
    assert citation.quote == "James Watt patented his engine in 1769."
    assert MIN_SUPPORT <= citation.support < 1


@pytest.mark.parametrize("mark", ["-", "1.", "2)"])
def test_the_number_of_a_list_item_is_no_figure_of_its_claim(mark: str) -> None:
    answer = f"What he did:\n\n{mark} James Watt patented the engine in 1769 [2].\n"
    (citation,) = verify(answer, HITS)
    assert citation == replace(
        verify("James Watt patented the engine in 1769 [2].", HITS)[0],
        marker_start=citation.marker_start,
        marker_end=citation.marker_end,
    )


@pytest.mark.parametrize("removed", ["", " [1]"])
def test_what_holds_is_cited_by_the_closest_sentence_of_its_passage(removed: str) -> None:
    claim = "The patent of 1769 preceded the use of coal."

    async def cited() -> list[str | Citation]:
        checker = CitationChecker(HITS, CharacterSupport())
        return [*await checker.feed(f"{claim}{removed}"), *await checker.cite((2, 1), 0.8)]

    *text, citation = asyncio.run(cited())
    assert "".join(str(piece) for piece in text) == f"{claim} [2]"
    assert isinstance(citation, Citation)
    assert citation.support == 0.8
    assert citation.quote == text_of(citation, HITS) == "James Watt patented his engine in 1769."


def test_a_sentence_about_a_row_is_cited_by_the_row() -> None:
    table = hit(
        "| Kind of leave | Days per year |\n|---|---|\n| Study leave | 5 |\n| Annual leave | 27 |"
    )
    (citation,) = verify("For the annual leave, days per year is twenty-seven. [1]", [table])
    assert citation.quote == "| Annual leave | 27 |"
    assert [cell.value for cell in citation.cells] == ["Annual leave", "27"]
    assert citation.support < 1


def test_all_words_in_another_order_are_no_quote() -> None:
    (citation,) = verify("In 1769 James Watt patented his engine [2].", HITS)
    assert 0.8 < citation.support < 1


@pytest.mark.parametrize(
    "answer",
    [
        "The Normans gave their name to Normandy. [3]",
        "The Normans gave their name to Normandy. [0]",
        "The Normans gave their name to Normandy. [2]",
        "Mitochondria make most of a cell's energy. [1]",
        "James Watt patented his engine in 1796. [2]",
        "The Normans gave their name to Normandy. \\[1]",
        "[1] The Normans gave their name to Normandy.",
        "No marker at all.",
        "",
    ],
)
def test_what_is_not_supported_is_not_cited(answer: str) -> None:
    assert verify(answer, HITS) == ()


@pytest.mark.parametrize("markers", ["[1][2]", "[1] [2]", "[1, 2]", "[1,2]", "[1], [2]"])
def test_neighbouring_markers_stand_behind_the_same_text(markers: str) -> None:
    hits = [hit(NORMANS), hit(NORMANS)]
    citations = verify(f"They were descended from Norse raiders {markers}.", hits)
    assert [c.marker for c in citations] == [1, 2]
    assert {c.quote for c in citations} == {"They were descended from Norse raiders"}


def test_only_the_last_sentence_before_a_marker_is_claimed() -> None:
    answer = "I looked it up for you. They were descended from Norse raiders. [1]"
    (citation,) = verify(answer, HITS)
    assert (citation.quote, citation.support) == ("They were descended from Norse raiders.", 1.0)


def test_a_marker_before_the_full_stop_does_not_shift_the_next_claim() -> None:
    answer = (
        "The Normans gave their name to Normandy [1]. They were descended from Norse raiders [1]."
    )
    assert [c.support for c in verify(answer, HITS)] == [1.0, 1.0]


def test_a_quote_does_not_begin_with_the_end_of_the_sentence_before() -> None:
    answer = (
        "It used\ta separate condenser [1] to save coal [9]. They were descended from Norse [1]."
    )
    hits = [hit("A name. They were descended from Norse raiders.")]
    (citation,) = verify(answer.replace("[9]", ""), hits)
    assert citation.quote == "They were descended from Norse"
    assert citation.start == OFFSET + 8


def test_the_same_span_is_cited_once() -> None:
    answer = (
        "They were descended from Norse raiders. [1] They were descended from Norse raiders. [1]"
    )
    assert len(verify(answer, HITS)) == 1


def test_half_a_word_is_no_quote() -> None:
    assert verify("The Norman [1]", [hit("The Normans")])[0].support < 1


def test_a_quotes_own_marker_is_escaped() -> None:
    sentence = "It used a separate condenser [1]_ to save coal."
    answer = f"{escape_markers(sentence)} [2]"
    assert answer == "It used a separate condenser \\[1]_ to save coal. [2]"
    (citation,) = verify(answer, HITS)
    assert citation.quote == "It used\ta separate condenser [1]_ to save coal."


TEXTS = st.text(min_size=1) | st.lists(
    st.sampled_from(["One two.", "[1]", "[2, 3]", "\\[1]", "\\", "[", "\n\n", " ", "Ein Satz!"]),
    min_size=1,
).map("".join)


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_verbatim_sentences_round_trip(texts: list[str]) -> None:
    hits = [hit(text) for text in texts]
    said = [
        (place, text[start:end])
        for place, text in enumerate(texts, start=1)
        for start, end in sentence_spans(text)
        if any(character.isalnum() for character in text[start:end])
    ]
    answer = " ".join(f"{escape_markers(' '.join(s.split()))} [{n}]" for n, s in said)
    text, citations, unsupported = checked(answer, hits=hits)
    assert {c.marker for c in citations} == {place for place, _ in said}
    for citation in citations:
        assert citation.support == 1
        assert citation.quote == text_of(citation, hits)
    assert text == answer
    assert unsupported == ()
    assert uncited(answer, citations) == ()
    folded = {" ".join(c.quote.split()) for c in citations}
    assert folded == {" ".join(sentence.split()) for _, sentence in said}


ANSWERS = st.lists(
    st.sampled_from(
        [
            *NORMANS.split(),
            *STEAM.split(),
            "[1]",
            "[2]",
            "[1, 2]",
            "\\[1]",
            ".",
            "[",
            "9",
            "`",
            "x[1]",
        ]
    )
).map(" ".join)


@given(ANSWERS | st.text() | st.text("[]1239, \\\\.a`\\n"), st.integers(1, 7))
def test_pieces_make_no_difference(answer: str, size: int) -> None:
    assert checked(answer, size) == checked(answer)


@given(ANSWERS | st.text("[]1239, .a"))
def test_no_marker_goes_out_that_did_not_hold(answer: str) -> None:
    text, _, _ = checked(answer)
    found = {
        int(n)
        for m in re.findall(r"(?<!\\)\[(\d{1,3}(?:, ?\d{1,3})*)\]", text)
        for n in m.split(",")
    }
    assert found <= {1, 2}


@pytest.mark.parametrize(
    ("answer", "text", "unsupported"),
    [
        (f"{GAVE} [2].", f"{GAVE}.", (2,)),
        (f"{GAVE}. [3] Yes.", f"{GAVE}. Yes.", (3,)),
        (f"{GAVE}[1, 2, 7].", f"{GAVE}[1].", (2, 7)),
        (f"{GAVE} [2][1].", f"{GAVE}[1].", (2,)),
        ("[1] The Normans.", " The Normans.", (1,)),
        ("The moon is cheese [[9]1].", "The moon is cheese [\\[9]1].", (9,)),
        ("A [note] and a[0x] and [2019] and [1", "A [note] and a[0x] and [2019] and [1", ()),
    ],
)  # fmt: skip
def test_a_marker_that_does_not_hold_is_taken_out_and_told(
    answer: str, text: str, unsupported: tuple[int, ...]
) -> None:
    out, _, told = checked(answer)
    assert (out, told) == (text, unsupported)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("Use `sys.argv[1]` or `f(x)[0][7]`.", None),
        ("```\na = b[1]\n\nc = d[9]\n```\nDone [9].", "```\na = b[1]\n\nc = d[9]\n```\nDone."),
        ("A stray ` and a claim [9].", "A stray ` and a claim."),
        ("A stray ` in a line.\nA claim[9].", "A stray ` in a line.\nA claim."),
        ("`closed` and a claim[9].", "`closed` and a claim."),
    ],
)  # fmt: skip
def test_an_index_in_code_is_no_marker(answer: str, text: str | None) -> None:
    out, citations, _ = checked(answer)
    assert out == (text or answer)
    assert citations == []
    assert uncited(out, citations)


@pytest.mark.anyio
async def test_text_is_held_back_only_while_a_marker_may_be_open() -> None:
    checker = CitationChecker(HITS, CharacterSupport())
    said = GAVE
    assert await checker.feed(said) == [said]
    assert await checker.feed(" ") == []
    assert await checker.feed("[") == []
    assert await checker.feed("1, ") == []
    assert await checker.feed("note") == [" [1, note"]
    assert await checker.feed(" [1") == []
    assert checker.finish() == [" [1"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (f"{GAVE}. [1]", ()),
        (f"{GAVE} [1].", ()),
        ("The Normans gave their name [1] to Normandy.", ()),
        (f"{GAVE}. {RAIDERS} [1]", ()),
        (f"The moon is cheese. {RAIDERS} [1]", ("The moon is cheese.",)),
        (f"{RAIDERS} [1] The moon is cheese.", ("The moon is cheese.",)),
        (f"{RAIDERS} [1] Cheese. [1] Really.", ("Cheese.", "Really.")),
        ("The moon is cheese [2].", ("The moon is cheese.",)),
        (f"# Normans\n\nWho were they? This is known:\n\n- {RAIDERS} [1]", ()),
        ("...", ()),
        ("", ()),
    ],
)  # fmt: skip
def test_sentences_without_a_citation_are_told(answer: str, expected: tuple[str, ...]) -> None:
    text, citations, _ = checked(answer)
    assert uncited(text, citations) == expected


@given(ANSWERS)
def test_every_citation_slices_back(answer: str) -> None:
    for citation in verify(answer, HITS):
        assert citation.quote == text_of(citation, HITS)
        assert MIN_SUPPORT <= citation.support <= 1


def test_without_its_markers_an_answer_reads_as_it_was_meant() -> None:
    assert without_markers("It is 1769 [1, 2]. See \\[1] and `a[0]` [3].") == (
        "It is 1769. See [1] and `a[0]`."
    )
