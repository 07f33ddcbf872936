"""The key of an answer: a digest of everything that it depends on."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from rag.types import Query, Readers

FORMAT = 1
"""The version of keys and entries; it increases with each change of either."""


@dataclass(frozen=True, slots=True)
class Key:
    """The key of an answer. `group` is that of everything but the question."""

    group: str
    answer: str


def key_of(
    query: Query,
    *,
    version: str,
    words: Readers | None,
    fingerprint: str,
    tags: Collection[str] = (),
) -> Key:
    """Returns the key of a question's answer.

    Args:
        query: The question.
        version: That of the collection's content.
        words: Those of the caller's words that let the caller read something; None: all is read.
        fingerprint: That of the settings.
        tags: Those labels of requests that decide an answer; others do not.
    """
    scope = query.scope
    group = _digest(
        {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "tenant": scope.tenant,
            "collection": scope.collection,
            "version": version,
            "words": None if words is None else sorted(words),
            "top_k": query.top_k,
            "where": sorted(json.dumps(asdict(condition)) for condition in query.where),
            "history": [asdict(message) for message in query.history],
            "sampling": asdict(query.sampling),
            "claims": query.claims,
            "tags": sorted({*query.tags} & {*tags}),
        }
    )
    return Key(group=group, answer=_digest({"group": group, "question": normalised(query.text)}))


def normalised(question: str) -> str:
    """Returns a question with its characters composed (NFC) and single spaces.

    Case and punctuation stay: names are told by their capitals, and identifiers have signs.
    """
    return " ".join(unicodedata.normalize("NFC", question).split())


def _digest(parts: Mapping[str, Any]) -> str:
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
