# ruff: noqa: RUF001 - text in other scripts
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text.blocks import block_spans, paragraph_spans
from rag.text.sentences import sentence_spans

DATA = Path(__file__).parents[2] / "data"


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    "expected",
    [
        ["It works.", "Next one!", "Really?", "Yes…", "Good."],
        ["Dr. Smith met J. Smith of the U.S. Army.", "He left."],
        ["See Fig. 3, No. 5 and e.g. p. 7 (i.e. the end).", "Then stop."],
        ["Smith et al. (2009) agree.", "Pip, apt, etc. install it."],
        ["It was founded by Acme Inc. in 1999.", "It was sold to Acme Inc.", "The firm closed."],
        ["Pi is 3.14159 and v1.2.3 is out.", "Visit example.com now."],
        ["It closed at 5 p.m. on Monday.", "It opened at 9 a.m.", "We came late."],
        ['She said "Stop!"', "He did.", "(It was so.)", '"Really?" he asked.'],
        ["Wait... what?", "He paused...", "Then he spoke."],
        ["Tick vs. tock, cf. Mr. Jones.", "``foo`` is code.", "*Then* emphasis."],
        ["Ducks swim.[2]", "They also fly.[3][14]", "See [1]."],
        ["It has vitamin C.", "The end."],
    ],
)
def test_splits_after_full_stops_that_end_a_sentence(expected: list[str]) -> None:
    assert sentences(" ".join(expected)) == expected


def by_language() -> list[Any]:
    lines = (DATA / "sentences.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [
        pytest.param(r["sentences"], r["join"], id=f"{r['lang']}{n}") for n, r in enumerate(rows)
    ]


@pytest.mark.parametrize(("expected", "between"), by_language())
def test_sentences_end_where_their_language_ends_them(expected: list[str], between: str) -> None:
    text = between.join(expected)
    spans = sentence_spans(text)
    assert [text[start:end] for start, end in spans] == expected
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)


@pytest.mark.parametrize(
    "text",
    ["word " * 200_000, "Nr. " * 250_000, "A. " * 300_000, "\u202e\u202d. " * 250_000,
     "ก " * 300_000, "डॉ. " * 200_000, "α; " * 300_000, "." * 1_000_000, "- item\n" * 100_000],
    ids=["words", "abbreviations", "letters", "bidi", "thai", "hindi", "greek", "stops", "items"],
)  # fmt: skip
def test_a_text_of_1_mb_is_split_in_linear_time(text: str) -> None:
    spans = sentence_spans(text)
    assert spans[-1][1] == len(text.rstrip())


def test_cjk_needs_no_space() -> None:
    assert sentences("これはテストです。次の文！「はい。」終わり？") == [
        "これはテストです。",
        "次の文！",
        "「はい。」",
        "終わり？",
    ]


def test_hard_wrapped_lines_are_one_sentence_and_blank_lines_end_one() -> None:
    assert sentences("One\nsentence. And\nanother\n\nNo stop\n\nLast") == [
        "One\nsentence.",
        "And\nanother",
        "No stop",
        "Last",
    ]


def test_a_number_at_the_start_of_a_wrapped_line_is_no_list() -> None:
    assert sentences("It came in version\n3. Then it left.") == [
        "It came in version\n3.",
        "Then it left.",
    ]


def test_list_items_keep_their_markers_and_continuations() -> None:
    assert sentences("1. First\n   goes on. More.\n2. Second\n- bullet\n* star") == [
        "1. First\n   goes on.",
        "More.",
        "2. Second",
        "- bullet",
        "* star",
    ]


@pytest.mark.parametrize(
    "lines",
    [
        [">>> x = 1. ", ">>> print(x)", "1"],
        ["    def f(x):", "        return x[0] + 1"],
        ["| a | b |", "|---|---|", "| 1. X | 2. Y |"],
        ["a | b", "--- | ---", "1 | 2"],
        ["====  ====", "A     B", "====  ====", "foo   bar. Baz", "====  ===="],
        ["```python", "first line", "second line", "```"],
        ["# Heading", "text below"],
    ],
)
def test_lines_of_code_and_tables_stand_alone(lines: list[str]) -> None:
    assert sentences("\n".join(lines)) == [line.strip() for line in lines]


def test_indented_prose_is_not_code() -> None:
    assert sentences("    A quoted paragraph, indented\n    over two lines. Second.") == [
        "A quoted paragraph, indented\n    over two lines.",
        "Second.",
    ]


def test_fences_hold_over_blank_lines_and_from_before_the_text() -> None:
    assert sentences("```\nfirst\nsecond\n\nthird\nfourth\n```\n\nProse\nwraps.")[-2:] == [
        "```",
        "Prose\nwraps.",
    ]
    assert sentences("third\nfourth\n```\n\nProse\nwraps.") == [
        "third",
        "fourth",
        "```",
        "Prose\nwraps.",
    ]


texts = st.text() | st.text(alphabet="aB1 .!?。…\n\t|>`-*\"')[]#=", max_size=200)


@given(texts)
def test_spans_cover_the_text_once_and_are_stripped(text: str) -> None:
    for split in (sentence_spans, block_spans):
        end_before = 0
        for start, end in split(text):
            assert not text[end_before:start].strip()
            assert text[start:end] == text[start:end].strip() != ""
            end_before = end
        assert not text[end_before:].strip()


@given(texts)
def test_paragraphs_hold_all_text(text: str) -> None:
    parts = [text[start:end] for start, end in paragraph_spans(text)]
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(line.strip() for part in parts for line in part.split("\n"))
