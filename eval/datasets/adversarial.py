"""Makes claims that are nearly what a collection's documents say, and wrong.

Each has one change whose kind is known, so nobody has to judge whether the claim is supported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Literal

from eval.datasets.claims import DIGITS, NEGATION, SPELLED, SPELLED_NUMBERS, VERB, other_digits
from eval.datasets.claims import negate as negated
from eval.datasets.statements import Statement
from rag.text.dates import DATE, MONTHS, YEAR
from rag.text.languages import language_of
from rag.text.stated_figures import missing_figures

Change = Literal[
    "number",
    "number of its passage",
    "unit",
    "date",
    "name of its passage",
    "name of another document",
    "negation added",
    "negation left out",
    "row",
    "merged",
    "elsewhere",
]
"""The reason why a claim is unsupported.

A `number`, `unit` or `date` is one that no passage of the evidence has. A `row` has the value of
another row of its table, `merged` is the subject of one document with the fact of another.
`elsewhere` is true, and its document is not among the evidence.
"""

TRIES = 20
LONGEST_SUBJECT = 60

_DAY = re.compile(rf"{DATE}|(?i:\b(?:{'|'.join(MONTHS)})\.? {YEAR}\b)")
_RUN = re.compile(r"\d+")
_YEAR_DIGITS = 4
_MOST_YEARS = 9
_OTHER_UNITS = {
    "£": "€", "€": "$", "$": "£",
    "second": "minute", "minute": "hour", "hour": "day", "day": "week", "week": "month",
    "month": "year", "year": "month", "Sekunde": "Minute", "Minute": "Stunde", "Stunde": "Woche",
    "Woche": "Stunde",
    "km": "miles", "m": "ft", "cm": "mm", "mm": "cm", "kg": "lb", "g": "kg", "KB": "MB",
    "MB": "GB", "GB": "MB", "TB": "GB", "kW": "MW", "V": "A", "A": "V", "°C": "°F",
}  # fmt: skip
"""Another unit for each, in singular, of signs, English and German words."""
_PLURALS = {
    **{f"{one}s": f"{other}s" for one, other in _OTHER_UNITS.items()
       if one.isalpha() and one.islower() and len(one) > 2},  # noqa: PLR2004 - no symbols
    "Sekunden": "Minuten", "Minuten": "Stunden", "Stunden": "Wochen", "Wochen": "Stunden",
    "Tage": "Wochen", "Tagen": "Wochen", "Monate": "Jahre", "Monaten": "Jahren", "Jahre": "Monate",
    "Jahren": "Monaten", "metres": "feet", "pounds": "euros", "euros": "dollars",
}  # fmt: skip
_UNITS: Mapping[str, str] = _OTHER_UNITS | _PLURALS
_SIGNS = "£€$"
_NUMBER_WORDS = "|".join(SPELLED_NUMBERS)
_UNIT = re.compile(
    rf"[{_SIGNS}](?=\d)|(?:(?<=\d)|(?<=\d[ -])|(?<=[a-z][ -]))"
    rf"(?:{'|'.join(re.escape(u) for u in sorted(_UNITS, key=len, reverse=True))})(?!\w)"
)
_AFTER_NUMBER = re.compile(rf"(?:\d|\b(?:{_NUMBER_WORDS}))[ -]?\Z", re.IGNORECASE)

_CAPITALS = re.compile(r"(?<![\w-])[A-Z][\w-]*[^\W\d_](?: [A-Z][\w-]*[^\W\d_])*(?![\w-])")
_WORD_BEFORE = re.compile(r"[^\W\d_] \Z")
_NO_NAMES = MONTHS.keys() | {
    *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    *("must", "should", "shall", "may", "not", "required", "recommended", "optional"),
}
"""Words with a capital that are no names: also those of RFC 2119."""
_WHOLE = {"won't": "will not", "can't": "can not", "cannot": "can not"}
"""Verbs from which a negation cannot be left out as they are."""
_CONTRACTED = re.compile("|".join(_WHOLE), re.IGNORECASE)
_NOT_ONLY = re.compile(r"\bnot (?:only|just|merely)\b|\bor not\b", re.IGNORECASE)
_WORD = re.compile(r"\w+")
_PARTS = re.compile(
    rf"(?P<subject>(?:(?!\b(?:that|which|who|where)\b)[^,;:()]){{3,{LONGEST_SUBJECT}}}?)"
    rf" (?P<fact>(?P<verb>{VERB})\b.*)"
)
_NO_SUBJECT = re.compile(
    r"(?:It|This|That|These|Those|They|There|He|She|We|I|You|If|When|While|As|Since|Because|What"
    r"|Which|Who|How|Where|Why|Although|Unless|Until|After|Before|Once|But|And|So|Or|In|For|On|At"
    r"|To|By|With|Due|Either|Some|Many|Most|Any|Such)\b"
)
"""A beginning of a sentence that names no certain subject."""


def changed(
    statement: Statement, evidence: Sequence[str], other_names: Sequence[str], random: Random
) -> Iterator[tuple[Change, str]]:
    """Yields the wrong claims of a statement that its own evidence is compared with.

    Names, and numbers of the passage, replace those of sentences alone: in a row they might make
    another row.

    Args:
        statement: the statement that is changed.
        evidence: the texts of the passages.
        other_names: names of other documents.
        random: chooses what is changed.
    """
    sentence = statement.sentence
    passage = statement.passage if statement.other_row is None else ""
    own = names_of(passage)

    def new(claim: str) -> bool:
        return states_new_figure(claim, sentence, evidence)

    made: list[tuple[Change, str | None]] = [
        ("number", change_number(sentence, new, random)),
        ("number of its passage", swap_number(sentence, passage, random)),
        ("unit", change_unit(sentence, new, random)),
        ("date", change_date(sentence, new, random)),
        ("name of its passage", swap_name(sentence, own, own, random)),
        ("name of another document", swap_name(sentence, own, other_names, random)),
        (negation_kind(sentence), negate(sentence, random)),
        ("row", statement.other_row),
    ]
    yield from ((kind, claim) for kind, claim in made if claim)


def states_new_figure(claim: str, original: str, evidence: Sequence[str]) -> bool:
    """True if the claim has more figures that none of the texts has than the original."""
    return len(missing_figures(claim, evidence)) > len(missing_figures(original, evidence))


def change_number(sentence: str, new: Callable[[str], bool], random: Random) -> str | None:
    """Returns the sentence with another number, for which `new` is true; None if there is none.

    Days keep their numbers.
    """
    numbers = _numbers(sentence)
    for match in random.sample(numbers, len(numbers)):
        for _ in range(TRIES):
            is_digits = match[0][0].isdigit()
            other = other_digits(match[0], random) if is_digits else random.choice(SPELLED_NUMBERS)
            claim = _with(sentence, match, other.capitalize() if match[0].istitle() else other)
            if new(claim):
                return claim
    return None


def swap_number(sentence: str, passage: str, random: Random) -> str | None:
    """Returns the sentence with another number of its passage; None if there is none."""
    numbers = [match for match in _numbers(sentence) if match[0][0].isdigit()]
    own = {match[0] for match in DIGITS.finditer(sentence)}
    others = dict.fromkeys(m[0] for m in _numbers(passage) if m[0][0].isdigit() and m[0] not in own)
    if not numbers or not others:
        return None
    return _with(sentence, random.choice(numbers), random.choice(list(others)))


def change_unit(sentence: str, new: Callable[[str], bool], random: Random) -> str | None:
    """Returns the sentence with another unit of a number, for which `new` is true, or None."""
    found = [
        match
        for match in _UNIT.finditer(sentence)
        if match[0] in _SIGNS or _AFTER_NUMBER.search(sentence[: match.start()])
    ]
    for match in random.sample(found, len(found)):
        claim = _with(sentence, match, _UNITS[match[0]])
        if new(claim):
            return claim
    return None


def change_date(sentence: str, new: Callable[[str], bool], random: Random) -> str | None:
    """Returns the sentence with another day, month or year in a date, if `new`, or None."""
    dates = list(_DAY.finditer(sentence))
    for date in random.sample(dates, len(dates)):
        for _ in range(TRIES):
            run = random.choice(list(_RUN.finditer(date[0])))
            claim = _with(sentence, date, _with(date[0], run, _other_part(run[0], random)))
            if new(claim):
                return claim
    return None


def swap_name(
    sentence: str, own: Sequence[str], names: Sequence[str], random: Random
) -> str | None:
    """Returns the sentence with a name of its own replaced by one of `names`; None without any.

    Names of which the sentence has a word are left out.
    """
    found = [m for m in _inside(sentence) if m[0] in own and sentence.count(m[0]) == 1]
    words = _lower_words(sentence)
    others = [name for name in names if words.isdisjoint(_lower_words(name))]
    if not found or not others:
        return None
    return _with(sentence, random.choice(found), random.choice(others))


def names_of(text: str) -> list[str]:
    """Returns the words with a capital inside of sentences; none in German, where nouns have it.

    A word that the text has without a capital, too, is no name.
    """
    if language_of(text) == "de":
        return []
    no_names = _NO_NAMES | {word for word in _WORD.findall(text) if word.islower()}
    found = dict.fromkeys(match[0] for match in _inside(text))
    return [name for name in found if no_names.isdisjoint(_lower_words(name))]


def negate(sentence: str, random: Random) -> str | None:
    """Returns the sentence with a negation added or left out; None if it is not English.

    Nor is a sentence negated that says "not only", which is no negation.
    """
    if language_of(sentence) != "en" or _NOT_ONLY.search(sentence):
        return None
    return negated(_CONTRACTED.sub(lambda m: _WHOLE[m[0].lower()], sentence), random)


def negation_kind(sentence: str) -> Change:
    """Returns the kind of a negated sentence."""
    negation = NEGATION.search(sentence) or _CONTRACTED.search(sentence)
    return "negation left out" if negation else "negation added"


def merge(statement: Statement, others: Sequence[Statement]) -> tuple[str, Statement] | None:
    """Returns the subject of a sentence with the fact of another document's, and that one's source.

    Both have the same verb: "Otters are mammals." and "PEPs are texts." make "Otters are texts."
    The first of the others that fits is taken; None if none does.
    """
    parts = _parts(statement)
    if parts is None:
        return None
    for other in others:
        if other.document_id == statement.document_id:
            continue
        fact = _parts(other)
        if fact and fact["verb"] == parts["verb"] and fact["subject"] != parts["subject"]:
            return f"{parts['subject']} {fact['fact']}", other
    return None


def _parts(statement: Statement) -> re.Match[str] | None:
    is_row = statement.other_row is not None
    if is_row or _NO_SUBJECT.match(statement.sentence):
        return None
    return _PARTS.fullmatch(statement.sentence)


def _numbers(text: str) -> list[re.Match[str]]:
    """Returns the numbers of a text that are no part of a day, a code, a version or a marker."""
    days = [match.span() for match in _DAY.finditer(text)]
    return [
        match
        for match in (*DIGITS.finditer(text), *SPELLED.finditer(text))
        if not any(start <= match.start() < end for start, end in days)
        and not (match.start() and text[match.start() - 1] in "-:/_[")
        and not re.match(r"[\w:/_-]|\.\d", text[match.end() :])
    ]


def _inside(text: str) -> list[re.Match[str]]:
    """Returns runs of words with a capital that begin no sentence."""
    return [
        m
        for m in _CAPITALS.finditer(text)
        if _WORD_BEFORE.search(text[max(0, m.start() - 2) : m.start()])
    ]


def _lower_words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text)}


def _other_part(digits: str, random: Random) -> str:
    """Returns another year, or another number that may be a day or a month."""
    if len(digits) == _YEAR_DIGITS:
        years = random.choice([n for n in range(-_MOST_YEARS, _MOST_YEARS + 1) if n])
        return str(int(digits) + years)
    other = random.choice([n for n in range(1, 13) if n != int(digits)])
    return f"{other:0{len(digits)}}" if digits.startswith("0") or len(digits) > 1 else str(other)


def _with(text: str, match: re.Match[str], other: str) -> str:
    """Returns the text with something else in the place of a match."""
    return text[: match.start()] + other + text[match.end() :]
