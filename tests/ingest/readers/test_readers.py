# ruff: noqa: RUF001 - text in other scripts
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.readers.registry import read, read_json
from rag.errors import ReadError
from rag.text.uris import document_id
from rag.types import Document
from tests.places import PEPS


def read_as(name: str, data: bytes | str) -> Document:
    raw = data.encode() if isinstance(data, str) else data
    return read(raw, id="id", uri=f"file:{name}", name=name)


def headings(document: Document) -> list[tuple[int, str]]:
    return [(heading.level, heading.text) for heading in document.headings]


def body(document: Document) -> str:
    """The text without furniture."""
    text = document.text
    for start, end in reversed(document.furniture):
        text = text[:start] + text[end:]
    return " ".join(text.split())


def outside_tables(text: str) -> set[str]:
    """The lines that are no rows of a table."""
    return {line for line in text.split("\n") if " | " not in line}


class TestBytes:
    @pytest.mark.parametrize(
        "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"]
    )
    def test_unicode(self, encoding: str) -> None:
        text = "Grüße – a few plain words\nand € signs\n"
        assert read_as("a.txt", text.encode(encoding)).text == text

    @pytest.mark.parametrize(
        ("encoding", "text"),
        [
            ("cp1252", "L’été était très chaud cette année. C’était délicieux !"),
            ("latin-1", "können\nkönnen\näöüß\n"),
            ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy. Děti šly do školy."),
            ("cp1251", "Однажды, в студеную зимнюю пору, я из лесу вышел."),
            ("cp866", "Однажды, в студеную зимнюю пору, я из лесу вышел."),
            ("cp932", "これはテストです。日本語の文章を書いています。"),
            ("gb18030", "这是一个测试。中文文本，用来检查编码。"),
            ("cp949", "이것은 시험입니다. 한국어 문장을 씁니다."),
        ],
    )
    def test_legacy_encodings(self, encoding: str, text: str) -> None:
        assert read_as("a.txt", text.encode(encoding)).text == text

    def test_line_ends_and_control_characters(self) -> None:
        text = "one\r\ntwo\rthree\u2028four and then many more words\x0c\x00\x08 of text" * 9
        assert "\0" not in read_as("a.txt", text.encode("utf-8-sig")).text
        lines = read_as("a.txt", b"one\r\ntwo\rthree\x0cfour").text.split("\n")
        assert lines == ["one", "two", "three", "four"]

    @pytest.mark.parametrize(
        ("data", "what"),
        [
            (b"%PDF-1.7 ...", "PDF"),
            (b"PK\x03\x04....", "zip"),
            (b"\x7fELF\x02", "program"),
            (b"GIF89a", "GIF"),
            (b"ab\0cd\0\0ef", "binary"),
            (b"\x01\x02\x03\x04", "binary"),
            (bytes(range(128, 256)) * 8, "not UTF-8 at byte 0"),
            ("Les élèves étaient là. ".encode() * 20 + b"\xe9t ", "not UTF-8 at byte 540"),
            (b"\xff\xfea", "damaged"),
        ],
    )
    def test_binary_and_damaged_files_are_refused(self, data: bytes, what: str) -> None:
        with pytest.raises(ReadError, match=what):
            read_as("a.txt", data)

    @pytest.mark.parametrize("name", ["a.txt", "a.md", "a.rst", "a.html"])
    @pytest.mark.parametrize("data", [b"", b" \r\n\t\n", b"\xef\xbb\xbf", b"\xff\xfe"])
    def test_blank_files_are_refused(self, name: str, data: bytes) -> None:
        with pytest.raises(ReadError) as caught:
            read_as(name, data)
        assert caught.value.code == "empty_document"

    @given(st.binary())
    def test_any_bytes_become_clean_text_or_a_read_error(self, data: bytes) -> None:
        for name in ("a.txt", "a.html"):
            try:
                text = read_as(name, data).text
            except ReadError:
                continue
            text.encode()
            assert not set(text) & set("\0\r")


class TestNames:
    def test_without_an_extension_it_is_plain_text(self) -> None:
        for name in ("README", "-"):
            document = read_as(name, "Just text.")
            assert (document.media_type, document.title) == ("text/plain", name)

    def test_case_does_not_matter(self) -> None:
        assert read_as("A.MD", "# Hi").media_type == "text/markdown"

    def test_an_unknown_extension_does_not_matter(self) -> None:
        assert read_as("a.docx", "text").media_type == "text/plain"
        assert read_as("a.odd", "text").text == "text"

    def test_the_caller_goes_first(self) -> None:
        document = read(
            b"# Found\n\ntext", id="1", uri="u", name="a.md", title="Given", meta={"a": 1}
        )
        assert (document.title, document.meta) == ("Given", {"a": 1})

    def test_identity(self) -> None:
        assert document_id("file:a") == document_id("file:a") != document_id("file:b")
        version = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
        assert read_as("a.txt", "a").version == version


class TestMarkdown:
    def test_headings(self) -> None:
        document = read_as(
            "a.md",
            "# One `code`\n\ntext\n\nTwo\n---\n\n```\n# not one\n```\n\n"
            "> # quoted\n\n    # code\n\n### Three #\nend",
        )
        assert headings(document) == [(1, "One code"), (2, "Two"), (3, "Three")]
        assert document.title == "One code"
        assert body(document) == "text ``` # not one ``` > # quoted # code end"

    def test_front_matter(self) -> None:
        document = read_as(
            "a.md",
            '---\ntitle: "A title"\nlast-edited: 2001-07-05\ntags:\n  - a\n  - b\n---\n# H\ntext',
        )
        assert document.title == "A title"
        assert document.meta == {
            "title": "A title",
            "last_edited": "2001-07-05",
            "tags": ("a", "b"),
        }
        assert headings(document) == [(1, "H")]
        assert body(document) == "text"

    def test_front_matter_has_types(self) -> None:
        front = (
            "at: 12:30\nlang: NO\nno: 0123\nv: 1.10\ntitle: True\n"
            "year: 2021\nscore: 3.5\npublic: true\ntags: [boat, 7]\nversion: '1.10'\nowner:\n  a: b"
        )
        document = read_as("a.md", f"---\n{front}\nempty:\n---\ntext")
        assert document.meta == {
            "at": "12:30", "lang": "NO", "no": "0123", "v": "1.10", "title": "True",
            "year": 2021, "score": 3.5, "public": True, "tags": ("boat", 7), "version": "1.10",
            "owner": "a: b",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "field",
        ["a: &a [x, x]\nb: *a", "a: .inf", "a: 1e999", "a: [[x]]", "a: {b: 1}", "a: [unclosed"],
    )
    def test_what_yaml_cannot_say_plainly_stays_text(self, field: str) -> None:
        meta = read_as("a.md", f"---\n{field}\n---\ntext").meta
        assert meta
        assert all(isinstance(value, str) for value in meta.values())

    def test_a_thematic_break_is_no_front_matter(self) -> None:
        document = read_as("a.md", "---\n\nSome prose here.\n\n---\n\nMore.")
        assert document.meta == {}
        assert document.furniture == ()


class TestRst:
    def test_levels_follow_the_order_of_styles(self) -> None:
        document = read_as(
            "a.rst",
            "====\nDoc\n====\n\nA\n=\n\nB\n-\n\n:pep:`8` and ``x``\n~~~~~~~~~~~~~~~~~~\n\nC\n=",
        )
        assert headings(document) == [(1, "Doc"), (2, "A"), (3, "B"), (4, "8 and x"), (2, "C")]
        assert document.title == "Doc"
        assert body(document) == ""

    @pytest.mark.parametrize(
        "text",
        [
            "Too long for it\n=====\n",
            "text\n\n--------\n\ntext",
            "Two lines of\nparagraph\n---------\n",
            "::\n\n    Indented\n    ========\n",
            "===  ===\nA    B\n===  ===\nx    y\n\nInput\n-----\n\n1    2\n===  ===\n",
            "+---+\n| A |\n+---+\n",
            ">>> print(2)\n------------\n",
            "- item\n-------\n",
            "========\nOverline\n",
            "語語語語\n=====\n",
        ],
    )
    def test_what_only_looks_like_a_title(self, text: str) -> None:
        assert headings(read_as("a.rst", text)) == []

    def test_titles_after_tables_and_wide_titles(self) -> None:
        document = read_as("a.rst", "== ==\nA  B\n== ==\n\nReal\n----\n\n語語\n----\n")
        assert headings(document) == [(1, "Real"), (1, "語語")]

    def test_field_list_below_the_title(self) -> None:
        document = read_as(
            "a.rst", "Doc\n===\n\n:Author: Me\n:Date: 2020-02-03\n:Last-Edit: a\n   b\n\nText."
        )
        assert document.meta == {"author": "Me", "date": "2020-02-03", "last_edit": "a b"}
        assert body(document) == "Text."

    def test_one_note_at_the_top_is_prose(self) -> None:
        document = read_as("a.rst", "Note: this is prose.\n\nMore.")
        assert document.meta == {}
        assert body(document) == "Note: this is prose. More."


class TestPeps:
    @pytest.fixture
    def pep8(self) -> Document:
        return read_as("pep-0008.rst", (PEPS / "pep-0008.rst").read_bytes())

    def test_title_and_header(self, pep8: Document) -> None:
        assert pep8.title == "PEP 8 – Style Guide for Python Code"
        assert pep8.meta["created"] == "2001-07-05"
        assert pep8.meta["post_history"] == "05-Jul-2001, 01-Aug-2013"
        assert str(pep8.meta["author"]).endswith("Alyssa Coghlan <ncoghlan@gmail.com>")

    def test_headings(self, pep8: Document) -> None:
        found = headings(pep8)
        assert found[0] == (1, "Introduction")
        assert (2, "Maximum Line Length") in found
        assert (3, "Function and Variable Names") in found
        assert body(pep8).startswith("This document gives coding conventions")

    def test_all_examples(self) -> None:
        paths = sorted(PEPS.glob("*.rst"))
        assert len(paths) == 40
        for path in paths:
            document = read_as(path.name, path.read_bytes())
            assert document.title.startswith(f"PEP {int(path.stem[4:])} – ")
            source = path.read_text(encoding="utf-8")
            assert all(line in source for line in outside_tables(document.text))
            assert document.text == source or " | " in document.text
            assert document.headings
            assert "public domain" in " ".join(document.text.split()).lower()


PAGE = """<!DOCTYPE html><html><head><title>The &amp; title</title>
<meta name="author" content="Someone"><meta name="date" content="2020-01-02">
<script>var evil = 1</script><style>p {}</style></head>
<body><nav><a>Home</a></nav><h1>First <b>heading</b></h1>
<p>One   two<br>three &lt;four&gt;</p>
<ul><li>a</li><li><p>b</p></li></ul>
<table><tr><th>X</th><th>Y</th></tr><tr><td>1</td><td></td><td><p>3</p></td></tr></table>
<pre>
def f():
    <b>return</b> 1
</pre>
<h2></h2><h2>Second</h2>tail<aside>ad</aside><footer>foot</footer></body></html>"""


class TestHtml:
    def test_a_page(self) -> None:
        document = read_as("a.html", PAGE)
        assert document.title == "The & title"
        assert document.meta == {"author": "Someone", "date": "2020-01-02"}
        assert headings(document) == [(1, "First heading"), (2, "Second")]
        for heading in document.headings:
            assert document.text.startswith(heading.text, heading.start)
        assert [line for line in document.text.split("\n") if line] == [
            "First heading", "One two", "three <four>", "- a", "- b", "X | Y", "1 |  | 3",
            "def f():", "    return 1", "Second", "tail", "ad",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "data",
        [
            b'<meta charset="windows-1252"><p>caf\xe9 \x80',
            b'<meta http-equiv="X" content="text/html; charset=iso-8859-1"><p>caf\xe9 \x80',
            '<meta charset="latin-1"><p>café €'.encode(),
            "<p>café €".encode("utf-16"),
        ],
    )
    def test_encodings(self, data: bytes) -> None:
        assert read_as("a.html", data).text == "café €"

    def test_tables_that_lay_out_a_page_are_not_rows(self) -> None:
        column = "A sentence of a column. " * 30
        document = read_as("a.html", f"<table><tr><td>{column}<td><h2>H</h2>Text<br>more</table>")
        assert headings(document) == [(2, "H")]
        assert " | " not in document.text
        assert document.text.endswith("H\n\nText\nmore")

    def test_a_page_inside_a_form_is_kept(self) -> None:
        page = "<body><form><p>The whole page is here.</p><select><option>x</select></form></body>"
        assert read_as("a.html", page).text == "The whole page is here."

    def test_a_page_of_boilerplate_alone_is_kept(self) -> None:
        assert read_as("a.html", "<footer>All there is</footer>").text == "All there is"

    def test_deep_nesting(self) -> None:
        assert read_as("a.html", "<div>" * 5000 + "deep").text == "deep"
        for attack in ("<div>", "<DIV></b>", "<b><p>", "<x><y>"):
            with pytest.raises(ReadError, match="open at once"):
                read_as("a.html", attack * 50_000)

    @given(st.text(alphabet="<>/ab \n&;", max_size=60) | st.text())
    def test_headings_stand_where_they_say(self, text: str) -> None:
        document = read_as(
            "a.html", f"<h1>x{text}</h1>{text}<h2>y</h2><li><h3>z".encode("utf-8-sig")
        )
        for heading, (start, end) in zip(document.headings, document.furniture, strict=True):
            assert document.text[start:end] == heading.text
            assert start == heading.start


class TestJson:
    def read(self, **fields: object) -> Document:
        return read_json(json.dumps(fields).encode(), id="i", uri="api://c/the-name")

    def test_fields(self) -> None:
        document = self.read(title="T", text="# a\r\nb", meta={"n": 1, "tags": ["a", "b"]})
        assert (document.title, document.text, document.headings) == ("T", "# a\r\nb", ())
        assert document.meta == {"n": 1, "tags": ("a", "b")}
        assert document.media_type == "text/plain"

    def test_title_falls_back(self) -> None:
        assert self.read(text="First line\nsecond").title == "First line"
        assert self.read(title=None, text="x" * 100).title == "x" * 80
        assert self.read(text="\n\nsecond").title == "the-name"

    def test_the_text_is_kept_as_it_is(self) -> None:
        text = "\ufeff One\r\ntwo\x0b\x1b\x85\u2028 e\u0301 \ufeff end \r"
        assert self.read(text=text).text == text
        assert self.read(text=text).title == "One"

    @pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
    def test_what_cannot_be_stored_is_refused(self, text: str) -> None:
        with pytest.raises(ReadError, match="the-name: its text holds a NUL or half a character"):
            self.read(text=text)

    @pytest.mark.parametrize(
        "data",
        [b"{", b"[]", b"{}", b'{"text": 1}', b'{"text": "a", "title": 1}', b"[" * 100_000,
         b'{"text": "a", "meta": {"k": {}}}', b'{"text": "a", "meta": []}', b"\xff"],
    )  # fmt: skip
    def test_what_is_not_a_document_is_refused(self, data: bytes) -> None:
        with pytest.raises(ReadError):
            read_json(data, id="i", uri="u")

    def test_blank(self) -> None:
        with pytest.raises(ReadError) as caught:
            self.read(text=" \ufeff\r\n")
        assert caught.value.code == "empty_document"
