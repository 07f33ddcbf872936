"""Text of a conversation by mail that is not its last word: quotations, and what a reply overtook.

The reader puts quoted messages and signatures below headings of their own. They are found like any
other text, and come after what is new.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from rag.text.sentences import sentence_spans
from rag.types import Chunk, Hit

QUOTED, SIGNATURE = "Quoted message", "Signature of the mail"
"""Beginnings of the headings above such text."""
_REPLY = re.compile(
    r"\s*(?:(?:re|aw|antw|antwort|sv|vs|odp|ynt|rif|res|ref|tr|fw|fwd|wg|rv|enc|vb|doorst|pd|i"
    r"|回复|回覆|转发|轉寄|返信)\s*(?:\[\d+\])?\s*[:：]\s*)+",
    re.IGNORECASE,
)


_WORD = re.compile(r"\w+")
_SHARED_WORDS, _SHARE = 3, 0.5
"""Words, and their share of the shorter sentence, that two sentences about one thing share."""
_NAME_CHARS = 3


def is_quoted(chunk: Chunk) -> bool:
    """True if a chunk is of a quoted message or a signature."""
    return any(heading.startswith((QUOTED, SIGNATURE)) for heading in chunk.headings)


def quoted_last(hits: Sequence[Hit]) -> list[Hit]:
    """Returns hits in their order, but each quoted one below the new text of its conversation."""
    if not any(is_quoted(hit.chunk) for hit in hits):
        return list(hits)
    last = {_subject(h.chunk): place for place, h in enumerate(hits) if not is_quoted(h.chunk)}

    def place_of(item: tuple[int, Hit]) -> tuple[int, bool]:
        place, hit = item
        if not is_quoted(hit.chunk):
            return place, False
        return max(place, last.get(_subject(hit.chunk), place)), True

    return [hit for _, hit in sorted(enumerate(hits), key=place_of)]


class Overtaken:
    """The sentences of chunks that a reply by mail, itself among the chunks, says otherwise.

    The reply is of the same conversation, was sent later, and has a sentence with most of their
    words and all that the question asks about. A question that names the sender of the earlier
    message is about what that person said.
    """

    def __init__(self, question: str, chunks: Sequence[Chunk]) -> None:
        """Take the chunks that answer a question."""
        self._chunks = chunks
        self._asked = _content(question)
        replies = [c for c in chunks if _REPLY.match(c.title) and not is_quoted(c) and _sent(c)]
        self._later = {
            place: [words for reply in replies if _is_later(reply, chunk) for words in _said(reply)]
            for place, chunk in enumerate(chunks)
            if replies and not _names_sender(question, chunk)
        }

    def __contains__(self, sentence: tuple[int, int, int]) -> bool:
        """True of a chunk's place, and the start and end of a sentence in its text."""
        place, start, end = sentence
        later = self._later.get(place)
        if not later:
            return False
        words = _words(self._chunks[place].text[start:end])
        asked = words & self._asked
        return any(asked <= new and _differ(words, new) for new in later)


def _is_later(reply: Chunk, chunk: Chunk) -> bool:
    sent, before = _sent(reply), _sent(chunk)
    if sent is None or before is None or _subject(reply) != _subject(chunk):
        return False
    return is_quoted(chunk) or before < sent


def _said(chunk: Chunk) -> list[frozenset[str]]:
    return [_words(chunk.text[start:end]) for start, end in sentence_spans(chunk.text)]


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold()))


def _content(text: str) -> frozenset[str]:
    """Returns the words that say what a question is about: long ones, and those with digits."""
    return frozenset(
        word for word in _words(text) if len(word) > _NAME_CHARS or any(map(str.isdigit, word))
    )


def _differ(old: frozenset[str], new: frozenset[str]) -> bool:
    shared = len(old & new)
    return not old <= new and shared >= max(_SHARED_WORDS, _SHARE * min(len(old), len(new)))


def _names_sender(question: str, chunk: Chunk) -> bool:
    if is_quoted(chunk):
        return False
    names = _WORD.findall(str(chunk.meta.get("author", "")).partition("<")[0].casefold())
    asked = _words(question)
    return any(len(name) >= _NAME_CHARS and name in asked for name in names)


def _sent(chunk: Chunk) -> datetime | None:
    sent = chunk.meta.get("sent")
    try:
        moment = datetime.fromisoformat(sent) if isinstance(sent, str) else None
    except ValueError:  # a field of the user's own
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC) if moment else None


def _subject(chunk: Chunk) -> str:
    reply = _REPLY.match(chunk.title)
    return chunk.title[reply.end() if reply else 0 :].strip().casefold()
