"""The sources of a search or of an answer, as all frameworks get them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

from plumbline_client import Answer, Citation, Filter, Hit, SearchResult


class Within(TypedDict):
    """The collection, filters and number of passages of a search; None: the server's default."""

    collection: str | None
    top_k: int | None
    filters: Sequence[Filter] | None


def sources(found: SearchResult) -> Iterator[tuple[Hit, dict[str, Any]]]:
    """Yields each hit, best first, with its metadata.

    They are the fields of the document's own metadata; `chunk_id`, `document_id`, `title`, `uri`,
    `page` (from 1), `headings`, `start` and `end` (characters of the document's text), `score` and
    `ranks` (from 1, by leg), which prevail over own fields of these names; and in an answer
    `citations`, a list of what it quotes from the hit.
    """
    for hit in found.hits:
        own = hit.model_dump(
            include={
                *("chunk_id", "document_id", "title", "uri", "page", "headings"),
                *("start", "end", "score", "ranks"),
            }
        )
        if isinstance(found, Answer):
            own["citations"] = [
                _quoted(each) for each in found.citations if each.chunk_id == hit.chunk_id
            ]
        yield hit, hit.meta | own


def answered(answer: Answer) -> dict[str, Any]:
    """Returns what is known of an answer besides its text and hits, in JSON's types.

    They are the fields of `/v1/query`. `abstained` tells that there is no answer, and `reason` why.
    """
    return answer.model_dump(mode="json", exclude={"answer", "hits"})


def text_of(answer: Answer) -> str:
    """Returns the answer's text; if there is none, a sentence that says so."""
    if not answer.abstained:
        return answer.answer
    return f"No answer: {(answer.reason or 'abstained').replace('_', ' ')}."


def _quoted(citation: Citation) -> dict[str, Any]:
    return citation.model_dump(include={"marker", "quote", "start", "end", "support"})
