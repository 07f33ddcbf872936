"""The documents that the frameworks ask about, and what they must find."""

from __future__ import annotations

from typing import Any

from plumbline_client import File, NewDocument

QUESTION = "When does the office close on Fridays?"
UNANSWERABLE = "Who won the chess championship in 1972?"
QUOTE = "On Fridays it closes at four."
TEXT = f"# Handbook\n\n## Opening hours\n\nThe office opens at nine. {QUOTE}\n"
HOURS = File(name="hours.md", content=TEXT.encode(), uri="handbook/hours.md")
GARDEN: NewDocument = {
    "id": "garden",
    "title": "Garden",
    "text": "Tomatoes are sown in March.",
    "meta": {"year": 2020, "title": "of its own, which the document's replaces"},
}


def check_place(metadata: dict[str, Any]) -> None:
    """Checks the metadata of the passage that answers `QUESTION`."""
    assert metadata["document_id"]
    assert metadata["title"] == "Handbook"
    assert metadata["uri"] == "handbook/hours.md"
    assert metadata["headings"] == ["Opening hours"]
    assert metadata["page"] is None
    assert metadata["score"] > 0
    assert 1 in metadata["ranks"].values()
    assert QUOTE in TEXT[metadata["start"] : metadata["end"]]


def check_quote(metadata: dict[str, Any]) -> None:
    """Checks what the answer to `QUESTION` quotes from its passage."""
    (cited,) = metadata["citations"]
    assert cited["quote"] == TEXT[cited["start"] : cited["end"]] == QUOTE
    assert cited["marker"] == 1
    assert 0 < cited["support"] <= 1
