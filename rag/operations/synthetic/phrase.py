"""A generated document of which a question can be asked, and whose answer no other text has."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass

PREFIX = "synthetic-"
_ID = re.compile(rf"{PREFIX}(\d+)-[0-9a-f]{{8}}")
_CONSONANTS, _VOWELS = "bdfgklmnprtv", "aeiou"
_SYLLABLES = 4


@dataclass(frozen=True, slots=True)
class Phrase:
    """A document, a question about it, and the word that the answer has."""

    id: str
    text: str
    question: str
    answer: str


def new_phrase() -> Phrase:
    """Returns a phrase about a place and with a word that were made up now.

    The id has the second in which it was made, so that a later run knows what a dead one left.
    """
    place, answer = _word(), _word()
    return Phrase(
        id=f"{PREFIX}{time.time():.0f}-{secrets.token_hex(4)}",
        text=f"The call sign of the station {place.title()} is {answer.title()}.",
        question=f"What is the call sign of the station {place.title()}?",
        answer=answer.title(),
    )


def age_of(document_id: str) -> float | None:
    """Returns the seconds since a phrase's document was made; None if it is none of a phrase."""
    found = _ID.fullmatch(document_id)
    return time.time() - int(found[1]) if found else None


def _word() -> str:
    pairs = [secrets.choice(_CONSONANTS) + secrets.choice(_VOWELS) for _ in range(_SYLLABLES)]
    return "".join(pairs)
