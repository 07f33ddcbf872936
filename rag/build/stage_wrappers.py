"""Wrappers of a question's stages, with which evaluation caches what they return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from generation.grounding.answerability import Finder
    from rag.protocols import Embedder, Reranker, Retriever, StoredIndex, TokenEmbedder


def _same(stage: Any, _index: StoredIndex) -> Any:
    return stage


@dataclass(frozen=True, slots=True, kw_only=True)
class StageWrappers:
    """Wrappers of a question's stages: each takes a stage and returns its replacement.

    The index is the one that all stages use. The embedder is the retriever's, and embeds questions;
    the token embedder is shared by everything that compares token vectors.
    """

    tokens: Callable[[TokenEmbedder, StoredIndex], TokenEmbedder] = _same
    embedder: Callable[[Embedder, StoredIndex], Embedder] = _same
    reranker: Callable[[Reranker, StoredIndex], Reranker] = _same
    retriever: Callable[[Retriever, StoredIndex], Retriever] = _same
    finder: Callable[[Finder, StoredIndex], Finder] = _same


UNWRAPPED = StageWrappers()
