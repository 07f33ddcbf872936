"""Splits text into sentences: spans of the original text, never a rewritten copy.

`blocks` follows the lines (see `rag.text.blocks`). `sentence_spans` then cuts each block after the
marks that end a sentence. The text's language is not asked for: the marks, and whether a word is
an abbreviation, are decided by the characters around them.
"""

# ruff: noqa: RUF001 - the marks that end sentences, in their own scripts
from __future__ import annotations

import re
from collections.abc import Iterator

from rag.text.abbreviations import (
    AFTER_ORDINALS,
    BEFORE_NUMBERS,
    BEFORE_ORDINALS,
    NEVER_LAST,
    OPENERS,
    SELDOM_LAST,
    UNITS,
)
from rag.text.blocks import blocks
from rag.text.plain import plain
from rag.types import Span

_CLEAR = "。！？｡।॥။។።։"
"""Marks that end a sentence without a space behind them, and nothing else."""
_STOP = re.compile(rf"[{_CLEAR}.!?…؟۔]+[\"'”’»)\]」』）】*_]*(?:\[\w{{1,4}}\])*(?: »)?|[;\u037e]")
_CLEAR_STOPS = frozenset(_CLEAR)
_QUESTION_IN_GREEK = (";", "\u037e")
_GREEK = re.compile(r"[Ͱ-Ͽἀ-῿]")
_GOES_ON = frozenset("とっのがをはにもでへやだな、，。！？」』）】")
"""Characters behind a closing bracket with which the sentence around it goes on."""
_CLOSED = re.compile(r"[」』）】]\Z")
_WORD_EDGE = re.compile(r"[\s\"'’“”‘«»„()\[\]{}/,;:*`|<>=]")
_SPACED_LETTERS = re.compile(r"(?:(?<!\w)[^\W\d_]\.\s?)+\Z")
_LONGEST_HINDI = 3
"""Characters of Hindi abbreviations; of words with a danda around them, all are."""
_NEAR = 500
_CASED = ("MM", "Mw")
"""Abbreviations that are units in other letter case."""
_LONGEST_WORD = 24
_NEXT_WORD = re.compile(r"\s+(?:[-–—]{1,2}\s)?([\"'“‘«„(\[¿¡]*)(?:« )?(\w*['’.]?)")
_LIST_MARKER = re.compile(r"\(?(?:\d{1,3}|[a-zA-Z]|[IVXLC]{1,6})[.)]+|\.\.")
_LETTERS_AND_DOTS = re.compile(r"(?:[^\W\d_]\.-?)*[^\W\d_]")
_CONSONANTS = re.compile(r"[B-DF-HJ-NP-TV-XZb-df-hj-np-tv-xz][b-df-hj-np-tv-xz]{1,5}")
_DECIMAL = re.compile(r"\s\d+[.,]\d")
_NUMBER = re.compile(r"\d{1,2}|[IVX]{1,5}")
_NUMBER_BEFORE = re.compile(r"(?:\d|\b[IVXLC]+)\s?\Z")
_WORD_BEFORE = re.compile(r"(\w+)\s\Z")
_REST_OF_DATE = re.compile(r"\s\d{1,2}\.(?:\s|\Z)|\s\d{1,2}\.\s?\d")
_DAY_BEFORE = re.compile(r"(?<!\d)\d{1,2}\.\s\Z")
_YEAR = re.compile(r"\s(?:19|20)\d\d(?!\d)")
_DEVANAGARI = re.compile(r"[ऀ-ॿ]\Z")
_THAI = re.compile(r"[ก-๛]")
_THAI_SPACE = re.compile(r"(?<=[ก-๛]) +(?=[ก-๛])")
_THAI_CLAUSE = 20
"""Characters of a Thai clause; a shorter one stays with its neighbour."""
_THAI_GOES_ON = ("และ", "แต่", "หรือ", "ที่", "ซึ่ง", "เพราะ", "โดย", "เพื่อ", "จึง", "ก็", "ว่า", "ๆ", "พ.ศ.")
"""Words with which a Thai sentence goes on behind a space."""


def sentence_spans(text: str) -> list[Span]:
    """Returns the sentences of `text` as (start, end) character offsets.

    They are in text order and do not overlap; together they contain every character that is not
    white space, and none begins or ends with white space.
    """
    spans: list[Span] = []
    text = plain(text)
    thai = _THAI.search(text) is not None
    for start, end, alone in blocks(text):
        spans.extend([(start, end)] if alone else _sentences(text, start, end, thai=thai))
    return spans


def _sentences(text: str, start: int, end: int, *, thai: bool) -> Iterator[Span]:
    """Yields the sentences of one block, which has no white space around it."""
    for stop in _STOP.finditer(text, start, end):
        if stop.start() >= start and stop.end() < end and _ends_sentence(text, start, stop):
            yield from _clauses(text, start, stop.end()) if thai else [(start, stop.end())]
            start = stop.end()
            while text[start].isspace():
                start += 1
    yield from _clauses(text, start, end) if thai else [(start, end)]


def _clauses(text: str, start: int, end: int) -> Iterator[Span]:
    """Yields the clauses of a text in Thai, which has spaces between them and no full stops."""
    for space in _THAI_SPACE.finditer(text, start, end):
        long = space.start() - start >= _THAI_CLAUSE and end - space.end() >= _THAI_CLAUSE
        if long and not text.startswith(_THAI_GOES_ON, space.end()):
            yield start, space.start()
            start = space.end()
    yield start, end


def _ends_sentence(text: str, start: int, stop: re.Match[str]) -> bool:
    """Returns True if the stop, not the last of its block, ends the sentence begun at `start`."""
    if stop[0][0] in _QUESTION_IN_GREEK and not _GREEK.match(text, stop.start() - 1):
        return False
    if not _CLEAR_STOPS.isdisjoint(stop.group()):
        return not (_CLOSED.search(stop.group()) and text[stop.end()] in _GOES_ON)
    following = _NEXT_WORD.match(text, stop.end())
    if following is None or following[2][:1].islower():
        return False
    if _LIST_MARKER.fullmatch(text, start, stop.end()):
        return False
    if stop.group()[0] != "." or stop.group().startswith("..") or following[1][-1:] in ("¿", "¡"):
        return True
    return _full_stop_ends(text, start, stop, following[2])


def _full_stop_ends(text: str, start: int, stop: re.Match[str], following: str) -> bool:
    """Returns True if a full stop ends the sentence; False behind abbreviations and ordinals."""
    behind = text[max(start, stop.start() - _LONGEST_WORD) : stop.start()]
    before, word = _last_word(behind)
    if _THAI.search(behind[-1:]) or (behind[-1:].islower() and _DECIMAL.match(text, stop.end())):
        return False
    if _DEVANAGARI.search(behind):
        return len(word) > _LONGEST_HINDI and not _has_danda(text, stop.start())
    if _NUMBER.fullmatch(word) and _is_ordinal(text, stop.end(), before, following):
        return False
    return _word_ends_sentence(word, before, following)


def _last_word(behind: str) -> tuple[str, str]:
    """Returns the text before the last word, and the word; "z. B" is one word, "z.B"."""
    word = _WORD_EDGE.split(behind)[-1]
    before = behind[: len(behind) - len(word)]
    if len(word) == 1 and (letters := _SPACED_LETTERS.search(before)):
        return before[: letters.start()], "".join(letters[0].split()) + word
    return before, word


def _has_danda(text: str, at: int) -> bool:
    """Returns True if sentences around a place end with a danda, and not with a full stop."""
    return "।" in text[max(0, at - _NEAR) : at + _NEAR]


def _is_ordinal(text: str, end: int, before: str, following: str) -> bool:
    """Returns True if a number with a full stop is an ordinal or a part of a date.

    `before` is the text before it, `end` the place behind the full stop.
    """
    if following[:1].isdigit():
        return bool(
            _REST_OF_DATE.match(text, end)
            or (_DAY_BEFORE.search(before) and _YEAR.match(text, end))
        )
    if following.lower().rstrip(".") in AFTER_ORDINALS:
        return True
    lead = _WORD_BEFORE.search(before)
    led = lead is not None and lead[1].lower() in BEFORE_ORDINALS
    return led and following.lower() not in OPENERS


def _word_ends_sentence(word: str, before: str, following: str) -> bool:
    """Returns True if a full stop after `word` ends the sentence; False for an abbreviation."""
    lowered = word.lower()
    if lowered in NEVER_LAST or word in _CASED:
        return False
    if lowered in BEFORE_NUMBERS and (following[:1].isdigit() or len(lowered) > 1):
        return not following[:1].isdigit()
    if len(word) == 1 and following[:1].isupper() and _NUMBER_BEFORE.search(before):
        return True  # a unit, or "r." for the year
    if lowered in SELDOM_LAST or _LETTERS_AND_DOTS.fullmatch(word) or _looks_cut(word):
        return _opens(following)
    return True


def _looks_cut(word: str) -> bool:
    """Returns True for a word that only an abbreviation can be: without a vowel, and no unit."""
    lowered = word.lower()
    if lowered.endswith("str"):
        return True
    return _CONSONANTS.fullmatch(word) is not None and lowered not in UNITS


def _opens(following: str) -> bool:
    """Returns True for a word, with the sign behind it, that often begins a sentence."""
    return following.lower().replace("’", "'") in OPENERS
