"""Pairs of questions of which it is known by construction that they ask the same, or not.

The rewordings are those that leave the meaning as it is whatever the question is about; they are
English. A near miss differs from its question in one word that carries the meaning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from eval.datasets.adversarial import names_of
from eval.datasets.claims import other_digits
from eval.datasets.rewordings import figure_reformed

SYNONYMS: Mapping[str, str] = {
    "located": "situated",
    "famous": "well known",
    "called": "named",
    "named": "called",
    "main": "principal",
    "primary": "main",
    "require": "need",
    "required": "needed",
    "needed": "required",
    "created": "made",
    "constructed": "built",
    "built": "constructed",
    "helped": "assisted",
    "used": "utilized",
    "uses": "utilizes",
    "obtain": "get",
    "received": "got",
    "occurred": "happened",
    "happened": "took place",
    "purpose": "aim",
    "kind": "type",
    "type": "kind",
    "area": "region",
    "region": "area",
    "show": "demonstrate",
    "stated": "said",
    "method": "way",
    "usually": "normally",
    "often": "frequently",
    "important": "significant",
    "begin": "start",
    "began": "started",
    "started": "began",
    "choose": "select",
    "chosen": "selected",
    "people": "persons",
    "country": "nation",
    "countries": "nations",
    "movie": "film",
    "nearly": "almost",
    "entire": "whole",
}
"""Words of which each may stand for the other in a question, whatever it is about."""
_SYNONYM = re.compile(rf"\b(?:{'|'.join(SYNONYMS)})\b")
_ASKED = re.compile(r"(?i:who|what|when|where|which|why|how)\b")
_CONTRACTED = re.compile(r"\b(what|who|where|when|how) is\b", re.IGNORECASE)
_YEAR_ASKED = re.compile(r"^(?:in |during )?(?:what|which) year\b", re.IGNORECASE)
_WHICH = re.compile(
    r"^(?:what|which) (?=(?:country|city|year|type|kind|person|group|company)\b)", re.I
)
_TAIL = re.compile(
    r"^(?P<rest>.{12,}?) (?P<tail>(?:in|during|of) (?:the )?(?:[A-Z]\w+ ?)+|in \d{4})$"
)
_HEAD = re.compile(r"^(?P<head>(?:In|During|After|Before|At) [^,?]{3,60}), (?P<rest>.+)$")
_FRAMES = (
    "Can you tell me: {}?",
    "I would like to know: {}?",
    "Please tell me, {}?",
    "{}? Thank you!",
)

_OPPOSITES: Mapping[str, str] = {
    one: other
    for pair in [
        "before after",
        "first last",
        "more less",
        "most least",
        "highest lowest",
        "largest smallest",
        "maximum minimum",
        "north south",
        "northern southern",
        "east west",
        "eastern western",
        "increase decrease",
        "increased decreased",
        "import export",
        "start end",
        "started ended",
        "began ended",
        "all some",
        "above below",
        "inside outside",
        "internal external",
        "old new",
        "oldest newest",
        "longest shortest",
        "win lose",
        "won lost",
        "buy sell",
        "bought sold",
        "positive negative",
        "public private",
        "major minor",
        "born buried",
        "early late",
        "high low",
        "large small",
        "long short",
        "upper lower",
        "king queen",
        "father mother",
        "men women",
        "male female",
        "arrive leave",
        "enable disable",
        "accept reject",
        "allow forbid",
        "allowed forbidden",
        "legal illegal",
        "cause effect",
        "causes effects",
        "always sometimes",
        "earlier later",
        "older younger",
    ]
    for one, other in (pair.split(), pair.split()[::-1])
}
_OPPOSITE = re.compile(rf"\b(?:{'|'.join(sorted(_OPPOSITES, key=len, reverse=True))})\b")
_YEAR = re.compile(r"\b1[0-9]\d\d\b|\b20\d\d\b")
_NUMBER = re.compile(r"(?<![\w.,-])\d[\d,.]*(?!\w)")
_UNITS = (
    *(
        [
            "second minute",
            "minute hour",
            "hour day",
            "day week",
            "week month",
            "month year",
            "year decade",
        ]
    ),
    *(
        [
            "decade century",
            "century decade",
            "miles kilometers",
            "meters feet",
            "feet meters",
            "degrees percent",
        ]
    ),
    *(["percent degrees", "percentage number", "dollars euros", "euros dollars", "pounds euros"]),
    *(
        [
            "seconds minutes",
            "minutes hours",
            "hours days",
            "days weeks",
            "weeks months",
            "months years",
        ]
    ),
    *(["years months", "decades centuries"]),
)
_OTHER_UNIT = dict(pair.split() for pair in _UNITS)
_UNIT = re.compile(rf"\b(?:{'|'.join(_OTHER_UNIT)})\b")
_AUXILIARY = re.compile(
    r"\b(is|are|was|were|did|does|do|has|have|had|can|could|will|would|should|must)\b"
)
_ASKING = {
    "when": "where", "where": "when", "who": "when", "why": "when", "how many": "which",
    "how much": "why",
}  # fmt: skip
_ASKING_WORD = re.compile(rf"^({'|'.join(sorted(_ASKING, key=len, reverse=True))})\b", re.I)


def rewordings(question: str) -> Iterator[tuple[str, str]]:
    """Yields the question in other words, with the kind of the change; each kind once at most."""
    bare = question.strip().rstrip("?. ")
    yield "no capitals, no question mark", bare.lower()
    frame = _FRAMES[len(bare) % len(_FRAMES)]
    yield "a request", frame.format(bare if frame.startswith("{") else _lowered(bare))
    kinds: Mapping[str, Callable[[str], str | None]] = {
        "a synonym": _with_synonyms,
        "a short form": lambda text: _sub(_CONTRACTED, r"\1's", text),
        "when for what year": _when,
        "which for what": _which,
        "another order": _turned,
        "a figure in another form": lambda text: figure_reformed(text, "en"),
    }
    for kind, change in kinds.items():
        if (changed := change(bare)) and changed != bare:
            yield kind, f"{changed}?"


def near_misses(question: str, names: Sequence[str], random: Random) -> Iterator[tuple[str, str]]:
    """Yields questions that differ in one word that carries the meaning, with its kind.

    `names` are those of the same subject: one of them stands in for a name of the question.
    """
    changes: Mapping[str, Callable[[], str | None]] = {
        "year": lambda: _replaced(_YEAR, question, lambda year: _other_year(year, random)),
        "number": lambda: _replaced(_NUMBER, question, lambda n: other_digits(n, random)),
        "name": lambda: _other_name(question, names, random),
        "unit": lambda: _replaced(_UNIT, question, lambda unit: _OTHER_UNIT[unit]),
        "negation": lambda: _replaced(_AUXILIARY, question, lambda verb: f"{verb} not"),
        "opposite": lambda: _replaced(_OPPOSITE, question, lambda word: _OPPOSITES[word]),
        "question word": lambda: _replaced(_ASKING_WORD, question, _other_asking),
    }
    for kind, change in changes.items():
        if (changed := change()) and changed != question:
            yield kind, changed


def _with_synonyms(text: str) -> str:
    return _SYNONYM.sub(lambda word: SYNONYMS[word[0]], text)


def _when(text: str) -> str | None:
    rest = _YEAR_ASKED.sub("", text)
    return f"When{rest}" if rest != text and _AUXILIARY.match(rest.strip()) else None


def _which(text: str) -> str | None:
    asked = _WHICH.match(text)
    if asked is None:
        return None
    other = "Which " if asked[0].lower() == "what " else "What "
    return other + text[asked.end() :]


def _turned(text: str) -> str | None:
    """Moves a clause of time or place from the beginning to the end, or the other way round."""
    if head := _HEAD.match(text):
        if not _ASKED.match(head["rest"]):
            return None
        rest = head["rest"]
        return f"{rest[0].upper()}{rest[1:]} {_lowered(head['head'])}"
    tail = _TAIL.match(text)
    if tail is None or not _ASKED.match(text) or tail["tail"].startswith("of"):
        return None
    return f"{tail['tail'][0].upper()}{tail['tail'][1:]}, {_lowered(tail['rest'])}"


def _sub(pattern: re.Pattern[str], by: str, text: str) -> str:
    return pattern.sub(by, text, count=1)


def _lowered(text: str) -> str:
    """Returns a text as it stands inside another: names keep their capitals."""
    first = text.split(" ", 1)[0]
    keeps = not (_ASKED.fullmatch(first) or first in ("In", "During", "After", "Before", "At"))
    return text if keeps else text[0].lower() + text[1:]


def _replaced(pattern: re.Pattern[str], text: str, by: Callable[[str], str]) -> str | None:
    found = pattern.search(text)
    return found and text[: found.start()] + by(found[0]) + text[found.end() :]


def _other_year(year: str, random: Random) -> str:
    return str(int(year) + random.choice([-11, -7, -3, -2, -1, 1, 2, 3, 5, 10]))


def _other_name(question: str, names: Sequence[str], random: Random) -> str | None:
    own = [name for name in names_of(question) if not _ASKED.match(name)]
    others = [name for name in names if name not in question]
    if not own or not others:
        return None
    return question.replace(random.choice(own), random.choice(others), 1)


def _other_asking(word: str) -> str:
    other = _ASKING[word.lower()]
    return other.capitalize() if word[0].isupper() else other
