from dataclasses import replace

import pytest

from generation.grounding.units import units
from rag.types import Chunk

CHUNK = Chunk(
    id="c", document_id="d", version="v", position=0, text="", start=0, end=0, title="T", uri="u"
)


def answers(text: str, *headings: str) -> list[str]:
    chunk = replace(CHUNK, text=text, headings=headings)
    return [text[u.start : u.end] for u in units(chunk) if u.answers]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Rules\n\nNo smoking.", ["No smoking."]),
        ("Rules\n\nNo smoking.", ["No smoking."]),  # the path above it has this line
        ("The code is:\n\nIt is 4711.", ["The code is:\n\nIt is 4711."]),
        ("Bring:\n- a cup\n- tea", ["- a cup", "- tea"]),
        ("Fees:\n\nItem | Fee\nRope | 4\nHook | 3", ["Rope | 4", "Hook | 3"]),
        ("| Item | Fee |\n|---|---|\n| Rope | 4 |", ["| Rope | 4 |"]),
        ("It ends so:", ["It ends so:"]),  # nothing follows
    ],
)
def test_headings_headers_and_lead_ins_answer_nothing(text: str, expected: list[str]) -> None:
    assert answers(text, "Rules") == expected


def test_a_title_that_is_the_whole_text_or_its_first_sentence_answers() -> None:
    for text in ("Opening hours 9 to 5", "Watt was born in 1736.\n\nHe died in 1819."):
        title = text.splitlines()[0]
        first = units(replace(CHUNK, text=text, title=title))[0]
        assert (text[first.start : first.end], first.answers) == (title, True)


def test_items_and_rows_are_read_with_what_stands_above_them() -> None:
    text = "See it all. Fees are:\n\nItem | Fee\nRope | 4\n\nBring:\n- a cup\n- tea"
    found = {text[u.start : u.end]: u for u in units(replace(CHUNK, text=text))}
    assert [text[a:b] for a, b in found["Rope | 4"].context] == ["Fees are:", "Item | Fee"]
    assert [text[a:b] for a, b in found["- tea"].context] == ["Bring:"]
    listing = found["- tea"].listing
    assert listing is not None
    assert text[listing.start : listing.items[-1][1]] == "Bring:\n- a cup\n- tea"


def test_a_chunk_inside_a_table_has_its_header_before_its_text() -> None:
    header = "Item | Fee"
    chunk = replace(CHUNK, text="Rope | 4", start=50, headings=("Fees", header))
    (unit,) = units(chunk)
    ((start, end),) = unit.context
    assert ("Fees > " + header + "\n")[start:end] == header


@pytest.mark.parametrize(
    "text",
    [
        "Items:\n\n" + "- item\n" * 100_000,
        "a | b\n" + "1 | 2\n" * 100_000,
        "```\na | b\nc | d\n```\n\n" * 20_000,
        " | ".join(["c"] * 100_000) + "\n" + " | ".join(["1"] * 100_000),
        "\u202ea\u202d " * 200_000,
        "x:\n\n" * 100_000,
        "|" * 500_000,
    ],
    ids=["items", "rows", "fences", "columns", "bidi", "leads", "pipes"],
)
def test_large_texts_are_divided_in_linear_time(text: str) -> None:
    found = units(replace(CHUNK, text=text))
    end = 0
    for unit in found:
        assert unit.start < unit.end <= len(text)
        assert unit.end > end
        end = unit.end
    assert end == len(text.rstrip())
