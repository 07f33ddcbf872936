from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from generation.grounding.citations import CitationChecker
from generation.sanitizing import REMOVED, SafeText, addresses
from rag.types import Hit
from tests.fakes import CharacterSupport, make_chunk

HITS = [
    Hit(
        chunk=make_chunk(
            "See https://good.example/a_(b). <b>Bold</b> ![x](http://pixel.example/1)",
            uri="https://docs.example/page",
        ),
        score=1.0,
        source="fused",
        ranks={},
    )
]
EVIL = "http://evil.example/?q=what+was+asked"


def safe(text: str, size: int = 10_000) -> str:
    screen = SafeText(addresses(HITS))
    pieces = [screen.feed(text[i : i + size]) for i in range(0, len(text), size)]
    return "".join([*pieces, screen.finish()])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"![x]({EVIL})", f"![x] ({REMOVED})"),
        (f"[click]({EVIL}) now", f"[click] ({REMOVED}) now"),
        (f"[1]: {EVIL}", f"[1] : {REMOVED}"),
        ("[click](javascript:alert(1))", "[click] (javascript:alert(1))"),
        ("[click](//evil.example)", "[click] (//evil.example)"),
        (f"Go to {EVIL}.", f"Go to {REMOVED}."),
        ("Go to WWW.evil.example, now", f"Go to {REMOVED}, now"),
        (f"<img src='{EVIL}'>", f"&lt;img src='{REMOVED}'>"),
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("<!-- x --> <?php", "&lt;!-- x --> &lt;?php"),
        (f"<{EVIL}>", f"&lt;{REMOVED}>"),
        ("![x](http://pixel.example/1)", "![x] (http://pixel.example/1)"),
        ("https://good.example/a_(b) and", "https://good.example/a_(b) and"),
        (f"`x {EVIL}`y [9]", f"`x {REMOVED}`y [9]"),
        ("https://docs.example/page.", "https://docs.example/page."),
        ("https://docs.example/page?q=1", REMOVED),
        ("a < b and 1<2, x[0] [1][2] (so), http and www", None),
        ("It ends with h", None),
        ("It ends with <", None),
    ],
)
def test_tags_images_and_strange_links_are_neutralised(text: str, expected: str | None) -> None:
    assert safe(text) == (text if expected is None else expected)


PARTS = st.lists(
    st.sampled_from([EVIL, "https://docs.example/page", "javascript:a()"])
    | st.sampled_from(["![x]", "[x]", "[1]: ", "![", "(", ")", "]", ":", "!", " ", "\n", "\n\n"])
    | st.sampled_from(["<", "img src=", "/b>", "http", "://", "www", ".", "x", "w", "h"])
).map("".join)


@given(PARTS, st.integers(1, 7))
def test_pieces_make_no_difference(text: str, size: int) -> None:
    assert safe(text, size) == safe(text)


@given(PARTS)
def test_what_comes_out_renders_without_images_tags_and_strange_links(text: str) -> None:
    blocks = MarkdownIt("commonmark").parse(safe(text))
    kinds = {token.type for block in blocks for token in [block, *(block.children or [])]}
    assert kinds.isdisjoint({"image", "link_open", "html_inline", "html_block"})
    assert "evil.example" not in safe(text)


MARKED = st.lists(
    st.sampled_from(["<", "img src=", "[x]", "(", ":", "http", "://evil.example", "www", ".evil"])
    | st.sampled_from(["[9]", " [9]", "[9, 8]", "`", "\n\n", "![x]"])
).map("".join)


@given(MARKED)
def test_taking_out_a_marker_leaves_nothing_live(text: str) -> None:
    checker = CitationChecker(HITS, CharacterSupport())
    events = [*asyncio.run(checker.feed(text)), *checker.finish()]
    rendered = safe("".join(event for event in events if isinstance(event, str)))
    assert rendered == safe(rendered)
    assert not re.search(r"<img|\]\(|\]:|http://evil|www\.evil", rendered)


def test_a_long_address_is_not_held_back_for_ever() -> None:
    screen = SafeText(addresses(HITS))
    out = screen.feed("http://" + "a" * 5000)
    assert out.startswith(REMOVED)
