"""The title of a document is one that a person wrote."""

from __future__ import annotations

import pytest

from ingest.readers.registry import read
from ingest.readers.titles import chosen, is_by_tool


@pytest.mark.parametrize(
    "title",
    [
        "Untitled", "untitled 3", "Untitled document", "Unbenannt", "Sans titre", "Document1",
        "Dokument (2)", "New Page", "PowerPoint Presentation", "Word Document", "Microsoft Word",
        "Microsoft Word - Lease 2023.doc", "report_final.docx", "[Insert title here]", "React App",
    ],
)  # fmt: skip
def test_a_program_wrote_it(title: str) -> None:
    assert is_by_tool(title)


@pytest.mark.parametrize(
    "title",
    ["Returns", "Documents for visitors", "Untitled works of art", "1984", "Excel tips",
     "PEP 8 – Style Guide", "Page numbers", "Node.js", "Presentation of the budget"],
)  # fmt: skip
def test_a_person_wrote_it(title: str) -> None:
    assert not is_by_tool(title)
    assert chosen(title, "", name="a.md") == title
    assert chosen("", title, name="a.md") == title


@pytest.mark.parametrize(
    ("name", "text", "title"),
    [
        ("lease.html", "<html><title>Untitled 2</title><p>Text.", "lease.html"),
        ("lease.html", "<html><title>Document</title><h1>The lease</h1><p>Text.", "The lease"),
        ("lease.md", "---\ntitle: untitled\n---\nText.", "lease.md"),
        ("lease.md", "# Untitled\n\nText.", "lease.md"),
        ("lease.md", "# Template\n\nText.", "Template"),
        ("lease.adoc", "= The lease\n\nText.", "The lease"),
    ],
)
def test_the_titles_of_tools_lose_to_the_name_of_the_file(name: str, text: str, title: str) -> None:
    assert read(text.encode(), id="id", uri="u", name=name).title == title
