"""Rewords a sentence without changing its meaning: supported claims in other words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from eval.datasets.claims import SPELLED_NUMBERS
from rag.text.dates import DATE, date_forms
from rag.text.languages import language_of

Rewording = Literal["figure in another form", "clauses in another order", "source named"]

_VALUES = {word: value for value, word in enumerate(SPELLED_NUMBERS, 2) if value <= 12}  # noqa: PLR2004
"""The numbers that texts have in words as often as in digits."""
_WORDS = {value: word for word, value in _VALUES.items()}
_CURRENCIES: Mapping[str, Mapping[str, str]] = {
    "en": {"£": "pounds", "€": "euros", "$": "dollars"},
    "de": {"£": "Pfund", "€": "Euro", "$": "Dollar"},
}
_PERCENT = {"en": "percent", "de": "Prozent"}
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
_AMOUNT = re.compile(r"([£€$])(\d[\d,.]*\d|\d)(?![\d,.]*\d)(?! ?(?:k|m|bn|thousand|million)\b)")
_SHARE = re.compile(r"(?<=\d) ?%")
_GROUPED = re.compile(r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?![\w,]|\.\d)")
_SPELLED = re.compile(rf"\b(?:{'|'.join(_VALUES)})\b(?= [a-z])(?!-)")
_SMALL = re.compile(r"(?<=[a-z] )(?:[2-9]|1[0-2])(?= [a-z]{4,})")
_DAY = re.compile(DATE)

_CONDITIONS = "if|when|while|because(?! of)|since|although|unless|until|after|before|once"
_CLAUSE = r"[^,.;:()]+"
_FIRST = re.compile(rf"(?i:({_CONDITIONS})) ({_CLAUSE}), (?!then\b)({_CLAUSE})\.")
_LAST = re.compile(rf"(?!(?i:{_CONDITIONS})\b)({_CLAUSE}?) ({_CONDITIONS}) ({_CLAUSE})\.")
_LOWERED = re.compile(
    r"(?:The|An?|This|These|That|Those|It|You|We|They|There|In|If|When|While|For|All|Each|Any"
    r"|Every|Some|Most|Many|Such|Its|Their|Your|Our|On|At|By|With|As|No|Only|Both|Once|After"
    r"|Before|Because|Although|Unless|Until|Since)\b"
)
"""Words that have a capital only because they begin a sentence."""


def reworded(sentence: str) -> Iterator[tuple[Rewording, str]]:
    """Yields the sentence in other words, once of each kind that it can be reworded in.

    The forms of figures are English and German, the others English.
    """
    language = language_of(sentence)
    if language in _PERCENT and (written := figure_reformed(sentence, language)):
        yield "figure in another form", written
    if language == "en":
        if turned := clauses_turned(sentence):
            yield "clauses in another order", turned
        yield "source named", f"According to the documents, {_lowered(sentence)}"


def figure_reformed(sentence: str, language: str) -> str | None:
    """Returns the sentence with its first figure, of the first kind that it has, in another form.

    "£50" becomes "50 pounds", "5 %" "5 percent", "1,000" "1000", "three days" "3 days",
    "2025-05-02" "2 May 2025"; `language` is "en" or "de".
    """
    forms: list[tuple[re.Pattern[str], Callable[[re.Match[str]], str | None]]] = [
        (_DAY, lambda m: _day_reformed(m[0], language)),
        (_AMOUNT, lambda m: f"{m[2]} {_CURRENCIES[language][m[1]]}"),
        (_SHARE, lambda _: f" {_PERCENT[language]}"),
    ]
    if language == "en":
        forms += [
            (_GROUPED, lambda m: m[0].replace(",", "")),
            (_SPELLED, lambda m: str(_VALUES[m[0]])),
            (_SMALL, lambda m: _WORDS[int(m[0])]),
        ]
    for pattern, form in forms:
        match = pattern.search(sentence)
        if match and (written := form(match)):
            return sentence[: match.start()] + written + sentence[match.end() :]
    return None


def clauses_turned(sentence: str) -> str | None:
    """Returns "Y if X." for "If X, Y." and the other way round; None for other sentences."""
    if first := _FIRST.fullmatch(sentence):
        condition, clause, main = first.groups()
        return f"{_capital(main)} {condition.lower()} {clause}."
    if last := _LAST.fullmatch(sentence):
        main, condition, clause = last.groups()
        return f"{_capital(condition)} {clause}, {_lowered(main)}."
    return None


def _day_reformed(written: str, language: str) -> str | None:
    """Returns a day with a year in another form; None for a day without one."""
    form = date_forms(written)[0]
    if form.endswith("n"):
        return None
    year, month, day = int(form[1:5]), int(form[5:7]), int(form[7:9])
    if any(c.isalpha() for c in written):
        return f"{year}-{month:02}-{day:02}"
    if language == "en":
        return f"{day} {_MONTHS[month - 1]} {year}"
    return f"{year}-{month:02}-{day:02}" if "." in written else f"{day}.{month}.{year}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _lowered(sentence: str) -> str:
    """Returns the sentence as it stands inside another one."""
    return sentence[0].lower() + sentence[1:] if _LOWERED.match(sentence) else sentence
