"""Why a question stays without an answer, in words for people."""

from __future__ import annotations

from collections.abc import Mapping

from rag.types import Reason

REASONS: Mapping[Reason, str] = {
    "no_documents": "the collection has nothing that fits",
    "no_match": "no passage speaks of it",
    "weak_evidence": "the passages found do not carry an answer",
}
