"""What nobody sees is left out and counted; what everybody sees is kept."""

from __future__ import annotations

import pytest

from ingest.readers.options import ReadOptions
from ingest.readers.registry import read
from rag.types import Document
from tests.places import DATA


def read_as(name: str, text: str, *, hidden: bool = False) -> Document:
    options = ReadOptions(hidden=hidden)
    return read(text.encode(), id="id", uri=f"file:{name}", name=name, options=options)


def words(document: Document) -> str:
    return " ".join(document.text.split())


def test_a_page_is_read_as_it_is_shown() -> None:
    page = (DATA / "cases" / "03" / "page.html").read_text()
    document = read_as("page.html", page)
    assert words(document) == (
        "Returns Goods may be returned within 30 days. Exceptions Perishable goods cannot be"
        " returned. Gift cards are never refunded. RMA Return merchandise authorisation."
    )
    assert document.meta["notes"] == ("Left out: 6 hidden elements.",)
    everything = read_as("page.html", page, hidden=True)
    assert "365 days" in everything.text
    assert "two minutes" in everything.text
    assert "notes" not in everything.meta


@pytest.mark.parametrize(
    ("page", "seen"),
    [
        ("<p>a<p style='DISPLAY : none !important'>b", "a"),
        ("<p>a<p style='visibility:collapse;color:red'>b", "a"),
        ("<p>a<span style='font-size:0px'>b</span>", "a"),
        ("<p>a<p style='font-size:0.9em'>b", "a b"),
        ("<p>a<!-- b --><p hidden=until-found>c", "a c"),
        ("<p>a<dialog>b</dialog><dialog open>c</dialog>", "a c"),
        ("<div style='font-size:0'>a <b style='font-size:12px'>b</b></div>", "a b"),
        ("<div style='visibility:hidden'><p>a<p style='visibility:visible'>b</div>", "a b"),
        ("<style>.x,.y{color:red;display:none}</style><p class=x>a<p class='z y'>b<p>c", "c"),
        ("<style>/* .x{display:none} */ .y{display:none}</style><p class=x>a", "a"),
        ("<style>.x{display:none} p.x{display:block}</style><p class=x>a", "a"),
        ("<style>p.x{display:none} .x{display:block}</style><p class=x>a<p>b", "b"),
        ("<style>.x{display:none!important}</style><p class=x style='display:block'>a<p>b", "b"),
        ("<style>.x{display:none}</style><p class=x style='display:block'>a", "a"),
        ("<style>@media print{.x{display:none}}</style><p class=x>a", "a"),
        ("<style>@media screen{.x{display:none}}</style><p class=x>a<p>b", "b"),
        ("<style>@media (max-width:9em){.x{display:none}}</style><p class=x>a", "a"),
        ("<style>body{visibility:hidden}</style><p>a", "a"),
        ("<style>.x::before{display:none} .x:hover{display:none}</style><p class=x>a", "a"),
        ("<style>.x{display:none</style><p class=x>a", "a"),
        ("<aside>a</aside><div class=note>b</div><details><summary>c</summary>d</details>",
         "a b c d"),
        ("<p>a<svg><text>b</text></svg><template>c</template><nav>d</nav>", "a"),
    ],
)  # fmt: skip
def test_a_style_or_attribute_hides(page: str, seen: str) -> None:
    assert words(read_as("a.html", f"<!DOCTYPE html><html><body>{page}</body></html>")) == seen


@pytest.mark.parametrize(
    ("text", "seen", "note"),
    [
        ("a <!-- b\n\nc --> d", "a d", "1 comment"),
        ("a <!-- b --> c <!-- d -->", "a c", "2 comments"),
        ("a\n\n[//]: # (b c)\n[comment]: <> \"d\"\n\ne", "a e", "2 comments"),
        ("a <span style='display:none'>b <span>c</span></span> d", "a d", "1 hidden element"),
        ("a\n\n<div hidden>\n\n# b\n\n</div>\n\nc <!-- d -->", "a c",
         "1 hidden element and 1 comment"),
        ("| a | b <!-- c --> |\n|---|---|\n| 1 | 2 |", "a | b 1 | 2", "1 comment"),
    ],
)  # fmt: skip
def test_comments_and_hidden_html_of_markdown_are_left_out(text: str, seen: str, note: str) -> None:
    document = read_as("a.md", text)
    assert words(document) == seen
    assert document.meta["notes"] == (f"Left out: {note}.",)
    everything = read_as("a.md", text, hidden=True)
    assert "notes" not in everything.meta
    assert everything.text == text or everything.tables


@pytest.mark.parametrize(
    "text",
    [
        "`<!-- a -->` and ``<p hidden>`b`</p>``",
        "```html\n<!-- a -->\n<p hidden>b</p>\n```\n",
        "    <!-- code -->\n",
        "a <!-- never closed",
        "<div hidden> never closed",
        "[a]: # 'b' and more",
        "<aside>a</aside>\n\n> **Note** b\n\n<details><summary>c</summary>d</details>",
    ],
)
def test_code_and_what_is_shown_stay_in_markdown(text: str) -> None:
    document = read_as("a.md", text)
    assert document.text == text
    assert "notes" not in document.meta


def test_headings_stand_where_they_say_after_cuts() -> None:
    document = read_as("a.md", "# A <!-- x -->\n\n<!-- y -->\nText.\n\nB\n---\n<!-- z -->\n# C\n")
    for heading, (start, end) in zip(document.headings, document.furniture, strict=True):
        assert heading.start == start
        assert document.text[start:end].lstrip("# ").startswith(heading.text)
    assert [heading.text for heading in document.headings] == ["A", "B", "C"]


def test_comments_of_asciidoc_are_left_out() -> None:
    text = "= T\n\n// a\nb\n\n////\nc\n////\n\n== D\n\n----\n// code\n----\n"
    document = read_as("a.adoc", text)
    assert words(document) == "= T b == D ---- // code ----"
    assert document.meta["notes"] == ("Left out: 2 comments.",)
    assert [(h.level, h.text) for h in document.headings] == [(1, "T"), (2, "D")]
    assert read_as("a.adoc", text, hidden=True).text == text
