"""Tells what kind of answer a question asks for, and whether a text has one: English and German."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from rag.types import QuestionKind

_TIME_UNIT = (
    r"(?:second|minute|hour|day|night|week|month|year|decade|sekunde|minute|stunde|tag|nacht|nächte|"
    r"woche|monat|jahr|jahrzehnt|jahrhundert)(?:s|n|en|e|es)?"
)
_MONTH = (
    r"(?:january|february|march|april|may|june|july|august|september|october|november|december|"
    r"januar|februar|märz|mai|juni|juli|oktober|dezember)"
)
_DAY = (
    r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)days?|weekends?|weekdays?|easter|christmas|"
    r"(?:mon|diens|donners|frei|sams|sonn)tags?|mittwochs?|wochenenden?|werktags?|ostern|"
    r"weihnachten)"
)
_TIME_OF_DAY = (
    r"(?:spring|summer|autumn|winter|morning|noon|evening|afternoon|midnight|dusk|sunset|daily|"
    r"frühling|sommer|herbst|mittags?|morgens|abends|täglich|mitternacht)"
)
_NUMBER = (
    r"(?:\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|"
    r"thirty|forty|fifty|hundred|thousand|million|once|twice|half|no|none|both|single|dozen|"
    r"eine?[rnms]?|zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|zwanzig|dreißig|"
    r"hundert|tausend|million\w*|\w+mal|halb\w*|kein\w*|beide\w*)\b)"
)
_LENGTH = r"\w*met(?:re|er)s?n?|km|cm|mm|m|miles?|feet|foot|ft|inch(?:es)?|yards?"
_COLOUR = (
    r"red|blue|green|yellow|white|black|brown|grey|orange|pink|"
    r"(?:rot|blau|grün|gelb|weiß|schwarz|braun|grau)(?:e[nrsm]?)?"
)
_COST = (
    r"(?:costs?|cost|pay|paid|price|fee|fare|rent|salary|premium|deposit|fine|charged?|expensive|"
    r"penalty|kost\w+|zahl\w+|preis|gebühr|miete|beitrag|strafe|eintritt|kaution|gehalt|gage|teuer)"
)

_KINDS: tuple[tuple[QuestionKind, str, str], ...] = (
    (
        "reason",
        r"why|warum|weshalb|wieso|what (?:is|was) the reason",
        r"\b(?:because|since|due to|so that|thus|therefore|hence|reasons?|caused?|owing to|"
        r"thanks to|in order to|for|weil|da|denn|damit|wegen|deshalb|daher|darum|aufgrund|dadurch|"
        r"sonst|otherwise)\b|\bum\b.*\bzu|zutöten",
    ),
    ("colour", r"(?:what|which) colou?r|welche\w* farbe", rf"\b(?:{_COLOUR})\b"),
    ("loudness", r"how loud|wie laut", r"\b(?:decibels?|dezibel|db)\b"),
    (
        "energy",
        r"wie ?viel (?:watt|strom|energie)|how (?:much|many) (?:watts|electricity|power|energy)|"
        r"(?:power|electricity|energy) consumption|stromverbrauch|what power",
        r"\b(?:\w*watt(?:s|stunden?)?|k?wh?|horsepower|ps|joules?|volts?)\b",
    ),
    (
        "temperature",
        r"how (?:hot|cold|warm)|what temperature|temperature of|welche temperatur|wie (?:heiß|warm|"
        r"kalt)|wie ?viel grad|what is the (?:boiling|melting) point",
        r"°|\b(?:degrees?|grad|celsius|fahrenheit|kelvin)\b",
    ),
    (
        "mass",
        r"how heavy|how much\b.*\bweigh|what .*\bweight\b|wie schwer|welches gewicht",
        r"\b(?:\w*gram(?:s|m|me|mes)?|kg|mg|g|tonn?(?:s|es|en)?|pounds?|ounces?)\b",
    ),
    (
        "frequency",
        r"how (?:often|many times|frequently)|wie (?:oft|häufig)",
        r"\b(?:once|twice|times|every|each|per|daily|weekly|monthly|yearly|annual\w*|hourly|\w+mal|"
        r"alle|jede[nrsm]?|pro|täglich|wöchentlich|monatlich|jährlich|stündlich)\b|" + _DAY,
    ),
    (
        "money",
        rf"how much\b.*\b{_COST}\b|how expensive|what\b.*\b{_COST}\b|was (?:kost|zahl)\w+|"
        rf"wie teuer|wie (?:viel|hoch)\b.*\b{_COST}\b",
        r"[€$£]|\b(?:euros?|pounds?|pence|cents?|dollars?|francs?|franken|gulden|taler|shillings?|"
        r"yen|usd|eur|free|gratis|kostenlos\w*|umsonst|frei|nichts|nothing|costs?|kostet|hälfte|"
        r"half|per cent|prozent)\b",
    ),
    (
        "percentage",
        r"(?:what|which) (?:percentage|share|proportion)|wie ?viel prozent|how many per ?cent",
        r"%|\bper ?cent\b|prozent|\b(?:half|third|quarter|hälfte|drittel|viertel)\b",
    ),
    (
        "duration",
        r"how long (?:does|do|did|can|may|will|until|have|has|must|should|after|in)|how much "
        r"longer|for how long|wie lange|wie schnell|how (?:quickly|soon)",
        rf"\b{_TIME_UNIT}\b|\bfrom\b.*\bto\b|\bvon\b.*\bbis\b|\b(?:until|till|since|bis|seit)\b|"
        r"\d{4}",
    ),
    (
        "age",
        r"how old|wie alt|at what age|ab welchem alter|(?:what|which) .*minimum age",
        r"\b(?:years?|jahren?|months?|monaten?|born|built|geboren|gebaut)\b|\b1\d\d\d\b",
    ),
    (
        "length",
        r"how (?:tall|high|deep|wide|far)|wie (?:tief|breit|weit)|wie (?:hoch|lang) (?:ist|sind|"
        r"war|liegt|steht)",
        rf"\b(?:{_LENGTH}|%|per ?cent|prozent|euro|pounds?)\b|\d ?(?:%|€|°)",
    ),
    (
        "extent",
        r"how (?:big|large|long)|wie (?:groß|lang)",
        rf"\b(?:{_LENGTH}|qm|acres?|hektar|hectares?|square|\w*lit(?:re|er)s?n?|ml|kg|[kmgt]i?b|"
        rf"\w*gram\w*|seats?|plätze|people|personen|zeichen|characters|{_TIME_UNIT})\b|m²",
    ),
    ("number", r"how (?:many|much)|wie ?viele?", _NUMBER),
    (
        "time",
        r"when|what (?:time|date|year|day|month)|(?:which|what) (?:day|year|weekday|date|"
        r"century)s?|wann|um wie viel uhr|welche[mnrs]? (?:tag|jahr|datum|monat|wochentag)|"
        r"öffnungszeiten",
        rf"\b(?:1\d|20)\d\d\b|\d[:.]\d\d|\b{_MONTH}\b|\b{_DAY}\b|\b{_TIME_OF_DAY}\b|\b[ap]\.?m\b|"
        rf"\buhr\b|o'clock|\b{_TIME_UNIT}\b|windstärke",
    ),
    ("person", r"who|whom|whose|wer|wem|wen|wessen", ""),
)
_ASKING = [(name, re.compile(rf"\b(?:{asking})\b", re.IGNORECASE)) for name, asking, _ in _KINDS]
_HOLDING = {name: holding for name, _, holding in _KINDS}

_NO_FIRST_NAME = (
    r"(?!(?:The|An?|In|On|At|For|From|To|By|This|All|Each|Every|Der|Die|Das|Den|Dem|Des|Ein\w*|Im|Am|"
    r"Zum|Zur|Beim?|Vo[nmr]|Nach|Mit|Für|Auf|Aus|Um|Zu|Alle\w*|Jede\w*|Diese\w*|Seine?\w?|Ihre?\w?)\b)"
)
_FULL_NAME = re.compile(
    rf"\b{_NO_FIRST_NAME}(?:(?:Dr|Prof|Mr|Mrs|Ms|Herrn?|Frau|Sir|Professor|Captain|King|Queen|"
    r"Graf|Fürst|König)\.? |"
    r"[A-ZÄÖÜ][\w'’]+(?: [A-Z]\.| von| van| de| di)? )[A-ZÄÖÜ][\w'’]+"
)
_NAME_INSIDE = re.compile(r"(?<=[\w,;:)] )[A-ZÄÖÜ][\w'’]+")
_ROLE = re.compile(
    r"\b\w*(?:director|manager|officer|team|lead|head|doctor|nurse|landlord|tenant|company|council|"
    r"committee|board|secretary|leitung|leiterin|amt|firma|verein|abteilung|meister\w*|arzt|ärztin|"
    r"wehr|vermieter|mieter|arbeiter|workers?)s?\b",
    re.IGNORECASE,
)
_GERMAN = re.compile(r"\b(?:der|die|das|wer|wem|wen|ist|hat|war|und|den|des)\b", re.IGNORECASE)
_WORD = re.compile(r"\w+")
_COUNTED = re.compile(r"\b(?:how many|wie ?viele?)\s+(\w+)", re.IGNORECASE)
_WORDS_BETWEEN = 4
"""Words, at most, from a number to what it counts: "46 flat and very old boats"."""


def kind_of(question: str) -> QuestionKind | None:
    """Returns the kind of thing that the question's first wh-word wants; None without one."""
    found = [
        (match.start(), name) for name, asking in _ASKING if (match := asking.search(question))
    ]
    # Of two at one place, the first in the table counts.
    return min(found, key=lambda each: each[0])[1] if found else None


@cache
def _holding(kind: QuestionKind) -> re.Pattern[str]:
    """Returns the pattern of what answers a kind of question, compiled at its first question."""
    return re.compile(_HOLDING[kind], re.IGNORECASE)


def lacks_type(question: str) -> Callable[[str], bool]:
    """Returns a function that tells whether a text lacks what the question's first wh-word wants.

    A time for `when`, an amount of money for `what does … cost`, a name or a role that is not in
    the question for `who`. A question without such a word lacks nothing.
    """
    kind = kind_of(question)
    if kind is None:
        return lambda text: False
    if kind == "person":
        return lambda text: not _has_person(text, question)
    holding = _holding(kind)
    return lambda text: holding.search(text) is None


def lacks_count(question: str) -> Callable[[str], bool]:
    """Returns a function that tells whether a text has no number close to what `how many` counts.

    A question without `how many` lacks nothing.
    """
    counted = _COUNTED.search(question)
    if counted is None:
        return lambda text: False
    noun = re.escape(stem(counted[1]))
    gap = rf"(?:\W+\w+){{0,{_WORDS_BETWEEN}}}?\W+"
    number = rf"\w*{_NUMBER}[\w.,]*"
    near = re.compile(
        rf"{number}{gap}\w*{noun}|{noun}\w*\W+(?:\w+\W+){{0,2}}?{number}", re.IGNORECASE
    )
    return lambda text: near.search(text) is None


def stem(word: str) -> str:
    """Returns the first two thirds of a word, and of a short one all: inflections share them."""
    return word[: max(4, -(-2 * len(word) // 3))].lower()


def _has_person(text: str, question: str) -> bool:
    known = set(map(str.lower, _WORD.findall(question)))
    patterns = [_FULL_NAME, _ROLE]
    if not _GERMAN.search(question):  # German writes every noun with a capital
        patterns.append(_NAME_INSIDE)
    return any(
        not known.issuperset(map(str.lower, _WORD.findall(match[0])))
        for pattern in patterns
        for match in pattern.finditer(text)
    )
