"""Guesses the language of a text by its function words."""

from __future__ import annotations

import re
from functools import lru_cache

_FUNCTION_WORDS = {
    "en": "the of and to in is that for with are be by this from at an or it must may you your not",
    "de": "der die das und ist nicht ein eine mit von für auf den dem des im zu sind werden wird"
    " bei sie oder auch nur nach bis pro",
    "fr": "le les des et est une dans pour que pas sur du aux avec sont ce cette vous par ou au",
    "es": "el los las y es una en para que no con del por se su al como más son está",
    "it": "il gli e è una di per che non con della del nel sono alla dei si più anche questo",
    "pt": "o os e é uma para que não com da do em por são ao dos das mais se na no",
    "nl": "de het een en van is niet voor met op zijn te dat aan bij worden wordt ook naar deze",
}
_LANGUAGES = {
    word: [language for language, words in _FUNCTION_WORDS.items() if word in words.split()]
    for words in _FUNCTION_WORDS.values()
    for word in words.split()
}
_WORD = re.compile(r"[^\W\d_]+")
READ = 2_000
"""Characters of a text that are read."""


@lru_cache(maxsize=256)
def language_of(text: str) -> str | None:
    """Returns the language, `en`, `de`, `fr`, `es`, `it`, `pt` or `nl`; None if none is likeliest.

    Each function word counts for the languages that have it; the language with most of them is
    likeliest.
    """
    counts = dict.fromkeys(_FUNCTION_WORDS, 0)
    for word in _WORD.findall(text[:READ].lower()):
        for language in _LANGUAGES.get(word, ()):
            counts[language] += 1
    first, second = sorted(counts, key=counts.__getitem__, reverse=True)[:2]
    return first if counts[first] > counts[second] else None
