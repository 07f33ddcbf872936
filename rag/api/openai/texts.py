"""Texts in the forms that OpenAI's clients send."""

from __future__ import annotations

from typing import Any

TEXT_PARTS = ("text", "input_text", "output_text")
"""Types of the parts that are text; the last two are those of OpenAI's newer API."""


def text_of(content: Any) -> Any:
    """Returns a text unchanged; of a list of parts, their texts, joined by line breaks."""
    if not isinstance(content, list):
        return content
    parts = [p.get("text") for p in content if isinstance(p, dict) and p.get("type") in TEXT_PARTS]
    texts = [text for text in parts if isinstance(text, str)]
    if len(texts) < len(content):
        raise ValueError("it has parts that are no text, and nothing else is read")
    return "\n".join(texts)


def texts_of(value: Any) -> Any:
    """Returns one text or several as a list.

    Raises:
        ValueError: There is none, one is empty, or they are token ids.
    """
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("it is a text or a list of texts; token ids are not read")
    if not texts or not all(texts):
        raise ValueError("it is empty, or one of its texts is")
    return texts


def document_text(value: Any) -> Any:
    """Returns the text of a document to rank, which is a text or an object with a `text`."""
    return value.get("text") if isinstance(value, dict) else value
